"""`ColorDistribution`: decoding again, the tilt, confidence, suggestions, samples, refusals."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import skimage.color
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zcolor.decode import decode_logits
from zcolor.distribution import ColorDistribution, decode_answer
from zcolor.losses import rebalanced_cross_entropy
from zcolor.models.zhang import Zhang
from zcolor.quantizer import AbGrid
from zcolor.sampling import sample_ab
from zcolor.settings import DecodeSettings

GRID = AbGrid()


@pytest.fixture
def distribution():
    logits = torch.randn(2, 324, 3, 4) * 3
    return ColorDistribution(logits, GRID, GRID.centers + 2, DecodeSettings(temperature=0.5))


@pytest.fixture
def tilted(distribution):
    return replace(distribution, class_weights=torch.rand(324) * 4 + 0.2)


def test_probabilities(distribution):
    p = distribution.probabilities
    z = distribution.logits.double().numpy()
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert p.shape == (2, 324, 3, 4)
    assert p.dtype == torch.float32
    assert np.abs(p.numpy() - expected).max() < 1e-6


def test_defaults_are_those_of_the_model(distribution):
    expected = decode_logits(distribution.logits, GRID.centers + 2, 0.5)
    assert torch.equal(distribution.decode(), expected)


@pytest.mark.parametrize(
    ("options", "temperature", "shift"),
    [
        ({"method": "argmax"}, 0.0, 2),
        ({"method": "mean"}, 1.0, 2),
        ({"temperature": 0.1}, 0.1, 2),
        ({"method": "annealed", "temperature": 0.9}, 0.9, 2),
        ({"colors": "centers"}, 0.5, 0),
        ({"method": "argmax", "colors": "centers"}, 0.0, 0),
    ],
)
def test_decoding_again_with_other_options(distribution, options, temperature, shift):
    expected = decode_logits(distribution.logits, GRID.centers + shift, temperature)
    assert torch.equal(distribution.decode(**options), expected)


# ---- the tilt of rebalancing -----------------------------------------------------------------


def test_natural_equals_loop(tilted):
    answer = tilted.natural().probabilities
    net, weights = tilted.probabilities.double().numpy(), tilted.class_weights.double().numpy()
    for photo, y, x in [(0, 0, 0), (1, 2, 3)]:
        shares = [net[photo, q, y, x] / weights[q] for q in range(324)]
        expected = np.array(shares) / sum(shares)
        assert np.abs(answer[photo, :, y, x].numpy() - expected).max() < 1e-6


def test_natural_is_what_a_rebalanced_loss_hides():
    """The minimiser of the rebalanced loss, found by descent, gives the true shares back."""
    grid, true = AbGrid(2), torch.tensor([0.7, 0.2, 0.06, 0.04])
    weights = torch.tensor([0.5, 1.0, 3.0, 6.0])
    logits = torch.zeros(1, 4, 1, 1, requires_grad=True)
    soft = torch.ones(1, 1, 1, 1)
    for _ in range(300):
        loss = sum(
            true[q]
            * rebalanced_cross_entropy(logits, torch.full((1, 1, 1, 1), q), soft, weights)[0]
            for q in range(4)
        )
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 2 * slope).detach().requires_grad_()
    found = ColorDistribution(logits.detach(), grid, class_weights=weights)
    assert (found.probabilities.flatten() - true).abs().max() > 0.1
    assert (found.natural().probabilities.flatten() - true).abs().max() < 1e-3


def test_natural_once_is_enough(tilted, distribution):
    natural = tilted.natural()
    assert natural.natural() is natural
    assert distribution.natural() is distribution
    assert torch.equal(tilted.decode(), distribution.decode())  # decoding keeps the tilt


# ---- confidence ------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [5.0, 20.0, 60.0])
def test_confidence_equals_loop(tilted, radius):
    answer = torch.randn(2, 2, 3, 4) * 30
    for ab in (None, answer):
        confidence = tilted.confidence(radius=radius, ab=ab)
        assert confidence.shape == (2, 1, 3, 4)
        judged = tilted.decode() if ab is None else ab
        p = tilted.natural().probabilities.double().numpy()
        for photo, y, x in [(0, 0, 0), (1, 2, 3), (0, 2, 1)]:
            a, b = judged[photo, :, y, x].tolist()
            mass = 0.0
            for q, (cell_a, cell_b) in enumerate(tilted.means.tolist()):
                apart = math.hypot(a - cell_a, b - cell_b)
                share = min(max((radius - apart) / (220 / 18) + 0.5, 0), 1)
                mass += p[photo, q, y, x] * share
            assert confidence[photo, 0, y, x].item() == pytest.approx(mass, abs=1e-5)


def test_confidence_holds_for_truths_drawn_from_the_distribution():
    logits = torch.randn(1, 324, 1, 1) * 2
    distribution = ColorDistribution(logits, GRID)
    generator = np.random.default_rng(0)
    p = distribution.probabilities.flatten().double().numpy()
    cells = generator.choice(324, 40_000, p=p / p.sum())
    # The truth lies anywhere in its cell.
    truth = GRID.centers.numpy()[cells] + generator.uniform(-0.5, 0.5, (40_000, 2)) * GRID.width
    apart = np.hypot(*(truth - distribution.decode().flatten().numpy()).T)
    for radius in (20.0, 40.0, 80.0):
        expected = distribution.confidence(radius=radius).item()
        assert (apart <= radius).mean() == pytest.approx(expected, abs=0.02)


def test_confidence_at_the_ends():
    logits = torch.zeros(1, 324, 1, 2)
    logits[0, 5, 0, 0] = 1000
    logits[0, :, 0, 1] = -math.inf  # impossible cells are no cells
    logits[0, 7, 0, 1] = 0
    distribution = ColorDistribution(logits, GRID)
    assert distribution.confidence().flatten().tolist() == pytest.approx([1, 1], abs=1e-6)
    far = torch.full((1, 2, 1, 2), 100.0)
    assert distribution.confidence(ab=far).flatten().tolist() == pytest.approx([0, 0], abs=1e-6)


def test_a_larger_radius_is_never_less_sure(tilted):
    maps = [tilted.confidence(radius=radius) for radius in (1, 10, 30, 400)]
    for small, large in pairwise(maps):
        assert (small <= large + 1e-6).all()
    assert (maps[-1] - 1).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_confidence_of_half_precision_logits(dtype):
    logits = (torch.randn(1, 324, 2, 2) * 3).to(dtype)
    confidence = ColorDistribution(logits, GRID).confidence()
    assert confidence.dtype == torch.float32
    assert torch.equal(confidence, ColorDistribution(logits.float(), GRID).confidence())


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan])
def test_a_radius_of_nothing_is_refused(distribution, radius):
    with pytest.raises(ValueError, match="radius must be above 0 ab units, got"):
        distribution.confidence(radius=radius)


def test_an_answer_of_another_size_is_refused(distribution):
    with pytest.raises(ValueError, match=r"ab must be .* got \(2, 2, 3, 5\)"):
        distribution.confidence(ab=torch.zeros(2, 2, 3, 5))


# ---- suggestions -----------------------------------------------------------------------------


def palette_by_loop(p, colors, distance):
    """Greedy non-maximum suppression, written once more."""
    left, groups = set(range(len(p))), []
    while left:
        leader = max(left, key=lambda q: p[q])
        near = {q for q in left if math.dist(colors[q], colors[leader]) <= distance}
        groups.append((sum(p[q] for q in near), colors[leader]))
        left -= near
    return sorted(groups, key=lambda group: -group[0])


@pytest.mark.parametrize("distance", [0.0, 20.0, 50.0])
def test_suggestions_equal_loop(tilted, distance):
    p = tilted.natural().probabilities[1, :, 2, 3].double().tolist()
    expected = palette_by_loop(p, tilted.means.tolist(), distance)[:6]
    answer = tilted.suggest(0.99, 0.7, 6, distance=distance, photo=1)
    assert [s.probability for s in answer] == pytest.approx([m for m, _ in expected], abs=1e-5)
    assert [s.ab for s in answer] == [tuple(color) for _, color in expected]


def test_suggestions_of_three_known_colours():
    logits = torch.full((1, 324, 1, 1), -math.inf)
    shares = {40: 0.5, 41: 0.15, 200: 0.35}  # 41 is the neighbour of 40
    for q, share in shares.items():
        logits[0, q] = math.log(share)
    answer = ColorDistribution(logits, GRID).suggest(0.5, 0.5, 2)
    assert [s.ab for s in answer] == [tuple(GRID.centers[q].tolist()) for q in (40, 200)]
    assert [s.probability for s in answer] == pytest.approx([0.65, 0.35])


@settings(max_examples=30)
@given(
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    k=st.integers(1, 400),
    distance=st.floats(0, 300),
    scale=st.floats(0, 30),
)
def test_a_palette_is_ranked_distinct_and_sums_to_1_at_most(x, y, k, distance, scale):
    logits = torch.randn(1, 324, 3, 4, generator=torch.Generator().manual_seed(1)) * scale
    given_palette = ColorDistribution(logits, GRID).suggest(x, y, k, distance=distance)
    masses = [s.probability for s in given_palette]
    assert 1 <= len(masses) <= k
    assert masses == sorted(masses, reverse=True)
    assert sum(masses) <= 1 + 1e-4
    first, *rest = [s.ab for s in given_palette]
    assert all(math.dist(first, other) > distance for other in rest)


@pytest.mark.parametrize(
    ("x", "y", "pixel"), [(0, 0, (0, 0)), (1, 1, (2, 3)), (0.26, 0.99, (2, 1)), (1, 0, (0, 3))]
)
def test_the_point_is_a_fraction_of_the_photo(x, y, pixel):
    logits = torch.zeros(1, 324, 3, 4)
    logits[0, 100, pixel[0], pixel[1]] = 50
    assert ColorDistribution(logits, GRID).suggest(x, y)[0].probability > 0.99


def test_rgb_of_a_suggestion_is_that_of_scikit_image():
    logits = torch.zeros(1, 324, 1, 2)
    cells = (GRID.encode(torch.tensor([20.0, 15.0]).view(1, 2, 1, 1)).item(), 171)
    logits[0, cells[0], 0, 0] = logits[0, cells[1], 0, 1] = 50
    lightness = torch.tensor([40.0, 70.0]).view(1, 1, 1, 2)
    distribution = ColorDistribution(logits, GRID, lightness=lightness)
    for x, level, q in [(0.2, 40.0, cells[0]), (0.8, 70.0, cells[1])]:
        expected = skimage.color.lab2rgb([level, *GRID.centers[q].tolist()]) * 255
        assert distribution.suggest(x, 0.5)[0].rgb == pytest.approx(expected, abs=0.6)


def test_rgb_is_unknown_without_lightness(distribution):
    assert {s.rgb for s in distribution.suggest(0.5, 0.5)} == {None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": -0.1, "y": 0.5}, r"fractions of width and height in \[0, 1\], got -0\.1"),
        ({"x": 0.5, "y": 60}, "divide pixels by the photo's width and height"),
        ({"x": math.nan, "y": 0}, "fractions"),
        ({"x": 0, "y": 0, "k": 0}, "k must be at least 1"),
        ({"x": 0, "y": 0, "distance": -1.0}, "distance at least 0"),
    ],
)
def test_senseless_points_are_refused(distribution, arguments, words):
    with pytest.raises(ValueError, match=words):
        distribution.suggest(**arguments)


def test_a_photo_that_is_not_there_is_refused(distribution):
    with pytest.raises(IndexError):
        distribution.suggest(0, 0, photo=2)


# ---- samples ---------------------------------------------------------------------------------


def test_samples_are_drawn_from_the_natural_distribution(tilted):
    options = {"seed": 3, "temperature": 0.6, "coherence": 0.5}
    expected = sample_ab(tilted.natural().logits, tilted.means, 4, **options)
    given_samples = tilted.sample(4, **options)
    assert given_samples.shape == (4, 2, 2, 3, 4)
    assert (given_samples - expected).abs().max() < 1e-2
    untilted = sample_ab(tilted.logits, tilted.means, 4, **options)
    assert (given_samples - untilted).abs().max() > 1


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weights": torch.ones(313)}, r"class_weights must be \(324,\).* got \(313,\)"),
        ({"class_weights": torch.zeros(324)}, "all above 0"),
        ({"class_weights": torch.full((324,), math.nan)}, "all above 0"),
        ({"lightness": torch.zeros(1, 1, 2, 3)}, r"lightness must be \(1, 1, 2, 2\)"),
        ({"lightness": torch.zeros(1, 3, 2, 2)}, "lightness must be"),
    ],
)
def test_what_does_not_fit_the_logits_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ColorDistribution(torch.zeros(1, 324, 2, 2), GRID, **options)


@pytest.mark.parametrize("shape", [(324, 2, 2), (1, 313, 2, 2)])
def test_logits_of_another_grid_are_refused(shape):
    with pytest.raises(ValueError, match=r"logits must be \(n, 324, h, w\) for this grid, got"):
        ColorDistribution(torch.zeros(shape), GRID)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "argmax", "temperature": 0.3}, "has no temperature"),
        ({"method": "mean", "temperature": 0.3}, "has no temperature"),
        ({"method": "median"}, "decode must be 'annealed', 'argmax' or 'mean', got 'median'"),
        ({"method": ""}, "decode must be"),
        ({"temperature": 1.5}, r"temperature must lie in \[0, 1\]"),
        ({"colors": "mode"}, "colors must be 'means' or 'centers', got 'mode'"),
    ],
)
def test_senseless_options_are_refused(distribution, options, words):
    with pytest.raises(ValueError, match=words):
        distribution.decode(**options)


def test_means_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="got none; use colors='centers'"):
        ColorDistribution(torch.zeros(1, 324, 1, 1), GRID).decode(colors="means")


def test_every_option_of_decoding_counts():
    generator = torch.Generator().manual_seed(0)
    net = Zhang(width=1 / 16)
    net.set_priors(net.prior, net.cell_means + 4, torch.linspace(0.1, 3.0, net.grid.n_bins))
    logits = 3 * torch.randn(1, net.grid.n_bins, 6, 7, generator=generator)
    found = ColorDistribution(
        logits, net.grid, net.cell_means, net.presets["vivid"], net.class_weights
    )
    for option in (
        {"method": "argmax"}, {"temperature": 0.2}, {"colors": "centers"}, {"rebalance": 0.3},
        {"neutral": (9.0, -9.0)}, {"gain": 1.7}, {"contrast": 2.0},
    ):  # fmt: skip
        expected = decode_answer(
            logits, net.grid, net.cell_means, net.class_weights, found.defaults.changed(**option)
        )
        assert torch.equal(found.decode(**option), expected)
        assert not torch.equal(expected, found.decode()), option
