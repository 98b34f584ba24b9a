"""The `zcolor` command: parse, call, report. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import io
import logging
import os
import shlex
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from zcolor.apps.cli_colorize import how_to_go_on, run_colorize
from zcolor.apps.cli_training import check_named, run_pack, run_pretrain, run_priors, run_train
from zcolor.apps.command_parts import INTERRUPTED, OK, SOME_FAILED, USAGE
from zcolor.apps.commands import (
    Colorize,
    Command,
    Demo,
    Evaluate,
    Export,
    Inspect,
    Models,
    Serve,
    Stylize,
    Video,
    Zcolor,
)
from zcolor.apps.commands_training import Pack, Pretrain, Priors, Train
from zcolor.atomic import FULL
from zcolor.registry import MODELS

if TYPE_CHECKING:
    from zcolor.apps.evaluate_results import EvaluationReport

# `--debug` may follow the subcommand; one flag for a switch, and no "None" to type.
_STYLE = (
    tyro.conf.CascadeSubcommandArgs,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.DisallowNone,
)


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
    _print_any_name()
    if "--version" in argv:
        print(f"zcolor {_version()}")
        return OK
    try:
        call = tyro.cli(Zcolor, prog="zcolor", args=with_recipe(argv), config=_STYLE)
    except SystemExit as end:  # tyro has said why
        return end.code if isinstance(end.code, int) else USAGE
    except BrokenPipeError:  # the reader has seen enough, as in `zcolor --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("zcolor").setLevel(logging.DEBUG if call.debug else logging.INFO)
    try:
        with _ended_as_by_ctrl_c():
            return _run(call.command, ["zcolor", *argv])
    except KeyboardInterrupt:
        print(f"zcolor: interrupted{_how_to_go_on(call.command)}", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError, TypeError, RuntimeError, ImportError, MemoryError) as error:
        if call.debug:
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.errno in FULL:
            text += f"; make room{_how_to_go_on(call.command)}"
        print(f"zcolor: {text}", file=sys.stderr)
        sense = isinstance(error, (ValueError, TypeError, FileNotFoundError, FileExistsError))
        return USAGE if sense else SOME_FAILED


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let a request to end (SIGTERM) clean up and say how to go on, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # no handler can be set there
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_any_name() -> None:
    """Let file names that are no text through, as they are: they end no command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def with_recipe(argv: Sequence[str]) -> list[str]:
    """Put the recipe of the family that is to be trained before what was typed.

    Whatever is typed twice counts as it was typed last, so that the recipe's settings are defaults.

    Examples
    --------
    >>> with_recipe(["colorize", "a.jpg"])
    ['colorize', 'a.jpg']
    """
    words = list(argv)
    command = next((i for i, word in enumerate(words) if not word.startswith("-")), None)
    if command is None or words[command] != "train":
        return words
    models = [b for a, b in pairwise(words) if a == "--model"]
    models += [word.removeprefix("--model=") for word in words if word.startswith("--model=")]
    entry = MODELS.get(models[-1]) if models else None
    recipe = shlex.split(entry.recipe) if entry else []
    return [*words[: command + 1], *recipe, *words[command + 1 :]]


def _run(command: Command, argv: Sequence[str]) -> int:
    match command:
        case Colorize():
            return run_colorize(command, version=_version())
        case Video():
            return _video(command)
        case Serve():
            return _serve(command)
        case Evaluate():
            return _evaluate(command, argv)
        case Inspect():
            return _inspect(command)
        case Train():
            return run_train(command, argv)
        case Pretrain():
            return run_pretrain(command, argv)
        case Pack():
            return run_pack(command, argv)
        case Priors():
            return run_priors(command, argv)
        case Export():
            return _export(command)
        case Models():
            return _models()
        case Stylize():
            return _stylize(command)
        case Demo():
            return _demo(command)


def _how_to_go_on(command: Command) -> str:
    """Say what an interrupted command continues from."""
    if isinstance(command, (Pack, Priors, Pretrain)):
        return "; the same command goes on where it stood"
    if isinstance(command, (Video, Stylize, Export)):
        return "; nothing was written"
    if isinstance(command, Colorize):
        return f"; {how_to_go_on(command)}"
    if isinstance(command, Train):
        return "; give the same command again, with --resume if it had begun to train"
    return ""


def _video(command: Video) -> int:
    from zcolor.apps.video import color_video

    report = color_video(
        command.input,
        command.out,
        model=command.model,
        settings=command.settings,
        device=command.device,
        smooth=command.smooth,
        crf=command.crf,
        overwrite=command.overwrite,
    )
    print(report.path)
    if report.left_out:
        print(f"zcolor: left out: {', '.join(report.left_out)}", file=sys.stderr)
    counts = f"{report.n_frames} frames coloured, {report.n_scenes} scenes"
    print(f"zcolor: {counts}", file=sys.stderr)
    return OK


def _serve(command: Serve) -> int:
    from zcolor.apps.web import serve
    from zcolor.apps.web_work import WebLimits

    serve(
        host=command.host,
        port=command.port,
        model=command.model,
        device=command.device,
        limits=WebLimits(command.max_upload_mb, command.max_pixels, command.queue),
        open_browser=command.open_browser,
        names=command.allow_host,
    )
    return OK


def _evaluate(command: Evaluate, argv: Sequence[str]) -> int:
    from zcolor.apps.evaluate import run_evaluation

    check_named(command.inputs)
    if command.results:
        command.ways.check_unused()
    report = run_evaluation(
        command.inputs,
        results=command.results,
        model=command.model,
        variants=None if command.results else command.ways.variants(),
        split=command.split,
        settings=command.evaluation,
        device=command.device,
        json=command.json,
        page=command.page,
        command=shlex.join(argv),
        tell=_print_table,
    )
    for path in (command.json, command.page):
        if path is not None:
            print(f"written: {path}")
    return SOME_FAILED if report.failed else OK


def _print_table(report: EvaluationReport) -> None:
    print(report.table())


def _inspect(command: Inspect) -> int:
    from zcolor.apps.inspect import inspect_model
    from zcolor.excitation import ExciteSettings

    report = inspect_model(
        command.photo,
        command.out,
        model=command.model,
        group=command.group,
        units=command.unit,
        strongest=command.strongest,
        photos=command.photos,
        max_photos=command.max_photos,
        settings=ExciteSettings(side=command.side, steps=command.steps, seed=command.seed),
        device=command.device,
    )
    print(report.summary())
    print(f"written: {report.page}")
    return OK


def _export(command: Export) -> int:
    from zcolor.apps.export import export_onnx

    report = export_onnx(command.model, command.out, overwrite=command.overwrite)
    print(report.summary())
    print(f"written: {report.path}")
    return OK


def _models() -> int:
    rows = [("name", "parameters", "size", "licence", "what it is", "after")]
    for name, entry in MODELS.items():
        size, parameters = "to train", ""
        if entry.weights:
            missing = not entry.path.is_file()
            size = "missing" if missing else f"{entry.path.stat().st_size / 1e6:.1f} MB"
            parameters = f"{entry.n_parameters / 1e6:.1f} M"
        rows.append((name, parameters, size, entry.licence, entry.description, entry.source))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return OK


def _stylize(command: Stylize) -> int:
    from zcolor.apps.stylize import stylize_file

    picture = command.texture or command.style
    both = command.texture is not None and command.style is not None
    if picture is None or both or (command.texture is None) != (command.content is not None):
        raise ValueError(
            "name a photo and its style (zcolor stylize photo.jpg --style other.jpg), or a "
            "texture alone (zcolor stylize --texture other.jpg)"
        )
    report = stylize_file(
        command.content,
        picture,
        command.out,
        command.settings,
        overwrite=command.overwrite,
        device=command.device,
    )
    print(report.path)
    last = report.energies
    figures = f"E_content {last.content:.4f}, E_style {last.style:.4f}"
    print(f"zcolor: {figures}, {report.seconds:.0f} seconds", file=sys.stderr)
    return OK


def _demo(command: Demo) -> int:
    from zcolor.apps.demo import make_demo

    report = make_demo(
        command.out, samples=command.samples, model=command.model, device=command.device
    )
    print(f"{len(report.sheets)} before/after sheets are in {command.out.resolve()}")
    print(f"all of them on one picture: {report.contact.resolve()}")
    # The command as it can be typed here: `make demo` installs it where no shell looks.
    print(f"now yours: {_typed()} colorize YOUR-PHOTO.jpg")
    for path, reason in report.failed:
        print(f"failed {path}: {' '.join(reason.split())}", file=sys.stderr)
    return SOME_FAILED if report.failed else OK


def _typed() -> str:
    """Give what calls this command from a shell here."""
    found = shutil.which("zcolor", path=str(Path(sys.executable).parent))
    if found is None:
        return f"{shlex.quote(sys.executable)} -m zcolor"
    if shutil.which("zcolor") == found:
        return "zcolor"
    here = Path.cwd()
    return shlex.quote(str(Path(found).relative_to(here)) if here in Path(found).parents else found)


def _version() -> str:
    try:
        return version("zcolor")
    except PackageNotFoundError:
        return "(not installed)"
