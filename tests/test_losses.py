"""The rebalanced cross-entropy against NumPy loops and F.cross_entropy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zcolor.losses import rebalanced_cross_entropy, taught_cross_entropy
from zcolor.quantizer import AbGrid

N, Q, H, W, K = 3, 7, 4, 5, 3


@pytest.fixture
def case():
    """Logits, cells, shares and weights: no two pixels, cells or weights alike."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(N, Q, H, W, generator=generator, dtype=torch.float64) * 3
    order = torch.rand(N, Q, H, W, generator=generator).argsort(dim=1)[:, :K]
    shares = torch.rand(N, K, H, W, generator=generator, dtype=torch.float64) + 0.1
    shares = (shares / shares.sum(dim=1, keepdim=True)).sort(dim=1, descending=True).values
    return logits, order, shares, torch.linspace(0.3, 3.0, Q, dtype=torch.float64)


def numpy_loss(logits, indices, shares, weights):
    """(weighted, unweighted) means over the pixels, one term at a time."""
    n, _, h, w = logits.shape
    weighted, plain = [], []
    for photo in range(n):
        for y in range(h):
            for x in range(w):
                z = logits[photo, :, y, x]
                log_z = np.log(np.exp(z - z.max()).sum()) + z.max()
                entropy = 0.0
                for cell, share in zip(indices[photo, :, y, x], shares[photo, :, y, x]):
                    entropy -= share * (z[cell] - log_z)
                weighted.append(weights[indices[photo, 0, y, x]] * entropy)
                plain.append(entropy)
    return np.mean(weighted), np.mean(plain)


def hard(case):
    logits, indices, shares, weights = case
    return logits, indices[:, :1], torch.ones_like(shares[:, :1]), weights


def test_unit_weights_and_hard_targets_are_cross_entropy(case):
    logits, cells, ones, _ = hard(case)
    weighted, plain = rebalanced_cross_entropy(
        logits, cells, ones, torch.ones(Q, dtype=torch.float64)
    )
    expected = F.cross_entropy(logits, cells[:, 0])
    assert weighted.item() == pytest.approx(expected.item(), abs=1e-12)
    assert plain.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_weighted_loss_equals_loop(case, kind):
    case = hard(case) if kind == "hard" else case
    weighted, plain = rebalanced_cross_entropy(*case)
    expected = numpy_loss(*(tensor.numpy() for tensor in case))
    assert (weighted.item(), plain.item()) == pytest.approx(expected, abs=1e-10)
    assert abs(weighted.item() - plain.item()) > 0.1


def test_soft_and_unit_weights_are_cross_entropy_with_probabilities(case):
    logits, indices, shares, _ = case
    dense = torch.zeros_like(logits).scatter_(1, indices, shares)
    _, plain = rebalanced_cross_entropy(*case)
    assert plain.item() == pytest.approx(F.cross_entropy(logits, dense).item(), abs=1e-12)


def test_it_is_not_cross_entropy_with_class_weights(case):
    """That one weights each class's term, or divides by the sum of the weights."""
    logits, indices, shares, weights = case
    dense = torch.zeros_like(logits).scatter_(1, indices, shares)
    weighted, _ = rebalanced_cross_entropy(*case)
    assert abs(weighted.item() - F.cross_entropy(logits, dense, weight=weights).item()) > 0.01
    weighted, _ = rebalanced_cross_entropy(*hard(case))
    other = F.cross_entropy(logits, indices[:, 0], weight=weights)
    assert abs(weighted.item() - other.item()) > 0.01


def test_sum_is_the_sum_of_each_photos_own_loss(case):
    logits, indices, shares, weights = case
    each = [
        rebalanced_cross_entropy(logits[i : i + 1], indices[i : i + 1], shares[i : i + 1], weights)
        for i in range(N)
    ]
    summed = rebalanced_cross_entropy(*case, reduction="sum")
    for position in range(2):
        expected = sum(pair[position].item() for pair in each)
        assert summed[position].item() == pytest.approx(expected, abs=1e-10)


def test_doubling_the_weights_doubles_the_weighted_loss_alone(case):
    logits, indices, shares, weights = case
    once = rebalanced_cross_entropy(logits, indices, shares, weights)
    twice = rebalanced_cross_entropy(logits, indices, shares, 2 * weights)
    assert twice[0].item() == pytest.approx(2 * once[0].item())
    assert twice[1].item() == once[1].item()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradcheck(case, reduction):
    logits, indices, shares = (tensor[:1, :, :2, :2] for tensor in case[:3])
    weights = case[3]
    assert torch.autograd.gradcheck(
        lambda x: rebalanced_cross_entropy(x, indices, shares, weights, reduction=reduction),
        (logits.clone().requires_grad_(),),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_a_float32_loss(case, dtype):
    logits, indices, shares, weights = case
    logits, shares, weights = logits.to(dtype), shares.float(), weights.float()
    halves = rebalanced_cross_entropy(logits, indices, shares, weights)
    floats = rebalanced_cross_entropy(logits.float(), indices, shares, weights)
    assert halves[0].dtype == halves[1].dtype == torch.float32
    assert torch.equal(halves[0], floats[0])
    assert torch.equal(halves[1], floats[1])


def test_extreme_logits_give_a_finite_loss():
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1).requires_grad_()
    cell = torch.ones(1, 1, 1, 1, dtype=torch.long)
    weighted, _ = rebalanced_cross_entropy(logits, cell, torch.ones(1, 1, 1, 1), torch.ones(2))
    weighted.backward()
    assert weighted.item() == pytest.approx(2e4)
    assert logits.grad.isfinite().all()


def test_it_takes_what_the_grid_gives():
    grid = AbGrid(5)
    indices, shares = grid.soft_encode(torch.rand(2, 2, 3, 3) * 100 - 50)
    logits = torch.zeros(2, 25, 3, 3)
    _, plain = rebalanced_cross_entropy(logits, indices, shares, torch.ones(25))
    assert plain.item() == pytest.approx(np.log(25), abs=1e-5)


@pytest.mark.parametrize(
    ("logits", "indices", "shares"),
    [
        ((1, 7, 4, 5), (1, 3, 4, 5), (1, 2, 4, 5)),
        ((1, 7, 4, 5), (2, 3, 4, 5), (2, 3, 4, 5)),
        ((1, 7, 4, 5), (1, 3, 5, 4), (1, 3, 5, 4)),
        ((1, 7, 4, 5), (1, 4, 5), (1, 4, 5)),
        ((1, 7, 4, 5), (5,), (5,)),
        ((7, 4, 5), (3, 4, 5), (3, 4, 5)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(logits, indices, shares):
    with pytest.raises(ValueError, match=r"do not belong together; expected \(n, q, h, w\)"):
        rebalanced_cross_entropy(
            torch.zeros(logits),
            torch.zeros(indices, dtype=torch.long),
            torch.zeros(shares),
            torch.ones(7),
        )


@pytest.mark.parametrize("shape", [(6,), (7, 1), ()])
def test_weights_of_another_length_are_refused(case, shape):
    with pytest.raises(ValueError, match=r"class_weights must be \(7,\), got"):
        rebalanced_cross_entropy(*case[:3], torch.ones(shape))


def test_another_reduction_is_refused(case):
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum', got 'none'"):
        rebalanced_cross_entropy(*case, reduction="none")


def taught_loss(logits, taught, weights):
    """Mean over the pixels of sum_q p(q) w(q) (-log s(q)), p from the teacher, term by term."""
    n, _, h, w = logits.shape
    losses = []
    for photo in range(n):
        for y in range(h):
            for x in range(w):
                t = np.exp(taught[photo, :, y, x])
                p = t / weights / (t / weights).sum()
                s = np.exp(logits[photo, :, y, x])
                losses.append(-(p * weights * np.log(s / s.sum())).sum())
    return np.mean(losses)


def test_a_taught_loss_equals_loop(case):
    logits, _, _, weights = case
    taught = logits.flip(0) - 0.3 * logits
    loss = taught_cross_entropy(logits, taught, weights)
    expected = taught_loss(logits.numpy(), taught.numpy(), weights.numpy())
    assert loss.item() == pytest.approx(expected, abs=1e-10)


def test_a_taught_loss_is_what_labels_drawn_from_the_teacher_cost_on_average(case):
    logits, _, _, weights = case
    taught = 0.5 * logits.roll(1, dims=1)
    natural = torch.softmax(taught - weights.log()[:, None, None], dim=1)
    losses = []
    for cell in range(Q):
        indices = torch.full((N, 1, H, W), cell)
        for y in range(H):
            for x in range(W):
                pixel = (slice(None), slice(None), slice(y, y + 1), slice(x, x + 1))
                ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
                for photo in range(N):
                    at = (slice(photo, photo + 1), *pixel[1:])
                    loss, _ = rebalanced_cross_entropy(logits[at], indices[at], ones, weights)
                    losses.append(natural[photo, cell, y, x] * loss)
    expected = sum(losses) / (N * H * W)
    assert taught_cross_entropy(logits, taught, weights).item() == pytest.approx(expected.item())


def test_a_taught_loss_is_least_at_the_answer_of_the_teacher(case):
    taught, _, _, weights = case
    at_teacher = taught_cross_entropy(taught, taught, weights)
    logits = taught.clone().requires_grad_()
    taught_cross_entropy(logits, taught, weights).backward()
    assert logits.grad.abs().max() < 1e-12
    for seed in range(5):
        noise = torch.randn(taught.shape, generator=torch.Generator().manual_seed(seed))
        assert taught_cross_entropy(taught + 0.1 * noise, taught, weights) > at_teacher


def test_gradcheck_of_the_taught_loss(case):
    logits, _, _, weights = case
    taught = logits.roll(1, dims=1)
    assert torch.autograd.gradcheck(
        lambda z: taught_cross_entropy(z, taught, weights), logits.clone().requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_taught_loss_of_half_precision_is_float32_and_finite(case, dtype):
    logits, _, _, weights = case
    loss = taught_cross_entropy(1e3 * logits.to(dtype), -logits.to(dtype), weights.float())
    assert loss.dtype == torch.float32
    assert loss.isfinite()


@pytest.mark.parametrize(
    ("logits", "taught", "weights"),
    [
        ((1, 4, 2, 2), (1, 4, 2, 3), (4,)),
        ((4, 2, 2), (4, 2, 2), (2,)),
        ((1, 4, 2, 2), (1, 4, 2, 2), (5,)),
    ],
)
def test_a_teacher_of_other_shapes_is_refused(logits, taught, weights):
    with pytest.raises(ValueError, match="do not belong together"):
        taught_cross_entropy(torch.zeros(logits), torch.zeros(taught), torch.ones(weights))
