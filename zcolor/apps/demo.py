"""Colour the sample photographs and draw before/after sheets: `zcolor demo`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from zcolor.apps.sheets import contact_sheet, draw_sheet
from zcolor.atomic import whole_file
from zcolor.colorizer import Colorizer
from zcolor.lab import rgb_to_lab
from zcolor.photo import read_photo
from zcolor.training.sources import to_rgb8

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
"""The sample photographs of the source tree; the installed package does not carry them."""

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SOFTWARE = b"zcolor demo"  # tells our sheets from pictures of others
# A photo whose mean chroma is below this has no colour of its own to compare with.
_GREY_CHROMA = 2.0


@dataclass(frozen=True)
class DemoReport:
    """What `make_demo` wrote."""

    sheets: tuple[Path, ...]
    """One before/after sheet for each photograph."""
    contact: Path
    """All of them on one picture."""
    failed: tuple[tuple[Path, str], ...] = ()
    """Photographs that could not be coloured, and why."""


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
        tree (`data/samples`). They are never replaced.
    model, device
        As for `zcolor.colorize`.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The paths of the sheets, and what failed: one bad photograph does not end the demo.

    Raises
    ------
    FileNotFoundError
        If the samples are not there: the installed package does not carry them.
    FileExistsError
        If a sheet would replace one of the samples, or a file that no demo wrote.
    ValueError
        If none of the photographs can be read.
    """
    photos = _find_samples(None if samples is None else Path(samples))
    out = Path(out)
    contact = out / "_all.jpg"  # first in the folder
    targets = _targets(photos, out)
    _check_apart(photos, [*targets, contact])
    colorizer = Colorizer(model, device=device)
    out.mkdir(parents=True, exist_ok=True)
    written, sheets, failed = [], [], []
    bar = tqdm(photos, desc="demo", unit="photo", disable=None if progress else True)
    for path, target in zip(bar, targets, strict=True):
        try:
            sheet = draw_sheet(_panels(path, colorizer))
        except (OSError, ValueError) as error:
            failed.append((path, str(error)))
            continue
        _save(sheet, target, quality=92)
        written.append(target)
        sheets.append(sheet)
    if not sheets:
        raise ValueError(f"none of the {len(photos)} photographs can be read: {failed[0][1]}")
    _save(contact_sheet(sheets), contact, quality=90)
    return DemoReport(tuple(written), contact, tuple(failed))


def _find_samples(folder: Path | None) -> list[Path]:
    if folder is None and not SAMPLES.is_dir():
        raise FileNotFoundError(
            "the sample photographs are in the source tree of zcolor (data/samples), not in the "
            "installed package; run the demo there, or name a folder of photographs: --samples"
        )
    folder = folder or SAMPLES
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; check the name")
    photos = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )
    if not photos:
        raise FileNotFoundError(
            f"there are no photographs ({', '.join(_SUFFIXES)}) in {folder}; name another folder"
        )
    return photos


def _targets(photos: Sequence[Path], out: Path) -> list[Path]:
    """Name the sheets: NAME.jpg, or with the whole name where two photos share all but its end."""
    stems = Counter(path.stem.casefold() for path in photos)
    return [
        out / f"{path.stem if stems[path.stem.casefold()] == 1 else path.name}.jpg"
        for path in photos
    ]


def _check_apart(photos: Sequence[Path], targets: Sequence[Path]) -> None:
    standing = [target for target in targets if os.path.lexists(target)]
    for photo in photos:
        for target in standing:
            if target.exists() and target.samefile(photo):
                raise FileExistsError(
                    f"the sheet {target} would replace a photograph; name another folder (-o)"
                )
    for target in standing:
        if not _is_ours(target):
            raise FileExistsError(
                f"{target} was not written by zcolor demo and would be replaced; name another "
                "folder (-o), or move it away"
            )


def _save(sheet: Image.Image, path: Path, *, quality: int) -> None:
    """Write a sheet as JPEG with our mark, whole or not at all."""
    with whole_file(path) as temporary:
        sheet.save(temporary, "JPEG", quality=quality, comment=_SOFTWARE)


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as sheet:
            return sheet.info.get("comment") == _SOFTWARE
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def _panels(path: Path, colorizer: Colorizer) -> list[tuple[str, Image.Image]]:
    photo = read_photo(path, find_frame=True)
    original = Image.fromarray(to_rgb8(np.asarray(photo.pixels[0])))
    pixels = torch.from_numpy(np.asarray(original).copy()).permute(2, 0, 1)[None] / 255
    chroma = rgb_to_lab(pixels)[:, 1:].norm(dim=1).mean().item()
    ab = colorizer.predict_ab(photo)
    grey, colored = photo.with_ab(ab, saturation=0.0), photo.with_ab(ab)
    assert isinstance(grey, Image.Image)
    assert isinstance(colored, Image.Image)
    panels = [("black and white", grey), ("zcolor", colored)]
    return panels if chroma < _GREY_CHROMA else [*panels, ("original", original)]
