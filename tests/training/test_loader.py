"""Batches: every photo once an epoch, the same from any starting point, in any number of parts."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import numpy as np
import pytest
import torch

from zcolor.training.augment import Augmenter
from zcolor.training.loader import BatchLoader, epoch_order
from zcolor.training.settings import AugmentSettings

PLAIN = AugmentSettings(scaled=0, flip=False, rotation=0, shear=0, jitter=0)


class Numbered:
    """Photographs whose every pixel is their index."""

    data_hash = ""

    def __init__(self, n: int) -> None:
        self.n = n
        self.reads: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.n

    def read(self, index: int) -> np.ndarray:
        with self._lock:
            self.reads[index] += 1
        return np.full((8, 8, 3), index, dtype=np.uint8)


def loader(n=10, *, augment=PLAIN, degrade=None, **options) -> BatchLoader:
    options = {"batch": 4, "jobs": 2, "seed": 5} | options
    return BatchLoader(Numbered(n), Augmenter(augment, 5, 16, degrade), **options)


def take(stream, n):
    batches = list(itertools.islice(stream, n))
    stream.close()
    return batches


def indices(batches) -> list[int]:
    return [int(i) for batch in batches for i in batch.target[:, 0, 0, 0]]


def test_every_photo_comes_once_an_epoch_in_another_order():
    seen = indices(take(loader(10).batches(0, lambda _seen: 8), 5))
    first, second = seen[:10], seen[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first == epoch_order(10, 5, 0).tolist()


def test_batches_run_on_over_the_end_of_an_epoch():
    batches = take(loader(10).batches(0, lambda _seen: 8), 3)
    assert [len(batch.target) for batch in batches] == [4, 4, 4]
    assert [batch.end for batch in batches] == [4, 8, 12]


@pytest.mark.parametrize("start", [4, 8, 20])
def test_starting_later_gives_what_would_have_come(start):
    whole = take(loader().batches(0, lambda _seen: 8), 8)
    later = take(loader().batches(start, lambda _seen: 8), 8 - start // 4)
    for batch, expected in zip(later, whole[start // 4 :], strict=True):
        assert torch.equal(batch.target, expected.target)
        assert batch.end == expected.end


def test_the_number_of_threads_changes_nothing():
    many = AugmentSettings(scaled=1, rotation=20)
    one = take(loader(20, augment=many, jobs=1).batches(0, lambda _seen: 8), 4)
    four = take(loader(20, augment=many, jobs=4).batches(0, lambda _seen: 8), 4)
    assert all(torch.equal(a.target, b.target) for a, b in zip(one, four, strict=True))


def test_parts_together_are_the_whole_batch():
    whole = take(loader(batch=6).batches(0, lambda _seen: 8), 4)
    parts = [
        take(loader(batch=6, part=part, parts=3).batches(0, lambda _seen: 8), 4)
        for part in range(3)
    ]
    for number, batch in enumerate(whole):
        joined = torch.cat([part[number].target for part in parts])
        assert torch.equal(joined, batch.target)
        assert {part[number].end for part in parts} == {batch.end}


def test_crops_follow_the_photos_seen():
    sides = [b.target.shape[-1] for b in take(loader().batches(0, lambda s: 8 if s < 8 else 16), 4)]
    assert sides == [8, 8, 16, 16]


def test_pictures_are_channels_first_bytes():
    batch = take(loader().batches(0, lambda _seen: 8), 1)[0]
    assert batch.target.dtype == torch.uint8
    assert batch.target.shape == (4, 3, 8, 8)
    assert batch.source is batch.target


def test_a_degraded_source_comes_beside_the_target():
    batch = take(loader(degrade=lambda crop, _rng: crop + 100).batches(0, lambda _seen: 8), 1)[0]
    assert torch.equal(batch.source, batch.target + 100)


def test_little_is_read_ahead():
    stream = loader(100)
    batches = stream.batches(0, lambda _seen: 8)
    next(batches)
    batches.close()
    assert sum(stream.photos.reads.values()) <= 6 * 4


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="multiple of the 3 parts"):
        loader(batch=4, parts=3)


def test_threads_end_with_the_stream():
    before = threading.active_count()
    stream = loader(jobs=3).batches(0, lambda _seen: 8)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before
