"""Pictures between dtypes and devices, where a device lacks a dtype."""

import pytest
import torch
from torch import Tensor

from zcolor.arrays import from_float, to_float


@pytest.fixture
def no_float64(monkeypatch):
    """`meta` stands for MPS, which has no float64."""
    real = Tensor.to

    def to(self, *args, **options):
        result = real(self, *args, **options)
        if result.device.type == "meta" and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return result

    monkeypatch.setattr(Tensor, "to", to)


@pytest.mark.usefixtures("no_float64")
def test_float64_goes_to_a_device_without_it():
    found = to_float(torch.rand(2, dtype=torch.float64), "meta", torch.float32)
    assert (found.device.type, found.dtype) == ("meta", torch.float32)


def test_float64_comes_from_a_device_without_it(monkeypatch):
    """Moved first, and converted where there is float64."""
    steps, real = [], Tensor.to

    def to(self, *args, **options):
        steps.append(args[0])
        return real(self, *args, **options)

    monkeypatch.setattr(Tensor, "to", to)
    found = from_float(torch.tensor([0.25]), "cpu", torch.float64)
    assert (found.dtype, found.tolist()) == (torch.float64, [0.25])
    assert steps == ["cpu", torch.float64]
