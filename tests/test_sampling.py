"""Coherent samples: the noise, its marginals and smoothness, seeds, batches, refusals."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from zcolor.decode import decode_logits
from zcolor.quantizer import AbGrid
from zcolor.sampling import sample_ab, smooth_gumbel

GRID = AbGrid(6)
COLORS = GRID.centers


def some_logits(n=1, h=6, w=7, scale=2.0):
    generator = torch.Generator().manual_seed(4)
    return torch.randn(n, GRID.n_bins, h, w, generator=generator) * scale


def steps(ab):
    """Mean distance between horizontal neighbours, in ab units."""
    return (ab[..., 1:] - ab[..., :-1]).norm(dim=-3).mean().item()


# ---- the noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("coherence", [0.1, 0.7, 2.0])
def test_fields_equal_a_loop(coherence):
    noise, height, width = torch.randn(2, 8, 8), 5, 9
    given_field = smooth_gumbel(noise, height, width, coherence=coherence)
    z = noise.double().numpy()
    for channel, y, x in [(0, 0, 0), (1, 4, 8), (0, 2, 3), (1, 3, 0)]:
        total = length = 0.0
        for i in range(8):
            for j in range(8):
                down = (y + 0.5) / height - (i + 0.5) / 8
                across = (x + 0.5) / width - (j + 0.5) / 8
                weight = math.exp(-(down**2 + across**2) / (2 * coherence**2))
                total += weight * z[channel, i, j]
                length += weight**2
        expected = scipy.stats.gumbel_r.ppf(scipy.stats.norm.cdf(total / math.sqrt(length)))
        assert given_field[channel, y, x].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("coherence", [0.1, 0.5, 2.0, math.inf])
def test_every_pixel_is_standard_gumbel(coherence):
    field = smooth_gumbel(torch.randn(4000, 8, 8), 3, 4, coherence=coherence)
    for y, x in [(0, 0), (1, 2), (2, 3)]:
        verdict = scipy.stats.kstest(field[:, y, x].numpy(), scipy.stats.gumbel_r.cdf)
        assert verdict.pvalue > 1e-3


def test_the_far_tails_are_finite():
    noise = torch.tensor([-9.0, 9.0]).view(2, 1, 1)
    low, high = smooth_gumbel(noise, 1, 1, coherence=1.0).flatten().tolist()
    assert low == pytest.approx(scipy.stats.gumbel_r.ppf(scipy.stats.norm.cdf(-9)), rel=1e-4)
    # P(X > 9) of a normal is 1.13e-19, and a Gumbel exceeds g with probability e^-g far out.
    assert high == pytest.approx(-math.log(scipy.stats.norm.sf(9)), rel=1e-4)


def test_some_rows_equal_those_of_the_whole():
    noise = torch.randn(3, 8, 8)
    whole = smooth_gumbel(noise, 11, 5, coherence=0.3)
    part = smooth_gumbel(noise, 11, 5, coherence=0.3, rows=slice(4, 9))
    assert torch.allclose(part, whole[:, 4:9], atol=1e-5)


@pytest.mark.parametrize("coherence", [0.0, 0.05, -1.0, math.nan])
def test_noise_that_is_too_short_is_refused(coherence):
    with pytest.raises(ValueError, match=r"coherence must be at least 0\.1 sides .* got"):
        smooth_gumbel(torch.zeros(1, 8, 8), 2, 2, coherence=coherence)


# ---- samples ---------------------------------------------------------------------------------


def test_samples_equal_a_loop():
    logits, tilt = some_logits(n=2, h=3, w=4), torch.rand(GRID.n_bins)
    given_ab = sample_ab(
        logits, COLORS, 3, seed=5, temperature=0.7, coherence=0.4, log_weights=tilt
    )
    assert given_ab.shape == (3, 2, 2, 3, 4)
    assert given_ab.dtype == torch.float32
    generator = torch.Generator().manual_seed(5)
    for sample in range(3):
        noise = torch.randn(GRID.n_bins, 8, 8, generator=generator)
        gumbel = smooth_gumbel(noise, 3, 4, coherence=0.4).double().numpy()
        for photo, y, x in [(0, 0, 0), (1, 2, 3), (0, 1, 2)]:
            z = (logits[photo, :, y, x] - tilt).double().numpy() / 0.7 + gumbel[:, y, x]
            p = np.exp((z - z.max()) / 0.5)
            expected = p @ COLORS.double().numpy() / p.sum()
            assert given_ab[sample, photo, :, y, x].numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("coherence", [0.3, 2.0])
def test_the_mean_of_many_samples_is_the_mean_of_the_probabilities(coherence):
    grid = AbGrid()
    modes = torch.tensor([[30.0, 40.0], [-20.0, -30.0], [0.0, 0.0]])
    near = (torch.cdist(grid.centers, modes) ** 2 / (-2 * 12**2)).exp()  # (324, 3)
    shares = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.0, 0.9, 0.1]])
    logits = (near @ shares.t()).log().view(1, 324, 1, 3)
    mean = sample_ab(logits, grid.centers, 600, coherence=coherence).mean(dim=0)
    expected = decode_logits(logits, grid.centers, 1.0)
    assert expected.norm(dim=1).max() > 20
    # Three standard errors of the mean of 600 draws with a deviation of about 35.
    assert (mean - expected).norm(dim=1).max() < 4.5


def test_every_colour_is_drawn_as_often_as_it_is_probable():
    shares = torch.tensor([0.6, 0.3, 0.1])
    gumbel = smooth_gumbel(torch.randn(10_000, 3, 8, 8), 2, 2, coherence=1.0)
    cells = (shares.log()[:, None, None] + gumbel).argmax(dim=1)[:, 1, 0]
    drawn = cells.bincount(minlength=3) / 10_000
    assert (drawn - shares).abs().max() < 0.015


def test_samples_differ():
    ab = sample_ab(some_logits(), COLORS, 6)
    for i in range(6):
        for j in range(i):
            assert (ab[i] - ab[j]).norm(dim=1).mean() > 5


def test_neighbours_draw_together():
    """The same probabilities everywhere: each sample is smooth, not confetti."""
    logits = some_logits(h=1, w=1).expand(-1, -1, 24, 24)
    coherent = sample_ab(logits, COLORS, 8)
    each_for_itself = torch.stack(
        [sample_ab(logits[:, :, :1, :1], COLORS, 1, seed=s)[0, 0, :, 0, 0] for s in range(144)]
    )
    confetti = each_for_itself.t().view(2, 12, 12)
    assert steps(coherent) < steps(confetti) / 50
    assert steps(sample_ab(logits, COLORS, 8, coherence=0.2)) > 3 * steps(coherent)


def test_infinite_coherence_is_one_draw_for_the_photo():
    logits = some_logits(h=1, w=1).expand(-1, -1, 5, 6)
    ab = sample_ab(logits, COLORS, 4, coherence=math.inf)
    assert (ab - ab[..., :1, :1]).abs().max() < 1e-3


def test_what_is_certain_is_drawn_always():
    logits = torch.full((1, GRID.n_bins, 2, 2), -math.inf)
    logits[:, 7] = 3.0
    ab = sample_ab(logits, COLORS, 5)
    assert (ab - COLORS[7].view(2, 1, 1)).abs().max() < 1e-4


def test_a_lower_temperature_keeps_to_the_probable():
    logits = some_logits()
    top = decode_logits(logits, COLORS, 0.0)
    apart = [
        (sample_ab(logits, COLORS, 30, temperature=t) - top).norm(dim=2).mean().item()
        for t in (1.0, 0.5, 0.01)
    ]
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 1


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 1e-39, 1e-30])
@pytest.mark.parametrize("tilted", [False, True])
def test_the_coldest_samples_are_the_most_probable_colour(temperature, tilted):
    logits = some_logits()
    # Weights that move the largest logit: what is taken away first is that of the natural ones.
    tilt = torch.linspace(2, -2, len(COLORS)) if tilted else torch.zeros(len(COLORS))
    ab = sample_ab(logits, COLORS, 2, temperature=temperature, log_weights=tilt)
    top = decode_logits(logits, COLORS, 0.0, bias=-tilt)
    torch.testing.assert_close(ab, top.expand_as(ab))


# ---- seeds and batches -----------------------------------------------------------------------


def test_the_seed_decides():
    logits = some_logits()
    first = sample_ab(logits, COLORS, 3, seed=1)
    torch.rand(5)  # the caller's own dice change nothing
    assert torch.equal(sample_ab(logits, COLORS, 3, seed=1), first)
    assert not torch.equal(sample_ab(logits, COLORS, 3, seed=2), first)
    assert torch.equal(sample_ab(logits, COLORS, 1, seed=1), first[:1])


def test_the_callers_dice_are_left_alone():
    before = torch.get_rng_state()
    sample_ab(some_logits(), COLORS, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_photo_is_drawn_the_same_in_any_batch():
    logits = some_logits(n=3)
    together = sample_ab(logits, COLORS, 2)
    for photo in range(3):
        alone = sample_ab(logits[photo : photo + 1], COLORS, 2)
        assert torch.equal(together[:, photo : photo + 1], alone)


def test_strips_are_joined_in_order():
    logits = some_logits(h=1, w=1).expand(-1, -1, 300, 130)
    ab = sample_ab(logits, COLORS, 1, coherence=0.5)
    assert steps(ab) < 1
    assert steps(ab.transpose(-1, -2)) < 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31), st.floats(0.05, 1))
def test_samples_stay_among_the_colours(h, w, seed, temperature):
    logits = some_logits(h=h, w=w, scale=10)
    ab = sample_ab(logits, COLORS, 1, seed=seed, temperature=temperature)
    assert ab.isfinite().all()
    assert ab.abs().max() <= COLORS.abs().max() + 1e-3


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_samples": 0}, "number of samples must be at least 1, got 0"),
        ({"temperature": 0.0}, r"temperature must lie in \(0, 1\] .* got 0\.0"),
        ({"temperature": 1.1}, "temperature must lie in"),
        ({"temperature": math.nan}, "temperature must lie in"),
        ({"coherence": 0.0}, "coherence must be at least"),
        ({"colors": torch.zeros(5, 2)}, r"logits must be \(n, q, h, w\) and colors \(q, 2\)"),
        ({"logits": torch.zeros(36, 2, 2)}, r"logits must be \(n, q, h, w\)"),
    ],
)
def test_senseless_samples_are_refused(options, words):
    arguments = {"logits": some_logits(), "colors": COLORS, "n_samples": 1, **options}
    with pytest.raises(ValueError, match=words):
        sample_ab(**arguments)
