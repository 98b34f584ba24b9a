"""What is inside a network: its layers, its groups, and what they answer.

Works on any `nn.Module` that reads (n, 1, h, w) lightness, through hooks; no family is special.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Kinds of layers that hold filters; with fully connected ones, those whose units are shown."""
MAX_GROUPS = 16
"""A network is opened into its parts, level by level, as long as there are no more than these."""
BELOW_ZERO = 0.1
"""What answers below zero count, as an activation follows: a little, so that units can wake up."""
# Places along a side from which on a map has a border and an inside.
_LEAST_TO_TRIM = 5
_Hook = Callable[[nn.Module, object, object], None]
_WEIGHTED = (*CONVOLUTIONS, nn.Linear)


@dataclass(frozen=True)
class Layer:
    """One layer of a network, as it ran."""

    name: str
    """Its path in the network, as `nn.Module.get_submodule` takes it."""
    kind: str
    """Name of its class."""
    shape: tuple[int, ...]
    """Of its output, without the batch."""
    n_parameters: int
    """Learned numbers that it holds itself."""
    n_macs: int
    """Multiplications with addition of its convolutions and matrix products for one photo."""


@dataclass(frozen=True)
class Group:
    """A part of a network whose units are looked at.

    Its units are the channels of its last convolution, or fully connected layer, before the
    activation and the normalisation that follow: a normalisation may turn the sign around.
    """

    name: str
    """Its path in the network."""
    layer: str
    """The path of that layer."""
    n_units: int
    """Number of channels."""
    n_parameters: int
    """Learned numbers of the whole group."""
    n_macs: int
    """Multiplications with addition of the whole group for one photo."""


class _EnoughError(Exception):
    """All layers that were asked for have run."""


def record(net: nn.Module, lightness: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Run a network until some of its layers have answered, and keep their answers.

    Parameters
    ----------
    net
        The network, in evaluation mode.
    lightness
        (n, 1, h, w), L in [0, 100]; gradients flow back to it where they are wanted.
    layers
        Paths of modules.

    Returns
    -------
    Their first outputs by name, as maps (n, c, h', w'); vectors become maps of one place.

    Raises
    ------
    ValueError
        If there is no such module, or it gives no maps or did not run.
    """
    found: dict[str, Tensor] = {}

    def keeper(name: str) -> _Hook:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if name not in found:
                # A copy: what follows may work in place.
                found[name] = _as_maps(output, name).clone()
            if len(found) == len(set(layers)):
                raise _EnoughError

        return keep

    with ExitStack() as hooks:
        for name in layers:
            hook = _module(net, name).register_forward_hook(keeper(name))
            hooks.callback(hook.remove)
        try:
            net(lightness)
        except _EnoughError:
            return found
    missing = ", ".join(sorted(set(layers) - set(found)))
    raise ValueError(f"the layer {missing} has no part in the answer; choose another one")


def list_layers(net: nn.Module, lightness: Tensor) -> list[Layer]:
    """List the layers that run, in their order, with sizes and costs.

    Parameters
    ----------
    net
        The network, in evaluation mode.
    lightness
        (1, 1, h, w), L in [0, 100], on the device of the network.

    Returns
    -------
    Modules without parts of their own, and those that hold parameters themselves. Steps of the
    network that are no module are not among them.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def keeper(name: str) -> _Hook:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                shapes.setdefault(name, tuple(first.shape[1:]))

        return keep

    counter = FlopCounterMode(display=False)
    with ExitStack() as hooks, torch.no_grad():
        for name, module in net.named_modules():
            if name and (_own_parameters(module) or not any(module.children())):
                hook = module.register_forward_hook(keeper(name))
                hooks.callback(hook.remove)
        with counter:
            net(lightness)
    counts = counter.get_flop_counts()
    root = type(net).__name__
    return [
        Layer(
            name,
            type(_module(net, name)).__name__,
            shape,
            _own_parameters(_module(net, name)),
            # A multiplication and an addition are two operations.
            sum(counts.get(f"{root}.{name}", {}).values()) // 2,
        )
        for name, shape in shapes.items()
    ]


def list_groups(net: nn.Module, layers: Sequence[Layer]) -> list[Group]:
    """Part a network into groups of layers, the finest way with at most `MAX_GROUPS` of them.

    Parameters
    ----------
    net
        The network.
    layers
        Its layers, in the order in which they ran.

    Returns
    -------
    The groups that hold convolutions or fully connected layers, in the order in which they ran.

    Raises
    ------
    ValueError
        If there are none.
    """
    weighted = [x for x in layers if isinstance(_module(net, x.name), _WEIGHTED)]
    if not weighted:
        raise ValueError(
            f"{type(net).__name__} has no convolution and no fully connected layer that runs; "
            "there are no units to look at"
        )
    names = _parts([x.name for x in weighted])
    groups = []
    for name in names:
        inside = [x for x in layers if _is_in(x.name, name)]
        last = next(x for x in reversed(weighted) if _is_in(x.name, name))
        module = _module(net, last.name)
        n_units = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        assert isinstance(n_units, int)
        n_parameters = sum(x.n_parameters for x in inside)
        groups.append(Group(name, last.name, n_units, n_parameters, sum(x.n_macs for x in inside)))
    return groups


def find_group(groups: Sequence[Group], wanted: str) -> Group:
    """Find a group by its number, counted from 1, or its name.

    Raises
    ------
    ValueError
        If there is none of them.
    """
    for number, group in enumerate(groups, start=1):
        if wanted in (str(number), group.name):
            return group
    known = ", ".join(f"{i} ({group.name})" for i, group in enumerate(groups, start=1))
    raise ValueError(f"there is no group {wanted!r}; this model has {known}")


def first_filters(net: nn.Module, layers: Sequence[Layer]) -> Tensor | None:
    """Give the filters of the convolution that reads the picture.

    Parameters
    ----------
    net
        The network.
    layers
        Its layers, in the order in which they ran.

    Returns
    -------
    (c, h, w) weights; where a filter reads several planes (three equal ones of a grey picture),
    their sum. None if no convolution comes first.
    """
    for layer in layers:
        module = _module(net, layer.name)
        if isinstance(module, nn.Conv2d):
            return module.weight.detach().float().sum(dim=1).cpu()
        if isinstance(module, _WEIGHTED):
            return None
    return None


def strongest_units(maps: Tensor, n: int) -> list[int]:
    """Rank units by how much their answers differ over a picture.

    Parameters
    ----------
    maps
        (n_photos, c, h, w) answers. Answers below zero count for a tenth, and those at the border
        of larger maps, which tell the padding from the picture, not at all. Units of one place are
        ranked by the size of the answer.
    n
        How many are wanted.

    Returns
    -------
    Numbers of units, the strongest first.

    Examples
    --------
    >>> strongest_units(torch.tensor([[[[5.0, 5.0]], [[0.0, 3.0]], [[0.0, 1.0]]]]), 2)
    [1, 2]
    """
    down, across = (max(1, n // 8) if n >= _LEAST_TO_TRIM else 0 for n in maps.shape[2:])
    inner = maps[:, :, down : maps.shape[2] - down, across : maps.shape[3] - across]
    values = F.leaky_relu(inner.detach().float(), BELOW_ZERO).transpose(0, 1).flatten(1)
    strength = values.std(dim=1, correction=0) if values.shape[1] > 1 else values[:, 0].abs()
    order = strength.argsort(descending=True, stable=True)
    return [int(unit) for unit in order[:n]]


def _as_maps(output: object, name: str) -> Tensor:
    first = output[0] if isinstance(output, tuple) else output
    if isinstance(first, Tensor) and first.ndim == 4:
        return first
    if isinstance(first, Tensor) and first.ndim == 2:
        return first[:, :, None, None]
    raise ValueError(f"the layer {name} gives no maps of (n, c, h, w) and no vectors of (n, c)")


def _module(net: nn.Module, name: str) -> nn.Module:
    try:
        return net.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"{type(net).__name__} has no layer {name!r}") from error


def _own_parameters(module: nn.Module) -> int:
    return sum(math.prod(x.shape) for x in module.parameters(recurse=False))


def _is_in(layer: str, part: str) -> bool:
    return layer == part or layer.startswith(f"{part}.")


def _parts(layers: Sequence[str]) -> list[str]:
    """Cut paths at the deepest level that gives at most `MAX_GROUPS` parts, in their order."""
    paths = [layer.split(".") for layer in layers]
    parts: list[str] = []
    for depth in range(1, max(map(len, paths)) + 1):
        finer = list(dict.fromkeys(".".join(path[:depth]) for path in paths))
        if parts and len(finer) > MAX_GROUPS:
            break
        parts = finer
    return parts
