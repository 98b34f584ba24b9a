"""What every study writes: a page of text and tables, plots, and picture sheets."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from zcolor.atomic import whole_file
from zcolor.training.dataset import open_photos
from zcolor.training.validate import measured_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGES = Path("docs/studies")
"""Where the pages are, from the root of the checkout."""
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
"""Photographs in the public domain."""
SHOWN = (
    "These photographs are in the public domain (`data/README.md`); they are not among those that "
    "were measured, whose terms do not allow to show them here. A sheet of some of those lies in "
    "the folder of the run."
)
"""What a page says of its pictures."""
Rgb8 = npt.NDArray[np.uint8]
# Pictures on pages stay small: they are kept in the repository.
_PLOT_DPI = 100
_SHEET_QUALITY = 85
_CAPTION_PX = 16
# Mean spread of R, G and B below which a photograph is black and white.
_LEAST_SPREAD = 4.0


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Set a table in Markdown; floats are given as text, rounded by who knows their meaning.

    Examples
    --------
    >>> print(table(["model", "AuC"], [["zhang", "66.1"]]))
    | model | AuC |
    |---|---|
    | zhang | 66.1 |
    """
    lines = [header, ["---"] * len(header), *rows]
    if any(len(row) != len(header) for row in rows):
        raise ValueError("every row of a table must have as many cells as its header")
    separator = "|" + "---|" * len(header)
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join([text[0], separator, *text[2:]])


def write_page(path: Path, title: str, parts: Sequence[str], *, command: Sequence[str]) -> None:
    """Write a page: the title, how it was made, then the parts, a blank line between them.

    Parameters
    ----------
    path
        The page, NAME.md in a folder that is made if needed.
    title
        Its heading.
    parts
        Paragraphs, headings, tables and pictures in Markdown.
    command
        The words that were typed, as a reader may type them again; paths are shortened to names.
    """
    shown = [Path(word).name if "/" in word else word for word in command]
    made = (
        f"Written by `{shlex.join(shown)}` with torch {torch.__version__.split('+')[0]} and "
        f"Python {platform.python_version()} on {_threads()} of a CPU"
        f"{' and a GPU' if torch.cuda.is_available() else ''}."
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join([f"# {title}", *(part.strip() for part in parts), made]) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _threads() -> str:
    n = torch.get_num_threads()
    return "one thread" if n == 1 else f"{n} threads"


def save_plot(figure: Figure, path: Path) -> str:
    """Save a matplotlib figure as PNG beside the page; returns the Markdown that shows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_PLOT_DPI, bbox_inches="tight")
    return f"![{path.stem.replace('-', ' ')}]({path.name})"


def shown_photos(n: int) -> list[Rgb8]:
    """Read the first `n` samples that have colours, (h, w, 3) uint8: what pages may show."""
    photos = open_photos([SAMPLES])
    read = (measured_photo(photos.read(i)) for i in range(len(photos)))
    return list(islice(filter(has_colors, read), n))


def has_colors(rgb: Rgb8) -> bool:
    """Tell a colour photograph from one that is black and white."""
    return bool(np.ptp(rgb, axis=2).mean() > _LEAST_SPREAD)


def save_sheet(
    columns: Sequence[str], rows: Sequence[Sequence[Rgb8]], path: Path, *, side: int = 128
) -> str:
    """Save a JPEG sheet of pictures, a photo a row, named columns; returns its Markdown.

    Parameters
    ----------
    columns
        Captions.
    rows
        For each photo its (h, w, 3) uint8 pictures, as many as there are captions.
    path
        NAME.jpg beside the page.
    side
        Pictures are cut to a square and brought to this side, in pixels.
    """
    sheet = np.concatenate([np.concatenate([_square(p, side) for p in row], 1) for row in rows])
    image = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + _CAPTION_PX), "white")
    image.paste(Image.fromarray(sheet), (0, _CAPTION_PX))
    draw = ImageDraw.Draw(image)
    for i, caption in enumerate(columns):
        draw.text((i * side + 3, 2), caption, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        image.save(temporary, format="JPEG", quality=_SHEET_QUALITY)
    return f"![{path.stem.replace('-', ' ')}]({path.name})"


def _square(picture: Rgb8, side: int) -> Rgb8:
    height, width = picture.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    part = np.ascontiguousarray(picture[top : top + short, left : left + short])
    how = cv2.INTER_AREA if short > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (side, side), interpolation=how), dtype=np.uint8)


def typed(module: str) -> list[str]:
    """The command line of this process, as `python -m studies.NAME ...`."""
    return ["python", "-m", module, *sys.argv[1:]]
