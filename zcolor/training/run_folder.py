"""The folder that a training run lives in: what lies where, and whether it may be used."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from zcolor.atomic import PART_PATTERN, locked, whole_file
from zcolor.training.settings import TrainSettings
from zcolor.training.state import has_state

logger = logging.getLogger(__name__)


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

    def check(self, *, resume: bool, may_begin: bool = False) -> bool:
        """Refuse a folder that holds a run already, or none to go on with.

        Parameters
        ----------
        resume
            Go on with the run that it holds.
        may_begin
            Begin one if there is none to resume.

        Returns
        -------
        Whether there is a run to go on with.

        Raises
        ------
        FileExistsError
            If it holds a run and `resume` is not set.
        FileNotFoundError
            If `resume` is set, it holds none and none may begin.
        """
        begun = has_state(self.state)
        if begun and not resume:
            raise FileExistsError(
                f"{self.path} holds a training run already; go on with --resume, or choose "
                "another folder"
            )
        if resume and not begun and not may_begin:
            raise FileNotFoundError(f"there is no {self.state.name} in {self.path} to resume from")
        return begun

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and keep other processes out of it; clear away what a kill left.

        Raises
        ------
        InUseError
            If another process trains into it.
        """
        new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.path / ".lock", str(self.path)):
                # What else lies below may be another run's, which writes at this moment.
                for place in (self.path, self.path / "sheets"):
                    for left in place.glob(PART_PATTERN):
                        left.unlink(missing_ok=True)
                yield
        finally:
            if new:
                with suppress(OSError):  # a run that never began leaves no folder
                    self.path.rmdir()

    def set_aside(self) -> None:
        """Keep the finished weights and the log of an earlier run, whose state is gone.

        Raises
        ------
        OSError
            If they cannot be renamed.
        """
        kept = [p for p in (self.best, self.path / "log.jsonl") if p.exists() and p.stat().st_size]
        if not kept:
            return
        for number in count(1):
            aside = [path.with_name(f"{path.stem}.{number}{path.suffix}") for path in kept]
            if not any(map(os.path.lexists, aside)):
                break
        for path, name in zip(kept, aside, strict=True):
            path.rename(name)
            logger.warning("%s is of an earlier run without a state; kept as %s", path, name.name)

    def write_settings(self, settings: TrainSettings) -> None:
        """Write `settings.json`, for people; a resumed run compares with its state instead."""
        text = json.dumps(dataclasses.asdict(settings), indent=2)
        with whole_file(self.path / "settings.json") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
