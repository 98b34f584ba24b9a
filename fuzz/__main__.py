"""Fuzzing: `make fuzz`, or `python -m fuzz [--minutes N] [--files N] [--seed S]`.

Whole pictures, checkpoints, packs, priors, archives and journals are damaged and read in processes
of their own. Only the errors that a reader promises may come out of it, in words that name the
file; anything else, a crash, or a hang fails the run and keeps the file.
"""

from __future__ import annotations

import sys

import tyro

from fuzz.report import table
from fuzz.run import FuzzSettings, run


def main() -> int:
    """Run, print the table, and give 1 if anything failed."""
    report = run(tyro.cli(FuzzSettings, description=__doc__))
    sys.stdout.write(table(report) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
