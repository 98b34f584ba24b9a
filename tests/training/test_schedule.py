"""Learning rate and crop side."""

from __future__ import annotations

import math

import pytest

from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.schedule import Schedule
from zcolor.training.settings import AugmentSettings, PackSettings, PriorSettings, TrainSettings


def test_cosine_rises_then_falls_to_the_floor():
    schedule = Schedule(TrainSettings(photos=10_000, warmup=0.1, lr=1e-2, lr_floor=1e-4))
    rates = [schedule.lr(seen) for seen in range(0, 10_001, 10)]
    peak = rates.index(max(rates))
    assert peak == 100
    assert rates[peak] == pytest.approx(1e-2)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(1e-4)
    assert schedule.lr(5500) == pytest.approx(1e-4 + (1e-2 - 1e-4) / 2)  # half-way of the cosine
    assert rates[0] > 0


def test_crops_follow_their_shares():
    schedule = Schedule(TrainSettings(photos=1000, crops=(16, 32, 64), shares=(0.5, 0.3, 0.2)))
    sides = [schedule.crop(seen) for seen in range(1000)]
    assert [sides.count(side) for side in (16, 32, 64)] == [500, 300, 200]
    assert sides == sorted(sides)
    assert schedule.crop(5000) == 64


def plateau(**changes) -> Schedule:
    changes = {"photos": 100, "warmup": 0.0, "lr": 1.0, "lr_floor": 0.2, "patience": 1} | changes
    return Schedule(TrainSettings(schedule="plateau", **changes))


def test_plateau_halves_when_the_loss_stops_falling_and_keeps_the_floor():
    schedule = plateau()
    rates = []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        schedule.validated(loss)
        rates.append(schedule.lr(50))
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]


def test_plateau_starts_to_count_anew_when_the_loss_falls():
    schedule = plateau()
    for loss in (3.0, 3.0, 2.0, 2.0):
        schedule.validated(loss)
    assert schedule.lr(50) == 1.0


def test_state_is_restored():
    first = plateau()
    for loss in (3.0, 3.0, 3.0, 2.5, 2.5):
        first.validated(loss)
    second = plateau()
    second.restore(first.state())
    for loss in (2.5, 2.5):
        first.validated(loss)
        second.validated(loss)
        assert first.lr(50) == second.lr(50)
    assert first.lr(50) == 0.25


def test_state_of_a_run_that_was_never_validated_is_json():
    schedule = plateau()
    schedule.restore(schedule.state())
    assert schedule.state()["best"] is None
    schedule.validated(1e9)
    assert not math.isinf(schedule.state()["best"])


@pytest.mark.parametrize(
    "bad",
    [
        {"crops": (64,), "shares": (0.5, 0.5)},
        {"crops": (64, 96), "shares": (0.5, 0.4)},
        {"crops": (60, 96), "shares": (0.5, 0.5)},
        {"photos": 0},
        {"batch": 10, "accumulate": 3},
        {"ema": 1.0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"lr": 1e-6, "lr_floor": 1e-5},
        {"lr_floor": math.nan},
        {"width": math.nan},
        {"weight_decay": -0.1},
        {"weight_decay": math.nan},
        {"clip": -1.0},
        {"clip": math.nan},
        {"patience": -1},
        {"epoch_photos": -1},
        {"val_photos": -1},
        {"jobs": -1},
        {"threads": -1},
        {"seed": -1},
        {"checkpoint_minutes": -1.0},
        {"checkpoint_minutes": math.nan},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=rf"{next(iter(bad))}.* must.*"):
        TrainSettings(**bad)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (PackSettings, {"jobs": -1}),
        (PackSettings, {"max_pixels": 0}),
        (PackSettings, {"min_chroma": math.nan}),
        (PriorSettings, {"jobs": -1}),
        (PriorSettings, {"smoothing": math.nan}),
        (PriorSettings, {"floor": math.inf}),
        (AugmentSettings, {"rotation": math.nan}),
        (AugmentSettings, {"scale": (1.0, math.inf)}),
        (PretrainSettings, {"jobs": -1}),
        (PretrainSettings, {"seed": -1}),
        (PretrainSettings, {"lr": math.nan}),
        (PretrainSettings, {"weight_decay": math.inf}),
    ],
)
def test_so_are_those_of_the_other_commands(kind, bad):
    with pytest.raises(ValueError, match=rf"{next(iter(bad))}.* must.*"):
        kind(**bad)


def test_zero_turns_off_what_it_did():
    s = TrainSettings(clip=0.0, val_photos=0, epoch_photos=0, patience=0, lr=1e-5, lr_floor=1e-5)
    assert (s.clip, s.val_photos) == (0.0, 0)
