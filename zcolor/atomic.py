"""Write a file whole or not at all, and by one process at a time."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART_PATTERN = ".zcolor-*.part"
"""Names of files that are being written; those that a kill left may be removed."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a disk, a quota or the largest size of a file is reached."""

# A protocol, longer than the letter of a drive; in a path its two slashes have become one.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


class InUseError(RuntimeError):
    """Another process is at the same work."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside `path`, which takes its place once it is written.

    If anything fails, the temporary file is removed and what stood at `path` stays as it was.

    Parameters
    ----------
    path
        The file; its folder must exist.

    Yields
    ------
    A path in the same folder, to be created by the caller (with the usual permissions).

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with whole_file(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".zcolor-{secrets.token_hex(8)}.part")
    try:
        yield temporary
        # On the disk before the name changes: a power cut leaves the old file or the new one.
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # a disk that is gone; what went wrong before says more
            temporary.unlink(missing_ok=True)
        # Of a full disk the system names no file; the temporary name says nothing to anybody.
        if (
            isinstance(error, OSError)
            and (error.errno in FULL or error.filename == str(temporary))
            and error.filename2 is None
        ):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def check_place(path: str | os.PathLike[str], what: str) -> None:
    """Refuse a name that no file can have, before the work whose result it is for.

    Parameters
    ----------
    path
        Where the file is to go; its folder may be missing.
    what
        What it is for, for the message.

    Raises
    ------
    IsADirectoryError
        If it is a folder.
    NotADirectoryError
        If it lies below a file.
    ValueError
        If it looks like a URL, `s3:/bucket` as a path: it would become a folder of that name.

    Examples
    --------
    >>> check_place(getfixture("tmp_path"), "the report")
    Traceback (most recent call last):
    ...
    IsADirectoryError: ... is a folder; name a file for the report
    """
    if _URL.match(os.fspath(path)) and not os.path.isdir(Path(path).parts[0]):
        raise ValueError(
            f"{path} looks like a URL, but {what} goes to a file of this computer; name a path"
        )
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; name a file for {what}")
    standing = next((parent for parent in Path(path).parents if os.path.lexists(parent)), None)
    if standing is not None and not os.path.isdir(standing):
        raise NotADirectoryError(
            f"{path} cannot be made, since {standing} is no folder; name another file for {what}"
        )


@contextmanager
def locked(path: str | os.PathLike[str], work: str) -> Iterator[None]:
    """Keep other processes from the same work; the system frees it when a process dies.

    Parameters
    ----------
    path
        The lock: an empty file, which is removed at the end. Its folder must exist.
    work
        What would be disturbed, for the message.

    Raises
    ------
    InUseError
        If another process holds the lock.
    OSError
        If the file cannot be made.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with locked(folder / "lock", "data.h5"), locked(folder / "lock", "data.h5"):
    ...     pass
    Traceback (most recent call last):
    ...
    zcolor.atomic.InUseError: data.h5: another process is at it; wait until it ends, or name another
    >>> list(folder.iterdir())
    []
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InUseError(
            f"{work}: another process is at it; wait until it ends, or name another"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # where open files cannot be removed
            Path(path).unlink()
        lock.release()
