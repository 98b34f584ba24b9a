"""What the tests of faults share: a quick way to start commands, and a model that costs nothing."""

import pytest
import torch

from tests.faults.runs import Zygote
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model


@pytest.fixture(scope="session")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A network without any training, quick to load and to run."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(path, Zhang(width=1 / 16, working_size=32), {})
    return path
