"""What every test gets: fixed randomness, a fixed number of threads, and a count of the skips."""

import contextlib
import importlib
import os
import sys
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


# What torchvision asks for as it is imported (its _meta_registrations.py).
_TORCHVISION_OPS = (
    "nms", "qnms", "deform_conv2d", "_deform_conv2d_backward", "roi_align", "_roi_align_backward",
    "qroi_align", "roi_pool", "_roi_pool_backward", "ps_roi_align", "_ps_roi_align_backward",
    "ps_roi_pool", "_ps_roi_pool_backward",
)  # fmt: skip


@pytest.fixture(scope="session")
def torchvision():
    """Import torchvision, whose kernels, compiled for CUDA, cannot be loaded by a torch for CPUs.

    None of them is used here, so that their names are all that is missing.
    """
    with contextlib.suppress(RuntimeError):
        yield importlib.import_module("torchvision")
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for op in _TORCHVISION_OPS:
        library.define(f"{op}() -> ()")
    yield importlib.import_module("torchvision")


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
