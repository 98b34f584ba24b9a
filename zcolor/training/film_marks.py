"""Marks on old film and prints: scratches, hairs and dust, as an opacity for each pixel."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Line = npt.NDArray[np.float64]
"""(n, 2) points x, y in pixels."""

# OpenCV draws in fractions of a pixel: coordinates are whole numbers of 1/16.
_SUBPIXEL_BITS = 4
_SUBPIXELS = 2**_SUBPIXEL_BITS
# Pixels.
_DUST_RADIUS = (0.2, 0.8)
# Shares of the crop's side: how far a scratch leaves the straight, half the length of a hair.
_SCRATCH_TILT = 0.03
_HAIR_STEP = (0.05, 0.18)
_HAIR_POINTS = 12


def scratches(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> list[Line]:
    """Draw n lines at random, nearly straight along one side, as film is transported."""
    sides = np.array(shape[::-1])
    lines = rng.uniform(0, 1, (n, 2, 2)) * sides
    across = int(rng.integers(2))
    lines[:, 1, across] = lines[:, 0, across] + rng.normal(0, _SCRATCH_TILT * sides[across], n)
    return list(lines)


def hairs(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> list[Line]:
    """Draw n quadratic Bezier curves at random."""
    t = np.linspace(0, 1, _HAIR_POINTS)[:, None]
    lines = []
    for _ in range(n):
        start = rng.uniform(0, 1, 2) * shape[::-1]
        # A step in a random direction gives the handle, another one from there the end.
        handle, end = rng.normal(0, rng.uniform(*_HAIR_STEP) * max(shape), (2, 2))
        lines.append(start + 2 * t * (1 - t) * handle + t**2 * (handle + end))
    return lines


def draw_lines(
    shape: tuple[int, ...],
    lines: list[Line],
    opacity: tuple[float, float],
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Give the (h, w) opacity of lines one pixel wide."""
    cover = np.zeros(shape, np.uint8)
    for line, value in zip(lines, 255 * rng.uniform(*opacity, len(lines)), strict=True):
        points = np.rint(line * _SUBPIXELS).astype(np.int32)
        cv2.polylines(
            cover, [points], isClosed=False, color=value, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS
        )
    return cover


def draw_dust(
    shape: tuple[int, ...], n: int, opacity: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Give the (h, w) opacity of n specks."""
    cover = np.zeros(shape, np.uint8)
    places = np.rint(rng.uniform(0, 1, (n, 2)) * shape[::-1] * _SUBPIXELS).astype(int)
    radii = np.rint(rng.uniform(*_DUST_RADIUS, n) * _SUBPIXELS).astype(int)
    for (x, y), radius, value in zip(places, radii, 255 * rng.uniform(*opacity, n), strict=True):
        place = (int(x), int(y))
        cv2.circle(cover, place, int(radius), value, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return cover
