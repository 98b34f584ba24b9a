"""The page of an evaluation: one HTML file with table, plots and photos in it."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Sequence
from pathlib import Path

from zcolor.apps.evaluate_plots import draw_plots
from zcolor.apps.evaluate_results import PROTOCOL, EvaluationReport, ShownPhoto
from zcolor.atomic import whole_file
from zcolor.files import encode_image
from zcolor.metrics_image import Rgb8
from zcolor.working import resize_area

GENERATOR = "<meta name='generator' content='zcolor evaluate'>"
"""Tells our pages from those of others."""
# Pixels: larger photos are shrunk to this height, so that the page stays small.
_PHOTO_HEIGHT = 256
_PHOTO_QUALITY = 90  # JPEG
_TITLES = {
    "best": "Best photos",
    "median": "Photos in the middle",
    "worst": "Worst photos",
}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fafaf8;
       max-width: 1240px; margin: 2em auto; padding: 0 1em; }
h1, h2 { font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0 0 1.5em; } figure img { max-width: 100%; height: auto; }
figcaption { font-weight: 600; margin-bottom: .3em; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 1em; }
.photos figcaption { font-weight: 400; font-size: 13px; overflow-wrap: anywhere; }
.three { display: flex; gap: 4px; } .three img { flex: 1; min-width: 0; object-fit: contain; }
pre { white-space: pre-wrap; font-size: 12px; }
"""


def write_page(report: EvaluationReport, path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all; it needs no other file.

    Parameters
    ----------
    report
        What was found. Where matplotlib is not installed, the page says so in place of the plots.
    path
        The HTML file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with whole_file(Path(path)) as temporary:
        # Names of files need not be text.
        temporary.write_text(page_html(report), encoding="utf-8", errors="backslashreplace")


def page_html(report: EvaluationReport) -> str:
    """Make the text of the page; see `write_page`."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        GENERATOR,
        "<meta name='viewport' content='width=device-width'>",
        f"<title>zcolor evaluate</title><style>{_STYLE}</style>",
        f"<h1>zcolor evaluate: {report.n_photos} photos</h1>",
        "<p>± is half of the 95 % interval (bootstrap over photos).</p>",
        _table(report.rows()),
    ]
    if report.networks:
        parts += ["<h2>The classifier</h2>", _table(report.network_rows())]
    parts += [_list("Notes", report.notes), "<h2>Plots</h2>", _plots(report)]
    for kind, title in _TITLES.items():
        photos = [photo for photo in report.shown if photo.kind == kind]
        if photos:
            parts += [f"<h2>{title}</h2><p>", html.escape(_explained(report)), "</p>"]
            parts += ["<div class='photos'>", *map(_photo, photos), "</div>"]
    failures = [f"{name}: {reason}" for name, reason in report.failed]
    parts += [_list(f"Not measured ({len(failures)})", failures)]
    info = json.dumps(report.info, indent=1, ensure_ascii=False)
    parts += [f"<h2>Protocol</h2><p>{html.escape(PROTOCOL)}</p><pre>{html.escape(info)}</pre>"]
    return "\n".join(parts) + "</html>\n"


def _explained(report: EvaluationReport) -> str:
    return (
        f"Black and white, {report.subject}, truth. Ranked by AuC raw minus that of grey, "
        "in points."
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<div class='wide'><table><tr>", *(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines.append("</tr>")
    for row in body:
        lines += ["<tr>", *(f"<td>{html.escape(cell)}</td>" for cell in row), "</tr>"]
    return "".join(lines) + "</table></div>"


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{html.escape(title)}</h2><ul>{items}</ul>"


def _plots(report: EvaluationReport) -> str:
    try:
        plots = draw_plots(report)
    except ModuleNotFoundError as error:
        return f"<p>No plots: {html.escape(str(error))}.</p>"
    return "\n".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f"<img alt='{html.escape(title)}' src='{_inline(png, 'png')}'></figure>"
        for title, png in plots.items()
    )


def _photo(photo: ShownPhoto) -> str:
    pictures = (
        f"<img alt='{what}' src='{_inline(_jpeg(rgb), 'jpeg')}'>"
        for what, rgb in (("grey", photo.grey), ("result", photo.result), ("truth", photo.truth))
    )
    return (
        f"<figure><div class='three'>{''.join(pictures)}</div>"
        f"<figcaption>{html.escape(photo.name)}: {photo.gain:+.2f}</figcaption></figure>"
    )


def _inline(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg(rgb: Rgb8) -> bytes:
    height, width = rgb.shape[:2]
    if height > _PHOTO_HEIGHT:
        width = max(1, round(width * _PHOTO_HEIGHT / height))
        rgb = resize_area(rgb, _PHOTO_HEIGHT, width)
    return encode_image(rgb, "JPEG", quality=_PHOTO_QUALITY)
