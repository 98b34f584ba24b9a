"""The lightness that a `Photo` gives and keeps, its working size and its strips."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st

import zcolor.render
from zcolor.lab import rgb_to_lab, rgb_to_lightness
from zcolor.photo import read_photo
from zcolor.working import resize_area, working_shape

PHOTOS = ["astronaut", "coffee", "chelsea"]


def photograph(name: str) -> np.ndarray:
    return getattr(skimage.data, name)()


def wild_ab(n: int = 1, size: tuple[int, int] = (9, 7)) -> torch.Tensor:
    """Strong colours in all directions, most of them out of gamut somewhere."""
    return torch.rand(n, 2, *size, generator=torch.Generator().manual_seed(3)) * 220 - 110


def lightness_of(pixels: np.ndarray) -> np.ndarray:
    """L of (h, w, 3 or 1) integers or floats, in float64."""
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    rgb = torch.from_numpy(pixels.astype(np.float64) / top).permute(2, 0, 1)[None]
    return rgb_to_lightness(rgb.expand(-1, 3, -1, -1))[0, 0].numpy()


@pytest.mark.parametrize("name", PHOTOS)
def test_lightness_survives_in_8_bits(name: str) -> None:
    pixels = photograph(name)
    result = read_photo(pixels).with_ab(wild_ab())
    assert isinstance(result, np.ndarray)
    change = np.abs(lightness_of(result) - lightness_of(pixels))
    # Rounding three channels to 8 bits costs up to 0.262 near RGB (0, 28, 20): tests/test_lab.py.
    assert change.max() < 0.262
    assert (change > 0.25).mean() < 1e-4
    # And the picture really has colour now: not the old one, and not none.
    chroma = np.hypot(*np.moveaxis(skimage.color.rgb2lab(result)[..., 1:], -1, 0))
    assert chroma.mean() > 10


@pytest.mark.parametrize(
    ("dtype", "bound"), [("uint16", 2e-3), ("float32", 1e-3), ("float64", 1e-3)]
)
def test_lightness_survives_in_finer_dtypes(dtype: str, bound: float) -> None:
    pixels = photograph("chelsea")
    fine = pixels.astype(np.uint16) * 257 if dtype == "uint16" else (pixels / 255).astype(dtype)
    result = read_photo(fine).with_ab(wild_ab())
    assert isinstance(result, np.ndarray)
    assert result.dtype == dtype
    assert np.abs(lightness_of(result) - lightness_of(fine)).max() < bound


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_no_ab_gives_the_same_grey_exactly(dtype: str) -> None:
    levels = np.iinfo(dtype).max + 1
    grey = np.arange(levels, dtype=dtype).reshape(16, -1)
    for image in (grey, np.repeat(grey[..., None], 3, axis=2)):
        result = read_photo(image).with_ab(torch.zeros(1, 2, 1, 1))
        assert isinstance(result, np.ndarray)
        assert np.array_equal(result, np.repeat(grey[..., None], 3, axis=2))


def test_its_own_ab_gives_a_colour_photo_back() -> None:
    pixels = photograph("coffee")[:200, :300]
    rgb = torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]
    result = read_photo(pixels).with_ab(rgb_to_lab(rgb)[:, 1:])
    assert isinstance(result, np.ndarray)
    assert np.abs(result.astype(int) - pixels).max() <= 1


def test_saturation_scales_ab() -> None:
    photo = read_photo(np.full((4, 4), 0.5))
    ab = torch.tensor([8.0, -6.0]).view(1, 2, 1, 1)
    half = photo.with_ab(ab, saturation=0.5)
    assert isinstance(half, np.ndarray)
    lab = rgb_to_lab(torch.from_numpy(half).permute(2, 0, 1)[None])[0, :, 0, 0]
    torch.testing.assert_close(lab[1:], torch.tensor([4.0, -3.0], dtype=torch.float64))
    assert np.array_equal(photo.with_ab(ab, saturation=0), photo.with_ab(ab * 0))


@pytest.mark.parametrize("strip_pixels", [1, 37, 1000, 4000])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("method", ["bilinear", "guided"])
def test_strips_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, strip_pixels: int, channels: int, method: str
) -> None:
    rng = np.random.default_rng(4)
    batch = rng.integers(0, 65536, (2, 61, 37, channels), dtype=np.uint16)
    whole = read_photo(batch).with_ab(wild_ab(2), upsample=method)
    monkeypatch.setattr(zcolor.render, "STRIP_PIXELS", strip_pixels)
    calls = []
    original = zcolor.render.lab_to_rgb
    monkeypatch.setattr(
        zcolor.render, "lab_to_rgb", lambda lab: calls.append(lab.shape) or original(lab)
    )
    striped = read_photo(batch).with_ab(wild_ab(2), upsample=method)
    # A vector unit may round the end of a strip in another way than its middle.
    assert np.abs(striped.astype(int) - whole).max() <= 1
    n_rows = max(1, strip_pixels // (2 * 37))
    assert len(calls) == math.ceil(61 / n_rows)


@pytest.mark.parametrize("shape", [(4000, 3), (3, 4000), (4000, 1), (1, 4000), (4001, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_long_thin_pictures(shape: tuple[int, int], dtype: str) -> None:
    ramp = np.linspace(0, 1, shape[0] * shape[1]).reshape(shape)
    pixels = (
        ramp.astype(dtype) if dtype == "float32" else (ramp * np.iinfo(dtype).max).astype(dtype)
    )
    photo = read_photo(pixels)
    lightness = photo.lightness(64, "cpu")
    assert max(lightness.shape) == 512
    assert min(lightness.shape[2:]) == 8
    result = photo.with_ab(wild_ab(1, (lightness.shape[2] // 4, lightness.shape[3] // 4)))
    assert isinstance(result, np.ndarray)
    assert result.shape == (*shape, 3)
    expected = lightness_of(np.repeat(pixels[..., None], 3, axis=2))
    assert np.abs(lightness_of(result) - expected).max() < 0.262


# --------------------------------------------------------------------------------- working size


@given(
    height=st.integers(1, 9000), width=st.integers(1, 9000), size=st.sampled_from([8, 64, 100, 256])
)
def test_working_shape(height: int, width: int, size: int) -> None:
    shape = working_shape(height, width, size)
    assert shape == working_shape(width, height, size)[::-1]
    for side, full in zip(shape, (height, width)):
        assert side % 8 == 0
        assert 8 <= side <= 8 * size
        assert side <= max(8, 2 * full)
    if min(shape) > 8:
        scales = [side / full for side, full in zip(shape, (height, width))]
        # Each side is off by 4 pixels of rounding at most, by 8 where the doubling is the limit.
        assert abs(scales[0] - scales[1]) <= 8 / height + 8 / width
        if size**2 <= height * width and max(shape) < 8 * size - 8:
            assert abs(shape[0] * shape[1] - size**2) <= 4 * sum(shape) + 16


@pytest.mark.parametrize(
    ("full", "size", "expected"),
    [
        ((256, 256), 256, (256, 256)),
        ((512, 512), 256, (256, 256)),
        ((100, 100), 256, (200, 200)),
        ((2000, 4000), 256, (184, 360)),
        ((1, 1), 256, (8, 8)),
        ((1, 4000), 256, (8, 2048)),
    ],
)
def test_working_shape_examples(
    full: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    assert working_shape(*full, size) == expected
    photo = read_photo(np.zeros(full, np.uint8))
    assert photo.working_shape(size) == expected
    assert photo.lightness(size, "cpu").shape == (1, 1, *expected)


def test_working_shape_refuses() -> None:
    with pytest.raises(ValueError, match="size must be at least 8 pixels, got 7"):
        working_shape(10, 10, 7)
    with pytest.raises(ValueError, match="height and width must be at least 1, got 0 and 10"):
        working_shape(0, 10, 64)


@pytest.mark.parametrize("name", PHOTOS)
def test_lightness_of_photographs(name: str) -> None:
    pixels = photograph(name)
    lightness = read_photo(pixels).lightness(128, "cpu")
    assert lightness.dtype == torch.float32
    height, width = lightness.shape[2:]
    small = resize_area(pixels, height, width)
    expected = skimage.color.rgb2lab(small)[..., 0]
    np.testing.assert_allclose(lightness[0, 0], expected, atol=0.02)
    assert 0 <= lightness.min() <= lightness.max() <= 100


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", "bool"])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_lightness_is_the_same_for_every_kind(channels: int | None, dtype: str) -> None:
    checker = np.indices((24, 24)).sum(axis=0) % 2 == 0
    picture = np.where(np.arange(24) < 12, checker, True)
    white = 1 if dtype.startswith("float") or dtype == "bool" else np.iinfo(dtype).max
    array = (picture * white).astype(dtype)
    if channels is not None:
        array = np.repeat(array[..., None], channels, axis=2)
    lightness = read_photo(array).lightness(12, "cpu")  # (1, 1, 16, 16), then bounded by area
    tensor = torch.from_numpy(array)
    if channels is not None:
        tensor = tensor.permute(2, 0, 1)
    assert torch.equal(read_photo(tensor).lightness(12, "cpu"), lightness)
    torch.testing.assert_close(lightness[..., -4:], torch.full_like(lightness[..., -4:], 100.0))
    # Half black, half white by area is half of the display range, L 53.4.
    assert abs(lightness[..., :6].mean().item() - 53.4) < 3


def test_shrinking_averages_areas_although_the_other_side_grows() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), 2000)[None, :, None]
    result = resize_area(stripes, 8, 40)
    assert result.shape == (8, 40, 1)
    assert set(result.ravel()) == {100}


def test_alpha_does_not_change_the_lightness() -> None:
    rng = np.random.default_rng(8)
    pixels = rng.integers(0, 256, (20, 20, 4), dtype=np.uint8)
    opaque = pixels[..., :3]
    assert torch.equal(
        read_photo(pixels).lightness(16, "cpu"), read_photo(opaque).lightness(16, "cpu")
    )
