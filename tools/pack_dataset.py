"""Pack photographs for training into one HDF5 file: `tools/pack_dataset.py SOURCE... --out`."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro

from zcolor.settings import PackSettings
from zcolor.training.pack import pack_photos


def pack(
    sources: tyro.conf.Positional[tuple[str, ...]],
    *,
    out: Path,
    overwrite: bool = False,
    settings: Annotated[PackSettings, tyro.conf.arg(name="")],
) -> None:
    """Shrink, sort out and split photographs, and pack them into one HDF5 file.

    An interrupted run continues where it stood when the same command is given again.

    Parameters
    ----------
    sources
        Folders, images, globs (in quotes), zip archives or .txt lists of photographs.
    out
        The pack to write (.h5); photos that were dropped are listed in a .report.txt beside it.
    overwrite
        Replace the pack if it exists.
    settings
        How photographs become a pack.
    """
    report = pack_photos(sources, out, settings, overwrite=overwrite, command=shlex.join(sys.argv))
    print(report.summary())


def main() -> None:
    """Parse the command line and run."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        tyro.cli(pack)
    except (ValueError, OSError) as error:
        sys.exit(f"pack_dataset: {error}")
    except KeyboardInterrupt:
        # The log has said how to continue.
        sys.exit(130)


if __name__ == "__main__":
    main()
