"""What `zcolor evaluate` found out, as text and as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zcolor.atomic import whole_file
from zcolor.bootstrap import Figure, Floats
from zcolor.metrics_image import Rgb8
from zcolor.scores import MEASURES, Measure

PROTOCOL = (
    "Every photo is measured at its own size; where its short side is below 128 px, it and given "
    "results of it are brought to 128 (bicubic). Colour errors are Euclidean ab distances (CIELAB, "
    "D65) between the truth and the 8-bit sRGB result that people get, after upsampling and gamut "
    "mapping. AuC raw: the share of pixels with an error of at most t, averaged over t = 0, 1, "
    "..., 150 (Zhang et al. 2016, section 3.1). AuC rebalanced: each pixel weighs 1 / p(cell of "
    "its true ab), p over the measured set, 18 x 18 cells over -110..110. PSNR, SSIM, CIEDE2000, "
    "colourfulness and mean chroma are means over photos; MSE, RMSE (the root of the MSE), |dL| "
    "and the cast are over pixels, the cast over those whose true chroma is below 5. PSNR ends at "
    "100 dB; a and b have a peak of 255 ab units. Baselines: grey is ab = 0; the mean colour is "
    "the prior mean ab of the model's training pixels; the ceiling is the truth averaged at the "
    "network's output, put into its cells, decoded to the mean colour of each cell and upsampled "
    "as the model's answer is. Top-1, top-5, cross-entropy and calibration are of the network's "
    "own answer at temperature 1, against the true cell of the averaged ab; natural is the same "
    "with the weights of training taken out of the probabilities. Intervals: 95 %, "
    "Poisson bootstrap over photos, centred on the value; differences to grey are taken on the "
    "same replicates."
)
"""How everything is measured, in words."""
CELL_LABELS: Mapping[str, tuple[str, str, int]] = {
    "top1": ("top-1 accuracy", "%", 2),
    "top5": ("top-5 accuracy", "%", 2),
    "cross_entropy": ("cross-entropy", "nats", 3),
}
"""Label, unit and decimals of the measures of a classifier."""
# The measures whose difference to grey stands in the table.
GAINS = ("auc_raw", "auc_rebalanced", "psnr_rgb", "ciede2000")


@dataclass(frozen=True, eq=False)
class MethodResult:
    """One column of the table."""

    name: str
    figures: Mapping[str, Figure]
    """By the name of the measure."""
    gains: Mapping[str, Figure]
    """Differences to grey; empty for grey itself and for the truth."""
    cell_scores: Floats
    """(q,) AuC in percent by the cell of the true colour; NaN where no pixel is."""
    error_shares: Floats
    """(151,) share of pixels with an error of at most 0, 1, ..., 150; zeros for the truth."""
    temperature: float | None = None
    """Of a variant of the model."""


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """A classifier's own answer, before it becomes a colour."""

    name: str
    figures: Mapping[str, Figure]
    calibration: Floats
    """(3, 15): pixels, sum of confidence and hits by bin of confidence."""
    calibration_error: float
    """Percent."""


@dataclass(frozen=True, eq=False)
class ShownPhoto:
    """A photo for the page."""

    kind: str
    """`best`, `median` or `worst`."""
    name: str
    gain: float
    """AuC raw of the subject minus that of grey, in points."""
    grey: Rgb8
    result: Rgb8
    truth: Rgb8


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """Everything that one evaluation found."""

    methods: tuple[MethodResult, ...]
    networks: tuple[NetworkResult, ...]
    info: Mapping[str, object]
    """Data, model, settings and versions, for the JSON."""
    n_photos: int
    """Photos that were measured."""
    subject: str | None
    """The method that photos are ranked by: the first variant, or the first set of results."""
    photo_gains: Mapping[int, float]
    """AuC raw of the subject minus that of grey, by the number of the photo."""
    shown: tuple[ShownPhoto, ...] = ()
    """Best, median and worst photos."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
    failed: tuple[tuple[str, str], ...] = ()
    """Names and reasons of what could not be measured."""

    def method(self, name: str) -> MethodResult:
        """Return the result of a method by its name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for method in self.methods:
            if method.name == name:
                return method
        raise KeyError(f"{name!r} was not measured; {[method.name for method in self.methods]}")

    def rows(self) -> list[list[str]]:
        """The table as text: a row of names, then a row for each measure that was taken."""
        rows = [["", *(method.name for method in self.methods)]]
        for measure in MEASURES:
            cells = [method.figures.get(measure.name) for method in self.methods]
            if any(figure is not None for figure in cells):
                rows.append([_label(measure), *(_shown(f, measure.digits) for f in cells)])
        for measure in MEASURES:
            cells = [method.gains.get(measure.name) for method in self.methods]
            if measure.name in GAINS and any(figure is not None for figure in cells):
                shown = (_shown(f, measure.digits, sign="+") for f in cells)
                rows.append([f"{_label(measure)}: minus grey", *shown])
        return rows

    def network_rows(self) -> list[list[str]]:
        """The same for the classifiers; empty where there are none."""
        if not self.networks:
            return []
        rows = [["", *(network.name for network in self.networks)]]
        for name, (label, unit, digits) in CELL_LABELS.items():
            cells = (_shown(network.figures[name], digits) for network in self.networks)
            rows.append([f"{label} [{unit}]", *cells])
        errors = (f"{network.calibration_error:.2f}" for network in self.networks)
        rows.append(["calibration error [%]", *errors])
        return rows

    def table(self) -> str:
        """Everything for a terminal: values +- half of their 95 % intervals, notes, failures."""
        parts = [f"{self.n_photos} photos; +- is half of the 95 % interval", _aligned(self.rows())]
        if self.networks:
            parts.append(_aligned(self.network_rows()))
        parts += [f"note: {note}" for note in self.notes]
        parts += [f"not measured: {name}: {reason}" for name, reason in self.failed]
        return "\n\n".join(parts[:3]) + "".join(f"\n{part}" for part in parts[3:])

    def to_dict(self) -> dict[str, object]:
        """Everything that JSON can hold; NaN becomes None."""
        return {
            "protocol": PROTOCOL,
            **self.info,
            "n_photos": self.n_photos,
            "measures": {m.name: {"label": m.label, "unit": m.unit} for m in MEASURES},
            "methods": {method.name: _method_dict(method) for method in self.methods},
            "networks": {
                network.name: {
                    **_figures_dict(network.figures),
                    "calibration_error": network.calibration_error,
                    "calibration": network.calibration.tolist(),
                }
                for network in self.networks
            },
            "shown": [
                {"kind": photo.kind, "name": photo.name, "gain": photo.gain} for photo in self.shown
            ],
            "notes": list(self.notes),
            "failed": [{"name": name, "reason": reason} for name, reason in self.failed],
        }

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict()` as JSON, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        # In ASCII, as names of files need not be text; whatever reads JSON gives them back.
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with whole_file(Path(path)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def ranked(gains: Mapping[int, float], n: int) -> dict[str, list[int]]:
    """Choose n photos from each end and the middle of a ranking, each once.

    Parameters
    ----------
    gains
        What photos are ranked by, by their numbers.
    n
        Of each kind; fewer where there are not 3 n photos.

    Returns
    -------
    Numbers of the `best` (the best first), `median` and `worst` (the worst first).

    Examples
    --------
    >>> ranked({0: 5.0, 1: 1.0, 2: 3.0}, 6)
    {'best': [0], 'median': [2], 'worst': [1]}
    """
    order = sorted(gains, key=lambda index: (gains[index], index))
    n = min(n, len(order) // 3) or min(1, len(order))
    best, worst = order[::-1][:n], order[:n]
    first = (len(order) - n) // 2
    chosen = {*best, *worst}
    median = [index for index in order[first : first + n] if index not in chosen]
    return {
        "best": best,
        "median": median,
        "worst": [index for index in worst if index not in best],
    }


def _label(measure: Measure) -> str:
    return f"{measure.label} [{measure.unit}]" if measure.unit else measure.label


def _shown(figure: Figure | None, digits: int, sign: str = "") -> str:
    if figure is None:
        return "-"
    # Adding zero turns -0.0 into 0.0.
    value = f"{round(figure.value, digits) + 0.0:{sign}.{digits}f}"
    if math.isnan(figure.low):
        return value
    return f"{value} ±{figure.half_width:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _figure_dict(figure: Figure) -> dict[str, float | None]:
    return {
        "value": _number(figure.value),
        "low": _number(figure.low),
        "high": _number(figure.high),
    }


def _figures_dict(figures: Mapping[str, Figure]) -> dict[str, object]:
    return {name: _figure_dict(figure) for name, figure in figures.items()}


def _method_dict(method: MethodResult) -> dict[str, object]:
    return {
        "temperature": method.temperature,
        "figures": _figures_dict(method.figures),
        "minus_grey": _figures_dict(method.gains),
        "cell_scores": [_number(score) for score in method.cell_scores],
        "error_shares": [float(share) for share in method.error_shares],
    }
