"""The folder that a training run lives in: what lies where, and whether it may be used."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from zcolor.atomic import whole_file
from zcolor.training.settings import TrainSettings


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run.

    Parameters
    ----------
    path
        The folder; made when training begins.
    """

    path: Path

    @property
    def state(self) -> Path:
        """The whole state, which `resume` goes on from."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights to use, float16."""
        return self.path / "best.safetensors"

    def check(self, *, resume: bool) -> None:
        """Refuse a folder that holds a run already, or none to go on with.

        Raises
        ------
        FileExistsError
            If it holds a run and `resume` is not set.
        FileNotFoundError
            If `resume` is set and it holds none.
        """
        has_state = self.state.exists()
        if has_state and not resume:
            raise FileExistsError(
                f"{self.path} holds a training run already; go on with --resume, or choose "
                "another folder"
            )
        if resume and not has_state:
            raise FileNotFoundError(f"there is no {self.state.name} in {self.path} to resume from")

    def write_settings(self, settings: TrainSettings) -> None:
        """Write `settings.json`, for people; a resumed run compares with its state instead."""
        text = json.dumps(dataclasses.asdict(settings), indent=2)
        with whole_file(self.path / "settings.json") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
