"""How Sphinx builds the pages: `make docs`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import zcolor  # noqa: E402 (the checkout comes first)

project = "zcolor"
author = "the zcolor authors"
copyright = author  # noqa: A001 (the name that Sphinx asks for)
release = version = zcolor.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
# Nothing is fetched while building or reading: no intersphinx, no fonts, no scripts from elsewhere.
html_theme = "furo"
html_title = f"zcolor {release}"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 3
highlight_language = "python"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
# Our "Returns" are sentences and begin with no type, which napoleon would make a list of.
napoleon_custom_sections = ["Returns"]
# `name` in a docstring leads to the thing of that name where there is one.
default_role = "py:obj"

# What pages link to outside this folder, which a code host shows as it is, and where that is on
# the site. Pages that exist on both sides are included there, the others are named in words.
ON_THE_SITE = {
    "../README.md": "quickstart.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../LICENSE": "licence.md",
    "../data/README.md": "data.md",
}
# The same for the files that are included from one floor up: what they link to, seen from there.
IN_INCLUDED = {
    "docs/architecture.md": "architecture.md",
    "../docs/model-card.md": "model-card.md",
    "CHANGELOG.md": "changelog.md",
}


def _relink(text: str, table: dict[str, str]) -> str:
    for outside, inside in table.items():
        text = text.replace(f"]({outside})", f"]({inside})")
    return text


def _on_source_read(_app: object, _docname: str, content: list[str]) -> None:
    content[0] = _relink(content[0], ON_THE_SITE)


def _on_include_read(_app: object, _path: object, _docname: str, content: list[str]) -> None:
    content[0] = _relink(content[0], IN_INCLUDED)


def _before_napoleon(
    _app: object, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Two habits of our docstrings that RST and napoleon would read as something else."""
    if what in ("attribute", "data", "property"):
        # Before a colon in the first line napoleon sees a type; so an empty comment comes first.
        lines[:0] = ["..", ""]
    lines[:] = [re.sub(r"(?<!`)\|(\w+)\|", r"``|\1|``", line) for line in lines]  # |dL|


def setup(app: Sphinx) -> None:
    """Connect what stands above."""
    app.connect("source-read", _on_source_read)
    app.connect("include-read", _on_include_read)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
