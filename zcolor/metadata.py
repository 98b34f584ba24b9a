"""What travels with the pixels from one image file to the next: EXIF and resolution."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

logger = logging.getLogger(__name__)

_ORIENTATION_TAG = int(ExifTags.Base.Orientation)

# TIFF tags that describe how the old file stored its pixels: wrong for any new file. With them go
# the thumbnail and the private blocks of editors that repeat the orientation (XMP 700,
# IPTC 33723, Photoshop 34377 and 37724) and the colour profile (34675), which is replaced.
_STORAGE_TAGS = frozenset(
    {
        *range(254, 267), 273, *range(277, 282), 284, 285, *range(288, 294), 297, 301,
        *range(317, 326), 330, 332, 334, 336, *range(338, 343), 347, *range(512, 522),
        *range(529, 533), 700, 33723, 34377, 34675, 37724,
    }
)  # fmt: skip
_SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# What Pillow raises on EXIF that is damaged or holds values of the wrong type.
_BROKEN = (SyntaxError, ValueError, LookupError, TypeError, OverflowError, OSError, struct.error)


@dataclass(frozen=True)
class Metadata:
    """What travels with the pixels from one file to the next."""

    exif: bytes | None = None
    """EXIF block ("Exif", two zero bytes, TIFF), upright, without thumbnail; None without any."""
    dpi: tuple[float, float] | None = None
    """Dots per inch along x and y; None where the file does not say."""


def read_metadata(image: Image.Image, *, width: int, height: int) -> Metadata:
    """Collect the metadata of an open Pillow image for a new, upright sRGB file.

    The orientation becomes 1, the colour space sRGB and the recorded size the one given; the
    thumbnail and whatever describes the storage of the old file are dropped. EXIF that cannot be
    read is dropped with a logged warning.

    Parameters
    ----------
    image
        The image, after loading.
    width, height
        Size in pixels of the upright picture.

    Returns
    -------
    EXIF and resolution, either None where there is none.

    Examples
    --------
    >>> read_metadata(Image.new("L", (2, 2)), width=2, height=2)
    Metadata(exif=None, dpi=None)
    """
    try:
        exif = _clean_exif(image.getexif(), width, height)
    except _BROKEN as error:
        logger.warning("EXIF is damaged and was dropped: %s", error)
        exif = None
    return Metadata(exif=exif, dpi=_read_dpi(image.info.get("dpi")))


class _Text(str):
    """Text whose bytes are written as they were read.

    Names are often stored as UTF-8. Pillow reads bytes as Latin-1, which loses nothing, and writes
    ASCII, which does.
    """

    def encode(self, *_: object) -> bytes:
        """Give the bytes that were read."""
        return str.encode(self, "latin-1", "replace")


def exact_entries(exif: Image.Exif) -> dict[int, Any]:
    """List the entries of EXIF, directories as dictionaries, so that text is kept byte by byte.

    Parameters
    ----------
    exif
        What Pillow read.

    Returns
    -------
    Tags and values, to be written by Pillow.
    """
    found = _exact({tag: exif[tag] for tag in exif})
    for tag in _SUB_DIRECTORIES:
        found.pop(tag, None)
        entries = _exact(exif.get_ifd(tag))
        if ExifTags.IFD.Interop in entries:
            entries[ExifTags.IFD.Interop] = _exact(exif.get_ifd(ExifTags.IFD.Interop))
        if entries:
            found[int(tag)] = entries
    return found


def _exact(entries: Mapping[int, Any]) -> dict[int, Any]:
    return {tag: _Text(v) if isinstance(v, str) else v for tag, v in entries.items()}


def without_orientation(exif: bytes) -> bytes:
    """Leave the orientation out of an EXIF block; nothing else changes.

    Parameters
    ----------
    exif
        The block.

    Examples
    --------
    >>> exif = Image.Exif()
    >>> exif[_ORIENTATION_TAG], exif[315] = 1, "Ada"
    >>> block = Image.Exif()
    >>> block.load(without_orientation(exif.tobytes()))
    >>> dict(block)
    {315: 'Ada'}
    """
    read, kept = Image.Exif(), Image.Exif()
    read.load(exif)
    for tag, value in exact_entries(read).items():
        if tag != _ORIENTATION_TAG:
            kept[tag] = value
    return kept.tobytes()


def _clean_exif(exif: Image.Exif, width: int, height: int) -> bytes | None:
    pointers = {int(tag) for tag in ExifTags.IFD}
    clean = Image.Exif()
    for tag, value in exact_entries(exif).items():
        if tag in _SUB_DIRECTORIES:
            clean[tag] = _describe_pixels(value, width, height)
        elif tag not in _STORAGE_TAGS and tag not in pointers:
            clean[tag] = value
    if len(clean) == 0:
        return None
    if _ORIENTATION_TAG in clean:
        clean[_ORIENTATION_TAG] = 1
    return clean.tobytes()


def _describe_pixels(entries: dict[int, Any], width: int, height: int) -> dict[int, Any]:
    """Correct the entries that speak of the pixels; those that were not there stay away."""
    truth = {
        int(ExifTags.Base.ColorSpace): 1,
        int(ExifTags.Base.ExifImageWidth): width,
        int(ExifTags.Base.ExifImageHeight): height,
    }
    return {tag: truth.get(tag, value) for tag, value in entries.items()}


def _read_dpi(dpi: Any) -> tuple[float, float] | None:
    """Check what the file says: Pillow passes zeros and broken fractions on.

    One dot per inch is what Pillow makes of a TIFF that does not say.
    """
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0) or x == y == 1:
        return None
    return x, y
