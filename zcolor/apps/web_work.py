"""What the pages and the calls of one server share: its limits, and one queue for the work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class WebLimits:
    """What a server takes on."""

    max_upload_mb: float = 100.0
    """Largest upload, in megabytes (10^6 bytes)."""
    max_pixels: int = 100_000_000
    """Pictures with more pixels are refused before they are decoded."""
    queue: int = 8
    """Requests that may wait while others are worked on; more are told to come again."""
    workers: int = 1
    """Pictures that are coloured at a time; one already uses every core."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 < self.max_upload_mb < float("inf"):
            raise ValueError(f"max_upload_mb must be above 0, got {self.max_upload_mb!r}")
        if self.max_pixels < 1 or self.workers < 1 or self.queue < 0:
            raise ValueError(
                "max_pixels and workers must be at least 1, queue at least 0; got "
                f"{self.max_pixels!r}, {self.workers!r} and {self.queue!r}"
            )

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload, in bytes."""
        return round(self.max_upload_mb * 1_000_000)


class QueueFullError(Exception):
    """As many requests are waiting as may wait."""


class WorkQueue:
    """Runs jobs in threads of its own, first come, first served.

    Parameters
    ----------
    workers
        How many jobs run at a time.
    queue
        How many callers may hold a place beyond those.

    Examples
    --------
    >>> work = WorkQueue(workers=1, queue=0)
    >>> with work.place():
    ...     work.run_and_wait(lambda: work.waiting)
    0
    >>> work.close()
    """

    def __init__(self, *, workers: int = 1, queue: int = 8) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="zcolor-web")
        self._workers, self._queue = workers, queue
        self._held, self._lock = 0, threading.Lock()

    @property
    def waiting(self) -> int:
        """How many callers hold a place and are not being worked for."""
        return max(0, self._held - self._workers)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place, from before the upload is read until its answer is there.

        Raises
        ------
        QueueFullError
            If there is none.
        """
        with self._lock:
            if self._held >= self._workers + self._queue:
                raise QueueFullError
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1

    async def run(self, job: Callable[[], Result]) -> Result:
        """Run a job, without blocking the event loop, and give what it returns or raises."""
        return await asyncio.wrap_future(self._pool.submit(job))

    def run_and_wait(self, job: Callable[[], Result]) -> Result:
        """Run a job while the calling thread waits, and give what it returns or raises."""
        return self._pool.submit(job).result()

    def close(self) -> None:
        """Give up what has not begun, and wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)
