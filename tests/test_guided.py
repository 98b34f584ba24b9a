"""Guided upsampling against a plain implementation, at edges, and through the whole join."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.transform
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zcolor.render
from zcolor.lab import rgb_to_lab, rgb_to_lightness
from zcolor.photo import read_photo
from zcolor.render import join_ab, resized_lightness
from zcolor.settings import UPSAMPLE_METHODS, ColorizeSettings, check_upsample
from zcolor.upsample import GUIDE_EPS, GUIDE_RADIUS, guide_ab, upsample_ab


def random_planes(*shape: int, low: float, high: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low


def lightness_and_ab(n: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        random_planes(n, 1, height, width, low=0, high=100),
        random_planes(n, 2, height, width, low=-80, high=80, seed=1),
    )


# --------------------------------------------------------------------------- against the paper


def bilinear(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Half-pixel centres, the border continued: scikit-image's own."""
    return skimage.transform.resize(plane, shape, order=1, mode="edge", anti_aliasing=False)


def window(i: int, j: int, radius: int, shape: tuple[int, int]) -> tuple[slice, slice]:
    return (
        slice(max(0, i - radius), min(shape[0], i + radius + 1)),
        slice(max(0, j - radius), min(shape[1], j + radius + 1)),
    )


def slopes_by_loop(guide: np.ndarray, values: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """He, Sun and Tang 2013, eq. 5, and the mean over the windows of eq. 8, pixel by pixel."""
    slopes = np.zeros_like(guide)
    for i, j in np.ndindex(guide.shape):
        here = window(i, j, radius, guide.shape)
        x, y = guide[here].ravel(), values[here].ravel()
        # Ridge regression: the slope that minimises sum((slope x + offset - y)^2 + eps slope^2).
        design = np.column_stack((x, np.ones_like(x)))
        penalty = np.diag((eps * x.size, 0.0))
        slopes[i, j] = np.linalg.solve(design.T @ design + penalty, design.T @ y)[0]
    mean = np.zeros_like(slopes)
    for i, j in np.ndindex(guide.shape):
        mean[i, j] = slopes[window(i, j, radius, guide.shape)].mean()
    return mean


def guided_by_loop(
    small: np.ndarray, values: np.ndarray, full: np.ndarray, radius: int, eps: float
) -> np.ndarray:
    slope = bilinear(slopes_by_loop(small, values, radius, eps), full.shape)
    result = bilinear(values, full.shape) + slope * (full - bilinear(small, full.shape))
    low, high = np.zeros_like(values), np.zeros_like(values)
    for i, j in np.ndindex(values.shape):
        around = values[window(i, j, 1, values.shape)]
        low[i, j], high[i, j] = around.min(), around.max()
    return np.clip(result, bilinear(low, full.shape), bilinear(high, full.shape))


@pytest.mark.parametrize(("radius", "eps"), [(GUIDE_RADIUS, GUIDE_EPS), (2, 1.0), (3, 1e4)])
@pytest.mark.parametrize("shape", [(9, 7), (2, 5), (1, 6)])
def test_equals_the_paper_written_out(shape: tuple[int, int], radius: int, eps: float) -> None:
    small, ab = lightness_and_ab(2, *shape)
    full = random_planes(2, 1, 4 * shape[0] + 1, 4 * shape[1] - 1, low=0, high=100, seed=2)
    result = guide_ab(small, ab, radius=radius, eps=eps).upsample(full, full.shape[2])
    for k, channel in np.ndindex(2, 2):
        expected = guided_by_loop(
            small[k, 0].numpy(), ab[k, channel].numpy(), full[k, 0].numpy(), radius, eps
        )
        np.testing.assert_allclose(result[k, channel].numpy(), expected, rtol=0, atol=1e-9)


def test_float32_is_precise() -> None:
    # Nearly constant and bright: where a variance taken from raw squares would be rounding.
    small = 99 + random_planes(1, 1, 20, 20, low=0, high=0.5)
    ab = random_planes(1, 2, 20, 20, low=-80, high=80)
    exact = guide_ab(small, ab, eps=1e-2).planes
    single = guide_ab(small.float(), ab.float(), eps=1e-2).planes
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-2)


# ------------------------------------------------------------------------------------ at edges


def step_photo(
    low: float, high: float, size: int = 96, edge: int = 45
) -> tuple[torch.Tensor, torch.Tensor]:
    """L and ab of a step that lies across the low-resolution pixels, and no noise."""
    right = (torch.arange(size) >= edge).double().expand(1, 1, size, size)
    lightness = low + (high - low) * right
    ab = torch.tensor([40.0, -25.0], dtype=torch.float64).view(1, 2, 1, 1)
    return lightness, ab * right - 10


@pytest.mark.parametrize(("low", "high"), [(30.0, 75.0), (80.0, 20.0), (0.0, 100.0)])
def test_colour_stops_at_an_edge_without_a_halo(low: float, high: float) -> None:
    lightness, truth = step_photo(low, high)
    shrink = torch.nn.AvgPool2d(8)
    small = shrink(truth)
    guided = guide_ab(shrink(lightness), small).upsample(lightness, 96)
    plain = upsample_ab(small, 96, 96)
    for channel in (0, 1):  # nothing beyond the two colours
        assert guided[:, channel].min() >= truth[:, channel].min() - 1e-9
        assert guided[:, channel].max() <= truth[:, channel].max() + 1e-9
    error, plain_error = (guided - truth).abs(), (plain - truth).abs()
    assert error.max() < 0.65 * plain_error.max()
    assert error.mean() < 0.65 * plain_error.mean()
    # And away from the edge nothing happens.
    torch.testing.assert_close(guided[..., :24], truth[..., :24])
    torch.testing.assert_close(guided[..., -24:], truth[..., -24:])


def test_texture_does_not_print_through() -> None:
    # L that has nothing to do with ab: no colour noise where the colour is one.
    texture = random_planes(1, 1, 64, 64, low=0, high=100)
    small = torch.nn.AvgPool2d(8)(texture)
    one = torch.tensor([30.0, -20.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    result = guide_ab(small, one).upsample(texture, 64)
    torch.testing.assert_close(result, upsample_ab(one, 64, 64), rtol=0, atol=1e-9)


def test_smooth_lightness_gives_bilinear_ab() -> None:
    _, ab = lightness_and_ab(2, 7, 9)
    flat = torch.full((2, 1, 7, 9), 37.0, dtype=torch.float64)
    result = guide_ab(flat, ab).upsample(torch.full((2, 1, 50, 61), 37.0).double(), 50)
    torch.testing.assert_close(result, upsample_ab(ab, 50, 61), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_photographs_get_better(name: str) -> None:
    rgb = getattr(skimage.data, name)()[:400, :400]
    lab = torch.from_numpy(skimage.color.rgb2lab(rgb)).permute(2, 0, 1)[None]
    lightness, truth = lab[:, :1], lab[:, 1:]
    shrink = torch.nn.AvgPool2d(8)
    guided = guide_ab(shrink(lightness), shrink(truth)).upsample(lightness, 400)
    plain = upsample_ab(shrink(truth), 400, 400)
    assert (guided - truth).square().mean() < 0.95 * (plain - truth).square().mean()


# --------------------------------------------------------------------------------- properties


@settings(max_examples=60)
@given(
    source=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 70), st.integers(1, 40)),
    n_rows=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_bands_equal_the_whole_and_stay_in_range(
    source: tuple[int, int], target: tuple[int, int], n_rows: int, dtype: torch.dtype
) -> None:
    small, ab = (planes.to(dtype) for planes in lightness_and_ab(1, *source))
    full = random_planes(1, 1, *target, low=0, high=100, seed=3).to(dtype)
    guided = guide_ab(small, ab)
    whole = guided.upsample(full, target[0])
    assert whole.dtype == dtype
    assert whole.shape == (1, 2, *target)
    bands = [
        guided.upsample(full[:, :, start : start + n_rows], target[0], rows=(start, stop))
        for start in range(0, target[0], n_rows)
        for stop in [min(start + n_rows, target[0])]
    ]
    assert torch.equal(torch.cat(bands, dim=2), whole)
    for channel in (0, 1):
        assert whole[:, channel].min() >= ab[:, channel].min() - 1e-4
        assert whole[:, channel].max() <= ab[:, channel].max() + 1e-4


def test_batch_equals_single_pictures_and_leaves_its_input_alone() -> None:
    small, ab = lightness_and_ab(3, 6, 5)
    full = random_planes(3, 1, 31, 23, low=0, high=100)
    before = [planes.clone() for planes in (small, ab, full)]
    together = guide_ab(small, ab).upsample(full, 31)
    for i in range(3):
        alone = guide_ab(small[i : i + 1], ab[i : i + 1]).upsample(full[i : i + 1], 31)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-10)
    for old, new in zip(before, (small, ab, full)):
        assert torch.equal(old, new)


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("lightness", "ab", "message"),
    [
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4), "ab must be a floating tensor"),
        (torch.zeros(1, 1, 4, 5), torch.zeros(1, 2, 4, 4), r"the size of ab, got .*\(1, 1, 4, 5\)"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(1, 2, 4, 4), r"lightness must be .*\(1, 1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4).double(), torch.zeros(1, 2, 4, 4), "torch.float32 .*float64"),
        (torch.zeros(1, 1, 4, 4).half(), torch.zeros(1, 2, 4, 4).half(), "needs float32 or float6"),
    ],
)
def test_refuses_other_shapes_and_dtypes(
    lightness: torch.Tensor, ab: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        guide_ab(lightness, ab)


@pytest.mark.parametrize(
    ("radius", "eps"), [(0, 1.0), (1, 0.0), (1, -1.0), (1, float("nan")), (-2, 4.0)]
)
def test_refuses_senseless_windows(radius: int, eps: float) -> None:
    with pytest.raises(ValueError, match="radius must be at least 1 and eps above 0"):
        guide_ab(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), radius=radius, eps=eps)


def test_refuses_lightness_of_other_rows() -> None:
    guided = guide_ab(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"\(1, 1, 3, 8\) for these rows, got .*\(1, 1, 8, 8\)"):
        guided.upsample(torch.zeros(1, 1, 8, 8), 8, rows=(2, 5))
    with pytest.raises(ValueError, match="rows must satisfy"):
        guided.upsample(torch.zeros(1, 1, 8, 8), 8, rows=(2, 10))
    with pytest.raises(ValueError, match=r"float32 .* got torch\.float64"):
        guided.upsample(torch.zeros(1, 1, 8, 8).double(), 8)


def test_is_one_of_the_named_methods() -> None:
    assert "guided" in UPSAMPLE_METHODS
    check_upsample("guided")
    assert ColorizeSettings(upsample="guided").upsample == "guided"


# --------------------------------------------------------------------------- through the photo


def wild_ab(n: int, height: int = 6, width: int = 5) -> torch.Tensor:
    return random_planes(n, 2, height, width, low=-110, high=110, seed=4).float()


def pixels_of(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = np.random.default_rng(5).random(shape)
    return (
        values.astype(dtype)
        if dtype.startswith("float")
        else (values * np.iinfo(dtype).max).round().astype(dtype)
    )


# Powers round differently at the end of a vector, and the search for the largest chroma in the
# gamut is right to 1/4096: what that leaves in the levels of finer dtypes.
FINE_ROUNDING = {"uint8": 0, "uint16": 16, "float16": 1e-3, "float32": 3e-4, "float64": 3e-4}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (300, 1), (31, 17, 1), (31, 17, 3), (31, 17, 4), (2, 13, 11, 3)]
)
def test_every_kind_of_picture(shape: tuple[int, ...], dtype: str) -> None:
    pixels = pixels_of(shape, dtype)
    photo = read_photo(pixels)
    ab = wild_ab(photo.n)
    result = photo.with_ab(ab, upsample="guided")
    assert isinstance(result, np.ndarray)
    assert result.dtype == pixels.dtype
    n_channels = 4 if shape[-1] == 4 else 3
    assert read_photo(result).pixels.shape == (photo.n, photo.height, photo.width, n_channels)
    if n_channels == 4:
        assert np.array_equal(result[..., 3], pixels[..., 3])
    # The torch way gives the same.
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(photo.pixels), -1, 1)))
    from_torch = read_photo(planes).with_ab(ab, upsample="guided")
    assert isinstance(from_torch, torch.Tensor)
    expected = np.moveaxis(from_torch.numpy(), 1, -1)
    np.testing.assert_allclose(
        (expected if photo.batched else expected[0]).astype(float),
        result.astype(float),
        rtol=0,
        atol=FINE_ROUNDING[dtype],
    )


@pytest.mark.parametrize(("dtype", "bound"), [("uint8", 0.25), ("uint16", 2e-3), ("float64", 1e-3)])
def test_lightness_survives(dtype: str, bound: float) -> None:
    pixels = pixels_of((61, 83, 3), dtype)
    result = read_photo(pixels).with_ab(wild_ab(1), upsample="guided")
    top = 1 if dtype == "float64" else np.iinfo(dtype).max
    before, after = (
        rgb_to_lightness(torch.from_numpy(p.astype(np.float64) / top).permute(2, 0, 1)[None])
        for p in (pixels, np.asarray(result))
    )
    assert (before - after).abs().max() <= bound


@pytest.mark.parametrize("size", [(1, 1), (6, 5), (40, 50)])
def test_constant_photo_or_single_colour_equals_bilinear(size: tuple[int, int]) -> None:
    ab = wild_ab(2, *size)
    flat = read_photo(np.full((2, 37, 29, 3), 140, np.uint8))
    results = [flat.with_ab(ab, upsample=way) for way in ("guided", "bilinear")]
    assert np.array_equal(*results)
    noise = read_photo(pixels_of((2, 37, 29, 3), "uint8"))
    one = ab[:, :, :1, :1]
    results = [noise.with_ab(one, upsample=way) for way in ("guided", "bilinear")]
    assert np.array_equal(*results)


@pytest.mark.parametrize("strip_pixels", [1, 100, 1000])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint8"), (4, "uint8"), (3, "uint16"), (3, "float32")]
)
def test_strips_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, strip_pixels: int, channels: int, dtype: str
) -> None:
    photo = read_photo(pixels_of((2, 31, 17, channels), dtype))
    whole = photo.with_ab(wild_ab(2), upsample="guided")
    monkeypatch.setattr(zcolor.render, "STRIP_PIXELS", strip_pixels)
    strips = photo.with_ab(wild_ab(2), upsample="guided")
    difference = np.abs(np.asarray(strips, dtype=float) - np.asarray(whole, dtype=float))
    assert difference.max() <= FINE_ROUNDING[dtype]


def test_join_is_the_guided_colour_at_the_photos_lightness() -> None:
    pixels = skimage.data.coffee()[None, ::2, ::2]
    ab = wild_ab(1, 25, 37) / 8  # within the gamut nearly everywhere
    result = join_ab(pixels, ab, upsample="guided", saturation=0.5, dtype=torch.float32)
    lightness = resized_lightness(pixels, *pixels.shape[1:3], device="cpu")
    small = resized_lightness(pixels, 25, 37, device="cpu")
    expected = guide_ab(small, ab / 2).upsample(lightness, pixels.shape[1])
    error = (rgb_to_lab(result)[:, 1:] - expected).norm(dim=1)
    assert error.median() < 0.01
    assert (error > 0.1).double().mean() < 0.15  # those that sRGB cannot show
    plain = join_ab(pixels, ab, upsample="bilinear", saturation=0.5, dtype=torch.float32)
    assert not torch.equal(plain, result)
