"""Read, check and write weights: tensors and a plain dict, as safetensors with a JSON header.

A checkpoint is never a pickle: reading one runs no code. The header carries a SHA-256 of the
tensors and one of itself, so that a file that was cut short or changed is refused. Files of older
versions lack the second and are read without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zcolor.atomic import whole_file

# The key of safetensors' own metadata under which our header stands, and its version.
_KEY = "zcolor"
FORMAT_VERSION = 1
# The entry that holds the hash of all the others.
_HEADER_HASH = "header_sha256"


class CheckpointError(ValueError):
    """A file that is no readable zcolor checkpoint."""


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, dtypes, shapes and bytes of tensors, in the order of their names.

    Examples
    --------
    >>> tensors_sha256({"a": torch.zeros(2)})[:8]
    'da53f451'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _header_sha256(header: Mapping[str, Any]) -> str:
    """Hash what JSON gave back of a header, but for the hash itself."""
    hashed = {name: value for name, value in header.items() if name != _HEADER_HASH}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def write_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors and a header, whole or not at all.

    Parameters
    ----------
    path
        The file; its folder is made. It is written under a temporary name and renamed.
    tensors
        Named tensors, any shape and dtype.
    header
        Anything JSON can hold; `format_version`, `sha256` and `header_sha256` are added.

    Raises
    ------
    TypeError
        If the header holds something JSON cannot.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    contiguous = _apart(tensors)
    full = {
        **header,
        "format_version": FORMAT_VERSION,
        "sha256": tensors_sha256(contiguous),
    }
    full = json.loads(json.dumps(full))  # as it will be read: keys are strings, tuples lists
    full[_HEADER_HASH] = _header_sha256(full)
    # Not save_file: its own temporary file would be left by a kill, and has other permissions.
    data = save(contiguous, metadata={_KEY: json.dumps(full)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU, contiguous; copies only of those that are not, or share memory."""
    apart: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory.
        apart[name] = plain.clone() if memory in seen else plain
        seen.add(memory)
    return apart


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the header alone, without the tensors.

    Parameters
    ----------
    path
        A checkpoint.

    Returns
    -------
    The header that was written, with `format_version`, `sha256` and `header_sha256`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is cut short, of another kind, or of a newer version, or its header is damaged.
    """
    _, header = _open(path, tensors=False)
    return header


def read_checkpoint(
    path: str | os.PathLike[str], *, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and check a checkpoint.

    Parameters
    ----------
    path
        A file that `write_checkpoint` wrote.
    device
        Where the tensors go.

    Returns
    -------
    tensors, header
        The named tensors, and the header with `format_version`, `sha256` and `header_sha256`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is cut short, of another kind, damaged, or of a newer version.
    """
    tensors, header = _open(path, tensors=True)
    if tensors_sha256(tensors) != header["sha256"]:
        raise CheckpointError(
            f"{path} is damaged: its tensors do not have the SHA-256 that its header states; "
            "copy or download it again"
        )
    return {name: tensor.to(device) for name, tensor in tensors.items()}, header


def _open(
    path: str | os.PathLike[str], *, tensors: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}; check the name")
    _check_kind(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if tensors else []
            loaded = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is cut short or damaged ({error}); copy or download it again"
        ) from error
    if _KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file, but not one of zcolor's: it has no '{_KEY}' header; "
            "write checkpoints with `zcolor train` or zcolor.checkpoint.write_checkpoint"
        )
    try:
        header = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: its header is no JSON ({error}); copy or download it again"
        ) from error
    if not isinstance(header, dict) or not {"format_version", "sha256"} <= set(header):
        raise CheckpointError(
            f"{path} is damaged: its header lacks its version or its SHA-256; "
            "copy or download it again"
        )
    if header["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {header['format_version']}, this zcolor reads "
            f"{FORMAT_VERSION}; update zcolor"
        )
    if _HEADER_HASH in header and header[_HEADER_HASH] != _header_sha256(header):
        raise CheckpointError(
            f"{path} is damaged: its header does not have the SHA-256 that it states; "
            "copy or download it again"
        )
    return loaded, header


def _check_kind(path: Path) -> None:
    """Refuse files of another kind before safetensors' terser words do."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
    if len(start) == 9 and start[8:] == b"{":
        header_size = struct.unpack("<Q", start[:8])[0]
        if header_size <= size - 8:
            return
        raise CheckpointError(
            f"{path} is cut short: its header needs {header_size + 8} bytes, the file has {size}; "
            "copy or download it again"
        )
    raise CheckpointError(
        f"{path} ({size} bytes) is no safetensors file; zcolor reads the checkpoints that "
        "`zcolor train` writes, never pickles (.pt, .pth)"
    )
