"""Coarse colours from one working size, fine ones from another."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from zcolor import Colorizer
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo
from zcolor.registry import save_model
from zcolor.settings import ColorizeSettings
from zcolor.two_scales import with_coarse_colors


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 20


def bilinear(picture, height, width):
    """Bilinear interpolation between the middles of pixels, written anew."""
    rows = np.clip((np.arange(height) + 0.5) * picture.shape[0] / height - 0.5, 0, None)
    columns = np.clip((np.arange(width) + 0.5) * picture.shape[1] / width - 0.5, 0, None)
    top, left = rows.astype(int), columns.astype(int)
    low = np.minimum(top + 1, picture.shape[0] - 1)
    right = np.minimum(left + 1, picture.shape[1] - 1)
    down, across = (rows - top)[:, None], (columns - left)[None]
    upper = picture[top][:, left] * (1 - across) + picture[top][:, right] * across
    lower = picture[low][:, left] * (1 - across) + picture[low][:, right] * across
    return upper * (1 - down) + lower * down


def test_against_numpy():
    fine, coarse = noise(2, 2, 16, 24), noise(2, 2, 4, 6, seed=1)
    result = with_coarse_colors(fine, coarse).numpy()
    for n in range(2):
        for c in range(2):
            mean = fine[n, c].numpy().reshape(4, 4, 6, 4).mean(axis=(1, 3))
            expected = fine[n, c].numpy() + bilinear(coarse[n, c].numpy() - mean, 16, 24)
            np.testing.assert_allclose(result[n, c], expected, atol=1e-4)


def test_what_fine_lacks_comes_from_coarse_alone():
    coarse = noise(1, 2, 4, 4)
    flat = torch.full((1, 2, 16, 16), 7.0)
    expected = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    assert torch.allclose(with_coarse_colors(flat, coarse), expected, atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_the_same_size_gives_coarse(height, width, more_rows, more_columns):
    fine = noise(1, 2, height, width)
    coarse = noise(1, 2, height, width, seed=1)
    assert torch.allclose(with_coarse_colors(fine, coarse), coarse, atol=1e-4)
    larger = noise(1, 2, height + more_rows, width + more_columns)
    assert with_coarse_colors(larger, coarse).shape == larger.shape


def test_one_color_a_photo_is_kept():
    one = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    assert torch.equal(with_coarse_colors(one + 5, one), one)


@pytest.mark.parametrize("shape", [(1, 2, 17, 4), (1, 2, 4, 17), (2, 2, 4, 4)])
def test_what_does_not_belong_together_is_refused(shape):
    with pytest.raises(ValueError, match=r"same photos and not smaller than coarse, got \(1, 2"):
        with_coarse_colors(noise(1, 2, 16, 16), noise(*shape))


# ---- in the hall -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    net = Zhang(width=1 / 32, working_size=32)
    with torch.no_grad():
        net.classifier.weight *= 300  # so that colours differ from place to place
    save_model(path, net, {})
    return Colorizer(path)


def at(colorizer, photo, size):
    """What the network itself says at one size."""
    net = colorizer.net
    decode = ColorizeSettings().decode_settings(net.presets)
    with torch.inference_mode():
        return net.predict_ab(photo.lightness(size, "cpu"), decode)


def distance(one, other):
    return float((one - other).abs().mean())


def test_a_larger_size_takes_coarse_colors_from_the_models_own(colorizer):
    photo = read_photo(data.astronaut()[:128, :96])
    expected = with_coarse_colors(at(colorizer, photo, 64), at(colorizer, photo, 32))
    found = colorizer.predict_ab(photo, ColorizeSettings(size=64))
    # The hall computes in bfloat16 where the CPU does.
    assert distance(found, expected) < 0.2 * distance(found, at(colorizer, photo, 64))


@pytest.mark.parametrize("size", [16, 32])
def test_other_sizes_are_what_the_network_says(colorizer, size):
    photo = read_photo(data.astronaut()[:128, :96])
    found = colorizer.predict_ab(photo, ColorizeSettings(size=size))
    assert distance(found, at(colorizer, photo, size)) < 0.5


def test_a_batch_gives_each_photo_what_it_gets_alone(colorizer):
    # The second is too small to be seen larger, the third is seen at another shape.
    pictures = [data.astronaut()[:128, :96], data.astronaut()[:12, :12], data.coffee()[:64, :128]]
    settings = ColorizeSettings(size=64)
    together = colorizer.batch(pictures, settings)
    for picture, result in zip(pictures, together, strict=True):
        alone = colorizer.batch([picture], settings)[0]
        assert np.abs(alone.astype(int) - result.astype(int)).max() <= 1
