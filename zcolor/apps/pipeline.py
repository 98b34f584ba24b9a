"""Work on photographs side by side in threads, within a bound on the pixels in memory.

Pillow, OpenCV and torch let other threads run while they work, so that one photo is read while
another one goes through the network and a third is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")

PIXELS_PER_THREAD = 50_000_000
"""Pixels in memory for every thread: 0.35 GB, as an RGB picture takes 7 bytes a pixel at its
worst, while it lies in memory once for Pillow (4) and once for us (3)."""


class Stopped(Exception):  # noqa: N818 (no error: the wish of the user)
    """The work was interrupted while this thread had not finished its photo."""


class Lanes:
    """What the threads of one run share: room for pixels, cores, and the sign to stop.

    Parameters
    ----------
    n_threads
        How many there are; 1 is the caller's own, which has all room and all cores.
    pixels_per_thread
        The room, times `n_threads`.
    """

    def __init__(self, n_threads: int, *, pixels_per_thread: int = PIXELS_PER_THREAD) -> None:
        self.n_threads = n_threads
        self._room = self._free = n_threads * pixels_per_thread
        self._cores = torch.get_num_threads()
        self._queue = threading.Lock()
        self._changed = threading.Condition()
        self._stop = threading.Event()

    @contextmanager
    def hold(self, n_pixels: int) -> Iterator[None]:
        """Wait until there is room for a picture, and hold it; one above all the room is alone.

        First come, first served, so that no picture waits for ever. Sets the number of cores that
        torch takes in this thread: all for a picture that is alone, or else its share.

        Parameters
        ----------
        n_pixels
            Of the picture.

        Raises
        ------
        Stopped
            If the work was interrupted meanwhile.
        """
        if self.n_threads == 1:
            yield
            return
        n_pixels = min(n_pixels, self._room)
        with self._queue, self._changed:
            self._changed.wait_for(lambda: self._free >= n_pixels)
            self._free -= n_pixels
        try:
            self.check()
            alone = n_pixels == self._room
            # With OpenMP the number belongs to the thread that sets it.
            torch.set_num_threads(self._cores if alone else max(1, self._cores // self.n_threads))
            yield
        finally:
            with self._changed:
                self._free += n_pixels
                self._changed.notify()

    def check(self) -> None:
        """Raise `Stopped` if the work was interrupted; to be called between its steps."""
        if self._stop.is_set():
            raise Stopped

    def each(
        self, work: Callable[[Item], None], items: Sequence[Item], done: Callable[[Item], object]
    ) -> None:
        """Do the work for every item.

        Parameters
        ----------
        work
            Called in one of the threads, in the order of `items`.
        items
            What it is called with.
        done
            Called in the caller's thread when an item is finished.

        Raises
        ------
        BaseException
            The first that `work` or `done` raises, KeyboardInterrupt too. Work that has not begun
            is then given up, and that under way ends at its next `check`, before this returns.
        """
        self._stop.clear()  # of work before this, none of which is under way any more
        if self.n_threads == 1:
            for item in items:
                work(item)
                done(item)
            return
        with ThreadPoolExecutor(self.n_threads, thread_name_prefix="zcolor") as pool:
            futures = {pool.submit(work, item): item for item in items}
            try:
                for future in as_completed(futures):
                    future.result()
                    done(futures[future])
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                # New threads of this process take the number that was set last.
                torch.set_num_threads(self._cores)
