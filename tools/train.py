"""Train a colorizer on photographs: `python tools/train.py album.h5 --out runs/album`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from zcolor.settings import TrainSettings


@dataclass(frozen=True)
class Options:
    """Train a colorizer; see docs/training.md."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Packs (.h5; their train split), or images: folders, globs, lists, zip archives."""
    out: Path
    """The run's folder."""
    val: tuple[str, ...] = ()
    """Packs or images to validate on; without them the val split of the pack."""
    priors: Path | None = None
    """Priors made by tools/build_priors.py; without them they are counted first."""
    resume: bool = False
    """Go on exactly where the last leg ended."""
    minutes: float | None = None
    """End this leg cleanly after so many minutes."""
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(
        default_factory=TrainSettings
    )


def main() -> int:
    """Parse the command line and train."""
    options = tyro.cli(Options, description=__doc__)
    from zcolor.training.loop import train

    result = train(
        options.settings,
        options.data,
        options.out,
        val=options.val,
        priors=options.priors,
        resume=options.resume,
        minutes=options.minutes,
        command=shlex.join(sys.argv),
    )
    print(f"{result.reason}: {result.seen:,} photos seen; state {result.state}, best {result.best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
