"""Chroma of BT.601: against PIL, scikit-image and a scalar search; there and back."""

import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from PIL import Image
from scipy.optimize import brentq

from zcolor.lab import rgb_to_lab, rgb_to_lightness
from zcolor.ycbcr import ab_to_chroma, chroma_to_ab, chroma_to_rgb, rgb_to_chroma, rgb_to_luma


def pixels(*values):
    """(1, c, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def unit(rgb):
    return torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1).unsqueeze(0)


def all_colours(n=17):
    """(1, 3, n * n, n): a lattice over sRGB."""
    axis = torch.linspace(0, 1, n)
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    return lattice.reshape(1, 3, n * n, n)


# ---- colours to chroma -----------------------------------------------------------------------


def test_scaled_to_8_bits_it_is_the_ycbcr_of_jpeg():
    rgb = skimage.data.astronaut()[::8, ::8]
    theirs = np.asarray(Image.fromarray(rgb).convert("YCbCr"), dtype=float)
    ours = torch.cat((rgb_to_luma(unit(rgb)) * 255, rgb_to_chroma(unit(rgb)) * 127.5 + 128), dim=1)
    # PIL rounds down what is between two levels.
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() < 1.2


def test_scaled_otherwise_it_is_u_and_v():
    rgb = skimage.data.astronaut()[::8, ::8]
    theirs = skimage.color.rgb2yuv(rgb)[..., 1:]
    ours = rgb_to_chroma(unit(rgb))[0].permute(1, 2, 0).numpy() * (0.436, 0.615)
    assert np.abs(ours - theirs).max() < 1e-3


def test_chroma_fills_minus_one_to_one():
    chroma = rgb_to_chroma(all_colours())
    assert chroma.amin((0, 2, 3)).tolist() == pytest.approx([-1, -1])
    assert chroma.amax((0, 2, 3)).tolist() == pytest.approx([1, 1])


def test_greys_have_none():
    assert rgb_to_chroma(torch.full((1, 3, 1, 1), 0.3)).abs().max() < 1e-6


def test_luma_and_chroma_make_the_colour_again():
    rgb = all_colours()
    assert torch.allclose(chroma_to_rgb(rgb_to_luma(rgb), rgb_to_chroma(rgb)), rgb, atol=1e-6)


# ---- chroma and lightness to ab --------------------------------------------------------------


def test_ab_comes_back_for_every_colour():
    lab = rgb_to_lab(all_colours())
    back = chroma_to_ab(ab_to_chroma(lab[:, 1:], lab[:, :1]), lab[:, :1])
    assert (back - lab[:, 1:]).norm(dim=1).max() < 0.02


def test_any_chroma_at_any_lightness_has_an_ab_that_holds_it():
    dice = torch.Generator().manual_seed(3)
    lightness = torch.rand(1, 1, 64, 64, generator=dice) * 100
    chroma = torch.rand(1, 2, 64, 64, generator=dice) * 2 - 1
    ab = chroma_to_ab(chroma, lightness)
    assert ab.isfinite().all()
    # Far outside the gamut float32 leaves fewer digits.
    assert (ab_to_chroma(ab, lightness) - chroma).abs().max() < 2e-3


@pytest.mark.parametrize(
    ("lightness", "cb", "cr"), [(32.3, 0.9, -0.1), (60, -0.3, 0.4), (90, 0.05, -0.2), (5, 0.1, 0.1)]
)
def test_luma_is_the_one_that_gives_the_lightness(lightness, cb, cr):
    """A scalar search in float64, with scikit-image's Lab."""
    red, blue = 0.701 * cr, 0.886 * cb
    green = -(0.299 * red + 0.114 * blue) / 0.587

    def lightness_off(luma):
        rgb = luma + torch.tensor([red, green, blue], dtype=torch.float64).view(1, 3, 1, 1)
        return rgb_to_lightness(rgb).item() - lightness

    luma = brentq(lightness_off, -1, 2)
    rgb = luma + np.array([red, green, blue])
    ab = chroma_to_ab(pixels(cb, cr), pixels(lightness)).flatten().tolist()
    assert min(rgb) > -0.2, "scikit-image clips what is far outside"
    if min(rgb) >= 0 and max(rgb) <= 1:
        assert ab == pytest.approx(skimage.color.rgb2lab(rgb)[1:], abs=0.05)
    exact = rgb_to_lab(torch.from_numpy(rgb).view(1, 3, 1, 1))[0, 1:, 0, 0]
    assert ab == pytest.approx(exact.tolist(), abs=0.02)


def test_the_luma_of_the_grey_picture_is_another():
    """Why the search: blue, whose grey is much brighter than its luma."""
    blue = pixels(0.0, 0.0, 1.0)
    lab = rgb_to_lab(blue)
    grey = float(skimage.color.lab2rgb([lab[0, 0, 0, 0].item(), 0, 0])[0])
    assert grey - rgb_to_luma(blue).item() == pytest.approx(0.186, abs=0.01)
    wrong = rgb_to_lab(chroma_to_rgb(torch.full((1, 1, 1, 1), grey), rgb_to_chroma(blue)))
    assert (wrong - lab).abs().max() > 5


def test_chroma_without_a_colour_is_limited():
    lightness = pixels(50.0)
    assert torch.equal(
        chroma_to_ab(pixels(9.0, -9.0), lightness), chroma_to_ab(pixels(1.0, -1.0), lightness)
    )


def test_no_chroma_is_neutral_at_every_lightness():
    lightness = torch.linspace(0, 100, 101).view(1, 1, 1, -1)
    assert chroma_to_ab(torch.zeros(1, 2, 1, 101), lightness).abs().max() < 1e-3


def test_half_precision_is_refused():
    with pytest.raises(ValueError, match="float32"):
        chroma_to_ab(pixels(0.1, 0.1).half(), pixels(50.0).half())
