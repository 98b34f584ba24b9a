"""Write a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
