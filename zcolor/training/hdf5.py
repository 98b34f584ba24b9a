"""HDF5 files that say so before they are opened if they were damaged.

The HDF5 library is not made for damaged files: a changed bit in its index may end in an endless
loop. So a file gets a seal: a line in its first 512 bytes, which HDF5 leaves to its users (the
"user block"), with the SHA-256 of all that follows, but for one range of photographs, whose own
decoders find what is damaged. Files without one, written by earlier versions, are read unchecked.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from zcolor.atomic import whole_file

SEAL_BYTES = 512
"""Size of the user block: HDF5 takes powers of two from 512 on."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PREFIX = b"zcolor "
_BLOCK_BYTES = 1 << 24
# What h5py, NumPy and we raise on contents that are damaged or not what they should be.
_BROKEN = (
    OSError, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError,
    MemoryError,
)  # fmt: skip


class _NotingFile(io.FileIO):
    """A file that notes the first error of writing and lets HDF5 believe that all is well.

    HDF5 keeps what it could not write, tries again as the process ends, and crashes there: HDF5
    2.0 on a full disk, with a segmentation fault.
    """

    _error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data, or note why not."""
        view, done = memoryview(data), 0
        try:
            while done < view.nbytes:
                done += super().write(view[done:])
        except OSError as error:
            self._error = self._error or error
        return view.nbytes

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or note why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def check(self) -> None:
        """Raise the first error of writing, if there was one."""
        if self._error is not None:
            raise self._error


@contextmanager
def whole_hdf5(path: str | os.PathLike[str], *, unhashed: str | None = None) -> Iterator[h5py.File]:
    """Write an HDF5 file with a seal, whole or not at all.

    Parameters
    ----------
    path
        The file.
    unhashed
        A dataset whose contents, in one piece, the seal leaves out.

    Yields
    ------
    The file, open for writing under a temporary name.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; it names `path`.
    """
    with whole_file(path) as temporary:
        with _NotingFile(temporary, "w+") as noting:
            try:
                with h5py.File(noting, "w", userblock_size=SEAL_BYTES) as file:
                    yield file
                    file.flush()
                    start = length = 0
                    if unhashed is not None and file[unhashed].size:
                        start, length = file[unhashed].id.get_offset(), file[unhashed].nbytes
            except Exception:
                noting.check()
                raise
            noting.check()
        seal = {"start": start, "length": length, "sha256": _hash(temporary, start, length)}
        with temporary.open("r+b") as raw:
            raw.write((_PREFIX + json.dumps(seal).encode()).ljust(SEAL_BYTES - 1) + b"\n")


def open_hdf5(path: str | os.PathLike[str]) -> h5py.File:
    """Open an HDF5 file for reading, after a look at its seal.

    Parameters
    ----------
    path
        The file; one without a seal, written by an earlier version, is opened as it is.

    Returns
    -------
    The open file.

    Raises
    ------
    OSError
        If it is no HDF5 file, was cut short, or does not fit its seal.
    """
    with open(path, "rb") as raw:
        head = raw.read(SEAL_BYTES)
    if not head.startswith(_SIGNATURE):
        try:
            seal = json.loads(head.removeprefix(_PREFIX))
            fits = _hash(path, int(seal["start"]), int(seal["length"])) == seal["sha256"]
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise OSError("it begins neither as HDF5 nor with a seal of zcolor") from error
        if not fits:
            raise OSError("it does not have the SHA-256 that its first line states")
    return h5py.File(path, "r")


def read_array(file: h5py.File, name: str) -> Any:
    """Read a dataset that stands in the file itself, in one piece.

    Parameters
    ----------
    file
        An open file.
    name
        Of the dataset.

    Returns
    -------
    A NumPy array.

    Raises
    ------
    ValueError
        If it is no such dataset: linked or stored elsewhere, compressed, or larger than the file.
    KeyError, OSError
        If there is none, or it cannot be read.
    """
    return plain_dataset(file, name)[:]


def plain_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Find a dataset, and refuse it if it leads out of its file; errors as in `read_array`."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} is a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name!r} is no dataset")
    if dataset.chunks is not None or dataset.external or dataset.is_virtual:
        raise ValueError(f"{name!r} is not stored in one piece")
    if dataset.size * dataset.dtype.itemsize > os.path.getsize(file.filename):
        raise ValueError(f"{name!r} says that it is larger than its file")
    return dataset


@contextmanager
def damage_named(path: str | os.PathLike[str], kind: str, cure: str) -> Iterator[None]:
    """Turn what reading a damaged file raises into a ValueError that names it.

    Parameters
    ----------
    path
        The file.
    kind
        What it should be, such as "pack".
    cure
        What to do.

    Raises
    ------
    ValueError
        In place of any error but one that names the file already.
    """
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, ValueError) and os.fspath(path) in str(error):
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no {kind} or was cut short ({text}); {cure}") from error


def _hash(path: str | os.PathLike[str], start: int, length: int) -> str:
    """SHA-256 of a file behind its first `SEAL_BYTES`, without `length` bytes from `start` on."""
    digest, size = hashlib.sha256(), Path(path).stat().st_size
    if not (length == 0 or SEAL_BYTES <= start <= start + length <= size):
        raise ValueError("the range that is left out lies outside the file")
    digest.update(f"{size} {start} {length}\n".encode())
    with open(path, "rb") as raw:
        for begin, end in ((SEAL_BYTES, start if length else size), (start + length, size)):
            if begin >= SEAL_BYTES:
                raw.seek(begin)
                while begin < end and (block := raw.read(min(_BLOCK_BYTES, end - begin))):
                    digest.update(block)
                    begin += len(block)
    return digest.hexdigest()
