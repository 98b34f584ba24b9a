"""The report: the machine, the settings, the limits and every figure, as Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.bench import GIGA, MILLION, Row
from benchmarks.limits import Limits
from benchmarks.timing import ROOT, Spread, n_cores
from zcolor.atomic import whole_file

_LEGEND = (
    "Medians of interleaved runs; in brackets the quartiles and the range. A ratio is how many "
    "times faster ours is than the reference beside it, pair by pair."
)
_PACKAGES = ("torch", "numpy", "opencv-python-headless", "pillow", "scikit-image")


def describe_machine() -> dict[str, Any]:
    """Say what the figures were measured on, and what else it was busy with."""
    machine: dict[str, Any] = {
        "processor": _processor(),
        "cores": n_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGA, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "torch_threads": torch.get_num_threads(),
        "opencv_threads": cv2.getNumThreads(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }
    if torch.cuda.is_available():
        machine["cuda"] = torch.cuda.get_device_name()
    return machine


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """The commit that is checked out; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    answer = subprocess.run(
        [git, "rev-parse", "--short=12", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


def to_json(
    machine: dict[str, Any], setting: str, limits: Limits, rows: Sequence[Row]
) -> dict[str, Any]:
    """Everything as what JSON can hold."""
    return {
        "machine": machine,
        "setting": setting,
        "limits": dataclasses.asdict(limits),
        "rows": [{**dataclasses.asdict(row), "share_of_limit": row.share_of_limit} for row in rows],
    }


def to_markdown(machine: dict[str, Any], setting: str, limits: Limits, rows: Sequence[Row]) -> str:
    """Everything as a page."""
    judged = [row.target.holds for row in rows if row.target is not None]
    lines = [
        "# Benchmarks",
        "",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items()),
        f"- settings: {setting}",
        f"- limits: {limits_text(limits)}",
        f"- targets: {sum(judged)} of {len(judged)} hold",
        "",
        _LEGEND,
        "",
        "| case | measured | ours | reference | ratio | limit (share reached) | target | holds |",
        "|---|---|---|---|---|---|---|---|",
        *map(_line, rows),
        "",
        *_notes(rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


def limits_text(limits: Limits) -> str:
    """Say the limits in a line."""
    return (
        f"matmul {limits.float32 / GIGA:.0f} GFLOP/s in float32, {limits.bfloat16 / GIGA:.0f} in "
        f"bfloat16; copying {limits.copy / GIGA:.1f} GB/s read and written; on one core JPEG "
        f"decoding {limits.jpeg_decode / MILLION:.0f} MP/s, encoding "
        f"{limits.jpeg_encode / MILLION:.0f} MP/s"
    )


def number(value: float) -> str:
    """Write a figure with three digits that count.

    Examples
    --------
    >>> number(1234.5), number(3.14159), number(0.01)
    ('1,234', '3.14', '0.01')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _with_spread(spread: Spread) -> str:
    quartiles = f"{number(spread.lower)}..{number(spread.upper)}"
    return f"({quartiles}; {number(spread.low)}..{number(spread.high)})"


def _line(row: Row) -> str:
    unit = f" {row.unit}" if row.unit else ""
    ours = number(row.ours) + unit + (f" {_with_spread(row.spread)}" if row.spread else "")
    reference = "" if row.reference is None else number(row.reference) + unit
    ratio = f"{row.ratio.median:.2f}x {_with_spread(row.ratio)}" if row.ratio else ""
    limit = ""
    if row.limit is not None and row.share_of_limit is not None:
        limit = f"{number(row.limit)}{unit} ({row.share_of_limit:.0%})"
    target = row.target.text if row.target else ""
    holds = ("yes" if row.target.holds else "**no**") if row.target else ""
    cells = (row.case, row.what, ours, reference, ratio, limit, target, holds)
    return f"| {' | '.join(cells)} |"


def _notes(rows: Sequence[Row]) -> list[str]:
    """What the references and limits are, and the notes, a line each, every line once."""
    lines = []
    for row in rows:
        parts = [
            f"reference: {row.reference_is}" if row.reference_is else "",
            f"limit: {row.limit_is}" if row.limit_is else "",
            row.note,
        ]
        said = "; ".join(part for part in parts if part)
        if said:
            lines.append(f"- {row.case}, {row.what}: {said}")
    return list(dict.fromkeys(lines))


def write_report(
    out: Path, machine: dict[str, Any], setting: str, limits: Limits, rows: Sequence[Row]
) -> str:
    """Write `benchmarks.md` and `benchmarks.json` to a folder.

    Parameters
    ----------
    out
        The folder; it is made.
    machine
        What `describe_machine` said.
    setting
        How pictures were coloured.
    limits
        Of the machine.
    rows
        The figures.

    Returns
    -------
    The page.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = to_markdown(machine, setting, limits, rows)
    with whole_file(out / "benchmarks.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    with whole_file(out / "benchmarks.json") as temporary:
        data = to_json(machine, setting, limits, rows)
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return page
