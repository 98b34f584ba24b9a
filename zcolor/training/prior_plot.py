"""Drawing colour priors: the ab plane with its colours, log p and the weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zcolor.atomic import check_place, whole_file
from zcolor.extras import install_command
from zcolor.lab import lab_to_rgb
from zcolor.training.priors import Priors, rebalancing_weights

# Points of the drawn ab plane along each axis.
_POINTS = 340
# Lightnesses tried for each colour: the one nearest to the first that sRGB can show is drawn.
_LIGHTNESSES = sorted(range(2, 100, 2), key=lambda lightness: abs(lightness - 70))
# Free room around the outermost cells, as a share of a cell's width.
_MARGIN = 0.75
_SOFTWARE = "zcolor priors"  # tells our plots from the pictures of others

Floats = npt.NDArray[np.floating]


def check_plot(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Refuse a plot that cannot be drawn, or that would replace something, before the counting.

    Parameters
    ----------
    path
        Where the plot is to go; an earlier plot of priors may stand there.
    out
        Where the priors go.

    Raises
    ------
    ValueError
        If its ending is not .png, or it is the file of the priors.
    IsADirectoryError, NotADirectoryError
        If it is a folder, or lies below a file.
    FileExistsError
        If it exists and is no plot of priors.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"the plot is a PNG file: its name must end in .png, got {path}")
    if os.path.realpath(path) == os.path.realpath(out):
        raise ValueError(f"{path} is to hold the priors; name another file for the plot")
    check_place(path, "the plot")
    if os.path.lexists(path) and not _is_ours(path):
        raise FileExistsError(
            f"{path} exists and is no plot of priors, which would replace it; name another file "
            "for the plot"
        )


def plot_priors(priors: Priors, path: str | os.PathLike[str]) -> None:
    """Draw the ab plane four times: its colours, log p and the weights of both kinds.

    Parameters
    ----------
    priors
        What to draw.
    path
        The PNG file to write; its folder is made. `check_plot` tells whether it may be.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    ValueError
        If no weights can be made of the counts.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"drawing needs matplotlib: {install_command('train')}, or leave the plot out"
        ) from error
    seen = priors.counts > 0
    drawn = seen | priors.grid.in_gamut.numpy()
    ab, extent = _plane(priors, drawn)
    cell = priors.grid.encode(ab)[0].numpy()  # (h, w)
    # Where the cell changes from one point to the next there is a border.
    edge = (np.diff(cell, axis=0, prepend=cell[:1]) != 0) | (
        np.diff(cell, axis=1, prepend=cell[:, :1]) != 0
    )
    shown = drawn[cell]

    figure = Figure(figsize=(13, 11), layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    stride = priors.settings.stride
    figure.suptitle(
        f"{priors.n_photos:,} photos, {priors.n_pixels:,} blocks of {stride} x {stride} pixels, "
        f"{np.count_nonzero(seen)} of {priors.grid.n_bins} cells seen"
    )
    panels = figure.subplots(2, 2, sharex=True, sharey=True).flat
    colors = _colors(ab)
    colors[edge & shown] *= 0.75
    panels[0].imshow(colors, extent=extent, origin="lower")
    # A dot's area grows with log p, so that rare colours can be seen beside the greys.
    p = priors.p[seen]
    low = np.log(p.min()) - 1
    area = 70 * (np.log(p) - low) / (np.log(p.max()) - low)
    panels[0].scatter(*priors.means[seen].T, s=area, facecolor="none", edgecolor="black")
    panels[0].set_title("colours; circles: mean colour of each cell seen, by log p")
    pictures = (
        ("share of the blocks, p (empty: never seen)", np.where(seen, priors.p, np.nan), "viridis"),
        ("weight, neglog: -log p", rebalancing_weights(priors, "neglog"), "magma"),
        ("weight, zhang: 1 / ((1 - λ) p + λ / Q)", rebalancing_weights(priors, "zhang"), "magma"),
    )
    for panel, (title, values, palette) in zip(panels[1:], pictures):
        picture = np.where(shown & ~edge, values[cell], np.nan)
        norm = LogNorm() if palette == "viridis" else None
        panel.set_facecolor("0.92")
        image = panel.imshow(picture, extent=extent, origin="lower", norm=norm, cmap=palette)
        figure.colorbar(image, ax=panel, shrink=0.85)
        panel.set_title(title)
    for panel in panels:
        panel.set(xlabel="a: green to red", ylabel="b: blue to yellow")
        panel.axhline(0, color="0.5", linewidth=0.6)
        panel.axvline(0, color="0.5", linewidth=0.6)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    mark = PngInfo()
    mark.add_text("Software", _SOFTWARE)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        drawing = Image.fromarray(np.ascontiguousarray(pixels[:, :, :3], dtype=np.uint8))
        drawing.save(temporary, "PNG", pnginfo=mark)


def _is_ours(path: str | os.PathLike[str]) -> bool:
    """Tell a plot of priors from anything else."""
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def _plane(priors: Priors, drawn: npt.NDArray[np.bool_]) -> tuple[torch.Tensor, tuple[float, ...]]:
    """(1, 2, h, w) ab of the points around the cells to draw, and (left, right, bottom, top)."""
    centers = priors.grid.centers.numpy()[drawn]
    margin = _MARGIN * priors.grid.width
    (left, bottom), (right, top) = centers.min(axis=0) - margin, centers.max(axis=0) + margin
    a = torch.linspace(float(left), float(right), _POINTS)
    b = torch.linspace(float(bottom), float(top), _POINTS)
    b_plane, a_plane = torch.meshgrid(b, a, indexing="ij")
    extent = (float(left), float(right), float(bottom), float(top))
    return torch.stack((a_plane, b_plane))[None], extent


def _colors(ab: torch.Tensor) -> Floats:
    """(h, w, 3) sRGB of each ab at a lightness that can show it; white where none can."""
    picture = torch.ones(1, 3, *ab.shape[2:])
    missing = torch.ones(1, 1, *ab.shape[2:], dtype=torch.bool)
    for lightness in _LIGHTNESSES:
        lab = torch.cat((torch.full_like(ab[:, :1], lightness), ab), dim=1)
        rgb = lab_to_rgb(lab, map_gamut=False)
        here = missing & ((rgb >= 0) & (rgb <= 1)).all(dim=1, keepdim=True)
        picture = torch.where(here, rgb, picture)
        missing &= ~here
    return picture[0].permute(1, 2, 0).contiguous().numpy()
