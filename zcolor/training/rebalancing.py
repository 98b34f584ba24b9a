"""Rebalancing weights: how much each cell of the ab grid counts in the loss.

References
----------
Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2.2 (class rebalancing).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zcolor.quantizer import AbGrid
from zcolor.training.settings import PriorSettings, Rebalancing

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def weights_of_counts(
    counts: npt.ArrayLike,
    grid: AbGrid,
    kind: Rebalancing = "neglog",
    *,
    settings: PriorSettings | None = None,
) -> Float32s:
    """Weigh colours so that rare ones count in the loss.

    `neglog` is w = -log p; `zhang` is w = 1 / ((1 - lambda) p_smooth + lambda / Q) with p smoothed
    by a Gaussian of the distance between centres; `none` is 1. All are scaled so that the mean of
    w over the counted pixels is 1, sum(p w) = 1.

    Everything stays inside a mask of Q cells: those that sRGB reaches and, as averages of colours
    may fall just outside of them, those that were counted. First `floor` is added to every p of
    the mask and p is made to sum to 1 again, so that a cell that was never seen has a weight, and
    a bounded one. Smoothing shares out the p of a cell among the mask, so none leaves it. The cells
    outside the mask, which no photo has, get the largest weight inside it.

    Parameters
    ----------
    counts
        (q,) pixels counted in each cell; whole numbers.
    grid
        The q cells.
    kind
        `neglog`, `zhang` or `none`.
    settings
        `smoothing`, `floor` and `mixing` (lambda) of this are used; None takes the defaults.

    Returns
    -------
    (q,) weights, all positive and finite.

    Raises
    ------
    ValueError
        If the counts do not fit the grid, fewer than two cells were reached (unless `kind` is
        `none`), or the kind is unknown.

    Notes
    -----
    Zhang et al. 2016, equation 4 (`zhang`).

    Examples
    --------
    >>> import torch
    >>> grid = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [40.0, 40.0]]))
    >>> [f"{w:.2f}" for w in weights_of_counts([900, 100], grid)]
    ['0.32', '7.08']
    """
    settings = settings or PriorSettings()
    counts = np.asarray(counts)
    if kind not in ("neglog", "zhang", "none"):
        raise ValueError(f"kind must be 'neglog', 'zhang' or 'none', got {kind!r}")
    _check_counts(counts, grid)
    if kind == "none":
        return np.ones(grid.n_bins, dtype=np.float32)
    if np.count_nonzero(counts) < 2:
        raise ValueError(
            f"the photographs reach {np.count_nonzero(counts)} of {grid.n_bins} cells, so there "
            "is nothing to balance; count colour photographs (these are grey, or of one colour), "
            "use more bins, or train with rebalancing 'none'"
        )
    share = counts / counts.sum()
    mask = grid.in_gamut.numpy() | (counts > 0)
    floored = share[mask] + settings.floor
    floored /= floored.sum()
    if kind == "neglog":
        inside = -np.log(floored)
    else:
        smooth = _smooth(floored, grid.centers.numpy()[mask], settings.smoothing * grid.width)
        inside = 1 / ((1 - settings.mixing) * smooth + settings.mixing / len(smooth))
    weights = np.full(grid.n_bins, inside.max())
    weights[mask] = inside
    scaled: Float32s = (weights / (share @ weights)).astype(np.float32)
    return scaled


def _check_counts(counts: npt.NDArray[Any], grid: AbGrid) -> None:
    whole = counts.dtype.kind in "iu"
    if counts.shape != (grid.n_bins,) or not whole or counts.min() < 0 or counts.sum() < 1:
        raise ValueError(
            f"counts must be ({grid.n_bins},) whole numbers, none negative and not all 0, to fit "
            f"{grid}; got {counts.dtype} {counts.shape}"
            + (f" with sum {counts.sum()}" if whole else "")
            + "; give counts and grid of the same priors, made of at least one photo"
        )


def _smooth(share: Float64s, centers: Float32s, sigma: float) -> Float64s:
    """Spread each share over its neighbours with a Gaussian; the sum is kept."""
    if sigma == 0:
        return share
    squared = ((centers[:, None].astype(np.float64) - centers[None]) ** 2).sum(axis=2)
    kernel = np.exp(squared / (-2 * sigma**2))
    smooth: Float64s = share @ (kernel / kernel.sum(axis=1, keepdims=True))
    return smooth
