"""How far an interrupted count of colours came, in a file that the next one goes on from."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from zcolor.atomic import whole_file
from zcolor.training.counting import ColorCounts

logger = logging.getLogger(__name__)


def write_state(path: Path, job: dict[str, Any], counted: ColorCounts) -> None:
    """Write what was counted of a job, which is a description of photos and settings in JSON."""
    job = {**job, "n_counted": counted.n_photos, "broken": counted.broken}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            job=json.dumps(job),
            counts=counted.counts,
            milli_sums=counted.milli_sums,
            photos_per_cell=counted.photos_per_cell,
        )


def read_state(path: Path, job: dict[str, Any]) -> ColorCounts | None:
    """Read how far an interrupted count of the same job came; None where there is none."""
    if not path.is_file():
        return None
    try:
        # np.load leaves a damaged file open that it opened itself.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as state:
            found = json.loads(str(state["job"]))
            counted = ColorCounts(
                state["counts"],
                state["milli_sums"],
                state["photos_per_cell"],
                n_photos=found.pop("n_counted"),
                broken=tuple((index, reason) for index, reason in found.pop("broken")),
            )
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s cannot be read (%s); counting begins anew", path, error)
        return None
    if found != job:
        logger.warning("%s is of other photos or settings; counting begins anew", path)
        return None
    logger.info("continuing after %d photos (%s)", counted.n_done, path)
    return counted
