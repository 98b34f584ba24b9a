"""The running mean of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zcolor.training.learner import make_average


def test_average_follows_quickly_at_first_then_with_its_decay():
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = make_average(net, 0.9)
    expected = 0.0
    for n in range(200):
        value = float(n % 7)
        nn.init.constant_(net.weight, value)
        average.update_parameters(net)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = value if n == 0 else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_average_takes_the_statistics_of_batch_norm_along():
    net = nn.BatchNorm2d(2)
    average = make_average(net, 0.5)
    for _ in range(60):
        net(torch.randn(8, 2, 4, 4) + 3)
        average.update_parameters(net)
    assert average.module.running_mean.mean().item() == pytest.approx(3, abs=0.2)
