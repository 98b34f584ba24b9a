"""Colour files and folders of photographs: the door behind `zcolor colorize`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from zcolor.apps.folder_report import FolderReport, Outcome, PhotoResult
from zcolor.apps.pipeline import Lanes
from zcolor.apps.plan import Job, Places, chains_of, plan_jobs, real_path
from zcolor.apps.remote import RemoteFolder
from zcolor.apps.sheets import check_sheet, draw_sheet, panel_of, write_sheet
from zcolor.arrays import AnyArray
from zcolor.colorizer import Colorizer
from zcolor.files import MAX_PIXELS, image_size, write_image
from zcolor.formats import color_format, format_for
from zcolor.metadata import Metadata
from zcolor.photo import read_photo
from zcolor.readers import ImageReadError
from zcolor.registry import Runtime, find_weights
from zcolor.settings import ColorizeSettings

logger = logging.getLogger(__name__)

# What reading, colouring and writing one picture may raise without saying anything about the next.
_ONE_BAD_FILE = (OSError, ValueError, TypeError, RuntimeError, MemoryError)
MOST_COMPARED = 100
"""Photos on a before/after sheet; more would make it a picture that few programs open."""


class _Skip(Exception):  # noqa: N818 (no error: a reason)
    """A picture that is left alone; the message says why."""


class _DoneBefore(Exception):  # noqa: N818
    """A picture whose result is there already."""


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
        For options that make no sense, no sources, several sources with a file as `out`, or a
        `compare` that is one of the pictures.
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


@dataclass(eq=False, kw_only=True)
class ChainWorker:
    """Colours jobs, in several threads at once, and remembers what became of them."""

    lanes: Lanes
    colorizer: Colorizer | None
    """None only tells what would be done."""
    settings: ColorizeSettings
    overwrite: bool
    resume: bool
    quality: int
    max_pixels: int
    originals: frozenset[Path]
    """Resolved paths that are never written to."""
    compared: frozenset[Job]
    """Those that get a sheet."""
    standing: frozenset[Path] | None = None
    """Resolved paths of the results that count as there already; None looks at the disk."""
    remote: RemoteFolder | None = None
    """Where the targets really are; None: on this computer."""
    sheets: dict[Job, Image.Image] = field(default_factory=dict)
    """Before and after."""
    taken: dict[Path, Path] = field(default_factory=dict)
    """The sources of what was written, by its resolved path."""
    results: dict[Job, PhotoResult] = field(default_factory=dict)
    """What became of the jobs."""

    def __post_init__(self) -> None:
        """Make places findable where "A" and "a" are one file."""
        self._originals, self._taken = Places(self.originals), Places(self.taken)

    def color_chain(self, chain: Sequence[Job]) -> None:
        """Colour pictures that may ask for the same name, one after the other."""
        for job in chain:
            start = time.perf_counter()
            outcome, target, reason = self._outcome(job)
            seconds = time.perf_counter() - start
            named = None if target is None else self._named(target)
            self.results[job] = PhotoResult(job.source, outcome, named, reason, seconds)

    def _outcome(self, job: Job) -> tuple[Outcome, Path | None, str]:
        try:
            return "done", self.color(job), ""
        except _DoneBefore as before:
            return "before", Path(str(before)), ""
        except _Skip as reason:
            return "skipped", None, str(reason)
        except _ONE_BAD_FILE as error:
            logger.debug("failed: %s", job.source, exc_info=True)
            return "failed", None, str(error) or type(error).__name__

    def color(self, job: Job) -> Path:
        """Colour one picture and return the path that was written."""
        self.lanes.check()
        self._check_free(job.source, job.target)  # before the work of reading
        if self.remote is None:
            check_inside(job)
        if self.colorizer is None:
            image_size(job.source)  # a header that cannot be read says so
            target = job.target
        else:
            with self.lanes.hold(_n_pixels(job.source)):
                target, pixels, metadata = self._colored(job, self.colorizer)
                self.lanes.check()
                if self.remote is None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_image(target, pixels, metadata=metadata, quality=self.quality)
                else:
                    self.remote.write(target, pixels, metadata=metadata, quality=self.quality)
        self._take(real_path(target), job.source)
        return target

    def _take(self, place: Path, source: Path) -> None:
        self.taken[place] = source
        self._taken.add(place)

    def _colored(self, job: Job, colorizer: Colorizer) -> tuple[Path, AnyArray, Metadata]:
        """Give the coloured pixels, and where they belong."""
        target, settings = job.target, self.settings
        find_frame = settings.frame == "leave"
        photo = read_photo(job.source, max_pixels=self.max_pixels, find_frame=find_frame)
        named = format_for(target)
        if color_format(named, alpha=photo.has_alpha) != named:
            if job.chosen:
                raise ValueError(
                    f"{named} cannot hold the transparency of this picture; "
                    "end the name of the output in .png, or choose the format png"
                )
            target = target.with_suffix(".png")
            self._check_free(job.source, target)
        self.lanes.check()
        compared = job in self.compared
        before = panel_of(photo.pixels[0]) if compared else None  # type: ignore[arg-type]
        ab = colorizer.predict_ab(photo, settings)
        self.lanes.check()
        pixels = photo.render(
            ab, upsample=settings.upsample, saturation=settings.saturation, in_place=True
        )
        if before is not None:
            panels = [(job.source.name, before), ("zcolor", panel_of(pixels))]
            self.sheets[job] = draw_sheet(panels)
        return target, pixels, photo.metadata

    def _check_free(self, source: Path, target: Path) -> None:
        place = real_path(target)
        if self._originals.find(place) is not None:
            raise ValueError(
                f"{self._named(target)} is one of the originals, which are never replaced; "
                "choose another output"
            )
        taken = self._taken.find(place)
        if taken is not None:
            raise ValueError(
                f"{self._named(target)} has just been made of {self.taken[taken]}; rename "
                f"{source.name} or colour it alone"
            )
        stands = target.exists() if self.standing is None else place in self.standing
        if stands and not self.overwrite:
            if self.resume:
                self._take(place, source)
                raise _DoneBefore(target)
            raise _Skip(f"{self._named(target)} exists")

    def _named(self, target: Path) -> Path | str:
        return target if self.remote is None else self.remote.url_of(target)


def check_inside(job: Job) -> None:
    """Refuse a result that a symbolic link would lead out of the output folder.

    Raises
    ------
    ValueError
        If it does.
    """
    folder = job.target.parent
    if job.root is not None and not real_path(folder).is_relative_to(real_path(job.root)):
        raise ValueError(
            f"{folder} is a symbolic link that leads out of the output folder {job.root}, to "
            f"{real_path(folder)}; remove the link, or name that folder as the output"
        )


def _n_pixels(source: Path) -> int:
    """Tell how much room a picture takes; one that cannot be read says so when it is read."""
    try:
        width, height = image_size(source)
    except (OSError, ImageReadError):
        return 0
    return width * height


def write_compared(
    path: str | os.PathLike[str], sheets: Sequence[Image.Image]
) -> list[tuple[Path, str]]:
    """Write all sheets as one picture; what failed, so that it takes no report along."""
    try:
        write_sheet(path, sheets)
    except (OSError, ValueError) as error:
        return [(Path(path), str(error))]
    return []
