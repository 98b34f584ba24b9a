"""sRGB <-> CIELAB (D65, 2 degrees) in torch, and gamut mapping.

Pictures are (n, 3, h, w) tensors; sRGB in [0, 1], L in [0, 100], ab unscaled (about -110..110).
The functions keep the dtype (float32 or float64) and the device of their input and have finite
gradients everywhere. Half precision is refused: near the border of the gamut and in the shadows
its few digits are whole colours.

References
----------
IEC 61966-2-1:1999 (sRGB); CIE 15:2004 (CIELAB).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Linear sRGB -> XYZ (ITU-R BT.709 primaries, D65), the six digits that scikit-image uses too.
RGB_TO_XYZ = torch.tensor(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ],
    dtype=torch.float64,
    device="cpu",
)
# The white point is what RGB = (1, 1, 1) gives, so that greys are neutral by construction.
WHITE_XYZ = RGB_TO_XYZ.sum(dim=1)
# XYZ relative to white, in one step: every row sums to 1.
_RGB_TO_RELATIVE = RGB_TO_XYZ / WHITE_XYZ[:, None]
_RELATIVE_TO_RGB = torch.linalg.inv(_RGB_TO_RELATIVE)

# IEC 61966-2-1: the knee of the transfer curve, in display values, and its linear slope.
SRGB_KNEE = 0.04045
SRGB_SLOPE = 12.92
# CIE 15: delta = 6/29 is the knee of f on the f side, delta^3 on the XYZ side.
LAB_DELTA = 6.0 / 29.0

# Halvings in the search for the largest chroma inside the gamut: chroma is right to 1/4096.
_GAMUT_HALVINGS = 12
# Linear light this far outside [0, 1] is rounding, not colour; worth less than 1e-3 in L.
_GAMUT_TOLERANCE = 1e-6
# Pixels that are converted at once on a CPU.
_CACHED_PIXELS = 1 << 16


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Undo the sRGB transfer curve.

    Parameters
    ----------
    rgb
        sRGB display values in [0, 1], any shape, floating.

    Returns
    -------
    Linear light in [0, 1], same shape.

    Examples
    --------
    >>> srgb_to_linear(torch.tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    # The clamp keeps the gradient of the branch that is not taken finite.
    curve = ((rgb.clamp(min=SRGB_KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(rgb > SRGB_KNEE, curve, rgb / SRGB_SLOPE)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Apply the sRGB transfer curve.

    Parameters
    ----------
    linear
        Linear light, any shape, floating. Values below 0 continue the straight part.

    Returns
    -------
    sRGB display values, same shape.

    Examples
    --------
    >>> round(linear_to_srgb(torch.tensor(0.18)).item(), 3)
    0.461
    """
    knee = SRGB_KNEE / SRGB_SLOPE
    curve = 1.055 * linear.clamp(min=knee) ** (1 / 2.4) - 0.055
    return torch.where(linear > knee, curve, linear * SRGB_SLOPE)


def _mix(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix of (rows, 3) to the channels of (n, 3, h, w).

    Written out, since autocast would turn a matrix product into half precision, and the rounding
    of one depends on the number of threads and pixels.
    """
    first, second, third = pixels.unbind(dim=1)
    rows = [a * first + b * second + c * third for a, b, c in matrix.tolist()]
    return torch.stack(rows, dim=1)


def _f(t: Tensor) -> Tensor:
    """CIE 15's f: a cube root with a straight part below delta^3."""
    curve = t.clamp(min=LAB_DELTA**3) ** (1 / 3)
    return torch.where(t > LAB_DELTA**3, curve, t / (3 * LAB_DELTA**2) + 4.0 / 29.0)


def _f_inverse(f: Tensor) -> Tensor:
    return torch.where(f > LAB_DELTA, f**3, 3 * LAB_DELTA**2 * (f - 4.0 / 29.0))


def _check_channels(pixels: Tensor, channels: int, what: str) -> None:
    precise = pixels.dtype in (torch.float32, torch.float64)
    if pixels.ndim != 4 or pixels.shape[1] != channels or not precise:
        raise ValueError(
            f"{what} must be a float32 or float64 tensor of shape (n, {channels}, h, w), "
            f"got {pixels.dtype} {tuple(pixels.shape)}; "
            "convert with .float() and .permute(...) first"
        )


def _in_parts(convert: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Convert (n, c, h, w) so many pixels at a time as a CPU's cache holds.

    Every operation goes through memory; this takes less than half the time for large pictures.
    """
    height, width = pixels.shape[2:]
    learning = torch.is_grad_enabled() and pixels.requires_grad
    if pixels.device.type != "cpu" or learning or height * width <= _CACHED_PIXELS:
        return convert(pixels)
    parts = pixels.reshape(*pixels.shape[:2], -1, 1).split(_CACHED_PIXELS, dim=2)
    converted = torch.cat([convert(part) for part in parts], dim=2)
    return converted.reshape(*converted.shape[:2], height, width)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB to CIELAB.

    Parameters
    ----------
    rgb
        (n, 3, h, w) sRGB in [0, 1].

    Returns
    -------
    (n, 3, h, w): L in [0, 100], a and b unscaled (about -86..98 and -108..94).

    Raises
    ------
    ValueError
        If the shape or the dtype is another.

    Examples
    --------
    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round(decimals=3).abs().tolist()
    [100.0, 0.0, 0.0]
    """
    _check_channels(rgb, 3, "rgb")
    return _in_parts(_rgb_to_lab, rgb)


def _rgb_to_lab(rgb: Tensor) -> Tensor:
    fx, fy, fz = _f(_mix(srgb_to_linear(rgb), _RGB_TO_RELATIVE)).unbind(dim=1)
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), dim=1)


def rgb_to_lightness(rgb: Tensor) -> Tensor:
    """Lightness alone: `rgb_to_lab(rgb)[:, :1]` for a third of the work.

    Parameters
    ----------
    rgb
        (n, 3, h, w) sRGB in [0, 1].

    Returns
    -------
    (n, 1, h, w): L in [0, 100].

    Raises
    ------
    ValueError
        If the shape or the dtype is another.

    Examples
    --------
    >>> round(rgb_to_lightness(torch.full((1, 3, 1, 1), 0.5)).item(), 2)
    53.39
    """
    _check_channels(rgb, 3, "rgb")
    luminance = _mix(srgb_to_linear(rgb), _RGB_TO_RELATIVE[1:2])
    return 116 * _f(luminance) - 16


def _lab_to_linear(lab: Tensor) -> Tensor:
    """Linear RGB of Lab, outside [0, 1] where the colour is out of gamut."""
    lightness, a, b = lab.unbind(dim=1)
    fy = (lightness + 16) / 116
    relative = _f_inverse(torch.stack((fy + a / 500, fy, fy - b / 200), dim=1))
    return _mix(relative, _RELATIVE_TO_RGB)


def _outside(linear: Tensor) -> Tensor:
    low, high = linear.aminmax(dim=1)
    return (low < -_GAMUT_TOLERANCE) | (high > 1 + _GAMUT_TOLERANCE)


def map_to_gamut(lab: Tensor) -> Tensor:
    """Bring colours that sRGB cannot show back by lowering chroma at constant L and hue.

    Clipping RGB instead would change the lightness, which is the one thing that the photograph
    gave us.

    Parameters
    ----------
    lab
        (n, 3, h, w); L outside [0, 100] is clamped to it.

    Returns
    -------
    (n, 3, h, w): inside the gamut; colours that were inside are unchanged, the others sit on its
    border (chroma right to 1/4096 of itself, on the inner side).

    Raises
    ------
    ValueError
        If the shape or the dtype is another.

    Examples
    --------
    >>> far = torch.tensor([50.0, 100.0, 100.0]).view(1, 3, 1, 1)
    >>> near = map_to_gamut(far).flatten()
    >>> near[0].item(), bool(near[1] == near[2]), bool(near[1] < 100)
    (50.0, True, True)
    """
    _check_channels(lab, 3, "lab")
    lab = torch.cat((lab[:, :1].clamp(0, 100), lab[:, 1:]), dim=1)
    outside = _outside(_lab_to_linear(lab))
    if not bool(outside.any()):
        return lab
    # Only the pixels outside are searched: (1, 3, m, 1), in the shape _lab_to_linear knows.
    pixels = lab.permute(0, 2, 3, 1)[outside].t()[None, :, :, None]
    inner = pixels.new_zeros(pixels.shape[2])
    step = 0.5
    for _ in range(_GAMUT_HALVINGS):
        trial = inner + step
        scaled = torch.cat((pixels[:, :1], pixels[:, 1:] * trial[None, None, :, None]), dim=1)
        inner = torch.where(_outside(_lab_to_linear(scaled))[0, :, 0], inner, trial)
        step /= 2
    scale = lab.new_ones(outside.shape)
    scale[outside] = inner
    return torch.cat((lab[:, :1], lab[:, 1:] * scale[:, None]), dim=1)


def lab_to_rgb(lab: Tensor, *, map_gamut: bool = True) -> Tensor:
    """Convert CIELAB to sRGB.

    Parameters
    ----------
    lab
        (n, 3, h, w): L in [0, 100], ab unscaled.
    map_gamut
        Lower the chroma of colours that sRGB cannot show until it can (`map_to_gamut`). Without
        it the result of such colours lies outside [0, 1].

    Returns
    -------
    (n, 3, h, w) sRGB, in [0, 1] when `map_gamut` is set.

    Raises
    ------
    ValueError
        If the shape or the dtype is another.

    Examples
    --------
    >>> lab = torch.tensor([100.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> lab_to_rgb(lab).flatten().round(decimals=5).tolist()
    [1.0, 1.0, 1.0]
    """
    _check_channels(lab, 3, "lab")
    return _in_parts(_lab_to_rgb if map_gamut else _lab_to_any_rgb, lab)


def _lab_to_any_rgb(lab: Tensor) -> Tensor:
    return linear_to_srgb(_lab_to_linear(lab))


def _lab_to_rgb(lab: Tensor) -> Tensor:
    return linear_to_srgb(_lab_to_linear(map_to_gamut(lab)).clamp(0, 1)).clamp(0, 1)
