"""Photographs where they lie: found in folders, lists and archives, and named by their content."""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from zcolor.readers import MAX_FILE_BYTES

Rgb8 = npt.NDArray[np.uint8]  # (h, w, 3)
# What reading a photograph raises where its file or archive is damaged or gone: RuntimeError is an
# encrypted or unknown compression, KeyError a missing member; zcolor.files raises ValueError.
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    cv2.error,
    zipfile.BadZipFile,
    zlib.error,
)
# What Pillow and OpenCV both read and people keep photographs in.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class PhotoEntry:
    """Where one photograph stands, without having read it."""

    path: Path
    """The image file, or the zip archive that holds it."""
    member: str | None = None
    """The member of the archive."""

    @property
    def name(self) -> str:
        """A name for reports: the path, and the member where there is one."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"

    @property
    def label(self) -> str:
        """The name of the folder that holds the photo; at the top of an archive, the archive's."""
        if self.member is None:
            return self.path.absolute().parent.name
        return Path(self.member).parent.name or self.path.stem

    def read_bytes(self) -> bytes:
        """Read the encoded photograph.

        Raises
        ------
        OSError
            If it cannot be read.
        zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError
            If the archive is damaged, changed, encrypted, or compressed in an unknown way.
        ValueError
            If it is larger than `zcolor.readers.MAX_FILE_BYTES`.
        """
        stat = self.path.stat()
        if self.member is None:
            self._check_size(stat.st_size)
            return self.path.read_bytes()
        archive, lock = _open_archive(self.path, (stat.st_size, stat.st_mtime_ns), os.getpid())
        with lock:
            # zipfile unpacks no more than the archive says, but makes room for all of that.
            info = archive.getinfo(self.member)
            self._check_size(info.file_size)
            if info.compress_size > stat.st_size:
                raise zipfile.BadZipFile(f"{self.name} says that it is larger than its archive")
            return archive.read(self.member)

    def _check_size(self, n_bytes: int) -> None:
        """Refuse what would fill the memory: members of archives may unpack to a thousandfold."""
        if n_bytes > MAX_FILE_BYTES:
            raise ValueError(
                f"{self.name} has {n_bytes} bytes, more than the limit of {MAX_FILE_BYTES}; make "
                "the picture smaller"
            )


@functools.lru_cache(maxsize=32)
def _open_archive(
    path: Path,
    stamp: tuple[int, int],  # noqa: ARG001 - a changed archive is another one
    process: int,  # noqa: ARG001 - a forked process must not share the position in the file
) -> tuple[zipfile.ZipFile, threading.Lock]:
    """Keep archives open: reading the directory of a large one takes longer than a photo."""
    return zipfile.ZipFile(path), threading.Lock()


def find_photos(sources: Sequence[str | os.PathLike[str]]) -> list[PhotoEntry]:
    """Find the photographs of folders, globs, text lists and zip archives, without reading them.

    Parameters
    ----------
    sources
        Each one an image file, a folder (searched recursively), a zip archive, a `.txt` list (a
        path a line, relative to the list; `#` starts a comment) or a glob pattern.

    Returns
    -------
    The entries, each once, in the order of the sources and sorted by name within each.

    Raises
    ------
    FileNotFoundError
        If a source does not exist or a pattern matches nothing.
    ValueError
        If no photograph is found at all, or an archive is damaged.
    OSError
        If a folder cannot be opened.
    """
    if not sources:
        raise ValueError("no photographs were named; give folders, images, globs, zips or lists")
    entries: dict[PhotoEntry, None] = {}
    for source in sources:
        entries.update(dict.fromkeys(_find_in(Path(source))))
    if not entries:
        raise ValueError(
            f"no photographs in {', '.join(map(str, sources))}; "
            f"known endings are {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return list(entries)


def _is_photo(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not Path(name).name.startswith(".")


def _find_in(source: Path, lists: tuple[Path, ...] = ()) -> Iterator[PhotoEntry]:
    """Find the photographs of one source, which stands in these lists."""
    suffix = source.suffix.lower()
    if source.is_dir():
        for path in sorted(_walk(source)):
            if path.is_file() and _is_photo(path.name):
                yield PhotoEntry(path)
    elif source.is_file() and suffix == ".zip":
        try:
            with zipfile.ZipFile(source) as archive:
                names = sorted(archive.namelist())
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{source} is no zip archive or was cut short ({error}); copy or download it again"
            ) from error
        yield from (PhotoEntry(source, name) for name in names if _is_photo(name))
    elif source.is_file() and suffix == ".txt":
        yield from _find_listed(source, lists)
    elif source.is_file():
        yield PhotoEntry(source)
    else:
        matches = sorted(glob.glob(str(source), recursive=True))
        if not matches:
            raise FileNotFoundError(
                f"{source} does not exist and matches nothing; give a folder, an image, a zip "
                "archive, a .txt list or a glob pattern"
            )
        for match in map(Path, matches):
            # What a pattern happens to match besides photographs was not meant.
            if match.is_dir() or match.suffix.lower() == ".zip" or _is_photo(match.name):
                yield from _find_in(match)


def _find_listed(source: Path, lists: tuple[Path, ...]) -> Iterator[PhotoEntry]:
    """Find what a list names, which may be other lists."""
    place = Path(os.path.realpath(source))
    if place in lists:
        raise ValueError(f"the list {source} names itself; take that line out")
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"the list {source} is no UTF-8 text ({error}); save it as one") from error
    for line in lines:
        name = line.split("#", 1)[0].strip()
        if name:
            yield from _find_in(source.parent / name, (*lists, place))


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder; one that cannot be opened is an error, not an empty one."""

    def refuse(error: OSError) -> None:
        raise OSError(
            f"the folder {error.filename} cannot be opened ({error.strerror}); "
            "allow reading it, or name the folders that are meant"
        ) from error

    for root, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(root, name) for name in names)


def to_rgb8(pixels: npt.NDArray[np.uint8 | np.uint16]) -> Rgb8:
    """Bring decoded pixels to 8-bit RGB; alpha is dropped.

    Parameters
    ----------
    pixels
        (h, w, c) uint8 or uint16, c = 1 (grey), 2 (grey, alpha), 3 or 4.

    Returns
    -------
    (h, w, 3) uint8.

    Examples
    --------
    >>> to_rgb8(np.full((1, 1, 1), 65535, dtype=np.uint16)).tolist()
    [[[255, 255, 255]]]
    """
    color = pixels[:, :, :1] if pixels.shape[2] <= 2 else pixels[:, :, :3]
    if color.dtype == np.uint16:
        color = ((color.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if color.shape[2] == 1:
        color = np.broadcast_to(color, (*color.shape[:2], 3))
    return np.ascontiguousarray(color, dtype=np.uint8)


def stamp_of(entries: Sequence[PhotoEntry]) -> str:
    """Name photographs by their files as they stand, without reading them.

    Parameters
    ----------
    entries
        The photographs.

    Returns
    -------
    A SHA-256 over the name of every photo, in order, and the size and time of its file.

    Raises
    ------
    OSError
        If a file is gone.
    """
    digest = hashlib.sha256()
    stamps: dict[Path, str] = {}
    for entry in entries:
        if entry.path not in stamps:
            stat = entry.path.stat()
            stamps[entry.path] = f"{stat.st_size} {stat.st_mtime_ns}"
        digest.update(f"{entry.name}\n{stamps[entry.path]}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def content_hash(data: bytes) -> bytes:
    """Return the first 16 bytes of the SHA-256 of a file's content: what names a photograph."""
    return hashlib.sha256(data).digest()[:16]


def combined_hash(hashes: Sequence[bytes]) -> str:
    """Hash a set of hashes, whatever their order.

    Examples
    --------
    >>> combined_hash([b"a", b"b"]) == combined_hash([b"b", b"a"])
    True
    """
    digest = hashlib.sha256()
    for part in sorted(hashes):
        digest.update(part)
    return digest.hexdigest()
