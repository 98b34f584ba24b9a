"""Measures against plain loops, and the meter against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zcolor.metrics import AucMeter, auc_scores, mean_chroma
from zcolor.quantizer import AbGrid


def auc_by_thresholds(errors: np.ndarray, weights: np.ndarray) -> float:
    """Zhang et al. 2016, section 3.1, word by word."""
    shares = [(weights * (errors <= t)).sum() / weights.sum() for t in range(151)]
    return 100 * float(np.mean(shares))


def random_ab(seed: int, spread: float, shape=(1, 2, 13, 9)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * spread


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 400), min_size=1, max_size=50))
def test_scores_average_to_the_area_under_the_curve(errors):
    errors = np.array(errors, dtype=np.float32)
    scores = auc_scores(torch.from_numpy(errors))
    assert scores.double().mean().item() == pytest.approx(
        auc_by_thresholds(errors, np.ones_like(errors)), abs=1e-3
    )


def test_meter_equals_the_definition_raw_and_rebalanced():
    meter, grid = AucMeter(), AbGrid()
    results = [random_ab(i, 20) for i in range(4)]
    truths = [random_ab(100 + i, 15) for i in range(4)]
    for result, truth in zip(results, truths, strict=True):
        meter.add(result, truth)
    errors = np.concatenate(
        [(r - t).norm(dim=1).flatten().numpy() for r, t in zip(results, truths, strict=True)]
    )
    cells = np.concatenate([grid.encode(t).flatten().numpy() for t in truths])
    share = np.bincount(cells, minlength=grid.n_bins) / len(cells)
    assert meter.raw() == pytest.approx(auc_by_thresholds(errors, np.ones(len(errors))), abs=1e-3)
    assert meter.rebalanced() == pytest.approx(
        auc_by_thresholds(errors, 1 / share[cells]), abs=1e-3
    )


def test_meter_counts_chosen_photos_for_the_bootstrap():
    meter = AucMeter()
    for i in range(3):
        meter.add(random_ab(i, 20), random_ab(50 + i, 20))
    alone = AucMeter()
    for i in (2, 2, 0):
        alone.add(random_ab(i, 20), random_ab(50 + i, 20))
    chosen = torch.tensor([2, 2, 0])
    assert meter.raw(chosen) == pytest.approx(alone.raw())
    assert meter.rebalanced(chosen) == pytest.approx(alone.rebalanced())


def test_a_worse_result_measures_worse():
    truth = random_ab(0, 20)
    values = []
    for error in (0.0, 5.0, 50.0):
        meter = AucMeter()
        meter.add(truth + error, truth)
        values.append((meter.raw(), meter.rebalanced()))
    assert values[0] == (100.0, 100.0)
    assert values == sorted(values, reverse=True)


def test_rebalancing_makes_rare_colours_count():
    truth = torch.zeros(1, 2, 10, 10)
    truth[:, 0, 0, 0] = 80.0  # one vivid pixel
    meter = AucMeter()
    meter.add(torch.zeros_like(truth), truth)
    assert meter.raw() > 99
    assert meter.rebalanced() == pytest.approx((100 + 100 * (151 - 80) / 151) / 2, abs=1e-3)


def test_mean_chroma_is_a_plain_mean():
    ab = random_ab(3, 30, (2, 2, 5, 7))
    expected = np.sqrt((ab.numpy() ** 2).sum(axis=1)).mean(axis=(1, 2))
    np.testing.assert_allclose(mean_chroma(ab).numpy(), expected, rtol=1e-5)


def test_an_empty_meter_and_odd_shapes_are_refused():
    with pytest.raises(ValueError, match="add photos first"):
        AucMeter().raw()
    with pytest.raises(ValueError, match="one photo at a time"):
        AucMeter().add(torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4))
    with pytest.raises(ValueError, match="one photo at a time"):
        AucMeter().add(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
