"""`zcolor colorize`: files and folders, or one picture in a pipe; imports late what is heavy."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zcolor.apps.command_parts import INTERRUPTED, OK, SOME_FAILED
from zcolor.apps.commands import Colorize

if TYPE_CHECKING:
    from zcolor.apps.folder_report import FolderReport

PIPE = "-"
"""Standard input or output in place of a file."""
_PIPE_IN = Path(PIPE)


def run_colorize(command: Colorize, *, version: str) -> int:
    """Run `zcolor colorize`; the exit code."""
    if _is_pipe(command):
        return _colorize_pipe(command)
    _check_inputs(command)
    if command.summary is not None:
        from zcolor.apps.folder_report import check_summary

        check_summary(command.summary)
    report = _color_on_ray(command) if command.engine == "ray" else _color_here(command)
    # First, so that no summary that cannot be written takes the list of failures along.
    code = _tell(report, dry_run=command.dry_run, overwrite=command.overwrite)
    if command.summary is not None:
        from zcolor.apps.folder_report import write_summary

        write_summary(
            command.summary,
            report,
            version=version,
            model=command.model,
            settings=command.settings,
            dry_run=command.dry_run,
        )
    return code


def how_to_go_on(command: Colorize) -> str:
    """Say what an interrupted call continues from."""
    if _is_pipe(command):
        return "nothing was written"
    return _ways_on(overwrite=command.overwrite)


def _ways_on(*, overwrite: bool) -> str:
    if overwrite:  # nothing tells the results of this run from those that it replaces
        return "the same command begins again"
    return "the same command with --resume goes on"


def _is_pipe(command: Colorize) -> bool:
    return _PIPE_IN in command.inputs or command.out == PIPE


def _check_inputs(command: Colorize) -> None:
    """Refuse URLs; as a path, `s3://bucket` has become `s3:/bucket`."""
    for path in command.inputs:
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)) and not os.path.exists(path):
            raise ValueError(
                f"{path} looks like a URL, but photographs are read from files; copy them, or "
                "mount the store under a path that all machines see"
            )


def _color_here(command: Colorize) -> FolderReport:
    from zcolor.apps.folder import color_files

    return color_files(
        command.inputs,
        None if command.out is None else _on_this_computer(command.out),
        overwrite=command.overwrite,
        resume=command.resume,
        dry_run=command.dry_run,
        model=command.model,
        settings=command.settings,
        device=command.device,
        runtime=command.runtime,
        file_format=_format_of(command),
        quality=command.quality,
        max_pixels=command.max_pixels,
        jobs=command.jobs,
        compare=command.compare,
    )


def _on_this_computer(out: str) -> Path:
    from zcolor.apps.remote import local_path

    path = local_path(out)
    if path is None:
        raise ValueError(f"{out} is no folder of this computer; --engine ray writes to URLs")
    return path


def _color_on_ray(command: Colorize) -> FolderReport:
    from zcolor.apps.cluster import color_files_on_ray

    if command.dry_run:
        raise ValueError("a dry run only reads headers, on this computer; leave --engine ray out")
    return color_files_on_ray(
        command.inputs,
        command.out,
        address=command.address,
        overwrite=command.overwrite,
        resume=command.resume,
        model=command.model,
        runtime=command.runtime,
        settings=command.settings,
        device=command.device,
        file_format=_format_of(command),
        quality=command.quality,
        max_pixels=command.max_pixels,
        jobs=command.jobs,
        compare=command.compare,
    )


def _tell(report: FolderReport, *, dry_run: bool, overwrite: bool) -> int:
    """Print what became of the pictures; the exit code."""
    for photo in report.of("done"):
        print(f"{photo.source} -> {photo.target}" if dry_run else photo.target)
    for path, reason in report.skipped:
        print(f"skipped {path}: {reason}; --overwrite replaces it", file=sys.stderr)
    for path, reason in report.failed:
        where = "" if str(path) in reason else f"{path}: "
        print(f"failed {where}{' '.join(reason.split())}", file=sys.stderr)
    counts = [f"{len(report.done)} {'to colour' if dry_run else 'coloured'}"]
    counts += [f"{len(report.before)} done before"] if report.before else []
    counts += [f"{len(report.skipped)} skipped"] if report.skipped else []
    counts += [f"{len(report.failed)} failed"] if report.failed else []
    if report.interrupted:
        advice = _ways_on(overwrite=overwrite)
        counts += [f"interrupted, {report.waiting} not reached ({advice})"]
    print(f"zcolor: {', '.join(counts)}", file=sys.stderr)
    if report.interrupted:
        return INTERRUPTED
    return SOME_FAILED if report.failed else OK


def _format_of(command: Colorize) -> str | None:
    return None if command.format is None else command.format.upper()


def _colorize_pipe(command: Colorize) -> int:
    """Colour a single picture from standard input, to standard output, or both."""
    _check_pipe(command)
    from zcolor.apps.plan import agreed_format

    (source,) = command.inputs
    file_format = _format_of(command)
    out = _pipe_target(command)
    if out is not None:
        file_format = agreed_format(out, file_format)
    from zcolor.apps.stream import color_bytes
    from zcolor.atomic import whole_file
    from zcolor.colorizer import Colorizer

    data = sys.stdin.buffer.read() if source == _PIPE_IN else source.read_bytes()
    colored, _ = color_bytes(
        data,
        Colorizer(command.model, device=command.device, runtime=command.runtime),
        command.settings,
        file_format=file_format,
        quality=command.quality,
        max_pixels=command.max_pixels,
    )
    if out is None:
        sys.stdout.buffer.write(colored)
        sys.stdout.buffer.flush()
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as temporary:
            temporary.write_bytes(colored)
    return OK


def _check_pipe(command: Colorize) -> None:
    """Refuse what cannot go through a pipe."""
    if len(command.inputs) != 1:
        raise ValueError(
            f"a pipe carries a single picture, got {len(command.inputs)} inputs; "
            "name a folder as output to colour several"
        )
    if any((command.resume, command.dry_run, command.summary, command.compare)):
        raise ValueError("resume, dry-run, summary and compare are for files, not for a pipe")
    if command.engine != "local":
        raise ValueError("a pipe carries a single picture, which needs no cluster; leave it out")
    (source,) = command.inputs
    if source != _PIPE_IN and not source.is_file():
        raise FileNotFoundError(f"there is no picture {source}; name a single image file, or -")
    if source == _PIPE_IN and sys.stdin.isatty():
        raise ValueError("standard input is the keyboard; give a picture, as in `- < photo.jpg`")
    if command.out in (None, PIPE) and sys.stdout.isatty():
        raise ValueError("standard output is the screen; name a file: `> color.jpg`")


def _pipe_target(command: Colorize) -> Path | None:
    """Give the file that a picture from a pipe goes to, if it does; refuse what cannot be."""
    if command.out is None or command.out == PIPE:
        return None
    from zcolor.atomic import check_place

    out = _on_this_computer(command.out)
    check_place(out, "the picture")
    if out.exists() and _is_standard_input(out):
        raise ValueError(f"{out} is the original, which is never replaced; choose another name")
    if out.exists() and not command.overwrite:
        raise FileExistsError(f"{out} exists; choose another name, or --overwrite it")
    return out


def _is_standard_input(path: Path) -> bool:
    """Whether a file is what standard input reads, as in `- < photo.jpg`."""
    try:
        given = os.fstat(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # one that is no file of the system
        return False
    return os.path.samestat(given, path.stat())
