"""Measures of colourings, one function each, with the paper it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from zcolor.quantizer import AbGrid

# Thresholds 0, 1, ..., 150 ab units (Zhang et al. 2016, section 3.1).
AUC_THRESHOLDS = 151


def auc_scores(error: Tensor) -> Tensor:
    """Share of the thresholds 0, 1, ..., 150 that each pixel's error stays within.

    The mean over pixels is the area under the curve of "share of pixels with an error of at most
    t" against t.

    Parameters
    ----------
    error
        Euclidean ab distances, any shape, not negative.

    Returns
    -------
    Same shape, percent in [0, 100].

    Notes
    -----
    Zhang et al. 2016, section 3.1 ("raw accuracy").

    Examples
    --------
    >>> [round(score, 1) for score in auc_scores(torch.tensor([0.0, 75.5, 200.0])).tolist()]
    [100.0, 49.7, 0.0]
    """
    within = AUC_THRESHOLDS - error.ceil().clamp(0, AUC_THRESHOLDS)
    return within * (100 / AUC_THRESHOLDS)


def mean_chroma(ab: Tensor) -> Tensor:
    """Mean distance from neutral.

    Parameters
    ----------
    ab
        (n, 2, h, w).

    Returns
    -------
    (n,) in ab units.

    Examples
    --------
    >>> mean_chroma(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).item()
    5.0
    """
    chroma: Tensor = ab.norm(dim=1)
    return chroma.mean(dim=(1, 2))


@dataclass
class AucMeter:
    """Collects AuC, raw and class-rebalanced, photo by photo.

    Rebalanced: each pixel counts 1 / p(cell of its true ab), p over the pixels of the measured
    set; so it is the mean over the reached cells of each cell's own AuC.

    Parameters
    ----------
    grid
        Cells of the rebalancing.

    Notes
    -----
    Zhang et al. 2016, section 3.1.

    Examples
    --------
    >>> meter = AucMeter()
    >>> ab = torch.zeros(1, 2, 4, 4)
    >>> meter.add(ab, ab)
    >>> meter.raw(), meter.rebalanced()
    (100.0, 100.0)
    """

    grid: AbGrid = field(default_factory=AbGrid)
    scores: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)

    def add(self, ab: Tensor, truth: Tensor) -> None:
        """Add one photo: its result and its true ab, both (1, 2, h, w)."""
        if ab.shape != truth.shape or ab.shape[0] != 1:
            raise ValueError(
                "one photo at a time, result and truth of one shape (1, 2, h, w); got "
                f"{tuple(ab.shape)} and {tuple(truth.shape)}"
            )
        cells = self.grid.encode(truth).flatten()
        scores = auc_scores((ab - truth).norm(dim=1)).flatten().double()
        n_bins = self.grid.n_bins
        self.scores.append(torch.bincount(cells, weights=scores, minlength=n_bins))
        self.counts.append(torch.bincount(cells, minlength=n_bins))

    def raw(self, photos: Tensor | None = None) -> float:
        """AuC over all pixels, in percent; `photos` chooses some of them by index."""
        scores, counts = self._totals(photos)
        return float(scores.sum() / counts.sum())

    def rebalanced(self, photos: Tensor | None = None) -> float:
        """Class-rebalanced AuC, in percent; `photos` chooses some of them by index."""
        scores, counts = self._totals(photos)
        reached = counts > 0
        return float((scores[reached] / counts[reached]).mean())

    def _totals(self, photos: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.scores:
            raise ValueError("nothing was measured yet; add photos first")
        scores, counts = torch.stack(self.scores), torch.stack(self.counts)
        if photos is not None:
            scores, counts = scores[photos], counts[photos]
        return scores.sum(dim=0), counts.sum(dim=0)
