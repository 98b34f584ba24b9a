"""Fusion for films: what the frames so far showed is fused with what each of them shows.

The encoder, the extractor and the decoder see every frame by itself ("time-distributed"); a
recurrent network carries a memory from frame to frame.

References
----------
Baldassarre, Gonzalez Morin, Rodes-Guirao, "Deep Koalarization: Image Colorization using CNNs and
Inception-ResNet-v2", 2017 (encoder, fusion, decoder).
Hochreiter, Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (8), 1997.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from zcolor.models.base import Options
from zcolor.models.extractor import Extractor, ExtractorOptions
from zcolor.models.layers import (
    PLAIN_CHANNELS,
    PLAIN_STRIDE,
    PlainDecoder,
    PlainEncoder,
    he_initialise,
    scaled_and_padded,
)
from zcolor.models.regressor import Regressor


@dataclass(frozen=True)
class VideoFusionOptions(ExtractorOptions):
    """What a fusion network for films alone knows."""

    frames: int = 8
    """Frames of the clips that it is trained on; it reads clips of any length."""
    memory: int = 256
    """Numbers that the LSTM carries from frame to frame."""
    scale: float = 128.0
    """What ab is divided by: 128 uses the whole range of tanh, 256 half of it."""


class VideoFusion(Regressor):
    """Features of each frame, joined at every place by its extractor's answer and by the memory.

    The features are averaged over the plane and given to an LSTM, frame after frame. Its answer
    and that of the extractor are repeated over the plane and concatenated with the features; a
    1x1 convolution with ReLU brings them to 256, from which the decoder makes ab. The LSTM looks
    back, never forward. The extractor is frozen and stands in the checkpoint with all else.

    Parameters
    ----------
    working_size
        Side in pixels of the square whose area photos and frames are brought to.
    options
        As `VideoFusionOptions` says; None takes its defaults.

    Raises
    ------
    ValueError
        If the options make no sense, or timm does not know the extractor.
    FileNotFoundError
        If the number of classes is to be read from a file that is not there.
    ImportError
        If timm is not installed.
    """

    options_type = VideoFusionOptions
    options: VideoFusionOptions
    # What the LSTM carries on from the frame before, for each look at it; None where every call
    # begins anew.
    _carried: list[tuple[Tensor, Tensor]] | None = None
    _look = 0

    def __init__(self, *, working_size: int = 128, options: Options | None = None) -> None:
        super().__init__(working_size=working_size, options=options)
        o = self.options
        if not o.scale > 0 or o.frames < 2 or o.memory < 1:
            raise ValueError(
                "scale must be above 0, frames at least 2 and memory at least 1, got "
                f"{o.scale}, {o.frames} and {o.memory}; for single frames there is the model fusion"
            )
        o = self.options = o.settled()
        self.scale, self.clip_length = o.scale, o.frames
        self.encoder = PlainEncoder()
        self.lstm = nn.LSTM(PLAIN_CHANNELS, o.memory, batch_first=True)
        self.extractor = Extractor(o.extractor, classes=o.extractor_classes, size=o.extractor_size)
        joined = PLAIN_CHANNELS + o.memory + o.extractor_classes
        self.fuse = nn.Sequential(
            nn.Conv2d(joined, PLAIN_CHANNELS, kernel_size=1), nn.ReLU(inplace=True)
        )
        self.fuse.apply(he_initialise)
        self.decoder = PlainDecoder()

    def begin(self) -> None:
        """Give the extractor its pretrained weights.

        Raises
        ------
        OSError, ValueError
            If they cannot be had; the message names the cure.
        """
        self.extractor.load(self.options.extractor_weights)

    def filming(self) -> Self:
        """Return this network for the frames of one film; its memory goes on from call to call."""
        other = copy.copy(self)
        other._carried, other._look = [], 0
        return other

    def begin_frame(self, *, new_scene: bool) -> None:
        """Go on to the next frame of a film; a new scene begins with an empty memory."""
        self._look = 0
        if new_scene and self._carried is not None:
            self._carried = []

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with ab / scale at the size of the input.

        Parameters
        ----------
        lightness
            (n, t, 1, h, w) clips of any number of frames t, or (n, 1, h, w) photographs, each a
            clip of one frame; L in [0, 100], any h and w from 1.

        Returns
        -------
        (n * t, 2, h, w) ab / scale, in [-1, 1], frame by frame and clip after clip.

        Raises
        ------
        ValueError
            If `lightness` has another shape.
        """
        if lightness.ndim not in (4, 5) or lightness.shape[-3] != 1:
            raise ValueError(
                "lightness must be clips (n, t, 1, h, w) or photographs (n, 1, h, w), got "
                f"{tuple(lightness.shape)}"
            )
        length = 1 if lightness.ndim == 4 else lightness.shape[1]
        frames = lightness.flatten(0, -4)  # (n * t, 1, h, w)
        h, w = frames.shape[-2:]
        features = self.encoder(scaled_and_padded(frames, PLAIN_STRIDE))
        memory = self._remember(features.mean(dim=(2, 3)).unflatten(0, (-1, length)))
        scene = torch.cat((self.extractor(frames), memory.flatten(0, 1)), dim=1)
        plane = scene[:, :, None, None].expand(-1, -1, *features.shape[-2:])
        ab: Tensor = self.decoder(self.fuse(torch.cat((features, plane), dim=1)))
        return ab[:, :, :h, :w]

    def _remember(self, seen: Tensor) -> Tensor:
        """Give the LSTM's answer (n, t, memory) to what frames (n, t, c) show."""
        before = None
        if self._carried is not None and self._look < len(self._carried):
            before = self._carried[self._look]
        memory, after = self.lstm(seen, before)
        if self._carried is not None:
            self._carried[self._look : self._look + 1] = [after]
            self._look += 1
        answer: Tensor = memory
        return answer
