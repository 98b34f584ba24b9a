"""Photographs for training, read by index: from files and archives, packs, or memory.

Everything that yields training photographs is a `Photos`: it has a length, and `read(index)`
gives one photograph as (h, w, 3) uint8 RGB. Any number of threads may read at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import math
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from zcolor.files import read_image
from zcolor.training.packfile import PACK_SUFFIXES, PackedPhotos, Split
from zcolor.training.sources import (
    UNREADABLE,
    PhotoEntry,
    Rgb8,
    combined_hash,
    content_hash,
    find_photos,
    stamp_of,
    to_rgb8,
)

# What training needs of photographs comes from here, wherever it is written.
__all__ = [
    "CachedPhotos",
    "JoinedPhotos",
    "LoosePhotos",
    "PackedPhotos",
    "Photos",
    "Rgb8",
    "Split",
    "find_photos",
    "open_photos",
]

# Bytes from which on an array of the cache is full, and photographs that are decoded at a time
# for each thread.
_CHUNK_BYTES = 1 << 26
_IN_FLIGHT = 4


class Photos(Protocol):
    """Photographs that can be read by index, by any number of threads at once."""

    def __len__(self) -> int:
        """Return the number of photographs."""

    def read(self, index: int) -> Rgb8:
        """Return photograph `index` as (h, w, 3) uint8 RGB."""

    @property
    def data_hash(self) -> str:
        """A SHA-256 that names this set of photographs, whatever their order."""

    @property
    def stamp(self) -> str:
        """A SHA-256 that names the files as they stand, in their order; costs no reading."""


@runtime_checkable
class _Composed(Protocol):
    """Photographs that are those of other sets."""

    def place_of(self, index: int) -> tuple[Photos, int]:
        """Tell which set a photograph belongs to, and its index there."""


class LoosePhotos:
    """Photographs in files and archives, decoded when asked for.

    Parameters
    ----------
    entries
        What `find_photos` found.
    least_side
        Short side, in pixels, that photos will be shrunk to: large JPEG files are then decoded
        smaller (`zcolor.files.read_image`). 0 decodes all of them.
    """

    def __init__(self, entries: Sequence[PhotoEntry], *, least_side: int = 0) -> None:
        self.entries = list(entries)
        self.least_side = least_side
        # Files are read once: what was read for its pixels is not read for its hash again.
        self._hashes: list[bytes | None] = [None] * len(self.entries)

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.entries)

    def read(self, index: int) -> Rgb8:
        """Return photograph `index` as (h, w, 3) uint8 RGB, upright and in sRGB.

        Raises
        ------
        ValueError
            If it is no readable image (zcolor.files says why).
        """
        data = self._read_bytes(index)
        return to_rgb8(read_image(data, least_side=self.least_side).pixels)

    def know_hashes(self, first: int, hashes: Sequence[bytes | None]) -> None:
        """Take the content hashes of photographs from `first` on that were read elsewhere."""
        self._hashes[first : first + len(hashes)] = hashes

    def known_hashes(self) -> list[bytes | None]:
        """Give the content hashes of the photographs, None for those that were not read."""
        return list(self._hashes)

    @property
    def data_hash(self) -> str:
        """A SHA-256 over the contents of all photographs; reads those that were not read yet.

        Those that cannot be read have no part in it.
        """
        for index, known in enumerate(self._hashes):
            if known is None:
                with contextlib.suppress(*UNREADABLE):
                    self._read_bytes(index)
        return combined_hash([known for known in self._hashes if known is not None])

    @property
    def stamp(self) -> str:
        """A SHA-256 over the names, sizes and times of the files."""
        return stamp_of(self.entries)

    def _read_bytes(self, index: int) -> bytes:
        data = self.entries[index].read_bytes()
        self._hashes[index] = content_hash(data)
        return data


class JoinedPhotos:
    """Several `Photos` one after the other, as one.

    Parameters
    ----------
    parts
        At least one.

    Raises
    ------
    ValueError
        If there is none.
    """

    def __init__(self, parts: Sequence[Photos]) -> None:
        if not parts:
            raise ValueError("there is nothing to join; give at least one set of photographs")
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        """Return the number of photographs."""
        return int(self._ends[-1])

    def read(self, index: int) -> Rgb8:
        """Return photograph `index` as (h, w, 3) uint8 RGB.

        Raises
        ------
        IndexError
            If there is no such photograph.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"photo {index} of {len(self)} does not exist")
        part, place = self.place_of(index)
        return part.read(place)

    def place_of(self, index: int) -> tuple[Photos, int]:
        """Tell which part a photograph belongs to, and its index there."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part], index - int(self._ends[part] - len(self.parts[part]))

    @property
    def data_hash(self) -> str:
        """A SHA-256 over those of the parts."""
        return combined_hash([part.data_hash.encode() for part in self.parts])

    @property
    def stamp(self) -> str:
        """A SHA-256 over those of the parts."""
        return combined_hash([part.stamp.encode() for part in self.parts])


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


def name_of(photos: Photos, index: int) -> str:
    """Name one photograph of a set, by its file where that is known."""
    if isinstance(photos, _Composed):
        return name_of(*photos.place_of(index))
    if isinstance(photos, LoosePhotos):
        return photos.entries[index].name
    if isinstance(photos, PackedPhotos):
        return photos.names[index]
    return f"photo #{index}"


def content_hashes(photos: Photos) -> set[bytes]:
    """Give the content hashes of photographs, of those that are known by their files."""
    match photos:
        case JoinedPhotos():
            return set().union(*map(content_hashes, photos.parts))
        case PackedPhotos():
            return photos.content_hashes
        case LoosePhotos():
            named = photos.data_hash  # reads those that were not read yet
            assert named
            return {known for known in photos.known_hashes() if known is not None}
    return set()


def part_hashes(photos: Photos, *, packs_as_sets: bool = False) -> tuple[str, ...]:
    """Give the hashes of the parts of a set, in their order: that of its photographs' indices.

    For a pack the hash is over its photographs as they are ordered and how they were made, for
    photographs that are not packed over their contents as they are ordered.

    Parameters
    ----------
    photos
        The set.
    packs_as_sets
        For a pack give the hash of its photographs whatever their order, as earlier versions did.
    """
    if isinstance(photos, JoinedPhotos):
        parts = (part_hashes(part, packs_as_sets=packs_as_sets) for part in photos.parts)
        return tuple(itertools.chain.from_iterable(parts))
    if isinstance(photos, PackedPhotos) and not packs_as_sets:
        return (photos.stamp,)
    named = photos.data_hash  # reads those that were not read yet
    if not isinstance(photos, LoosePhotos):
        return (named,)
    contents = (known or b"unreadable" for known in photos.known_hashes())
    return (hashlib.sha256(b"".join(contents)).hexdigest(),)


def read_named(photos: Photos, index: int) -> Rgb8:
    """Read one photograph of a set; one that cannot be read is named.

    Parameters
    ----------
    photos, index
        The set, and which of it.

    Returns
    -------
    (h, w, 3) uint8 RGB.

    Raises
    ------
    ValueError
        If it cannot be read, with its name and the cure.
    """
    try:
        return photos.read(index)
    except UNREADABLE as error:
        raise ValueError(
            f"{name_of(photos, index)} cannot be read ({error}); take it out, or make a pack with "
            "`zcolor pack`, which drops and lists broken photos"
        ) from error


def open_photos(
    sources: Sequence[str | os.PathLike[str]],
    split: Split | Literal["val or all"] = "all",
    *,
    least_side: int = 0,
) -> Photos:
    """Open packs (`.h5`), or images directly, as one set of photographs.

    Parameters
    ----------
    sources
        Packs and whatever `find_photos` takes.
    split
        The split of packs to take; images outside packs have none and are always taken.
        `val or all` takes a pack without a val split as a whole.
    least_side
        As for `LoosePhotos`, for images outside packs.

    Returns
    -------
    The photographs, packs first.

    Raises
    ------
    FileNotFoundError
        If a source does not exist.
    ValueError
        If there is no photograph at all, or a pack is damaged.
    """
    packs = [source for source in sources if Path(source).suffix.lower() in PACK_SUFFIXES]
    others = [source for source in sources if source not in packs]
    parts: list[Photos] = [_open_pack(pack, split) for pack in packs]
    if others:
        parts.append(LoosePhotos(find_photos(others), least_side=least_side))
    photos = parts[0] if len(parts) == 1 else JoinedPhotos(parts)
    if not len(photos):
        raise ValueError(
            f"the {split} split of {', '.join(map(str, sources))} is empty; "
            "pack with other fractions or name another split"
        )
    return photos


def _open_pack(path: str | os.PathLike[str], split: Split | Literal["val or all"]) -> PackedPhotos:
    if split != "val or all":
        return PackedPhotos(path, split)
    held_out = PackedPhotos(path, "val")
    return held_out if len(held_out) else PackedPhotos(path, "all")
