"""What became of the pictures of a batch, as an object and as a file of JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zcolor.atomic import check_place, whole_file
from zcolor.formats import format_or_none

Outcome = Literal["done", "before", "skipped", "failed"]
"""`before` was done by an earlier run."""


@dataclass(frozen=True)
class PhotoResult:
    """What became of one picture."""

    source: Path
    """The picture."""
    outcome: Outcome
    """Whether it was coloured."""
    target: Path | str | None = None
    """The coloured picture, if there is one; a URL where it is not on this computer."""
    reason: str = ""
    """Why there is none."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took."""


@dataclass(frozen=True)
class FolderReport:
    """What became of every picture."""

    photos: tuple[PhotoResult, ...] = ()
    """In the order of the sources, those first that could not be found."""
    waiting: int = 0
    """Pictures that were not reached, because of an interrupt."""

    def of(self, outcome: Outcome) -> tuple[PhotoResult, ...]:
        """Give the pictures that this became of."""
        return tuple(photo for photo in self.photos if photo.outcome == outcome)

    @property
    def done(self) -> tuple[Path | str, ...]:
        """The pictures that were written."""
        return tuple(photo.target for photo in self.of("done") if photo.target is not None)

    @property
    def before(self) -> tuple[Path | str, ...]:
        """The pictures that an earlier run had written."""
        return tuple(photo.target for photo in self.of("before") if photo.target is not None)

    @property
    def skipped(self) -> tuple[tuple[Path, str], ...]:
        """Sources left alone, and why."""
        return tuple((photo.source, photo.reason) for photo in self.of("skipped"))

    @property
    def failed(self) -> tuple[tuple[Path, str], ...]:
        """Sources that could not be coloured, and why."""
        return tuple((photo.source, photo.reason) for photo in self.of("failed"))

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the work early."""
        return self.waiting > 0

    def to_dict(self) -> dict[str, Any]:
        """Give the report as what JSON holds."""
        counts = {name: len(self.of(name)) for name in ("done", "before", "skipped", "failed")}
        photos = [
            {
                "source": str(photo.source),
                "outcome": photo.outcome,
                "target": None if photo.target is None else str(photo.target),
                "reason": photo.reason,
                "seconds": round(photo.seconds, 3),
            }
            for photo in self.photos
        ]
        return {"counts": {**counts, "waiting": self.waiting}, "photos": photos}


def check_summary(path: str | os.PathLike[str]) -> None:
    """Refuse a summary that would replace something else, before the work.

    Parameters
    ----------
    path
        Where the summary is to go.

    Raises
    ------
    IsADirectoryError, NotADirectoryError
        If it is a folder, or lies below a file.
    ValueError
        If its ending is that of a picture: it could be one of the results.
    FileExistsError
        If it exists and is no summary of an earlier run.
    """
    check_place(path, "the summary")
    if format_or_none(path) is not None:
        raise ValueError(f"the summary {path} has the name of a picture; end it in .json")
    if os.path.exists(path) and not _is_summary(Path(path)):
        raise FileExistsError(
            f"{path} exists and is no summary of zcolor, which would replace it; name another file"
        )


def _is_summary(path: Path) -> bool:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"counts", "photos"} <= found.keys()


def write_summary(path: str | os.PathLike[str], report: FolderReport, **about: object) -> None:
    """Write a report as JSON, whole or not at all.

    Parameters
    ----------
    path
        The file; its folder is made.
    report
        What to write.
    about
        What else to say, by name: anything JSON holds; dataclasses become their fields.
    """
    fields = {
        name: dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
        for name, value in about.items()
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        text = json.dumps({**fields, **report.to_dict()}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
