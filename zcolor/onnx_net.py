"""Networks that run in onnxruntime: the layers are an ONNX graph, all else is the project's own.

What `zcolor.onnx_graph` makes is read here. An ONNX file of zcolor holds a graph from lightness to
logits, or to ab, and a text of JSON with all that decoding needs, so that the file alone suffices.
It carries a SHA-256 of itself, as checkpoints do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zcolor.checkpoint import CheckpointError
from zcolor.extras import install_command
from zcolor.models.base import ColorNet
from zcolor.models.classifier import Classifier
from zcolor.models.regressor import Regressor
from zcolor.quantizer import AbGrid
from zcolor.settings import PRESETS, DecodeSettings

logger = logging.getLogger(__name__)

FACTS_KEY, HASH_KEY = "zcolor", "zcolor_sha256"
"""The entries of the file's metadata: JSON, and the SHA-256 of the file with `NO_HASH` for it."""
NO_HASH = "0" * 64
"""What stands in the place of the SHA-256 while it is taken."""
ONNX_FORMAT = 1
"""Version of the JSON."""
INPUT = "lightness"
"""Name of the graph's input: (n, 1, h, w), L in [0, 100]."""
LOGITS, AB = "logits", "ab"
"""Names of its output: (n, q, h', w') logits, or (n, 2, h', w') ab, unscaled."""

# onnxruntime's level of messages: fatal ones; the others reach us as exceptions.
_SILENT = 4


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime.

    Raises
    ------
    ImportError
        If it is not installed; the message names the extra.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"ONNX models run in onnxruntime, which cannot be imported ({error}); "
            f"{install_command('export')}"
        ) from error
    module: ModuleType = onnxruntime
    return module


def read_onnx(source: str | os.PathLike[str] | bytes, device: torch.device) -> ColorNet:
    """Read a network that `zcolor export` wrote, to be run by onnxruntime.

    Parameters
    ----------
    source
        The file, or its bytes.
    device
        Where its answers are decoded. On CUDA the graph runs there too, if the onnxruntime that is
        installed can; otherwise on the CPU.

    Returns
    -------
    A network that colours as the one does that it was made of. It has no weights in torch: it can
    be neither trained nor looked into.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is cut short, damaged, of another kind or of a newer version.
    ImportError
        If onnxruntime is not installed.
    """
    if isinstance(source, bytes):
        name, data = "the ONNX model", source
    else:
        name, data = str(source), _read(Path(source))
    graph = _Graph(data, name, device)
    facts = _checked_facts(data, name, graph.metadata())
    try:
        net: ColorNet
        with torch.device("cpu"):  # whatever device the process has for others
            if facts["answer"] == LOGITS:
                net = OnnxClassifier(graph, facts)
            else:
                net = OnnxRegressor(graph, facts)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{name} lacks what decoding needs ({type(error).__name__}: {error}); write it again "
            "with `zcolor export`"
        ) from error
    return net.to(device).eval()


class OnnxClassifier(Classifier):
    """A classifier of colour whose layers run in onnxruntime.

    Parameters
    ----------
    graph
        From (n, 1, h, w) lightness to (n, q, h / 4, w / 4) logits.
    facts
        The JSON of its file.
    """

    def __init__(self, graph: _Graph, facts: Mapping[str, Any]) -> None:
        presets = {name: DecodeSettings(**facts["presets"][name]) for name in PRESETS}
        super().__init__(
            AbGrid.from_dict(facts["grid"]),
            working_size=facts["working_size"],
            presets=presets,
        )
        self.set_priors(
            *(
                torch.tensor(facts[name], dtype=torch.float32)
                for name in ("prior", "cell_means", "class_weights")
            )
        )
        self.graph = graph

    def build(self) -> None:
        """Make no layers: the graph has them."""

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with the logits of every cell.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, q, ceil(h / 4), ceil(w / 4)) float32 logits.
        """
        return self.graph(lightness)

    def logits(self, scaled: Tensor) -> Tensor:
        """Answer to lightness scaled to [-1, 1]; `forward` has no need of it."""
        return self.graph(scaled * 50 + 50)


class OnnxRegressor(Regressor):
    """A network that answers with ab itself, whose layers run in onnxruntime.

    Parameters
    ----------
    graph
        From (n, 1, h, w) lightness to (n, 2, h', w') ab, unscaled.
    facts
        The JSON of its file.
    """

    scale = 1.0

    def __init__(self, graph: _Graph, facts: Mapping[str, Any]) -> None:
        super().__init__(working_size=facts["working_size"])
        self.graph = graph

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer to (n, 1, h, w) lightness, L in [0, 100], with (n, 2, h', w') float32 ab."""
        return self.graph(lightness)


class _Graph:
    """A graph in onnxruntime; several threads may call it at once."""

    def __init__(self, data: bytes, name: str, device: torch.device) -> None:
        runtime = import_onnxruntime()
        self.name = name
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its threads shall not spin between two photos: decoding and drawing need the cores then.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _SILENT
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda":
            if "CUDAExecutionProvider" in runtime.get_available_providers():
                providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
            else:
                logger.warning(
                    "the onnxruntime that is installed has no CUDA, so that the network runs on "
                    "the CPU; install onnxruntime-gpu in its place"
                )
        try:
            self.session = runtime.InferenceSession(data, options, providers=providers)
        except Exception as error:
            raise CheckpointError(
                f"{name} is cut short, damaged or no ONNX model ({_words(error)}); copy it again, "
                "or write it with `zcolor export`"
            ) from error

    def metadata(self) -> dict[str, str]:
        """The file's own metadata."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, lightness: Tensor) -> Tensor:
        """Answer to (n, 1, h, w), on the device of the lightness."""
        given = np.ascontiguousarray(lightness.detach().float().cpu().numpy())
        try:
            (answer,) = self.session.run(None, {INPUT: given})
        except Exception as error:
            raise RuntimeError(
                f"onnxruntime failed in {self.name} for lightness of the shape "
                f"{tuple(lightness.shape)} ({_words(error)}); use --runtime torch, or a smaller "
                "--size if the memory was not enough"
            ) from error
        return torch.from_numpy(answer).to(lightness.device)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"there is no ONNX model at {path}; check the name")
    return path.read_bytes()


def _checked_facts(data: bytes, name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The JSON of a file, which must be ours, whole and of a version that we read."""
    if FACTS_KEY not in metadata or len(metadata.get(HASH_KEY, "")) != len(NO_HASH):
        raise CheckpointError(
            f"{name} is an ONNX model, but not one of zcolor's: its metadata have no "
            f"{FACTS_KEY!r} entry; write one with `zcolor export`"
        )
    stated = metadata[HASH_KEY]
    if hashlib.sha256(data.replace(stated.encode(), NO_HASH.encode())).hexdigest() != stated:
        raise CheckpointError(
            f"{name} is damaged: it does not have the SHA-256 that it states; copy it again, or "
            "write it with `zcolor export`"
        )
    try:
        facts: dict[str, Any] = json.loads(metadata[FACTS_KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{name} lacks what decoding needs: its {FACTS_KEY!r} entry is no JSON ({error}); "
            "write it again with `zcolor export`"
        ) from error
    if not isinstance(facts, dict):
        raise CheckpointError(
            f"{name} lacks what decoding needs: its {FACTS_KEY!r} entry is no JSON object; write "
            "it again with `zcolor export`"
        )
    if facts.get("format_version") != ONNX_FORMAT:
        raise CheckpointError(
            f"{name} has format version {facts.get('format_version')}, this zcolor reads "
            f"{ONNX_FORMAT}; update zcolor, or write it again with `zcolor export`"
        )
    return facts


def _words(error: Exception) -> str:
    """An error of onnxruntime in one line."""
    return " ".join(str(error).split())[:300]
