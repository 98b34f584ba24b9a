"""The running mean of the weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from zcolor.lab import rgb_to_lightness
from zcolor.losses import taught_cross_entropy
from zcolor.models.zhang import Zhang
from zcolor.training.distributed import Crew
from zcolor.training.learner import Learner, make_average, to_device
from zcolor.training.loader import Batch
from zcolor.training.settings import TrainSettings


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


@pytest.fixture
def aged_batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 256, (2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Batch(target=target, source=255 - target, end=2)


def small_net(seed: int) -> Zhang:
    torch.manual_seed(seed)
    return Zhang(width=1 / 16, targets="hard")


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_teacher_sees_the_clean_photograph_and_has_its_share(aged_batch, share):
    net, teacher = small_net(0), small_net(1).eval()
    with torch.no_grad():
        teacher.classifier.weight *= 50  # an answer that has something to say
    lightness = []
    teacher.register_forward_pre_hook(lambda _, given: lightness.append(given[0]))
    settings = TrainSettings(width=1 / 16, targets="hard", bf16=False, teacher_share=share)
    device = torch.device("cpu")
    answers = []
    net.register_forward_hook(lambda _, __, answer: answers.append(answer.detach()))
    losses = Learner(net, settings, Crew(0, 1, device), teacher).learn([aged_batch], 1e-3)
    torch.testing.assert_close(lightness, [rgb_to_lightness(aged_batch.target / 255)])
    with torch.no_grad():
        taught = teacher(lightness[0])
    expected = taught_cross_entropy(answers[0], taught, teacher.class_weights)
    torch.testing.assert_close(losses["teacher"], expected)
    alone = small_net(0)
    colors = Learner(alone, settings, Crew(0, 1, device)).learn([aged_batch], 1e-3)
    torch.testing.assert_close(
        losses["total"], (1 - share) * colors["total"] + share * losses["teacher"]
    )
    # It moves the learner, and not the teacher.
    moved = [(a - b).abs().max() for a, b in zip(net.parameters(), alone.parameters(), strict=True)]
    assert max(moved) > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize(("wanted", "has"), [(True, True), (True, False), (False, True)])
def test_bfloat16_is_taken_where_it_is_wanted_and_had(aged_batch, cpu_features, wanted, has):
    cpu_features(avx512_bf16=has)
    net, teacher = small_net(0), small_net(1).eval()
    seen = []
    for each in (net, teacher):
        each.classifier.register_forward_hook(lambda _, __, answer: seen.append(answer.dtype))
    settings = TrainSettings(width=1 / 16, targets="hard", bf16=wanted)
    Learner(net, settings, Crew(0, 1, torch.device("cpu")), teacher).learn([aged_batch], 1e-3)
    assert seen == [torch.bfloat16 if wanted and has else torch.float32] * 2


def some_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 256, (2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Batch(target=target, source=target, end=2)


SGD = TrainSettings(
    width=1 / 16, targets="hard", bf16=False, optimizer="sgd", weight_decay=0, clip=0
)


def test_accumulated_parts_give_the_gradient_of_their_mean():
    """Against a loop over the halves, and one step of plain gradient descent."""
    learnt, expected = small_net(0), small_net(0).train()
    parts = [some_batch(1), some_batch(2)]
    losses = Learner(learnt, SGD, Crew(0, 1, torch.device("cpu"))).learn(parts, 0.1)
    totals = []
    for part in parts:
        lightness, ab = to_device(part, torch.device("cpu"))
        answer = expected(lightness)
        total = expected.loss(answer, expected.target(ab, lightness, None))["total"]
        (total / 2).backward()
        totals.append(total.item())
    assert losses["total"].item() == pytest.approx(sum(totals) / 2, rel=1e-5)
    for mine, theirs in zip(learnt.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped():
    net = small_net(0)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    settings = dataclasses.replace(SGD, clip=1e-2)
    losses = Learner(net, settings, Crew(0, 1, torch.device("cpu"))).learn([some_batch(1)], 1.0)
    assert losses["grad_norm"] > 0.1  # as it was
    moved = [(a.detach() - b).square().sum() for a, b in zip(net.parameters(), before, strict=True)]
    assert torch.stack(moved).sum().sqrt().item() == pytest.approx(1e-2, rel=1e-3)
