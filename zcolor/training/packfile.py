"""The pack: photographs for training in one HDF5 file, its format, writer and reader.

It holds the encoded photographs one after the other:

========== ======= =========================================================
dataset    dtype   meaning
========== ======= =========================================================
bytes      uint8   (total,) the encoded photographs (WebP, JPEG or PNG), sRGB
offset     int64   (n,) where photo i starts in `bytes`
length     int64   (n,) how many bytes it takes
height     int32   (n,) pixels
width      int32   (n,) pixels
split      uint8   (n,) 0 train, 1 val, 2 test
label      int32   (n,) index into `labels`
hash       uint8   (n, 16) first half of the SHA-256 of the source file's content
name       str     (n,) where the photo came from
labels     str     (n_labels,) folder names
========== ======= =========================================================

Its attributes are `zcolor_pack` (the format's version), `settings` and `command`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from zcolor.training.hdf5 import (
    damage_named,
    open_hdf5,
    plain_dataset,
    read_array,
    whole_hdf5,
)
from zcolor.training.sources import Rgb8, combined_hash

Split = Literal["train", "val", "test", "all"]
PACK_SUFFIXES = (".h5", ".hdf5")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PACK_VERSION = 1
# Bytes written at once.
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class PackedPhoto:
    """One photograph of a pack, but for its bytes."""

    length: int
    """How many bytes it takes."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    split: int
    """0 train, 1 val, 2 test."""
    label: str
    """The name of its folder."""
    digest: bytes
    """Content hash of the source file, 16 bytes."""
    name: str
    """Where it came from."""


def write_pack(
    path: str | os.PathLike[str],
    photos: Sequence[PackedPhoto],
    payloads: Iterable[bytes],
    *,
    settings: str = "{}",
    command: str = "",
) -> None:
    """Write a pack, whole or not at all, holding no more than a few photographs in memory.

    Parameters
    ----------
    path
        The file; it is written under a temporary name beside it and renamed.
    photos
        All photographs, in order.
    payloads
        Their encoded bytes, in the same order.
    settings
        JSON that says how they were made.
    command
        The command line that made them.

    Raises
    ------
    ValueError
        If the payloads are not as long as the photos say.
    OSError
        If the disk is full or gone.
    """
    with whole_hdf5(path, unhashed="bytes") as file:
        file.attrs.update({"zcolor_pack": PACK_VERSION, "settings": settings})
        file.attrs["command"] = command
        _write_index(file, photos)
        _write_payloads(file["bytes"], payloads)


def _write_index(file: h5py.File, photos: Sequence[PackedPhoto]) -> None:
    length = np.array([photo.length for photo in photos], dtype=np.int64)
    file["length"] = length
    file["offset"] = np.cumsum(length) - length
    file["height"] = np.array([photo.height for photo in photos], dtype=np.int32)
    file["width"] = np.array([photo.width for photo in photos], dtype=np.int32)
    file["split"] = np.array([photo.split for photo in photos], dtype=np.uint8)
    digests = b"".join(photo.digest for photo in photos)
    file["hash"] = np.frombuffer(digests, dtype=np.uint8).reshape(len(photos), 16)
    labels = sorted({photo.label for photo in photos})
    place = {label: i for i, label in enumerate(labels)}
    file["label"] = np.array([place[photo.label] for photo in photos], dtype=np.int32)
    text = h5py.string_dtype()
    file.create_dataset("labels", data=[_utf8(label) for label in labels], dtype=text)
    file.create_dataset("name", data=[_utf8(photo.name) for photo in photos], dtype=text)
    # Contiguous, so that reading one photo is one read of its own bytes.
    file.create_dataset("bytes", shape=(int(length.sum()),), dtype=np.uint8)


def _write_payloads(dataset: h5py.Dataset, payloads: Iterable[bytes]) -> None:
    block, start = bytearray(), 0
    for payload in payloads:
        block += payload
        if len(block) >= _BLOCK_BYTES:
            dataset[start : start + len(block)] = np.frombuffer(bytes(block), dtype=np.uint8)
            start += len(block)
            block.clear()
    if start + len(block) != len(dataset):
        raise ValueError(
            f"the photographs have {start + len(block)} bytes, their lengths sum to {len(dataset)}"
        )
    dataset[start:] = np.frombuffer(bytes(block), dtype=np.uint8)


def _utf8(name: str) -> str:
    """Make a name writable whose file system held bytes that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


class PackedPhotos:
    """The photographs of one split of a pack.

    Parameters
    ----------
    path
        The pack.
    split
        `train`, `val`, `test` or `all`.

    Attributes
    ----------
    labels : list of str
        The folder names that the photos came from.
    label : ndarray
        (n,) int32 index into `labels`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no pack, or of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str], split: Split = "all") -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no pack at {path}; make one with `zcolor pack`")
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split must be train, val, test or all, got {split!r}")
        with damage_named(path, "HDF5 file", "make it with `zcolor pack`"):
            self._file = open_hdf5(path)
            self._read_index(path, split)

    def _read_index(self, path: str | os.PathLike[str], split: Split) -> None:
        if self._file.attrs.get("zcolor_pack") != PACK_VERSION:
            raise ValueError(
                f"{path} is an HDF5 file, but no pack of version {PACK_VERSION}; "
                "make it with `zcolor pack`"
            )
        self.path = Path(path)
        self._settings = str(self._file.attrs.get("settings"))
        splits = read_array(self._file, "split")
        chosen = np.ones(len(splits), dtype=bool)
        if split != "all":
            chosen = splits == SPLITS.index(split)
        self._offset = read_array(self._file, "offset")[chosen]
        self._length = read_array(self._file, "length")[chosen]
        self._hash = read_array(self._file, "hash")[chosen]
        self._chosen = np.flatnonzero(chosen)
        self.label = read_array(self._file, "label")[chosen]
        self.labels = [str(name) for name in plain_dataset(self._file, "labels").asstr()[:]]
        self._bytes = plain_dataset(self._file, "bytes")
        self._check_index()

    def _check_index(self) -> None:
        """Refuse numbers that point outside what they point into."""
        ends = self._offset + self._length
        if (
            self._bytes.dtype != np.uint8
            or not (self._offset >= 0).all()
            or not (self._length > 0).all()
            or not (ends <= len(self._bytes)).all()
        ):
            raise ValueError("its index points outside its photographs")
        if not ((self.label >= 0) & (self.label < len(self.labels))).all():
            raise ValueError("its labels have no names")

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self._offset)

    @property
    def names(self) -> list[str]:
        """Where each photograph came from; read from the file at each call."""
        with damage_named(self.path, "pack", "make it with `zcolor pack`"):
            names = plain_dataset(self._file, "name").asstr()[:]
            return [str(name) for name in names[self._chosen]]

    def read_bytes(self, index: int) -> npt.NDArray[np.uint8]:
        """Return photograph `index` as it is encoded in the pack."""
        start = self._offset[index]
        data: npt.NDArray[np.uint8] = self._bytes[start : start + self._length[index]]
        return data

    def read(self, index: int) -> Rgb8:
        """Return photograph `index` as (h, w, 3) uint8 RGB.

        Raises
        ------
        ValueError
            If its bytes are damaged.
        """
        # What is in a pack was made upright sRGB, so the plain decoder is right, and fast.
        try:
            pixels = cv2.imdecode(self.read_bytes(index), cv2.IMREAD_COLOR_RGB)
        except (cv2.error, OSError):
            pixels = None
        if pixels is None:
            raise ValueError(
                f"photo {index} of {self.path} cannot be decoded: the pack is damaged; make it anew"
            )
        return pixels.astype(np.uint8, copy=False)

    @property
    def content_hashes(self) -> set[bytes]:
        """The content hashes of the photographs' source files."""
        return {row.tobytes() for row in self._hash}

    @property
    def data_hash(self) -> str:
        """A SHA-256 over the content hashes of the photographs."""
        return combined_hash([row.tobytes() for row in self._hash])

    @property
    def stamp(self) -> str:
        """A SHA-256 over the same in their order, and over how the photographs were made."""
        digest = hashlib.sha256(self._settings.encode("utf-8", "backslashreplace"))
        digest.update(self._hash.tobytes())
        return digest.hexdigest()
