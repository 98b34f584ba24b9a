"""Measures of colour, one function each, with the paper it comes from.

Measures of pictures stand in `zcolor.metrics_image`, those of classifiers in
`zcolor.metrics_cells`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from skimage.color import deltaE_ciede2000
from torch import Tensor

from zcolor.quantizer import AbGrid

# Thresholds 0, 1, ..., 150 ab units (Zhang et al. 2016, section 3.1).
AUC_THRESHOLDS = 151
# A pixel whose true chroma is below this, in ab units, counts as grey.
NEUTRAL_CHROMA = 5.0


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

    Notes
    -----
    The mean over pixels of C*ab = sqrt(a*^2 + b*^2): CIE 1976 L*a*b*, in CIE 15:2004,
    "Colorimetry".

    Examples
    --------
    >>> mean_chroma(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).item()
    5.0
    """
    chroma: Tensor = ab.norm(dim=1)
    return chroma.mean(dim=(1, 2))


def mse_ab(ab: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of a and of b; its root is the RMSE.

    Parameters
    ----------
    ab, truth
        (1, 2, h, w) result and true ab.

    Returns
    -------
    (2,) float64: of a and of b, in squared ab units.

    Raises
    ------
    ValueError
        If the shapes differ or are others.

    Notes
    -----
    The squared error of Zhang et al. 2016, equation 1, kept apart by channel; the root over both
    channels is what Larsson, Maire and Shakhnarovich report ("Learning Representations for
    Automatic Colorization", ECCV 2016).

    Examples
    --------
    >>> ab = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    >>> mse_ab(ab, torch.zeros_like(ab)).tolist()
    [9.0, 16.0]
    """
    _check_pair(ab, truth, 2)
    return (ab.double() - truth.double()).square().mean(dim=(0, 2, 3))


def ciede2000(lab: Tensor, truth: Tensor) -> float:
    """Mean colour difference as people see it.

    Parameters
    ----------
    lab, truth
        (1, 3, h, w) Lab of the result and of the truth.

    Returns
    -------
    The mean over pixels; 1 is about the smallest difference that can be seen side by side.

    Raises
    ------
    ValueError
        If the shapes differ or are others.

    Notes
    -----
    CIEDE2000: Luo, Cui, Rigg, "The development of the CIE 2000 colour-difference formula", Color
    Research and Application 26(5), 2001; computed by `skimage.color.deltaE_ciede2000`.
    Test data: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula: Implementation notes,
    supplementary test data, and mathematical observations", the same 30(1), 2005.

    Examples
    --------
    >>> first = torch.tensor([50.0, 2.6772, -79.7751]).view(1, 3, 1, 1)
    >>> second = torch.tensor([50.0, 0.0, -82.7485]).view(1, 3, 1, 1)
    >>> round(ciede2000(first, second), 4)  # pair 1 of Sharma et al. 2005
    2.0425
    """
    _check_pair(lab, truth, 3)
    pair = [pixels[0].permute(1, 2, 0).double().cpu().numpy() for pixels in (lab, truth)]
    return float(deltaE_ciede2000(*pair).mean())  # type: ignore[no-untyped-call]


def lightness_error(lightness: Tensor, truth: Tensor) -> tuple[float, float]:
    """How far a result left the lightness that it was given.

    Parameters
    ----------
    lightness, truth
        (1, 1, h, w) L of the result and of the photo that was coloured.

    Returns
    -------
    mean, largest
        Of |dL|, in L units (0 to 100).

    Raises
    ------
    ValueError
        If the shapes differ or are others.

    Notes
    -----
    L* of CIE 15:2004. Rounding to 8 bits alone costs up to 0.25.

    Examples
    --------
    >>> lightness_error(torch.tensor([1.0, 4.0]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
    (2.5, 4.0)
    """
    _check_pair(lightness, truth, 1)
    difference = (lightness.double() - truth.double()).abs()
    return float(difference.mean()), float(difference.max())


def cast_sums(ab: Tensor, truth: Tensor) -> tuple[Tensor, int]:
    """Sum the colour of what should be grey: over a set of photos, its mean is the colour cast.

    Parameters
    ----------
    ab, truth
        (1, 2, h, w) result and true ab.

    Returns
    -------
    sums, n_pixels
        (2,) float64 sums of the result's a and b over the pixels whose true chroma is below
        `NEUTRAL_CHROMA`, and the number of these pixels.

    Raises
    ------
    ValueError
        If the shapes differ or are others.

    Notes
    -----
    The "equivalent circle" test for casts looks at the mean of the ab histogram (Gasparini and
    Schettini, "Color balancing of digital photos using simple image statistics", Pattern
    Recognition 37, 2004); here the truth tells which pixels ought to be neutral.

    Examples
    --------
    >>> result = torch.tensor([[2.0, 50.0], [6.0, 50.0]]).view(1, 2, 1, 2)
    >>> truth = torch.tensor([[0.0, 40.0], [0.0, 40.0]]).view(1, 2, 1, 2)
    >>> sums, n_pixels = cast_sums(result, truth)
    >>> sums.tolist(), n_pixels
    ([2.0, 6.0], 1)
    """
    _check_pair(ab, truth, 2)
    neutral = truth.norm(dim=1) < NEUTRAL_CHROMA  # (1, h, w)
    return (ab.double() * neutral.unsqueeze(1)).sum(dim=(0, 2, 3)), int(neutral.sum())


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


def _check_pair(result: Tensor, truth: Tensor, n_channels: int) -> None:
    expected = result.ndim == 4 and result.shape[:2] == (1, n_channels) and result.numel() > 0
    if not expected or result.shape != truth.shape:
        raise ValueError(
            f"one photo at a time, result and truth of one shape (1, {n_channels}, h, w); got "
            f"{tuple(result.shape)} and {tuple(truth.shape)}"
        )
