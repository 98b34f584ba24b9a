"""Python in a process of its own, whose peak memory is its own."""

from __future__ import annotations

import subprocess
import sys

# A process starts with the peak memory of the one that started it, and the tests are a large one.
_BETWEEN = (
    "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
)


def run_alone(code: str, *arguments: object, seconds: float | None = None) -> str:
    """Run code with its arguments, started by a small process; what it prints."""
    command = [sys.executable, "-c", _BETWEEN, code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    return done.stdout
