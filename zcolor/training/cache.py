"""Photographs decoded once into memory: `zcolor train --cache`."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from zcolor.training.dataset import Photos, Rgb8, read_named

# Bytes from which on an array of the cache is full, and photographs that are decoded at a time
# for each thread.
_CHUNK_BYTES = 1 << 26
_IN_FLIGHT = 4


class CachedPhotos:
    """Photographs decoded once into memory.

    Parameters
    ----------
    photos
        What to decode.
    jobs
        Threads that decode.
    progress
        Show a progress bar.

    Raises
    ------
    ValueError
        If they take more than half of the machine's memory, or one cannot be read.
    """

    def __init__(self, photos: Photos, *, jobs: int = 2, progress: bool = True) -> None:
        self.data_hash, self.stamp = photos.data_hash, photos.stamp
        self._shapes: list[tuple[int, int]] = []
        # A few large arrays, not one for each photo, and none that has to grow.
        self._chunks: list[npt.NDArray[np.uint8]] = []
        # The chunk of each photo, and where it starts there.
        self._places: list[tuple[int, int]] = []
        waiting: list[Rgb8] = []
        n_waiting = n_bytes = 0
        decoded = _decoded(photos, max(1, jobs))
        bar = tqdm(total=len(photos), desc="decode", unit="photo", disable=not progress)
        with closing(decoded), bar:
            for rgb in decoded:
                self._shapes.append((rgb.shape[0], rgb.shape[1]))
                self._places.append((len(self._chunks), n_waiting))
                waiting.append(rgb)
                n_waiting += rgb.size
                n_bytes += rgb.size
                if n_waiting >= _CHUNK_BYTES or len(self._shapes) == len(photos):
                    self._chunks.append(np.concatenate([rgb.reshape(-1) for rgb in waiting]))
                    waiting, n_waiting = [], 0
                self._check_room(n_bytes, len(photos))
                bar.update()

    def _check_room(self, n_bytes: int, n_photos: int) -> None:
        """Refuse to go on before the machine runs out of memory."""
        if n_bytes > _cache_room():
            raise ValueError(
                f"the first {len(self._shapes)} of {n_photos} photos take {n_bytes / 1e9:.1f} GB "
                f"of memory, more than half of what there is; make a pack of small ones (`zcolor "
                "pack`), or train without --cache"
            )

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self._shapes)

    def read(self, index: int) -> Rgb8:
        """Return a view of photograph `index` as (h, w, 3) uint8 RGB; do not write to it."""
        height, width = self._shapes[index]
        chunk, start = self._places[index]
        pixels = self._chunks[chunk][start : start + height * width * 3]
        return pixels.reshape(height, width, 3)


def _decoded(photos: Photos, jobs: int) -> Generator[Rgb8]:
    """Decode photographs in threads and give them in order, with few in memory."""
    at_once = jobs * _IN_FLIGHT
    read = functools.partial(read_named, photos)
    with ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(photos), at_once):
            yield from pool.map(read, range(start, min(start + at_once, len(photos))))


def _cache_room() -> float:
    """Bytes that decoded photographs may take: half of the machine's memory, where it is told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    except (AttributeError, OSError, ValueError):  # not on every system
        return math.inf
