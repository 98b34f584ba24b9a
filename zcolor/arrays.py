"""NumPy arrays and torch tensors as pictures: shapes, dtypes and ranges, integers and floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

AnyArray = npt.NDArray[Any]

_DTYPE_NAMES = "bool, uint8, uint16, float16, float32, float64"
TORCH_DTYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.uint16): torch.uint16,
    np.dtype(np.float16): torch.float16,
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
}
"""The dtypes of a picture (native byte order), NumPy to torch."""

_INTEGER_TOPS = {torch.uint8: 255, torch.uint16: 65535}


def batch_of_array(array: AnyArray) -> AnyArray:
    """Check a NumPy picture and view it as a batch; bool becomes uint8 0 and 255.

    Parameters
    ----------
    array
        (h, w), (h, w, c) or (n, h, w, c) with c = 1, 3 or 4: bool, uint8, uint16, or floats in
        [0, 1]. Not changed.

    Returns
    -------
    (n, h, w, c), sharing memory with `array` unless it was bool.

    Raises
    ------
    ValueError
        For empty arrays, other shapes, NaN, inf, and floats outside [0, 1].
    TypeError
        For other dtypes.

    Examples
    --------
    >>> batch_of_array(np.zeros((4, 6), np.uint8)).shape
    (1, 4, 6, 1)
    """
    array = np.asarray(array)
    _check_shape(array.shape, channels=-1, layout="(h, w, c)", cure="transpose(1, 2, 0)")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype.newbyteorder("=") not in TORCH_DTYPES:
        raise TypeError(
            f"a NumPy array of dtype {array.dtype} is not accepted, only {_DTYPE_NAMES}; "
            "scale it to one of them, numpy.uint8 for values of 0 to 255"
        )
    if array.dtype.kind == "f":
        _check_range(float(array.min()), float(array.max()))
    if array.ndim == 2:
        array = array[..., None]
    return array if array.ndim == 4 else array[None]


def batch_of_tensor(tensor: Tensor) -> Tensor:
    """Check a torch picture and view it as a batch; bool becomes uint8 0 and 255.

    Parameters
    ----------
    tensor
        (h, w), (c, h, w) or (n, c, h, w) with c = 1, 3 or 4: bool, uint8, uint16, or floats in
        [0, 1], on any device. Not changed.

    Returns
    -------
    (n, c, h, w), detached, sharing memory with `tensor` unless it was bool.

    Raises
    ------
    ValueError
        For empty tensors, other shapes, NaN, inf, and floats outside [0, 1].
    TypeError
        For other dtypes.

    Examples
    --------
    >>> batch_of_tensor(torch.zeros(3, 4, 6)).shape
    torch.Size([1, 3, 4, 6])
    """
    tensor = tensor.detach()
    _check_shape(tuple(tensor.shape), channels=-3, layout="(c, h, w)", cure="permute(2, 0, 1)")
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8) * 255
    if tensor.dtype not in TORCH_DTYPES.values():
        raise TypeError(
            f"a torch tensor of dtype {tensor.dtype} is not accepted, only {_DTYPE_NAMES}; "
            "scale it to one of them, torch.uint8 for values of 0 to 255"
        )
    if tensor.is_floating_point():
        low, high = tensor.aminmax()
        _check_range(low.item(), high.item())
    if tensor.ndim == 2:
        tensor = tensor[None]
    return tensor if tensor.ndim == 4 else tensor[None]


def _check_shape(shape: tuple[int, ...], *, channels: int, layout: str, cure: str) -> None:
    if 0 in shape:
        raise ValueError(f"the image is empty, its shape is {shape}; give one with pixels")
    batch = f"(n, {layout[1:]}"
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"an image has 2, 3 or 4 dimensions, (h, w), {layout} or {batch}, but this one has "
            f"{len(shape)}: {shape}; remove the others"
        )
    if len(shape) > 2 and shape[channels] not in (1, 3, 4):
        raise ValueError(
            f"an image of {len(shape)} dimensions is {layout if len(shape) == 3 else batch} with "
            f"c = 1, 3 or 4, but this one has c = {shape[channels]} in {shape}; move the channels "
            f"to their place, for one picture with .{cure}"
        )


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("the image contains NaN or inf; replace them, e.g. with numpy.nan_to_num")
    if low < 0 or high > 1:
        raise ValueError(
            f"a floating image lies in [0, 1], but this one has values from {low:g} to {high:g}; "
            "divide it by its white (255, 65535), or clip it"
        )


def to_float(pixels: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Move a picture to a device and bring it to [0, 1].

    Parameters
    ----------
    pixels
        Any shape; uint8, uint16, or floats in [0, 1].
    device, dtype
        Of the result; the pixels travel as integers.

    Returns
    -------
    Floats in [0, 1], same shape.

    Examples
    --------
    >>> to_float(torch.tensor([0, 255], dtype=torch.uint8), "cpu", torch.float32).tolist()
    [0.0, 1.0]
    """
    top = _INTEGER_TOPS.get(pixels.dtype, 1)
    if pixels.dtype == torch.uint16:  # which not every device can convert
        pixels = pixels.to(torch.int32)
    if pixels.dtype == torch.float64 and dtype != torch.float64:  # as MPS has none
        pixels = pixels.to(dtype)
    return pixels.to(device).to(dtype) / top


def from_float(rgb: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Round a picture in [0, 1] to the levels of a dtype and move it to a device.

    Parameters
    ----------
    rgb
        Floats in [0, 1], any shape.
    device
        Of the result.
    dtype
        uint8, uint16 or a float.

    Returns
    -------
    Same shape. Levels of uint16 come as int32, which every device can hold: copy them into place.

    Examples
    --------
    >>> from_float(torch.tensor([0.0, 0.5]), "cpu", torch.uint8).tolist()
    [0, 128]
    """
    if dtype not in _INTEGER_TOPS:
        return rgb.to(device).to(dtype)  # in this order: the dtype is one of the new device
    levels = (rgb * _INTEGER_TOPS[dtype]).round()
    return levels.to(torch.uint8 if dtype == torch.uint8 else torch.int32).to(device)
