"""Photographs from anywhere into one pack: shrunk, sorted out, split, and ready to train on.

Every photograph is read once, by one of several threads (the decoders leave Python's lock, so that
threads keep all cores busy), and becomes a record of the journal `OUT.part`, in the order in which
the photographs were found. When all are there, the pack is written from it and renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from zcolor.atomic import locked, whole_file
from zcolor.training.journal import Journal, Record, Verdict
from zcolor.training.packfile import (
    PACK_SUFFIXES,
    PACK_VERSION,
    SPLITS,
    PackedPhoto,
    write_pack,
)
from zcolor.training.prepare import prepare
from zcolor.training.settings import PackSettings
from zcolor.training.sources import PhotoEntry, find_photos, stamp_of

logger = logging.getLogger(__name__)

# Photos that are being worked on or wait for their turn to be written, for each thread: enough to
# keep the threads busy behind one slow photo, and the bound of the memory.
_IN_FLIGHT = 8
_DEFAULT = PackSettings()
# How the first line of a report ends (`PackReport.summary`), and the most that is read of it.
_SUMMARY = re.compile(r": \d+ photos, [\d.]+ MiB \(train \d+, val \d+, test \d+\)$")
_LONGEST_SUMMARY = 1 << 14
Spread = Callable[[Sequence[PhotoEntry], PackSettings], Generator[tuple[Record, bytes]]]
"""Prepares photographs and gives them in their order (`zcolor.training.prepare.prepare`)."""


@dataclass(frozen=True)
class Dropped:
    """A photograph that is not in the pack."""

    name: str
    """Where it was found."""
    reason: str
    """Why it was dropped."""


@dataclass(frozen=True)
class PackReport:
    """What became of the photographs."""

    out: Path
    """The pack."""
    kept: int
    """Photographs in the pack."""
    splits: dict[str, int]
    """How many of them are in train, val and test."""
    n_bytes: int
    """Size of the encoded photographs, in bytes."""
    near_grey: tuple[Dropped, ...] = ()
    """Dropped: the mean chroma is below the threshold."""
    tiny: tuple[Dropped, ...] = ()
    """Dropped: a side is too short."""
    broken: tuple[Dropped, ...] = ()
    """Dropped: unreadable, no image, animated, or larger than the limit."""
    duplicates: tuple[Dropped, ...] = ()
    """Dropped: the same file content is already in the pack."""

    def summary(self) -> str:
        """Say the counts in a few lines.

        Examples
        --------
        >>> report = PackReport(Path("a.h5"), 2, {"train": 1, "val": 1, "test": 0}, 2097152)
        >>> print(report.summary())
        a.h5: 2 photos, 2.0 MiB (train 1, val 1, test 0)
        dropped: 0 near-grey, 0 tiny, 0 broken, 0 duplicates
        """
        shares = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        dropped = ", ".join(f"{len(photos)} {name}" for name, photos in self._dropped().items())
        size = self.n_bytes / (1 << 20)
        return f"{self.out}: {self.kept} photos, {size:.1f} MiB ({shares})\ndropped: {dropped}"

    def text(self) -> str:
        """Give the summary and every dropped photograph with its reason, a line each."""
        lines = [self.summary()]
        for name, photos in self._dropped().items():
            if photos:
                lines += ["", f"{name}:", *(f"  {photo.name}: {photo.reason}" for photo in photos)]
        return "\n".join(lines) + "\n"

    def _dropped(self) -> dict[str, tuple[Dropped, ...]]:
        return {
            "near-grey": self.near_grey,
            "tiny": self.tiny,
            "broken": self.broken,
            "duplicates": self.duplicates,
        }


def pack_photos(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: PackSettings = _DEFAULT,
    *,
    overwrite: bool = False,
    spread: Spread | None = None,
    progress: bool = True,
    command: str = "",
) -> PackReport:
    """Pack photographs for training.

    The content of the pack depends on the photographs and the settings alone, not on the number of
    threads nor on interruptions. Beside `data.h5` goes `data.report.txt` with every dropped photo;
    until the end the work stands in `data.h5.part`, which the same call continues.

    Parameters
    ----------
    sources
        What `zcolor.training.sources.find_photos` takes: folders, images, globs, zip archives and
        `.txt` lists.
    out
        The pack to write, `.h5` or `.hdf5`; its folder is made.
    settings
        Size, thresholds, split, quality and threads.
    overwrite
        Replace `out` if it exists.
    spread
        How the photos are shared out; None prepares them in threads.
    progress
        Show a progress bar.
    command
        The command line that makes the pack; written into it.

    Returns
    -------
    The counts, and each photograph that was dropped with the reason.

    Raises
    ------
    FileExistsError
        If `out` exists, or the report would take the place of another file, and `overwrite` is not
        set.
    FileNotFoundError
        If a source does not exist.
    ValueError
        If no photograph is found, none is left, `out` has another ending, or `OUT.part` was begun
        with other sources or settings.
    InUseError
        If another process is packing into `out`.
    KeyboardInterrupt
        On Ctrl-C, after the log has said how to continue.
    """
    out = Path(out)
    if out.suffix.lower() not in PACK_SUFFIXES:
        raise ValueError(f"a pack is an HDF5 file: its name must end in .h5 or .hdf5, got {out}")
    _check_free(out, overwrite=overwrite)
    entries = find_photos(sources)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.with_name(out.name + ".lock"), str(out)):
        _check_free(out, overwrite=overwrite)  # another process may just have ended
        return _pack(
            entries,
            out,
            settings,
            spread=spread or _prepare_all,
            progress=progress,
            command=command,
        )


def _check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse to replace a pack, or something else where the report goes."""
    if overwrite:
        return
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another name, or replace it with overwrite")
    report = out.with_suffix(".report.txt")
    if not os.path.lexists(report):
        return
    start = ""
    if report.is_file():
        with report.open(encoding="utf-8", errors="replace") as file:
            start = file.readline(_LONGEST_SUMMARY)
    if not _SUMMARY.search(start):
        raise FileExistsError(
            f"{report} exists and is no report of a pack, which would replace it; choose another "
            "name for the pack, or replace it with overwrite"
        )


def _pack(
    entries: Sequence[PhotoEntry],
    out: Path,
    settings: PackSettings,
    *,
    spread: Spread,
    progress: bool,
    command: str,
) -> PackReport:
    """Bring the journal to its end and write the pack from it."""
    journal = Journal(out.with_name(out.name + ".part"), _work_key(entries, settings))
    try:
        _fill(journal, entries, settings, spread, progress=progress)
        report = _report(out, entries, journal.records, settings)
        # The pack comes last: whoever sees it may trust that all is done.
        _write_text(out.with_suffix(".report.txt"), report.text())
        if report.kept:
            write_pack(
                out,
                _photos(entries, journal.records, settings),
                journal.payloads(),
                settings=_settings_text(settings),
                command=command,
            )
    except KeyboardInterrupt:
        logger.warning(
            "interrupted: %d of %d photos are done and kept in %s; "
            "pack the same sources with the same settings to continue",
            len(journal.records),
            len(entries),
            journal.path,
        )
        raise
    finally:
        journal.close()
    journal.path.unlink()
    if not report.kept:
        raise ValueError(
            "no photograph is left to pack; give others, or lower min_chroma and min_side\n"
            + report.summary()
        )
    return report


def split_of(digest: bytes, fractions: Sequence[float]) -> int:
    r"""Choose the split of a photograph by its content alone.

    Parameters
    ----------
    digest
        The content hash, at least 8 bytes; its first 64 bits count as a number in [0, 1).
    fractions
        Shares of train, val and test; they sum to 1.

    Returns
    -------
    0 train, 1 val, 2 test: the split whose stretch of [0, 1) holds the number.

    Examples
    --------
    >>> split_of(bytes(8), (0.8, 0.1, 0.1)), split_of(b"\xff" * 8, (0.8, 0.1, 0.1))
    (0, 2)
    """
    place = int.from_bytes(digest[:8], "big") / 2.0**64
    split = int(np.searchsorted(np.cumsum(fractions), place, side="right"))
    # Shares may sum to a hair below 1, and 64 bits of ones round up to 1.
    return min(split, max(i for i, share in enumerate(fractions) if share > 0))


def _prepare_all(
    entries: Sequence[PhotoEntry], settings: PackSettings
) -> Generator[tuple[Record, bytes]]:
    """Prepare photographs in threads and give them in order, with few in flight."""
    jobs = settings.jobs or os.cpu_count() or 1
    waiting: deque[Future[tuple[Record, bytes]]] = deque()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="pack")
    rest = iter(entries)
    try:
        for entry in islice(rest, jobs * _IN_FLIGHT):
            waiting.append(pool.submit(prepare, entry, settings))
        while waiting:
            yield waiting.popleft().result()
            for entry in islice(rest, 1):
                waiting.append(pool.submit(prepare, entry, settings))
    finally:
        pool.shutdown(cancel_futures=True)


def _fill(
    journal: Journal,
    entries: Sequence[PhotoEntry],
    settings: PackSettings,
    spread: Spread,
    *,
    progress: bool,
) -> None:
    """Bring the journal to the end of the entries."""
    done = len(journal.records)
    if done:
        logger.info("%s: continuing after %d of %d photos", journal.path, done, len(entries))
    first = {r.digest: i for i, r in enumerate(journal.records) if r.verdict == "kept"}
    bar = tqdm(total=len(entries), initial=done, desc="pack", unit="photo", disable=not progress)
    with bar, closing(spread(entries[done:], settings)) as prepared:
        for index, (record, data) in enumerate(prepared, done):
            # Judged here, in order, so that the first of two is kept whatever the threads do.
            if record.verdict == "kept" and record.digest in first:
                original = entries[first[record.digest]].name
                record, data = Record("duplicate", f"same as {original}", record.digest), b""
            elif record.verdict == "kept":
                first[record.digest] = index
            journal.add(record, data)
            bar.update()


def _work_key(entries: Sequence[PhotoEntry], settings: PackSettings) -> str:
    """Name a piece of work: the settings that matter, and the files as they stand."""
    work = _settings_text(settings) + stamp_of(entries)
    return hashlib.sha256(work.encode()).hexdigest()


def _settings_text(settings: PackSettings) -> str:
    """Everything that decides the content; the number of threads does not."""
    fields = asdict(settings)
    del fields["jobs"]
    return json.dumps({"zcolor_pack": PACK_VERSION, **fields}, sort_keys=True)


def _report(
    out: Path, entries: Sequence[PhotoEntry], records: Sequence[Record], settings: PackSettings
) -> PackReport:
    kept = [record for record in records if record.verdict == "kept"]
    counts = Counter(split_of(bytes.fromhex(r.digest), settings.fractions) for r in kept)

    def dropped(verdict: Verdict) -> tuple[Dropped, ...]:
        pairs = zip(entries, records, strict=True)
        return tuple(Dropped(e.name, r.detail) for e, r in pairs if r.verdict == verdict)

    return PackReport(
        out=out,
        kept=len(kept),
        splits={name: counts[i] for i, name in enumerate(SPLITS)},
        n_bytes=sum(record.size for record in kept),
        near_grey=dropped("near_grey"),
        tiny=dropped("tiny"),
        broken=dropped("broken"),
        duplicates=dropped("duplicate"),
    )


def _photos(
    entries: Sequence[PhotoEntry], records: Sequence[Record], settings: PackSettings
) -> list[PackedPhoto]:
    return [
        PackedPhoto(
            length=record.size,
            height=record.height,
            width=record.width,
            split=split_of(bytes.fromhex(record.digest), settings.fractions),
            label=entry.label,
            digest=bytes.fromhex(record.digest),
            name=entry.name,
        )
        for entry, record in zip(entries, records, strict=True)
        if record.verdict == "kept"
    ]


def _write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
