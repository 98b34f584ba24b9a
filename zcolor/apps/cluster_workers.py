"""What the processes of a cluster hold: a network that colours, a count of colours, a packer.

They are made of JSON and given JSON (`zcolor.apps.cluster_engine`), and call what the commands call
on one computer.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch

from zcolor.apps.chain import ChainWorker
from zcolor.apps.cluster_engine import Answer, Task
from zcolor.apps.pipeline import PIXELS_PER_THREAD, Lanes
from zcolor.apps.plan import Job, folded, real_path
from zcolor.apps.remote import RemoteFolder
from zcolor.colorizer import Colorizer
from zcolor.quantizer import AbGrid
from zcolor.registry import Runtime
from zcolor.settings import ColorizeSettings
from zcolor.training.counting import ColorCounts, count_some
from zcolor.training.dataset import JoinedPhotos, LoosePhotos, Photos
from zcolor.training.packfile import PackedPhotos, Split
from zcolor.training.prepare import prepare
from zcolor.training.settings import PackSettings, PriorSettings
from zcolor.training.sources import PhotoEntry


class OneLane(Lanes):
    """The lane of a process that works on one photo at a time, beside other processes.

    Sums depend in their last bits on how they are split over threads. So torch takes the cores
    here that it takes for the same photo where all lanes are threads of one process.

    Parameters
    ----------
    n_lanes
        The lanes that there would be.
    n_cores
        Cores that torch takes for a photo that is alone.
    """

    def __init__(self, n_lanes: int, n_cores: int) -> None:
        super().__init__(1)
        self._alone = n_lanes * PIXELS_PER_THREAD if n_lanes > 1 else 0
        self._all, self._share = n_cores, max(1, n_cores // n_lanes)

    @contextmanager
    def hold(self, n_pixels: int) -> Iterator[None]:
        """Set the cores for a picture of so many pixels."""
        torch.set_num_threads(self._all if n_pixels >= self._alone else self._share)
        yield


class ColorWorker:
    """Colours chains of pictures.

    Parameters
    ----------
    model, runtime, device, overwrite, resume, quality, max_pixels
        As for `zcolor.apps.folder.color_files`.
    settings
        The fields of `ColorizeSettings`.
    url
        Where the results go if that is no folder.
    threads
        Pictures at a time.
    n_lanes, n_cores
        As for `OneLane`, if it is one picture at a time.
    """

    def __init__(
        self,
        *,
        model: str,
        runtime: Runtime,
        device: str,
        settings: Mapping[str, Any],
        overwrite: bool,
        resume: bool,
        quality: int,
        max_pixels: int,
        url: str | None,
        threads: int,
        n_lanes: int,
        n_cores: int,
    ) -> None:
        self.lanes = Lanes(threads) if threads > 1 else OneLane(n_lanes, n_cores)
        self.colorizer = Colorizer(model, device=device, runtime=runtime)
        self.settings = ColorizeSettings(**settings)
        self.overwrite, self.resume = overwrite, resume
        self.quality, self.max_pixels = quality, max_pixels
        self.remote = None if url is None else RemoteFolder(url)

    def work(self, task: Task) -> Iterator[Answer]:
        """Colour the pictures of a task (`color_task`): what became of each, and its sheet."""
        chains = [[_job(fields) for fields in chain] for chain in task["chains"]]
        places = {
            job: fields
            for jobs, chain in zip(chains, task["chains"], strict=True)
            for job, fields in zip(jobs, chain, strict=True)
        }
        worker = ChainWorker(
            lanes=self.lanes,
            colorizer=self.colorizer,
            settings=self.settings,
            overwrite=self.overwrite,
            resume=self.resume,
            quality=self.quality,
            max_pixels=self.max_pixels,
            originals=frozenset(Path(path) for path in task["originals"]),
            standing=frozenset(Path(path) for path in task["standing"]),
            compared=frozenset(job for job, fields in places.items() if fields["compared"]),
            remote=self.remote,
        )
        self.lanes.each(worker.color_chain, chains, lambda _: None)
        for job, result in worker.results.items():
            answer = {
                "place": places[job]["place"],
                "outcome": result.outcome,
                "target": None if result.target is None else str(result.target),
                "reason": result.reason,
                "seconds": result.seconds,
            }
            sheet = io.BytesIO()
            if job in worker.sheets:
                worker.sheets[job].save(sheet, "PNG")
            yield answer, sheet.getvalue()


def color_task(
    chains: Sequence[Sequence[tuple[int, Job]]],
    *,
    originals: Mapping[str, Sequence[Path]],
    standing: frozenset[Path],
    compared: frozenset[Job],
) -> dict[str, Any]:
    """Describe chains of pictures for a `ColorWorker`.

    Parameters
    ----------
    chains
        The pictures, each with its place in the plan.
    originals, standing, compared
        As for `zcolor.apps.chain.ChainWorker`, the originals by what `zcolor.apps.plan.folded`
        makes of them; the task takes what belongs to its pictures.

    Returns
    -------
    What JSON holds.
    """
    targets = {path for chain in chains for _, job in chain for path in targets_of(job)}
    names = {folded(path) for path in targets}
    return {
        "chains": [
            [
                {
                    "place": place,
                    "source": str(job.source),
                    "target": str(job.target),
                    "chosen": job.chosen,
                    "root": None if job.root is None else str(job.root),
                    "compared": job in compared,
                }
                for place, job in chain
            ]
            for chain in chains
        ],
        "originals": sorted(str(path) for name in names for path in originals.get(name, ())),
        "standing": sorted(str(path) for path in targets & standing),
    }


def targets_of(job: Job) -> tuple[Path, Path]:
    """Give the resolved paths that a result may get: transparency may turn it into a PNG."""
    return real_path(job.target), real_path(job.target.with_suffix(".png"))


def _job(fields: Mapping[str, Any]) -> Job:
    root = None if fields["root"] is None else Path(fields["root"])
    return Job(Path(fields["source"]), Path(fields["target"]), fields["chosen"], root)


class CountWorker:
    """Counts the colours of photographs.

    Parameters
    ----------
    packs
        Packs, whose photos come first.
    split
        The split of them to count.
    grid
        The cells, as `AbGrid.to_dict` describes them.
    settings
        The fields of `PriorSettings`.
    """

    def __init__(
        self,
        *,
        packs: Sequence[str],
        split: Split,
        grid: dict[str, Any],
        settings: Mapping[str, Any],
    ) -> None:
        # What is counted may not depend on the number of cores.
        torch.set_num_threads(1)
        self.packs: list[Photos] = [PackedPhotos(pack, split) for pack in packs]
        self.n_packed = sum(map(len, self.packs))
        self.grid = AbGrid.from_dict(grid)
        self.settings = PriorSettings(**{**settings, "range": tuple(settings["range"])})

    def work(self, task: Task) -> Iterator[Answer]:
        """Count the photos from `first` to `stop`; `entries` are those that lie in no pack."""
        loose = LoosePhotos(entries_of(task["entries"]), least_side=self.settings.size)
        first, stop = task["first"], task["stop"]
        # Those in packs have their own numbers, and those in files come after all of them.
        n_before = max(first, self.n_packed) if loose.entries else 0
        total = ColorCounts.empty(self.grid.n_bins)
        packed = range(first, min(stop, self.n_packed))
        if len(packed):
            total += count_some(JoinedPhotos(self.packs), packed, self.grid, self.settings)
        if loose.entries:
            found = count_some(loose, range(len(loose)), self.grid, self.settings)
            broken = tuple((n_before + index, reason) for index, reason in found.broken)
            total += dataclasses.replace(found, broken=broken)
        hashes = [None if known is None else known.hex() for known in loose.known_hashes()]
        yield {**counts_to_dict(total), "first": first, "hashes": hashes}, b""


def counts_to_dict(counted: ColorCounts) -> dict[str, Any]:
    """Give counts as what JSON holds: whole numbers, so that nothing is rounded."""
    return {
        "counts": counted.counts.tolist(),
        "milli_sums": counted.milli_sums.tolist(),
        "photos_per_cell": counted.photos_per_cell.tolist(),
        "n_photos": counted.n_photos,
        "broken": counted.broken,
    }


class PackWorker:
    """Prepares photographs for a pack.

    Parameters
    ----------
    settings
        The fields of `PackSettings`.
    """

    def __init__(self, *, settings: Mapping[str, Any]) -> None:
        fractions = cast(tuple[float, float, float], tuple(settings["fractions"]))
        self.settings = PackSettings(**{**settings, "fractions": fractions})

    def work(self, task: Task) -> Iterator[Answer]:
        """Prepare the photos of `entries`: a record of the journal for each, and its bytes."""
        for place, entry in enumerate(entries_of(task["entries"]), task["first"]):
            record, data = prepare(entry, self.settings)
            yield {"place": place, "record": dataclasses.asdict(record)}, data


def entries_of(pairs: Sequence[tuple[str, str | None]]) -> list[PhotoEntry]:
    """Turn paths and members back into photographs."""
    return [PhotoEntry(Path(path), member) for path, member in pairs]


def pairs_of(entries: Sequence[PhotoEntry]) -> list[tuple[str, str | None]]:
    """Give photographs as what JSON holds."""
    return [(str(entry.path), entry.member) for entry in entries]
