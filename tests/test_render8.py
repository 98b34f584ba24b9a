"""8-bit pictures joined by OpenCV: the same as by torch, within a level."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st

from zcolor.lab import lab_to_rgb, rgb_to_lightness
from zcolor.lab8 import rgb8_to_lightness
from zcolor.render import join_ab, resized_lightness
from zcolor.render8 import join_8bit
from zcolor.upsample import guide_ab, upsample_ab

PHOTOS = ("astronaut", "coffee", "chelsea")


def believable_ab(n: int = 1, size: tuple[int, int] = (12, 16), spread: float = 40) -> torch.Tensor:
    """Colours as networks give them: some of them out of gamut where it is dark or bright."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(n, 2, *size, generator=generator) * spread


def by_torch(pixels: np.ndarray, ab: torch.Tensor, upsample: str) -> np.ndarray:
    """The plain path, put together from its parts in float64."""
    rgb = torch.from_numpy(pixels / 255.0).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    lightness, ab = rgb_to_lightness(rgb), ab.double()
    if upsample == "guided":
        small = resized_lightness(pixels, *ab.shape[2:], device="cpu", dtype=torch.float64)
        full = guide_ab(small, ab).upsample(lightness, pixels.shape[1])
    else:
        full = upsample_ab(ab, *pixels.shape[1:3])
    joined = lab_to_rgb(torch.cat((lightness, full), dim=1)).permute(0, 2, 3, 1)
    return (joined * 255).round().to(torch.uint8).numpy()


def by_opencv(pixels: np.ndarray, ab: torch.Tensor, upsample: str) -> np.ndarray:
    return join_ab(pixels, ab, upsample=upsample).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("upsample", ["guided", "bilinear"])
@pytest.mark.parametrize("name", PHOTOS)
def test_it_equals_the_plain_path_within_a_level(name, upsample):
    pixels = getattr(skimage.data, name)()[None]
    ab = believable_ab()
    got = by_opencv(pixels, ab, upsample).astype(int)
    difference = np.abs(got - by_torch(pixels, ab, upsample)).max(axis=3)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.025
    # Something was there to be different: colours, out of gamut too.
    assert np.ptp(got, axis=3).mean() > 20
    assert ((got == 0) | (got == 255)).any(axis=3).mean() > 0.02


def test_colours_far_outside_the_gamut_are_brought_back_the_same_way():
    grey = np.arange(256, dtype=np.uint8).repeat(40).reshape(1, 256, 40, 1)
    ab = believable_ab(size=(40, 40), spread=100)
    got = by_opencv(grey, ab, "bilinear")
    difference = np.abs(got.astype(int) - by_torch(grey, ab, "bilinear")).max(axis=3)
    assert difference.max() <= 3
    assert (difference > 1).mean() < 1e-2
    rgb = torch.from_numpy(got / 255.0).permute(0, 3, 1, 2)
    lightness = rgb_to_lightness(rgb)[0, 0].numpy()
    expected = rgb8_to_lightness(grey[0])
    assert np.abs(lightness - expected).max() < 0.262


@given(
    n=st.integers(1, 2),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    upsample=st.sampled_from(["guided", "bilinear"]),
    seed=st.integers(0, 1000),
)
def test_any_shape(n, height, width, channels, size, upsample, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)
    ab = believable_ab(n, size, spread=20)
    got = by_opencv(pixels, ab, upsample)
    assert got.shape == (n, height, width, 4 if channels in (2, 4) else 3)
    if channels in (2, 4):
        assert np.array_equal(got[..., 3], pixels[..., -1])
        pixels = pixels[..., :-1]
    expected = by_torch(pixels, ab, upsample)
    assert np.abs(got[..., :3].astype(int) - expected).max() <= 1


def test_strips_and_threads_change_nothing(monkeypatch):
    pixels, ab = skimage.data.coffee()[None], believable_ab()
    whole = by_opencv(pixels, ab, "guided")
    monkeypatch.setattr("zcolor.render8._STRIP_PIXELS", 7001)
    assert np.array_equal(by_opencv(pixels, ab, "guided"), whole)
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 5):
            torch.set_num_threads(n_threads)
            assert np.array_equal(by_opencv(pixels, ab, "guided"), whole)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_in_place_the_result_lies_where_the_picture_was(dtype, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 30, 20, channels)).astype(np.uint8)
    if dtype == np.uint16:
        pixels = pixels.astype(np.uint16) * 257
    elif dtype == np.float32:
        pixels = pixels.astype(np.float32) / 255
    ab = believable_ab()
    expected = join_ab(pixels, ab).permute(0, 2, 3, 1).numpy()
    mine = pixels.copy()
    got = join_ab(mine, ab, in_place=True).permute(0, 2, 3, 1).numpy()
    assert np.shares_memory(got, mine)
    assert np.array_equal(got, expected)


def test_where_there_is_no_room_the_picture_is_left_alone():
    ab = believable_ab()
    grey = np.full((1, 8, 8, 1), 90, np.uint8)
    locked = np.full((1, 8, 8, 3), 90, np.uint8)
    locked.flags.writeable = False
    for pixels in (grey, locked):
        joined = join_ab(pixels, ab, in_place=True)
        assert not np.shares_memory(joined.numpy(), pixels)
        assert (pixels == 90).all()


def test_an_error_in_a_thread_is_not_lost(monkeypatch):
    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("zcolor.render8._STRIP_PIXELS", 64)
    monkeypatch.setattr("zcolor.render8.rgb8_to_lightness", broken)
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(MemoryError, match="no room"):
        join_8bit(pixels, torch.zeros(1, 2, 1, 1), np.empty_like(pixels))
