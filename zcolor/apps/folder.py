"""Colour files and folders of photographs: the door behind `zcolor colorize`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from zcolor.apps.pipeline import Lanes
from zcolor.arrays import AnyArray
from zcolor.colorizer import Colorizer
from zcolor.files import MAX_PIXELS, image_size, write_image
from zcolor.formats import color_format, format_for
from zcolor.metadata import Metadata
from zcolor.photo import read_photo
from zcolor.readers import ImageReadError
from zcolor.settings import ColorizeSettings

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm",
    ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp", ".xbm",
})  # fmt: skip
"""Endings of the files that are taken from a folder; files named one by one may have any."""
MARK = "-color"
"""What the name of a coloured picture beside its original ends in."""

# What reading, colouring and writing one picture may raise without saying anything about the next.
_ONE_BAD_FILE = (OSError, ValueError, TypeError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class FolderReport:
    """What became of every picture."""

    done: tuple[Path, ...] = ()
    """The pictures that were written."""
    skipped: tuple[tuple[Path, str], ...] = ()
    """Sources left alone, and why."""
    failed: tuple[tuple[Path, str], ...] = ()
    """Sources that could not be coloured, and why."""
    waiting: int = 0
    """Pictures that were not reached, because of an interrupt."""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the work early."""
        return self.waiting > 0


@dataclass(frozen=True, eq=False)
class _Job:
    """One picture to colour; the same one named twice is two jobs."""

    source: Path
    target: Path
    chosen: bool = False
    """Whether the user chose the target's name, ending included."""


class _Skip(Exception):  # noqa: N818 (no error: a reason)
    """A picture that is left alone; the message says why."""


def color_files(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    model: str | os.PathLike[str] = "zhang",
    settings: ColorizeSettings = ColorizeSettings(),
    device: str | torch.device = "auto",
    quality: int = 95,
    max_pixels: int = MAX_PIXELS,
    jobs: int = 0,
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
    model, device
        As for `zcolor.colorize`.
    settings
        How; the fields are the other parameters of `zcolor.colorize`.
    quality
        Of JPEG, WebP and AVIF files: 1 to 100.
    max_pixels
        Pictures with more pixels than this fail.
    jobs
        Photos at a time; 0 takes one per core. Memory grows with it, by about 0.35 GB each at
        most, but not with the number of files.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The report; after Ctrl-C too, for what was done until then.

    Raises
    ------
    ValueError
        For options that make no sense, no sources, or several sources with a file as `out`.
    FileNotFoundError
        If the model's file is not there.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must lie in 1..100, got {quality}")
    if jobs < 0:
        raise ValueError(f"jobs must be 0 (one per core) or more, got {jobs}")
    plan, failed = _plan([Path(source) for source in sources], None if out is None else Path(out))
    colorizer = Colorizer(model, device=device)
    chains = _chains(plan)
    lanes = Lanes(min(jobs or os.cpu_count() or 1, max(1, len(chains))))
    worker = _Worker(colorizer, settings, overwrite, quality, max_pixels, plan, lanes)
    with tqdm(
        total=len(plan), desc="colouring", unit="photo", disable=None if progress else True
    ) as bar:
        try:
            lanes.each(worker.color_chain, chains, lambda chain: bar.update(len(chain)))
        except KeyboardInterrupt:
            logger.debug("interrupted")
    return worker.report(failed)


class _Worker:
    """Colours jobs, in several threads at once, and remembers what became of them."""

    def __init__(
        self,
        colorizer: Colorizer,
        settings: ColorizeSettings,
        overwrite: bool,  # noqa: FBT001 (called in one place)
        quality: int,
        max_pixels: int,
        jobs: Sequence[_Job],
        lanes: Lanes,
    ) -> None:
        self.colorizer, self.settings = colorizer, settings
        self.overwrite, self.quality, self.max_pixels = overwrite, quality, max_pixels
        self.jobs, self.lanes = jobs, lanes
        self.originals = {job.source.resolve() for job in jobs}
        self.taken: dict[Path, Path] = {}
        self.done: dict[_Job, Path] = {}
        self.skipped: dict[_Job, str] = {}
        self.failed: dict[_Job, str] = {}

    def color_chain(self, chain: Sequence[_Job]) -> None:
        """Colour pictures that may ask for the same name, one after the other."""
        for job in chain:
            try:
                self.done[job] = self.color(job)
            except _Skip as reason:
                self.skipped[job] = str(reason)
            except _ONE_BAD_FILE as error:
                logger.debug("failed: %s", job.source, exc_info=True)
                self.failed[job] = str(error) or type(error).__name__

    def report(self, failed: Sequence[tuple[Path, str]]) -> FolderReport:
        """Tell what became of the jobs, in their order, after what had failed before."""
        n_seen = len(self.done) + len(self.skipped) + len(self.failed)
        return FolderReport(
            done=tuple(self.done[job] for job in self.jobs if job in self.done),
            skipped=tuple((j.source, self.skipped[j]) for j in self.jobs if j in self.skipped),
            failed=(
                *failed,
                *((j.source, self.failed[j]) for j in self.jobs if j in self.failed),
            ),
            waiting=len(self.jobs) - n_seen,
        )

    def color(self, job: _Job) -> Path:
        """Colour one picture and return the path that was written."""
        self.lanes.check()
        self._check_free(job.source, job.target)  # before the work of reading
        with self.lanes.hold(_n_pixels(job.source)):
            target, pixels, metadata = self._colored(job)
            self.lanes.check()
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, pixels, metadata=metadata, quality=self.quality)
        self.taken[target.resolve()] = job.source
        return target

    def _colored(self, job: _Job) -> tuple[Path, AnyArray, Metadata]:
        """Give the coloured pixels, and where they belong."""
        target, settings = job.target, self.settings
        photo = read_photo(job.source, max_pixels=self.max_pixels)
        named = format_for(target)
        if color_format(named, alpha=photo.has_alpha) != named:
            if job.chosen:
                raise ValueError(
                    f"{named} cannot hold the transparency of this picture; "
                    "end the name of the output in .png"
                )
            target = target.with_suffix(".png")
            self._check_free(job.source, target)
        self.lanes.check()
        ab = self.colorizer.predict_ab(photo, settings)
        self.lanes.check()
        pixels = photo.render(
            ab, upsample=settings.upsample, saturation=settings.saturation, in_place=True
        )
        return target, pixels, photo.metadata

    def _check_free(self, source: Path, target: Path) -> None:
        place = target.resolve()
        if place in self.originals:
            raise ValueError(
                f"{target} is one of the originals, which are never replaced; choose another output"
            )
        if place in self.taken:
            raise ValueError(
                f"{target} has just been made of {self.taken[place]}; rename {source.name} or "
                "colour it alone"
            )
        if target.exists() and not self.overwrite:
            raise _Skip(f"{target} exists")


def _n_pixels(source: Path) -> int:
    """Tell how much room a picture takes; one that cannot be read says so when it is read."""
    try:
        width, height = image_size(source)
    except (OSError, ImageReadError):
        return 0
    return width * height


def _chains(jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Put jobs together whose results could get the same name: the first one decides.

    The ending may still change, and some file systems take "A" for "a".
    """
    chains: dict[str, list[_Job]] = {}
    for job in jobs:
        chains.setdefault(str(job.target.resolve().with_suffix("")).casefold(), []).append(job)
    return list(chains.values())


def _plan(sources: Sequence[Path], out: Path | None) -> tuple[list[_Job], list[tuple[Path, str]]]:
    """List the pictures with the names of their results, and what is wrong with the sources."""
    if not sources:
        raise ValueError("there is nothing to colour; name image files or folders")
    if out is not None and not _is_folder(out, sources):
        if len(sources) > 1:
            raise ValueError(
                f"{len(sources)} sources cannot go into the one file {out}; name a folder"
            )
        format_for(out)  # refuses an ending that cannot hold colour
        if sources[0].is_file():
            return [_Job(sources[0], out, chosen=True)], []
    jobs: list[_Job] = []
    failed: list[tuple[Path, str]] = []
    for source in sources:
        if source.is_dir():
            root = None
            if out is not None:
                root = out if len(sources) == 1 else out / source.resolve().name
            found = [
                _Job(path, _target(path, None if root is None else root / path.relative_to(source)))
                for path in _pictures(source, out, failed)
            ]
            jobs += found
            if not found:
                failed.append((source, "there are no pictures in this folder; check its name"))
        elif source.is_file():
            jobs.append(_Job(source, _target(source, None if out is None else out / source.name)))
        else:
            failed.append((source, "there is no such file or folder; check the path"))
    return jobs, failed


def _is_folder(out: Path, sources: Sequence[Path]) -> bool:
    """Whether `out` means a folder: it is one, or has no ending, or is to hold a folder."""
    return out.is_dir() or not out.suffix or any(source.is_dir() for source in sources)


def _pictures(folder: Path, out: Path | None, failed: list[tuple[Path, str]]) -> Iterator[Path]:
    """Walk a folder in the order of names, past hidden files, earlier results and `out`."""
    avoid = None if out is None else out.resolve()

    def note(error: OSError) -> None:
        failed.append((Path(error.filename), f"cannot be opened ({error.strerror})"))

    for root, folders, names in os.walk(folder, onerror=note):
        here = Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != avoid
        )
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if not path.stem.endswith(MARK):
                yield path


def _target(source: Path, mirrored: Path | None) -> Path:
    """Name the result: NAME-color.EXT beside the source, or the mirrored name."""
    target = mirrored or source.with_stem(source.stem + MARK)
    try:
        format_for(target)
    except ValueError:  # a format without colour
        return target.with_suffix(".png")
    return target
