"""Lab against scikit-image and a float64 NumPy reference; gradients; the gamut."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab

from zcolor.lab import (
    LAB_DELTA,
    SRGB_KNEE,
    SRGB_SLOPE,
    lab_to_rgb,
    linear_to_srgb,
    map_to_gamut,
    rgb_to_lab,
    rgb_to_lightness,
    srgb_to_linear,
)

# ---- an independent reference, written from the standards ------------------------------------

MATRIX = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
WHITE = MATRIX.sum(axis=1)


def numpy_rgb_to_lab(rgb):
    """(m, 3) float64 sRGB -> (m, 3) Lab, CIE 15 in its kappa / epsilon form."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    relative = linear @ MATRIX.T / WHITE
    kappa, epsilon = 24389 / 27, 216 / 24389
    f = np.where(relative > epsilon, np.cbrt(relative), (kappa * relative + 16) / 116)
    lightness = 116 * f[:, 1] - 16
    return np.stack((lightness, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), axis=1)


def numpy_lab_to_rgb(lab):
    """(m, 3) Lab -> (m, 3) float64 sRGB, not clipped."""
    fy = (lab[:, 0] + 16) / 116
    f = np.stack((fy + lab[:, 1] / 500, fy, fy - lab[:, 2] / 200), axis=1)
    kappa, epsilon = 24389 / 27, 216 / 24389
    relative = np.where(f**3 > epsilon, f**3, (116 * f - 16) / kappa)
    linear = np.linalg.solve(MATRIX, (relative * WHITE).T).T
    curve = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(linear > 0.04045 / 12.92, curve, 12.92 * linear)


def grid_rgb():
    """All colours of a 17^3 grid over the RGB cube, (4913, 3) float64."""
    axis = np.linspace(0, 1, 17)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def picture(rows, dtype=torch.float64):
    """(m, 3) rows -> (1, 3, m, 1)."""
    return torch.as_tensor(np.asarray(rows), dtype=dtype).t()[None, :, :, None].contiguous()


def rows(tensor):
    """(1, c, m, 1) -> (m, c) NumPy."""
    return tensor[0, :, :, 0].t().numpy()


def wild_lab(dtype=torch.float32, n=40_000, reach=130.0):
    """Random Lab, most of it outside the gamut."""
    generator = torch.Generator().manual_seed(3)
    lab = torch.rand(1, 3, n, 1, dtype=torch.float64, generator=generator)
    lab[:, :1] *= 100
    lab[:, 1:] = (lab[:, 1:] - 0.5) * 2 * reach
    return lab.to(dtype)


# ---- references ------------------------------------------------------------------------------


# float32 carries 24 bits; 500 * (fx - fy) turns their rounding into about 5e-5 of a and b.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
def test_rgb_to_lab_equals_references(dtype, bound):
    rgb = grid_rgb()
    lab = rows(rgb_to_lab(picture(rgb, dtype)))
    assert np.abs(lab - rgb2lab(rgb[None])[0]).max() < 1e-2
    assert np.abs(lab - numpy_rgb_to_lab(rgb)).max() < bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-7), (torch.float32, 2e-5)])
def test_lab_to_rgb_equals_references(dtype, bound):
    lab = numpy_rgb_to_lab(grid_rgb())
    back = rows(lab_to_rgb(picture(lab, dtype), map_gamut=False))
    # The tolerance of 1e-2 in Lab, in units of RGB where L rises 100 over 0..1.
    assert np.abs(back - lab2rgb(lab[None])[0]).max() < 1e-3
    assert np.abs(back - numpy_lab_to_rgb(lab)).max() < bound
    assert np.abs(back - grid_rgb()).max() < bound


def test_lab_to_rgb_outside_the_gamut_equals_reference():
    lab = wild_lab(torch.float64, n=2000)
    ours = rows(lab_to_rgb(lab, map_gamut=False))
    reference = numpy_lab_to_rgb(rows(lab))
    assert ((reference < 0) | (reference > 1)).any(axis=1).mean() > 0.5
    assert np.abs(ours - reference).max() < 1e-7


def test_float32_reaches_what_its_digits_allow():
    rgb = grid_rgb()
    error = rows(rgb_to_lab(picture(rgb, torch.float32))) - numpy_rgb_to_lab(rgb)
    assert np.abs(error[:, 0]).max() < 3e-5
    assert np.abs(error[:, 1:]).max() < 1e-4


def test_primaries_have_the_known_lab():
    """The values of the usual tables (D65, 2 degrees), to their two digits."""
    lab = rows(rgb_to_lab(picture(np.eye(3))))
    known = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert np.abs(lab - known).max() < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_greys_are_neutral(dtype):
    ramp = torch.linspace(0, 1, 1025, dtype=dtype).view(1, 1, -1, 1).expand(1, 3, -1, 1)
    lab = rgb_to_lab(ramp)
    assert lab[:, 1:].abs().max() < 1e-4
    assert (lab[0, 0, 1:] > lab[0, 0, :-1]).all()
    assert lab[0, 0, 0, 0].abs() < 1e-5
    assert (lab[0, 0, -1, 0] - 100).abs() < 1e-4


def test_neutral_lab_gives_greys():
    lab = torch.zeros(1, 3, 101, 1)
    lab[0, 0, :, 0] = torch.arange(101)
    rgb = lab_to_rgb(lab)
    assert (rgb.amax(dim=1) - rgb.amin(dim=1)).max() < 1e-5


def test_lightness_alone_is_the_first_channel():
    rgb = torch.rand(2, 3, 9, 7)
    assert (rgb_to_lightness(rgb) - rgb_to_lab(rgb)[:, :1]).abs().max() < 3e-5


def test_transfer_curve_and_its_inverse():
    values = torch.linspace(0, 1, 4001, dtype=torch.float64)
    assert (linear_to_srgb(srgb_to_linear(values)) - values).abs().max() < 1e-12
    assert torch.allclose(linear_to_srgb(torch.tensor([-0.01])), torch.tensor([-0.01 * 12.92]))
    # The two branches meet at the knee, as well as the rounded constants of the standard let them.
    knee = torch.tensor([SRGB_KNEE - 1e-9, SRGB_KNEE + 1e-9], dtype=torch.float64)
    below, above = srgb_to_linear(knee).tolist()
    assert abs(above - below) < 1e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_input_are_kept(dtype):
    rgb = torch.rand(1, 3, 4, 4, dtype=dtype)
    lab = wild_lab(dtype, n=50)
    before_rgb, before_lab = rgb.clone(), lab.clone()
    for result in (rgb_to_lab(rgb), rgb_to_lightness(rgb), lab_to_rgb(lab), map_to_gamut(lab)):
        assert result.dtype == dtype
    assert torch.equal(rgb, before_rgb)
    assert torch.equal(lab, before_lab)


def test_autocast_costs_no_precision():
    rgb = torch.rand(1, 3, 16, 16)
    lab, lightness = rgb_to_lab(rgb), rgb_to_lightness(rgb)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rgb_to_lab(rgb), lab)
        assert torch.equal(rgb_to_lightness(rgb), lightness)
        assert (lab_to_rgb(lab) - rgb).abs().max() < 2e-5


# ---- gradients -------------------------------------------------------------------------------

# sRGB of the luminance at f's knee: about 0.0949.
F_KNEE_GREY = 1.055 * (LAB_DELTA**3) ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("middle", [SRGB_KNEE, F_KNEE_GREY], ids=["srgb", "lab"])
@pytest.mark.parametrize("side", [-1e-3, 1e-3], ids=["below", "above"])
def test_gradcheck_of_rgb_to_lab_at_the_knees(middle, side):
    grey = torch.full((1, 3, 1, 1), middle + side, dtype=torch.float64)
    tinted = grey + torch.tensor([0.0, 2e-4, -2e-4], dtype=torch.float64).view(1, 3, 1, 1)
    assert torch.autograd.gradcheck(rgb_to_lab, (tinted.requires_grad_(),))


# L = 8 is the knee of f for a grey; the sRGB knee is at linear 0.04045 / 12.92.
SRGB_KNEE_LIGHTNESS = (29 / 3) ** 3 * SRGB_KNEE / SRGB_SLOPE


@pytest.mark.parametrize("middle", [8.0, SRGB_KNEE_LIGHTNESS], ids=["lab", "srgb"])
@pytest.mark.parametrize("side", [-0.05, 0.05], ids=["below", "above"])
def test_gradcheck_of_lab_to_rgb_at_the_knees(middle, side):
    lab = torch.tensor([middle + side, 1e-3, -1e-3], dtype=torch.float64).view(1, 3, 1, 1)
    assert torch.autograd.gradcheck(
        lambda x: lab_to_rgb(x, map_gamut=False), (lab.requires_grad_(),)
    )


def test_gradcheck_of_ordinary_and_impossible_colours():
    rgb = torch.rand(1, 3, 3, 3, dtype=torch.float64) * 0.8 + 0.15
    assert torch.autograd.gradcheck(rgb_to_lab, (rgb.requires_grad_(),))
    lab = wild_lab(torch.float64, n=10).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: lab_to_rgb(x, map_gamut=False), (lab,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("map_gamut", [True, False])
def test_gradients_are_finite_at_the_ends_and_the_knees(dtype, map_gamut):
    values = torch.tensor([0.0, 1.0, SRGB_KNEE, F_KNEE_GREY], dtype=dtype)
    rgb = torch.cartesian_prod(values, values, values).t()[None, :, :, None].requires_grad_()
    lab = rgb_to_lab(rgb)
    (gradient,) = torch.autograd.grad(lab.sum(), rgb)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0

    spots = [(0, 0, 0), (100, 0, 0), (8, 0, 0), (SRGB_KNEE_LIGHTNESS, 0, 0), (0, 90, -90)]
    lab = torch.cat((lab.detach(), picture(spots, dtype)), dim=2).requires_grad_()
    (gradient,) = torch.autograd.grad(lab_to_rgb(lab, map_gamut=map_gamut).sum(), lab)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_gradients_are_finite_outside_the_range_too():
    values = torch.tensor([-0.5, -0.055, 1.5])
    rgb = torch.cartesian_prod(values, values, values).t()[None, :, :, None].requires_grad_()
    (gradient,) = torch.autograd.grad(rgb_to_lab(rgb).sum(), rgb)
    assert gradient.isfinite().all()


# ---- the gamut -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gamut_mapping_keeps_lightness_and_hue(dtype):
    lab = wild_lab(dtype)
    rgb = lab_to_rgb(lab)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    back = rgb_to_lab(rgb)
    assert (back[:, 0] - lab[:, 0]).abs().max() < 1e-3
    before = torch.atan2(lab[:, 2], lab[:, 1])
    after = torch.atan2(back[:, 2], back[:, 1])
    turned = torch.rad2deg(torch.remainder(after - before + math.pi, 2 * math.pi) - math.pi)
    # Below a chroma of 1 a hue is nothing that anybody sees.
    told = back[:, 1:].norm(dim=1) > 1
    assert told.float().mean() > 0.9
    assert turned[told].abs().max() < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_colours_of_the_gamut_are_unchanged(dtype):
    lab = rgb_to_lab(picture(grid_rgb(), dtype))
    assert torch.equal(map_to_gamut(lab), lab)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mapped_colours_sit_on_the_inner_side_of_the_border(dtype):
    lab = wild_lab(dtype)
    mapped = map_to_gamut(lab)
    inside = lab_to_rgb(mapped, map_gamut=False)
    assert inside.min() > -2e-5  # a linear 1e-6 is 13e-6 in display values
    assert inside.max() < 1 + 2e-5
    moved = (mapped != lab).any(dim=1)
    assert moved.float().mean() > 0.5
    # One step of the search further out is outside: nothing is desaturated without need.
    further = lab.clone()
    scale = mapped[:, 1:].norm(dim=1) / lab[:, 1:].norm(dim=1) + 1.5 / 4096
    further[:, 1:] *= scale[:, None]
    outside = lab_to_rgb(further.double(), map_gamut=False)
    beyond = (outside.amin(dim=1) < 0) | (outside.amax(dim=1) > 1)
    assert beyond[moved].all()


def test_gamut_mapping_is_idempotent():
    once = map_to_gamut(wild_lab())
    assert torch.equal(map_to_gamut(once), once)


def test_lightness_outside_its_range_is_clamped():
    lab = picture([[-5.0, 0.0, 0.0], [120.0, 0.0, 0.0], [-5.0, 40.0, 9.0], [120.0, -30.0, 2.0]])
    rgb = rows(lab_to_rgb(lab))
    assert np.abs(rgb - np.array([[0.0] * 3, [1.0] * 3] * 2)).max() < 2e-5
    assert rows(map_to_gamut(lab))[:, 0].tolist() == [0, 100, 0, 100]


def test_lightness_survives_eight_bits():
    # All but about one colour in a million; the next test holds the bound of that one.
    lab = wild_lab(n=200_000)
    rounded = (lab_to_rgb(lab) * 255).round() / 255
    change = (rgb_to_lab(rounded)[:, 0] - lab[:, 0]).abs()
    assert change.max() <= 0.25


def test_eight_bits_never_cost_more_than_their_worst_case():
    """Where all three roundings line up (a dark cyan) they cost 0.26, to first order, no more."""
    axis = torch.linspace(0, 1, 96, dtype=torch.float64)
    rgb = torch.cartesian_prod(axis, axis, axis).t()[None, :, :, None].requires_grad_()
    (slope,) = torch.autograd.grad(rgb_to_lightness(rgb).sum(), rgb)
    assert 0.25 < (slope.sum(dim=1) * 0.5 / 255).max() < 0.262


# Above L = 94 the gamut at the hue of yellow has a dent, and more chroma may come back as less.
@given(
    lightness=st.floats(1, 94),
    hue=st.floats(0, 2 * math.pi),
    low=st.floats(0, 150),
    more=st.floats(0, 100),
)
def test_more_chroma_never_comes_back_as_less(lightness, hue, low, more):
    chroma = torch.tensor([low, low + more], dtype=torch.float64)
    lab = torch.stack(
        (torch.full((2,), lightness).double(), chroma * math.cos(hue), chroma * math.sin(hue))
    )
    mapped = map_to_gamut(lab[None, :, :, None])[0, :, :, 0]
    first, second = mapped[1:].norm(dim=0).tolist()
    assert first <= low + 1e-9
    assert second >= first - (low + more) / 4096 - 1e-9


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [rgb_to_lab, rgb_to_lightness, map_to_gamut, lab_to_rgb])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.zeros(3, 4, 4), r"torch.float32 \(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"torch.float32 \(1, 1, 4, 4\)"),
        (torch.zeros(1, 4, 4, 3), r"\(1, 4, 4, 3\).*permute"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"torch.uint8 .*\.float\(\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.float16), r"float32 or float64.*torch.float16"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16), r"float32 or float64.*torch.bfloat16"),
    ],
)
def test_other_shapes_and_dtypes_are_refused(function, bad, words):
    with pytest.raises(ValueError, match=words):
        function(bad)


@pytest.mark.parametrize("at_once", [1, 7, 60, 77])
def test_pictures_converted_in_parts_are_the_same(monkeypatch, at_once):
    rgb = torch.rand(2, 3, 7, 11, generator=torch.Generator().manual_seed(0))
    lab = rgb_to_lab(rgb)
    lab[:, 1:] *= 2  # some of it out of gamut
    whole = (rgb_to_lab(rgb), lab_to_rgb(lab), lab_to_rgb(lab, map_gamut=False))
    monkeypatch.setattr("zcolor.lab._CACHED_PIXELS", at_once)
    parts = (rgb_to_lab(rgb), lab_to_rgb(lab), lab_to_rgb(lab, map_gamut=False))
    for part, expected in zip(parts, whole, strict=True):
        assert part.is_contiguous()
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-4)
