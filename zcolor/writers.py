"""Pixels to an image file: the bytes go straight to where they are to be.

Pillow writes 8 bits per channel. It has no 16-bit colour, so 16-bit PNG is encoded by OpenCV and
gets its metadata here, and TIFF of both depths is laid out here with Pillow's own directory
writer, which keeps nested EXIF.
"""

from __future__ import annotations

import logging
import struct
import zlib
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, TiffImagePlugin

from zcolor.formats import ALPHA_FORMATS, COLOR_FORMATS
from zcolor.metadata import Metadata, exact_entries, without_orientation

logger = logging.getLogger(__name__)

UInt = npt.NDArray[np.uint8 | np.uint16]

_SIXTEEN_BIT_FORMATS = ("PNG", "TIFF", "PPM")
# Fully sampled colour: halving it, their default, blurs the very thing that was added.
_FULL_SAMPLING = {"JPEG": 0, "AVIF": "4:4:4"}

# Rows of a TIFF are compressed in strips of about this many bytes.
_TIFF_STRIP_BYTES = 1 << 20
_TIFF_DEFLATE = 8
# The signature and the IHDR chunk of a PNG, after which the other chunks may come.
_PNG_HEADER_BYTES = 33
_METRES_PER_INCH = 0.0254
_EXIF_PREFIX = b"Exif\0\0"


def write_encoded(
    stream: IO[bytes],
    pixels: UInt,
    file_format: str,
    *,
    icc: bytes,
    metadata: Metadata,
    quality: int = 95,
) -> None:
    r"""Encode a colour picture. PNG, TIFF and PPM hold 16 bits, others get them rounded to 8.

    Beside the pixels this takes 4 bytes a pixel, for Pillow's copy of them.

    Parameters
    ----------
    stream
        Where the file goes: an empty, seekable binary stream.
    pixels
        (h, w, 3) RGB or (h, w, 4) RGB and straight alpha, uint8 or uint16.
    file_format
        One of `COLOR_FORMATS`.
    icc
        The colour profile of the pixels; formats without a place for it are written without.
    metadata
        EXIF and resolution, kept by the formats that can.
    quality
        Of JPEG, WebP and AVIF: 1 to 100.

    Raises
    ------
    ValueError
        For another format, shape, dtype or quality, for alpha in a format without it, and for a
        size that the format cannot hold.
    OSError
        If the stream cannot be written, as on a full disk.

    Examples
    --------
    >>> import io
    >>> stream = io.BytesIO()
    >>> pixels = np.zeros((1, 1, 3), np.uint8)
    >>> write_encoded(stream, pixels, "PPM", icc=b"", metadata=Metadata())
    >>> stream.getvalue()
    b'P6\n1 1\n255\n\x00\x00\x00'
    """
    _check(pixels, file_format, quality)
    if pixels.dtype == np.uint16 and file_format not in _SIXTEEN_BIT_FORMATS:
        logger.info("%s holds 8 bits per channel: 16 bits were rounded", file_format)
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257).astype(np.uint8, copy=False)
    try:
        if file_format == "TIFF":
            _write_tiff(stream, pixels, icc, metadata)
        elif pixels.dtype == np.uint16 and file_format == "PPM":
            height, width = pixels.shape[:2]
            stream.write(b"P6\n%d %d\n65535\n" % (width, height))
            stream.write(np.ascontiguousarray(pixels, dtype=">u2").ravel().view(np.uint8).data)
        elif pixels.dtype == np.uint16:
            _write_deep_png(stream, pixels, icc, metadata)
        else:
            _write_pillow(stream, pixels, file_format, icc, metadata, quality)
    except (OSError, ValueError, struct.error, cv2.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's: the disk is full, say; those of encoders have no number
        height, width = pixels.shape[:2]
        raise ValueError(
            f"{file_format} cannot hold this {width} x {height} picture with its metadata "
            f"({error}); choose another format, such as PNG or TIFF"
        ) from error


def _check(pixels: UInt, file_format: str, quality: int) -> None:
    if file_format not in COLOR_FORMATS:
        raise ValueError(
            f"cannot write colour as {file_format!r}; choose one of {', '.join(COLOR_FORMATS)}"
        )
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(
            "pixels to write must be uint8 or uint16 of shape (h, w, 3 or 4), "
            f"got {pixels.dtype} {pixels.shape}"
        )
    if pixels.shape[2] not in (3, 4):
        raise ValueError(
            f"pixels to write must have 3 or 4 channels, got {pixels.shape[2]}; repeat a grey one"
        )
    if pixels.shape[2] == 4 and file_format not in ALPHA_FORMATS:
        raise ValueError(
            f"{file_format} cannot hold transparency; choose one of {', '.join(ALPHA_FORMATS)} "
            "or drop the fourth channel"
        )
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must lie in 1 to 100, got {quality}")


def _write_pillow(
    stream: IO[bytes],
    pixels: UInt,
    file_format: str,
    icc: bytes,
    metadata: Metadata,
    quality: int,
) -> None:
    # Pillow's writers read the options that they know and pass over the rest.
    options: dict[str, Any] = {"icc_profile": icc}
    if metadata.exif is not None:
        # For AVIF Pillow takes the orientation out by writing EXIF anew, text as ASCII.
        written_anew = file_format == "AVIF"
        options["exif"] = without_orientation(metadata.exif) if written_anew else metadata.exif
    if metadata.dpi is not None:
        options["dpi"] = metadata.dpi
    if file_format in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    if file_format in _FULL_SAMPLING:
        options["subsampling"] = _FULL_SAMPLING[file_format]
    if file_format == "WEBP":
        # Colour under full transparency is part of the picture.
        options["exact"] = True
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, file_format, **options)


def _write_deep_png(stream: IO[bytes], pixels: UInt, icc: bytes, metadata: Metadata) -> None:
    """OpenCV's PNG with the chunks iCCP, pHYs and eXIf put in (PNG, third edition, section 11)."""
    to_bgr = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    encoded = cv2.imencode(".png", cv2.cvtColor(pixels, to_bgr))[1].data
    stream.write(encoded[:_PNG_HEADER_BYTES])
    # Name, zero, compression method 0.
    PngImagePlugin.putchunk(stream, b"iCCP", b"sRGB\0\0" + zlib.compress(icc))
    if metadata.dpi is not None:
        x, y = (round(value / _METRES_PER_INCH) for value in metadata.dpi)
        PngImagePlugin.putchunk(stream, b"pHYs", struct.pack(">IIB", x, y, 1))
    if metadata.exif is not None:
        PngImagePlugin.putchunk(stream, b"eXIf", metadata.exif.removeprefix(_EXIF_PREFIX))
    stream.write(encoded[_PNG_HEADER_BYTES:])


def _write_tiff(stream: IO[bytes], pixels: UInt, icc: bytes, metadata: Metadata) -> None:
    """Lay out a little-endian baseline TIFF: header, directory, strips (TIFF 6.0, section 2)."""
    height, width, n_channels = pixels.shape
    little_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    strip_rows = max(1, _TIFF_STRIP_BYTES // little_endian[0].nbytes)
    strips = [
        zlib.compress(little_endian[row : row + strip_rows].tobytes())
        for row in range(0, height, strip_rows)
    ]
    sizes = [len(strip) for strip in strips]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    if metadata.exif is not None:
        source = Image.Exif()
        source.load(metadata.exif)
        for tag, value in exact_entries(source).items():
            directory[tag] = value
    if metadata.dpi is not None:
        x, y = metadata.dpi
        directory[TiffImagePlugin.X_RESOLUTION], directory[TiffImagePlugin.Y_RESOLUTION] = x, y
        directory[TiffImagePlugin.RESOLUTION_UNIT] = 2  # inches
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (8 * pixels.itemsize,) * n_channels
    directory[TiffImagePlugin.COMPRESSION] = _TIFF_DEFLATE
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2  # RGB
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = n_channels
    directory[TiffImagePlugin.PLANAR_CONFIGURATION] = 1  # the channels of a pixel stand together
    directory[TiffImagePlugin.ROWSPERSTRIP] = strip_rows
    # Pillow adds the end of the directory to the offsets.
    directory[TiffImagePlugin.STRIPOFFSETS] = tuple(sum(sizes[:i]) for i in range(len(sizes)))
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(sizes)
    directory[TiffImagePlugin.ICCPROFILE] = icc
    if n_channels == 4:
        directory[TiffImagePlugin.EXTRASAMPLES] = 2  # straight alpha
    directory.save(stream)
    stream.writelines(strips)
