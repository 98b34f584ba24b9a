"""Colour profiles (ICC): the sRGB profile that pictures leave with, and conversion to sRGB.

Colour at 8 bits goes through LittleCMS (`PIL.ImageCms`). Pillow has no 16-bit colour, so 16-bit
pixels go through the profile's own curves and matrix, read here; so do greys of both depths, for
which LittleCMS interpolates on a grid that is too coarse in the dark (10 levels off at worst).

References
----------
ICC.1:2022, sections 9.2 (tags), 10.6 (curveType) and 10.18 (parametricCurveType).
"""

from __future__ import annotations

import functools
import io
import logging
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

UInt = npt.NDArray[np.uint8 | np.uint16]
_Float = npt.NDArray[np.float64]

# A profile that moves no probe colour by more than this (of 255) is sRGB itself: converting would
# add rounding and nothing else.
_SRGB_TOLERANCE = 1
# Pixels converted at once: Pillow holds each twice, 8 bytes; the matrix path works in float64.
_CHUNK_PIXELS = 1 << 20
# Profiles whose comparison with sRGB, about 3 ms, is remembered: those of one folder are alike.
_KEPT_PROFILES = 16
_TRC_TAGS = (b"rTRC", b"gTRC", b"bTRC")
_COLORANTS = ("red_colorant", "green_colorant", "blue_colorant")


class _UnusableProfileError(ValueError):
    """The profile is broken or does not fit the pixels."""


# What a profile raises that is broken or does not fit: ValueError is also a name in it that is no
# ASCII, and a matrix that has no inverse.
_UNUSABLE = (ValueError, ImageCms.PyCMSError, OSError, struct.error)


@functools.cache
def srgb_profile() -> bytes:
    """Give the sRGB profile (about 600 bytes), the same bytes every time.

    Returns
    -------
    An ICC profile.

    Examples
    --------
    >>> srgb_profile()[36:40]
    b'acsp'
    """
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24-35 are the time of creation: fixed, so that equal pictures make equal files.
    data[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(data)


def to_srgb(pixels: UInt, profile: bytes | None, *, space: str) -> UInt:
    """Convert pixels through their ICC profile to sRGB.

    16-bit RGB keeps its 16 bits when the profile consists of curves and a matrix (camera and
    display profiles do); with a profile made of tables it is converted at 8 bits, which is logged.
    A broken profile, or one of another colour space, is logged and the pixels count as sRGB.

    Parameters
    ----------
    pixels
        (h, w, c), uint8 or uint16, without alpha: c = 1 for GRAY, 3 for RGB, 4 for CMYK.
    profile
        The ICC profile, or None for sRGB (CMYK: Pillow's plain conversion).
    space
        "GRAY", "RGB" or "CMYK": what the channels mean.

    Returns
    -------
    (h, w, 1 or 3), same dtype, sRGB: 1 channel for GRAY with a grey profile or none.

    Raises
    ------
    ValueError
        For an unknown `space`.

    Examples
    --------
    >>> to_srgb(np.full((1, 1, 1), 128, np.uint8), None, space="GRAY").tolist()
    [[[128]]]
    """
    if space not in ("GRAY", "RGB", "CMYK"):
        raise ValueError(f"space must be 'GRAY', 'RGB' or 'CMYK', got {space!r}")
    if profile:
        try:
            return _convert(pixels, profile, space)
        except _UNUSABLE as error:
            logger.warning("colour profile not used, the picture is taken as sRGB: %s", error)
    if space == "CMYK":
        return _by_rows(pixels, 3, _plain_cmyk, np.uint8)
    return pixels


def _plain_cmyk(rows: UInt) -> UInt:
    return np.asarray(Image.fromarray(rows, mode="CMYK").convert("RGB"))


def _by_rows(
    pixels: UInt,
    n_channels: int,
    convert: Callable[[UInt], UInt],
    dtype: type[np.uint8 | np.uint16],
) -> UInt:
    """Convert `_CHUNK_PIXELS` or so at a time, to another number of channels."""
    height, width = pixels.shape[:2]
    out: UInt = np.empty((height, width, n_channels), dtype)
    n_rows = max(1, _CHUNK_PIXELS // width)
    for top in range(0, height, n_rows):
        rows = slice(top, top + n_rows)
        out[rows] = convert(np.ascontiguousarray(pixels[rows]))
    return out


def _convert(pixels: UInt, profile: bytes, space: str) -> UInt:
    parsed = ImageCms.getOpenProfile(io.BytesIO(profile))
    expects = parsed.profile.xcolor_space.strip()
    if expects == "GRAY" and space == "GRAY":
        return _convert_grey(pixels, profile)
    if expects == "RGB" and space == "GRAY":
        pixels, space = np.repeat(pixels, 3, axis=2), "RGB"
    if expects != space:
        raise _UnusableProfileError(f"it describes {expects}, but the picture is {space}")
    if space == "RGB" and _is_srgb(profile):
        return pixels
    if pixels.dtype == np.uint8:
        return _littlecms(pixels, parsed, space)
    tags = _tags(profile)
    if all(tag in tags for tag in _TRC_TAGS):
        return _convert_matrix(pixels, parsed, [_curve(tags[tag]) for tag in _TRC_TAGS])
    logger.warning("a table-based colour profile was applied at 8 bits to a 16-bit picture")
    narrow = cv2.convertScaleAbs(pixels, alpha=1 / 257).astype(np.uint8, copy=False)
    return _littlecms(narrow, parsed, space).astype(np.uint16) * np.uint16(257)


def _littlecms(pixels: UInt, profile: ImageCms.ImageCmsProfile, space: str) -> UInt:
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        space,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    def convert(rows: UInt) -> UInt:
        converted = ImageCms.applyTransform(Image.fromarray(rows, mode=space), transform)
        if converted is None:
            raise _UnusableProfileError("LittleCMS gave no picture")
        return np.asarray(converted)

    return _by_rows(pixels, 3, convert, np.uint8)


@functools.lru_cache(maxsize=_KEPT_PROFILES)
def _is_srgb(profile: bytes) -> bool:
    parsed = ImageCms.getOpenProfile(io.BytesIO(profile))
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = np.abs(_littlecms(probe, parsed, "RGB").astype(int) - probe)
    return int(moved.max()) <= _SRGB_TOLERANCE


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Read the tag table that follows the 128-byte header."""
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for index in range(min(count, 256)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[name] = profile[offset : offset + size]
    return tags


def _curve(data: bytes) -> _Float:
    """Sample a curveType or parametricCurveType at the 65536 levels of a 16-bit value."""
    x = np.linspace(0.0, 1.0, 65536)
    if data[:4] == b"curv":
        (count,) = struct.unpack_from(">I", data, 8)
        if count == 0:
            return x
        table = np.array(struct.unpack_from(f">{count}H", data, 12), np.float64)
        if count == 1:
            power: _Float = x ** (table[0] / 256)
            return power
        return np.interp(x, np.linspace(0.0, 1.0, count), table / 65535)
    if data[:4] != b"para":
        raise _UnusableProfileError(f"its curve has the unknown type {data[:4]!r}")
    (kind,) = struct.unpack_from(">H", data, 8)
    n_parameters = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(kind)
    if n_parameters is None:
        raise _UnusableProfileError(f"its parametric curve has the unknown kind {kind}")
    # ICC.1 table 68, every kind written as kind 4: (a x + b)^g + e from d on, c x + f below.
    values = [v / 65536 for v in struct.unpack_from(f">{n_parameters}i", data, 12)]
    g, a, b, c, d, e, f = values[0], 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind >= 1:
        a, b = values[1:3]
        if a == 0:
            raise _UnusableProfileError("its parametric curve has no slope")
    if kind in (1, 2):
        d = -b / a
    if kind == 2:
        e = f = values[3]
    if kind >= 3:
        c, d = values[3:5]
    if kind == 4:
        e, f = values[5:7]
    with np.errstate(all="ignore"):  # what is no number is found below
        curve = np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
    if np.isnan(curve).any():
        raise _UnusableProfileError("its parametric curve has no value for every level")
    return np.clip(curve, 0.0, 1.0)


@functools.cache
def _srgb_curve() -> _Float:
    return _curve(_tags(srgb_profile())[b"rTRC"])


def _encode_srgb(linear: _Float, top: int) -> UInt:
    """Linear light to sRGB levels 0..top, by inverting the profile's own curve."""
    curve = _srgb_curve()
    encoded = np.interp(linear, curve, np.linspace(0.0, float(top), curve.size))
    return np.rint(encoded).astype(np.uint8 if top == 255 else np.uint16)


def _convert_grey(pixels: UInt, profile: bytes) -> UInt:
    tags = _tags(profile)
    if b"kTRC" not in tags:
        raise _UnusableProfileError("it is a grey profile without a grey curve (kTRC)")
    top = int(np.iinfo(pixels.dtype).max)
    linear = _curve(tags[b"kTRC"])
    probe = _encode_srgb(linear[:: 65535 // 255], 255)
    if np.abs(probe.astype(int) - np.arange(256)).max() <= _SRGB_TOLERANCE:
        return pixels
    levels = _encode_srgb(linear[:: 65535 // top], top)
    return _by_rows(pixels, 1, lambda rows: levels[rows], levels.dtype.type)


def _matrix(profile: Any) -> _Float:
    """Colorants as columns: linear RGB -> XYZ (D50), scaled so that each row sums to 1."""
    columns = []
    for name in _COLORANTS:
        colorant = getattr(profile, name)
        if colorant is None:
            raise _UnusableProfileError(f"it has curves but no {name.replace('_', ' ')}")
        columns.append(colorant[0])
    matrix = np.array(columns, np.float64).T
    # Both profiles map white to D50; dividing by it removes the rounding of the stored numbers,
    # so that greys stay grey.
    with np.errstate(all="ignore"):
        relative: _Float = matrix / matrix.sum(axis=1, keepdims=True)
    if not np.isfinite(relative).all():
        raise _UnusableProfileError("its colorants make no white")
    return relative


def _convert_matrix(pixels: UInt, parsed: ImageCms.ImageCmsProfile, curves: list[_Float]) -> UInt:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    matrix = np.linalg.solve(_matrix(srgb.profile), _matrix(parsed.profile))

    def convert(rows: UInt) -> UInt:
        linear = np.stack([curve[rows[..., i]] for i, curve in enumerate(curves)], axis=-1)
        return _encode_srgb(linear @ matrix.T, 65535)

    return _by_rows(pixels, 3, convert, np.uint16)
