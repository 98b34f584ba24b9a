"""The optimizers: who moves what, and Muon against the library's own on plain matrices."""

from __future__ import annotations

import copy

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


def test_a_network_without_kernels_is_left_to_adamw():
    net = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    (only,) = make_optimizers(net, TrainSettings(optimizer="muon"))
    assert isinstance(only, torch.optim.AdamW)
    assert {id(p) for g in only.param_groups for p in g["params"]} == set(map(id, net.parameters()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_state_of_muon_goes_on_where_memory_is_laid_out_otherwise(memory_format):
    """As from a CPU without bfloat16 to a GPU with it: momentum belongs to the same weights."""
    s = TrainSettings(optimizer="muon", lr=0.02)
    begun = network(memory_format)
    optimizers = make_optimizers(begun, s)

    def step(net, optimizers, seed):
        give_gradients(net, seed)
        for optimizer in optimizers:
            optimizer.step()

    for seed in range(3):
        step(begun, optimizers, seed)
    states = [optimizer.state_dict() for optimizer in optimizers]
    for other_format in (torch.contiguous_format, torch.channels_last):
        other = network(other_format)
        other.load_state_dict(begun.state_dict())
        others = make_optimizers(other, s)
        for optimizer, state in zip(others, states, strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
        ended = copy.deepcopy(begun)
        again = make_optimizers(ended, s)
        for optimizer, state in zip(again, states, strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
        step(ended, again, 3)
        step(other, others, 3)
        for place in (0, 2):  # Muon's; a bias before a norm has no gradient but rounding
            mine, theirs = ended[place].weight, other[place].weight
            torch.testing.assert_close(mine, theirs, rtol=0.02, atol=2e-4)


def test_the_momentum_of_a_state_is_in_the_order_of_the_kernel():
    net = network(torch.channels_last)
    muon = make_optimizers(net, TrainSettings(optimizer="muon", lr=0.02))[0]
    give_gradients(net, 0)
    muon.step()
    kernel = net[0].weight
    live = muon.state[muon.param_groups[0]["params"][0]]["momentum_buffer"]
    written = muon.state_dict()["state"][0]["momentum_nchw"]
    expected = live.reshape(8, 3, 3, 2).permute(0, 3, 1, 2).reshape(8, -1)
    assert torch.equal(written, expected)
    assert torch.allclose(written.reshape(kernel.shape), 0.05 * kernel.grad, rtol=1e-3)
    before = live.clone()
    muon.load_state_dict(muon.state_dict())
    after = muon.state[muon.param_groups[0]["params"][0]]["momentum_buffer"]
    assert torch.equal(after, before)
    # Written before states had an order of their own: as it lay in memory.
    old = {"state": {0: {"momentum_buffer": 2 * before}}, "param_groups": muon.param_groups}
    muon.load_state_dict({**muon.state_dict(), "state": old["state"]})
    after = muon.state[muon.param_groups[0]["params"][0]]["momentum_buffer"]
    assert torch.equal(after, 2 * before)
