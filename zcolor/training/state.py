"""The whole state of a training run in one checkpoint, so that it goes on as if never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zcolor.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

_KIND = "training-state"


def write_state(
    path: str | os.PathLike[str],
    net: nn.Module,
    average: nn.Module | None,
    optimizers: Sequence[Optimizer],
    header: Mapping[str, Any],
) -> None:
    """Write weights, their running mean, the optimizer and torch's generator, atomically.

    Parameters
    ----------
    path
        The checkpoint.
    net, average
        The network and the running mean of its weights (None without one).
    optimizers
        Their state goes along, at full precision.
    header
        What else the run needs to go on; anything JSON can hold.
    """
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    if average is not None:
        tensors |= {f"ema.{name}": value for name, value in average.state_dict().items()}
    for which, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{which}.{index}.{name}"] = value
    tensors["rng"] = torch.get_rng_state()
    write_checkpoint(path, tensors, {**header, "kind": _KIND})


def read_state(
    path: str | os.PathLike[str],
    net: nn.Module,
    average: nn.Module | None,
    optimizers: Sequence[Optimizer],
) -> dict[str, Any]:
    """Put back what `write_state` wrote.

    Parameters
    ----------
    path
        The checkpoint.
    net, average, optimizers
        Built with the settings of the run; they are filled in place.

    Returns
    -------
    The header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is damaged, or holds finished weights and no training state.
    """
    tensors, header = read_checkpoint(path)
    if header.get("kind") != _KIND:
        raise CheckpointError(
            f"{path} holds finished weights, not the state of a run; resume from last.safetensors"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    net.load_state_dict(part("net."))
    if average is not None:
        average.load_state_dict(part("ema."))
    for which, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part(f"optimizer.{which}.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["rng"])
    return header
