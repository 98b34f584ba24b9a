"""`Evaluation`: measures of colourings gathered photo by photo, with bootstrap intervals.

It keeps sums alone, so memory does not grow with the number of photos. All methods are measured on
the same replicates of the set (`zcolor.bootstrap`), so that their differences to the reference have
intervals of their own, which are narrower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from zcolor.bootstrap import (
    REPLICATES,
    Figure,
    Floats,
    RatioBootstrap,
    divide,
    interval,
    poisson_weights,
)
from zcolor.metrics import AUC_THRESHOLDS
from zcolor.metrics_cells import (
    CALIBRATION_BINS,
    calibration_error,
    calibration_sums,
    cell_cross_entropy,
    top_k_accuracy,
)
from zcolor.quantizer import AbGrid
from zcolor.scores import MEASURES, PLACE, PhotoScore

# Measures whose root is taken of the mean over all photos.
_ROOTS = ("rmse_a", "rmse_b")
CELL_MEASURES = ("top1", "top5", "cross_entropy")
"""What `CellEvaluation` measures: shares in percent, and nats."""


class Evaluation:
    """Measures of several methods over one set of photos, in constant memory.

    Parameters
    ----------
    methods
        Names of what is compared.
    reference
        The method that differences are taken to.
    grid
        Cells of the rebalancing.
    n_replicates
        B, bootstrap replicates.
    seed
        Of the replicates.

    Raises
    ------
    ValueError
        If a name stands twice, the reference is none of the methods, or B is below 1.

    Examples
    --------
    >>> evaluation = Evaluation(["grey"])
    >>> from zcolor.scores import Truth, score_photo
    >>> truth = Truth(np.full((16, 16, 3), 255, np.uint8), evaluation.grid)
    >>> evaluation.add(0, {"grey": score_photo(truth.rgb, truth)})
    >>> evaluation.figures("grey")["auc_raw"]
    Figure(value=100.0, low=nan, high=nan)
    """

    def __init__(
        self,
        methods: Sequence[str],
        *,
        reference: str = "grey",
        grid: AbGrid | None = None,
        n_replicates: int = REPLICATES,
        seed: int = 0,
    ) -> None:
        self.methods = tuple(methods)
        if len(set(self.methods)) != len(self.methods) or reference not in self.methods:
            raise ValueError(
                f"methods must have different names, the reference {reference!r} among them; got "
                f"{', '.join(map(repr, self.methods))}"
            )
        if n_replicates < 1 or seed < 0:
            raise ValueError(
                f"n_replicates must be at least 1 and seed at least 0, got {n_replicates}, {seed}"
            )
        self.reference = reference
        self.grid = grid or AbGrid()
        self.n_replicates = n_replicates
        self.seed = seed
        self.n_photos = 0
        self._tallies = {name: _Tally(self.grid.n_bins, n_replicates) for name in self.methods}

    def add(self, photo: int, scores: Mapping[str, PhotoScore]) -> None:
        """Add a photo: its number, which decides its bootstrap weights, and every method's score.

        Raises
        ------
        ValueError
            If a method is missing, or one is unknown.
        """
        if set(scores) != set(self.methods):
            raise ValueError(
                f"expected the scores of {', '.join(self.methods)}; got {', '.join(scores)}"
            )
        weights = poisson_weights(self.seed, photo, self.n_replicates)
        for name, score in scores.items():
            self._tallies[name].add(weights, score)
        self.n_photos += 1

    def figures(self, method: str) -> dict[str, Figure]:
        """Every measure of a method that was taken, by name, with its interval."""
        tally = self._tallies[method]
        return _figures(*tally.results(), tally.counts)

    def gains(self, method: str, reference: str | None = None) -> dict[str, Figure]:
        """The same for the differences to the reference (or another), on the same replicates."""
        value, replicates = self._tallies[method].results()
        base, base_replicates = self._tallies[reference or self.reference].results()
        counts = self._tallies[method].counts
        gains = _figures(value - base, replicates - base_replicates, counts)
        # The largest of all photos has no difference worth a number.
        gains.pop("lightness_max", None)
        return gains

    def cell_scores(self, method: str) -> Floats:
        """(q,) AuC in percent of the pixels whose true colour is in each cell; NaN: none is."""
        return self._tallies[method].cells.values()

    def error_shares(self, method: str) -> Floats:
        """(151,) share of the pixels with an ab error of at most 0, 1, ..., 150."""
        errors = self._tallies[method].errors
        shares: Floats = errors.cumsum()[:AUC_THRESHOLDS] / max(float(errors.sum()), 1.0)
        return shares


class _Tally:
    """What is kept of one method."""

    def __init__(self, n_cells: int, n_replicates: int) -> None:
        self.ratios = RatioBootstrap(len(MEASURES), n_replicates)
        self.cells = RatioBootstrap(n_cells, n_replicates)
        self.errors = np.zeros(AUC_THRESHOLDS + 1)
        self.n_in_cells = 0
        self.lightness_max = float("nan")

    def add(self, weights: Floats, score: PhotoScore) -> None:
        self.ratios.add(weights, score.numerators, score.denominators)
        self.cells.add(weights, score.cell_scores, score.cell_counts)
        self.errors += score.errors
        self.n_in_cells += bool(score.cell_counts.any())
        place = PLACE["lightness_max"]
        if score.denominators[place]:
            largest = score.numerators[place] / score.denominators[place]
            self.lightness_max = float(np.fmax(self.lightness_max, largest))

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n_measures,) photos that had a part in each measure."""
        counts = self.ratios.counts.copy()
        counts[PLACE["auc_rebalanced"]] = self.n_in_cells  # a mean over cells
        return counts

    def results(self) -> tuple[Floats, Floats]:
        """(n_measures,) of the set and (B, n_measures) of the replicates."""
        value, replicates = self.ratios.values(), self.ratios.replicates()
        roots = [PLACE[name] for name in _ROOTS]
        value[roots], replicates[:, roots] = np.sqrt(value[roots]), np.sqrt(replicates[:, roots])
        place = PLACE["auc_rebalanced"]
        value[place] = _mean_over_reached(self.cells.values()[None])[0]
        replicates[:, place] = _mean_over_reached(self.cells.replicates())
        # An extreme has no bootstrap interval.
        place = PLACE["lightness_max"]
        value[place], replicates[:, place] = self.lightness_max, np.nan
        return value, replicates


def _figures(
    values: Floats, replicates: Floats, counts: npt.NDArray[np.int64]
) -> dict[str, Figure]:
    return {
        measure.name: interval(float(value), replicates[:, i], n_photos=int(counts[i]))
        for i, (measure, value) in enumerate(zip(MEASURES, values, strict=True))
        if np.isfinite(value)
    }


def _mean_over_reached(cells: Floats) -> Floats:
    """Mean over the cells (the last axis) that are not NaN; NaN where all are."""
    reached = np.isfinite(cells)
    return divide(np.where(reached, cells, 0).sum(axis=-1), reached.sum(axis=-1, dtype=float))


class CellEvaluation:
    """The answers of a classifier over a set of photos: hits, cross-entropy and calibration.

    Parameters
    ----------
    n_replicates, seed
        Of the bootstrap, as for `Evaluation`.

    Examples
    --------
    >>> evaluation = CellEvaluation()
    >>> evaluation.add(0, score_cells(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2).long()))
    >>> round(evaluation.figures()["cross_entropy"].value, 4)
    1.3863
    """

    def __init__(self, *, n_replicates: int = REPLICATES, seed: int = 0) -> None:
        self.n_replicates = n_replicates
        self.seed = seed
        self.calibration = np.zeros((3, CALIBRATION_BINS))
        """Pixels, sum of confidence and hits in each bin of confidence."""
        self._ratios = RatioBootstrap(len(CELL_MEASURES), n_replicates)

    def add(self, photo: int, score: CellScore) -> None:
        """Add a photo: its number, which decides its bootstrap weights, and its score."""
        weights = poisson_weights(self.seed, photo, self.n_replicates)
        n_pixels = np.full(len(CELL_MEASURES), score.calibration[0].sum())
        self._ratios.add(weights, score.means * n_pixels, n_pixels)
        self.calibration += score.calibration

    def figures(self) -> dict[str, Figure]:
        """Top-1 and top-5 in percent and cross-entropy in nats, each with its interval."""
        replicates = self._ratios.replicates()
        return {
            name: interval(float(value), replicates[:, i], n_photos=int(self._ratios.counts[i]))
            for i, (name, value) in enumerate(
                zip(CELL_MEASURES, self._ratios.values(), strict=True)
            )
        }

    def calibration_error(self) -> float:
        """Expected calibration error in percent (`zcolor.metrics_cells.calibration_error`)."""
        return 100 * calibration_error(torch.from_numpy(self.calibration))


@dataclass(frozen=True, eq=False)
class CellScore:
    """A classifier's answer to one photo, measured."""

    means: Floats
    """In the order of `CELL_MEASURES`."""
    calibration: Floats
    """(3, 15) of `zcolor.metrics_cells.calibration_sums`."""


def score_cells(logits: torch.Tensor, cells: torch.Tensor) -> CellScore:
    """Measure the answer to one photo.

    Parameters
    ----------
    logits
        (1, q, h, w) at the network's resolution.
    cells
        (1, h, w) int64 true cells.

    Returns
    -------
    For `CellEvaluation.add`.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> score_cells(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2).long()).means[1]
    np.float64(100.0)
    """
    logits, cells = logits.float().cpu(), cells.cpu()  # the sums are float64, which MPS has not
    means = (
        100 * top_k_accuracy(logits, cells, 1),
        100 * top_k_accuracy(logits, cells, min(5, logits.shape[1])),
        cell_cross_entropy(logits, cells),
    )
    calibration: Floats = calibration_sums(logits, cells).cpu().numpy()
    return CellScore(np.array(means), calibration)
