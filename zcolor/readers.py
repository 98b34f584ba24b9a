"""An image file opened, and its pixels: as they are stored, upright, before any colour profile.

Pillow decodes; where it cannot hold the pixels (16-bit colour), OpenCV does.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, PpmImagePlugin, TiffImagePlugin

Source = str | os.PathLike[str] | bytes | IO[bytes]
"""What leads to an image file."""
UInt = npt.NDArray[np.uint8 | np.uint16]

READABLE_FORMATS = (
    "JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "BMP", "GIF", "PPM", "PCX", "XBM", "TGA"
)  # fmt: skip
"""Formats that are tried, in this order (Pillow's names); TGA last, as it has no signature."""

MAX_FILE_BYTES = 4_000_000_000
"""Larger files are refused: some readers take a whole file into memory, and the largest picture,
`zcolor.files.MAX_PIXELS` of 16-bit RGB and alpha, has 2.4 GB without any compression."""

logger = logging.getLogger(__name__)

# What Pillow raises on EXIF that is damaged.
_BROKEN_EXIF = (SyntaxError, ValueError, LookupError, TypeError, OverflowError, struct.error)
_ORIENTATION_TAG = ExifTags.Base.Orientation
# Pixels that are copied out of Pillow at a time: 4 MB of its own.
_STRIP_PIXELS = 1 << 20
_GREY_MODES = ("1", "L", "LA", "La")
# Modes that become RGB (or RGBA) by Pillow's own conversion.
_CONVERTED_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr")


class ImageReadError(ValueError):
    """What came is no picture that zcolor can read; the message says why and what to do."""


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[tuple[IO[bytes], str]]:
    """Open whatever leads to an image file.

    Parameters
    ----------
    source
        A path, the bytes of a file, or a binary file object (read from where it stands).

    Returns
    -------
    A context that gives a seekable binary stream and a name for messages.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If a path leads to no file.
    ImageReadError
        If there are no bytes.
    TypeError
        If `source` is none of the kinds above.

    Examples
    --------
    >>> with open_source(b"P5 2 1 255 ..") as (stream, name):
    ...     name, stream.read(2)
    ('the given bytes', b'P5')
    """
    data: object
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = "the given bytes", bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; give the path of an image file in it")
        if not path.exists():
            raise FileNotFoundError(f"there is no file {str(path)!r}; check the path")
        _check_file(path)
        with path.open("rb") as stream:
            yield stream, str(path)
        return
    elif hasattr(source, "read"):
        name, data = "the file object", source.read()
    else:
        raise TypeError(
            "expected a path, bytes or a binary file object as the image, "
            f"got {type(source).__name__}"
        )
    if not isinstance(data, bytes):
        raise TypeError(f"{name} gave {type(data).__name__}, not bytes; open it with mode 'rb'")
    if not data:
        raise ImageReadError(
            f"{name} is empty (0 bytes); give a whole image file (a file object may need .seek(0))"
        )
    yield io.BytesIO(data), name


def _check_file(path: Path) -> None:
    """Refuse what would be waited for without end (a pipe), or is no picture by its size alone."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ImageReadError(
            f"{path} is no regular file but a pipe, a socket or a device; save it as a file, or "
            "give its bytes"
        )
    if found.st_size == 0:
        raise ImageReadError(f"{path} is empty (0 bytes); give a whole image file")
    if found.st_size > MAX_FILE_BYTES:
        raise ImageReadError(
            f"{path} has {found.st_size} bytes, more than the limit of {MAX_FILE_BYTES}; make the "
            "picture smaller or compress it"
        )


def identify(stream: IO[bytes]) -> ImageFile.ImageFile | None:
    """Read the header of an image file as Image.open does, without its limit on pixels.

    Pillow's limit is one number for the whole process; asking its format readers directly leaves
    that number, and whoever else relies on it, alone.

    Parameters
    ----------
    stream
        A seekable binary stream.

    Returns
    -------
    The opened image, not yet decoded, or None if it is in none of `READABLE_FORMATS`.

    Examples
    --------
    >>> import io
    >>> identify(io.BytesIO(b"P5 2 1 255 ..")).size
    (2, 1)
    """
    Image.init()
    prefix = stream.read(16)
    for name in READABLE_FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(prefix) is not True:
            continue
        stream.seek(0)
        # A reader refuses a file that is not its own with one of these; the next one is asked.
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
            return factory(stream, "")
    return None


def load_pixels(image: Image.Image, name: str, stream: IO[bytes] | None) -> tuple[UInt, str]:
    """Decode an image and turn it upright by its EXIF orientation.

    Parameters
    ----------
    image
        An opened image.
    name
        What to call it in messages.
    stream
        The file that it was opened from; None for an image from memory.

    Returns
    -------
    pixels
        (h, w, c), uint8 or uint16: the channels of the space, then straight alpha if there is any.
        A contiguous array of its own, that may be written to.
    space
        "GRAY", "RGB" or "CMYK".

    Raises
    ------
    ImageReadError
        For pixels of another kind. Damaged files raise what Pillow and OpenCV raise.

    Examples
    --------
    >>> pixels, space = load_pixels(Image.new("LA", (3, 2)), "the picture", None)
    >>> pixels.shape, space
    ((2, 3, 2), 'GRAY')
    """
    deep = stream is not None and _is_deep_color(image)
    # Pillow makes RGB of 16-bit grey with alpha, OpenCV too.
    is_grey = deep and any("LA;16" in str(tile) for tile in image.tile)  # type: ignore[attr-defined]
    white_is_zero = _white_is_zero(image)
    white = _white(image) if deep else 0
    if stream is not None:
        _scale_transparent_level(image)
        if image.mode == "CMYK" and _bits(image) == {16}:
            logger.warning("%s holds 16-bit CMYK, which is read with 8 bits; save it as RGB", name)
    image.load()  # finds out whether the file is whole, also where OpenCV then decodes it
    # Both decoders turn a TIFF upright themselves, and Pillow then forgets its orientation.
    orientation = _orientation(image)
    if stream is not None and deep:
        decoded = _decode_deep_color(image, name, stream, orientation, white)
        if is_grey:
            return np.ascontiguousarray(decoded[..., 2:]), "GRAY"
        return decoded, "RGB"
    pixels, space = _pixels_of(image, name, orientation)
    if white_is_zero and pixels.dtype == np.uint16:  # Pillow sees to it at 8 bits only
        np.subtract(65535, pixels[..., :1], out=pixels[..., :1])
    return pixels, space


def _white_is_zero(image: Image.Image) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0)


def _scale_transparent_level(image: Image.Image) -> None:
    """Bring the transparent level of a PNG of 2 or 4 bits to 8, as Pillow does with its pixels."""
    level = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not isinstance(level, int):
        return
    white = {"L;2": 3, "L;4": 15}.get(str(image.tile[0].args) if image.tile else "")
    if white:
        image.info["transparency"] = (level & white) * (255 // white)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _BROKEN_EXIF as error:
        logger.warning("EXIF is damaged, it is dropped and the picture taken as upright: %s", error)
        return 1


def _is_deep_color(image: Image.Image) -> bool:
    """Whether the file holds 16-bit colour (or grey and alpha), which Pillow cuts to 8 bits."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        return image.tile[0].codec_name == "ppm" and _white(image) > 255
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _bits(image) == {16}
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        return "16" in str(image.tile[0].args)
    return False


def _white(image: Image.Image) -> int:
    """The value that 16-bit colour calls white; asked before the pixels are loaded."""
    if not isinstance(image, PpmImagePlugin.PpmImageFile):
        return 65535
    args = image.tile[0].args
    return args[1] if isinstance(args, tuple) and isinstance(args[1], int) else 255


def _bits(image: Image.Image) -> set[int]:
    """Bits of the samples of a TIFF; nothing of other files."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return set()
    return set(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ()))


def _decode_deep_color(
    image: Image.Image, name: str, stream: IO[bytes], orientation: int, white: int
) -> UInt:
    """Decode 16-bit colour: (h, w, 3 or 4), upright, RGB order, straight alpha."""
    stream.seek(0)
    decoded = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        raise ImageReadError(
            f"{name} is of a kind of 16-bit {image.format} that cannot be decoded; save it as a "
            "plain 16-bit PNG or TIFF, or with 8 bits"
        )
    if image.mode == "RGB" and not image.has_transparency_data:
        decoded = decoded[..., :3]  # a fourth sample of a TIFF that is no alpha
    pixels, stored = _room(decoded.shape, np.uint16, orientation)
    for i, channel in enumerate((2, 1, 0, 3)[: decoded.shape[2]]):
        stored[..., i] = decoded[..., channel]
    if white != 65535:  # a PPM with fewer bits, which OpenCV leaves as they are
        scaled = pixels * np.float32(65535 / white)
        pixels = np.rint(np.minimum(scaled, 65535)).astype(np.uint16)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and pixels.shape[2] == 4:
        extra = image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, (0,))
        if extra[0] == 1:  # TIFF 6.0: colour was multiplied by alpha
            alpha = np.maximum(pixels[..., 3:], 1).astype(np.float32) / 65535
            pixels[..., :3] = np.rint(np.minimum(pixels[..., :3] / alpha, 65535))
    return pixels


def _pixels_of(image: Image.Image, name: str, orientation: int) -> tuple[UInt, str]:
    """Give the loaded pixels (h, w, c), upright, and their space: "GRAY", "RGB" or "CMYK"."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        # Pillow widens 16-bit PGM to 32-bit integers.
        grey = _copied(image, mode, 1, np.uint16, orientation)
        if _bits(image) == {12}:  # Pillow leaves them as they are
            grey = ((grey << 4) | (grey >> 8)).astype(np.uint16)
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            alpha = np.where(grey == transparent, 0, 65535).astype(np.uint16)
            grey = np.concatenate((grey, alpha), axis=2)
        return grey, "GRAY"
    if mode == "CMYK":
        target, space = mode, "CMYK"
    elif mode in _GREY_MODES:
        target, space = "LA" if image.has_transparency_data else "L", "GRAY"
    elif mode in _CONVERTED_MODES:
        target, space = "RGBA" if image.has_transparency_data else "RGB", "RGB"
    else:
        raise ImageReadError(
            f"{name} has pixels of Pillow's mode {mode}; accepted are 8 and 16 bits per channel "
            "in grey, RGB, palette and CMYK: save it as one of these"
        )
    return _copied(image, target, len(target), np.uint8, orientation), space


def _copied(
    image: Image.Image,
    mode: str,
    n_channels: int,
    dtype: type[np.uint8 | np.uint16],
    orientation: int,
) -> UInt:
    """Copy a loaded image out of Pillow, in another mode and upright: (h, w, n_channels).

    In strips: converted and copied as a whole, RGB would take 14 bytes a pixel, not 7.
    """
    width, height = image.size
    pixels, stored = _room((height, width, n_channels), dtype, orientation)
    n_rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, n_rows):
        bottom = min(top + n_rows, height)
        strip = image if n_rows >= height else image.crop((0, top, width, bottom))
        if strip.mode != mode:
            strip = strip.convert(mode)
        stored[top:bottom] = np.asarray(strip).reshape(-1, width, n_channels)
    return pixels


def _room(
    shape: tuple[int, ...], dtype: type[np.uint8 | np.uint16], orientation: int
) -> tuple[UInt, UInt]:
    """Make an array for an upright picture, and a view of it (`shape`) that lies as the file does.

    EXIF 2.32, tag 274; values outside 2..8 mean upright. Both share their memory: what a decoder
    writes into the view stands upright in the array. A file of shape (2, 3, c) with orientation 6
    (to be turned clockwise) gives an array (3, 2, c), and pixel [0, 0] of the view is its [0, 1].
    """
    height, width, n_channels = shape
    turned = orientation in (5, 6, 7, 8)
    upright: UInt = np.empty((width, height, n_channels) if turned else shape, dtype)
    stored = upright
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return upright, stored.transpose(1, 0, 2) if turned else stored
