"""The mean of the weights of several trainings of one network (Wortsman et al., ICML 2022).

Where one began with the other's weights, both lie in one valley of the loss, and so does what lies
between them: a network that costs no more to run and has something of each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zcolor.checkpoint import read_checkpoint, read_header
from zcolor.models.base import ColorNet
from zcolor.registry import load_model, save_model
from zcolor.settings import DecodeSettings, Preset

_STATE, _BEST = "last.safetensors", "best.safetensors"
_AVERAGE = "ema.module."
# What the header says of each source.
_TOLD = ("sha256", "training", "provenance")


def mean_weights(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    shares: Sequence[float] = (),
    presets: Mapping[Preset, DecodeSettings] | None = None,
) -> None:
    """Write the weighted mean of every parameter and statistic of several networks.

    Parameters
    ----------
    sources
        Checkpoints, or folders of runs of `zcolor train`; of a run the end counts (the running mean
        of its weights, where it kept one), not the best checkpoint on the way. All of one family
        and size. What is counted rather than averaged, and the priors, are those of the last.
    out
        The checkpoint to write. Its header is that of the last source; `provenance["mean_of"]`
        says of each its share, the SHA-256 of its weights, its settings and where they came from.
    shares
        How much each weighs; they become a sum of 1. Empty takes equal parts.
    presets
        Presets in place of those of the last source.

    Raises
    ------
    ValueError
        For fewer than two sources, shares that do not fit them, and networks of other shapes.
    FileNotFoundError, CheckpointError
        If a source is not there or damaged.
    """
    if len(sources) < 2:
        raise ValueError(f"a mean needs at least two sources, got {len(sources)}")
    weights = [float(share) for share in shares] or [1.0] * len(sources)
    if len(weights) != len(sources) or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ValueError(
            f"there must be one share, at least 0, for each of the {len(sources)} sources and not "
            f"all of them 0; got {list(shares)}"
        )
    weights = [weight / sum(weights) for weight in weights]
    nets, headers = zip(*(_end_of(Path(source)) for source in sources), strict=True)
    states = [net.state_dict() for net in nets]
    _check_alike(sources, states)
    net: ColorNet = nets[-1]
    net.load_state_dict({name: _mean([s[name] for s in states], weights) for name in states[-1]})
    if presets is not None:
        net.presets = {**net.presets, **presets}
    parts = [
        {"share": weight, **{key: header[key] for key in _TOLD if key in header}}
        for weight, header in zip(weights, headers, strict=True)
    ]
    save_model(
        out,
        net,
        {
            "training": headers[-1].get("training", {}),
            "provenance": {**headers[-1].get("provenance", {}), "mean_of": parts},
        },
    )


def _mean(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Average what is continuous; counts are those of the last."""
    if not values[-1].is_floating_point():
        return values[-1]
    return sum((v * w for v, w in zip(values, weights, strict=True)), torch.zeros_like(values[-1]))


def _check_alike(
    sources: Sequence[str | os.PathLike[str]], states: Sequence[Mapping[str, Tensor]]
) -> None:
    last = {name: value.shape for name, value in states[-1].items()}
    for source, state in zip(sources, states, strict=True):
        shapes = {name: value.shape for name, value in state.items()}
        other = sorted(n for n in {*shapes, *last} if shapes.get(n) != last.get(n))
        if other:
            raise ValueError(
                f"{source} and {sources[-1]} are no networks of one kind and width ({other[0]} "
                f"differs, {len(other)} in all); a mean can be taken of those alone"
            )


def _end_of(source: Path) -> tuple[ColorNet, dict[str, Any]]:
    """Load a checkpoint, or the end of a run, in float32, with its header."""
    if not source.is_dir():
        return load_model(source), read_header(source)
    best = source / _BEST
    net, header = load_model(best), read_header(best)
    tensors, state = read_checkpoint(source / _STATE)
    prefix = _AVERAGE if any(name.startswith(_AVERAGE) for name in tensors) else "net."
    net.load_state_dict(
        {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
    )
    provenance = {**header.get("provenance", {}), "seen": state["seen"], "steps": state["step"]}
    provenance.pop("metrics", None)  # of the best
    return net, {**header, "sha256": state["sha256"], "provenance": provenance}
