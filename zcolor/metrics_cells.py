"""Measures of a classifier's probabilities, one function each, with the paper it comes from.

They are taken at the network's own resolution and temperature 1: `logits` are what the network
answers, `cells` the true cells of the ab that was averaged over the pixels of each output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Bins of confidence in a reliability diagram, as in the experiments of Guo et al. 2017.
CALIBRATION_BINS = 15


def top_k_accuracy(logits: Tensor, cells: Tensor, k: int) -> float:
    """Share of the pixels whose true cell is among the k most probable.

    Parameters
    ----------
    logits
        (n, q, h, w), any floating dtype.
    cells
        (n, h, w) int64, the true cell of each pixel.
    k
        1 to q.

    Returns
    -------
    In [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit or `k` is out of range.

    Notes
    -----
    The top-k measure of Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge",
    IJCV 115, 2015, with the cells of Zhang et al. 2016, section 2.1, as the classes.

    Examples
    --------
    >>> logits = torch.tensor([1.0, 3.0, 2.0]).view(1, 3, 1, 1)
    >>> cell = torch.tensor([[[2]]])
    >>> top_k_accuracy(logits, cell, 1), top_k_accuracy(logits, cell, 2)
    (0.0, 1.0)
    """
    _check(logits, cells)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k must lie in 1..{logits.shape[1]}, got {k}")
    best = logits.topk(k, dim=1).indices  # (n, k, h, w)
    return float((best == cells.unsqueeze(1)).any(dim=1).double().mean())


def cell_cross_entropy(logits: Tensor, cells: Tensor) -> float:
    """Mean of -log p(true cell), without rebalancing and with hard cells.

    Parameters
    ----------
    logits, cells
        As for `top_k_accuracy`.

    Returns
    -------
    In nats; log q for a network that knows nothing.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Zhang et al. 2016, equation 2, with v = 1 and a one-hot Z.

    Examples
    --------
    >>> round(cell_cross_entropy(torch.zeros(1, 4, 1, 1), torch.tensor([[[2]]])), 4)  # log 4
    1.3863
    """
    _check(logits, cells)
    return float(F.cross_entropy(logits.float(), cells, reduction="none").double().mean())


def calibration_sums(logits: Tensor, cells: Tensor, n_bins: int = CALIBRATION_BINS) -> Tensor:
    """Sort pixels by the network's confidence: what a reliability diagram is drawn from.

    Parameters
    ----------
    logits, cells
        As for `top_k_accuracy`.
    n_bins
        Bins of equal width over [0, 1].

    Returns
    -------
    (3, n_bins) float64: number of pixels, sum of the confidence (the largest probability), and
    number of hits of the most probable cell. Those of several photos add up.

    Raises
    ------
    ValueError
        If the shapes do not fit or there is no bin.

    Notes
    -----
    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 2.

    Examples
    --------
    >>> calibration_sums(torch.zeros(1, 2, 1, 1), torch.tensor([[[0]]]), n_bins=2).tolist()
    [[0.0, 1.0], [0.0, 0.5], [0.0, 1.0]]
    """
    _check(logits, cells)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    confidence, best = torch.softmax(logits.float(), dim=1).max(dim=1)  # (n, h, w)
    confidence = confidence.flatten().double()
    bins = (confidence * n_bins).long().clamp(max=n_bins - 1)
    hits = (best == cells).flatten().double()
    weights = (torch.ones_like(hits), confidence, hits)
    return torch.stack([torch.bincount(bins, weights=w, minlength=n_bins) for w in weights])


def calibration_error(sums: Tensor) -> float:
    """Expected calibration error: how far confidence and hit rate lie apart, on average.

    Parameters
    ----------
    sums
        (3, n_bins) of `calibration_sums`, added up over photos.

    Returns
    -------
    In [0, 1].

    Raises
    ------
    ValueError
        If there are no pixels.

    Notes
    -----
    Guo et al. 2017, equation 3.

    Examples
    --------
    >>> calibration_error(torch.tensor([[4.0, 4.0], [1.0, 3.0], [1.0, 4.0]]))
    0.125
    """
    n_pixels, confidence, hits = sums
    if float(n_pixels.sum()) <= 0:
        raise ValueError("no pixels were counted; add the sums of at least one photo")
    return float((confidence - hits).abs().sum() / n_pixels.sum())


def _check(logits: Tensor, cells: Tensor) -> None:
    if logits.ndim != 4 or cells.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            "logits must be (n, q, h, w) and cells (n, h, w), got "
            f"{tuple(logits.shape)} and {tuple(cells.shape)}"
        )
