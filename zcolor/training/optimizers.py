"""The optimizers: AdamW, Adam, SGD, and Muon for the convolutions with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from zcolor.training.settings import TrainSettings


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
    2025) for the convolutions, and AdamW for what is no hidden layer: norms, biases and the
    1 x 1 classifier.
    """
    learned = [p for p in net.parameters() if p.requires_grad]  # a frozen extractor is not
    decayed = [p for p in learned if p.ndim > 1]
    plain = [p for p in learned if p.ndim <= 1]
    if s.optimizer == "muon":
        hidden = [p for p in decayed if p.ndim == 4 and p[0, 0].numel() > 1]
        last = [p for p in decayed if p.ndim != 4 or p[0, 0].numel() == 1]
        return [_muon(hidden, s), AdamW(_groups(last, plain, s), lr=s.lr)]
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
    return muon


def _matrix(kernel: Tensor) -> Tensor:
    """See (n, c, h, w) as a matrix of n rows, in the order it has in memory."""
    if kernel.is_contiguous(memory_format=torch.channels_last):
        kernel = kernel.permute(0, 2, 3, 1)
    return kernel.flatten(1)
