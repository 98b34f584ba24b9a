"""Autoencoders that answer with ab itself: what regression of colour does without classes.

Two layouts: `deep`, five blocks down and five up with batch norm, and `plain`, the sixteen-layer
encoder and decoder of Baldassarre et al. 2017 without their feature extractor. Neither has skip
connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from zcolor.models.base import Options
from zcolor.models.layers import (
    PLAIN_STRIDE,
    PlainDecoder,
    PlainEncoder,
    scaled_and_padded,
    small_initialise,
)
from zcolor.models.regressor import Regressor

Activation = Literal["relu", "sigmoid", "tanh"]

_N_BLOCKS = 5
_DEEP_STRIDE = 2**_N_BLOCKS
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class AutoencoderOptions(Options):
    """What an autoencoder alone knows."""

    layout: Literal["deep", "plain"] = "deep"
    """`deep`: five stride-2 blocks down and five up; `plain`: the eight-convolution encoder and
    its decoder."""
    activation: Activation = "relu"
    """`deep`: after every block; it also decides what the output goes through. `plain` has ReLU
    inside and tanh at its end, as published, and takes no other."""
    channels: int = 32
    """`deep`: channels of the first block; each following one doubles them."""
    scale: float = 128.0
    """What ab is divided by."""


class Autoencoder(Regressor):
    """Encoder and decoder trained by the mean squared error of ab.

    `deep` puts batch norm before each convolution: a block down is batch norm, a 3x3 convolution
    of stride 2 and the activation; a block up is batch norm, an upsampling by 2, a 3x3 convolution
    and the activation. Channels double on the way down and halve on the way up.

    The last block of `deep` has no such activation, but one that reaches every colour:

    - `relu`: none, a linear output; ReLU itself could not answer with a negative a or b.
    - `tanh`: tanh, with the targets ab / scale in [-1, 1].
    - `sigmoid`: a sigmoid in [0, 1], read as ab = (y - 0.5) * 2 * scale.

    The loss is that of ab / scale for all of them, so that their figures can be compared; a
    sigmoid's error in its own units of [0, 1] is a quarter of it.

    Parameters
    ----------
    working_size
        Side in pixels of the square whose area photos are brought to.
    options
        As `AutoencoderOptions` says; None takes its defaults.

    Raises
    ------
    ValueError
        If the options make no sense.
    """

    options_type = AutoencoderOptions
    options: AutoencoderOptions

    def __init__(self, *, working_size: int = 128, options: Options | None = None) -> None:
        super().__init__(working_size=working_size, options=options)
        o = self.options
        if o.channels < 1 or not o.scale > 0:
            raise ValueError(
                f"channels must be at least 1 and scale above 0, got {o.channels} and {o.scale}"
            )
        fixed = AutoencoderOptions(layout="plain", scale=o.scale)
        if o.layout == "plain" and o != fixed:
            raise ValueError(
                "layout=plain has its own channels, ReLU inside and tanh at its end; leave "
                "channels and activation out, or take layout=deep"
            )
        self.scale = o.scale
        if o.layout == "plain":
            self.stride = PLAIN_STRIDE
            self.encoder: nn.Module = PlainEncoder()
            self.decoder: nn.Module = PlainDecoder()
        else:
            self.stride = _DEEP_STRIDE
            self.encoder = _deep_encoder(o.channels, o.activation)
            self.decoder = _deep_decoder(o.channels, o.activation)

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with ab / scale at the size of the input.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, 2, h, w) ab / scale.
        """
        h, w = lightness.shape[-2:]
        ab: Tensor = self.decoder(self.encoder(scaled_and_padded(lightness, self.stride)))
        return ab[:, :, :h, :w]


class _Centred(nn.Module):
    """A sigmoid's [0, 1] read as [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return (torch.sigmoid(x) - 0.5) * 2


def _channels(first: int) -> list[int]:
    """Channels between the blocks, from the lightness down."""
    return [1, *(first * 2**i for i in range(_N_BLOCKS))]


def _deep_encoder(first: int, activation: Activation) -> nn.Sequential:
    blocks = [
        nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out, 3, stride=2, padding=1),
            _ACTIVATIONS[activation](),
        )
        for channels, out in pairwise(_channels(first))
    ]
    encoder = nn.Sequential(*blocks)
    encoder.apply(lambda module: _initialise(module, activation))
    return encoder


def _deep_decoder(first: int, activation: Activation) -> nn.Sequential:
    widths = [*_channels(first)[:0:-1], 2]
    blocks = []
    for channels, out in pairwise(widths):
        conv = nn.Conv2d(channels, out, 3, padding=1)
        blocks.append(
            nn.Sequential(
                nn.BatchNorm2d(channels),
                nn.Upsample(scale_factor=2, mode="nearest"),
                conv,
                _ACTIVATIONS[activation](),
            )
        )
    blocks[-1][-1] = {"relu": nn.Identity, "tanh": nn.Tanh, "sigmoid": _Centred}[activation]()
    decoder = nn.Sequential(*blocks)
    decoder.apply(lambda module: _initialise(module, activation))
    small_initialise(conv)
    return decoder


def _initialise(module: nn.Module, activation: Activation) -> None:
    """He for ReLU, Glorot for what saturates."""
    if not isinstance(module, nn.Conv2d):
        return
    if activation == "relu":
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    else:
        nn.init.xavier_normal_(module.weight)
    assert module.bias is not None
    nn.init.zeros_(module.bias)
