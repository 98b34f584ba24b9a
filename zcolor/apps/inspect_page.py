"""What `zcolor inspect` draws and writes: tiles with captions, filters, maps, and the page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from zcolor.atomic import whole_file
from zcolor.inspection import Group, Layer
from zcolor.lab import lab_to_rgb
from zcolor.receptive import Field

Rgb8 = npt.NDArray[np.uint8]

GENERATOR = "<meta name='generator' content='zcolor inspect'>"
"""Tells our pages from those of others."""
_SOFTWARE = "zcolor inspect"  # tells our pictures from those of others
_TILE_PX, _CAPTION_PX, _GAP_PX = 128, 18, 6
_PER_ROW = 8
_BACKGROUND, _INK = (250, 250, 248), (40, 40, 40)
# Brightest shade of a map: this percentile, so that one bright place does not darken the rest.
_TOP_PERCENTILE = 99.5
_HEADER = ("group", "last layer", "units", "stride", "field", "90 % of it", "parameters", "GMAC")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fafaf8;
       max-width: 1120px; margin: 2em auto; padding: 0 1em; }
h1, h2 { font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, td:nth-child(2) { text-align: left; }
figure { margin: 0 0 1.5em; } img { max-width: 100%; height: auto; }
figcaption { margin-bottom: .3em; max-width: 70ch; }
"""


@dataclass(frozen=True)
class InspectReport:
    """What was found, and where it was written."""

    page: Path
    """The HTML page that shows all of it."""
    layers: tuple[Layer, ...]
    """Every layer that ran."""
    groups: tuple[Group, ...]
    """The parts of the network."""
    fields: tuple[Field, ...]
    """How far the places of each group see."""
    units: dict[str, tuple[int, ...]]
    """The units that were looked at, by the name of their group."""

    def rows(self) -> list[list[str]]:
        """Table of the groups, below the names of its columns."""
        body = [
            [
                f"{number} {group.name}", group.layer, str(group.n_units), f"{field.stride:g}",
                f"{field.size}", f"{field.effective}", f"{group.n_parameters:,}",
                f"{group.n_macs / 1e9:.3f}",
            ]
            for number, (group, field) in enumerate(zip(self.groups, self.fields), start=1)
        ]  # fmt: skip
        return [list(_HEADER), *body]

    def summary(self) -> str:
        """The same as text, with the sums."""
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        lines = [
            "  ".join(
                [
                    *(cell.ljust(width) for cell, width in zip(row[:2], widths)),
                    *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:])),
                ]
            )
            for row in rows
        ]
        n_parameters = sum(layer.n_parameters for layer in self.layers)
        n_macs = sum(layer.n_macs for layer in self.layers)
        sums = f"{len(self.layers)} layers, {n_parameters:,} parameters, {n_macs / 1e9:.2f} GMAC"
        return "\n".join([*lines, sums])


def grey_of(lightness: Tensor) -> Rgb8:
    """Show lightness as a grey picture.

    Parameters
    ----------
    lightness
        (1, h, w), L in [0, 100].

    Returns
    -------
    (h, w, 3) uint8.
    """
    lab = torch.cat([lightness.cpu().float(), torch.zeros(2, *lightness.shape[1:])])[None]
    rgb = lab_to_rgb(lab)[0].permute(1, 2, 0)
    return np.asarray((rgb * 255).round().numpy(), dtype=np.uint8)


def shade_map(values: Tensor) -> Rgb8:
    """Show a map as a picture: black up to zero, white at the top.

    A map without a value above zero is shown from its lowest to its highest value.

    Parameters
    ----------
    values
        (h, w), any range.

    Returns
    -------
    (h, w, 3) uint8.
    """
    array = values.cpu().float().numpy()
    if array.max() <= 0:
        array = array - array.min()
    top = max(float(np.percentile(array, _TOP_PERCENTILE)), 1e-12)
    shades = (255 * np.clip(array / top, 0, 1)).round().astype(np.uint8)
    return np.repeat(shades[..., None], 3, axis=2)


def shade_filter(weights: Tensor) -> Rgb8:
    """Show a filter as a picture: below 0 blue, 0 white, above 0 red.

    Parameters
    ----------
    weights
        (h, w), any range.

    Returns
    -------
    (h, w, 3) uint8.
    """
    array = weights.cpu().float().numpy()
    part = (array / max(float(np.abs(array).max()), 1e-12))[..., None]
    ends = np.where(part < 0, (30.0, 80.0, 180.0), (190.0, 40.0, 30.0))
    shades = 255 + np.abs(part) * (ends - 255)
    return np.asarray(shades.round(), dtype=np.uint8)


def tile_sheet(
    tiles: Sequence[tuple[str, Rgb8]], *, per_row: int = _PER_ROW, side: int = _TILE_PX
) -> Image.Image:
    """Set pictures in rows, each within a square below its caption.

    Parameters
    ----------
    tiles
        Captions and (h, w, 3) pictures; small ones are enlarged with hard edges.
    per_row
        Tiles in a row.
    side
        Of the squares, in pixels.

    Raises
    ------
    ValueError
        If there are no tiles.
    """
    if not tiles:
        raise ValueError("a sheet needs at least one tile, got none")
    columns = min(per_row, len(tiles))
    rows = -(-len(tiles) // columns)
    step_x, step_y = side + _GAP_PX, side + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * step_x + _GAP_PX, rows * step_y), _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (caption, pixels) in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = _GAP_PX + column * step_x, row * step_y
        draw.text((left, top + _CAPTION_PX / 2), caption, fill=_INK, font=font, anchor="lm")
        scale = side / max(pixels.shape[:2])
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        sheet.paste(Image.fromarray(pixels).resize(size, way), (left, top + _CAPTION_PX))
    return sheet


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG with our mark, whole or not at all."""
    mark = PngInfo()
    mark.add_text("Software", _SOFTWARE)
    with whole_file(path) as temporary:
        picture.save(temporary, "PNG", optimize=True, pnginfo=mark)


def is_ours(path: Path) -> bool:
    """Tell our pages and pictures from files of others that have the same names."""
    if path.suffix == ".html":
        return GENERATOR in path.read_text(encoding="utf-8", errors="replace")
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set a table."""
    lines = [header, *rows]
    tags = ["th", *["td"] * len(rows)]
    cells = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)
        for tag, line in zip(tags, lines)
    )
    return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in cells) + "</table>"


def tables_html(report: InspectReport) -> list[str]:
    """Set the tables of the groups and of the layers, with what the columns mean."""
    head, *body = report.rows()
    rows = [
        (
            layer.name, layer.kind, " x ".join(map(str, layer.shape)), f"{layer.n_parameters:,}",
            f"{layer.n_macs / 1e6:,.1f}",
        )
        for layer in report.layers
    ]  # fmt: skip
    columns = ("layer", "kind", "output", "parameters", "million multiply-adds")
    explained = (
        "<p>Units are the channels of a group's last layer, before the activation. Stride: pixels "
        "of the input from one place of a map to the next. Field: side of the square of the input "
        "that a place depends on, and of its middle part with 90 % of the influence.</p>"
    )
    return [
        explained,
        table_html(head, body),
        f"<details><summary>All {len(rows)} layers</summary>{table_html(columns, rows)}</details>",
    ]


def figure_html(name: str, caption: str) -> str:
    """Show a picture that lies beside the page."""
    return (
        f"<figure><figcaption>{html.escape(caption)}</figcaption>"
        f"<img alt='{html.escape(caption)}' src='{html.escape(name)}'></figure>"
    )


def write_index(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path
        The HTML file.
    title
        Its heading, plain text.
    parts
        HTML, one below the other.
    """
    head = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'>{GENERATOR}"
        f"<meta name='viewport' content='width=device-width'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
    )
    text = "\n".join([head, *parts]) + "</html>\n"
    with whole_file(path) as temporary:
        # Names of files need not be text.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
