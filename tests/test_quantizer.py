"""The cells of the ab plane against brute force, a k-d tree, and their own promises."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from zcolor.decode import decode_logits
from zcolor.lab import rgb_to_lab
from zcolor.quantizer import AbGrid

GRID = AbGrid()


def pixels(points, dtype=torch.float32):
    """(m, 2) ab -> (1, 2, m, 1)."""
    return torch.as_tensor(np.asarray(points), dtype=dtype).t()[None, :, :, None].contiguous()


def column(tensor):
    """(1, k, m, 1) or (1, m, 1) -> (m, k) or (m,) NumPy."""
    array = tensor[0, ..., 0].numpy()
    return array.T if array.ndim == 2 else array


def random_ab(n, reach=140.0, seed=0):
    return np.random.default_rng(seed).uniform(-reach, reach, (n, 2))


def free_points(n=313, seed=5):
    return np.random.default_rng(seed).uniform(-100, 100, (n, 2)).astype(np.float32)


def numpy_encode(ab, bins=18, low=-110.0, high=110.0):
    """One loop, one pixel at a time."""
    width = (high - low) / bins
    cells = []
    for a, b in ab:
        index = [min(max(math.floor((v - low) / width), 0), bins - 1) for v in (a, b)]
        cells.append(index[0] * bins + index[1])
    return np.array(cells)


def numpy_soft_encode(ab, centers, k, sigma):
    """Brute force over all centres: sorted distances and weights of the k nearest, by pixel."""
    distances, weights = [], []
    for point in ab:
        apart = np.sqrt(((centers - point) ** 2).sum(axis=1))
        near = np.sort(apart)[:k]
        gauss = np.exp(-(near**2 - near[0] ** 2) / (2 * sigma**2))
        distances.append(near)
        weights.append(gauss / gauss.sum())
    return np.array(distances), np.array(weights)


# ---- the grid --------------------------------------------------------------------------------


def test_the_grid_of_the_design():
    assert GRID.n_bins == 324
    assert GRID.width == pytest.approx(220 / 18)
    for ia, ib in [(0, 0), (0, 17), (8, 9), (17, 3)]:
        expected = [-110 + (i + 0.5) * 220 / 18 for i in (ia, ib)]
        assert GRID.centers[ia * 18 + ib].tolist() == pytest.approx(expected)


def test_neutral_is_the_corner_of_four_cells():
    nearest = GRID.centers.norm(dim=1).sort().values
    assert nearest[:4].tolist() == pytest.approx([8.642] * 4, abs=1e-3)
    assert nearest[4] > 19


def test_in_gamut_cells():
    axis = np.linspace(0, 1, 64)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    ab = column(rgb_to_lab(torch.as_tensor(cube).t()[None, :, :, None])[:, 1:])
    index = np.clip(np.floor((ab + 110) / (220 / 18)), 0, 17).astype(int)
    reached = np.zeros(324, dtype=bool)
    reached[index[:, 0] * 18 + index[:, 1]] = True
    assert GRID.in_gamut.dtype == torch.bool
    assert 170 <= GRID.in_gamut.sum() <= 190
    assert (GRID.in_gamut.numpy() == reached).all()


def test_in_gamut_of_free_centers():
    grid = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [60.0, 60.0], [-110.0, -110.0]]))
    assert grid.in_gamut.tolist() == [True, True, False]


# ---- encode ----------------------------------------------------------------------------------


def test_encode_equals_loop():
    ab = random_ab(5000)
    assert (column(GRID.encode(pixels(ab, torch.float64))) == numpy_encode(ab)).all()


def test_encode_keeps_the_layout_of_pixels():
    ab = torch.from_numpy(random_ab(2 * 5 * 7).reshape(2, 5, 7, 2)).permute(0, 3, 1, 2)
    cells = GRID.encode(ab)
    assert cells.shape == (2, 5, 7)
    assert cells.dtype == torch.int64
    assert cells[1, 4, 2] == numpy_encode(ab[1, :, 4, 2][None].numpy())[0]


def test_values_outside_go_to_the_edge():
    ab = [[-500, -500], [500, 500], [0.1, 1e30], [-110, 110]]
    assert column(GRID.encode(pixels(ab))).tolist() == [0, 323, 9 * 18 + 17, 17]


@given(bins=st.integers(2, 40), low=st.floats(-200, 50), span=st.floats(1, 400), data=st.data())
def test_the_centre_of_a_cell_is_in_it(bins, low, span, data):
    grid = AbGrid(bins, low, low + span)
    cell = data.draw(st.integers(0, grid.n_bins - 1))
    assert grid.encode(grid.centers[cell].view(1, 2, 1, 1)).item() == cell


FREE = AbGrid.from_centers(torch.from_numpy(free_points()))
ANY_FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize("grid", [GRID, FREE, AbGrid(2)], ids=["regular", "free", "two"])
@given(a=ANY_FINITE, b=ANY_FINITE)
def test_any_finite_ab_is_put_into_a_cell(grid, a, b):
    ab = torch.tensor([a, b]).view(1, 2, 1, 1)
    assert 0 <= grid.encode(ab).item() < grid.n_bins
    indices, weights = grid.soft_encode(ab, k=4)
    assert ((indices >= 0) & (indices < grid.n_bins)).all()
    assert len(set(indices.flatten().tolist())) == 4
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_put_into_a_cell_too(dtype):
    biggest = torch.finfo(dtype).max
    ab = torch.tensor([[biggest, -biggest], [-biggest, 0], [33.0, -47.0]], dtype=dtype)
    cells = GRID.encode(ab.t()[None, :, :, None]).flatten().tolist()
    assert cells == [17 * 18, 9, 11 * 18 + 5]


@pytest.mark.parametrize("grid", [GRID, FREE], ids=["regular", "free"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(grid, bad):
    ab = torch.zeros(1, 2, 3, 3)
    ab[0, 1, 2, 0] = bad
    for encode in (grid.encode, grid.soft_encode):
        with pytest.raises(ValueError, match="NaN or infinite values, which belong to no cell"):
            encode(ab)


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(2, 3, 3), torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.int64)],
)
def test_other_shapes_are_refused(bad):
    with pytest.raises(ValueError, match=r"floating tensor of shape \(n, 2, h, w\), got torch"):
        GRID.encode(bad)
    with pytest.raises(ValueError, match=r"floating tensor of shape \(n, 2, h, w\), got torch"):
        GRID.soft_encode(bad)


# ---- soft encode -----------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("sigma", [None, 3.0])
def test_soft_encode_equals_brute_force(k, sigma):
    ab = random_ab(1500, seed=k)
    indices, weights = GRID.soft_encode(pixels(ab, torch.float64), k=k, sigma=sigma)
    clamped = ab.clip(-110, 110)
    centers = GRID.centers.double().numpy()
    distances, expected = numpy_soft_encode(clamped, centers, k, sigma or GRID.width / 2)
    # Where two cells tie either may be named: their distances are compared, not their numbers.
    apart = np.sqrt(((centers[column(indices)] - clamped[:, None]) ** 2).sum(axis=2))
    assert np.abs(apart - distances).max() < 1e-4
    assert np.abs(column(weights) - expected).max() < 1e-5
    assert (
        np.sort(column(indices), axis=1)[:, 1:] != np.sort(column(indices), axis=1)[:, :-1]
    ).all()


@pytest.mark.parametrize("bins", [2, 3, 4, 7])
def test_small_grids_equal_brute_force(bins):
    grid = AbGrid(bins, -30, 70)
    ab = random_ab(600, seed=bins)
    k = min(5, grid.n_bins)
    indices, weights = grid.soft_encode(pixels(ab, torch.float64), k=k)
    clamped = ab.clip(-30, 70)
    centers = grid.centers.double().numpy()
    distances, expected = numpy_soft_encode(clamped, centers, k, grid.width / 2)
    apart = np.sqrt(((centers[column(indices)] - clamped[:, None]) ** 2).sum(axis=2))
    assert np.abs(apart - distances).max() < 1e-4
    assert np.abs(column(weights) - expected).max() < 1e-5


def test_the_nearest_cell_comes_first_and_is_the_hard_one():
    ab = pixels(random_ab(3000, seed=9))
    indices, weights = GRID.soft_encode(ab)
    assert torch.equal(indices[:, 0], GRID.encode(ab))
    assert all((weights[:, i] >= weights[:, j]).all() for i, j in pairwise(range(5)))


@given(
    a=st.floats(-150, 150, width=32),
    b=st.floats(-150, 150, width=32),
    k=st.integers(1, 9),
    sigma=st.floats(0.5, 60),
)
def test_soft_weights_are_a_distribution_over_at_most_k_cells(a, b, k, sigma):
    indices, weights = GRID.soft_encode(torch.tensor([a, b]).view(1, 2, 1, 1), k=k, sigma=sigma)
    dense = torch.zeros(324).scatter_add_(0, indices.flatten(), weights.flatten())
    assert dense.sum().item() == pytest.approx(1, abs=1e-5)
    assert 1 <= (dense > 0).sum() <= k
    assert (weights >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_weights_have_the_dtype_of_ab(dtype):
    indices, weights = GRID.soft_encode(torch.zeros(2, 2, 3, 4, dtype=dtype))
    assert weights.dtype == dtype
    assert indices.dtype == torch.int64
    assert indices.shape == weights.shape == (2, 5, 3, 4)


@pytest.mark.parametrize("grid", [GRID, AbGrid(18).from_centers(GRID.centers)])
@pytest.mark.parametrize(("k", "sigma"), [(0, None), (325, None), (5, 0.0), (5, -1), (5, math.nan)])
def test_senseless_k_and_sigma_are_refused(grid, k, sigma):
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.324 and sigma above 0, got"):
        grid.soft_encode(torch.zeros(1, 2, 1, 1), k=k, sigma=sigma)


def test_regular_and_free_grids_of_the_same_centres_agree():
    free = AbGrid.from_centers(GRID.centers)
    ab = pixels(random_ab(2000, reach=109, seed=4))
    assert torch.equal(free.encode(ab), GRID.encode(ab))
    for ours, theirs in zip(free.soft_encode(ab), GRID.soft_encode(ab)):
        assert torch.allclose(ours.double(), theirs.double(), atol=1e-4)


# ---- any list of centres ---------------------------------------------------------------------


def test_free_centres_equal_a_kd_tree():
    points = free_points()
    ab = random_ab(4000, seed=8).astype(np.float32)
    distances, nearest = cKDTree(points).query(ab, k=5)
    assert FREE.n_bins == 313
    assert (column(FREE.encode(pixels(ab))) == nearest[:, 0]).all()
    indices, weights = FREE.soft_encode(pixels(ab), sigma=5.0)
    chosen = np.sqrt(((points[column(indices)] - ab[:, None]) ** 2).sum(axis=2))
    assert np.abs(chosen - distances).max() < 1e-3
    gauss = np.exp(-(distances**2 - distances[:, :1] ** 2) / 50)
    assert np.abs(column(weights) - gauss / gauss.sum(axis=1, keepdims=True)).max() < 1e-3


def test_parts_of_a_large_picture_are_joined_in_order(monkeypatch):
    ab = torch.from_numpy(random_ab(2 * 6 * 8).reshape(2, 6, 8, 2)).permute(0, 3, 1, 2)
    whole = FREE.soft_encode(ab)
    monkeypatch.setattr("zcolor.quantizer._PAIRS_AT_ONCE", 313 * 7)
    parts = FREE.soft_encode(ab)
    assert torch.equal(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


def test_width_of_free_centres_is_their_usual_spacing():
    points = free_points()
    spacing = np.sort(cKDTree(points).query(points, k=2)[0][:, 1])
    assert FREE.width == pytest.approx(spacing[156], rel=1e-3)  # the median of 313
    assert AbGrid.from_centers(GRID.centers).width == pytest.approx(GRID.width, rel=1e-4)


def test_free_centres_are_a_copy():
    points = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    grid = AbGrid.from_centers(points)
    points += 1
    assert grid.centers[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (torch.zeros(5), r"shape \(q, 2\) with q >= 2, got \(5,\)"),
        (torch.zeros(5, 3), r"got \(5, 3\)"),
        (torch.zeros(1, 2), r"got \(1, 2\)"),
        (torch.zeros(3, 2), "each must stand once"),
        (torch.tensor([[0.0, math.nan], [1.0, 1.0]]), "must be finite"),
        (torch.tensor([[0.0, math.inf], [1.0, 1.0]]), "must be finite"),
    ],
)
def test_bad_centres_are_refused(points, words):
    with pytest.raises(ValueError, match=words):
        AbGrid.from_centers(points)


@pytest.mark.parametrize(
    ("bins", "low", "high"),
    [
        (1, -110, 110),
        (0, -110, 110),
        (18, 5, 5),
        (18, 110, -110),
        (18, math.nan, 110),
        (18, -math.inf, 110),
        (18, -math.inf, math.inf),
        (18.5, -110, 110),
        (math.nan, -110, 110),
        ("18", -110, 110),
        (None, -110, 110),
    ],
)
def test_bad_grids_are_refused(bins, low, high):
    with pytest.raises(ValueError, match=f"at least 2 bins and finite low < high.*bins={bins}"):
        AbGrid(bins, low, high)


# ---- descriptions ----------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [GRID, AbGrid(7, -90.5, 120), FREE])
def test_description_round_trip(grid):
    again = AbGrid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again == grid
    assert hash(again) == hash(grid)
    assert again.bins == grid.bins
    assert again.width == pytest.approx(grid.width)


def test_equality():
    assert AbGrid(18) == GRID
    assert AbGrid(17) != GRID
    assert AbGrid(18, -100, 110) != GRID
    assert GRID != "AbGrid()"


def test_representation_names_the_call():
    assert eval(repr(AbGrid(7, -90, 120)), {"AbGrid": AbGrid}) == AbGrid(7, -90, 120)
    assert "313 points" in repr(FREE)


@pytest.mark.parametrize("description", [{}, {"bins": 18}, {"bins": 18, "low": -110}])
def test_incomplete_descriptions_are_refused(description):
    with pytest.raises(ValueError, match="described by 'bins', 'low' and 'high', or by 'centers'"):
        AbGrid.from_dict(description)


# ---- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.38, 1.0])
def test_a_neutral_ramp_comes_back_neutral(temperature):
    ramp = torch.linspace(0, 1, 256).view(1, 1, -1, 1).expand(1, 3, -1, 1)
    generator = torch.Generator().manual_seed(1)
    nearly = torch.rand(1, 2, 256, 1, generator=generator) * 0.2 - 0.1
    for ab in (rgb_to_lab(ramp)[:, 1:], torch.zeros(1, 2, 4, 1), nearly):
        indices, weights = GRID.soft_encode(ab)
        n, _, h, w = ab.shape
        dense = torch.zeros(n, 324, h, w).scatter_(1, indices, weights)
        back = decode_logits(dense.clamp(min=1e-20).log(), GRID.centers, temperature)
        assert back.norm(dim=1).max() < 0.5


def test_the_mean_of_soft_targets_follows_the_colour():
    """At T = 1 the way there and back is right to a fraction of a cell, far from the edge."""
    ab = pixels(random_ab(500, reach=90, seed=3))
    indices, weights = GRID.soft_encode(ab)
    dense = torch.zeros(1, 324, 500, 1).scatter_(1, indices, weights)
    back = decode_logits(dense.clamp(min=1e-20).log(), GRID.centers, 1.0)
    assert (back - ab).norm(dim=1).max() < 0.25 * GRID.width
