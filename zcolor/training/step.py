"""The parts of a training step: a batch on its device, losses, signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zcolor.lab import rgb_to_lab, rgb_to_lightness
from zcolor.training.loader import Batch


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (n, 1, h, w) lightness and (n, 2, h, w) ab of a batch, on the device."""

    def unit(pixels: Tensor) -> Tensor:
        return pixels.to(device, non_blocking=True).float() / 255

    lab = rgb_to_lab(unit(batch.target))
    if batch.source is batch.target:
        return lab[:, :1], lab[:, 1:]
    return rgb_to_lightness(unit(batch.source)), lab[:, 1:]


def make_average(net: nn.Module, decay: float) -> AveragedModel:
    """Make the exponential running mean of the weights and of batch norm's statistics.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the mean follows quickly at
    first instead of remembering the initial weights (as TensorFlow's
    ExponentialMovingAverage(num_updates=t) does).
    """

    def update(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
        n = float(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, n_averaged)

    return AveragedModel(net, multi_avg_fn=update, use_buffers=True)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM in a list instead of dying of them; a second one is obeyed.

    Outside the main thread, where no handler can be set, nothing is noted.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    old = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(number, old[number])

    for number in old:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class LossWindow:
    """The losses since the last entry of the log, kept on the device until they are needed."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of one step, by name."""
        self.steps.append(losses)

    def take(self) -> tuple[dict[str, float], list[float]]:
        """Return the means by name and the `total` of every step, and start anew."""
        columns = {name: torch.stack([step[name] for step in self.steps]) for name in self.steps[0]}
        self.steps = []
        means = {name: column.double().mean().item() for name, column in columns.items()}
        return means, columns["total"].tolist()
