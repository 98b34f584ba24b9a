"""The plots of an evaluation, each as a PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zcolor.apps.evaluate_results import EvaluationReport, MethodResult
from zcolor.extras import install_command
from zcolor.quantizer import AbGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

# Colour errors above this, in ab units, are too rare to be drawn.
_LARGEST_ERROR = 80
_DPI = 110
_NO_LINE = "truth"


def draw_plots(report: EvaluationReport) -> dict[str, bytes]:
    """Draw every plot that the report has figures for.

    Parameters
    ----------
    report
        What was found.

    Returns
    -------
    PNG files by their titles.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"drawing needs matplotlib: {install_command('train')}"
        ) from error
    plots = {"Share of the pixels within an error": _errors(report)}
    if sum(method.temperature is not None for method in report.methods) > 1:
        plots["Against the temperature of the annealed mean"] = _temperatures(report)
    if report.subject is not None:
        plots[f"AuC by true colour: {report.subject}"] = _cells(report)
        plots[f"Gain of each photo over grey: {report.subject}"] = _gains(report)
    if report.networks:
        plots["Reliability of the probabilities"] = _reliability(report)
    return plots


def _figure(width: float, height: float) -> Drawing:
    from matplotlib.figure import Figure as Drawing

    return Drawing(figsize=(width, height), layout="constrained", dpi=_DPI)


def _png(figure: Drawing) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def _errors(report: EvaluationReport) -> bytes:
    figure = _figure(7, 4.5)
    panel = figure.subplots()
    for method in report.methods:
        if method.name == _NO_LINE:
            continue
        dashed = "--" if method.temperature is None else "-"
        panel.plot(100 * method.error_shares, label=method.name, linestyle=dashed, linewidth=1.4)
    panel.set(
        xlabel="error, ab units", ylabel="pixels, %", xlim=(0, _LARGEST_ERROR), ylim=(0, 100.5)
    )
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="lower right")
    return _png(figure)


def _temperatures(report: EvaluationReport) -> bytes:
    variants = [method for method in report.methods if method.temperature is not None]
    variants.sort(key=lambda method: method.temperature or 0.0)
    grey = report.method("grey")
    figure = _figure(10, 9)
    rows = (
        ("auc_raw", "AuC raw, %"),
        ("auc_rebalanced", "AuC rebalanced, %"),
        ("colorfulness", "colourfulness"),
        ("cast_a", "cast in a"),
        ("cast_b", "cast in b"),
        ("chroma", "mean chroma"),
    )
    truth = report.method("truth")
    for panel, (name, label) in zip(figure.subplots(3, 2).flat, rows, strict=True):
        figures = [method.figures[name] for method in variants]
        ends = np.array([[f.value - f.low, f.high - f.value] for f in figures]).T
        panel.errorbar(
            [method.temperature for method in variants],
            [f.value for f in figures],
            # Without an interval there is no bar.
            yerr=np.nan_to_num(ends).clip(min=0),
            marker="o",
            capsize=3,
            label="model, 95 % interval",
        )
        panel.axhline(grey.figures[name].value, color="0.5", linestyle="--", label="grey")
        if name in ("colorfulness", "chroma"):  # its AuC is 100 and far above, its cast no aim
            wanted = truth.figures[name].value
            panel.axhline(wanted, color="tab:green", linestyle=":", label="truth")
        panel.set(xlabel="temperature (0: argmax, 1: mean)", ylabel=label)
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return _png(figure)


def _cells(report: EvaluationReport) -> bytes:
    assert report.subject is not None
    subject, grey = report.method(report.subject), report.method("grey")
    figure = _figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    _plane(left, subject, subject.cell_scores, "viridis", (0, 100), "AuC, %")
    gain = subject.cell_scores - grey.cell_scores
    known = np.abs(gain[np.isfinite(gain)])
    end = max(float(np.percentile(known, 98)) if len(known) else 1.0, 1e-3)
    _plane(right, subject, gain, "RdBu", (-end, end), "AuC minus that of grey, points")
    return _png(figure)


def _plane(
    panel: Axes,
    method: MethodResult,
    values: npt.NDArray[np.float64],
    palette: str,
    ends: tuple[float, float],
    label: str,
) -> None:
    """Draw one number for each cell of the 18 x 18 grid over the ab plane."""
    grid = AbGrid()
    side = int(np.sqrt(grid.n_bins))
    # Cell ia * bins + ib: a runs along the first axis, which is drawn to the right.
    picture = values.reshape(side, side).T
    extent = (grid.low, grid.high, grid.low, grid.high)
    image = panel.imshow(
        picture, extent=extent, origin="lower", cmap=palette, vmin=ends[0], vmax=ends[1]
    )
    panel.set_facecolor("0.92")
    assert panel.figure is not None
    panel.figure.colorbar(image, ax=panel, shrink=0.85, label=label)
    panel.set(xlabel="a: green to red", ylabel="b: blue to yellow", title=method.name)
    panel.axhline(0, color="0.4", linewidth=0.6)
    panel.axvline(0, color="0.4", linewidth=0.6)


def _gains(report: EvaluationReport) -> bytes:
    figure = _figure(7, 4)
    panel = figure.subplots()
    gains = np.array(list(report.photo_gains.values()))
    panel.hist(gains, bins=min(60, max(10, len(gains) // 10)), color="tab:blue", alpha=0.8)
    panel.axvline(0, color="0.3", linewidth=1)
    panel.axvline(
        float(np.median(gains)),
        color="tab:red",
        linewidth=1,
        label=f"median {np.median(gains):.2f}",
    )
    better = 100 * float((gains > 0).mean())
    panel.set(
        xlabel="AuC raw minus that of grey, points",
        ylabel="photos",
        title=f"{better:.0f} % of the photos are better than grey",
    )
    panel.legend(fontsize="small", loc="upper left")
    return _png(figure)


def _reliability(report: EvaluationReport) -> bytes:
    figure = _figure(5.6, 4.8)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    end = 0.0
    for network in report.networks:
        n_pixels, confidence, hits = network.calibration
        reached = n_pixels > 0
        x, y = confidence[reached] / n_pixels[reached], hits[reached] / n_pixels[reached]
        end = max(end, float(x.max()), float(y.max()))
        label = f"{network.name}, error {network.calibration_error:.1f} %"
        panel.plot(x, y, marker="o", label=label)
        # The area of a dot shows how many pixels it stands for.
        panel.scatter(x, y, s=300 * n_pixels[reached] / n_pixels.sum(), alpha=0.3)
    panel.set(
        xlabel="confidence: the largest probability",
        ylabel="share of hits",
        xlim=(0, min(1.0, 1.2 * end)),
        ylim=(0, min(1.0, 1.2 * end)),
    )
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="upper left")
    return _png(figure)
