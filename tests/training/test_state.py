"""The state of a run: everything comes back, and nothing else is taken for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zcolor.checkpoint import CheckpointError, write_checkpoint
from zcolor.training.optimizers import make_optimizers
from zcolor.training.settings import TrainSettings
from zcolor.training.state import read_state, write_state
from zcolor.training.step import LossWindow, make_average


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


def test_loss_window_gives_means_and_every_total():
    window = LossWindow()
    for total in (1.0, 2.0, 6.0):
        window.add({"total": torch.tensor(total), "top1": torch.tensor(0.5)})
    means, totals = window.take()
    assert means == {"total": 3.0, "top1": 0.5}
    assert totals == [1.0, 2.0, 6.0]
    assert not window.steps
