"""What every test gets: fixed randomness, a fixed number of threads, and a count of the skips."""

import contextlib
import importlib
import importlib.abc
import os
import sys
from collections import Counter

import hypothesis
import pytest
import torch

from zcolor.precision import computes_in_bfloat16

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


class _TorchvisionOps(importlib.abc.MetaPathFinder):
    """Defines the names of torchvision's kernels when it is first looked for, as timm does.

    Compiled for CUDA, they cannot be loaded by a torch for CPUs. None of them is used here, so
    that their names are all that is missing.
    """

    library: torch.library.Library | None = None

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and self.library is None:
            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for op in _TORCHVISION_OPS:
                with contextlib.suppress(RuntimeError):  # defined already: kernels that fit
                    self.library.define(f"{op}() -> ()")


sys.meta_path.insert(0, _TorchvisionOps())


@pytest.fixture(scope="session")
def torchvision():
    return importlib.import_module("torchvision")


@pytest.fixture
def cpu_features(monkeypatch):
    """Choose what the CPU says that it can do."""

    def choose(**values):
        computes_in_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **values})

    yield choose
    computes_in_bfloat16.cache_clear()


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
