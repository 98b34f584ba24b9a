"""The files of an evaluation: refused before the work if they would replace something of others."""

from __future__ import annotations

import json as json_text
import os
from pathlib import Path

from zcolor.apps.evaluate_report import GENERATOR
from zcolor.atomic import check_place

# What every JSON file of an evaluation has (`EvaluationReport.to_dict`).
_KEYS = {"protocol", "methods", "networks"}


def check_files(
    json: str | os.PathLike[str] | None = None, page: str | os.PathLike[str] | None = None
) -> None:
    """Refuse files that cannot be written or would replace something else, before the work.

    Parameters
    ----------
    json, page
        Where the figures and the page are to go; those of an earlier evaluation may be replaced.

    Raises
    ------
    IsADirectoryError, NotADirectoryError
        If one is a folder, or lies below a file.
    FileNotFoundError
        If its folder is not there: a mistyped one shall not cost the whole run.
    ValueError
        If both are one file.
    FileExistsError
        If one exists and was not written by an evaluation.
    """
    for path, what, is_ours in (
        (json, "the figures", _is_figures),
        (page, "the page", _is_page),
    ):
        if path is None:
            continue
        check_place(path, what)
        if not Path(path).absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {Path(path).parent} to write {path} to")
        if os.path.lexists(path) and not is_ours(Path(path)):
            raise FileExistsError(
                f"{path} exists and was not written by zcolor evaluate, which would replace it; "
                f"name another file for {what}"
            )
    if json is not None and page is not None and _are_one(json, page):
        raise ValueError(f"the figures and the page cannot both go to {page}; name two files")


def _is_figures(path: Path) -> bool:
    try:
        found = json_text.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):  # no file, no text, no JSON, or not ours
        return False
    return isinstance(found, dict) and found.keys() >= _KEYS


def _is_page(path: Path) -> bool:
    try:
        return GENERATOR in path.read_text("utf-8", errors="replace")
    except OSError:
        return False


def _are_one(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Tell whether two names mean one file, also where "A" is "a"."""
    return os.path.realpath(a).casefold() == os.path.realpath(b).casefold()
