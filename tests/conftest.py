"""What every test gets: fixed randomness, a fixed number of threads, and a count of the skips."""

import os
from collections import Counter

import hypothesis
import pytest
import torch

# The same examples at every run, and never a verdict by the clock of a busy machine.
hypothesis.settings.register_profile("zcolor", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("zcolor")


def pytest_configure(config):
    # Sums depend on how they are split over threads, so results should not depend on the number
    # of cores of the machine. Whoever sets the number by hand means it.
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter):
    """Print the skips with their count: a test that silently does not run is a test lost."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section(f"skipped: {len(skipped)}")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4d}  {reason}")
