"""The optimizers: AdamW, Adam, SGD, and Muon for the convolutions with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from zcolor.training.settings import TrainSettings

# Momentum in Muon's memory, and in a state on the disk.
_LIVE, _WRITTEN = "momentum_buffer", "momentum_nchw"


def make_optimizers(net: nn.Module, s: TrainSettings) -> list[Optimizer]:
    """Make what moves the weights: one optimizer, or two that share them out.

    Parameters
    ----------
    net
        Its parameters; those with more than one dimension are decayed.
    s
        Which optimizer, rate and decay.

    Returns
    -------
    One optimizer; for `muon` Muon (Jordan et al. 2024, at the update size of AdamW: Liu et al.
    2025) for the convolutions, if there are any, and AdamW for what is no hidden layer: norms,
    biases and the 1 x 1 classifier.
    """
    learned = [p for p in net.parameters() if p.requires_grad]  # a frozen extractor is not
    decayed = [p for p in learned if p.ndim > 1]
    plain = [p for p in learned if p.ndim <= 1]
    if s.optimizer == "muon":
        hidden = [p for p in decayed if p.ndim == 4 and p[0, 0].numel() > 1]
        last = [p for p in decayed if p.ndim != 4 or p[0, 0].numel() == 1]
        rest = AdamW(_groups(last, plain, s), lr=s.lr)
        return [_muon(hidden, s), rest] if hidden else [rest]
    groups = _groups(decayed, plain, s)
    if s.optimizer == "adamw":
        return [AdamW(groups, lr=s.lr)]
    if s.optimizer == "adam":
        return [Adam(groups, lr=s.lr)]
    return [SGD(groups, lr=s.lr, momentum=0.9)]


def _groups(
    decayed: Sequence[Tensor], plain: Sequence[Tensor], s: TrainSettings
) -> list[dict[str, Any]]:
    return [
        {"params": decayed, "weight_decay": s.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def _muon(kernels: Sequence[Tensor], s: TrainSettings) -> Muon:
    """Make Muon over kernels, each seen as a matrix: it knows no tensors of higher rank."""
    matrices = [_matrix(kernel.detach()) for kernel in kernels]
    # A copy in place of a view would be trained, and the network not.
    assert all(m.data_ptr() == k.data_ptr() for m, k in zip(matrices, kernels, strict=True))
    muon = Muon(matrices, lr=s.lr, weight_decay=s.weight_decay, adjust_lr_fn="match_rms_adamw")

    def hand_over(*_: object) -> None:
        for matrix, kernel in zip(matrices, kernels, strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad)

    muon.register_step_pre_hook(hand_over)

    # A state is written in the order (n, c, h, w): it may go on where memory is laid out otherwise.
    def in_plain_order(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return _renamed(state, _LIVE, _WRITTEN, lambda i, b: _plain_order(b, kernels[i]))

    def in_own_order(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return _renamed(state, _WRITTEN, _LIVE, lambda i, b: _order_of(b, kernels[i]))

    muon.register_state_dict_post_hook(in_plain_order)
    muon.register_load_state_dict_pre_hook(in_own_order)
    return muon


def _renamed(
    state: dict[str, Any], old: str, new: str, change: Callable[[int, Tensor], Tensor]
) -> dict[str, Any]:
    """Change and rename the momentum of every kernel, by its number, in a copy of a state.

    What has another name, as in a state that was written before there were two, stays as it is.
    """
    found = {
        index: {
            new if name == old else name: change(index, value) if name == old else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    return {**state, "state": found}


def _plain_order(matrix: Tensor, kernel: Tensor) -> Tensor:
    """Bring a matrix like that of a kernel (`_matrix`) to the order (n, c * h * w)."""
    if not kernel.is_contiguous(memory_format=torch.channels_last):
        return matrix
    n, c, h, w = kernel.shape
    return matrix.reshape(n, h, w, c).permute(0, 3, 1, 2).reshape(n, -1)


def _order_of(matrix: Tensor, kernel: Tensor) -> Tensor:
    """Undo `_plain_order`."""
    if not kernel.is_contiguous(memory_format=torch.channels_last):
        return matrix
    return matrix.reshape(kernel.shape).permute(0, 2, 3, 1).reshape(kernel.shape[0], -1)


def _matrix(kernel: Tensor) -> Tensor:
    """See (n, c, h, w) as a matrix of n rows, in the order it has in memory."""
    if kernel.is_contiguous(memory_format=torch.channels_last):
        kernel = kernel.permute(0, 2, 3, 1)
    return kernel.flatten(1)
