"""What learns: the network, the running mean of its weights, its optimizers, one step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zcolor.lab import rgb_to_lab, rgb_to_lightness
from zcolor.losses import taught_cross_entropy
from zcolor.models.base import ColorNet, Output
from zcolor.models.classifier import Classifier
from zcolor.precision import fast_precision
from zcolor.training.distributed import Crew
from zcolor.training.loader import Batch
from zcolor.training.optimizers import make_optimizers
from zcolor.training.settings import TrainSettings


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (n, 1, h, w) lightness and (n, 2, h, w) ab of a batch, on the device."""

    def unit(pixels: Tensor) -> Tensor:
        return pixels.to(device, non_blocking=True).float() / 255

    lab = rgb_to_lab(unit(batch.target))
    if batch.source is batch.target:
        return lab[:, :1], lab[:, 1:]
    return rgb_to_lightness(unit(batch.source)), lab[:, 1:]


def as_clips(lightness: Tensor, clip_length: int) -> Tensor:
    """See frames as the clips that they belong to.

    Parameters
    ----------
    lightness
        (n * t, 1, h, w), clip after clip.
    clip_length
        t; photographs (t = 1) stay as they are.

    Returns
    -------
    (n, t, 1, h, w), the same memory.
    """
    return lightness if clip_length == 1 else lightness.unflatten(0, (-1, clip_length))


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


class Learner:
    """A network and all that changes when it learns.

    Parameters
    ----------
    net
        The network, on the crew's device.
    settings
        The optimizer, the running mean and the precision.
    crew
        The processes that learn together.
    teacher
        A finished network on the crew's device whose answer to the clean photograph is learnt
        beside the true colours (`TrainSettings.teacher_share`), or None.
    """

    def __init__(
        self,
        net: ColorNet,
        settings: TrainSettings,
        crew: Crew,
        teacher: Classifier | None = None,
    ) -> None:
        self.net, self.settings, self.crew = net, settings, crew
        self.teacher = teacher
        self.average = make_average(net, settings.ema) if settings.ema else None
        self.optimizers = make_optimizers(net, settings)
        self._parallel = crew.wrap(net)

    @property
    def averaged(self) -> ColorNet:
        """The network with the running mean of the weights, or itself without a mean."""
        net = self.net if self.average is None else self.average.module
        assert isinstance(net, ColorNet)
        return net

    def learn(self, batches: list[Batch], lr: float) -> dict[str, Tensor]:
        """Learn from one batch, given in one part or in several (`accumulate`).

        Parameters
        ----------
        batches
            The parts.
        lr
            The learning rate of this step.

        Returns
        -------
        The losses by name and the norm of the gradient, scalars on the device.
        """
        s, device = self.settings, self.crew.device
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        self._parallel.train()
        self.net.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            lightness, ab = to_device(batch, device)
            with self.crew.gradients(self._parallel, exchanged=i == len(batches) - 1):
                seen = as_clips(lightness, self.net.clip_length)
                with fast_precision(device, bf16=s.bf16):
                    output = self._parallel(seen)
                losses = self.net.loss(output, self.net.target(ab, lightness, None))
                if self.teacher is not None:
                    losses = self._taught(output, batch, losses)
                (losses["total"] / len(batches)).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), s.clip or math.inf)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.net)
        means = {name: value / len(batches) for name, value in sums.items()}
        return {**means, "grad_norm": norm.detach()}

    def _taught(self, output: Output, batch: Batch, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace a share of the loss by the distance to what the teacher says of the clean L."""
        assert isinstance(output, Tensor) and self.teacher is not None
        share, device = self.settings.teacher_share, self.crew.device
        clean = rgb_to_lightness(batch.target.to(device, non_blocking=True).float() / 255)
        with torch.no_grad(), fast_precision(device, bf16=self.settings.bf16):
            taught = self.teacher(clean)
        teacher = taught_cross_entropy(output, taught, self.teacher.class_weights)
        total = (1 - share) * losses["total"] + share * teacher
        return {**losses, "total": total, "teacher": teacher.detach()}
