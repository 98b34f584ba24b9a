"""`zcolor export`: a model as an ONNX file that suffices by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zcolor.atomic import check_place, whole_file
from zcolor.onnx_graph import OPSET, make_onnx
from zcolor.registry import is_onnx


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with torch."""

    path: Path
    """The file."""
    family: str
    """The family of networks."""
    n_parameters: int
    """Learned numbers, in float32."""
    n_bytes: int
    """Size of the file."""
    difference: float
    """Largest difference from torch, in ab units."""
    tried: Sequence[tuple[int, int, int]]
    """Photos, rows and columns that both were compared at."""
    seconds: float
    """What it took."""
    opset: int = OPSET
    """Version of ONNX's operators."""

    def summary(self) -> str:
        """Say it in a few lines."""
        sizes = ", ".join(f"{n} x {rows} x {columns}" for n, rows, columns in self.tried)
        return (
            f"{self.family}: {self.n_parameters:,} parameters in float32, "
            f"{self.n_bytes / 1e6:.1f} MB, opset {self.opset}, {self.seconds:.0f} seconds\n"
            f"largest difference from torch: {self.difference:.2g} ab\n"
            f"compared at (photos x rows x columns): {sizes}"
        )


def export_onnx(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False
) -> ExportReport:
    """Write a model as ONNX, checked in onnxruntime against torch.

    Parameters
    ----------
    model
        A name of `zcolor.list_models()`, or the path of a checkpoint.
    out
        The file to write, `.onnx`; its folder is made. It is written whole or not at all, and only
        if the check succeeds.
    overwrite
        Replace the file if it exists.

    Returns
    -------
    What was written.

    Raises
    ------
    FileExistsError
        If the file exists and is not to be replaced.
    NotADirectoryError
        If `out` lies below a file.
    ValueError
        If `out` has another ending, is a folder or a URL; and as for `zcolor.onnx_graph.make_onnx`.
    FileNotFoundError, ImportError, RuntimeError
        As for `zcolor.onnx_graph.make_onnx`.
    OSError
        If the file cannot be written.
    """
    start = time.perf_counter()
    out = Path(out)
    if not is_onnx(out):
        raise ValueError(f"an ONNX file ends in .onnx, got {out}; name it so")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; name a file")
    check_place(out, "the model")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another name, or --overwrite it")
    made = make_onnx(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as temporary:
        temporary.write_bytes(made.data)
    return ExportReport(
        out,
        made.family,
        made.n_parameters,
        len(made.data),
        made.difference,
        made.tried,
        time.perf_counter() - start,
    )
