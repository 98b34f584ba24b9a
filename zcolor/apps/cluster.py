"""Colouring on many machines, with Ray: the door behind `zcolor colorize --engine ray`.

The plan of the work and its report are those of one computer (`zcolor.apps.folder`), and so are the
results. All machines must see the same files under the same names.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from zcolor.apps.cluster_engine import (
    Answer,
    Pool,
    import_ray,
    machines,
    pool_for,
    ray_running,
    run_tasks,
)
from zcolor.apps.cluster_workers import ColorWorker, color_task, targets_of
from zcolor.apps.folder import (
    MOST_COMPARED,
    check_compared,
    check_options,
    report_of,
    write_compared,
)
from zcolor.apps.folder_report import FolderReport, PhotoResult
from zcolor.apps.plan import Job, chains_of, folded, plan_jobs, real_path
from zcolor.apps.remote import RemoteFolder, local_path
from zcolor.colorizer import Colorizer
from zcolor.files import MAX_PIXELS
from zcolor.registry import MODELS, Runtime, is_onnx, pick_device
from zcolor.settings import ColorizeSettings

logger = logging.getLogger(__name__)

# Pictures of a task, for each thread of a worker: enough to make the cost of a task small, and so
# many tasks for each worker that all end at about the same time.
_MOST_A_TASK = 32
_TASKS_A_WORKER = 16

Chain = Sequence[tuple[int, Job]]
"""Pictures that may ask for the same name, each with its place in the plan."""


def color_files_on_ray(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    address: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    model: str | os.PathLike[str] = "zhang",
    runtime: Runtime = "auto",
    settings: ColorizeSettings = ColorizeSettings(),
    device: str = "auto",
    file_format: str | None = None,
    quality: int = 95,
    max_pixels: int = MAX_PIXELS,
    jobs: int = 0,
    compare: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> FolderReport:
    """Colour files, and every picture in folders, on the machines of a Ray cluster.

    The results are those of `zcolor.apps.folder.color_files` with the same options, bit by bit on
    machines of one kind. The workers write them to their final place, each whole or not at all.
    The work of a process that dies is done again; a picture that no process survives is reported
    as failed.

    Parameters
    ----------
    sources, overwrite, resume, model, settings, file_format, quality, max_pixels, compare, progress
        As for `zcolor.apps.folder.color_files`.
    out
        As there, or a URL that fsspec can write to, such as `s3://bucket/album`.
    address
        Of a Ray cluster, HOST:PORT; None takes the cores of this computer.
    runtime
        As for `zcolor.Colorizer`, but `onnx` takes ONNX models alone: every worker would export
        another one again.
    device
        `auto` gives each worker a GPU where the cluster has some and a core otherwise; or `cpu`,
        `cuda`.
    jobs
        Workers; 0 takes one for each GPU or core of the cluster.

    Returns
    -------
    The report; after Ctrl-C too, for what was done until then.

    Raises
    ------
    ValueError, FileExistsError
        As for `color_files`, and for a URL of an unknown kind or that means no place.
    FileNotFoundError
        If the model's file is not there.
    ImportError
        If Ray is not installed, or the package that writes to the URL.
    ConnectionError
        If no cluster answers.
    OSError
        If the store of a URL cannot be reached.
    RuntimeError
        If the workers cannot be started.
    """
    check_options(quality, jobs, overwrite=overwrite, resume=resume)
    if not device.startswith("cuda"):  # this machine need not have what the cluster has
        pick_device(device)
    if runtime == "onnx" and not is_onnx(model):
        raise ValueError(
            f"every worker would export {model} again; export it once (zcolor export) and give "
            "the .onnx file as --model"
        )
    import_ray()
    place, remote = _where(out)
    plan, failed = plan_jobs(
        [Path(source) for source in sources],
        place,
        file_format,
        is_folder=remote is not None and remote.is_folder,
        called=None if remote is None else remote.url,
    )
    if compare is not None:
        check_compared(compare, plan, replace=overwrite or resume)
    # What cannot be read is told before a cluster starts.
    Colorizer(model, device="cpu", runtime=runtime).net.decoding(settings)
    if not plan:
        return report_of(plan, {}, failed)
    numbers = {job: number for number, job in enumerate(plan)}
    chains = [[(numbers[job], job) for job in chain] for chain in chains_of(plan)]
    compared = frozenset(plan[:MOST_COMPARED] if compare is not None else ())
    describe = _describer(plan, remote, compared)
    results: dict[Job, PhotoResult] = {}
    sheets: dict[int, Image.Image] = {}
    bar = tqdm(total=len(plan), desc="colouring", unit="photo", disable=None if progress else True)
    with bar, ray_running(address):
        pool = pool_for(machines(), len(chains), jobs=jobs, device=device)
        arguments = {
            "model": str(model) if str(model) in MODELS else str(Path(model).absolute()),
            "runtime": runtime,
            "device": "cuda" if pool.gpus else device.replace("auto", "cpu"),
            "settings": dataclasses.asdict(settings),
            "overwrite": overwrite,
            "resume": resume,
            "quality": quality,
            "max_pixels": max_pixels,
            "url": None if remote is None else remote.url,
            "threads": pool.threads,
            "n_lanes": min(jobs or os.cpu_count() or 1, len(chains)),
            "n_cores": torch.get_num_threads(),
        }
        try:
            for answer, sheet in _color_all(chains, arguments, pool, describe):
                number = answer.pop("place")
                results[plan[number]] = _result(plan[number], answer, local=remote is None)
                if sheet:
                    sheets[number] = Image.open(io.BytesIO(sheet))
                bar.update()
        except KeyboardInterrupt:
            logger.debug("interrupted")
    if compare is not None:
        failed += write_compared(compare, [sheet for _, sheet in sorted(sheets.items())])
    return report_of(plan, results, failed)


def _where(out: str | os.PathLike[str] | None) -> tuple[Path | None, RemoteFolder | None]:
    """Give the path to plan with, and the store that it stands for if it is none of this disk."""
    if out is None:
        return None, None
    path = local_path(os.fspath(out))
    if path is not None:
        return path, None
    remote = RemoteFolder(os.fspath(out))
    remote.check()
    return remote.path, remote


def _describer(
    plan: Sequence[Job], remote: RemoteFolder | None, compared: frozenset[Job]
) -> Callable[[Sequence[Chain]], dict[str, Any]]:
    """Make what describes chains as a task.

    The results that stand before the work begins are noted here, once: when a task is done a second
    time because a process died, what it wrote the first time must not look like older work.
    """
    originals: dict[str, list[Path]] = {}
    for path in {real_path(job.source) for job in plan}:
        originals.setdefault(folded(path), []).append(path)
    targets = {path for job in plan for path in targets_of(job)}
    if remote is None:
        standing = frozenset(path for path in targets if os.path.exists(path))
    else:
        standing = remote.standing(targets)

    def describe(chains: Sequence[Chain]) -> dict[str, Any]:
        return color_task(chains, originals=originals, standing=standing, compared=compared)

    return describe


def _color_all(
    chains: Sequence[Chain],
    arguments: dict[str, Any],
    pool: Pool,
    describe: Callable[[Sequence[Chain]], dict[str, Any]],
) -> Iterator[Answer]:
    """Colour all chains; those that were lost with their task a second time, each by itself."""
    most = _MOST_A_TASK * pool.threads
    at_once = min(max(1, len(chains) // (pool.size * _TASKS_A_WORKER)), most)
    tasks = [describe(some) for some in _in_parts(chains, max(at_once, min(pool.threads, most)))]
    found: set[int] = set()
    for answer, sheet in run_tasks(ColorWorker, arguments, tasks, pool):
        found.add(answer["place"])
        yield answer, sheet
    lost = [chain for chain in chains if not found.issuperset(number for number, _ in chain)]
    if not lost:
        return
    logger.warning("%d pictures were with workers that died; once more, one by one", len(lost))
    for answer, sheet in run_tasks(ColorWorker, arguments, [describe([c]) for c in lost], pool):
        found.add(answer["place"])
        yield answer, sheet
    reason = "no worker survived it; colour it alone with --engine local, and look at the memory"
    for number in (number for chain in lost for number, _ in chain):
        if number not in found:
            outcome = {"outcome": "failed", "target": None, "reason": reason, "seconds": 0.0}
            yield {"place": number, **outcome}, b""


def _in_parts(items: Sequence[Any], n: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + n] for first in range(0, len(items), n))


def _result(job: Job, answer: dict[str, Any], *, local: bool) -> PhotoResult:
    target = answer.pop("target")
    named = Path(target) if local and target is not None else target
    return PhotoResult(job.source, target=named, **answer)
