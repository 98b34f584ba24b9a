"""The working size: how large a photograph is when the network looks at it."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy.typing as npt

# A photo is enlarged at most this much for the network, as there is nothing more to see in it.
MAX_ENLARGEMENT = 2
# Longest side of the working size, in multiples of `size`: panoramas keep their proportions up to
# there, and memory stays bounded.
MAX_SIDE_RATIO = 8
# The networks halve three times.
SIDE_MULTIPLE = 8


def working_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Size at which the network looks at a photograph.

    Parameters
    ----------
    height, width
        Size of the photograph in pixels.
    size
        Side of the square of equal area, in pixels, at least 8.

    Returns
    -------
    (h, w): multiples of 8, at least 8 and at most 8 x `size`, in the proportions of the photograph
    as far as these bounds allow. Apart from the minimum of 8, no side is more than doubled.

    Raises
    ------
    ValueError
        If `size` is below 8 or a side below 1.

    Examples
    --------
    >>> working_shape(3000, 4000, 256), working_shape(100, 100, 256), working_shape(3, 4000, 256)
    ((224, 296), (200, 200), (8, 2048))
    """
    if size < SIDE_MULTIPLE:
        raise ValueError(f"size must be at least {SIDE_MULTIPLE} pixels, got {size}")
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    scale = min(
        size / math.sqrt(height * width),
        MAX_ENLARGEMENT,
        MAX_SIDE_RATIO * size / max(height, width),
    )

    def side(full: int) -> int:
        nearest = round(full * scale / SIDE_MULTIPLE)
        largest = MAX_ENLARGEMENT * full // SIDE_MULTIPLE
        return max(1, min(nearest, largest)) * SIDE_MULTIPLE

    return side(height), side(width)


def resize_area(pixels: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Bring a picture to another size: by area where it shrinks, linearly where it grows.

    Parameters
    ----------
    pixels
        (h, w, c), contiguous; uint8, uint16, float32 or float64 of any range.
    height, width
        The new size in pixels.

    Returns
    -------
    (height, width, c), same dtype and range.

    Examples
    --------
    >>> import numpy as np
    >>> resize_area(np.array([[[0], [100], [20], [40]]], np.uint8), 1, 2).tolist()
    [[[50], [30]]]
    """
    n_channels = pixels.shape[2]
    smaller = (min(pixels.shape[0], height), min(pixels.shape[1], width))
    # OpenCV's area method falls back to a point-wise one as soon as one side grows.
    for (rows, columns), method in (
        (smaller, cv2.INTER_AREA),
        ((height, width), cv2.INTER_LINEAR),
    ):
        if pixels.shape[:2] != (rows, columns):
            pixels = cv2.resize(pixels, (columns, rows), interpolation=method)
    return pixels.reshape(height, width, n_channels)
