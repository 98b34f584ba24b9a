"""Networks of timm and their weights, from its hub or from files; errors that name the cure.

timm is of the extra `zoo`, and is imported when it is needed.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from zcolor.extras import install_command

# What timm, torch and the hub's client raise where a file or a download is no good.
_UNUSABLE = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    EOFError,
    SafetensorError,
    pickle.UnpicklingError,
)
# torch names every missing tensor of a network.
_REASON_CHARACTERS = 300


def import_timm() -> ModuleType:
    """Import timm.

    Raises
    ------
    ImportError
        If it is not installed; the message names the extra.
    """
    try:
        import timm
        import timm.models
    except ImportError as error:
        raise ImportError(
            f"this model holds a network of timm, which cannot be imported ({error}); "
            f"{install_command('zoo')}"
        ) from error
    module: ModuleType = timm
    return module


def timm_config(name: str) -> dict[str, Any]:
    """What timm says of a network: `input_size`, `mean`, `std`, `num_classes`, `classifier`.

    Parameters
    ----------
    name
        As `timm.list_models()` lists it.

    Raises
    ------
    ValueError
        If timm knows no such network.
    ImportError
        If timm is not installed.
    """
    timm = import_timm()
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        near = timm.list_models(f"{name[:6]}*")[:5] if name else []
        raise ValueError(
            f"timm knows no network {name!r}{'; near it are ' + ', '.join(near) if near else ''}; "
            "timm.list_models() lists them all"
        )
    values: dict[str, Any] = config.to_dict()
    return values


def make_timm(name: str, *, classes: int) -> nn.Module:
    """Build a classification network of timm with random weights.

    Parameters
    ----------
    name
        As `timm.list_models()` lists it.
    classes
        Length of its answer.

    Raises
    ------
    ValueError
        If timm knows no such network.
    ImportError
        If timm is not installed.
    """
    timm_config(name)
    net: nn.Module = import_timm().create_model(name, pretrained=False, num_classes=classes)
    return net


def hub_state(name: str) -> Mapping[str, Tensor]:
    """Fetch the weights that timm names for a network, or take them from its cache.

    Parameters
    ----------
    name
        As `timm.list_models()` lists it.

    Raises
    ------
    OSError
        If they cannot be had.
    ValueError
        If timm knows no such network.
    """
    timm_config(name)
    try:
        net = import_timm().create_model(name, pretrained=True)
    except _UNUSABLE as error:
        raise OSError(
            f"the pretrained weights of {name} cannot be had from timm's hub ({_reason(error)})"
        ) from error
    state: Mapping[str, Tensor] = net.state_dict()
    return state


def file_state(name: str, path: str | os.PathLike[str], *, classes: int) -> Mapping[str, Tensor]:
    """Read a file of weights of timm or torchvision; names that differ are brought to timm's.

    Parameters
    ----------
    name
        The network, as `timm.list_models()` lists it.
    path
        A state dict (.safetensors, .pth). A pickle that would run code is refused.
    classes
        Length of the network's answer.

    Raises
    ------
    ValueError
        If the file cannot be read safely, or does not fit the network.
    """
    timm_config(name)
    try:
        tensors = _read_state(path)
        overlay = {"state_dict": tensors, "num_classes": classes}
        net = import_timm().create_model(
            name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay
        )
    except _UNUSABLE as error:
        raise ValueError(
            f"{path} holds no weights of {name} with {classes} classes that can be read safely "
            f"({_reason(error)}); give a state dict of timm or torchvision (.safetensors, .pth)"
        ) from error
    state: Mapping[str, Tensor] = net.state_dict()
    return state


def file_classes(name: str, path: str | os.PathLike[str]) -> int:
    """Count the classes of a file of weights.

    Parameters
    ----------
    name
        The network, as `timm.list_models()` lists it.
    path
        A state dict (.safetensors, .pth).

    Raises
    ------
    ValueError
        If the file cannot be read safely, or lacks the classifier that timm names for the network.
    """
    classifier = f"{timm_config(name)['classifier']}.bias"
    try:
        tensors = _read_state(path)
    except _UNUSABLE as error:
        raise ValueError(
            f"{path} is no file of weights that can be read safely ({_reason(error)}); give a "
            "state dict of timm or torchvision (.safetensors, .pth)"
        ) from error
    if classifier not in tensors:
        raise ValueError(
            f"{path} does not tell how many classes it has: there is no {classifier} in it; check "
            f"that it holds weights of {name}, or say how many there are"
        )
    return len(tensors[classifier])


def _read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict without running anything: timm's default was to unpickle everything."""
    tensors: dict[str, Tensor] = import_timm().models.load_state_dict(str(path), weights_only=True)
    if not tensors:  # timm would go on to its hub
        raise ValueError("it is empty")
    return tensors


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]} ..."
