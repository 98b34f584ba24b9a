"""Colour held still: on clips of known motion, and against averages where nothing moves."""

import functools

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from tests.clips import Layer, blob, flicker, scene, true_ab
from zcolor.colorizer import Colorizer
from zcolor.lab import rgb_to_lightness
from zcolor.metrics import auc_scores, mean_chroma
from zcolor.photo import read_photo
from zcolor.temporal import MIN_CONFIDENCE, TemporalSmoother, follow_motion
from zcolor.upsample import guide_ab

SIZE = (200, 152)


def lightness_of(frame, size=128):
    return read_photo(frame.grey).lightness(size, "cpu")


def pixels(lightness):
    return lightness[0, 0].numpy()


@functools.cache
def clips():
    """Motion of the camera; of a thing in front of another; and a cut."""
    coffee, cat, astronaut = data.coffee(), data.chelsea(), data.astronaut()
    face = blob(astronaut, 20, 140, 200, 170)
    return {
        "pan": scene([Layer(coffee, x=(0.35, 0.5), scale=(0.6, 0.65))], 8, SIZE, grain=6),
        "turn": scene([Layer(cat, turn=(-4, 4), scale=(0.7, 0.75))], 8, SIZE, grain=6),
        "face over cat": scene(
            [
                Layer(cat, x=(0.45, 0.5), scale=(0.6, 0.6)),
                Layer(*face, x=(0.2, 0.7), y=(0.3, 0.6), scale=(0.4, 0.4), turn=(0, 10)),
            ],
            8,
            SIZE,
            grain=6,
        ),
        "cut": scene([Layer(coffee, x=(0.4, 0.45), scale=(0.5, 0.5))], 5, SIZE, grain=6)
        + scene([Layer(astronaut, y=(0.4, 0.45), scale=(0.5, 0.55))], 5, SIZE, grain=6, seed=1),
    }


@functools.cache
def answers(name):
    """The shipped network's answers: lightness and ab of each frame of a clip."""
    colorizer = Colorizer(device="cpu")
    photos = [read_photo(frame.grey) for frame in clips()[name]]
    return [(photo.lightness(128, "cpu"), colorizer.predict_ab(photo)) for photo in photos]


def full_size(frame, ab):
    """(h, w, 2) ab as it is shown, but for rounding."""
    grey = torch.from_numpy(frame.grey)[None, None]
    lightness = rgb_to_lightness(grey.expand(1, 3, -1, -1) / 255)
    small = torch.nn.functional.interpolate(lightness, ab.shape[2:], mode="area")
    full = guide_ab(small, ab).upsample(lightness, frame.grey.shape[0])
    return full[0].permute(1, 2, 0).numpy()


def shown(name, smooth):
    """What is shown of a clip, and how many scenes it was taken for."""
    smoother = TemporalSmoother(smooth)
    frames = clips()[name]
    abs_ = [
        full_size(frame, smoother(lightness, ab))
        for frame, (lightness, ab) in zip(frames, answers(name), strict=True)
    ]
    return abs_, smoother.n_scenes


def score(abs_, frames):
    errors = [
        np.linalg.norm(ab - true_ab(frame), axis=-1) for ab, frame in zip(abs_, frames, strict=True)
    ]
    return float(auc_scores(torch.from_numpy(np.stack(errors))).mean())


def chroma(abs_):
    stacked = torch.from_numpy(np.stack(abs_)).permute(0, 3, 1, 2)
    return float(mean_chroma(stacked).mean())


# ---- the clips themselves ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pan", "turn", "face over cat", "cut"])
def test_clips_know_their_motion(name):
    frames = clips()[name]
    truths = [frame.truth.astype(np.float32) for frame in frames]
    still = [
        np.abs(b - a)[frame.seen].mean()
        for a, b, frame in zip(truths, truths[1:], frames[1:])
        if frame.seen is not None
    ]
    # What remains along the motion is interpolation.
    assert flicker(truths, frames) / np.sqrt(3) < 0.5 * np.mean(still)


# ---- what it is for ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pan", "turn", "face over cat", "cut"])
def test_flicker_is_a_third_and_colours_are_no_paler(name):
    frames = clips()[name]
    alone, _ = shown(name, 0)
    smoothed, n_scenes = shown(name, TemporalSmoother().smooth)
    assert n_scenes == (2 if name == "cut" else 1)
    assert flicker(smoothed, frames) * 3 <= flicker(alone, frames)
    # Averages of colours that differ are paler; these differ too little for much of that.
    assert chroma(smoothed) > 0.93 * chroma(alone)


def test_colours_are_no_worse():
    """Over all clips: one alone may gain or lose by what its first frame happens to be."""
    gains = [
        score(shown(name, TemporalSmoother().smooth)[0], frames) - score(shown(name, 0)[0], frames)
        for name, frames in clips().items()
    ]
    assert np.mean(gains) >= -0.05, gains


def test_what_was_hidden_takes_its_own_colour():
    frames = clips()["face over cat"]
    alone, _ = shown("face over cat", 0)
    smoothed, _ = shown("face over cat", TemporalSmoother().smooth)
    hidden = [~frame.seen if frame.seen is not None else None for frame in frames]
    errors = [
        np.linalg.norm(ab - true_ab(frame), axis=-1)[mask].mean()
        - np.linalg.norm(other - true_ab(frame), axis=-1)[mask].mean()
        for ab, other, frame, mask in zip(smoothed, alone, frames, hidden)
        if mask is not None
    ]
    assert np.mean(errors) < 0.04 * 15  # ab units: so far are the face and the cat apart


def test_no_ghosts_after_a_cut():
    ab = answers("cut")[5][1]
    smoother = TemporalSmoother()
    results = [smoother(*answer) for answer in answers("cut")]
    assert results[5] is ab  # as the network answered, bit by bit
    # And the frames after it know nothing of those before.
    alone = TemporalSmoother()
    for result, answer in zip(results[5:], answers("cut")[5:]):
        assert torch.equal(result, alone(*answer))


def test_cuts_and_motion_are_told_apart():
    names = ["astronaut", "coffee", "chelsea", "rocket", "camera", "moon", "coins", "brick"]
    stills = []
    for name in names:
        photo = getattr(data, name)()[:300, :360]
        stills.append(pixels(read_photo(np.ascontiguousarray(photo)).lightness(128, "cpu")))
    cuts = [
        follow_motion(now, before)[1].mean()
        for i, now in enumerate(stills)
        for before in stills[:i]
    ]
    assert max(cuts) < 0.75 * MIN_CONFIDENCE
    for share in (0.01, 0.03, 0.1):  # of the width, in one frame
        pan = [Layer(data.coffee(), x=(0.4, 0.4 + share * 200 / 600), scale=(1.0, 1.0))]
        before, now = (pixels(lightness_of(f)) for f in scene(pan, 2, SIZE, grain=6))
        assert follow_motion(now, before)[1].mean() > 1.5 * MIN_CONFIDENCE


def test_exposure_is_no_motion():
    still = [Layer(data.coffee(), scale=(0.6, 0.6))]
    before, now = (pixels(lightness_of(f)) for f in scene(still, 2, SIZE))
    place, confidence = follow_motion(np.clip(now * 0.9 + 8, 0, 100), before)
    assert np.median(confidence) > 0.9
    rows, columns = np.mgrid[: now.shape[0], : now.shape[1]]
    assert np.median(np.abs(place - np.stack((columns, rows), axis=-1))) < 0.1


# ---- against known answers -----------------------------------------------------------------


def test_motion_is_the_true_one():
    frames = clips()["turn"]
    height, width = lightness_of(frames[1]).shape[2:]
    factor = (width / SIZE[0], height / SIZE[1])
    before, now = (pixels(lightness_of(frame)) for frame in frames[:2])
    place, confidence = follow_motion(now, before)
    # The true place of each working pixel's middle, in working pixels.
    x = ((np.arange(width) + 0.5) / factor[0]).astype(int)
    y = ((np.arange(height) + 0.5) / factor[1]).astype(int)
    true = (frames[1].before[np.ix_(y, x)] + 0.5) * factor - 0.5
    error = np.linalg.norm(place - true, axis=-1)[confidence > 0.5]
    assert np.median(error) < 0.7
    assert confidence[frames[1].seen[np.ix_(y, x)]].mean() > 0.9


def test_still_frames_are_averaged_recursively():
    lightness = lightness_of(clips()["pan"][0])
    rng = torch.Generator().manual_seed(3)
    # As large as the lightness and without its detail: the guide has nothing to add.
    abs_ = [torch.randn(1, 2, 1, 1, generator=rng) * 20 for _ in range(6)]
    smoother, expected = TemporalSmoother(0.75), abs_[0]
    for i, ab in enumerate(abs_):
        expected = ab if i == 0 else 0.75 * expected + 0.25 * ab
        result = smoother(lightness, ab)
        torch.testing.assert_close(result, expected.expand_as(result), atol=1e-3, rtol=0)


def test_colour_moves_with_the_picture():
    """A red left half over a photograph that moves by 8 pixels: so does the red."""
    height, width = 96, 128
    wide = pixels(read_photo(data.coffee()).lightness(160, "cpu"))[:height, : width + 8]
    red = torch.zeros(1, 2, height, width)
    red[..., : width // 2] = 60
    smoother = TemporalSmoother(1)
    smoother(torch.from_numpy(wide[:, 8:])[None, None].contiguous(), red)
    moved = smoother(torch.from_numpy(wide[:, :-8])[None, None].contiguous(), torch.zeros_like(red))
    middle = moved[0, 0, 20:-20].mean(dim=0)
    assert middle[16 : width // 2].min() > 50
    assert middle[width // 2 + 16 :].max() < 10


@given(
    smooth=st.floats(0, 1),
    first=st.floats(-100, 100),
    second=st.floats(-100, 100),
    seed=st.integers(0, 9),
)
@settings(max_examples=25)
def test_results_lie_between_new_and_earlier(smooth, first, second, seed):
    frames = torch.rand(2, 1, 1, 24, 40, generator=torch.Generator().manual_seed(seed)) * 100
    smoother = TemporalSmoother(smooth)
    smoother(frames[0], torch.full((1, 2, 6, 10), first))
    result = smoother(frames[1], torch.full((1, 2, 6, 10), second))
    low, high = sorted((first, second))
    assert low - 1e-3 <= result.min() <= result.max() <= high + 1e-3


# ---- the contract --------------------------------------------------------------------------


def test_zero_leaves_everything_alone():
    smoother = TemporalSmoother(0)
    for lightness, ab in answers("pan"):
        assert smoother(lightness, ab) is ab
    assert smoother.n_scenes == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes(dtype):
    smoother = TemporalSmoother()
    lightness, ab = torch.rand(1, 1, 40, 48) * 100, torch.ones(1, 2, 10, 12, dtype=dtype)
    assert smoother(lightness, ab) is ab
    result = smoother(lightness, ab)
    assert (result.shape, result.dtype) == ((1, 2, 40, 48), dtype)
    assert not result.requires_grad


@pytest.mark.parametrize("size", [(8, 8), (8, 256), (16, 24), (200, 8)])
def test_small_and_narrow_frames(size):
    smoother = TemporalSmoother()
    lightness = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)) * 100
    smoother(lightness, torch.zeros(1, 2, 1, 1))
    result = smoother(lightness, torch.full((1, 2, 1, 1), 10.0))
    torch.testing.assert_close(result, torch.ones(1, 2, *size), atol=0.05, rtol=0)


def test_reset_and_another_size_begin_a_scene():
    smoother = TemporalSmoother()
    lightness, ab = torch.rand(1, 1, 32, 32) * 100, torch.rand(1, 2, 8, 8)
    smoother(lightness, ab)
    smoother.reset()
    assert smoother(lightness, ab) is ab
    wider = torch.rand(1, 1, 32, 40) * 100
    assert smoother(wider, ab) is ab
    assert smoother.n_scenes == 3


@pytest.mark.parametrize("smooth", [0, 0.9])
def test_scenes_can_be_asked_for_before_there_are_colours(smooth):
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, 1, 48, 48, generator=generator) * 100
    lightnesses = [first, first, second, second]
    abs_ = torch.rand(4, 1, 2, 12, 12, generator=generator)
    unasked, asked = TemporalSmoother(smooth), TemporalSmoother(smooth)
    expected = [unasked(lightness, ab) for lightness, ab in zip(lightnesses, abs_, strict=True)]
    begins, found = [], []
    for lightness, ab in zip(lightnesses, abs_, strict=True):
        begins.append(asked.begins_scene(lightness))
        found.append(asked(lightness, ab))
    assert begins == [True, False, True, False]
    assert asked.n_scenes == 2
    assert unasked.n_scenes == (0 if smooth == 0 else 2)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_one_frame_at_a_time_is_looked_at():
    with pytest.raises(ValueError, match="one frame at a time"):
        TemporalSmoother().begins_scene(torch.zeros(2, 1, 32, 32))


@pytest.mark.parametrize("smooth", [-0.1, 1.1, float("nan")])
def test_smooth_has_a_range(smooth):
    with pytest.raises(ValueError, match=r"smooth must lie in \[0, 1\]"):
        TemporalSmoother(smooth)


@pytest.mark.parametrize(
    ("lightness", "ab"),
    [
        ((2, 1, 32, 32), (2, 2, 8, 8)),
        ((1, 3, 32, 32), (1, 2, 8, 8)),
        ((1, 1, 32, 32), (1, 3, 8, 8)),
        ((32, 32), (1, 2, 8, 8)),
    ],
)
def test_one_frame_at_a_time(lightness, ab):
    with pytest.raises(ValueError, match="one frame at a time"):
        TemporalSmoother()(torch.zeros(lightness), torch.zeros(ab))


def test_frames_of_one_shape():
    with pytest.raises(ValueError, match="of one shape"):
        follow_motion(np.zeros((8, 8), np.float32), np.zeros((8, 16), np.float32))


def test_what_comes_into_the_picture_was_nowhere_before():
    """A pan by 8 pixels: there is no confidence in places beyond the border."""
    rng = np.random.default_rng(0)
    texture = rng.normal(50, 12, (24, 34)).astype(np.float32)
    texture = np.clip(cv2.resize(texture, (136, 96), interpolation=cv2.INTER_CUBIC), 0, 100)
    before, now = texture[:, :-8].copy(), texture[:, 8:].copy()
    place, confidence = follow_motion(now, before)
    assert np.median(confidence) > 0.8
    beyond = place[..., 0] > before.shape[1] - 0.4
    assert beyond.sum() > 96
    assert confidence[beyond].max() == 0
