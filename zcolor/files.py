"""Image files and bytes: decode, encode, orientation, colour profile, metadata and limits.

The pixels are decoded by `zcolor.readers`, converted to sRGB by `zcolor.icc`, encoded by
`zcolor.writers`; `zcolor.metadata` says what else is kept.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from zcolor.atomic import whole_file
from zcolor.formats import format_for
from zcolor.header_checks import check_header
from zcolor.icc import srgb_profile, to_srgb
from zcolor.metadata import Metadata, read_metadata
from zcolor.pillow_warnings import pillow_warnings_logged
from zcolor.readers import (
    READABLE_FORMATS,
    ImageReadError,
    Source,
    identify,
    load_pixels,
    open_source,
)
from zcolor.writers import write_encoded

UInt = npt.NDArray[np.uint8 | np.uint16]

MAX_PIXELS = 300_000_000
"""Pictures with more pixels are refused before they are decoded, unless the caller allows more."""

# Pillow calls the whole Netpbm family PPM; the first two bytes tell whether it can hold colour.
_NETPBM = {b"P1": "PBM", b"P4": "PBM", b"P2": "PGM", b"P5": "PGM"}

# What Pillow, OpenCV and zlib raise on files that are cut off, damaged or not what they claim
# (AssertionError: Pillow's, on a file that was closed; RuntimeError: its AVIF decoder's).
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError,
    AssertionError, RuntimeError, struct.error, zlib.error, cv2.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A picture as it came out of a file: upright, in sRGB."""

    pixels: UInt
    """(h, w, c): c = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; alpha is straight. An array
    of its own, that may be written to."""
    format: str | None
    """Pillow's name of the format ("JPEG"), "PBM" and "PGM" told apart; None if from memory."""
    metadata: Metadata
    """EXIF and resolution."""
    reduction: int = 1
    """How many times smaller than it is stored it was decoded: 1, 2, 4 or 8."""


def read_image(
    source: Source, *, max_pixels: int = MAX_PIXELS, least_side: int = 0
) -> DecodedImage:
    r"""Decode an image file: upright, converted to sRGB, 16 bits kept where the file has them.

    The EXIF orientation is applied and then reset to 1, the embedded thumbnail is dropped.
    An embedded profile is applied (`zcolor.icc.to_srgb` says what that means for 16 bits).

    Parameters
    ----------
    source
        A path, the bytes of a file, or a binary file object (read from where it stands).
    max_pixels
        Refuse pictures with more pixels than this, judged by the header before decoding.
    least_side
        Where the picture will be shrunk to this short side, in pixels, JPEG files are decoded 2, 4
        or 8 times smaller, as far as the short side stays above it: the decoder leaves out the
        fine waves of each block, which takes less time. 0 decodes all.

    Returns
    -------
    The picture, 8 or 16 bits per channel.

    Raises
    ------
    FileNotFoundError
        If there is no file of that name.
    IsADirectoryError
        If it is a folder.
    ImageReadError
        For empty, truncated, damaged, foreign or animated files, 32-bit pixels, and pictures
        above `max_pixels`.
    TypeError
        If `source` is none of the kinds above.

    Examples
    --------
    >>> read_image(b"P5 2 1 255 \x00\xff").pixels.tolist()
    [[[0], [255]]]
    """
    with _identified(source) as (image, name, stream):
        return _decode(image, name, max_pixels, stream, least_side=least_side)


def image_size(source: Source) -> tuple[int, int]:
    r"""Read the size of a picture from the header of its file, without decoding it.

    Parameters
    ----------
    source
        As for `read_image`.

    Returns
    -------
    (width, height) in pixels, as stored: before the EXIF orientation is applied.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ImageReadError, TypeError
        As for `read_image`, as far as the header tells.

    Examples
    --------
    >>> image_size(b"P5 2 1 255 \x00\xff")
    (2, 1)
    """
    with _identified(source) as (image, _, _):
        return image.size


@contextmanager
def _identified(source: Source) -> Iterator[tuple[Image.Image, str, IO[bytes]]]:
    """Open an image file, not yet decoded, with a name for messages and its stream."""
    with open_source(source) as (stream, name), pillow_warnings_logged():
        try:
            image = identify(stream)
            if image is None:
                raise ImageReadError(
                    f"{name} is no image that can be read; accepted are "
                    f"{', '.join(READABLE_FORMATS)}: convert it to one of these first"
                )
            yield image, name, stream
        except ImageReadError:
            raise
        except MemoryError as error:
            raise ImageReadError(
                f"{name} asks for more memory than there is; if it is whole, make it smaller or "
                "lower max_pixels"
            ) from error
        except _BROKEN as error:
            raise ImageReadError(
                f"{name} is truncated or damaged ({type(error).__name__}: {error}); accepted are "
                "whole image files: get the file again or repair it with an image editor"
            ) from error


def from_pil(image: Image.Image, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Take a Pillow image the way `read_image` takes a file.

    Parameters
    ----------
    image
        A Pillow image; the orientation, profile and metadata that it carries count. Not changed.
    max_pixels
        Refuse pictures with more pixels than this.

    Returns
    -------
    The picture; `format` is None.

    Raises
    ------
    ImageReadError
        As for `read_image`.

    Examples
    --------
    >>> from_pil(Image.new("L", (3, 2))).pixels.shape
    (2, 3, 1)
    """
    name = f"the PIL image (mode {image.mode})"
    try:
        with pillow_warnings_logged():
            return _decode(image, name, max_pixels, None)
    except ImageReadError:
        raise
    except _BROKEN as error:
        raise ImageReadError(
            f"{name} cannot be loaded ({type(error).__name__}: {error}); accepted are open, whole "
            "images: call image.load() before its file is closed"
        ) from error


def _decode(
    image: Image.Image,
    name: str,
    max_pixels: int,
    stream: IO[bytes] | None,
    *,
    least_side: int = 0,
) -> DecodedImage:
    check_header(image, name, max_pixels, stream)
    stored_width = image.width
    if least_side and image.format == "JPEG":
        image.draft(None, (least_side, least_side))
    reduction = round(stored_width / image.width)
    pixels, space = load_pixels(image, name, stream)
    height, width = pixels.shape[:2]
    metadata = read_metadata(image, width=width, height=height)
    file_format, profile = _format_of(image, stream), image.info.get("icc_profile")
    if stream is not None:  # opened here: Pillow's copy goes before a profile asks for another
        image.close()
    n_color = {"GRAY": 1, "RGB": 3, "CMYK": 4}[space]
    color = to_srgb(pixels[..., :n_color], profile, space=space)
    if np.may_share_memory(color, pixels):  # nothing to convert
        color = pixels
    elif pixels.shape[2] > n_color:
        color = np.concatenate((color, pixels[..., n_color:]), axis=2)
    return DecodedImage(pixels=color, format=file_format, metadata=metadata, reduction=reduction)


def _format_of(image: Image.Image, stream: IO[bytes] | None) -> str | None:
    if stream is None:
        return None
    if image.format == "PPM":
        stream.seek(0)
        return _NETPBM.get(stream.read(2), "PPM")
    return "JPEG" if image.format == "MPO" else image.format


def encode_image(
    pixels: UInt, file_format: str, metadata: Metadata | None = None, *, quality: int = 95
) -> bytes:
    """Encode a colour picture in sRGB, with an sRGB profile where the format has a place for it.

    Parameters
    ----------
    pixels
        (h, w, 3) RGB or (h, w, 4) RGB and straight alpha, uint8 or uint16 sRGB. PNG, TIFF
        and PPM hold 16 bits; for other formats they are rounded to 8.
    file_format
        One of `COLOR_FORMATS`.
    metadata
        EXIF and resolution, kept by the formats that can.
    quality
        Of JPEG, WebP and AVIF: 1 to 100.

    Returns
    -------
    The bytes of the file.

    Raises
    ------
    ValueError
        For what the format cannot hold (see `zcolor.writers.write_encoded`).

    Examples
    --------
    >>> encode_image(np.zeros((1, 1, 3), np.uint8), "PNG")[1:4]
    b'PNG'
    """
    stream = io.BytesIO()
    write_encoded(
        stream,
        pixels,
        file_format,
        icc=srgb_profile(),
        metadata=metadata or Metadata(),
        quality=quality,
    )
    return stream.getvalue()


def write_image(
    path: str | os.PathLike[str],
    pixels: UInt,
    *,
    file_format: str | None = None,
    metadata: Metadata | None = None,
    quality: int = 95,
) -> None:
    """Write a colour picture to a file, whole or not at all.

    The bytes go to a temporary name in the same folder, which then takes the place of `path` in
    one step; an existing file is replaced.

    Parameters
    ----------
    path
        Where to; the folder must exist.
    pixels, metadata, quality
        As in `encode_image`.
    file_format
        One of `COLOR_FORMATS`; None takes it from the ending of `path`.

    Raises
    ------
    ValueError
        For what the format cannot hold, or an ending that names none.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    file_format = file_format or format_for(path)
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        write_encoded(
            stream,
            pixels,
            file_format,
            icc=srgb_profile(),
            metadata=metadata or Metadata(),
            quality=quality,
        )
