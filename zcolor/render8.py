"""8-bit pictures on the CPU: ab joined to their full-size L by OpenCV, strip by strip.

The maths is that of `zcolor.lab` and `zcolor.upsample`, on pictures as OpenCV lays them out, which
takes a fifth of the time. The pictures differ by one level at a few pixels in a thousand (tested).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from zcolor.lab8 import Floats, UInt8, rgb8_to_lightness
from zcolor.upsample import GuidedAb, taps

# Pixels of a strip: 0.5 MB of floats a plane, so that calls cost little and caches still help.
_STRIP_PIXELS = 1 << 17
# A channel that OpenCV has clipped to black or to white was outside the gamut, or at its border.
_INSIDE = ((float(np.finfo(np.float32).tiny),) * 3, (1 - 1e-6,) * 3)
# Halvings in the search for the largest chroma inside the gamut: it is right to 1/2048 of itself.
# With 8 of them strong colours in the shadows, where sRGB is steep, were off by up to 7 levels.
_GAMUT_HALVINGS = 11


def join_8bit(pixels: UInt8, ab: GuidedAb | Tensor, out: UInt8) -> None:
    """Join ab to the full-size L of pictures of equal size.

    Works on as many threads as torch has in the calling thread.

    Parameters
    ----------
    pixels
        (n, h, w, c) sRGB; c = 1 or 2 grey, 3 or 4 RGB. What is behind the colour is left alone.
    ab
        What `zcolor.upsample.guide_ab` gave, or (n, 2, h', w') ab for the bilinear way; float32
        on the CPU.
    out
        (n, h, w, 3) sRGB is written here: it may be the colour of `pixels` itself.

    Examples
    --------
    >>> grey = np.full((1, 4, 6, 1), 128, np.uint8)
    >>> colored = np.empty((1, 4, 6, 3), np.uint8)
    >>> join_8bit(grey, torch.zeros(1, 2, 1, 1), colored)
    >>> colored[0, 0, 0].tolist()
    [128, 128, 128]
    """
    n, height, width, n_channels = pixels.shape
    n_rows = max(1, _STRIP_PIXELS // width)
    wide = [_wide(part, width) for part in (ab if isinstance(ab, Tensor) else ab.planes)]

    def join(photo: int, start: int) -> None:
        rows = (start, min(start + n_rows, height))
        strip = pixels[photo, slice(*rows), :, : 1 if n_channels < 3 else 3]
        lightness = rgb8_to_lightness(np.ascontiguousarray(strip))
        full_ab = _full_ab(wide[photo], lightness, height, rows)
        rgb = _in_gamut_rgb(np.asarray(cv2.merge((lightness, *full_ab)), np.float32))
        out[photo, slice(*rows)] = cv2.convertScaleAbs(rgb, alpha=255).reshape(rgb.shape)

    strips = [(photo, start) for photo in range(n) for start in range(0, height, n_rows)]
    n_threads = min(torch.get_num_threads(), len(strips))
    if n_threads == 1:
        for strip in strips:
            join(*strip)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(join, *zip(*strips, strict=True)))  # raises what a strip raised


def _wide(planes: Tensor, width: int) -> Floats:
    """Bring (c, h', w') planes to full width, bilinearly: (c, h', width)."""
    size = (width, planes.shape[1])
    resized = [cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in planes.numpy()]
    return np.asarray(resized, np.float32)


def _full_ab(
    wide: Floats, lightness: Floats, height: int, rows: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Bring (2 or 9, h', w) planes to the rows of the strip that has this lightness: a and b."""
    lower, upper, weight = (part.numpy() for part in taps(*rows, wide.shape[1], height))
    weight = weight.astype(np.float32)[:, None]
    full = np.empty((len(wide), *lightness.shape), np.float32)
    # Rows between the same two rows of the planes are filled at once.
    ends = [*np.flatnonzero(np.diff(lower)) + 1, len(lower)]
    for first, last in zip([0, *ends], ends, strict=False):
        above = wide[:, lower[first], None]
        step = wide[:, upper[first], None] - above
        np.multiply(step, weight[first:last], out=full[:, first:last])
        full[:, first:last] += above
    if len(full) == 2:
        return full[0], full[1]
    plain, slope, smooth, low, high = np.split(full, (2, 4, 5, 7))
    slope *= np.subtract(lightness, smooth, out=smooth)
    plain += slope
    np.minimum(np.maximum(plain, low, out=plain), high, out=plain)
    return plain[0], plain[1]


def _in_gamut_rgb(lab: Floats) -> Floats:
    """Convert (h, w, 3) Lab to sRGB in [0, 1], like `zcolor.lab.lab_to_rgb`."""
    rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
    outside = np.flatnonzero(cv2.inRange(rgb, *_INSIDE).ravel() == 0)
    if outside.size:
        lightness, a, b = lab.reshape(-1, 3)[outside].T.copy()
        scale = np.zeros_like(lightness)
        for halving in range(1, _GAMUT_HALVINGS + 1):
            trial = scale + np.float32(0.5**halving)
            linear = cv2.cvtColor(_row(lightness, a * trial, b * trial), cv2.COLOR_Lab2LRGB)
            scale = np.where(cv2.inRange(linear, *_INSIDE)[0], trial, scale)
        mapped = cv2.cvtColor(_row(lightness, a * scale, b * scale), cv2.COLOR_Lab2RGB)
        rgb.reshape(-1, 3)[outside] = mapped[0]
    return np.asarray(rgb, np.float32)


def _row(lightness: Floats, a: Floats, b: Floats) -> Floats:
    """Lay pixels out as a picture of one row, (1, m, 3)."""
    return np.asarray(cv2.merge((lightness[None], a[None], b[None])), np.float32)
