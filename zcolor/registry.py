"""The models by name: the functions that find, read and write them, and devices.

Nothing heavy is imported until a model is asked for.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from zcolor.model_table import MODELS, ModelEntry

if TYPE_CHECKING:
    import torch

    from zcolor.models.base import ColorNet

__all__ = [
    "MODELS",
    "ModelEntry",
    "Runtime",
    "family_of",
    "find_family",
    "find_weights",
    "is_onnx",
    "list_families",
    "list_models",
    "load_model",
    "pick_device",
    "save_model",
]

Runtime = Literal["auto", "torch", "onnx"]
"""What runs the layers of a network; `auto` is onnxruntime for ONNX files, torch for all else."""

_ONNX = ".onnx"
_SUFFIXES = (".safetensors", _ONNX)
# What building a network raises whose header says what makes no sense.
_UNFIT = (
    LookupError, TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError, MemoryError,
)  # fmt: skip
_DEVICES = "choose auto, cpu, cuda, cuda:N or mps"


def list_models() -> list[str]:
    """Names that `load_model` and `colorize` take: the families whose weights ship.

    Examples
    --------
    >>> "zhang" in list_models()
    True
    """
    return sorted(name for name, entry in MODELS.items() if entry.weights)


def list_families() -> list[str]:
    """Names that `zcolor train --model` takes: all families.

    Examples
    --------
    >>> set(list_models()) <= set(list_families())
    True
    """
    return sorted(MODELS)


def find_family(name: str) -> type[ColorNet]:
    """Import the class of a family.

    Parameters
    ----------
    name
        A name of `list_families`.

    Raises
    ------
    ValueError
        For another name.
    ImportError
        If the extra that it needs is not installed.

    Examples
    --------
    >>> find_family("zhang").__name__
    'Zhang'
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; the families are {', '.join(list_families())}")
    module, _, attribute = MODELS[name].network.partition(":")
    return cast("type[ColorNet]", getattr(importlib.import_module(module), attribute))


def find_weights(model: str | os.PathLike[str]) -> Path:
    """Tell where the weights of a model are, without reading them.

    Parameters
    ----------
    model
        A name of `list_models`, or the path of a checkpoint or of an ONNX model. A bare name is a
        path only where such a file exists or it ends in ".safetensors" or ".onnx".

    Returns
    -------
    The path of a file.

    Raises
    ------
    ValueError
        For a name that is neither.
    FileNotFoundError
        If the file is not there.
    TypeError
        If `model` is neither a name nor a path.

    Examples
    --------
    >>> find_weights("zhang").name
    'zhang.safetensors'
    """
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"model must be a name or the path of a checkpoint, got {type(model).__name__}; "
            f"the names are {', '.join(list_models())}"
        )
    if isinstance(model, str) and model in MODELS:
        if not MODELS[model].weights:
            raise ValueError(
                f"the model {model!r} ships without weights; train it with 'zcolor train PHOTOS "
                f"--model {model} --out RUN' and give RUN/best.safetensors"
            )
        path = MODELS[model].path
        if not path.is_file():
            raise FileNotFoundError(
                f"the weights of {model!r} are missing: there is no {path}; install zcolor again"
            )
        return path
    path = Path(model)
    if path.is_file():
        return path
    if isinstance(model, str) and path.name == model and path.suffix not in _SUFFIXES:
        raise ValueError(
            f"unknown model {model!r}; choose one of {', '.join(list_models())}, or give the path "
            "of a checkpoint (.safetensors) or of an ONNX model (.onnx)"
        )
    raise FileNotFoundError(
        f"there is no checkpoint at {path}; check the path, or use one of the models "
        f"{', '.join(list_models())}"
    )


def is_onnx(model: str | os.PathLike[str]) -> bool:
    """Tell by its ending whether a model is an ONNX file, which onnxruntime runs.

    Parameters
    ----------
    model
        A name or a path.

    Examples
    --------
    >>> is_onnx("zhang.onnx"), is_onnx("zhang")
    (True, False)
    """
    return Path(model).suffix.lower() == _ONNX


def load_model(
    name_or_path: str | os.PathLike[str], *, device: str | torch.device = "cpu"
) -> ColorNet:
    """Build a network and give it its weights.

    Parameters
    ----------
    name_or_path
        A name of `list_models`, or the path of a checkpoint that training wrote.
    device
        Where the network goes; float16 weights become float32 on the way.

    Returns
    -------
    The network in evaluation mode.

    Raises
    ------
    ValueError
        For an unknown name, and for an ONNX model, which has no layers in torch
        (`zcolor.Colorizer` takes it).
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is damaged, no checkpoint, of an unknown family, or its tensors do not fit its
        header.
    """
    import torch

    from zcolor.checkpoint import CheckpointError, read_checkpoint

    path = find_weights(name_or_path)
    if is_onnx(path):
        raise ValueError(
            f"{path} is an ONNX model: it colours, but has no layers in torch, which are needed "
            "here; give the checkpoint that it was exported from (.safetensors)"
        )
    tensors, header = read_checkpoint(path)
    network = _network_of(header, path)
    try:
        # The random weights that are about to be replaced must not move the caller's dice.
        # On the CPU and in float32, whatever torch's defaults are in this process.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            net = network.from_header(header).float()
        # Copies into the float32 parameters, whatever precision the file has.
        net.load_state_dict(tensors, strict=True)
    except _UNFIT as error:
        raise CheckpointError(
            f"{path} does not fit its own header ({' '.join(str(error).split())}); it comes from "
            "another version of zcolor or was changed: train or download it again"
        ) from error
    # The layout in which convolutions are fastest, on CPUs and GPUs.
    placed: ColorNet = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed.eval()


def save_model(
    path: str | os.PathLike[str],
    net: ColorNet,
    provenance: Mapping[str, Any],
    *,
    half: bool = True,
) -> None:
    """Write a network so that `load_model` builds it again.

    Parameters
    ----------
    path
        The checkpoint to write, whole or not at all.
    net
        A network of one of the families in `MODELS`.
    provenance
        What else the header shall say (settings, data hash, steps, metrics); anything JSON holds.
    half
        Store the learned parameters in float16, which halves the file. Buffers (statistics of the
        norms, priors, weights of the colours) always keep their precision: they are small, and
        rare colours have shares below what float16 can hold.

    Raises
    ------
    TypeError
        If the network is of no family in `MODELS`.
    ValueError
        If a parameter does not fit into float16, or `provenance` redefines what the network says
        of itself.
    """
    import torch

    from zcolor.checkpoint import write_checkpoint

    header = {**net.header(), "family": family_of(net)}
    redefined = sorted(set(header) & set(provenance))
    if redefined:
        raise ValueError(
            f"the provenance may not redefine {', '.join(redefined)}, which the network itself "
            "states; give these entries another name"
        )
    learned = {name for name, _ in net.named_parameters()}
    tensors = net.state_dict()
    if half:
        for name in learned:
            tensors[name] = tensors[name].to(torch.float16)
            if not bool(tensors[name].isfinite().all()):
                raise ValueError(
                    f"the parameter {name} holds values that float16 cannot (or NaN); "
                    "check the training, or write it with half=False"
                )
    write_checkpoint(path, tensors, {**header, **provenance})


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Turn `auto` into CUDA, MPS or the CPU, and check that what was named is there.

    Parameters
    ----------
    device
        `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Returns
    -------
    A device that torch can use here.

    Raises
    ------
    ValueError
        For another name, or a device that this machine or this torch does not have.

    Examples
    --------
    >>> pick_device("cpu")
    device(type='cpu')
    """
    import torch

    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if device == "auto":
        return torch.device(next(name for name, count in counts.items() if count))
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"unknown device {device!r}; {_DEVICES}") from error
    if chosen.type not in counts:
        raise ValueError(f"zcolor does not run on the device {device!r}; {_DEVICES}")
    if (chosen.index or 0) >= counts[chosen.type]:
        raise ValueError(
            f"the device {str(device)!r} is not available: torch sees "
            f"{counts[chosen.type]} of the kind {chosen.type!r} here; use device='auto' or "
            "'cpu', or install the drivers and the build of torch for it"
        )
    return chosen


def _network_of(header: Mapping[str, Any], path: Path) -> type[ColorNet]:
    """The class that a checkpoint's header names by its family."""
    from zcolor.checkpoint import CheckpointError

    family = str(header.get("family"))
    if family not in MODELS:
        raise CheckpointError(
            f"{path} holds no model that zcolor knows: its family is {family!r}, known are "
            f"{', '.join(list_families())}; give the weights that training wrote as the best, not "
            "the state to resume from"
        )
    return find_family(family)


def family_of(net: ColorNet) -> str:
    """Name of the family whose class a network has.

    Raises
    ------
    TypeError
        If it is of none.
    """
    network = f"{type(net).__module__}:{type(net).__qualname__}"
    for name, entry in MODELS.items():
        if entry.network == network:
            return name
    raise TypeError(
        f"{network} is of no family that zcolor knows; add a row for it to MODELS in "
        "zcolor.registry"
    )
