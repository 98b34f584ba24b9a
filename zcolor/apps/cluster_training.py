"""Counting and packing photographs on many machines, with Ray: `--engine ray` for training data.

The workers read the photographs; their order, what is kept of an interrupted run and what is
written are those of one computer (`zcolor.training.priors`, `zcolor.training.pack`). All machines
must see the same files under the same names.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zcolor.apps.cluster_engine import import_ray, machines, pool_for, ray_running, run_tasks
from zcolor.apps.cluster_workers import CountWorker, PackWorker, pairs_of
from zcolor.quantizer import AbGrid
from zcolor.training.counting import ColorCounts
from zcolor.training.counting import Spread as CountSpread
from zcolor.training.dataset import JoinedPhotos, LoosePhotos, Photos
from zcolor.training.journal import Record
from zcolor.training.pack import PackReport, pack_photos
from zcolor.training.packfile import PACK_SUFFIXES, Split
from zcolor.training.priors import Priors, build_priors
from zcolor.training.settings import PackSettings, PriorSettings
from zcolor.training.sources import PhotoEntry

# Photos of a task that packs: their bytes go through the memory that processes share.
_PACKED_A_TASK = 16
_DEFAULT = PackSettings()


def build_priors_on_ray(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: PriorSettings | None = None,
    *,
    address: str | None = None,
    split: Split = "train",
    progress: bool = True,
    command: str = "",
) -> Priors:
    """Count the colours of packs or images on the machines of a Ray cluster and write the priors.

    They are those of `zcolor.training.priors.build_priors`, bit by bit: whole numbers are added.
    After an interrupt either engine goes on from `out` + `.part`.

    Parameters
    ----------
    sources, out, settings, split, progress, command
        As for `zcolor.training.priors.build_priors`; `jobs` of the settings are workers.
    address
        Of a Ray cluster, HOST:PORT; None takes the cores of this computer.

    Returns
    -------
    The priors.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `build_priors`.
    ImportError
        If Ray is not installed.
    ConnectionError
        If no cluster answers.
    RuntimeError
        If a photo kills every worker that reads it; what was counted before it is kept.
    """
    settings = settings or PriorSettings()
    import_ray()
    packs = [os.fspath(s) for s in sources if Path(s).suffix.lower() in PACK_SUFFIXES]

    def spread(photos: Photos, grid: AbGrid) -> CountSpread:
        parts = photos.parts if isinstance(photos, JoinedPhotos) else [photos]
        loose = parts[-1] if isinstance(parts[-1], LoosePhotos) else LoosePhotos([])
        n_packed = len(photos) - len(loose)
        arguments = {
            "packs": packs,
            "split": split,
            "grid": grid.to_dict(),
            "settings": dataclasses.asdict(settings),
        }

        def task(stretch: range) -> dict[str, Any]:
            begin, end = (max(0, n - n_packed) for n in (stretch.start, stretch.stop))
            entries = pairs_of(loose.entries[begin:end])
            return {"first": stretch.start, "stop": stretch.stop, "entries": entries}

        def count(stretches: Sequence[range]) -> Generator[ColorCounts]:
            if not stretches:  # an interrupted count that had come to the end
                return
            with ray_running(address):
                pool = pool_for(machines(), len(stretches), jobs=settings.jobs)
                tasks = [task(stretch) for stretch in stretches]
                answers = run_tasks(CountWorker, arguments, tasks, pool, in_order=True)
                for stretch, (answer, _) in zip(stretches, answers, strict=True):
                    assert answer.pop("first") == stretch.start
                    hashes = [h if h is None else bytes.fromhex(h) for h in answer.pop("hashes")]
                    loose.know_hashes(max(0, stretch.start - n_packed), hashes)
                    yield _counts(answer)

        return count

    return build_priors(
        sources, out, settings, split=split, spread=spread, progress=progress, command=command
    )


def _counts(answer: dict[str, Any]) -> ColorCounts:
    """Turn `counts_to_dict` back."""
    return ColorCounts(
        np.array(answer["counts"], dtype=np.int64),
        np.array(answer["milli_sums"], dtype=np.int64),
        np.array(answer["photos_per_cell"], dtype=np.int64),
        n_photos=answer["n_photos"],
        broken=tuple((index, reason) for index, reason in answer["broken"]),
    )


def pack_photos_on_ray(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: PackSettings = _DEFAULT,
    *,
    address: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    command: str = "",
) -> PackReport:
    """Pack photographs for training on the machines of a Ray cluster.

    The workers read, judge, shrink and encode; this process writes the journal and the pack, in the
    order of the photos. The content is that of `zcolor.training.pack.pack_photos`, and after an
    interrupt either engine goes on from `out` + `.part`.

    Parameters
    ----------
    sources, out, settings, overwrite, progress, command
        As for `zcolor.training.pack.pack_photos`; `jobs` of the settings are workers.
    address
        Of a Ray cluster, HOST:PORT; None takes the cores of this computer.

    Returns
    -------
    The counts, and each photograph that was dropped with the reason.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        As for `pack_photos`.
    ImportError
        If Ray is not installed.
    ConnectionError
        If no cluster answers.
    RuntimeError
        If a photo kills every worker that reads it; what was packed before it is kept.
    """
    import_ray()

    def prepare_all(
        entries: Sequence[PhotoEntry], settings: PackSettings
    ) -> Generator[tuple[Record, bytes]]:
        firsts = range(0, len(entries), _PACKED_A_TASK)
        tasks = [
            {"first": first, "entries": pairs_of(entries[first : first + _PACKED_A_TASK])}
            for first in firsts
        ]
        if not tasks:  # an interrupted run that had come to the end
            return
        with ray_running(address):
            pool = pool_for(machines(), len(tasks), jobs=settings.jobs)
            arguments = {"settings": dataclasses.asdict(settings)}
            answers = run_tasks(PackWorker, arguments, tasks, pool, in_order=True)
            for place, (answer, data) in enumerate(answers):
                assert answer["place"] == place
                yield Record(**answer["record"]), data

    return pack_photos(
        sources,
        out,
        settings,
        overwrite=overwrite,
        spread=prepare_all,
        progress=progress,
        command=command,
    )
