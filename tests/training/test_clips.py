"""Clips made over photographs: what the camera does, how they are batched and learnt."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zcolor.models.regressor import Regressor
from zcolor.registry import ModelEntry
from zcolor.training.augment import Augmenter
from zcolor.training.distributed import Crew
from zcolor.training.learner import Learner, as_clips
from zcolor.training.loader import Batch, BatchLoader
from zcolor.training.loop import train
from zcolor.training.settings import AugmentSettings, FilmSettings, TrainSettings

STILL = AugmentSettings(scaled=0, flip=False, rotation=0, shear=0, jitter=0)
STEADY_LIGHT = AugmentSettings(scaled=0, flip=False, jitter=0)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def places(height, width):
    """A picture whose red and green say where each pixel is: x and y, 0 to 255."""
    y, x = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    return np.rint(np.stack((x, y, np.zeros_like(x)), axis=2)).astype(np.uint8)


def targets(clip):
    return np.stack([sample.target for sample in clip]).astype(float)


def camera(clip):
    """Fit place = first row + column * second row + row * third row to frames of `places`."""
    inner = np.s_[8:-8, 8:-8]
    rows, columns = (n[inner].ravel() for n in np.indices(clip.shape[1:3]))
    known = np.stack((np.ones_like(rows), columns, rows), axis=1)
    flat = [frame[inner][..., :2].reshape(-1, 2) for frame in clip]
    return np.stack([np.linalg.lstsq(known, seen, rcond=None)[0] for seen in flat])


# ---- the camera ------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    crop=st.sampled_from([8, 32, 64]),
    length=st.integers(1, 6),
)
def test_any_photo_gives_frames_of_the_asked_side(height, width, crop, length):
    clip = Augmenter(AugmentSettings(rotation=20), 3, 32).clip(
        photo(height, width), crop, 0, 0, length
    )
    assert [sample.target.shape for sample in clip] == [(crop, crop, 3)] * length
    assert all(sample.target.dtype == np.uint8 for sample in clip)
    assert all(sample.source is sample.target for sample in clip)


def test_seed_epoch_and_index_decide():
    rgb = photo(90, 70)

    def clip(seed, epoch, index):
        return targets(Augmenter(AugmentSettings(), seed, 48).clip(rgb, 32, epoch, index, 3))

    assert (clip(7, 1, 2) == clip(7, 1, 2)).all()
    for other in ((8, 1, 2), (7, 2, 2), (7, 1, 3)):
        assert (clip(*other) != clip(7, 1, 2)).any()


@pytest.mark.parametrize("index", range(12))
def test_the_camera_goes_slowly_and_evenly(index):
    """What it does is read off a picture that says where it is."""
    crop, length, side = 64, 5, 100
    clip = targets(
        Augmenter(STEADY_LIGHT, 1, side).clip(places(side, side), crop, 0, index, length)
    )
    fits = camera(clip) * (side - 1) / 255  # in pixels of the photo at its working size
    middles = fits[:, 0] + fits[:, 1:].sum(axis=1) * (crop / 2 - 0.5)
    steps = np.diff(middles, axis=0)
    assert np.abs(steps).max() <= 0.03 * crop + 0.1
    assert np.ptp(steps, axis=0).max() < 0.1  # even
    # How far apart two neighbours are tells the zoom, and in which direction the turn.
    zoom, turn = np.hypot(*fits[:, 1].T), np.rad2deg(np.arctan2(fits[:, 1, 1], fits[:, 1, 0]))
    assert zoom.min() > 1 / 1.25 - 0.01  # never nearer
    assert zoom.max() < 1 + 0.01
    assert np.abs(np.diff(np.log(zoom))).max() < 0.02 + 0.005
    assert np.abs(turn).max() < 5 + 0.2
    assert np.abs(np.diff(turn)).max() < 1 + 0.2


def test_clips_move_and_each_in_its_own_way():
    make = Augmenter(STILL, 0, 100)
    rgb = places(100, 140)
    moves = []
    for index in range(20):
        clip = targets(make.clip(rgb, 64, 0, index, 5))[..., :2]
        moves.append((clip[-1] - clip[0]).mean(axis=(0, 1)))
    moves = np.array(moves)
    assert (np.abs(moves).max(axis=1) > 1).mean() > 0.8
    assert (moves > 0).any(axis=0).all()
    assert (moves < 0).any(axis=0).all()


def test_frames_are_within_the_photo_where_it_does_not_turn():
    """A mirrored border would show as a place that goes back."""
    make = Augmenter(STILL, 0, 64)
    for index in range(30):
        clip = targets(make.clip(places(64, 64), 64, 0, index, 8))
        assert (np.diff(clip[:, 1:-1, 1:-1, 0], axis=2) >= 0).all()
        assert (np.diff(clip[:, 1:-1, 1:-1, 1], axis=1) >= 0).all()


def test_a_clip_is_mirrored_as_a_whole():
    make = Augmenter(AugmentSettings(scaled=0, rotation=0, shear=0, jitter=0), 0, 64)
    signs = []
    for index in range(40):
        clip = targets(make.clip(places(64, 64), 32, 0, index, 3))
        signs.append(np.sign(clip[:, 16, 24, 0] - clip[:, 16, 8, 0]))
    signs = np.array(signs)
    assert (signs == signs[:, :1]).all()
    assert 8 < (signs[:, 0] < 0).sum() < 32


def test_exposure_drifts_and_tint_stays():
    grey = np.full((40, 40, 3), 120, np.uint8)
    make = Augmenter(AugmentSettings(scaled=0, jitter=0.08), 0, 40)
    drifts = []
    for index in range(40):
        means = targets(make.clip(grey, 32, 0, index, 6)).mean(axis=(1, 2)) / 120
        assert means.min() > 0.92 * 0.98 - 0.01
        assert means.max() < 1.08 * 1.02 + 0.01
        assert np.abs(np.diff(means, axis=0)).max() < 0.02 * 1.02 + 0.009  # and rounding
        tint = means / means.mean(axis=1, keepdims=True)
        assert np.ptp(tint, axis=0).max() < 0.01
        drifts.append(means[-1, 0] - means[0, 0])
    assert np.std(drifts) > 0.015


def test_degradation_is_drawn_once_a_clip():
    def fade(crop, rng):
        return crop // 2 + rng.integers(0, 100, crop.shape).astype(np.uint8)

    make = Augmenter(STILL, 0, 40, fade)
    first, second = (make.clip(photo(50, 50), 32, 0, index, 3) for index in (0, 1))
    noise = [sample.source - sample.target // 2 for sample in first]
    assert (noise[0] == noise[1]).all()
    assert (noise[0] == noise[2]).all()
    assert (noise[0] != second[0].source - second[0].target // 2).any()
    clean = Augmenter(STILL, 0, 40).clip(photo(50, 50), 32, 0, 0, 3)
    assert (targets(clean) == targets(first)).all()


def test_the_photo_is_not_written_to():
    rgb = photo(50, 50)
    before = rgb.copy()
    rgb.setflags(write=False)
    Augmenter(AugmentSettings(), 0, 50).clip(rgb, 32, 0, 0, 4)
    assert (rgb == before).all()


def test_the_motion_is_that_of_the_photograph():
    """A frame taken back along the camera's motion is the frame before."""
    rgb = cv2.GaussianBlur(skimage.data.astronaut()[:256, :256], (0, 0), 3)
    make = Augmenter(STILL, 0, 128)
    clip = targets(make.clip(rgb, 96, 0, 3, 2))
    start = targets(make.clip(places(256, 256), 96, 0, 3, 2))[..., :2]
    first, second = camera(start)
    rows, columns = np.mgrid[16:80, 16:80]
    known = np.stack((np.ones_like(rows), columns, rows), axis=-1).reshape(-1, 3)
    there = (known @ first - second[0]) @ np.linalg.inv(second[1:])
    x, y = there.reshape(64, 64, 2).astype(np.float32).transpose(2, 0, 1)
    moved = cv2.remap(clip[1].astype(np.float32), x, y, cv2.INTER_LINEAR)
    away = np.abs(moved - clip[0][16:80, 16:80]).mean()
    assert away < 0.3 * np.abs(clip[1] - clip[0])[16:80, 16:80].mean()


# ---- batches ---------------------------------------------------------------------------------


class Numbered:
    """Photographs whose every pixel is their index."""

    data_hash = ""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def read(self, index):
        return np.full((20, 20, 3), index, dtype=np.uint8)


def batches(n, *, degrade=None, start=0, **options):
    loader = BatchLoader(
        Numbered(10), Augmenter(STILL, 5, 16, degrade), batch=4, seed=5, clip_length=3, **options
    )
    stream = loader.batches(start, lambda _seen: 8)
    taken = list(itertools.islice(stream, n))
    stream.close()
    return taken


def test_a_batch_counts_photos_and_holds_clip_after_clip():
    first, second = batches(2)
    assert first.target.shape == (12, 3, 8, 8)
    assert first.target.dtype == torch.uint8
    assert (first.end, second.end) == (4, 8)
    numbers = first.target[:, 0, 0, 0].reshape(4, 3)
    assert (numbers == numbers[:, :1]).all()
    assert len(set(numbers[:, 0].tolist())) == 4


def test_clips_of_later_batches_and_of_parts_are_the_same():
    whole = batches(3)
    (later,) = batches(1, start=8)
    assert torch.equal(later.target, whole[2].target)
    halves = [batches(1, part=part, parts=2)[0].target for part in range(2)]
    assert torch.equal(torch.cat(halves), whole[0].target)


def test_degraded_frames_come_beside_the_clean():
    (batch,) = batches(1, degrade=lambda crop, _rng: crop + 100)
    assert torch.equal(batch.source, batch.target + 100)


# ---- learning --------------------------------------------------------------------------------


class Means(Regressor):
    """Answers with a learned colour for each clip's mean lightness; remembers what it was given."""

    def __init__(self, *, working_size=128, options=None):
        super().__init__(working_size=working_size, options=options)
        self.clip_length = 3
        self.color = torch.nn.Parameter(torch.zeros(2))
        self.shapes = []

    def forward(self, lightness):
        self.shapes.append(tuple(lightness.shape))
        frames = lightness.flatten(0, -4)
        return self.color[None, :, None, None].expand(len(frames), 2, *frames.shape[-2:])


def test_frames_are_seen_as_clips():
    frames = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 4, 5)
    assert as_clips(frames, 1) is frames
    clips = as_clips(frames, 3)
    assert clips.shape == (2, 3, 1, 4, 5)
    assert clips[:, :, 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_learner_gives_clips_and_compares_every_frame():
    net = Means()
    s = TrainSettings(optimizer="sgd", ema=0, clip=0, bf16=False)
    learner = Learner(net, s, Crew(0, 1, torch.device("cpu")))
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)[None, :, None, None].expand(6, 3, 8, 8)
    losses = learner.learn([Batch(red, red, 2)], lr=0.1)
    assert net.shapes == [(2, 3, 1, 8, 8)]
    # sRGB red is a 80.1, b 67.2; the mean of both squares over 128 squared.
    assert losses["total"].item() == pytest.approx((80.1**2 + 67.2**2) / 2 / 128**2, rel=5e-3)
    assert (net.color > 0).all()


def test_a_family_of_films_trains_resumes_and_stays_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "zcolor.registry.MODELS", {"means": ModelEntry(f"{__name__}:Means", "", "")}
    )
    monkeypatch.setattr("zcolor.registry.find_family", lambda _name: Means)
    monkeypatch.setattr("zcolor.training.assemble.find_family", lambda _name: Means)
    monkeypatch.setattr("zcolor.registry.family_of", lambda _net: "means")
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(4):
        cv2.imwrite(str(photos / f"{i}.png"), photo(24, 24, i))
    s = TrainSettings(
        model="means", photos=6, batch=2, crops=(16,), shares=(1.0,), working_size=16,
        optimizer="adam", lr=0.1, warmup=0, ema=0, bf16=False, monitor="train", device="cpu",
        film=FilmSettings(share=1.0),
    )  # fmt: skip

    def run(name, **options):
        return train(s, [photos], tmp_path / name, progress=False, **options)

    whole = run("whole")
    first = run("legs", minutes=0)
    assert (first.reason, first.seen) == ("minutes", 2)
    second = run("legs", resume=True)
    assert first.losses + second.losses == whole.losses
    assert len(whole.losses) == 3
