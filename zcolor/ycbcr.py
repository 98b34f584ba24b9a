"""Chroma of ITU-R BT.601, as JPEG and video have it, and the ab that it stands for.

Pictures are (n, c, h, w) tensors; sRGB in [0, 1], L in [0, 100], ab unscaled. Cb and Cr are scaled
to [-1, 1]: times 127.5, plus 128, they are YCbCr of full range in 8 bits, as in JPEG; times 0.436
and 0.615 the U and V of YUV. Half precision is refused, as in `zcolor.lab`.

References
----------
ITU-R BT.601-7 (2011), section 2.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zcolor.lab import lab_to_rgb, rgb_to_lab, rgb_to_lightness

# ITU-R BT.601-7, section 2.5.1: the shares of red, green and blue in luma.
_LUMA = (0.299, 0.587, 0.114)
# Luma is looked for in [-1, 2], which holds it whatever chroma in [-1, 1] is asked for; after so
# many halvings it is right to 1e-5, and ab to about 0.003.
_LUMA_BOUNDS = (-1.0, 2.0)
_LUMA_HALVINGS = 18


def rgb_to_chroma(rgb: Tensor) -> Tensor:
    """Cb and Cr of BT.601, scaled to [-1, 1].

    Parameters
    ----------
    rgb
        (n, 3, h, w) sRGB display values in [0, 1].

    Returns
    -------
    (n, 2, h, w): (B - Y) / 0.886 and (R - Y) / 0.701, Y the luma.

    Examples
    --------
    >>> blue = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    >>> [round(value, 4) for value in rgb_to_chroma(blue).flatten().tolist()]
    [1.0, -0.1626]
    """
    luma = rgb_to_luma(rgb)
    red, _, blue = rgb.split(1, dim=1)
    return torch.cat(((blue - luma) / (1 - _LUMA[2]), (red - luma) / (1 - _LUMA[0])), dim=1)


def rgb_to_luma(rgb: Tensor) -> Tensor:
    """Luma Y of BT.601.

    Parameters
    ----------
    rgb
        (n, 3, h, w) sRGB display values in [0, 1].

    Returns
    -------
    (n, 1, h, w) in [0, 1].
    """
    red, green, blue = rgb.split(1, dim=1)
    luma: Tensor = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return luma


def chroma_to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """Undo `rgb_to_chroma`, given the luma.

    Parameters
    ----------
    luma
        (n, 1, h, w).
    chroma
        (n, 2, h, w) scaled Cb and Cr.

    Returns
    -------
    (n, 3, h, w) sRGB display values, outside [0, 1] where no colour has this luma and chroma.
    """
    cb, cr = chroma.split(1, dim=1)
    red, blue = cr * (1 - _LUMA[0]), cb * (1 - _LUMA[2])
    green = -(_LUMA[0] * red + _LUMA[2] * blue) / _LUMA[1]
    return luma + torch.cat((red, green, blue), dim=1)


def ab_to_chroma(ab: Tensor, lightness: Tensor) -> Tensor:
    """Cb and Cr of the colours that lightness and ab make.

    Parameters
    ----------
    ab
        (n, 2, h, w), unscaled.
    lightness
        (n, 1, h, w), L in [0, 100].

    Returns
    -------
    (n, 2, h, w), scaled to [-1, 1].
    """
    return rgb_to_chroma(lab_to_rgb(torch.cat((lightness, ab), dim=1), map_gamut=False))


def chroma_to_ab(chroma: Tensor, lightness: Tensor) -> Tensor:
    """Find the ab of the colour that has a chroma of BT.601 and a lightness.

    The luma that belongs to Cb and Cr is not that of the grey picture: a pure blue of L 32 has a
    luma of 0.11, a grey of L 32 one of 0.30. It is the only one at which the colour has the
    lightness that was given; L rises with it, so that halving an interval finds it.

    Parameters
    ----------
    chroma
        (n, 2, h, w) scaled Cb and Cr; limited to [-1, 1], beyond which there is no colour.
    lightness
        (n, 1, h, w), L in [0, 100].

    Returns
    -------
    (n, 2, h, w) ab; out of gamut where sRGB has no colour of this chroma and lightness.

    Examples
    --------
    >>> lab = torch.tensor([40.0, 30.0, -20.0]).view(1, 3, 1, 1)
    >>> chroma = ab_to_chroma(lab[:, 1:], lab[:, :1])
    >>> [round(value, 1) for value in chroma_to_ab(chroma, lab[:, :1]).flatten().tolist()]
    [30.0, -20.0]
    """
    differences = chroma_to_rgb(torch.zeros_like(lightness), chroma.clamp(-1, 1))
    low, high = (torch.full_like(lightness, bound) for bound in _LUMA_BOUNDS)
    for _ in range(_LUMA_HALVINGS):
        middle = (low + high) / 2
        dark = rgb_to_lightness(middle + differences) < lightness
        low, high = torch.where(dark, middle, low), torch.where(dark, high, middle)
    return rgb_to_lab((low + high) / 2 + differences)[:, 1:]
