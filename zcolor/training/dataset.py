"""Photographs for training, read by index: from files and archives, or packs.

Everything that yields training photographs is a `Photos`: it has a length, and `read(index)`
gives one photograph as (h, w, 3) uint8 RGB. Any number of threads may read at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

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
    "JoinedPhotos",
    "LoosePhotos",
    "PackedPhotos",
    "Photos",
    "Rgb8",
    "Split",
    "find_photos",
    "open_photos",
]


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
