"""The half-done work of packing: a file that grows photo by photo and survives a kill.

HDF5 may be left unreadable by a process that dies while it writes, so photographs are collected
here first. The journal is one line of JSON that names the work, then for each photograph a line of
JSON followed by its encoded bytes. Whatever follows the last whole record is cut off when the
journal is opened again, so the work goes on exactly where it stood.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["kept", "near_grey", "tiny", "broken", "duplicate"]


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one photograph."""

    verdict: Verdict
    """Kept, or why not."""
    detail: str = ""
    """The reason in words, for those that were dropped."""
    digest: str = ""
    """The content hash in hex; empty where the file could not be read."""
    height: int = 0
    """Height in the pack, in pixels."""
    width: int = 0
    """Width in the pack, in pixels."""
    size: int = 0
    """How many bytes follow."""
    crc: int = 0
    """Their CRC-32."""


class Journal:
    """The records of photographs 0, 1, ... of a piece of work, and the bytes of those kept.

    Parameters
    ----------
    path
        The file: opened where it exists, otherwise begun.
    key
        Names the work: another key is other work.

    Attributes
    ----------
    records : list of Record
        In the order of the photographs.

    Raises
    ------
    ValueError
        If the file belongs to other work, or is no journal.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.records: list[Record] = []
        path.touch()
        self._file = path.open("r+b")
        header = (json.dumps({"zcolor_journal": key}) + "\n").encode()
        first = self._file.readline(len(header))
        if first == header:
            self._load()
        elif header.startswith(first):
            # New, or killed before even its first line was whole.
            self._file.seek(0)
            self._file.truncate()
            self._file.write(header)
            self._file.flush()
        else:
            self._file.close()
            raise ValueError(
                f"{path} was begun with other photographs or settings; give the same ones again "
                "to continue it, or delete it to start anew"
            )
        self._header_size = len(header)

    def _load(self) -> None:
        """Read all whole records and cut off what follows them."""
        whole, file_size = self._file.tell(), self.path.stat().st_size
        while line := self._file.readline():
            if not line.endswith(b"\n"):
                break
            # A power cut may leave a line of zeros.
            try:
                record = Record(**json.loads(line))
                left = file_size - self._file.tell()
                if record.size.bit_length() > 63 or not 0 <= record.size <= left:
                    break
            except (ValueError, TypeError, AttributeError, RecursionError):
                break
            data = self._file.read(record.size)
            if (
                not line.endswith(b"\n")
                or len(data) < record.size
                or zlib.crc32(data) != record.crc
            ):
                break
            self.records.append(record)
            whole = self._file.tell()
        self._file.seek(whole)
        self._file.truncate()

    def add(self, record: Record, data: bytes = b"") -> None:
        """Append one record; once this returns, a kill of the process does not lose it.

        Parameters
        ----------
        record
            What became of the next photograph; its `size` and `crc` must be those of `data`.
        data
            The encoded photograph, if it was kept.

        Raises
        ------
        OSError
            If the disk is full or gone.
        """
        line = json.dumps(asdict(record), separators=(",", ":")) + "\n"
        with self._named_in_errors():
            self._file.write(line.encode() + data)
            self._file.flush()
        self.records.append(record)

    def payloads(self) -> Iterator[bytes]:
        """Give the bytes of the photographs that were kept, one after the other.

        Nothing may be added until the last one has been taken.
        """
        self._file.seek(self._header_size)
        for record in self.records:
            self._file.readline()
            data = self._file.read(record.size)
            if record.verdict == "kept":
                yield data

    def close(self) -> None:
        """Close the file and leave it where it is."""
        with self._named_in_errors():
            self._file.close()

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        """Say which file it is that cannot be written; the system does not."""
        try:
            yield
        except OSError as error:
            error.filename = str(self.path)
            raise
