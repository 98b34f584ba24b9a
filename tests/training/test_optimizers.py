"""The optimizers: who moves what, and Muon against the library's own on plain matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zcolor.models.zhang import Zhang
from zcolor.training.optimizers import make_optimizers
from zcolor.training.settings import TrainSettings


def network(memory_format: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 6, 4), nn.Conv2d(6, 5, 1)
    )
    return net.to(memory_format=memory_format)


def give_gradients(net: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    net.zero_grad()
    net(torch.rand(3, 2, 6, 6)).square().mean().backward()


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "muon"])
def test_every_parameter_has_one_optimizer_and_moves(name):
    net = Zhang(width=1 / 16)
    optimizers = make_optimizers(net, TrainSettings(optimizer=name, lr=0.1))
    counted = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    assert sum(p.numel() for p in counted) == sum(p.numel() for p in net.parameters())
    before = [p.detach().clone() for p in net.parameters()]
    net(torch.rand(2, 1, 16, 16) * 100).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    for (parameter, _), (p, old) in zip(
        net.named_parameters(), zip(net.parameters(), before, strict=True), strict=True
    ):
        assert not torch.equal(p, old), parameter


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "muon"])
def test_norms_and_biases_are_not_decayed(name):
    net = network(torch.contiguous_format)
    for optimizer in make_optimizers(net, TrainSettings(optimizer=name, weight_decay=0.5)):
        for group in optimizer.param_groups:
            for p in group["params"]:
                assert group["weight_decay"] == (0.5 if p.ndim > 1 else 0.0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_a_kernel_as_the_library_moves_its_matrix(memory_format):
    s = TrainSettings(optimizer="muon", lr=0.02, weight_decay=0.1)
    net = network(memory_format)
    first = net[0].weight
    # The rows of a kernel in the order it has in memory; orthogonalisation does not care.
    order = (0, 2, 3, 1) if memory_format is torch.channels_last else (0, 1, 2, 3)
    matrix = nn.Parameter(first.detach().permute(order).reshape(8, -1).clone())
    reference = torch.optim.Muon(
        [matrix], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    optimizers = make_optimizers(net, s)
    for step in range(4):
        give_gradients(net, step)
        matrix.grad = first.grad.permute(order).reshape(8, -1).clone()
        for optimizer in optimizers:
            optimizer.step()
        reference.step()
        moved = first.detach().permute(order).reshape(8, -1)
        torch.testing.assert_close(moved, matrix.detach(), rtol=0, atol=0)


def test_muon_leaves_the_classifier_to_adamw():
    net = Zhang(width=1 / 16)
    muon, adamw = make_optimizers(net, TrainSettings(optimizer="muon"))
    assert isinstance(muon, torch.optim.Muon)
    assert all(p.ndim == 2 for g in muon.param_groups for p in g["params"])
    assert sum(len(g["params"]) for g in muon.param_groups) == 22
    ids = {id(p) for g in adamw.param_groups for p in g["params"]}
    assert id(net.classifier.weight) in ids
