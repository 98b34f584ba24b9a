"""What a training run writes down for people: a log, TensorBoard scalars, curves, pictures."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zcolor.atomic import whole_file
from zcolor.files import write_image

logger = logging.getLogger(__name__)

# The curves that are drawn, a panel each: its title and the names in the log.
_PANELS = (
    ("weighted loss", ("total", "val_loss")),
    ("cross-entropy", ("cross_entropy", "val_cross_entropy")),
    ("top-1 cell accuracy", ("top1", "val_top1")),
    ("AuC raw, %", ("val_auc_raw",)),
    ("AuC rebalanced, %", ("val_auc_rebalanced",)),
    ("learning rate", ("lr",)),
)

# Size of the figure of curves, in inches.
_WIDTH, _HEIGHT = 12, 7


class Logbook:
    """Writes `log.jsonl`, `tensorboard/`, `curves.png` and `sheets/` of a run's folder.

    Parameters
    ----------
    folder
        The run's folder; it is made.
    seen
        Photos seen when the run goes on; later entries of the log are of a leg that was lost,
        and dropped.
    """

    def __init__(self, folder: Path, *, seen: int = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log.jsonl"
        self.records: list[dict[str, Any]] = []
        if self._log.exists() and seen:
            self.records = [r for r in _records(self._log) if r["seen"] <= seen]
        with whole_file(self._log) as temporary:
            temporary.write_text(
                "".join(json.dumps(r) + "\n" for r in self.records), encoding="utf-8"
            )
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.warning("no TensorBoard scalars: install zcolor[train] to have them")
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=seen or None)

    def write(self, seen: int, values: Mapping[str, float]) -> None:
        """Add an entry: values by name, at so many photos seen."""
        record = {"seen": seen, **values}
        self.records.append(record)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, seen)

    def draw_curves(self) -> None:
        """Draw every curve so far into `curves.png`."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            logger.warning("no curves.png: install zcolor[train] to have it")
            return
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        for panel, (title, names) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
            for name in names:
                points = [(r["seen"], r[name]) for r in self.records if name in r]
                if points:
                    marker = "." if name.startswith("val_") else None
                    panel.plot(*zip(*points, strict=True), label=name, marker=marker, linewidth=1)
            panel.set_title(title)
            panel.set_xlabel("photos seen")
            panel.locator_params(axis="x", nbins=4)  # numbers of photos are long
            panel.grid(alpha=0.3)
            if panel.lines:
                # "best" is slow with many points: losses and the rate fall, the others rise.
                falls = names[0] in ("total", "cross_entropy", "lr")
                panel.legend(fontsize="small", loc="upper right" if falls else "upper left")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="rgba")
        height, width = (round(inches * figure.dpi) for inches in (_HEIGHT, _WIDTH))
        pixels = np.frombuffer(drawn.getvalue(), np.uint8).reshape(height, width, 4)
        write_image(self.folder / "curves.png", pixels[:, :, :3])

    def save_sheet(self, seen: int, sheet: npt.NDArray[np.uint8]) -> None:
        """Write a picture sheet, (h, w, 3) uint8 RGB, into `sheets/`."""
        folder = self.folder / "sheets"
        folder.mkdir(exist_ok=True)
        write_image(folder / f"seen-{seen:09d}.png", sheet)

    def close(self) -> None:
        """Flush what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Read the entries of a log, past a line that was cut short by a kill or a full disk."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


class LossWindow:
    """The losses since the last entry of the log, kept on the device until they are needed."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of one step, by name."""
        self.steps.append(losses)

    def take(self) -> tuple[dict[str, float], list[float]]:
        """Return the means by name and the `total` of every step, and start anew."""
        columns = {name: torch.stack([step[name] for step in self.steps]) for name in self.steps[0]}
        self.steps = []
        means = {name: column.double().mean().item() for name, column in columns.items()}
        return means, columns["total"].tolist()
