"""The `zcolor` command: parse, call, report. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import logging
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zcolor.registry import MODELS
from zcolor.settings import (
    Colors,
    DecodeMethod,
    Device,
    PackSettings,
    PriorSettings,
    TrainSettings,
    Upsample,
)

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is the shell's own for Ctrl-C."""

# `--debug` may follow the subcommand; one flag for a switch, and no "None" to type.
_STYLE = (
    tyro.conf.CascadeSubcommandArgs,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.DisallowNone,
)
_Sources = Annotated[tuple[str, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class Colorize:
    """Colour image files, and all pictures in folders."""

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files and folders."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A folder, or the name for a single picture; without it NAME-color.EXT beside each picture."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    decode: DecodeMethod = "annealed"
    """How probabilities become colour."""
    temperature: float | None = None
    """Of the annealed mean, 0 (argmax) to 1 (mean); the model's own choice if not given."""
    colors: Colors | None = None
    """The colour of a cell: the mean of its training pixels, or its centre."""
    size: int | None = None
    """Working size in pixels, 8 to 4096; the model's own if not given."""
    saturation: float = 1.0
    """Factor on the colour, 0 (grey) to 4."""
    upsample: Upsample = "bilinear"
    """How the colour comes to full size."""
    quality: int = 95
    """Of JPEG, WebP and AVIF files, 1 to 100."""
    max_pixels: int = 300_000_000
    """Larger pictures are refused."""
    overwrite: bool = False
    """Replace results that exist; originals are never replaced."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


@dataclass(frozen=True)
class Train:
    """Train a colorizer on photographs."""

    data: _Sources
    """Packs (.h5; their train split), or images: folders, globs, lists, zip archives."""
    out: Path
    """The run's folder."""
    val: tuple[str, ...] = ()
    """Packs or images to validate on; without them the val split of the pack."""
    priors: Path | None = None
    """Priors made by `zcolor priors`; without them they are counted first."""
    resume: bool = False
    """Go on exactly where the last leg ended."""
    minutes: float | None = None
    """End this leg cleanly after so many minutes."""
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(
        default_factory=TrainSettings
    )
    """Everything that decides the result."""


@dataclass(frozen=True)
class Pack:
    """Pack photographs for training into one HDF5 file."""

    sources: _Sources
    """Folders, images, globs (in quotes), zip archives or .txt lists of photographs."""
    out: Path
    """The pack to write (.h5); dropped photos are listed in a .report.txt beside it."""
    overwrite: bool = False
    """Replace the pack if it exists."""
    settings: Annotated[PackSettings, tyro.conf.arg(name="")] = field(default_factory=PackSettings)
    """How photographs become a pack."""


@dataclass(frozen=True)
class Priors:
    """Count the colours of photographs into the prior of every cell of the ab grid."""

    data: _Sources
    """Packs (.h5), folders, images, globs, .txt lists or zip archives."""
    out: Path
    """The HDF5 file to write."""
    plot: Path | None = None
    """A PNG file for a picture of the priors."""
    split: Literal["train", "val", "test"] = "train"
    """The split of packs to count; images outside packs are always counted."""
    settings: Annotated[PriorSettings, tyro.conf.arg(name="")] = field(
        default_factory=PriorSettings
    )
    """How to count."""


@dataclass(frozen=True)
class Models:
    """List the models that come with zcolor."""


@dataclass(frozen=True)
class Demo:
    """Colour the sample photographs and write before/after sheets."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("zcolor-demo")
    """The folder to write to."""
    samples: Path | None = None
    """A folder of photographs in place of the samples."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


Command = Colorize | Train | Pack | Priors | Models | Demo


@dataclass(frozen=True)
class Zcolor:
    """Colour black-and-white photographs, and train the network that does it."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]
    """What to do."""
    debug: bool = False
    """Show the whole trace of an error, and what happens in between."""
    version: bool = False
    """Print the version and end."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `zcolor` command.

    Parameters
    ----------
    argv
        The arguments after the command's name; None takes those of the process.

    Returns
    -------
    The exit code: 0 all done, 1 some pictures failed or the machine did, 2 the call makes no
    sense, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--version" in argv:
        print(f"zcolor {_version()}")
        return OK
    try:
        call = tyro.cli(Zcolor, prog="zcolor", args=argv, config=_STYLE)
    except SystemExit as end:  # tyro has said why
        return end.code if isinstance(end.code, int) else USAGE
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("zcolor").setLevel(logging.DEBUG if call.debug else logging.INFO)
    try:
        return _run(call.command, ["zcolor", *argv])
    except KeyboardInterrupt:
        print("zcolor: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError, TypeError, RuntimeError, ImportError, MemoryError) as error:
        if call.debug:
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"zcolor: {text}", file=sys.stderr)
        sense = isinstance(error, (ValueError, TypeError, FileNotFoundError, FileExistsError))
        return USAGE if sense else SOME_FAILED


def _run(command: Command, argv: Sequence[str]) -> int:
    match command:
        case Colorize():
            return _colorize(command)
        case Train():
            return _train(command, argv)
        case Pack():
            return _pack(command, argv)
        case Priors():
            return _priors(command, argv)
        case Models():
            return _models()
        case Demo():
            return _demo(command)


def _colorize(command: Colorize) -> int:
    from zcolor.apps.folder import color_files

    report = color_files(
        command.inputs,
        command.out,
        overwrite=command.overwrite,
        model=command.model,
        decode=command.decode,
        temperature=command.temperature,
        colors=command.colors,
        size=command.size,
        upsample=command.upsample,
        saturation=command.saturation,
        device=command.device,
        quality=command.quality,
        max_pixels=command.max_pixels,
    )
    for path in report.done:
        print(path)
    for path, reason in report.skipped:
        print(f"skipped {path}: {reason}; --overwrite replaces it", file=sys.stderr)
    for path, reason in report.failed:
        where = "" if str(path) in reason else f"{path}: "
        print(f"failed {where}{' '.join(reason.split())}", file=sys.stderr)
    counts = [f"{len(report.done)} coloured"]
    counts += [f"{len(report.skipped)} skipped"] if report.skipped else []
    counts += [f"{len(report.failed)} failed"] if report.failed else []
    counts += [f"interrupted, {report.waiting} not reached"] if report.interrupted else []
    print(f"zcolor: {', '.join(counts)}", file=sys.stderr)
    if report.interrupted:
        return INTERRUPTED
    return SOME_FAILED if report.failed else OK


def _train(command: Train, argv: Sequence[str]) -> int:
    from zcolor.training.loop import train

    result = train(
        command.settings,
        command.data,
        command.out,
        val=command.val,
        priors=command.priors,
        resume=command.resume,
        minutes=command.minutes,
        command=shlex.join(argv),
    )
    print(f"{result.reason}: {result.seen:,} photos seen; state {result.state}, best {result.best}")
    return OK


def _pack(command: Pack, argv: Sequence[str]) -> int:
    from zcolor.training.pack import pack_photos

    report = pack_photos(
        command.sources,
        command.out,
        command.settings,
        overwrite=command.overwrite,
        command=shlex.join(argv),
    )
    print(report.summary())
    return OK


def _priors(command: Priors, argv: Sequence[str]) -> int:
    from zcolor.training.priors import build_priors, summary

    priors = build_priors(
        command.data,
        command.out,
        command.settings,
        split=command.split,
        command=shlex.join(argv),
    )
    print(summary(priors))
    print(f"written: {command.out}")
    if command.plot is not None:
        from zcolor.training.prior_plot import plot_priors

        plot_priors(priors, command.plot)
        print(f"drawn: {command.plot}")
    return OK


def _models() -> int:
    rows = [("name", "size", "licence", "what it is", "after")]
    for name, entry in MODELS.items():
        size = f"{entry.path.stat().st_size / 1e6:.1f} MB" if entry.path.is_file() else "missing"
        rows.append((name, size, entry.licence, entry.description, entry.source))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return OK


def _demo(command: Demo) -> int:
    from zcolor.apps.demo import make_demo

    report = make_demo(
        command.out, samples=command.samples, model=command.model, device=command.device
    )
    print(f"{len(report.sheets)} before/after sheets are in {command.out.resolve()}")
    print(f"all of them on one picture: {report.contact.resolve()}")
    return OK


def _version() -> str:
    try:
        return version("zcolor")
    except PackageNotFoundError:
        return "(not installed)"
