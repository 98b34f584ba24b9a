"""Colour every photograph of a folder, and say what became of each.

    python docs/examples/colour_folder.py album album-color

Given again after an interrupt, it goes on where it stood.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zcolor.apps.folder import color_files
from zcolor.settings import ColorizeSettings


def main(album: str, out: str) -> int:
    """Colour `album` and all below it into `out`, and return the number of failures."""
    report = color_files(
        [Path(album)],
        Path(out),
        settings=ColorizeSettings(preset="vivid", saturation=1.1),
        resume=True,
    )
    for path in report.done:
        print(f"coloured {path}")
    for path, reason in report.failed:
        print(f"failed {path}: {reason}")
    print(f"{len(report.done)} coloured, {len(report.before)} done before")
    return len(report.failed)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(min(main(*sys.argv[1:]), 1))
