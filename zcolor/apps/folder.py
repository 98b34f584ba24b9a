"""Colour files and folders of photographs: the door behind `zcolor colorize`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from zcolor.apps.chain import ChainWorker
from zcolor.apps.folder_report import FolderReport, PhotoResult
from zcolor.apps.pipeline import Lanes
from zcolor.apps.plan import Job, Places, chains_of, plan_jobs, real_path
from zcolor.apps.sheets import check_sheet, write_sheet
from zcolor.colorizer import Colorizer
from zcolor.files import MAX_PIXELS
from zcolor.registry import Runtime, find_weights
from zcolor.settings import ColorizeSettings

logger = logging.getLogger(__name__)

MOST_COMPARED = 100
"""Photos on a before/after sheet; more would make it a picture that few programs open."""


def color_files(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    model: str | os.PathLike[str] = "zhang",
    settings: ColorizeSettings = ColorizeSettings(),
    device: str | torch.device = "auto",
    runtime: Runtime = "auto",
    file_format: str | None = None,
    quality: int = 95,
    max_pixels: int = MAX_PIXELS,
    jobs: int = 0,
    compare: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> FolderReport:
    """Colour files, and every picture in folders and their subfolders.

    Photos are coloured side by side, with the results of one after the other. A bad file does not
    end the work: it stands in the report. 16-bit PNG and TIFF stay 16-bit;
    EXIF and resolution are kept; every file is written whole or not at all. Pictures in folders
    whose names end in "-color" count as results of earlier runs and are passed over.

    Parameters
    ----------
    sources
        Image files and folders.
    out
        None: NAME-color.EXT beside each picture. A folder: the same names in there, the tree of a
        source folder mirrored (below its own name where there are several sources). For a single
        file also the name of the new file. EXT becomes png for formats without colour.
    overwrite
        Replace files that exist; originals are never replaced.
    resume
        Results that exist are work done before, not a reason to complain.
    dry_run
        Read the headers and tell what would be written; colour and write nothing.
    model, device
        As for `zcolor.colorize`.
    runtime
        As for `zcolor.Colorizer`.
    settings
        How; the fields are the other parameters of `zcolor.colorize`.
    file_format
        One of `zcolor.formats.COLOR_FORMATS` for all results; None keeps that of each picture.
    quality
        Of JPEG, WebP and AVIF files: 1 to 100.
    max_pixels
        Pictures with more pixels than this fail.
    jobs
        Photos at a time; 0 takes one per core. Memory grows with it, by about 0.35 GB each at
        most, but not with the number of files.
    compare
        A picture file to draw: the first 100 photos before and after, side by side. If it cannot
        be written it stands among what failed.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The report; after Ctrl-C too, for what was done until then.

    Raises
    ------
    ValueError
        For options that make no sense or that the model has no use for, no sources, several
        sources with a file as `out`, or a `compare` that is one of the pictures.
    FileExistsError
        If there is a file `compare`, and neither `overwrite` nor `resume`.
    FileNotFoundError
        If the model's file is not there.
    """
    check_options(quality, jobs, overwrite=overwrite, resume=resume)
    paths = [Path(source) for source in sources]
    plan, failed = plan_jobs(paths, None if out is None else Path(out), file_format)
    if compare is not None:
        check_compared(compare, plan, replace=overwrite or resume)
    chains = chains_of(plan)
    lanes = Lanes(min(jobs or os.cpu_count() or 1, max(1, len(chains))))
    if dry_run:
        find_weights(model)
        colorizer = None
    else:
        colorizer = Colorizer(model, device=device, runtime=runtime)
        colorizer.net.decoding(settings)  # what makes no sense is told once, not for every photo
    worker = ChainWorker(
        lanes=lanes,
        colorizer=colorizer,
        settings=settings,
        overwrite=overwrite,
        resume=resume,
        quality=quality,
        max_pixels=max_pixels,
        originals=frozenset(real_path(job.source) for job in plan),
        compared=frozenset(plan[:MOST_COMPARED] if compare is not None else ()),
    )
    with tqdm(
        total=len(plan), desc="colouring", unit="photo", disable=None if progress else True
    ) as bar:
        try:
            lanes.each(worker.color_chain, chains, lambda chain: bar.update(len(chain)))
        except KeyboardInterrupt:
            logger.debug("interrupted")
    if compare is not None:
        drawn = [worker.sheets[job] for job in plan if job in worker.sheets]
        failed += write_compared(compare, drawn)
    return report_of(plan, worker.results, failed)


def check_options(
    quality: int,
    jobs: int,
    *,
    overwrite: bool,
    resume: bool,
) -> None:
    """Refuse options of `color_files` that make no sense, before the work begins."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must lie in 1..100, got {quality}")
    if jobs < 0:
        raise ValueError(f"jobs must be 0 (one per core) or more, got {jobs}")
    if overwrite and resume:
        raise ValueError("overwrite replaces the results that resume keeps; choose one of them")


def check_compared(path: str | os.PathLike[str], jobs: Sequence[Job], *, replace: bool) -> None:
    """Refuse a sheet that would replace a picture of the same work, or anything unasked."""
    pictures = Places(real_path(p) for job in jobs for p in (job.source, job.target))
    if pictures.find(real_path(Path(path))) is not None:
        raise ValueError(
            f"the sheet {path} is one of the pictures or their results; name another file"
        )
    check_sheet(path, replace=replace)


def report_of(
    jobs: Sequence[Job],
    results: Mapping[Job, PhotoResult],
    failed: Sequence[tuple[Path, str]],
) -> FolderReport:
    """Tell what became of the jobs, in their order, after what had failed before."""
    return FolderReport(
        photos=(
            *(PhotoResult(path, "failed", reason=reason) for path, reason in failed),
            *(results[job] for job in jobs if job in results),
        ),
        waiting=len(jobs) - len(results),
    )


def write_compared(
    path: str | os.PathLike[str], sheets: Sequence[Image.Image]
) -> list[tuple[Path, str]]:
    """Write all sheets as one picture; what failed, so that it takes no report along."""
    try:
        write_sheet(path, sheets)
    except (OSError, ValueError) as error:
        return [(Path(path), str(error))]
    return []
