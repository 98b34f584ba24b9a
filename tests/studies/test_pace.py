"""The pace of training runs."""

import numpy as np
import pytest

from studies import pace
from studies.pace import kept_paces, measure_paces
from zcolor.training.priors import build_priors, read_priors
from zcolor.training.settings import TrainSettings


@pytest.fixture
def priors(tmp_path):
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    build_priors([tmp_path / "a.png"], tmp_path / "priors.h5", progress=False)
    return read_priors(tmp_path / "priors.h5")


def settings(model, batch, options=()):
    return TrainSettings(
        model=model, options=options, batch=batch, crops=(32,), shares=(1.0,), width=0.0625
    )


def test_every_run_has_a_pace_of_its_own(priors):
    runs = {
        "zhang": settings("zhang", 2),
        "autoencoder": settings("autoencoder", 4, ("layout=plain",)),
    }
    paces = measure_paces(runs, priors, rounds=3)
    assert list(paces) == list(runs)
    for found in paces.values():
        assert 0 < found.lower <= found.median <= found.upper


def test_seconds_are_those_of_one_photo(priors, monkeypatch):
    steps = {"a": (1.0, 3.0, 2.0), "b": (8.0, 8.0, 4.0)}
    monkeypatch.setattr(pace, "interleave", lambda tasks, *, runs: steps)
    paces = measure_paces({"a": settings("zhang", 1), "b": settings("zhang", 4)}, priors)
    assert [paces[name].median for name in "ab"] == [2.0, 2.0]
    assert (paces["a"].lower, paces["a"].upper) == (1.5, 2.5)


def test_clips_count_by_their_frames(monkeypatch):
    options = ("extractor=resnet10t", "extractor_weights=random", "extractor_size=32", "frames=3")
    step, n = pace._stepper(settings("video-fusion", 2, options), None)
    step()
    assert n == 6


def test_paces_are_measured_once(priors, tmp_path, monkeypatch):
    runs = {"zhang": settings("zhang", 2)}
    first = kept_paces(tmp_path / "paces.json", runs, priors)

    def again(*_):
        pytest.fail("measured again")

    monkeypatch.setattr(pace, "measure_paces", again)
    assert kept_paces(tmp_path / "paces.json", runs, priors) == first
