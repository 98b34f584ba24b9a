"""Encoders of timm under the classification of colour: what resnet34, plain34 and densenet share.

References
----------
Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017 (strides turned into dilation).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from zcolor.models.base import Options
from zcolor.models.classifier import Classifier
from zcolor.models.extractor import RANDOM, Extractor, ExtractorKind

# Channels of the head, those of group 8 of Zhang et al. 2016.
_HEAD_CHANNELS = 256
# What timm's networks read: grey levels in [0, 1] of this mean and deviation (those of ImageNet,
# averaged over red, green and blue).
_MEAN, _STD = 0.449, 0.226


@dataclass(frozen=True)
class EncoderOptions(Options):
    """What an encoder that others have pretrained alone knows."""

    of_the_beginning: ClassVar[tuple[str, ...]] = ("weights",)

    weights: str = RANDOM
    """What a new encoder begins with: `random`, `hub` (timm's, learned on ImageNet; downloaded
    once), or a file: of timm or torchvision, or of `zcolor pretrain --extractor NAME`."""


class EncoderClassifier(Classifier):
    """An encoder at an eighth of the input's size, a head that doubles it, a 1x1 classifier.

    A family writes `make_encoder()`, and names the network of timm whose weights fit it. `width`
    scales the channels of the encoder and of the head.

    Attributes
    ----------
    timm_name : str
        The network of timm; empty where nobody has pretrained one.
    first_convolution : str
        Its weights that read red, green and blue.
    """

    timm_name: ClassVar[str] = ""
    first_convolution: ClassVar[str] = ""

    @abstractmethod
    def make_encoder(self) -> nn.Module:
        """Make the encoder for one channel in, at stride 8, as a network of timm.

        It has `forward_features` and `num_features`.

        Raises
        ------
        ImportError
            If timm is not installed.
        ValueError
            If the width leaves no channels.
        """

    def build(self) -> None:
        """Make the layers; errors as for `make_encoder`."""
        self.encoder = self.make_encoder()
        head = round(_HEAD_CHANNELS * self.width)
        self.head = _make_head(int(self.encoder.num_features), head)  # type: ignore[arg-type]
        self.classifier = nn.Conv2d(head, self.grid.n_bins, kernel_size=1)
        # A small classifier starts near the uniform distribution: the first loss is log q.
        nn.init.normal_(self.classifier.weight, std=0.01)

    def logits(self, scaled: Tensor) -> Tensor:
        """Answer to lightness scaled to [-1, 1], (n, 1, h, w) with h and w multiples of 8.

        Returns
        -------
        (n, q, h / 4, w / 4) logits.
        """
        grey = ((scaled + 1) / 2 - _MEAN) / _STD
        features = self.encoder.forward_features(grey)  # type: ignore[operator]
        logits: Tensor = self.classifier(self.head(features))  # from (n, c, h / 8, w / 8)
        return logits

    def begin(self) -> None:
        """Give a new encoder the weights that `options` names, where the family has such options.

        Raises
        ------
        OSError, ValueError
            If they cannot be had or do not fit; the message names the cure.
        """
        if not isinstance(self.options, EncoderOptions) or self.options.weights == RANDOM:
            return
        if self.width != 1:
            raise ValueError(
                f"the weights {self.options.weights!r} are of full width, this network is of width "
                f"{self.width}; take --width 1, or begin with --options weights=random"
            )
        self._take_over(self.options.weights)

    def _take_over(self, weights: str) -> None:
        """Take over what timm's network has learned on pictures of three channels.

        Its first convolution is summed over them, which for grey pictures changes nothing; its own
        classifier is left behind.
        """
        kind = ExtractorKind.of(self.timm_name, weights)
        learned = Extractor(self.timm_name, classes=kind.classes, size=kind.size)
        learned.load(weights)
        state = learned.network.state_dict()
        state[self.first_convolution] = state[self.first_convolution].sum(dim=1, keepdim=True)
        self.encoder.load_state_dict({name: state[name] for name in self.encoder.state_dict()})


def _make_head(channels: int, out: int) -> nn.Sequential:
    """From an eighth of the input's size to a quarter, as group 8 of Zhang et al. does."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )
