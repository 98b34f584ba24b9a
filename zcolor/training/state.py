"""The whole state of a training run in one checkpoint, so that it goes on as if never stopped.

The state before the last one is kept beside it: should the last one be lost to a failing disk or a
copy that was cut short, the run goes on from there and gets to the same weights.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zcolor.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)

_KIND = "training-state"


def previous_of(path: str | os.PathLike[str]) -> Path:
    """Tell where the state before the last one stands.

    Examples
    --------
    >>> previous_of("run/last.safetensors").name
    'last.safetensors.previous'
    """
    path = Path(path)
    return path.with_name(path.name + ".previous")


def has_state(path: str | os.PathLike[str]) -> bool:
    """Whether there is a state to go on from: the last one or the one before it."""
    return Path(path).exists() or previous_of(path).exists()


def write_state(
    path: str | os.PathLike[str],
    net: nn.Module,
    average: nn.Module | None,
    optimizers: Sequence[Optimizer],
    header: Mapping[str, Any],
) -> None:
    """Write weights, their running mean, the optimizer and torch's generator, atomically.

    What stood at `path` is kept as `previous_of(path)`.

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
    path = Path(path)
    fresh = path.with_name(path.name + ".new")
    write_checkpoint(fresh, tensors, {**header, "kind": _KIND})
    # A kill between the two renames leaves the previous state alone, which `read_state` takes.
    if path.exists():
        os.replace(path, previous_of(path))
    os.replace(fresh, path)


def read_state(
    path: str | os.PathLike[str],
    net: nn.Module,
    average: nn.Module | None,
    optimizers: Sequence[Optimizer],
    *,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Put back what `write_state` wrote; if that is damaged or lost, the state before it.

    Parameters
    ----------
    path
        The checkpoint.
    net, average, optimizers
        Built with the settings of the run; they are filled in place.
    check
        Called with the header before anything is filled in; it may raise.

    Returns
    -------
    The header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is damaged and so is the one before, or holds finished weights and no training state.
    """
    tensors, header = _read_either(Path(path))
    if check is not None:
        check(header)

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


def _read_either(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the last state, or the one before it if the last is damaged or lost."""
    previous = previous_of(path)
    try:
        tensors, header = read_checkpoint(path)
    except (CheckpointError, FileNotFoundError) as error:
        if not previous.exists():
            if isinstance(error, FileNotFoundError):
                raise
            raise CheckpointError(
                f"{error}; there is no earlier state beside it, so begin anew: delete it, or name "
                "another output"
            ) from error
        logger.warning("%s; going on from the state before it, %s", error, previous)
        tensors, header = read_checkpoint(previous)
    if header.get("kind") != _KIND:
        raise CheckpointError(
            f"{path} holds finished weights, not the state of a run; resume from last.safetensors"
        )
    return tensors, header
