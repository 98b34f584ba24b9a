"""Layers that several families are built of: the encoder and decoder of eight convolutions each.

Baldassarre, Gonzalez Morin, Rodes-Guirao, "Deep Koalarization: Image Colorization using CNNs and
Inception-ResNet-v2", 2017 (table 1); without its extractor they are an autoencoder.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

PLAIN_STRIDE = 8
"""The encoder halves three times: inputs are padded to multiples of 8."""
PLAIN_CHANNELS = 256
"""Channels that the encoder gives and the decoder takes."""

# Channels and strides of the encoder.
_ENCODER = ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 1), (256, 1))
# Channels of the decoder; None is an upsampling by 2.
_DECODER = (128, None, 64, 64, None, 32)


class PlainEncoder(nn.Sequential):
    """Eight convolutions with ReLU: 64/2, 128, 128/2, 256, 256/2, 512, 512, 256 (channels/stride).

    Takes (n, 1, h, w) lightness scaled to [-1, 1], h and w multiples of 8, and gives
    (n, 256, h / 8, w / 8).
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 1
        for out, stride in _ENCODER:
            layers += [nn.Conv2d(channels, out, 3, stride, padding=1), nn.ReLU(inplace=True)]
            channels = out
        super().__init__(*layers)
        self.apply(he_initialise)


class PlainDecoder(nn.Sequential):
    """Convolutions with ReLU: 128, up, 64, 64, up, 32, then 2 with tanh, up.

    Takes (n, 256, h, w) and gives (n, 2, 8 h, 8 w) in [-1, 1]. The inner upsamplings repeat pixels
    as published. The last one, which has no convolution after it to smooth what it does, is
    bilinear: repeated pixels would be seen in the colours.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = PLAIN_CHANNELS
        for out in _DECODER:
            if out is None:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
                continue
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(inplace=True)]
            channels = out
        last = nn.Conv2d(channels, 2, 3, padding=1)
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        super().__init__(*layers, last, nn.Tanh(), up)
        self.apply(he_initialise)
        small_initialise(last)


def he_initialise(module: nn.Module) -> None:
    """Var[w] = 2 / n, n the inputs of a convolution (He et al. 2015, equation 10); biases are 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def small_initialise(last: nn.Conv2d) -> None:
    """Let a last layer begin with small weights: a regression of colours then begins with grey."""
    nn.init.normal_(last.weight, std=0.01)
    assert last.bias is not None
    nn.init.zeros_(last.bias)


def scaled_and_padded(lightness: Tensor, multiple: int) -> Tensor:
    """Scale lightness to [-1, 1] and repeat its border up to sides that networks can halve.

    Parameters
    ----------
    lightness
        (n, 1, h, w), L in [0, 100], any h and w from 1.
    multiple
        What the sides of the result are multiples of.

    Returns
    -------
    (n, 1, h', w'), with the photograph at its top left.
    """
    h, w = lightness.shape[-2:]
    x = (lightness - 50) / 50
    pad_h, pad_w = -h % multiple, -w % multiple
    return F.pad(x, (0, pad_w, 0, pad_h), mode="replicate") if pad_h or pad_w else x
