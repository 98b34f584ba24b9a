"""From a network of torch to an ONNX model that suffices by itself, compared with the network.

torch's exporter makes the graph; what decoding needs goes into the model's metadata
(`zcolor.onnx_net`).
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zcolor.checkpoint import read_header
from zcolor.extras import install_command
from zcolor.models.base import ColorNet
from zcolor.models.classifier import Classifier
from zcolor.models.regressor import Regressor
from zcolor.onnx_net import (
    AB,
    FACTS_KEY,
    HASH_KEY,
    INPUT,
    LOGITS,
    NO_HASH,
    ONNX_FORMAT,
    import_onnxruntime,
    read_onnx,
)
from zcolor.registry import MODELS, find_weights, load_model
from zcolor.settings import DecodeSettings

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""The operators' version: the first that shrinks pictures without aliases."""
TOLERANCE = 0.05
"""Largest difference from torch, in ab units: a hundredth of what can be seen."""
TRIED = ((1, 1, 1), (1, 8, 8), (3, 13, 50), (1, 37, 129), (2, 64, 96), (1, 128, 128), (1, 135, 233))
"""Photos, rows and columns that the two are compared at."""

# The graph is traced with this many. No side is a multiple of what networks pad to, or a size that
# they work at, so that the steps for all other sizes are in the graph.
_TRACED = (2, 237, 251)
# Below this temperature one cell wins, and the difference of two answers that nearly tie is that
# of two cells. The paper's.
_SOFT = 0.38
# Deviation of the noise on the lightness that the two are compared on.
_GRAIN = 4.0


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model that was compared with the network it was made of."""

    data: bytes
    """The file."""
    family: str
    """The family of networks."""
    n_parameters: int
    """Learned numbers, in float32."""
    difference: float
    """Largest difference from torch, in ab units."""
    tried: Sequence[tuple[int, int, int]] = TRIED
    """Photos, rows and columns that they were compared at."""


def make_onnx(model: str | os.PathLike[str]) -> OnnxModel:
    """Turn a model into an ONNX model, and compare what both answer.

    Parameters
    ----------
    model
        A name of `zcolor.list_models()`, or the path of a checkpoint.

    Returns
    -------
    The model; its input is `lightness`, (n, 1, h, w) with L in [0, 100] and any n, h and w from 1.

    Raises
    ------
    ValueError
        As for `zcolor.load_model`; for a family that ONNX cannot hold, as far as zcolor knows; if
        the two differ by more than `TOLERANCE`.
    FileNotFoundError
        If there is no such file.
    ImportError
        If onnx, onnxscript or onnxruntime is not installed.
    RuntimeError
        If torch cannot turn the network into ONNX.
    """
    onnx = _import_onnx()
    import_onnxruntime()
    net = load_model(model)
    _check_exportable(net, model)
    facts = _facts(net, model)
    graph = _traced(net, model)
    _tidy(graph)
    onnx.helper.set_model_props(graph, {FACTS_KEY: json.dumps(facts), HASH_KEY: NO_HASH})
    onnx.checker.check_model(graph)
    data = graph.SerializeToString()
    assert data.count(NO_HASH.encode()) == 1
    stated = hashlib.sha256(data).hexdigest()
    data = data.replace(NO_HASH.encode(), stated.encode())
    difference = largest_difference(net, read_onnx(data, torch.device("cpu")))
    if not difference <= TOLERANCE:
        raise ValueError(
            f"the ONNX model of {model} answers {difference:.3g} ab away from torch, more than "
            f"{TOLERANCE:g}; nothing is kept of it: use the model in torch, and report this"
        )
    n_parameters = sum(p.numel() for p in net.parameters())
    return OnnxModel(data, facts["family"], n_parameters, difference)


@torch.inference_mode()
def largest_difference(
    net: ColorNet, other: ColorNet, tried: Sequence[tuple[int, int, int]] = TRIED
) -> float:
    """Compare the colours of two networks that should be the same, in float32.

    Parameters
    ----------
    net, other
        The networks, on the CPU.
    tried
        Photos, rows and columns of the lightness that they are given.

    Returns
    -------
    The largest difference anywhere, in ab units, under any of the presets of `net` (no colder than
    the temperature of the paper).

    Raises
    ------
    ValueError
        If an answer of `other` has another shape or holds NaN.
    """
    largest = 0.0
    for lightness in _photographs(tried):
        expected, answer = net(lightness), other(lightness)
        for decode in {_softened(preset) for preset in net.presets.values()}:
            ab, theirs = (
                one.to_ab(output, lightness, decode)
                for one, output in ((net, expected), (other, answer))
            )
            if ab.shape != theirs.shape or not bool(theirs.isfinite().all()):
                raise ValueError(
                    f"the ONNX model answers to {tuple(lightness.shape)} with "
                    f"{tuple(theirs.shape)}, torch with {tuple(ab.shape)}, or not with numbers; "
                    "nothing is kept of it: use the model in torch, and report this"
                )
            largest = max(largest, (ab - theirs).abs().max().item())
    return largest


def _photographs(tried: Sequence[tuple[int, int, int]]) -> Iterator[Tensor]:
    """Lightness with light, shadow and grain, the same at every call."""
    dice = torch.Generator().manual_seed(0)
    for n, rows, columns in tried:
        coarse = torch.rand(n, 1, 6, 6, generator=dice) * 100
        smooth = F.interpolate(coarse, (rows, columns), mode="bilinear")
        grain = torch.randn(smooth.shape, generator=dice) * _GRAIN
        yield (smooth + grain).clamp(0, 100)


def _softened(preset: DecodeSettings) -> DecodeSettings:
    warm = max(preset.effective_temperature, _SOFT)
    return replace(preset, method="annealed", temperature=warm)


class _Answer(nn.Module):
    """What the graph computes: the logits of a classifier, the ab of all others."""

    def __init__(self, net: ColorNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, lightness: Tensor) -> Tensor:
        output = self.net(lightness)
        if isinstance(self.net, Regressor):
            ab: Tensor = self.net.to_ab(output, lightness, DecodeSettings())
            return ab
        logits: Tensor = output
        return logits


def _traced(net: ColorNet, model: str | os.PathLike[str]) -> ModelProto:
    """The graph, as torch's exporter makes it."""
    n, rows, columns = _TRACED
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        try:
            program = torch.onnx.export(
                _Answer(net).eval(),
                (torch.full((n, 1, rows, columns), 50.0),),
                dynamo=True,
                dynamic_shapes={INPUT: {0: "n", 2: "h", 3: "w"}},
                input_names=[INPUT],
                output_names=[_answer_name(net)],
                opset_version=OPSET,
                verbose=False,
            )
        except RuntimeError as error:  # that of torch.onnx is one
            raise RuntimeError(
                f"torch cannot turn {model} into ONNX ({' '.join(str(error).split())[:300]})"
            ) from error
    assert program is not None
    graph: ModelProto = program.model_proto
    return graph


def _tidy(graph: ModelProto) -> None:
    """Name the sizes of the answer, and take out where the source files of this machine lie."""
    for part in (
        *graph.graph.node,
        *graph.graph.value_info,
        *graph.graph.input,
        *graph.graph.output,
    ):
        del part.metadata_props[:]
    del graph.graph.metadata_props[:]
    sides = graph.graph.output[0].type.tensor_type.shape.dim[2:]
    for side, name in zip(sides, ("rows", "columns"), strict=True):
        if side.dim_param:
            side.dim_param = name


def _answer_name(net: ColorNet) -> str:
    return LOGITS if isinstance(net, Classifier) else AB


def _facts(net: ColorNet, model: str | os.PathLike[str]) -> dict[str, Any]:
    """All that is to be known of a network besides its layers, as JSON holds it."""
    path = find_weights(model)
    header = read_header(path)
    entry = MODELS[header["family"]]
    shipped = bool(entry.weights) and path.samefile(entry.path)
    facts = {
        "format_version": ONNX_FORMAT,
        "zcolor_version": version("zcolor"),
        "family": header["family"],
        "answer": _answer_name(net),
        "source": entry.source,
        "licence": entry.licence if shipped else str(header.get("licence", "not stated")),
        "working_size": net.working_size,
        "presets": {name: asdict(preset) for name, preset in net.presets.items()},
        "checkpoint": header,
    }
    if isinstance(net, Classifier):
        facts |= {
            "grid": net.grid.to_dict(),
            "centers": net.grid.centers.tolist(),
            "cell_means": net.cell_means.tolist(),
            "class_weights": net.class_weights.tolist(),
            "prior": net.prior.tolist(),
        }
    return facts


def _check_exportable(net: ColorNet, model: str | os.PathLike[str]) -> None:
    """Refuse families whose colours are more than their graph says."""
    plain = isinstance(net, Classifier) or (
        isinstance(net, Regressor) and type(net).to_ab is Regressor.to_ab
    )
    if not plain or net.clip_length > 1:
        why = "it has a memory from frame to frame" if plain else "it decodes in a way of its own"
        raise ValueError(
            f"{model} cannot be exported: it is a {type(net).__name__}, and {why}, for which the "
            "ONNX models of zcolor have no place; use it in torch"
        )


def _import_onnx() -> ModuleType:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter asks for it)
    except ImportError as error:
        raise ImportError(
            "exporting needs onnx and onnxscript, which cannot be imported "
            f"({error}); {install_command('export')}"
        ) from error
    module: ModuleType = onnx
    return module
