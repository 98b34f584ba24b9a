"""Augmentation: reproducible, within its bounds, and true to the photograph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.test_clips import camera, places
from zcolor.training.augment import Augmenter
from zcolor.training.settings import AugmentSettings

PLAIN = AugmentSettings(scaled=0, flip=False, rotation=0, shear=0, jitter=0)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    crop=st.sampled_from([8, 16, 64]),
    index=st.integers(0, 5),
)
def test_any_photo_gives_a_crop_of_the_asked_side(height, width, crop, index):
    sample = Augmenter(AugmentSettings(rotation=20, shear=0.2), 3, 64)(
        photo(height, width), crop, 0, index
    )
    assert sample.target.shape == (crop, crop, 3)
    assert sample.target.dtype == np.uint8


def test_same_seed_epoch_and_index_give_the_same_example():
    rgb = photo(150, 120)
    make = Augmenter(AugmentSettings(), 7, 128)
    again = Augmenter(AugmentSettings(), 7, 128)
    for index in range(20):
        np.testing.assert_array_equal(
            make(rgb, 32, 1, index).target, again(rgb, 32, 1, index).target
        )


@pytest.mark.parametrize("other", [(8, 1, 0), (7, 2, 0), (7, 1, 1)])
def test_another_seed_epoch_or_index_gives_another_example(other):
    rgb = photo(150, 120)
    seed, epoch, index = other
    first = Augmenter(AugmentSettings(), 7, 128)(rgb, 32, 1, 0).target
    second = Augmenter(AugmentSettings(), seed, 128)(rgb, 32, epoch, index).target
    assert (first != second).any()


def test_without_changes_the_crop_is_cut_pixel_by_pixel():
    rgb = photo(40, 40)
    np.testing.assert_array_equal(Augmenter(PLAIN, 0, 40)(rgb, 40, 0, 0).target, rgb)


def test_flip_mirrors_about_half_of_the_photos():
    rgb = photo(16, 16)
    make = Augmenter(AugmentSettings(scaled=0, flip=True, rotation=0, shear=0, jitter=0), 0, 16)
    crops = [make(rgb, 16, 0, i).target for i in range(200)]
    mirrored = sum(bool((crop == rgb[:, ::-1]).all()) for crop in crops)
    plain = sum(bool((crop == rgb).all()) for crop in crops)
    assert mirrored + plain == 200
    assert 70 < mirrored < 130


def ramp(side: int) -> np.ndarray:
    """A ramp from left to right: its range in a crop tells the share of the photo in it."""
    line = np.linspace(0, 255, side).astype(np.uint8)
    return np.repeat(np.tile(line, (side, 1))[:, :, None], 3, axis=2)


def shares(scaled: float, side: int = 256) -> np.ndarray:
    still = AugmentSettings(
        scaled=scaled, scale=(0.5, 2.0), flip=False, rotation=0, shear=0, jitter=0
    )
    make = Augmenter(still, 0, 128)
    return np.array(
        [np.ptp(make(ramp(side), 64, 0, i).target.astype(int)) / 255 for i in range(200)]
    )


@pytest.mark.parametrize("side", [40, 128, 256])
def test_crops_are_cut_from_photos_of_the_working_size(side):
    np.testing.assert_allclose(shares(0.0, side), 0.5, atol=0.03)


def test_scale_draws_its_whole_range_for_its_share_of_the_photos():
    found = shares(1.0)
    assert 0.24 < found.min() < 0.3
    assert 0.9 < found.max() <= 1.0
    # As many enlarged as shrunk: the ratios are drawn evenly.
    assert 70 < (found < 0.5).sum() < 130
    some = shares(0.4)
    assert 90 < (np.abs(some - 0.5) < 0.02).sum() < 160


def test_jitter_keeps_within_its_gain():
    grey = np.full((32, 32, 3), 100, dtype=np.uint8)
    make = Augmenter(AugmentSettings(scaled=0, flip=False, rotation=0, shear=0, jitter=0.1), 0, 32)
    values = np.array([make(grey, 32, 0, i).target[0, 0] for i in range(300)]).astype(float)
    assert values.min() >= 100 * 0.9 * 0.975 - 1
    assert values.max() <= 100 * 1.1 * 1.025 + 1
    assert values.std() > 2


def seen_of(count, crop=40, size=(100, 150), **changes):
    """Crops of a picture that says where its pixels are: their middles, and how they are turned.

    Gives (count, 2) middles in pixels, x and y, and (count, 2, 2) steps in pixels of the photo for
    a column and for a row of the crop.
    """
    still = {"scaled": 0, "flip": False, "rotation": 0, "shear": 0, "jitter": 0}
    make = Augmenter(AugmentSettings(**{**still, **changes}), 0, min(size))
    rgb = places(*size)
    crops = np.stack([make(rgb, crop, 0, i).target for i in range(count)]).astype(float)
    pixels = (np.array([size[1], size[0]]) - 1) / 255
    fitted = camera(crops) * pixels  # (count, 3, 2): start, a column's step, a row's step
    return fitted[:, 0] + fitted[:, 1:].sum(axis=1) * (crop - 1) / 2, fitted[:, 1:]


def test_crops_lie_everywhere():
    middles, steps = seen_of(300)
    for axis, full in enumerate((150, 100)):
        assert middles[:, axis].min() < 20 + 3
        assert middles[:, axis].max() > full - 20 - 4
        assert abs(middles[:, axis].mean() - (full - 1) / 2) < 5
    np.testing.assert_allclose(steps, np.broadcast_to(np.eye(2), steps.shape), atol=0.02)


def test_some_crops_are_turned_within_the_settings():
    _, steps = seen_of(300, rotation=5)
    angles = np.degrees(np.arctan2(steps[:, 0, 1], steps[:, 0, 0]))
    assert 2.5 < np.abs(angles).max() < 5.3
    assert 60 < (np.abs(angles) > 0.25).sum() < 120  # 30 %, but for those hardly turned
    assert (angles > 1).any()
    assert (angles < -1).any()


def test_some_crops_are_sheared_within_the_settings():
    _, steps = seen_of(300, shear=0.1)
    shears = steps[:, 1, 0]
    assert 0.05 < np.abs(shears).max() < 0.105
    assert 60 < (np.abs(shears) > 0.005).sum() < 120


def test_photos_are_shrunk_by_area():
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[::2, ::2] = rgb[1::2, 1::2] = 200
    small = Augmenter(PLAIN, 0, 32)(rgb, 32, 0, 0).target
    assert np.abs(small.astype(int) - 100).max() < 15


def test_rotation_turns_about_the_middle():
    rgb = np.zeros((101, 101, 3), dtype=np.uint8)
    rgb[45:56, 45:56] = 255
    make = Augmenter(AugmentSettings(scaled=0, flip=False, rotation=45, shear=0, jitter=0), 0, 101)
    for index in range(30):
        out = make(rgb, 101, 0, index).target[..., 0].astype(float)
        rows, columns = np.indices(out.shape)
        assert abs((rows * out).sum() / out.sum() - 50) < 0.5
        assert abs((columns * out).sum() / out.sum() - 50) < 0.5


def test_degradation_changes_the_source_alone_and_is_reproducible():
    def fade(crop, rng):
        return (crop // 2 + rng.integers(0, 3)).astype(np.uint8)

    rgb = photo(40, 40)
    sample = Augmenter(PLAIN, 0, 40, fade)(rgb, 40, 0, 0)
    np.testing.assert_array_equal(sample.target, rgb)
    assert (sample.source != sample.target).any()
    np.testing.assert_array_equal(
        sample.source, Augmenter(PLAIN, 0, 40, fade)(rgb, 40, 0, 0).source
    )


def test_the_photo_is_not_written_to():
    rgb = photo(50, 50)
    before = rgb.copy()
    rgb.setflags(write=False)
    for index in range(10):
        Augmenter(AugmentSettings(), 0, 50)(rgb, 32, 0, index)
    np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"scaled": 1.1},
        {"rotation": -1},
        {"jitter": 1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="must"):
        AugmentSettings(**bad)
