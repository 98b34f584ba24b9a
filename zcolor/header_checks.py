"""What is refused by the header of an image file, before its pixels are decoded."""

from __future__ import annotations

import os
import struct
from typing import IO

from PIL import Image, TiffImagePlugin

from zcolor.readers import ImageReadError


def check_header(
    image: Image.Image, name: str, max_pixels: int, stream: IO[bytes] | None = None
) -> None:
    """Refuse, before decoding, what is empty, too large, cut short or more than one picture.

    Parameters
    ----------
    image
        An opened image.
    name
        What to call it in the message.
    max_pixels
        The largest number of pixels that is accepted.
    stream
        The file that it was opened from; None for an image from memory.

    Raises
    ------
    ImageReadError
        If one of these holds.

    Examples
    --------
    >>> check_header(Image.new("L", (2, 2)), "the picture", 4)
    """
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageReadError(f"{name} is empty ({width} x {height}); give a picture with pixels")
    if width * height > max_pixels:
        raise ImageReadError(
            f"{name} has {width} x {height} = {width * height} pixels, more than the limit of "
            f"{max_pixels}; make it smaller or raise max_pixels"
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tile(image, name, max_pixels)
    if image.format == "JPEG2000" and stream is not None:
        _check_boxes(stream, name)
    # An MPO is a JPEG with previews or a stereo view behind the picture: the first one counts.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ImageReadError(
            f"{name} is animated or has several pages ({getattr(image, 'n_frames', '?')} of them); "
            "a single picture is accepted: save or copy one frame and give that"
        )


def _check_tile(image: TiffImagePlugin.TiffImageFile, name: str, max_pixels: int) -> None:
    """Refuse tiles above the limit: one is decoded as a whole, however small the picture is."""
    sides = [
        int(image.tag_v2.get(tag, 0))
        for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
    ]
    if sides[0] * sides[1] > max_pixels:
        raise ImageReadError(
            f"{name} is stored in tiles of {sides[0]} x {sides[1]} pixels, more than the limit of "
            f"{max_pixels}; save it without tiles"
        )


def _check_boxes(stream: IO[bytes], name: str) -> None:
    """Refuse a JPEG 2000 file that is cut short: OpenJPEG takes what is missing for grey.

    ISO/IEC 15444-1, annex I.4: a box is its length, its type, and its content; the length 1 stands
    for one of 8 bytes behind the type, 0 for the rest of the file.
    """
    before, size = stream.tell(), stream.seek(0, os.SEEK_END)
    start = stream.seek(0)
    if stream.read(2) != b"\xff\x4f":  # pixels without boxes begin like this
        while start < size:
            stream.seek(start)
            box = stream.read(16).ljust(16, b"\0")
            length = struct.unpack(">I", box[:4])[0]
            if length == 0:
                break
            if length == 1:
                length = struct.unpack(">Q", box[8:])[0]
            start += max(length, 8)
        if start > size and length:
            raise ImageReadError(
                f"{name} is truncated: its last part says that it ends at byte {start}, the file "
                f"has {size}; get the file again"
            )
    stream.seek(before)
