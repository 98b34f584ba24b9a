"""Lab of 8-bit pictures by OpenCV: the same as by torch in float64, and as by scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from zcolor.lab import rgb_to_lab
from zcolor.lab8 import rgb8_to_lab, rgb8_to_lightness


def by_torch(pixels: np.ndarray) -> np.ndarray:
    rgb = torch.from_numpy(pixels / 255.0).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)
    return rgb_to_lab(rgb)[0].permute(1, 2, 0).numpy()


def pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "levels": np.arange(256, dtype=np.uint8).reshape(16, 16, 1),
        "colours": rng.integers(0, 256, (300, 200, 3)).astype(np.uint8),
        "dark": rng.integers(0, 30, (100, 100, 3)).astype(np.uint8),
        "corners": np.stack(np.meshgrid(*[[0, 255]] * 3), -1).reshape(2, 4, 3).astype(np.uint8),
    }


@pytest.mark.parametrize("name", pictures())
def test_it_equals_the_plain_path(name):
    pixels = pictures()[name]
    expected = by_torch(pixels)
    lightness = rgb8_to_lightness(pixels)
    assert lightness.dtype == np.float32
    np.testing.assert_allclose(lightness, expected[..., 0], atol=2e-4)
    if pixels.shape[2] == 3:
        lab = rgb8_to_lab(pixels)
        assert lab.dtype == np.float32
        np.testing.assert_allclose(lab, expected, atol=2e-4)
        np.testing.assert_allclose(lab, rgb2lab(pixels), atol=5e-3)  # its white is rounded


def test_greys_have_no_colour():
    greys = np.repeat(pictures()["levels"], 3, axis=2)
    assert np.abs(rgb8_to_lab(greys)[..., 1:]).max() < 1e-4


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
def test_any_shape(height, width, channels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    expected = by_torch(pixels)
    np.testing.assert_allclose(rgb8_to_lightness(pixels), expected[..., 0], atol=2e-4)
    if channels == 3:
        np.testing.assert_allclose(rgb8_to_lab(pixels), expected, atol=2e-4)
