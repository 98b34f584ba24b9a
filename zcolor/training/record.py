"""What a training run knows of itself: what it is made from and how far it has come."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zcolor.training.settings import TrainSettings

# Settings that change how a run is carried out, not what comes out of it.
_FREE = {"device", "jobs", "threads", "cache", "checkpoint_minutes"}


@dataclass
class RunRecord:
    """The origin of a run, which never changes, and its counters, which do.

    Parameters
    ----------
    settings
        Everything that decides the result.
    data_hash, n_photos
        Of the training photographs.
    init_hash, teacher_hash
        The SHA-256 of the weights that it began with and of the teacher's, or None.
    command
        What was typed.
    val_hash
        Of the validation photographs, or None.
    order
        The hashes of the sets that the training photographs were named in, in their order.
    earlier_order
        The same as states of earlier versions have it, which stays good for them.
    """

    settings: TrainSettings
    data_hash: str
    n_photos: int
    init_hash: str | None
    teacher_hash: str | None
    command: str
    val_hash: str | None = None
    order: tuple[str, ...] = ()
    earlier_order: tuple[str, ...] = ()
    seen: int = 0
    """Photos seen, over all legs."""
    step: int = 0
    """Steps taken, over all legs."""
    spent_s: float = 0.0
    """Seconds spent, over all legs."""
    best: float = math.inf
    """The least monitored loss so far."""
    epoch_loss: float = 0.0
    """Sum of the losses since the last validation."""
    epoch_steps: int = 0
    """Steps since the last validation."""

    def header(self) -> dict[str, Any]:
        """Give what a state must say for the run to go on; anything in it can be JSON."""
        return {
            "settings": _plain(self.settings),
            "data_hash": self.data_hash,
            "init": self.init_hash,
            "teacher": self.teacher_hash,
            "val": self.val_hash,
            "order": list(self.order),
            "seen": self.seen,
            "step": self.step,
            "spent_s": self.spent_s,
            "best": None if math.isinf(self.best) else self.best,
            "epoch": [self.epoch_loss, self.epoch_steps],
        }

    def restore(self, header: dict[str, Any]) -> None:
        """Take the counters of a state's header, and what the run began with."""
        self.init_hash = header.get("init", self.init_hash)
        self.seen, self.step = int(header["seen"]), int(header["step"])
        self.spent_s = float(header["spent_s"])
        self.best = math.inf if header["best"] is None else float(header["best"])
        self.epoch_loss, self.epoch_steps = header["epoch"]

    def check(self, header: dict[str, Any], state: Path) -> None:
        """Refuse to go on with the state of another run.

        Parameters
        ----------
        header
            Of the state.
        state
            Where it stands, for the error.

        Raises
        ------
        ValueError
            If its settings, its photographs or their order, its teacher or another beginning are
            others. The beginning need not be named again.
        """
        mine, theirs = _plain(self.settings), header["settings"]
        changed = [key for key in mine if key not in _FREE and mine[key] != theirs.get(key)]
        if header["data_hash"] != self.data_hash:
            changed.append("the training photographs")
        elif header.get("order", list(self.order)) not in (
            list(self.order),
            list(self.earlier_order),
        ):
            changed.append("the packing or the order of the training photographs")
        if header.get("val", self.val_hash) != self.val_hash:
            changed.append("the validation photographs")
        if self.init_hash not in (None, header.get("init", self.init_hash)):
            changed.append("the model it began with")
        if header.get("teacher") != self.teacher_hash:
            changed.append("the teacher")
        if changed:
            raise ValueError(
                f"cannot resume {state}: {', '.join(changed)} differ from those of the run; "
                "resume with the same settings, data, validation and teacher, or start a new folder"
            )

    def provenance(self, values: dict[str, float]) -> dict[str, Any]:
        """Give what the header of finished weights says of their making.

        Parameters
        ----------
        values
            What was measured on validation photographs, by name.
        """
        return {
            "training": dataclasses.asdict(self.settings),
            "provenance": {
                "data_hash": self.data_hash,
                "n_photos": self.n_photos,
                "init": self.init_hash,
                "teacher": self.teacher_hash,
                "seen": self.seen,
                "steps": self.step,
                "seed": self.settings.seed,
                "hours": round(self.spent_s / 3600, 3),
                "command": self.command,
                "torch": torch.__version__,
                "metrics": {
                    name: round(value, 4) for name, value in values.items() if math.isfinite(value)
                },
            },
        }


def _plain(settings: TrainSettings) -> dict[str, Any]:
    """Settings as JSON gives them back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return plain
