"""A reference that lends its colours: Bayes' rule by hand, counting by loops, refusals."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from skimage.color import lab2rgb, rgb2lab

from zcolor.decode import decode_logits
from zcolor.photo import read_photo
from zcolor.quantizer import AbGrid
from zcolor.reference import color_shares, read_reference, reference_bias, small_rgb
from zcolor.registry import load_model

GRID = AbGrid()
UNIFORM = torch.full((GRID.n_bins,), 1 / GRID.n_bins)


def of_color(a, b, h=32, w=32):
    """A picture of one colour, L = 60."""
    rgb = lab2rgb(np.full((h, w, 3), (60.0, a, b)))
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float()


def some_prior(seed=0):
    raw = torch.rand(GRID.n_bins, generator=torch.Generator().manual_seed(seed)) ** 8
    return raw / raw.sum()


def numpy_bias(counts, prior, gamma):
    """The formula one cell at a time: smoothed by half a cell, mixed with the prior, floored."""
    centers = GRID.centers.double().numpy()
    smooth = np.zeros((2, GRID.n_bins))
    for row, shares in zip(smooth, (counts, prior), strict=True):
        for q in range(GRID.n_bins):
            kernel = np.exp(((centers - centers[q]) ** 2).sum(1) / (-2 * (GRID.width / 2) ** 2))
            row += shares[q] * kernel / kernel.sum()
    r, p = smooth
    return gamma * np.log((0.95 * r + 0.05 * p + 1e-3) / (p + 1e-3))


# Counting.


def test_shares_equal_a_loop_over_blocks():
    rgb = torch.from_numpy(data.coffee()[:40, :48].copy()).permute(2, 0, 1)[None] / 255
    lab = rgb2lab(rgb[0].permute(1, 2, 0).double().numpy())
    counts = np.zeros(GRID.n_bins)
    for y in range(0, 40, 4):
        for x in range(0, 48, 4):
            a, b = lab[y : y + 4, x : x + 4, 1:].mean((0, 1))
            ia, ib = (int((v + 110) // GRID.width) for v in (a, b))
            counts[ia * 18 + ib] += 1
    mine = color_shares(rgb.float(), GRID).numpy()
    assert np.abs(mine - counts / 120).sum() < 0.02  # a block at the edge of a cell may differ


def test_shares_of_a_picture_of_one_colour():
    shares = color_shares(of_color(40, 30, 10, 6), GRID)
    cell = GRID.encode(torch.tensor([40.0, 30.0]).view(1, 2, 1, 1)).item()
    assert shares[cell].item() == 1
    assert shares.sum().item() == 1


# The bias.


def test_the_bias_equals_the_formula():
    rgb, prior = torch.cat((of_color(40, 30), of_color(-30, 40)), dim=3), some_prior()
    expected = numpy_bias(color_shares(rgb, GRID).numpy(), prior.numpy(), 0.7)
    np.testing.assert_allclose(reference_bias(rgb, GRID, prior, 0.7), expected, atol=1e-4)


def test_at_gamma_1_it_is_bayes_rule_for_another_prior():
    """Two far cells, so that smoothing changes nothing: the posterior is computed by hand."""
    near_each_other = [[-80.0, -80.0], [-80.0, -70.0]]  # they set the width, and are never used
    grid = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [70.0, 60.0], *near_each_other]))
    prior = torch.tensor([0.9, 0.1, 0.0, 0.0])
    rgb = torch.cat((of_color(0, 0, 8, 8), of_color(70, 60, 8, 24)), dim=3)  # shares 1/4, 3/4
    likelihood = np.array([0.3, 0.2])
    joint = likelihood * prior[:2].numpy()
    logits = torch.tensor([*np.log(joint / joint.sum()), -50, -50])
    shares = 0.95 * np.array([0.25, 0.75]) + 0.05 * prior[:2].numpy()
    new = likelihood * shares
    moved = torch.softmax(logits + reference_bias(rgb, grid, prior, 1), dim=0)
    np.testing.assert_allclose(moved[:2], new / new.sum(), atol=0.01)  # the floor moves it a little


def test_a_reference_like_the_prior_changes_nothing():
    rgb = torch.from_numpy(data.coffee()[::2, ::2].copy()).permute(2, 0, 1)[None].float() / 255
    bias = reference_bias(rgb, GRID, color_shares(rgb, GRID), 1.5)
    assert bias.abs().max() < 1e-5


@settings(max_examples=20)
@given(st.floats(0, 4), st.floats(-60, 60), st.floats(-60, 60))
def test_gamma_scales_the_bias_and_it_is_bounded(gamma, a, b):
    rgb, prior = of_color(a, b, 8, 8), some_prior(1)
    one, scaled = reference_bias(rgb, GRID, prior, 1.0), reference_bias(rgb, GRID, prior, gamma)
    assert torch.allclose(scaled, gamma * one, atol=1e-5)
    assert one.min() >= np.log(0.05) - 1e-4  # what the reference lacks
    assert one.max() <= np.log(1.001 / 1e-3) + 1e-4


def test_colours_that_the_reference_lacks_keep_their_proportions():
    grid = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [60.0, 60.0], [-60.0, 60.0], [0.0, 5.0]]))
    prior = torch.tensor([0.5, 0.4, 0.1, 0.0])
    bias = reference_bias(of_color(0, 0), grid, prior, 1.0)
    assert abs(bias[1] - bias[2]) < 0.15  # the floor alone: log 4
    assert bias[1] < bias[0] - 3


def test_an_uncertain_classifier_takes_the_colour_of_the_reference():
    logits = UNIFORM.log().view(1, -1, 1, 1)
    bias = reference_bias(of_color(45, 40), GRID, UNIFORM, 1.0)
    assert torch.allclose(
        decode_logits(logits, GRID.centers, 0.0, bias=bias).flatten(),
        torch.tensor([45.0, 40.0]),
        atol=GRID.width / 2 + 0.1,
    )
    before = decode_logits(logits, GRID.centers, 1.0)
    after = decode_logits(logits, GRID.centers, 1.0, bias=bias)
    assert after[0, 0].item() > before[0, 0].item() + 10


def test_a_certain_classifier_keeps_its_colour():
    logits = torch.zeros(1, GRID.n_bins, 1, 1)
    green = GRID.encode(torch.tensor([-40.0, 40.0]).view(1, 2, 1, 1)).item()
    logits[0, green] = 20
    bias = reference_bias(of_color(45, 40), GRID, UNIFORM, 1.0)
    ab = decode_logits(logits, GRID.centers, 0.38, bias=bias).flatten()
    assert torch.allclose(ab, GRID.centers[green], atol=0.5)


def test_the_shipped_model_leans_towards_warm_and_cold_references():
    net = load_model("zhang")
    lightness = read_photo(data.camera()).lightness(64, "cpu")
    with torch.inference_mode():
        logits = net(lightness)
    means = [
        decode_logits(
            logits,
            net.cell_means,
            0.9,
            bias=reference_bias(of_color(a, b), net.grid, net.prior, 0.5),
        ).mean((0, 2, 3))
        for a, b in ((20, 50), (10, -50))
    ]
    assert means[0][1] > means[1][1] + 5


# Reading.


def test_all_kinds_of_pictures_are_read_alike():
    rgb = data.coffee()[:120, :160]
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "PNG")
    expected = read_reference(rgb, size=64)
    assert expected.shape == (1, 3, 56, 72)
    alpha = np.concatenate((rgb, np.full((120, 160, 1), 9, np.uint8)), axis=2)
    kinds = [stream.getvalue(), Image.fromarray(rgb), alpha, rgb.astype(np.uint16) * 257,
             torch.from_numpy(rgb.copy()).permute(2, 0, 1), rgb.astype(np.float16) / 255,
             rgb.astype(np.float64) / 255]  # fmt: skip
    for kind in kinds:
        assert torch.allclose(read_reference(kind, size=64), expected, atol=0.01)


def test_small_rgb_keeps_the_size_and_repeats_grey():
    grey = small_rgb(read_photo(np.arange(24, dtype=np.uint8).reshape(4, 6)), None)
    assert grey.shape == (1, 3, 4, 6)
    assert torch.equal(grey[:, 0], grey[:, 2])
    np.testing.assert_allclose(grey[0, 0] * 255, np.arange(24).reshape(4, 6), atol=1e-4)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (data.camera(), "hardly any colour"),
        (np.full((8, 8, 3), 100, np.uint8), "hardly any colour"),
        (np.zeros((2, 8, 8, 3), np.uint8), "batch of 2"),
    ],
)
def test_a_reference_that_cannot_lend_is_refused(picture, message):
    with pytest.raises(ValueError, match=message):
        read_reference(picture)


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf")])
def test_gamma_that_makes_no_sense_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma must be a finite number of at least 0"):
        reference_bias(of_color(0, 0), GRID, UNIFORM, gamma)


@pytest.mark.parametrize(
    "prior", [UNIFORM[1:], -UNIFORM, torch.zeros(324), torch.full((324,), torch.nan)]
)
def test_a_prior_that_does_not_fit_is_refused(prior):
    with pytest.raises(ValueError, match=r"prior must be \(324,\) shares"):
        reference_bias(of_color(0, 0), GRID, prior)
