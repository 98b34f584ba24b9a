"""A run: processes that read damaged files, and one that watches them."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fuzz.child import load_readers, work
from fuzz.readers import Reader, make_file
from zcolor.atomic import whole_file

START_SECONDS = 300
"""A process that has not begun to read by then is given up."""
MOST_KEPT = 100
"""Files that are kept; of more, the report gives the numbers, from which they are made again."""


@dataclass(frozen=True)
class FuzzSettings:
    """How many damaged files, and what they may cost."""

    files: int = 100_000
    """Damaged files to read."""
    minutes: float = 20.0
    """Stop then, whatever was reached."""
    seed: int = 0
    """The same seed makes the same files, however many processes read them."""
    jobs: int = 1
    """Processes side by side."""
    seconds: float = 20.0
    """A file that takes longer counts as a hang."""
    memory_mb: int = 512
    """Address space that reading may take beyond what the libraries have, in MiB."""
    only: tuple[str, ...] = ()
    """Readers that take part; all if none is named."""
    out: Path = Path("runs/fuzz")
    """Folder for fuzz.json and the files that failed."""
    readers: str = "fuzz.readers:READERS"
    """The function that gives the readers, as "module:function"."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in ("files", "minutes", "jobs", "seconds", "memory_mb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


@dataclass
class ReaderFigures:
    """What became of the files of one reader."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """read, refused, fault, crash, hang."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Names of the errors."""
    slowest_seconds: float = 0.0
    """Of one file."""
    slowest: int = -1
    """The number of that file."""
    grew_mb: float = 0.0
    """The most that one file raised the peak of its process by."""


@dataclass
class FuzzReport:
    """What became of all files."""

    settings: FuzzSettings
    """Of the run."""
    readers: dict[str, ReaderFigures] = field(default_factory=dict)
    """By name."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Faults, crashes and hangs: number, reader, outcome, kind, and the file kept."""
    base_mb: float = 0.0
    """Largest resident size of a process before it read damaged files, in MiB."""
    peak_mb: float = 0.0
    """Largest resident size of any process, in MiB."""
    seconds: float = 0.0
    """Wall time."""

    @property
    def n_files(self) -> int:
        """Files that were read or refused, or failed."""
        return sum(figures.outcomes.total() for figures in self.readers.values())

    def add(self, told: dict[str, Any]) -> None:
        """Count one file."""
        figures = self.readers.setdefault(told["reader"], ReaderFigures())
        figures.outcomes[told["outcome"]] += 1
        if told["kind"]:
            figures.kinds[told["kind"]] += 1
        if told.get("seconds", 0.0) > figures.slowest_seconds:
            figures.slowest_seconds, figures.slowest = told["seconds"], told["number"]
        figures.grew_mb = max(figures.grew_mb, told.get("grew_mb", 0.0))
        self.peak_mb = max(self.peak_mb, told.get("peak_mb", 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON holds."""
        return {
            "settings": {**asdict(self.settings), "out": str(self.settings.out)},
            "n_files": self.n_files,
            "seconds": round(self.seconds, 1),
            "files_per_second": round(self.n_files / max(self.seconds, 1e-9), 1),
            "base_mb": round(self.base_mb, 1),
            "peak_mb": round(self.peak_mb, 1),
            "readers": {name: vars(figures) for name, figures in sorted(self.readers.items())},
            "failures": self.failures,
        }


def run(settings: FuzzSettings, *, progress: bool = True) -> FuzzReport:
    """Read damaged files in processes of their own until all are done or the time is over.

    Parameters
    ----------
    settings
        How many, and the limits.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The report, which is written to `settings.out` too, with the files that failed.

    Raises
    ------
    ValueError
        For a name in `settings.only` that is none of the readers.
    RuntimeError
        If a process does not begin, as when a whole file cannot be read.
    """
    readers = load_readers(settings.readers)
    unknown = set(settings.only) - set(readers)
    if unknown:
        raise ValueError(f"unknown readers {sorted(unknown)}; there are {', '.join(readers)}")
    if settings.only:
        readers = {name: readers[name] for name in settings.only}
    settings.out.mkdir(parents=True, exist_ok=True)
    watch = _Watch(settings, readers)
    start = time.monotonic()
    with tqdm(
        total=settings.files, unit="file", desc="fuzz", disable=None if progress else True
    ) as bar:
        watch.bar = bar
        with ThreadPoolExecutor(settings.jobs) as pool:
            done = [pool.submit(watch.follow, which) for which in range(settings.jobs)]
        for future in done:
            future.result()
    report = watch.report
    report.failures.sort(key=lambda told: int(told["number"]))
    report.seconds = time.monotonic() - start
    with whole_file(settings.out / "fuzz.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    return report


class _Watch:
    """Starts processes, listens to them, and starts others in place of those that die."""

    def __init__(self, settings: FuzzSettings, readers: dict[str, Reader]) -> None:
        self.settings, self.readers = settings, readers
        self.report = FuzzReport(settings)
        self.bar: Any = None
        self._lock = threading.Lock()
        self._end = time.monotonic() + settings.minutes * 60

    def follow(self, which: int) -> None:
        """Have files `which`, `which` + jobs, ... read, by as many processes as it takes."""
        number = which
        while number < self.settings.files and time.monotonic() < self._end:
            number = self._one_process(which, number)

    def _one_process(self, which: int, number: int) -> int:
        """Have files from `number` on read by one process; the number that comes next."""
        log = self.settings.out / f"process-{which}.log"
        s = self.settings
        receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
        job = {
            "readers": s.readers, "only": s.only, "seed": s.seed, "start": number, "stop": s.files,
            "step": s.jobs, "memory_mb": s.memory_mb, "log": str(log),
        }  # fmt: skip
        process = multiprocessing.get_context("spawn").Process(target=work, args=(sender, job))
        process.start()
        sender.close()
        try:
            ready = _next(receiver, START_SECONDS)
            if not isinstance(ready, dict):
                process.join(self.settings.seconds)
                said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ready
                raise RuntimeError(f"a process did not begin to read: {said.strip()}")
            with self._lock:
                self.report.base_mb = max(self.report.base_mb, ready["ready"])
            while number < s.files and time.monotonic() < self._end:
                told = _next(receiver, s.seconds)
                if not isinstance(told, dict):
                    self._died(process, number, log, hang=told == "silence")
                    return number + s.jobs
                with self._lock:
                    self._count(told)
                number += s.jobs
            return number if number >= s.files else s.files
        finally:
            process.kill()
            process.join()
            process.close()
            receiver.close()
            log.unlink(missing_ok=True)

    def _died(self, process: Any, number: int, log: Path, *, hang: bool) -> None:
        name, _ = make_file(self.readers, self.settings.seed, number)
        told: dict[str, Any] = {"number": number, "reader": name, "outcome": "hang", "kind": "hang"}
        if not hang:
            process.join(self.settings.seconds)
            told |= {"outcome": "crash", "kind": _how_it_ended(process.exitcode)}
            told["trace"] = log.read_text(encoding="utf-8", errors="replace")
        with self._lock:
            self._count(told)

    def _count(self, told: dict[str, Any]) -> None:
        self.report.add(told)
        self.bar.update()
        if told["outcome"] not in ("read", "refused"):
            if len(self.report.failures) < MOST_KEPT:
                told["file"] = str(self._keep(told))
            self.report.failures.append(told)

    def _keep(self, told: dict[str, Any]) -> Path:
        name, data = make_file(self.readers, self.settings.seed, told["number"])
        folder = self.settings.out / "failed"
        folder.mkdir(exist_ok=True)
        ending = self.readers[name].ending
        path = folder / f"{self.settings.seed}-{told['number']}-{name}-{told['outcome']}{ending}"
        path.write_bytes(data)
        return path


def _next(receiver: Any, seconds: float) -> dict[str, Any] | str:
    """Give the next message of a process, or "silence" or "end"."""
    if not receiver.poll(seconds):
        return "silence"
    try:
        told: dict[str, Any] = json.loads(receiver.recv_bytes())
    except (EOFError, OSError):
        return "end"
    return told


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
