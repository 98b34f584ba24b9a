"""Before/after sheets: pictures side by side below their captions, and many of these in rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
from PIL import Image, ImageDraw, ImageFont

from zcolor.arrays import AnyArray
from zcolor.atomic import check_place, whole_file
from zcolor.formats import format_for
from zcolor.training.sources import to_rgb8

PANEL_HEIGHT = 320
"""Of every panel of a sheet, in pixels."""
_GAP = 8  # pixels between panels
_CAPTION_HEIGHT = 24  # pixels
_BACKGROUND, _INK = (250, 250, 248), (40, 40, 40)
_CONTACT_SCALE = 0.6  # of the sheets on the contact sheet
_CONTACT_WIDTH = 1600  # pixels, of the contact sheet


def draw_sheet(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Set pictures side by side, each below its caption.

    Parameters
    ----------
    panels
        Captions and pictures; the pictures are brought to one height.

    Returns
    -------
    An RGB picture.

    Raises
    ------
    ValueError
        If there are no panels.

    Examples
    --------
    >>> draw_sheet([("grey", Image.new("RGB", (320, 320)))]).size
    (336, 352)
    """
    if not panels:
        raise ValueError("a sheet needs at least one panel, got none")
    pictures = [
        picture.resize(
            (max(1, round(picture.width * PANEL_HEIGHT / picture.height)), PANEL_HEIGHT),
            Image.Resampling.LANCZOS,
        )
        for _, picture in panels
    ]
    width = sum(picture.width + _GAP for picture in pictures) + _GAP
    sheet = Image.new("RGB", (width, _CAPTION_HEIGHT + PANEL_HEIGHT + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    left = _GAP
    for (caption, _), picture in zip(panels, pictures, strict=True):
        draw.text((left, _CAPTION_HEIGHT / 2), caption, fill=_INK, font=font, anchor="lm")
        sheet.paste(picture, (left, _CAPTION_HEIGHT))
        left += picture.width + _GAP
    return sheet


def panel_of(pixels: AnyArray) -> Image.Image:
    """Make a picture of the height of a panel.

    Parameters
    ----------
    pixels
        (h, w, c) uint8 or uint16 sRGB; c = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Returns
    -------
    An RGB picture without alpha.

    Examples
    --------
    >>> import numpy as np
    >>> panel_of(np.zeros((640, 960, 1), np.uint16)).size
    (480, 320)
    """
    height, width, n_channels = pixels.shape
    size = (max(1, round(width * PANEL_HEIGHT / height)), PANEL_HEIGHT)
    way = cv2.INTER_AREA if height > PANEL_HEIGHT else cv2.INTER_CUBIC
    small = cv2.resize(pixels, size, interpolation=way).reshape(*size[::-1], n_channels)
    return Image.fromarray(to_rgb8(small))  # type: ignore[arg-type]


def contact_sheet(sheets: Sequence[Image.Image]) -> Image.Image:
    """Set sheets, all of one height, in rows, each row as full as it gets.

    Parameters
    ----------
    sheets
        What `draw_sheet` drew, at least one.

    Returns
    -------
    An RGB picture.

    Examples
    --------
    >>> sheet = draw_sheet([("grey", Image.new("RGB", (320, 320)))])
    >>> contact_sheet([sheet] * 10).size
    (1600, 422)
    """
    small = [
        sheet.resize(
            (round(sheet.width * _CONTACT_SCALE), round(sheet.height * _CONTACT_SCALE)),
            Image.Resampling.LANCZOS,
        )
        for sheet in sheets
    ]
    width = max(_CONTACT_WIDTH, *(sheet.width for sheet in small))
    height = small[0].height
    places, left, top = [], 0, 0
    for sheet in small:
        if left and left + sheet.width > width:
            left, top = 0, top + height
        places.append((left, top))
        left += sheet.width
    contact = Image.new("RGB", (width, top + height), _BACKGROUND)
    for place, sheet in zip(places, small, strict=True):
        contact.paste(sheet, place)
    return contact


def check_sheet(path: str | os.PathLike[str], *, replace: bool = False) -> None:
    """Refuse a sheet that cannot be written, or that would replace something, before the work.

    Parameters
    ----------
    path
        Where the sheet is to go.
    replace
        Whether an earlier sheet may be replaced.

    Raises
    ------
    ValueError
        If its ending names no format.
    IsADirectoryError, NotADirectoryError
        If it is a folder, or lies below a file.
    FileExistsError
        If it exists and may not be replaced.
    """
    format_for(path)
    check_place(path, "the sheet")
    if os.path.exists(path) and not replace:
        raise FileExistsError(
            f"{path} exists, and the sheet would replace it; name another file for the sheet"
        )


def write_sheet(path: str | os.PathLike[str], sheets: Sequence[Image.Image]) -> None:
    """Write all sheets as one picture, if there are any.

    Parameters
    ----------
    path
        The file; its folder is made.
    sheets
        What `draw_sheet` drew.

    Raises
    ------
    OSError, ValueError
        If it cannot be written.
    """
    if not sheets:
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        contact_sheet(sheets).save(temporary, format_for(path), quality=90)
