"""Pictures to measure with, made of the photographs that scikit-image ships.

Enlarged photographs are smooth, and smooth JPEG files decode faster than real ones; so they get
a little grain. The giants, for memory alone, are smooth and made in strips.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

from zcolor.training.dataset import Rgb8

NAMES = ("astronaut", "coffee", "chelsea", "rocket")
"""Photographs in colour that come with scikit-image itself, without a download."""
GRAIN = 4.0
"""Sigma of the grain, in levels of 255: a JPEG of quality 90 then has about 2 bits a pixel."""
INPUT_QUALITY = 90
"""JPEG quality of the pictures to be coloured."""
# Rows and columns of random colour that a giant is enlarged from, and rows made at a time.
_SEED_SIDE = 64
_STRIP_ROWS = 256


def photograph(height: int, width: int, *, index: int = 0) -> Rgb8:
    """Make a photograph of a size: cut to its proportions, resized, with grain.

    Parameters
    ----------
    height, width
        In pixels.
    index
        Which; they differ in what they show or in their grain.

    Returns
    -------
    (height, width, 3) uint8 RGB, the same for the same arguments.
    """
    source: Rgb8 = getattr(data, NAMES[index % len(NAMES)])()
    if index // len(NAMES) % 2:
        source = source[:, ::-1]
    scale = min(source.shape[0] / height, source.shape[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (source.shape[0] - rows) // 2, (source.shape[1] - columns) // 2
    cut = np.ascontiguousarray(source[top : top + rows, left : left + columns])
    method = cv2.INTER_CUBIC if scale < 1 else cv2.INTER_AREA
    pixels = cv2.resize(cut, (width, height), interpolation=method)
    grain = np.random.default_rng(index).standard_normal((height, width, 1), dtype=np.float32)
    grain *= GRAIN
    grained: Rgb8 = np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)
    return grained


def jpeg_bytes(pixels: Rgb8, *, grey: bool = False, quality: int = INPUT_QUALITY) -> bytes:
    """Encode a picture to be coloured, (h, w, 3) RGB; `grey` files have one channel."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert("L") if grey else image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def make_folder(folder: Path, n: int, *, megapixels: tuple[float, float]) -> list[Path]:
    """Fill a folder with mixed JPEG files.

    Sizes are evenly spread on a logarithmic scale, in mixed order; proportions 3:2, 4:3 and 1:1,
    across and upright; qualities 75, 85 and 95; every fourth has one channel.

    Parameters
    ----------
    folder
        Where; it is made.
    n
        How many.
    megapixels
        The smallest and the largest, in millions of pixels.

    Returns
    -------
    Their paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.random.default_rng(0).permutation(np.geomspace(*megapixels, n))
    paths = []
    for i, size in enumerate(sizes):
        proportion = (3 / 2, 4 / 3, 1.0)[i % 3]
        if i % 5 == 4:
            proportion = 1 / proportion
        height = round((size * 1e6 / proportion) ** 0.5)
        pixels = photograph(height, round(height * proportion), index=i)
        path = folder / f"photo-{i:04d}.jpg"
        path.write_bytes(jpeg_bytes(pixels, grey=i % 4 == 3, quality=(75, 85, 95)[i % 3]))
        paths.append(path)
    return paths


def _smooth_strips(height: int, width: int) -> Iterator[Rgb8]:
    """Strips of rows of a smooth random picture, (rows, width, 3)."""
    seeds = np.random.default_rng(0).integers(0, 256, (_SEED_SIDE, _SEED_SIDE, 3), dtype=np.uint8)
    seed = cv2.resize(seeds, (width, _SEED_SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    for start in range(0, height, _STRIP_ROWS):
        rows = np.arange(start, min(start + _STRIP_ROWS, height))
        position = rows / height * (_SEED_SIDE - 1)
        upper = position.astype(int)
        weight = (position - upper)[:, None, None].astype(np.float32)
        strip = seed[upper] * (1 - weight) + seed[upper + 1] * weight
        yield np.rint(strip).astype(np.uint8)


def write_giant_jpeg(path: Path, height: int, width: int) -> None:
    """Write a large smooth JPEG file of 8-bit RGB; takes 3 bytes a pixel of memory."""
    pixels = np.empty((height, width, 3), np.uint8)
    top = 0
    for strip in _smooth_strips(height, width):
        pixels[top : top + len(strip)] = strip
        top += len(strip)
    # The colours are random, so that OpenCV may take red for blue.
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, INPUT_QUALITY])


def write_giant_png(path: Path, height: int, width: int) -> None:
    """Write a large smooth PNG file of 8-bit RGB in strips (PNG, third edition, section 11)."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    packer = zlib.compressobj(1)
    above = np.zeros((1, width, 3), np.uint8)
    with path.open("wb") as file:

        def chunk(name: bytes, content: bytes) -> None:
            body = name + content
            file.write(struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body)))

        file.write(b"\x89PNG\r\n\x1a\n")
        chunk(b"IHDR", header)
        for strip in _smooth_strips(height, width):
            # Filter 2, "up": each row is written as its difference to the one above.
            rows = np.concatenate((above, strip))
            lines = (rows[1:] - rows[:-1]).reshape(len(strip), -1)
            above = strip[-1:]
            filtered = np.insert(lines, 0, 2, axis=1)
            chunk(b"IDAT", packer.compress(filtered.tobytes()))
        chunk(b"IDAT", packer.flush())
        chunk(b"IEND", b"")
