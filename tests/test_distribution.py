"""`ColorDistribution`: decoding again, confidence, memory, refusals."""

import math

import numpy as np
import pytest
import torch

from zcolor.decode import decode_logits
from zcolor.distribution import ColorDistribution
from zcolor.quantizer import AbGrid
from zcolor.settings import DecodeSettings

GRID = AbGrid()


@pytest.fixture
def distribution():
    logits = torch.randn(2, 324, 3, 4) * 3
    return ColorDistribution(logits, GRID, GRID.centers + 2, DecodeSettings(temperature=0.5))


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


def test_confidence_equals_loop(distribution):
    confidence = distribution.confidence()
    assert confidence.shape == (2, 1, 3, 4)
    for photo, y, x in [(0, 0, 0), (1, 2, 3), (0, 2, 1)]:
        p = distribution.probabilities[photo, :, y, x].double().numpy()
        entropy = -sum(p_q * math.log(p_q) for p_q in p)
        assert confidence[photo, 0, y, x].item() == pytest.approx(
            1 - entropy / math.log(324), abs=1e-5
        )


def test_confidence_at_the_ends():
    logits = torch.zeros(1, 324, 1, 3)
    logits[0, 5, 0, 1] = 1000
    logits[0, :, 0, 2] = -math.inf  # impossible cells are no cells
    logits[0, 7, 0, 2] = 0
    confidence = ColorDistribution(logits, GRID).confidence().flatten().tolist()
    assert confidence == pytest.approx([0, 1, 1], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_confidence_of_half_precision_logits(dtype):
    logits = (torch.randn(1, 324, 2, 2) * 3).to(dtype)
    confidence = ColorDistribution(logits, GRID).confidence()
    assert confidence.dtype == torch.float32
    assert torch.equal(confidence, ColorDistribution(logits.float(), GRID).confidence())


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
