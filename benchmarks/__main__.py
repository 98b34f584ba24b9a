"""The benchmarks: `make bench`, or `python -m benchmarks [CASE ...] [--large]`.

Every case stands beside a reference in the same process and run, and beside what the machine can
do at best. The figures go to the terminal and, with all details, to two files.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from benchmarks.bench import Bench, Row, setting
from benchmarks.cases import CASES, chosen_cases
from benchmarks.report import describe_machine, write_report


def main(
    cases: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    large: bool = False,
    out: Path = Path("runs/benchmarks"),
    runs: int = 7,
) -> None:
    """Measure, and write the report after each case, so that nothing measured is lost.

    Parameters
    ----------
    cases
        Which: small, medium, large, folder, forward, lab, upsampling, priors, training,
        training-memory, startup, memory, giants, growth, many, cuda; all if none is named.
    large
        Without names: also giants, growth and many, which take minutes and gigabytes.
    out
        Folder for benchmarks.md, benchmarks.json and growth.png.
    runs
        Pairs of a case; those that take long make about half as many.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    names = chosen_cases(cases, large=large)
    machine = describe_machine()
    rows: list[Row] = []
    page = ""
    with tempfile.TemporaryDirectory(prefix="zcolor-bench-") as folder:
        bench = Bench(Path(folder), out, runs)
        for name in (bar := tqdm(names, desc="limits", unit="case")):
            limits = bench.limits
            bar.set_description(name)
            rows += CASES[name].measure(bench)
            page = write_report(out, machine, setting(bench), limits, rows)
    print(page)


if __name__ == "__main__":
    tyro.cli(main)
