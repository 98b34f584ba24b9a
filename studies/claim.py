"""A folder of runs belongs to the study that made it: other settings may not go on in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from zcolor.atomic import whole_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Where the page goes and where networks are trained change no figures.
_FREE = ("out", "device")


def claim(study: DataclassInstance, runs: Path, *, free: Collection[str] = _FREE) -> None:
    """Note a study's settings in its folder of runs, or compare them with those that stand there.

    Parameters
    ----------
    study
        The settings.
    runs
        The folder; it is made.
    free
        Settings that may differ.

    Raises
    ------
    ValueError
        If the folder holds runs of other settings.
    """
    mine = {k: v for k, v in dataclasses.asdict(study).items() if k not in free}
    text = json.dumps(mine, default=str, indent=1)
    record = runs / "study.json"
    if record.exists():
        if record.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{runs} holds runs of other settings (they stand in {record}); give the same "
                "again to go on, or another folder with --runs"
            )
        return
    runs.mkdir(parents=True, exist_ok=True)
    with whole_file(record) as temporary:
        temporary.write_text(text, encoding="utf-8")
