"""Measuring: interleaved runs and their spread, CPU use, and commands in processes of their own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
"""Where commands are started: `-m benchmarks...` is found there."""
_LAUNCHER = Path(__file__).with_name("launcher.py")

Task = Callable[[], float]
"""Does one run and tells how many seconds count."""


@dataclass(frozen=True)
class Spread:
    """The median of some runs, and how far they lie apart."""

    median: float
    """Half of the runs lie below."""
    low: float
    """The lowest."""
    lower: float
    """The lower quartile."""
    upper: float
    """The upper quartile."""
    high: float
    """The highest."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values; quartiles between two values are interpolated.

        Raises
        ------
        ValueError
            If there are none.

        Examples
        --------
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, lower=1.5, upper=2.5, high=3.0)
        """
        if not values:
            raise ValueError("there is nothing to summarise; measure at least one run")
        low, lower, median, upper, high = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
        return cls(median, low, lower, upper, high)


@dataclass(frozen=True)
class Pair:
    """Seconds of two ways of doing the same, run in turn."""

    ours: tuple[float, ...]
    """Of each run of ours."""
    reference: tuple[float, ...]
    """Of the run of the reference beside it."""

    @property
    def seconds(self) -> Spread:
        """Seconds of ours."""
        return Spread.of(self.ours)

    @property
    def reference_seconds(self) -> Spread:
        """Seconds of the reference."""
        return Spread.of(self.reference)

    @property
    def speedup(self) -> Spread:
        """How many times faster ours is, pair by pair."""
        return Spread.of([b / a for a, b in zip(self.ours, self.reference, strict=True)])


def timed(work: Callable[[], object]) -> Task:
    """Make a task whose seconds are the wall time of `work`."""

    def task() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return task


def interleave(
    tasks: Mapping[str, Task], *, runs: int, warm_up: int = 1
) -> dict[str, tuple[float, ...]]:
    """Run tasks in turn, in the reverse order every other time: A B, B A, A B, ...

    So a machine that changes its pace changes all of them, and none always comes first.

    Parameters
    ----------
    tasks
        By name.
    runs
        Of each.
    warm_up
        Runs of each before that, which do not count.

    Returns
    -------
    The seconds of each task, run by run.

    Raises
    ------
    ValueError
        If `runs` is below 1.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    for _ in range(warm_up):
        for task in tasks.values():
            task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for run in range(runs):
        names = list(tasks)[:: 1 if run % 2 == 0 else -1]
        for name in names:
            seconds[name].append(tasks[name]())
    return {name: tuple(values) for name, values in seconds.items()}


def compare(
    ours: Callable[[], object], reference: Callable[[], object], *, runs: int, warm_up: int = 1
) -> Pair:
    """Time two functions in turn (`interleave`)."""
    tasks = {"ours": timed(ours), "reference": timed(reference)}
    seconds = interleave(tasks, runs=runs, warm_up=warm_up)
    return Pair(seconds["ours"], seconds["reference"])


def best_seconds(work: Callable[[], object], *, runs: int) -> float:
    """Give the least seconds of some runs after one to warm up: noise only ever adds."""
    task = timed(work)
    task()
    return min(task() for _ in range(runs))


def cpu_seconds() -> float:
    """User and system time of this process, and of those it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_share(work: Callable[[], object]) -> float:
    """Do some work and tell which share of all cores it kept busy: 1 is every core, always."""
    before = cpu_seconds()
    seconds = timed(work)()
    return (cpu_seconds() - before) / (seconds * n_cores())


@dataclass(frozen=True)
class Usage:
    """What a command in a process of its own used, the interpreter included."""

    seconds: float
    """Wall time from start to end."""
    cpu_seconds: float
    """User and system time."""
    peak_bytes: int
    """Peak resident memory."""


def run_alone(command: Sequence[str]) -> Usage:
    """Run a command in a process of its own, started in the root of the project.

    Parameters
    ----------
    command
        The program and its arguments.

    Returns
    -------
    What it used.

    Raises
    ------
    RuntimeError
        If it cannot be started or fails; the end of what it said is in the message.
    """
    launched = subprocess.run(
        [sys.executable, str(_LAUNCHER), *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    said = launched.stderr.strip()[-2000:]
    if launched.returncode != 0:
        raise RuntimeError(f"cannot run {' '.join(command)}: {said}")
    used = json.loads(launched.stdout)
    if used["returncode"] != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {used['returncode']}: {said}")
    return Usage(used["seconds"], used["cpu_seconds"], used["peak_bytes"])


def zcolor_command(*arguments: str) -> list[str]:
    """What `zcolor ARGUMENTS` runs, with the interpreter of the benchmarks."""
    code = "import sys; from zcolor.apps.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *arguments]
