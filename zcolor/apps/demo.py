"""Colour the sample photographs and draw before/after sheets: `zcolor demo`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from zcolor.atomic import whole_file
from zcolor.colorizer import Colorizer
from zcolor.lab import rgb_to_lab
from zcolor.photo import read_photo

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
"""The sample photographs of the source tree; the installed package does not carry them."""

_SUFFIXES = (".jpg", ".jpeg", ".png")
# A photo whose mean chroma is below this has no colour of its own to compare with.
_GREY_CHROMA = 2.0
_PANEL_HEIGHT = 320  # pixels, of every panel of a sheet
_GAP = 8  # pixels between panels
_CAPTION_HEIGHT = 24  # pixels
_BACKGROUND, _INK = (250, 250, 248), (40, 40, 40)
_CONTACT_SCALE = 0.6  # of the sheets on the contact sheet
_CONTACT_WIDTH = 1600  # pixels, of the contact sheet


@dataclass(frozen=True)
class DemoReport:
    """What `make_demo` wrote."""

    sheets: tuple[Path, ...]
    """One before/after sheet for each photograph."""
    contact: Path
    """All of them on one picture."""


def make_demo(
    out: str | os.PathLike[str] = "zcolor-demo",
    *,
    samples: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] = "zhang",
    device: str | torch.device = "auto",
    progress: bool = True,
) -> DemoReport:
    """Colour sample photographs and write a sheet for each: grey, coloured and, if known, true.

    Parameters
    ----------
    out
        The folder to write to; it is made, and sheets of an earlier demo are replaced.
    samples
        A folder of JPEG or PNG photographs, in colour or grey; None takes those of the source
        tree (`data/samples`).
    model, device
        As for `zcolor.colorize`.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The paths of the sheets.

    Raises
    ------
    FileNotFoundError
        If the samples are not there: the installed package does not carry them.
    """
    photos = _find_samples(None if samples is None else Path(samples))
    colorizer = Colorizer(model, device=device)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    written, sheets = [], []
    for path in tqdm(photos, desc="demo", unit="photo", disable=None if progress else True):
        with Image.open(path) as image:
            original = image.convert("RGB")
        sheet = draw_sheet(_panels(original, colorizer))
        target = out / f"{path.stem}.jpg"
        with whole_file(target) as temporary:
            sheet.save(temporary, "JPEG", quality=92)
        written.append(target)
        sheets.append(sheet)
    # No photo of its own has a name that starts so: it is first in the folder.
    contact = out / "_all.jpg"
    with whole_file(contact) as temporary:
        _contact_sheet(sheets).save(temporary, "JPEG", quality=90)
    return DemoReport(tuple(written), contact)


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
            (max(1, round(picture.width * _PANEL_HEIGHT / picture.height)), _PANEL_HEIGHT),
            Image.Resampling.LANCZOS,
        )
        for _, picture in panels
    ]
    width = sum(picture.width + _GAP for picture in pictures) + _GAP
    sheet = Image.new("RGB", (width, _CAPTION_HEIGHT + _PANEL_HEIGHT + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    left = _GAP
    for (caption, _), picture in zip(panels, pictures, strict=True):
        draw.text((left, _CAPTION_HEIGHT / 2), caption, fill=_INK, font=font, anchor="lm")
        sheet.paste(picture, (left, _CAPTION_HEIGHT))
        left += picture.width + _GAP
    return sheet


def _find_samples(folder: Path | None) -> list[Path]:
    if folder is None and not SAMPLES.is_dir():
        raise FileNotFoundError(
            "the sample photographs are in the source tree of zcolor (data/samples), not in the "
            "installed package; run the demo there, or name a folder of photographs: --samples"
        )
    folder = folder or SAMPLES
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; check the name")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not photos:
        raise FileNotFoundError(
            f"there are no photographs ({', '.join(_SUFFIXES)}) in {folder}; name another folder"
        )
    return photos


def _panels(original: Image.Image, colorizer: Colorizer) -> list[tuple[str, Image.Image]]:
    pixels = torch.from_numpy(np.asarray(original).copy()).permute(2, 0, 1)[None] / 255
    chroma = rgb_to_lab(pixels)[:, 1:].norm(dim=1).mean().item()
    photo = read_photo(original)
    ab = colorizer.predict_ab(photo)
    grey, colored = photo.with_ab(ab, saturation=0.0), photo.with_ab(ab)
    assert isinstance(grey, Image.Image)
    assert isinstance(colored, Image.Image)
    panels = [("black and white", grey), ("zcolor", colored)]
    return panels if chroma < _GREY_CHROMA else [*panels, ("original", original)]


def _contact_sheet(sheets: Sequence[Image.Image]) -> Image.Image:
    """Set sheets, all of one height, in rows, each row as full as it gets."""
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
