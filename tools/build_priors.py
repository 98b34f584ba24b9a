"""Count the colours of training photographs into a prior: `tools/build_priors.py DATA... --out`."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro

from zcolor.settings import PriorSettings
from zcolor.training.dataset import Split
from zcolor.training.prior_plot import plot_priors
from zcolor.training.priors import build_priors, summary


def build(
    data: tyro.conf.Positional[tuple[str, ...]],
    *,
    out: Path,
    plot: Path | None = None,
    split: Split = "train",
    settings: Annotated[PriorSettings, tyro.conf.arg(name="")],
) -> None:
    """Count the colours of photographs and write the prior of every cell of the ab grid.

    An interrupted count continues where it stood when the same command is given again.

    Parameters
    ----------
    data
        Packs (.h5), folders, images, globs, .txt lists or zip archives.
    out
        The HDF5 file to write.
    plot
        A PNG file for a picture of the priors.
    split
        The split of packs to count; images outside packs are always counted.
    settings
        How to count.
    """
    if not data:
        raise ValueError("no DATA given; name a pack, a folder, an archive or images")
    priors = build_priors(data, out, settings, split=split, command=shlex.join(sys.argv))
    print(summary(priors))
    print(f"written: {out}")
    if plot is not None:
        plot_priors(priors, plot)
        print(f"drawn: {plot}")


def main() -> None:
    """Parse the command line and run."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        tyro.cli(build)
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        sys.exit(f"build_priors: {error}")
    except KeyboardInterrupt:
        sys.exit("build_priors: interrupted; the same command continues where it stood")


if __name__ == "__main__":
    main()
