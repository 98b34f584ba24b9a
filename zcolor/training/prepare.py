"""One photograph on its way into a pack: read, judged, shrunk and encoded."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
from PIL import ExifTags, Image

from zcolor.files import read_image
from zcolor.icc import to_srgb
from zcolor.lab8 import rgb8_to_lab
from zcolor.training.journal import Record
from zcolor.training.settings import PackSettings
from zcolor.training.sources import UNREADABLE, PhotoEntry, Rgb8, content_hash, to_rgb8

# The mean chroma is measured on a copy with this short side, in pixels: a photo of any size takes
# about a millisecond, and noise and JPEG's colour blocks average out.
CHROMA_SIDE = 64
_PLAIN_FORMATS = ("JPEG", "PNG", "WEBP")


def mean_chroma(rgb: Rgb8) -> float:
    """Mean CIELAB chroma of a photograph, on a copy with a short side of at most `CHROMA_SIDE`.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8 sRGB.

    Returns
    -------
    The mean of sqrt(a^2 + b^2): 0 for grey, about 16 for a usual colour photograph.

    Examples
    --------
    >>> mean_chroma(np.full((4, 4, 3), 127, dtype=np.uint8)) < 1e-3
    True
    """
    lab = rgb8_to_lab(np.ascontiguousarray(_shrink(rgb, CHROMA_SIDE)))
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())


def _shrink(rgb: Rgb8, short_side: int) -> Rgb8:
    height, width = rgb.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _is_plain(data: bytes) -> bool:
    """Whether any decoder reads these bytes as the 8-bit upright sRGB that they show."""
    with Image.open(io.BytesIO(data)) as image:
        profile = image.info.get("icc_profile")
        if profile:
            levels = np.arange(0, 256, 51, dtype=np.uint8)
            probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
            if not np.array_equal(to_srgb(probe, profile, space="RGB"), probe):
                return False
        return (
            image.format in _PLAIN_FORMATS
            and image.mode == "RGB"
            and "transparency" not in image.info
            and image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        )


def _encode(rgb: Rgb8, quality: int) -> bytes:
    if quality == 100:
        ending, options = ".png", [cv2.IMWRITE_PNG_COMPRESSION, 9]
    else:
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        ending = ".jpg"
        options = [
            *(cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling),
            *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        ]
    return cv2.imencode(ending, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def prepare(entry: PhotoEntry, settings: PackSettings) -> tuple[Record, bytes]:
    """Read one photograph, judge it, and shrink and encode it for the pack.

    Parameters
    ----------
    entry
        Where it stands.
    settings
        Thresholds, size and quality.

    Returns
    -------
    record, data
        The verdict (`kept`, `broken`, `tiny` or `near_grey`) and the encoded photograph, empty if
        it is dropped. Where nothing has to be changed, the file's own bytes are kept.
    """
    digest = ""
    try:
        data = entry.read_bytes()
        digest = content_hash(data).hex()
        # Both thresholds are judged on what is decoded.
        least_side = max(settings.short_side, settings.min_side)
        decoded = read_image(data, max_pixels=settings.max_pixels, least_side=least_side)
    except UNREADABLE as error:
        return Record("broken", f"{error}", digest), b""
    pixels = decoded.pixels
    height, width = pixels.shape[:2]
    if min(height, width) < settings.min_side:
        reason = f"{width} x {height} pixels, below a side of {settings.min_side}"
        return Record("tiny", reason, digest), b""
    rgb = to_rgb8(pixels)
    small = _shrink(rgb, settings.short_side)
    chroma = mean_chroma(small)
    if chroma < settings.min_chroma:
        reason = f"mean chroma {chroma:.2f}, below {settings.min_chroma:g}"
        return Record("near_grey", reason, digest), b""
    as_stored = small is rgb and decoded.reduction == 1
    as_rgb8 = pixels.dtype == np.uint8 and pixels.shape[2] == 3
    if not (as_stored and as_rgb8 and _is_plain(data)):
        data = _encode(small, settings.quality)
    height, width = small.shape[:2]
    return Record("kept", "", digest, height, width, len(data), zlib.crc32(data)), data
