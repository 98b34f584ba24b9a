"""Colour priors: how often each cell of the ab grid occurs in photographs."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch

from zcolor.atomic import check_place
from zcolor.quantizer import AbGrid
from zcolor.training.counting import MILLI, Int64s, Spread, count_colors
from zcolor.training.counting_state import read_state, write_state
from zcolor.training.dataset import Photos, Split, open_photos
from zcolor.training.hdf5 import damage_named, open_hdf5, read_array, whole_hdf5
from zcolor.training.rebalancing import Float32s, Float64s, weights_of_counts
from zcolor.training.settings import PriorSettings, Rebalancing

logger = logging.getLogger(__name__)

PRIORS_VERSION = 1
# The weights that are written beside the counts.
WEIGHT_KINDS: tuple[Rebalancing, ...] = ("neglog", "zhang")
# The pixels of one photo resemble each other, so photos are what counts: a cell seen in m photos
# has a relative standard error of about 1 / sqrt(m). 100 photos mean 10 %, or 0.1 in -log p.
STABLE_SHARE = 0.99
STABLE_PHOTOS = 100
# HDF5 attributes hold at most 64 KiB.
_LONGEST_COMMAND = 32_000


@dataclass(frozen=True, eq=False)
class Priors:
    """How often each cell of a grid occurs in a set of photographs."""

    grid: AbGrid
    """The q cells."""
    counts: Int64s
    """(q,) blocks of stride x stride pixels in each cell."""
    means: Float32s
    """(q, 2) mean ab of these blocks; the centre where a cell has none."""
    photos_per_cell: Int64s
    """(q,) photos that have at least one block in the cell."""
    n_photos: int
    """Photos counted."""
    data_hash: str = ""
    """SHA-256 that names the set of photographs."""
    settings: PriorSettings = field(default_factory=PriorSettings)
    """How they were counted, and how the weights are made."""
    command: str = ""
    """What was typed to make this."""

    @property
    def n_pixels(self) -> int:
        """Blocks counted in all (pixels, where the stride is 1)."""
        return int(self.counts.sum())

    @property
    def p(self) -> Float64s:
        """(q,) share of the blocks in each cell; sums to 1."""
        share: Float64s = self.counts / self.counts.sum()
        return share

    @property
    def stable_photos(self) -> int:
        """Photos that the rarest of the cells that together hold 99 % of the blocks was seen in."""
        order = np.argsort(-self.counts, kind="stable")
        held = np.cumsum(self.counts[order])
        n_cells = int(np.searchsorted(held, STABLE_SHARE * held[-1])) + 1
        return int(self.photos_per_cell[order[:n_cells]].min())


def rebalancing_weights(priors: Priors, kind: Rebalancing = "neglog") -> Float32s:
    """Weigh colours so that rare ones count in the loss.

    Parameters
    ----------
    priors
        The counts, and the smoothing, floor and lambda of their settings.
    kind
        `neglog`, `zhang` or `none`.

    Returns
    -------
    (q,) weights, all positive and finite, of p-weighted mean 1
    (`zcolor.training.rebalancing.weights_of_counts` says how).

    Raises
    ------
    ValueError
        If fewer than two cells were reached (unless `kind` is `none`), or the kind is unknown.
    """
    return weights_of_counts(priors.counts, priors.grid, kind, settings=priors.settings)


def build_priors(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: PriorSettings | None = None,
    *,
    grid: AbGrid | None = None,
    split: Split = "train",
    spread: Callable[[Photos, AbGrid], Spread] | None = None,
    progress: bool = True,
    command: str = "",
) -> Priors:
    """Count the colours of packs or images and write the priors.

    The state is kept in `out` + `.part`: after an interrupt the same call continues there.

    Parameters
    ----------
    sources
        What `open_photos` takes: packs, images, folders, globs, lists, zip archives.
    out
        The HDF5 file to write (`write_priors`); priors that are there are replaced.
    settings
        How to count.
    grid
        The cells; None makes the regular grid of the settings.
    split
        The split of packs to count.
    spread
        Makes how the photos are shared out, of the photos and the cells; None counts in threads.
    progress
        Show a progress bar.
    command
        What was typed, for the record.

    Returns
    -------
    The priors.

    Raises
    ------
    FileNotFoundError
        If a source does not exist.
    FileExistsError
        If `out` exists and holds something else, a pack for example.
    ValueError
        If no photo could be counted, or all colours fall into one cell.
    """
    _check_out(out)
    settings = settings or PriorSettings()
    grid = grid or AbGrid(settings.bins, *settings.range)
    photos = open_photos(sources, split, least_side=settings.size)
    state = Path(f"{os.fspath(out)}.part")
    job = {
        "version": PRIORS_VERSION,
        "stamp": photos.stamp,
        "sources": [os.fspath(source) for source in sources],
        "n_photos": len(photos),
        "split": split,
        "grid": grid.to_dict(),
        "size": settings.size,
        "stride": settings.stride,
    }
    total = count_colors(
        photos,
        settings,
        grid=grid,
        start=read_state(state, job),
        save=lambda counted: write_state(state, job, counted),
        spread=None if spread is None else spread(photos, grid),
        progress=progress,
    )
    seen = total.counts > 0
    means = grid.centers.numpy().copy()
    means[seen] = total.milli_sums[seen] / total.counts[seen, None] / MILLI
    priors = Priors(
        grid=grid,
        counts=total.counts,
        means=means,
        photos_per_cell=total.photos_per_cell,
        n_photos=total.n_photos,
        data_hash=photos.data_hash,
        settings=settings,
        command=command,
    )
    write_priors(out, priors)
    state.unlink(missing_ok=True)
    if priors.stable_photos < STABLE_PHOTOS:
        logger.warning("%s", _instability(priors))
    return priors


def _check_out(out: str | os.PathLike[str]) -> None:
    """Refuse to put priors in the place of something else, before hours of counting."""
    check_place(out, "the priors")
    if Path(out).exists():
        try:
            read_priors(out)
        except ValueError as error:
            raise FileExistsError(
                f"{out} exists and holds no priors, which would replace it; choose another name"
            ) from error


def write_priors(path: str | os.PathLike[str], priors: Priors) -> None:
    """Write priors as HDF5, whole or not at all.

    ================== ======= ==========================================
    dataset            dtype   meaning
    ================== ======= ==========================================
    counts             int64   (q,) blocks in each cell
    p                  float64 (q,) their share
    weights_neglog     float32 (q,) -log p, p-weighted mean 1
    weights_zhang      float32 (q,) weights of the paper, p-weighted mean 1
    means              float32 (q, 2) mean ab of each cell
    centers            float32 (q, 2) centre of each cell
    photos_per_cell    int64   (q,) photos that have the cell
    ================== ======= ==========================================

    The attributes are `zcolor_priors` (the format's version), `grid` and `settings` (JSON; the
    grid is `null` where the centres are a free list), `n_photos`, `n_pixels`, `data_hash` and
    `command`.

    Parameters
    ----------
    path
        The file; its folder is made.
    priors
        What to write.

    Raises
    ------
    ValueError
        If no weights can be made of the counts (`rebalancing_weights` says why).
    """
    arrays = {
        "counts": priors.counts,
        "p": priors.p,
        **{f"weights_{kind}": rebalancing_weights(priors, kind) for kind in WEIGHT_KINDS},
        "means": priors.means,
        "centers": priors.grid.centers.numpy(),
        "photos_per_cell": priors.photos_per_cell,
    }
    regular = priors.grid.bins is not None
    attributes = {
        "zcolor_priors": PRIORS_VERSION,
        "grid": json.dumps(priors.grid.to_dict() if regular else None),
        "settings": json.dumps(dataclasses.asdict(priors.settings)),
        "n_photos": priors.n_photos,
        "n_pixels": priors.n_pixels,
        "data_hash": priors.data_hash,
        "command": priors.command[:_LONGEST_COMMAND],
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_hdf5(path) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)
        file.attrs.update(attributes)


def read_priors(path: str | os.PathLike[str]) -> Priors:
    """Read what `write_priors` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The priors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut short, of another kind or of another version.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there are no priors at {path}; make them with `zcolor priors`")
    cure = "copy it again or make it with `zcolor priors`"
    with damage_named(path, "HDF5 file of priors", cure), open_hdf5(path) as file:
        version = file.attrs.get("zcolor_priors")
        if version != PRIORS_VERSION:
            raise ValueError(
                f"{path} is an HDF5 file, but holds no priors of version {PRIORS_VERSION} "
                f"(found {version}); make them with `zcolor priors`"
            )
        return _from_file(file)


def _from_file(file: h5py.File) -> Priors:
    description = json.loads(file.attrs["grid"])
    if description is None:
        grid = AbGrid.from_centers(torch.from_numpy(read_array(file, "centers")))
    else:
        grid = AbGrid.from_dict(description)
    settings = json.loads(file.attrs["settings"])
    settings["range"] = tuple(settings["range"])
    return Priors(
        grid=grid,
        counts=read_array(file, "counts"),
        means=read_array(file, "means"),
        photos_per_cell=read_array(file, "photos_per_cell"),
        n_photos=int(file.attrs["n_photos"]),
        data_hash=str(file.attrs["data_hash"]),
        settings=PriorSettings(**settings),
        command=str(file.attrs["command"]),
    )


def summary(priors: Priors) -> str:
    """Describe priors in a few lines, with a warning where the photos are too few.

    Priors are called stable when each of the cells that together hold 99 % of the counted pixels
    was seen in at least 100 photos: the relative standard error of such a p is about 10 % at most.

    Parameters
    ----------
    priors
        The priors.

    Returns
    -------
    Lines of text.
    """
    p, grid = priors.p, priors.grid
    neutral = np.argsort((grid.centers.numpy() ** 2).sum(axis=1), kind="stable")[:4]
    ranges = []
    for kind in WEIGHT_KINDS:
        weights = rebalancing_weights(priors, kind)[p > 0]
        ranges.append(f"{kind} {weights.min():.3g} to {weights.max():.3g}")
    stride, n_seen = priors.settings.stride, np.count_nonzero(priors.counts)
    lines = [
        f"{priors.n_photos:,} photos, {priors.n_pixels:,} blocks of {stride} x {stride} pixels",
        f"cells seen: {n_seen} of {grid.n_bins} ({int(grid.in_gamut.sum())} lie in the sRGB gamut)",
        f"greyest cell: {p[neutral].max():.1%}, the four around neutral: {p[neutral].sum():.1%}",
        f"weights of the cells seen: {', '.join(ranges)}",
    ]
    if priors.stable_photos < STABLE_PHOTOS:
        lines.append(_instability(priors))
    return "\n".join(lines)


def _instability(priors: Priors) -> str:
    return (
        f"too few photos for a stable prior: of the cells that hold {STABLE_SHARE:.0%} of the "
        f"pixels one was seen in only {priors.stable_photos} photos (at least {STABLE_PHOTOS} are "
        "needed for 10 % of error); add photos or use fewer bins"
    )
