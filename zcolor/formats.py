"""The formats that a coloured picture can be written in, and which one a file name asks for."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

COLOR_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "BMP", "GIF", "PPM", "TGA")
"""Formats that a coloured picture can be written in (Pillow's names)."""

ALPHA_FORMATS = ("PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "GIF", "TGA")
"""Those of them that hold transparency too."""

SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm",
    ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp", ".xbm",
})  # fmt: skip
"""Endings of the files that are taken from a folder; files named one by one may have any."""

_ENDINGS = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}


def ending_of(file_format: str) -> str:
    """Give the usual ending of the names of files in a format.

    Parameters
    ----------
    file_format
        One of `COLOR_FORMATS`.

    Examples
    --------
    >>> ending_of("JPEG"), ending_of("PNG")
    ('.jpg', '.png')
    """
    return _ENDINGS.get(file_format, f".{file_format.lower()}")


def color_format(file_format: str | None, *, alpha: bool = False) -> str:
    """Name the format for the coloured version of a file: its own where that can hold colour.

    Parameters
    ----------
    file_format
        The format that was read (`zcolor.files.DecodedImage.format`), or None.
    alpha
        Whether the format has to hold transparency too.

    Returns
    -------
    One of `COLOR_FORMATS`; "PNG" for the others (PBM, PGM, XBM, PCX), for None, and for those that
    cannot hold the transparency asked for.

    Examples
    --------
    >>> color_format("JPEG"), color_format("PGM")
    ('JPEG', 'PNG')
    """
    holders = ALPHA_FORMATS if alpha else COLOR_FORMATS
    return file_format if file_format is not None and file_format in holders else "PNG"


def format_for(path: str | os.PathLike[str]) -> str:
    """Tell the format that the ending of a file name asks for.

    Parameters
    ----------
    path
        A file name; the file need not exist.

    Returns
    -------
    One of `COLOR_FORMATS`.

    Raises
    ------
    ValueError
        If the ending names no format, or one that cannot hold colour.

    Examples
    --------
    >>> format_for("photo.jpg"), format_for("PHOTO.TIF")
    ('JPEG', 'TIFF')
    """
    suffix = Path(path).suffix.lower()
    Image.init()
    found = Image.registered_extensions().get(suffix)
    if found not in COLOR_FORMATS or suffix in (".pbm", ".pgm", ".pfm"):
        raise ValueError(
            f"cannot write colour to {os.fspath(path)!r}: its ending {suffix!r} names none of "
            f"{', '.join(COLOR_FORMATS)}; end the name in .png, .jpg or .tif, for example"
        )
    return found


def format_or_none(path: str | os.PathLike[str]) -> str | None:
    """As `format_for`, but None for a name that asks for no format that holds colour.

    Examples
    --------
    >>> format_or_none("photo.jpg"), format_or_none("report.json")
    ('JPEG', None)
    """
    try:
        return format_for(path)
    except ValueError:
        return None
