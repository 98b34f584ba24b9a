"""What several commands share: exit codes, formats, sources, engines."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is the shell's own for Ctrl-C."""
Format = Literal["jpeg", "png", "tiff", "webp", "avif", "jpeg2000", "bmp", "gif", "ppm", "tga"]
"""What `--format` takes: `zcolor.formats.COLOR_FORMATS` in small letters."""
Sources = Annotated[tuple[str, ...], tyro.conf.Positional]
"""Files, folders, globs, lists and archives, named after the command."""
Engine = Literal["local", "ray"]
"""What does the work: this process, or the workers of Ray."""


def check_engine(engine: Engine, address: str | None) -> None:
    """Refuse the address of a cluster that is not to be used."""
    if engine == "local" and address is not None:
        raise ValueError(
            f"address {address!r} names a Ray cluster, but the engine is local; add --engine ray"
        )
