"""Fusion: an encoder and decoder of colour, told by a classification network what the photo shows.

References
----------
Baldassarre, Gonzalez Morin, Rodes-Guirao, "Deep Koalarization: Image Colorization using CNNs and
Inception-ResNet-v2", 2017.
Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", AAAI 2017 (the extractor).
"""

from __future__ import annotations

from dataclasses import dataclass

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
class FusionOptions(ExtractorOptions):
    """What a fusion network alone knows."""

    scale: float = 128.0
    """What ab is divided by: 128 uses the whole range of tanh, 256 half of it."""


class Fusion(Regressor):
    """Features of the encoder, joined at every place by the extractor's answer to the whole photo.

    The answer (1000 numbers of Inception-ResNet-v2 at 299x299) is repeated over the plane and
    concatenated with the 256 features; a 1x1 convolution with ReLU brings them to 256, from which
    the decoder makes ab. The extractor is frozen and stands in the checkpoint with all else.

    Parameters
    ----------
    working_size
        Side in pixels of the square whose area photos are brought to.
    options
        As `FusionOptions` says; None takes its defaults.

    Raises
    ------
    ValueError
        If the options make no sense, or timm does not know the extractor.
    FileNotFoundError
        If the number of classes is to be read from a file that is not there.
    ImportError
        If timm is not installed.
    """

    options_type = FusionOptions
    options: FusionOptions

    def __init__(self, *, working_size: int = 128, options: Options | None = None) -> None:
        super().__init__(working_size=working_size, options=options)
        if not self.options.scale > 0:
            raise ValueError(f"scale must be above 0, got {self.options.scale}")
        self.options = self.options.settled()
        o = self.options
        self.scale = o.scale
        self.encoder = PlainEncoder()
        self.extractor = Extractor(o.extractor, classes=o.extractor_classes, size=o.extractor_size)
        self.fuse = nn.Sequential(
            nn.Conv2d(PLAIN_CHANNELS + o.extractor_classes, PLAIN_CHANNELS, kernel_size=1),
            nn.ReLU(inplace=True),
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

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with ab / scale at the size of the input.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, 2, h, w) ab / scale, in [-1, 1].
        """
        h, w = lightness.shape[-2:]
        features = self.encoder(scaled_and_padded(lightness, PLAIN_STRIDE))
        answer = self.extractor(lightness)[:, :, None, None]
        plane = answer.expand(-1, -1, *features.shape[-2:])
        ab: Tensor = self.decoder(self.fuse(torch.cat((features, plane), dim=1)))
        return ab[:, :, :h, :w]
