"""Test-time averaging: against a plain loop, and what it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zcolor.averaging import averaged_ab
from zcolor.models.zhang import Zhang
from zcolor.settings import DecodeSettings


def local(lightness: torch.Tensor) -> torch.Tensor:
    """A 'network' that sees each 4x4 block alone: no view can disagree with another."""
    small = torch.nn.functional.avg_pool2d(lightness, 4)
    return torch.cat((small, -small), dim=1)


def border_shy(lightness: torch.Tensor) -> torch.Tensor:
    """One whose answer depends on where the view begins."""
    ab = local(lightness)
    columns = torch.arange(ab.shape[-1], dtype=ab.dtype)
    return ab + columns


@pytest.mark.parametrize("average", ["none", "flip", "crops"])
@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), n=st.integers(1, 2))
def test_views_that_agree_give_what_one_view_gives(average, height, width, n):
    lightness = torch.rand(n, 1, 8 * height, 8 * width) * 100
    expected = local(lightness)
    torch.testing.assert_close(averaged_ab(local, lightness, average), expected)


def test_flip_is_the_mean_of_the_photo_and_its_mirror_image():
    lightness = torch.rand(2, 1, 16, 24)
    mirrored = border_shy(lightness.flip(-1)).flip(-1)
    expected = (border_shy(lightness) + mirrored) / 2
    torch.testing.assert_close(averaged_ab(border_shy, lightness, "flip"), expected)


def test_crops_are_the_mean_of_ten_views_as_a_plain_loop_finds_it():
    lightness = torch.rand(1, 1, 64, 128)
    seen: list[list[np.ndarray]] = [[[] for _ in range(32)] for _ in range(16)]
    calls = []

    def predict(view):
        calls.append(view.shape[-2:])
        return border_shy(view)

    got = averaged_ab(predict, lightness, "crops")
    for top, left in ((0, 0), (0, 16), (8, 0), (8, 16), (0, 8)):
        view = lightness[:, :, top : top + 56, left : left + 112]
        for ab in (border_shy(view), border_shy(view.flip(-1)).flip(-1)):
            for y in range(14):
                for x in range(28):
                    seen[top // 4 + y][left // 4 + x].append(ab[0, :, y, x].numpy())
    assert calls == [(56, 112)] * 10
    expected = np.array([[np.mean(views, axis=0) for views in row] for row in seen])
    np.testing.assert_allclose(got[0].permute(1, 2, 0), expected, rtol=1e-5)


@pytest.mark.parametrize("average", ["flip", "crops"])
def test_one_colour_for_the_photo_stays_one(average):
    def predict(view):
        return view.mean(dim=(2, 3), keepdim=True).expand(-1, 2, -1, -1)

    lightness = torch.full((3, 1, 32, 40), 20.0)
    ab = averaged_ab(predict, lightness, average)
    assert ab.shape == (3, 2, 1, 1)
    torch.testing.assert_close(ab, torch.full((3, 2, 1, 1), 20.0))


@pytest.mark.parametrize("average", ["none", "flip", "crops"])
def test_a_network_gives_its_own_shape_and_mirror_images_alike(average):
    net = Zhang(width=1 / 16).eval()
    lightness = torch.rand(1, 1, 24, 40) * 100

    def predict(view):
        return net.predict_ab(view, DecodeSettings(temperature=1.0))

    with torch.inference_mode():
        ab = averaged_ab(predict, lightness, average)
        mirrored = averaged_ab(predict, lightness.flip(-1), average).flip(-1)
        assert ab.shape == predict(lightness).shape
        if average != "none":
            torch.testing.assert_close(mirrored, ab, rtol=1e-4, atol=1e-4)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="unknown average 'twice'; choose one of 'none', 'flip'"):
        averaged_ab(local, torch.zeros(1, 1, 8, 8), "twice")
    with pytest.raises(ValueError, match="multiples of 8"):
        averaged_ab(local, torch.zeros(1, 1, 12, 16), "crops")


@pytest.mark.parametrize("size", [(64, 64), (40, 72)])
def test_answers_of_a_fixed_size_are_put_where_their_crop_is(size):
    # The lightness is a ramp, and each view answers with a 5 x 5 picture of it, whatever its size:
    # so the average over the crops must be the ramp, but for what is lost at the borders.
    height, width = size
    ramp = (torch.arange(width) + 0.5).expand(1, 1, height, width)

    def fixed(view):
        return torch.nn.functional.interpolate(view, (5, 5), mode="area").expand(-1, 2, -1, -1)

    ab = averaged_ab(fixed, ramp, "crops")
    assert ab.shape == (1, 2, height, width)
    margin = width // 5
    inner = ab[..., margin:-margin]
    torch.testing.assert_close(inner, ramp[..., margin:-margin].expand_as(inner), atol=1, rtol=0)
