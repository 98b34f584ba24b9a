"""Counting the colours of photographs over the cells of an ab grid.

The photographs are counted in a stream by threads, in whole numbers only: the ab of every block of
stride x stride pixels is averaged, rounded to thousandths and put into its cell. Whole numbers
add up to the same whatever the order, so the number of threads changes nothing, and an interrupted
count continues where it stood.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from zcolor.lab8 import rgb8_to_lab
from zcolor.quantizer import AbGrid
from zcolor.training.dataset import Photos, Rgb8, name_of
from zcolor.training.settings import PriorSettings
from zcolor.training.sources import UNREADABLE

logger = logging.getLogger(__name__)

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

# Colours are counted and summed in whole thousandths of an ab unit, far below what an eye can see.
MILLI = 1000
# Photos that are counted at a time, and photos after which the state is saved.
_PHOTOS_A_TASK = 32
_PHOTOS_A_SAVE = 2048
# Pixels of a photo that are float at once, so many as a CPU's cache holds; larger photos are
# converted in bands of rows.
_PIXELS_AT_ONCE = 1 << 15
# Blocks that are counted together, so that small photos cost few calls.
_BLOCKS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class ColorCounts:
    """What a set of photographs adds up to; sums of these are exact."""

    counts: Int64s
    """(q,) blocks in each cell."""
    milli_sums: Int64s
    """(q, 2) sum of their ab, in thousandths."""
    photos_per_cell: Int64s
    """(q,) photos that have at least one block in the cell."""
    n_photos: int = 0
    """Photos counted."""
    broken: tuple[tuple[int, str], ...] = ()
    """Index of, and what is wrong with, the photos that could not be counted."""

    @classmethod
    def empty(cls, n_bins: int) -> ColorCounts:
        """Nothing counted yet, over `n_bins` cells."""
        zeros = np.zeros(n_bins, dtype=np.int64)
        return cls(zeros, np.zeros((n_bins, 2), dtype=np.int64), zeros)

    @classmethod
    def broken_photo(cls, n_bins: int, index: int, error: Exception) -> ColorCounts:
        """One photo that could not be counted."""
        reason = f"{type(error).__name__}: {error}"
        return dataclasses.replace(cls.empty(n_bins), broken=((index, reason),))

    @property
    def n_done(self) -> int:
        """Photos dealt with, the broken ones included."""
        return self.n_photos + len(self.broken)

    def __add__(self, other: ColorCounts) -> ColorCounts:
        return ColorCounts(
            self.counts + other.counts,
            self.milli_sums + other.milli_sums,
            self.photos_per_cell + other.photos_per_cell,
            self.n_photos + other.n_photos,
            self.broken + other.broken,
        )


Spread = Callable[[Sequence[range]], Generator[ColorCounts]]
"""Counts stretches of photographs and gives what each adds up to, in their order."""


def blocks_of(rgb: Rgb8, *, size: int = 0, stride: int = 4) -> Int32s:
    """Average the ab of a photograph over blocks.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8 sRGB.
    size
        Short side, in pixels, to shrink to first; 0 and smaller photos: as it is.
    stride
        ab is averaged over blocks of stride x stride pixels, which begin at the top left; rows and
        columns at the end that fill no block are left out.

    Returns
    -------
    (m, 2) ab of the m blocks in whole thousandths. It is rounded before it is put into a cell, so
    that greys, which lie on the corner of four cells, do not fall at random.

    Raises
    ------
    ValueError
        If the photo is smaller than one block.
    """
    scale = size / min(rgb.shape[:2])
    if 0 < scale < 1:
        to = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
        # Above a half, linear interpolation sees every pixel too, in a sixth of the time.
        way = cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR
        rgb = cv2.resize(rgb, to, interpolation=way).astype(np.uint8, copy=False)
    height, width = rgb.shape[:2]
    if min(height, width) < stride:
        raise ValueError(
            f"a photo of {height} x {width} pixels is smaller than one block of {stride} x "
            f"{stride}; use a smaller stride"
        )
    rows = max(1, _PIXELS_AT_ONCE // (width * stride)) * stride
    last, wide = height - height % stride, width // stride
    bands = []
    for top in range(0, last, rows):
        band = np.ascontiguousarray(rgb[top : min(top + rows, last), : wide * stride])
        # By area, which at a whole number of pixels is the plain mean.
        size_of = (wide, len(band) // stride)
        mean = cv2.resize(rgb8_to_lab(band), size_of, interpolation=cv2.INTER_AREA)
        bands.append(np.rint(mean[..., 1:].reshape(-1, 2) * MILLI).astype(np.int32))
    return np.concatenate(bands)


def count_blocks(photos: Sequence[Int32s], grid: AbGrid) -> ColorCounts:
    """Count the blocks of photographs over the cells.

    Parameters
    ----------
    photos
        One or more, each (m, 2) ab in thousandths, as `blocks_of` gives it.
    grid
        The cells.

    Returns
    -------
    The counts.
    """
    milli = np.concatenate(photos)  # (m, 2)
    ab = torch.from_numpy(milli.T / MILLI)[None, :, :, None]  # (1, 2, m, 1)
    cell = grid.encode(ab).flatten().numpy()
    photo = np.repeat(np.arange(len(photos)), [len(blocks) for blocks in photos])
    n_cells = len(photos) * grid.n_bins
    table = np.bincount(photo * grid.n_bins + cell, minlength=n_cells).reshape(len(photos), -1)
    # bincount sums in float64, which is exact for whole numbers up to 2^53: 8e10 blocks.
    sums = [np.bincount(cell, weights=channel, minlength=grid.n_bins) for channel in milli.T]
    return ColorCounts(
        table.sum(axis=0),
        np.stack(sums, axis=1).astype(np.int64),
        np.count_nonzero(table, axis=0).astype(np.int64),
        n_photos=len(photos),
    )


def count_colors(
    photos: Photos,
    settings: PriorSettings | None = None,
    *,
    grid: AbGrid | None = None,
    start: ColorCounts | None = None,
    save: Callable[[ColorCounts], None] | None = None,
    spread: Spread | None = None,
    progress: bool = True,
) -> ColorCounts:
    """Count the colours of photographs, in a stream and in parallel.

    Photos that cannot be read are skipped and listed in the log and in the result.

    Parameters
    ----------
    photos
        The photographs.
    settings
        `size`, `stride`, `jobs` and, without a grid, `bins` and `range` are used.
    grid
        The cells; None makes the regular grid of the settings.
    start
        What was counted before, of the photos that come first; they are not read again.
    save
        Called with what has been counted so far every 2,048 photos and at an interrupt.
    spread
        How the photos are shared out; None counts them in threads.
    progress
        Show a progress bar.

    Returns
    -------
    The counts, the same however the photos are shared out.

    Raises
    ------
    ValueError
        If not a single photo could be counted.
    """
    settings = settings or PriorSettings()
    grid = grid or AbGrid(settings.bins, *settings.range)
    total = start or ColorCounts.empty(grid.n_bins)
    n, saved = len(photos), total.n_done
    firsts = range(total.n_done, n, _PHOTOS_A_TASK)
    stretches = [range(first, min(first + _PHOTOS_A_TASK, n)) for first in firsts]
    parts = _in_threads(photos, stretches, grid, settings) if spread is None else spread(stretches)
    bar = tqdm(total=n, initial=total.n_done, desc="count", unit="photo", disable=not progress)
    with bar, closing(parts):
        try:
            for part in parts:
                total += part
                bar.update(part.n_done)
                due = total.n_done - saved >= _PHOTOS_A_SAVE or total.n_done == n
                if save is not None and due:
                    save(total)
                    saved = total.n_done
        except BaseException:
            parts.close()
            if save is not None:
                save(total)
            raise
    _report_broken(photos, total)
    return total


def _in_threads(
    photos: Photos, stretches: Sequence[range], grid: AbGrid, settings: PriorSettings
) -> Generator[ColorCounts]:
    """Count stretches of photographs in threads and give the counts in order."""
    # Some at a time, so that the threads never run far ahead of what is saved.
    at_once = _PHOTOS_A_SAVE // _PHOTOS_A_TASK
    with _counting_threads(settings.jobs) as pool:
        try:
            for first in range(0, len(stretches), at_once):
                some = stretches[first : first + at_once]
                yield from pool.map(lambda s: count_some(photos, s, grid, settings), some)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _counting_threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Make threads in which torch uses one core each.

    Photos are small: splitting the arithmetic of one over cores costs more than it gives, and
    would let the last bits depend on the number of cores.
    """
    before = torch.get_num_threads()
    jobs = jobs or os.cpu_count() or 1
    try:
        with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def count_some(
    photos: Photos, indices: range, grid: AbGrid, settings: PriorSettings
) -> ColorCounts:
    """Count some photographs, one after the other; `size` and `stride` of the settings count."""
    total = ColorCounts.empty(grid.n_bins)
    waiting: list[Int32s] = []
    for index in indices:
        try:
            rgb = photos.read(index)
        except UNREADABLE as error:
            total += ColorCounts.broken_photo(grid.n_bins, index, error)
            continue
        try:
            waiting.append(blocks_of(rgb, size=settings.size, stride=settings.stride))
        except ValueError as error:
            total += ColorCounts.broken_photo(grid.n_bins, index, error)
        if sum(map(len, waiting)) > _BLOCKS_AT_ONCE:
            total += count_blocks(waiting, grid)
            waiting = []
    return total + count_blocks(waiting, grid) if waiting else total


def _report_broken(photos: Photos, total: ColorCounts) -> None:
    for index, reason in total.broken:
        logger.warning("left out %s: %s", name_of(photos, index), reason)
    if total.broken:
        logger.warning("%d of %d photos were left out", len(total.broken), total.n_done)
    if total.n_photos == 0:
        raise ValueError(
            f"none of the {total.n_done} photos could be counted; the first: {total.broken[0][1]}"
            if total.broken
            else "there are no photos to count; name another folder, archive, pack or split"
        )
