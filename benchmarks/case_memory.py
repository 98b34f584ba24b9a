"""Memory: peaks of commands in processes of their own, and how cost grows with size and number."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.bench import GIGA, MILLION, Bench, Row, Target, shape_text
from benchmarks.case_training import FLAT
from benchmarks.photographs import (
    jpeg_bytes,
    make_folder,
    photograph,
    write_giant_jpeg,
    write_giant_png,
)
from benchmarks.timing import Usage, best_seconds, run_alone, zcolor_command

LINEAR = 1.05
"""Largest exponent of the growth of cost with size that is called linear."""
# Below this the fixed cost of the network shows, in millions of pixels.
_LINEAR_FROM = 3
# What stays in memory at least: the pixels, 3 bytes each, decoded once.
_BYTES_A_PIXEL = 3


def _color(path: Path) -> Usage:
    """Colour a file by the command, into a file that is removed again."""
    out = path.with_name("giant-color" + path.suffix)
    usage = run_alone(zcolor_command("colorize", str(path), "-o", str(out), "--device", "cpu"))
    out.unlink()
    return usage


def _loaded_bytes() -> int:
    """Peak memory of a process that has loaded the model and coloured nothing."""
    code = "import zcolor; zcolor.Colorizer(device='cpu')"
    return run_alone([sys.executable, "-c", code]).peak_bytes


def _peak_row(
    case: str,
    what: str,
    usage: Usage,
    n_pixels: int,
    loaded: int,
    *,
    most: float | None = None,
    reference: float | None = None,
) -> Row:
    """A row in GB; `most` is the target."""
    peak = usage.peak_bytes / GIGA
    return Row(
        case,
        f"peak memory of {what}",
        "GB",
        peak,
        reference=reference,
        reference_is="" if reference is None else "the usual path",
        limit=(loaded + _BYTES_A_PIXEL * n_pixels) / GIGA,
        limit_is=f"process with the model loaded ({loaded / GIGA:.2f} GB) + 3 bytes a pixel",
        target=None if most is None else Target.at_most(peak, most, " GB"),
        note=f"{usage.seconds:.1f} s from start to end; "
        f"{(usage.peak_bytes - loaded) / n_pixels:.1f} bytes a pixel above the loaded process",
    )


def memory(bench: Bench) -> list[Row]:
    """Peaks with the medium and the large picture, beside the usual path."""
    loaded = _loaded_bytes()
    rows = []
    for shape in (bench.sizes.medium, bench.sizes.large):
        path = bench.folder / "peak.jpg"
        path.write_bytes(jpeg_bytes(photograph(*shape)))
        usual = bench.folder / "peak-usual.jpg"
        command = [sys.executable, "-m", "benchmarks.reference", str(path), str(usual)]
        reference = run_alone(command).peak_bytes / GIGA
        what = f"zcolor colorize, JPEG of {shape_text(shape)}"
        usage = _color(path)
        rows.append(
            _peak_row("memory", what, usage, shape[0] * shape[1], loaded, reference=reference)
        )
    return rows


def giants(bench: Bench) -> list[Row]:
    """Peaks with a JPEG of 100 and a PNG of 300 megapixels."""
    loaded = _loaded_bytes()
    rows = []
    writers: tuple[tuple[str, tuple[int, int], Callable[[Path, int, int], None], float], ...] = (
        ("jpg", bench.sizes.giant_jpeg, write_giant_jpeg, 1.6),
        ("png", bench.sizes.giant_png, write_giant_png, 3.5),
    )
    for suffix, shape, write, most in writers:
        path = bench.folder / f"giant.{suffix}"
        write(path, *shape)
        n_pixels = shape[0] * shape[1]
        what = f"zcolor colorize, {suffix.upper()} of {n_pixels / MILLION:.0f} MP, 8-bit RGB"
        rows.append(_peak_row("giants", what, _color(path), n_pixels, loaded, most=most))
        path.unlink()
    return rows


def growth(bench: Bench) -> list[Row]:
    """Time in this process and peak memory in one of its own, from 1 to 100 megapixels."""
    loaded = _loaded_bytes()
    colorizer = bench.colorizer
    rows, seconds = [], []
    for megapixels in bench.sizes.growth:
        side = round(math.sqrt(megapixels * MILLION))
        path = bench.folder / "growth.jpg"
        write_giant_jpeg(path, side, side)
        jpeg = path.read_bytes()
        runs = bench.runs if megapixels <= 10 else min(bench.runs, 2)
        took = best_seconds(lambda jpeg=jpeg: colorizer(jpeg), runs=runs)  # type: ignore[misc]
        seconds.append(took)
        usage = _color(path)
        rows.append(
            Row(
                "growth",
                f"{megapixels:g} MP JPEG, bytes to bytes, a megapixel",
                "ms",
                1000 * took / megapixels,
                note=f"best of {runs}; peak memory of the command "
                f"{usage.peak_bytes / GIGA:.2f} GB, of the loaded process {loaded / GIGA:.2f} GB",
            )
        )
        rows.append(
            _peak_row(
                "growth", f"zcolor colorize, JPEG of {megapixels:g} MP", usage, side * side, loaded
            )
        )
    peaks = [row.ours for row in rows if row.unit == "GB"]
    _draw(bench.out / "growth.png", bench.sizes.growth, seconds, peaks)
    exponent = growth_exponent(bench.sizes.growth, seconds)
    linear = Row(
        "growth",
        f"exponent of the time over the size, from {_LINEAR_FROM} MP",
        "",
        exponent,
        limit_is="",
        target=Target(f"linear: at most {LINEAR:g}", exponent <= LINEAR),
        note="1 is linear; the plot is growth.png",
    )
    return [*rows, linear]


def growth_exponent(megapixels: tuple[float, ...], seconds: list[float]) -> float:
    """Exponent k of seconds ~ megapixels^k, by least squares of the logarithms.

    Sizes below 3 megapixels, where the fixed cost of the network shows, do not count if at least
    two others are there.

    Examples
    --------
    >>> round(growth_exponent((1, 10, 100), [9.0, 2.0, 20.0]), 3)
    1.0
    """
    pairs = [(m, s) for m, s in zip(megapixels, seconds, strict=True) if m >= _LINEAR_FROM]
    if len(pairs) < 2:
        pairs = list(zip(megapixels, seconds, strict=True))
    x, y = np.log(np.array(pairs)).T
    return float(np.polyfit(x, y, 1)[0])


def _draw(
    path: Path, megapixels: tuple[float, ...], seconds: list[float], peaks: list[float]
) -> None:
    """Plot seconds and peak memory over the size, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    proportional = [seconds[-1] * m / megapixels[-1] for m in megapixels]
    left.loglog(megapixels, seconds, "o-", label="measured")
    left.loglog(megapixels, proportional, "--", label="proportional to the size")
    left.set(xlabel="megapixels", ylabel="seconds", title="time")
    left.legend()
    right.semilogx(megapixels, peaks, "o-")
    right.set(xlabel="megapixels", ylabel="GB", title="peak memory", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def many(bench: Bench) -> list[Row]:
    """Peak memory of a short and of a long folder of small files."""
    folder = bench.folder / "many"
    few, n = bench.sizes.n_small_files
    make_folder(folder, n, megapixels=(0.02, 0.08))
    part = bench.folder / "many-part"
    part.mkdir()
    # The same mixture of sizes, so that the largest is in both.
    for path in sorted(folder.iterdir(), key=lambda path: -path.stat().st_size)[:few]:
        shutil.copy(path, part)
    peaks, seconds = [], []
    for source in (part, folder):
        out = bench.folder / f"{source.name}-out"
        arguments = ("colorize", str(source), "-o", str(out), "--device", "cpu")
        usage = run_alone(zcolor_command(*arguments))
        peaks.append(usage.peak_bytes / GIGA)
        seconds.append(usage.seconds)
    return [
        Row(
            "many",
            f"peak memory of colouring {n:,} small files",
            "GB",
            peaks[1],
            reference=peaks[0],
            reference_is=f"the largest {few:,} of them",
            target=Target(
                f"flat: at most {FLAT:g}x that of the shorter job", peaks[1] <= FLAT * peaks[0]
            ),
            note=f"{seconds[1]:.1f} s and {seconds[0]:.1f} s from start to end",
        )
    ]
