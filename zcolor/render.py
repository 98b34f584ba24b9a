"""The L of a picture at any size, and ab joined to its full-size L, with little float at a time.

Pictures are NumPy (n, h, w, c) or torch (n, c, h, w), sRGB; c = 1 grey, 2 grey and alpha, 3 RGB,
4 RGB and alpha; uint8, uint16, or floats in [0, 1].

What is here works for all of them on every device. For pictures of 8 bits on a CPU `join_ab` hands
over to `zcolor.render8`, which does the same with OpenCV's tables (`zcolor.lab8`), several times as
fast and within a level.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zcolor.arrays import TORCH_DTYPES, AnyArray, from_float, to_float
from zcolor.lab import lab_to_rgb, rgb_to_lightness
from zcolor.render8 import join_8bit
from zcolor.settings import check_upsample
from zcolor.upsample import guide_ab, upsample_ab
from zcolor.working import resize_area

STRIP_PIXELS = 1 << 19
"""Full-size pixels that are float at a time: about 0.1 GB of them while they are converted."""


def resized_lightness(
    pixels: AnyArray | Tensor,
    height: int,
    width: int,
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Give the L of pictures at another size.

    The pixels are brought to that size in their own dtype (by area where they shrink, linearly
    where they grow) and only then become float.

    Parameters
    ----------
    pixels
        As at the top of this module. Not changed.
    height, width
        Size of the result in pixels.
    device, dtype
        Of the result; float32 or float64.

    Returns
    -------
    (n, 1, height, width) L in [0, 100].

    Examples
    --------
    >>> white = np.full((1, 4, 6, 1), 255, np.uint8)
    >>> resized_lightness(white, 2, 2, device="cpu").round().unique().tolist()
    [100.0]
    """
    small = np.stack(
        [resize_area(_channels_last(pixels, i), height, width) for i in range(pixels.shape[0])]
    )
    rgb = to_float(torch.from_numpy(small).permute(0, 3, 1, 2), device, dtype)
    return rgb_to_lightness(rgb.expand(-1, 3, -1, -1)).clamp(0, 100)


def join_ab(
    pixels: AnyArray | Tensor,
    ab: Tensor,
    *,
    upsample: str = "guided",
    saturation: float = 1.0,
    dtype: torch.dtype | None = None,
    in_place: bool = False,
    inside: tuple[slice, slice] | None = None,
) -> Tensor:
    """Join ab to the full-size L of pictures of equal size.

    Works in horizontal strips of `STRIP_PIXELS` on the device of `ab`; `zcolor.lab.lab_to_rgb`
    brings colours that sRGB cannot show back to it. 8 bits on the CPU go through
    `zcolor.render8`, which is much faster there.

    Parameters
    ----------
    pixels
        As at the top of this module. Not changed.
    ab
        (n, 2, h', w'), unscaled, of any size.
    upsample, saturation
        As for `zcolor.photo.Photo.with_ab`.
    dtype
        Of the result: uint8, uint16 or a float; None takes that of the pixels.
    in_place
        Write the colours over NumPy `pixels` and return these, where they have room for them (RGB
        or RGBA, of the result's dtype, not read-only); the picture is never held twice then.
    inside
        Rows and columns that `ab` belongs to; what is around them stays grey.

    Returns
    -------
    (n, 3 or 4, h, w) RGB in sRGB, with the alpha of the pixels where they have it: on the device
    of torch pixels; on the CPU, with the channels last in memory, for NumPy pixels.

    Raises
    ------
    ValueError
        For ab of another shape, or not finite, and options that make no sense.

    Examples
    --------
    >>> grey = np.full((1, 4, 6, 1), 128, np.uint8)
    >>> join_ab(grey, torch.zeros(1, 2, 1, 1))[0, :, 0, 0].tolist()
    [128, 128, 128]
    """
    if inside is not None:
        within = pixels[:, :, *inside] if isinstance(pixels, Tensor) else pixels[:, *inside]
        colored = join_ab(within, ab, upsample=upsample, saturation=saturation, dtype=dtype)
        grey = ab.new_zeros(len(ab), 2, 1, 1)
        framed = join_ab(pixels, grey, upsample="bilinear", dtype=dtype, in_place=in_place)
        framed[:, :, *inside] = colored
        return framed
    if isinstance(pixels, Tensor):
        n, n_channels, height, width = pixels.shape
        own = pixels.dtype
    else:
        n, height, width, n_channels = pixels.shape
        own = TORCH_DTYPES[pixels.dtype.newbyteorder("=")]
    _check(n, ab, saturation)
    check_upsample(upsample)
    dtype = own if dtype is None else dtype
    has_alpha = n_channels in (2, 4)
    n_color, n_out = (3 if n_channels > 2 else 1), (4 if has_alpha else 3)
    if isinstance(pixels, Tensor):
        out = torch.empty((n, n_out, height, width), dtype=dtype, device=pixels.device)
    elif in_place and n_out == n_channels and dtype == own and pixels.flags.writeable:
        out = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    else:
        out = torch.empty((n, height, width, n_out), dtype=dtype, device="cpu")
        out = out.permute(0, 3, 1, 2)
    # MPS has no float64.
    double = own == torch.float64 and ab.device.type != "mps"
    work_dtype = torch.float64 if double else torch.float32
    ab = ab.detach().to(work_dtype) * float(saturation)
    guided = None
    if upsample == "guided":
        small = resized_lightness(
            pixels, ab.shape[2], ab.shape[3], device=ab.device, dtype=work_dtype
        )
        guided = guide_ab(small, ab)
    if own == dtype == torch.uint8 and {ab.device.type, out.device.type} == {"cpu"}:
        bytes_in, bytes_out = _as_array(pixels), _as_array(out)
        if has_alpha:
            bytes_out[..., 3:] = bytes_in[..., -1:]
        join_8bit(bytes_in, ab if guided is None else guided, bytes_out[..., :3])
        return out
    n_rows = max(1, STRIP_PIXELS // (n * width))
    for start in range(0, height, n_rows):
        rows = (start, min(start + n_rows, height))
        strip = _strip(pixels, *rows)
        rgb = to_float(strip[:, :n_color], ab.device, work_dtype)
        lightness = rgb_to_lightness(rgb.expand(-1, 3, -1, -1))
        if guided is None:
            full_ab = upsample_ab(ab, height, width, rows=rows)
        else:
            full_ab = guided.upsample(lightness, height, rows=rows)
        colored = lab_to_rgb(torch.cat((lightness, full_ab), dim=1))
        target = out[:, :, rows[0] : rows[1]]
        target[:, :3].copy_(from_float(colored, out.device, dtype))
        if has_alpha:
            alpha = strip[:, -1:]
            if alpha.dtype != dtype:  # 16 bits for a kind that holds 8
                alpha = from_float(to_float(alpha, "cpu", work_dtype), out.device, dtype)
            target[:, 3:].copy_(alpha)
    return out


def _as_array(pixels: AnyArray | Tensor) -> AnyArray:
    """View a picture on the CPU as (n, h, w, c)."""
    if isinstance(pixels, Tensor):
        array: AnyArray = pixels.permute(0, 2, 3, 1).numpy()
        return array
    return pixels


def _check(n: int, ab: Tensor, saturation: float) -> None:
    if ab.ndim != 4 or ab.shape[:2] != (n, 2) or 0 in ab.shape:
        raise ValueError(
            f"ab must have the shape ({n}, 2, h, w) for this photo, "
            f"got {tuple(ab.shape)}; give one pair of planes per picture"
        )
    if not ab.is_floating_point() or not bool(ab.isfinite().all()):
        raise ValueError(
            f"ab must be floating and finite, got {ab.dtype}"
            f"{'' if not ab.is_floating_point() else ' with NaN or inf'}; check the network"
        )
    if not (math.isfinite(saturation) and saturation >= 0):
        raise ValueError(f"saturation must be 0 or more (1 leaves ab alone), got {saturation}")


def _strip(pixels: AnyArray | Tensor, start: int, stop: int) -> Tensor:
    """Give some rows (n, c, rows, w) in the dtype of the pixels."""
    if isinstance(pixels, Tensor):
        return pixels[:, :, start:stop]
    # A copy of the strip: arrays may be read-only, reversed or byte-swapped, tensors may not.
    rows = np.array(pixels[:, start:stop], dtype=pixels.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def _channels_last(pixels: AnyArray | Tensor, index: int) -> AnyArray:
    """Give the colour of one picture as a contiguous (h, w, 1 or 3) array for OpenCV."""
    if isinstance(pixels, Tensor):
        n_color = 1 if pixels.shape[1] < 3 else 3
        picture: AnyArray = pixels[index, :n_color].permute(1, 2, 0).cpu().numpy()
    else:
        picture = pixels[index, :, :, : 1 if pixels.shape[3] < 3 else 3]
    dtype = picture.dtype.newbyteorder("=")
    if dtype == np.float16:  # which OpenCV cannot resize
        dtype = np.dtype(np.float32)
    contiguous: AnyArray = np.ascontiguousarray(picture, dtype=dtype)
    return contiguous
