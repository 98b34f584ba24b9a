"""What a process has made torch's defaults changes nothing: not the dtype, not the device."""

import numpy as np
import pytest
import torch
from torch import nn

import zcolor
from zcolor import AbGrid, Colorizer
from zcolor.lab8 import _linear_table
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model

GREY = (np.arange(60 * 90).reshape(60, 90) % 251).astype(np.uint8)
RED = np.full((20, 20, 3), (200, 60, 40), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with random weights whose colours differ over a picture."""
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=64)
    nn.init.normal_(net.classifier.weight, std=100.0)
    q = net.grid.n_bins
    # Shares below what float16 can hold, as rare colours have.
    net.set_priors(net.prior * 1e-6, net.cell_means + 0.1, torch.linspace(0.1, 3.0, q))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net, {})
    return path


def answers(colorizer):
    """All that may depend on a default."""
    distribution = colorizer.distribution(GREY)
    return {
        "uint8": colorizer(GREY),
        "uint16": colorizer(GREY.astype(np.uint16) * 257),
        "float64": colorizer(GREY / 255),
        "size": colorizer(GREY, size=128),
        "reference": colorizer(GREY, reference=RED),
        "decode": distribution.decode(),
        "sample": distribution.sample(2),
        "confidence": distribution.confidence(),
        "suggest": distribution.suggest(0.5, 0.5),
        "no weights": zcolor.ColorDistribution(distribution.logits, AbGrid()).sample(1),
        "mean": zcolor.mean_chroma(GREY, device="cpu"),
        "in gamut": AbGrid(9).in_gamut,
    }


def assert_same(found, expected):
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name
        else:
            assert np.array_equal(found[name], value), name


@pytest.fixture(scope="module")
def expected(weights):
    return answers(Colorizer(weights, device="cpu"))


@pytest.fixture
def fresh():
    """Forget what was computed under other defaults."""
    _linear_table.cache_clear()
    zcolor.one_call._load_colorizer.cache_clear()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_another_default_dtype_changes_no_byte(weights, expected, dtype):
    torch.set_default_dtype(dtype)
    try:
        colorizer = Colorizer(weights, device="cpu")
        found = answers(colorizer)
    finally:
        torch.set_default_dtype(torch.float32)
    floating = {t.dtype for t in colorizer.net.state_dict().values() if t.is_floating_point()}
    assert floating == {torch.float32}
    assert_same(found, expected)


@pytest.mark.usefixtures("fresh")
def test_another_default_device_changes_nothing(weights, expected):
    """The device meta computes nothing, so that whatever lands there shows."""
    with torch.device("meta"):
        found = answers(Colorizer(weights, device="cpu"))
    assert_same(found, expected)
