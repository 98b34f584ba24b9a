"""The state of a run: everything comes back, and nothing else is taken for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zcolor.checkpoint import CheckpointError, write_checkpoint
from zcolor.training.learner import make_average
from zcolor.training.optimizers import make_optimizers
from zcolor.training.settings import TrainSettings
from zcolor.training.state import read_state, write_state


def make(optimizer: str):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    return net, make_average(net, 0.9), make_optimizers(net, TrainSettings(optimizer=optimizer))


def learn(net, average, optimizers, steps):
    losses = []
    for _ in range(steps):
        net.zero_grad()
        loss = net(torch.rand(4, 1, 8, 8)).square().mean()  # the data come from torch's generator
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update_parameters(net)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "muon"])
def test_a_run_goes_on_to_the_bit(tmp_path, optimizer):
    parts = make(optimizer)
    learn(*parts, 3)
    write_state(tmp_path / "s", *parts, {"seen": 12})
    expected = learn(*parts, 5)

    fresh = make(optimizer)
    torch.manual_seed(99)
    header = read_state(tmp_path / "s", *fresh)
    assert header["seen"] == 12
    assert learn(*fresh, 5) == expected
    for (name, a), (_, b) in zip(
        parts[1].state_dict().items(), fresh[1].state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name


def test_finished_weights_are_not_taken_for_a_state(tmp_path):
    write_checkpoint(tmp_path / "w", {"a": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match=r"resume from last\.safetensors"):
        read_state(tmp_path / "w", *make("adamw"))
