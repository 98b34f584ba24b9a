"""One colouring beside its truth: every measure of it, as sums that add up over photos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from zcolor.bootstrap import Floats
from zcolor.lab import rgb_to_lab
from zcolor.metrics import (
    AUC_THRESHOLDS,
    auc_scores,
    cast_sums,
    ciede2000,
    lightness_error,
    mean_chroma,
    mse_ab,
)
from zcolor.metrics_image import Rgb8, colorfulness, psnr, psnr_ab, ssim, ssim_ab
from zcolor.quantizer import AbGrid


@dataclass(frozen=True)
class Measure:
    """One row of the table: what is measured and how to read it."""

    name: str
    """Key in the JSON."""
    label: str
    """Name for people."""
    unit: str
    """Unit, or an empty string."""
    better: Literal["higher", "lower", "zero", "truth"]
    """Where a good result lies: `truth` is the value of the true colours."""
    digits: int
    """Decimals shown."""
    over: Literal["pixels", "photos"]
    """A mean over all pixels, or over the photos' own values."""
    needs: Literal["truth", "result"] = "truth"
    """`result` where it describes a picture by itself."""
    slow: bool = False
    """Left out of quick evaluations."""
    extra: bool = False
    """Taken only where its library and weights are there."""


MEASURES: tuple[Measure, ...] = (
    Measure("auc_raw", "AuC raw", "%", "higher", 2, "pixels"),
    Measure("auc_rebalanced", "AuC rebalanced", "%", "higher", 2, "pixels"),
    Measure("psnr_rgb", "PSNR, RGB", "dB", "higher", 2, "photos"),
    Measure("psnr_a", "PSNR, a", "dB", "higher", 2, "photos"),
    Measure("psnr_b", "PSNR, b", "dB", "higher", 2, "photos"),
    Measure("ssim_rgb", "SSIM, RGB", "", "higher", 4, "photos", slow=True),
    Measure("ssim_a", "SSIM, a", "", "higher", 4, "photos", slow=True),
    Measure("ssim_b", "SSIM, b", "", "higher", 4, "photos", slow=True),
    Measure("mse_a", "MSE, a", "ab²", "lower", 1, "pixels"),
    Measure("mse_b", "MSE, b", "ab²", "lower", 1, "pixels"),
    Measure("rmse_a", "RMSE, a", "ab", "lower", 2, "pixels"),
    Measure("rmse_b", "RMSE, b", "ab", "lower", 2, "pixels"),
    Measure("ciede2000", "CIEDE2000", "", "lower", 2, "photos", slow=True),
    Measure("lpips", "LPIPS, AlexNet", "", "lower", 4, "photos", slow=True, extra=True),
    Measure("fid", "FID", "", "lower", 2, "photos", slow=True, extra=True),
    Measure("colorfulness", "colourfulness", "", "truth", 1, "photos", "result"),
    Measure("colorfulness_difference", "colourfulness - truth", "", "zero", 1, "photos"),
    Measure("chroma", "mean chroma", "ab", "truth", 2, "photos", "result"),
    Measure("cast_a", "cast, a", "ab", "zero", 2, "pixels"),
    Measure("cast_b", "cast, b", "ab", "zero", 2, "pixels"),
    Measure("lightness_mean", "|dL|, mean", "L", "lower", 3, "pixels"),
    Measure("lightness_max", "|dL|, largest", "L", "lower", 2, "pixels"),
)
"""Every measure of a picture, in the order of the table."""

PLACE = {measure.name: i for i, measure in enumerate(MEASURES)}
"""Where each stands in `MEASURES`."""


@dataclass(frozen=True, eq=False)
class Truth:
    """A true photo, with what all methods are compared with; see `score_photo`."""

    rgb: Rgb8
    """(h, w, 3) uint8."""
    grid: AbGrid
    """Cells of the rebalancing."""

    @cached_property
    def lab(self) -> torch.Tensor:
        """(1, 3, h, w) float32 Lab."""
        return _lab(self.rgb)

    @cached_property
    def cells(self) -> torch.Tensor:
        """(h * w,) int64, the cell of each pixel."""
        return self.grid.encode(self.lab[:, 1:]).flatten()

    @cached_property
    def cell_counts(self) -> Floats:
        """(q,) pixels in each cell."""
        counts: Floats = torch.bincount(self.cells, minlength=self.grid.n_bins).double().numpy()
        return counts

    @cached_property
    def colorfulness(self) -> float:
        """Of the true colours."""
        return colorfulness(self.rgb)


@dataclass(frozen=True, eq=False)
class PhotoScore:
    """One result beside its truth, as sums that add up over photos."""

    numerators: Floats
    """(n_measures,) in the order of `MEASURES`."""
    denominators: Floats
    """(n_measures,); 0 where a measure was not taken."""
    cell_scores: Floats
    """(q,) sum of the AuC scores, in percent, of the pixels whose true colour is in each cell."""
    cell_counts: Floats
    """(q,) number of these pixels."""
    errors: Floats
    """(152,) pixels whose ab error, rounded up, is 0, 1, ..., 150, or more."""

    @property
    def auc_raw(self) -> float:
        """AuC of this photo alone, in percent."""
        return float(self.cell_scores.sum() / self.cell_counts.sum())


def score_photo(
    rgb: Rgb8, truth: Truth, *, quick: bool = False, lpips: float | None = None
) -> PhotoScore:
    """Take every measure of one result.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8 result.
    truth
        The photo as it was.
    quick
        Leave out the slow measures (SSIM and CIEDE2000).
    lpips
        LPIPS of this result, where somebody has taken it.

    Returns
    -------
    The sums for `Evaluation.add`.

    Raises
    ------
    ValueError
        If the sizes differ.

    Examples
    --------
    >>> white = np.full((16, 16, 3), 255, np.uint8)
    >>> score_photo(white, Truth(white, AbGrid())).auc_raw
    100.0
    """
    if rgb.shape != truth.rgb.shape:
        raise ValueError(
            f"the result has {rgb.shape[0]} x {rgb.shape[1]} pixels, the truth "
            f"{truth.rgb.shape[0]} x {truth.rgb.shape[1]}; measure results of the truth's size"
        )
    lab = _lab(rgb)
    ab, true_ab = lab[:, 1:], truth.lab[:, 1:]
    error = (ab - true_ab).norm(dim=1).flatten()
    scores = auc_scores(error).double()
    errors = torch.bincount(
        error.ceil().clamp(max=AUC_THRESHOLDS).long(), minlength=AUC_THRESHOLDS + 1
    )
    cell_scores = torch.bincount(truth.cells, weights=scores, minlength=truth.grid.n_bins)
    means = _own_measures(rgb, lab)
    means |= _compared_measures(rgb, lab, truth)
    if not quick:
        means |= _slow_measures(rgb, lab, truth)
    if lpips is not None:
        means["lpips"] = lpips
    sums = np.zeros((2, len(MEASURES)))
    n_pixels = error.numel()
    for name, value in means.items():
        weight = n_pixels if MEASURES[PLACE[name]].over == "pixels" else 1
        sums[:, PLACE[name]] = value * weight, weight
    cast, n_neutral = cast_sums(ab, true_ab)
    for name, total in zip(("cast_a", "cast_b"), cast.tolist(), strict=True):
        sums[:, PLACE[name]] = total, n_neutral
    return PhotoScore(
        sums[0], sums[1], cell_scores.numpy(), truth.cell_counts, errors.double().numpy()
    )


def score_truth(truth: Truth) -> PhotoScore:
    """Take the measures that describe a picture by itself, of the truth."""
    sums = np.zeros((2, len(MEASURES)))
    for name, value in _own_measures(truth.rgb, truth.lab).items():
        sums[:, PLACE[name]] = value, 1
    nothing = np.zeros(truth.grid.n_bins)
    return PhotoScore(sums[0], sums[1], nothing, nothing, np.zeros(AUC_THRESHOLDS + 1))


def _lab(rgb: Rgb8) -> torch.Tensor:
    return rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None])


def _own_measures(rgb: Rgb8, lab: torch.Tensor) -> dict[str, float]:
    return {"colorfulness": colorfulness(rgb), "chroma": mean_chroma(lab[:, 1:]).item()}


def _compared_measures(rgb: Rgb8, lab: torch.Tensor, truth: Truth) -> dict[str, float]:
    ab, true_ab = lab[:, 1:], truth.lab[:, 1:]
    error = (ab - true_ab).norm(dim=1)
    mse_a, mse_b = mse_ab(ab, true_ab).tolist()
    psnr_a, psnr_b = psnr_ab(ab, true_ab)
    mean, largest = lightness_error(lab[:, :1], truth.lab[:, :1])
    return {
        "auc_raw": auc_scores(error).double().mean().item(),
        "psnr_rgb": psnr(rgb, truth.rgb),
        "psnr_a": psnr_a,
        "psnr_b": psnr_b,
        "mse_a": mse_a,
        "mse_b": mse_b,
        "rmse_a": mse_a,  # the root is taken of the mean over all photos
        "rmse_b": mse_b,
        "colorfulness_difference": colorfulness(rgb) - truth.colorfulness,
        "lightness_mean": mean,
        "lightness_max": largest,
    }


def _slow_measures(rgb: Rgb8, lab: torch.Tensor, truth: Truth) -> dict[str, float]:
    ssim_a, ssim_b = ssim_ab(lab[:, 1:], truth.lab[:, 1:])
    return {
        "ssim_rgb": ssim(rgb, truth.rgb),
        "ssim_a": ssim_a,
        "ssim_b": ssim_b,
        "ciede2000": ciede2000(lab, truth.lab),
    }
