"""Starting: how long commands take in processes of their own."""

from __future__ import annotations

import sys

from benchmarks.bench import Bench, Row, Target
from benchmarks.photographs import jpeg_bytes, photograph
from benchmarks.timing import Spread, interleave, run_alone, zcolor_command


def startup(bench: Bench) -> list[Row]:
    """Importing, `zcolor --help` and the first photo, beside the bare interpreter and torch."""
    photo, out = bench.folder / "first.jpg", bench.folder / "first-color.jpg"
    photo.write_bytes(jpeg_bytes(photograph(*bench.sizes.small)))
    python = [sys.executable, "-c"]
    commands = {
        "pass": [*python, "pass"],
        "import": [*python, "import zcolor"],
        "help": zcolor_command("--help"),
        "torch": [*python, "import torch"],
        "photo": zcolor_command("colorize", str(photo), "-o", str(out), "--overwrite"),
    }
    tasks = {
        name: lambda command=command: run_alone(command).seconds
        for name, command in commands.items()
    }
    seconds = interleave(tasks, runs=bench.few_runs)
    wanted: tuple[tuple[str, str, str, float | None], ...] = (
        ("import", "import zcolor", "pass", 0.3),
        ("help", "zcolor --help", "pass", 0.5),
        ("photo", "zcolor colorize, one small photo, start to end", "torch", None),
    )
    rows = []
    for name, what, beside, most in wanted:
        spread = Spread.of([1000 * value for value in seconds[name]])
        base = 1000 * Spread.of(seconds[beside]).median
        rows.append(
            Row(
                "startup",
                what,
                "ms",
                spread.median,
                spread=spread,
                reference=base,
                reference_is="python -c pass" if beside == "pass" else "python -c 'import torch'",
                limit=base,
                limit_is="the interpreter alone" if beside == "pass" else "importing torch alone",
                target=None if most is None else Target.at_most(spread.median, 1000 * most, " ms"),
            )
        )
    return rows
