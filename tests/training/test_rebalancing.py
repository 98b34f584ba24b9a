"""Rebalancing weights: against plain loops, their properties, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zcolor.quantizer import AbGrid
from zcolor.training.rebalancing import weights_of_counts
from zcolor.training.settings import PriorSettings

GRID = AbGrid(9)
FREE_GRID = AbGrid.from_centers(torch.randn(25, 2, generator=torch.Generator().manual_seed(2)) * 35)
GRIDS = pytest.mark.parametrize("grid", [GRID, FREE_GRID], ids=repr)
KINDS = pytest.mark.parametrize("kind", ["neglog", "zhang"])


def in_gamut_counts(grid, seed=0):
    counts = np.random.default_rng(seed).integers(0, 5000, grid.n_bins) ** 2
    counts[::3] = 0
    return np.where(grid.in_gamut.numpy(), counts, 0)


def in_loops(counts, grid, kind, *, smoothing, floor, mixing):
    """Weights by plain loops over the cells, straight from the definitions."""
    mask = [bool(inside) or count > 0 for inside, count in zip(grid.in_gamut, counts)]
    cells = [q for q, inside in enumerate(mask) if inside]
    total = float(sum(counts))
    p = {q: counts[q] / total + floor for q in cells}
    p = {q: value / sum(p.values()) for q, value in p.items()}
    if kind == "zhang":
        smooth = dict.fromkeys(cells, 0.0)
        for source in cells:
            apart = {
                q: math.dist(grid.centers[source].tolist(), grid.centers[q].tolist()) for q in cells
            }
            kernel = {
                q: math.exp(-(d**2) / (2 * (smoothing * grid.width) ** 2)) for q, d in apart.items()
            }
            for q in cells:
                smooth[q] += p[source] * kernel[q] / sum(kernel.values())
        weights = {q: 1 / ((1 - mixing) * smooth[q] + mixing / len(cells)) for q in cells}
    else:
        weights = {q: -math.log(p[q]) for q in cells}
    mean = sum(weights[q] * counts[q] / total for q in cells)
    largest = max(weights.values())
    return np.array([weights.get(q, largest) / mean for q in range(len(counts))])


@GRIDS
@KINDS
@pytest.mark.parametrize(("smoothing", "floor", "mixing"), [(0.5, 1e-5, 0.5), (1.3, 1e-3, 0.2)])
def test_weights_equal_plain_loops(grid, kind, smoothing, floor, mixing):
    counts = in_gamut_counts(grid)
    settings = PriorSettings(smoothing=smoothing, floor=floor, mixing=mixing)
    weights = weights_of_counts(counts, grid, kind, settings=settings)
    assert weights.dtype == np.float32
    expected = in_loops(counts, grid, kind, smoothing=smoothing, floor=floor, mixing=mixing)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


@GRIDS
def test_without_smoothing_zhang_is_the_formula_on_p(grid):
    counts = in_gamut_counts(grid)
    settings = PriorSettings(smoothing=0, floor=1e-12)
    weights = weights_of_counts(counts, grid, "zhang", settings=settings)
    p = counts / counts.sum()
    plain = 1 / (0.5 * p + 0.5 / int(grid.in_gamut.sum()))
    np.testing.assert_allclose(weights[counts > 0], (plain / (p @ plain))[counts > 0], rtol=1e-5)


def test_lambda_one_weighs_all_cells_alike():
    weights = weights_of_counts(
        in_gamut_counts(GRID), GRID, "zhang", settings=PriorSettings(mixing=1)
    )
    np.testing.assert_allclose(weights, 1, rtol=1e-6)


def test_none_is_one_everywhere_even_for_a_single_cell():
    counts = np.zeros(GRID.n_bins, dtype=np.int64)
    counts[40] = 7
    np.testing.assert_array_equal(weights_of_counts(counts, GRID, "none"), 1)


@KINDS
def test_a_counted_cell_outside_the_gamut_joins_the_mask(kind):
    counts = in_gamut_counts(GRID)
    assert not GRID.in_gamut[0]
    counts[0] = 10**7
    weights = weights_of_counts(counts, GRID, kind)
    expected = in_loops(counts, GRID, kind, smoothing=0.5, floor=1e-5, mixing=0.5)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert weights[0] < weights[1] == weights.max()


counted = st.lists(st.integers(0, 10**7), min_size=GRID.n_bins, max_size=GRID.n_bins).filter(
    lambda counts: np.count_nonzero(counts) >= 2
)


@KINDS
@given(counts=counted)
def test_weights_are_positive_and_finite_and_their_weighted_mean_is_one(kind, counts):
    counts = np.array(counts)
    weights = weights_of_counts(counts, GRID, kind)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert counts / counts.sum() @ weights.astype(np.float64) == pytest.approx(1, abs=1e-6)


@given(counts=counted)
def test_the_rarer_the_cell_the_heavier(counts):
    counts = np.array(counts)
    weights = weights_of_counts(counts, GRID, "neglog")
    order = np.argsort(counts, kind="stable")
    assert (np.diff(weights[order]) <= 0).all()
    assert weights[order[0]] > weights[order[-1]] or counts.min() == counts.max()


@KINDS
@pytest.mark.parametrize("n_reached", [1, 0])
def test_fewer_than_two_cells_are_refused_with_the_cure(kind, n_reached):
    counts = np.zeros(GRID.n_bins, dtype=np.int64)
    counts[40] = 1000 * n_reached
    match = "reach 1 of 81 cells.*count colour photographs" if n_reached else "not all 0"
    with pytest.raises(ValueError, match=match):
        weights_of_counts(counts, GRID, kind)


@pytest.mark.parametrize(
    "counts", [np.ones(80, dtype=int), np.full(81, -1), np.ones(81), np.ones((81, 1), dtype=int)]
)
def test_counts_that_do_not_fit_are_refused(counts):
    with pytest.raises(ValueError, match=r"counts must be \(81,\) whole numbers"):
        weights_of_counts(counts, GRID)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be 'neglog', 'zhang' or 'none', got 'log'"):
        weights_of_counts(in_gamut_counts(GRID), GRID, "log")
