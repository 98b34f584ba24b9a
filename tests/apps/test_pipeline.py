"""Work in threads: room for pixels, cores, what is raised, and the end of an interrupted run."""

import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zcolor.apps.pipeline import Lanes, Stopped


def run(lanes, work, items):
    finished = []
    lanes.each(work, items, finished.append)
    return finished


@pytest.mark.parametrize("n_threads", [1, 3])
def test_every_item_is_done_once(n_threads):
    seen = []
    finished = run(Lanes(n_threads), seen.append, list(range(20)))
    assert sorted(seen) == sorted(finished) == list(range(20))


def test_one_thread_is_the_callers_and_keeps_the_order():
    seen = []
    items = list(range(5))
    finished = run(Lanes(1), lambda i: seen.append((i, threading.current_thread())), items)
    assert seen == [(i, threading.main_thread()) for i in items]
    assert finished == items


def test_nothing_to_do():
    assert run(Lanes(4), pytest.fail, []) == []


@given(st.lists(st.integers(1, 25), max_size=12), st.integers(2, 4))
def test_pixels_in_memory_stay_within_the_room(sizes, n_threads):
    lanes = Lanes(n_threads, pixels_per_thread=5)
    held, most, lock = [], [0], threading.Lock()

    def work(n_pixels):
        with lanes.hold(n_pixels):
            with lock:
                held.append(n_pixels)
                most[0] = max(most[0], sum(held) if len(held) > 1 else 0)
            time.sleep(0.0005)
            with lock:
                held.remove(n_pixels)

    assert sorted(run(lanes, work, sizes)) == sorted(sizes)
    # What is larger than all the room was alone, so it does not count here.
    assert most[0] <= n_threads * 5


def test_small_pictures_are_held_together():
    lanes = Lanes(3, pixels_per_thread=5)
    meeting = threading.Barrier(3, timeout=30)

    def work(n_pixels):
        with lanes.hold(n_pixels):
            meeting.wait()  # breaks if one has to wait for another

    run(lanes, work, [5, 5, 5])


def test_a_large_picture_is_not_passed_for_ever():
    lanes = Lanes(2, pixels_per_thread=5)
    begun = []

    def work(n_pixels):
        with lanes.hold(n_pixels):
            begun.append(n_pixels)
            time.sleep(0.01)

    run(lanes, work, [1, 10, *[2] * 10])
    assert begun.index(10) <= 2


def test_cores_are_shared_and_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        lanes = Lanes(2, pixels_per_thread=5)
        found = []

        def work(n_pixels):
            with lanes.hold(n_pixels):
                found.append((n_pixels, torch.get_num_threads()))

        run(lanes, work, [4, 10, 99, 4])
        assert sorted(found) == [(4, 1), (4, 1), (10, 2), (99, 2)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_ends_the_run_and_gives_everything_back(n_threads):
    lanes = Lanes(n_threads, pixels_per_thread=5)
    seen, before = [], torch.get_num_threads()

    def work(item):
        with lanes.hold(10):
            seen.append(item)
            if item == 2:
                raise KeyError("a bug")
            time.sleep(0.001)

    with pytest.raises(KeyError, match="a bug"):
        run(lanes, work, list(range(500)))
    assert len(seen) < 400
    assert torch.get_num_threads() == before
    assert not [t for t in threading.enumerate() if t.name.startswith("zcolor")]


def test_interrupted_work_ends_at_its_next_check():
    lanes = Lanes(2)
    begun, ended = threading.Barrier(2, timeout=30), []

    def work(_):
        with lanes.hold(1):
            begun.wait()
            try:
                for _ in range(3000):
                    lanes.check()
                    time.sleep(0.01)
            except Stopped:
                ended.append("at a check")
                raise

    def interrupt():
        begun.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lanes.each(
            lambda item: work(item) if item else interrupt(), [1, 0, 1, 1, 1], lambda _: None
        )
    assert ended == ["at a check"]
    with pytest.raises(Stopped):
        lanes.check()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_lanes_work_again_after_an_error(n_threads):
    def work(item):
        with lanes.hold(1):
            lanes.check()
            if item == "bad":
                raise KeyError(item)

    lanes = Lanes(n_threads)
    with pytest.raises(KeyError):
        run(lanes, work, ["bad"])
    assert sorted(run(lanes, work, ["a", "b"])) == ["a", "b"]
