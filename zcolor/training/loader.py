"""Batches for training: the order of the photos, decoding in threads, prefetching.

A run is one long list of photos: photo number `s` belongs to epoch `s // n` and is found through
that epoch's own shuffle. So the number of photos seen is all that resuming needs to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zcolor.training.augment import Augmenter, Sample
from zcolor.training.dataset import Photos, read_named

# Batches that are prepared ahead of the one in use.
_AHEAD = 3


@dataclass(frozen=True)
class Batch:
    """What one step of one process learns from."""

    target: Tensor
    """(n, 3, crop, crop) uint8 RGB: the colours; of clips all frames, clip after clip."""
    source: Tensor
    """(n, 3, crop, crop) uint8 RGB: what the lightness is taken from; `target` if not degraded."""
    end: int
    """Photos seen, over all processes, once this batch is done."""


def epoch_order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffle the photos of an epoch.

    Examples
    --------
    >>> sorted(epoch_order(4, seed=0, epoch=1).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng((seed, epoch)).permutation(n)


class BatchLoader:
    """Yields the batches of one process, from any place of the run.

    Parameters
    ----------
    photos
        The training photographs.
    augmenter
        Cuts one example of a photo.
    batch
        Photos a step, over all processes and parts.
    part, parts
        Which of `parts` equal parts of every batch this loader yields.
    jobs
        Threads that decode and augment.
    seed
        Seed of the order.
    clip_length
        Frames of the clip that is made over each photo; 1 for single crops.
    """

    def __init__(
        self,
        photos: Photos,
        augmenter: Augmenter,
        *,
        batch: int,
        part: int = 0,
        parts: int = 1,
        jobs: int = 2,
        seed: int = 0,
        clip_length: int = 1,
    ) -> None:
        if batch % parts:
            raise ValueError(
                f"batch ({batch}) must be a multiple of the {parts} parts it is cut in"
            )
        self.photos = photos
        self.augmenter = augmenter
        self.batch = batch
        self.part, self.parts = part, parts
        self.jobs = max(1, jobs)
        self.seed = seed
        self.clip_length = clip_length
        self._order = lru_cache(maxsize=2)(
            lambda epoch: epoch_order(len(photos), seed, epoch)  # two epochs meet in a batch
        )

    def batches(self, seen: int, crop_at: Callable[[int], int]) -> Generator[Batch, None, None]:
        """Yield batches without end.

        Parameters
        ----------
        seen
            Photos seen before the first of them, over all processes.
        crop_at
            Side of the crops as a function of the photos seen.

        Raises
        ------
        ValueError
            If a photo cannot be decoded; it is named.
        """
        waiting: deque[tuple[int, list[Future[list[Sample]]]]] = deque()
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="zcolor-load") as pool:
            try:
                while True:
                    while len(waiting) <= _AHEAD:
                        crop = crop_at(seen)
                        share = self.batch // self.parts
                        first = seen + self.part * share
                        tasks = [
                            pool.submit(self._samples, number, crop)
                            for number in range(first, first + share)
                        ]
                        seen += self.batch
                        waiting.append((seen, tasks))
                    end, tasks = waiting.popleft()
                    yield _join([sample for task in tasks for sample in task.result()], end)
            finally:
                for _, tasks in waiting:
                    for task in tasks:
                        task.cancel()

    def _samples(self, number: int, crop: int) -> list[Sample]:
        """Make the examples of photo `number` of the run: one, or the frames of a clip."""
        epoch, place = divmod(number, len(self.photos))
        index = int(self._order(epoch)[place])
        rgb = read_named(self.photos, index)
        if self.clip_length == 1:
            return [self.augmenter(rgb, crop, epoch, index)]
        return self.augmenter.clip(rgb, crop, epoch, index, self.clip_length)


def _join(samples: list[Sample], end: int) -> Batch:
    def tensor(pictures: list[npt.NDArray[np.uint8]]) -> Tensor:
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    target = tensor([sample.target for sample in samples])
    degraded = any(sample.source is not sample.target for sample in samples)
    source = tensor([sample.source for sample in samples]) if degraded else target
    return Batch(target, source, end)
