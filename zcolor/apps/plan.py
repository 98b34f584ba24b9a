"""Which pictures a call of `zcolor colorize` means, and where their results belong."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zcolor.formats import SUFFIXES, ending_of, format_for, format_or_none

MARK = "-color"
"""What the name of a coloured picture beside its original ends in."""


def real_path(path: Path) -> Path:
    """Follow symbolic links; one that leads in a circle stays as it is (and cannot be opened)."""
    return Path(os.path.realpath(path))


@dataclass(frozen=True, eq=False)
class Job:
    """One picture to colour; the same one named twice is two jobs."""

    source: Path
    """The picture."""
    target: Path
    """Where the coloured one goes."""
    chosen: bool = False
    """Whether the user chose the target's format, which then may not change."""
    root: Path | None = None
    """The output folder, out of which no link below it may lead; None beside the original."""


def plan_jobs(
    sources: Sequence[Path],
    out: Path | None,
    file_format: str | None = None,
    *,
    is_folder: bool = False,
    called: str | None = None,
) -> tuple[list[Job], list[tuple[Path, str]]]:
    """List the pictures with the names of their results.

    Parameters
    ----------
    sources
        Image files and folders.
    out
        As in `zcolor.apps.folder.color_files`.
    file_format
        One of `zcolor.formats.COLOR_FORMATS` for all results; None keeps that of each picture
        where it can hold colour, as far as its name tells.
    is_folder
        Whether it is known that `out` means a folder; False looks at the disk and at its name.
    called
        How messages name `out`; None takes the path.

    Returns
    -------
    jobs, failed
        The pictures in their order, and the sources that are none, each with what is wrong.

    Raises
    ------
    ValueError
        For no sources, several sources with a file as `out`, and names of files that hold no
        colour or another format.
    """
    if not sources:
        raise ValueError("there is nothing to colour; name image files or folders")
    if out is not None and not is_folder and not _is_folder(out, sources):
        called = called or str(out)
        if len(sources) > 1:
            raise ValueError(
                f"{len(sources)} sources cannot go into the one file {called}; name a folder"
            )
        agreed_format(called, file_format)
        if os.path.isfile(sources[0]):
            return [Job(sources[0], out, chosen=True)], []
    jobs: list[Job] = []
    failed: list[tuple[Path, str]] = []
    for source in sources:
        if os.path.isdir(source):
            root = None
            if out is not None:
                root = out if len(sources) == 1 else out / source.resolve().name
            found = [
                _job(
                    path,
                    None if root is None else root / path.relative_to(source),
                    file_format,
                    root=out,
                )
                for path in _pictures(source, out, failed)
            ]
            jobs += found
            if not found:
                failed.append((source, "there are no pictures in this folder; check its name"))
        elif os.path.isfile(source):
            mirrored = None if out is None else out / source.name
            jobs.append(_job(source, mirrored, file_format, root=out))
        else:
            failed.append((source, _why_nothing(source)))
    return jobs, failed


def agreed_format(out: str | os.PathLike[str], file_format: str | None) -> str:
    """Give the format of a single result, which its name and what was asked for must agree on.

    Parameters
    ----------
    out
        The name of the result.
    file_format
        What was asked for, if anything.

    Raises
    ------
    ValueError
        For a name that holds no colour, or another format.
    """
    named = format_for(out)
    if file_format not in (None, named):
        raise ValueError(
            f"{out} is the name of a {named} file, but the format asked for is {file_format}; "
            "leave one of them out"
        )
    return named


def chains_of(jobs: Sequence[Job]) -> list[list[Job]]:
    """Put jobs together whose results could get the same name: the first one decides.

    The ending may still change, and some file systems take "A" for "a".
    """
    chains: dict[str, list[Job]] = {}
    for job in jobs:
        chains.setdefault(folded(real_path(job.target).with_suffix("")), []).append(job)
    return list(chains.values())


def folded(path: Path) -> str:
    """Give the name under which all paths meet that some file system may take for the same.

    Examples
    --------
    >>> folded(Path("IMG.JPG")) == folded(Path("img.jpg"))
    True
    """
    return unicodedata.normalize("NFC", str(path).casefold())


class Places:
    """Resolved paths, found again under any name that their file system takes for the same."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._known: dict[str, list[Path]] = {}
        for path in paths:
            self.add(path)

    def add(self, path: Path) -> None:
        """Remember a path."""
        self._known.setdefault(folded(path), []).append(path)

    def find(self, path: Path) -> Path | None:
        """Give the path that is remembered and means the same place, if there is one."""
        known = self._known.get(folded(path), ())
        return next((other for other in known if other == path or _is_same(other, path)), None)


def _is_same(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:  # one of them is not there
        return False


def _is_folder(out: Path, sources: Sequence[Path]) -> bool:
    """Whether `out` means a folder: it is one, or has no ending, or is to hold a folder."""
    return os.path.isdir(out) or not out.suffix or any(map(os.path.isdir, sources))


def _why_nothing(source: Path) -> str:
    """Tell why a source is neither a file nor a folder."""
    try:
        source.stat()
    except FileNotFoundError:
        return "there is no such file or folder; check the path"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    return "is neither a file nor a folder; name a picture"


def _pictures(folder: Path, out: Path | None, failed: list[tuple[Path, str]]) -> Iterator[Path]:
    """Walk a folder in the order of names, past hidden files, earlier results and `out`."""
    avoid = None if out is None else real_path(out)

    def note(error: OSError) -> None:
        failed.append((Path(error.filename), f"cannot be opened ({error.strerror})"))

    for root, folders, names in os.walk(folder, onerror=note):
        here = Path(root)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and real_path(here / name) != avoid
        )
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if not path.stem.endswith(MARK):
                yield path


def _job(source: Path, mirrored: Path | None, file_format: str | None, *, root: Path | None) -> Job:
    """Name the result: NAME-color.EXT beside the source, or the mirrored name."""
    target = mirrored or source.with_stem(source.stem + MARK)
    if file_format is not None:
        # An ending that names the format already stays as it is written.
        fits = format_or_none(target) == file_format
        named = target if fits else target.with_suffix(ending_of(file_format))
        return Job(source, named, chosen=True, root=root)
    named = target if format_or_none(target) else target.with_suffix(".png")
    return Job(source, named, root=root)
