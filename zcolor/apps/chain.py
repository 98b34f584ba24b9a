"""Colouring one picture after the other: from a job of the plan to the file that is written."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from PIL import Image

from zcolor.apps.folder_report import Outcome, PhotoResult
from zcolor.apps.pipeline import Lanes
from zcolor.apps.plan import Job, Places, real_path
from zcolor.apps.remote import RemoteFolder
from zcolor.apps.sheets import draw_sheet, panel_of
from zcolor.arrays import AnyArray
from zcolor.colorizer import Colorizer
from zcolor.files import image_size, write_image
from zcolor.formats import color_format, format_for
from zcolor.metadata import Metadata
from zcolor.photo import read_photo
from zcolor.readers import ImageReadError
from zcolor.settings import ColorizeSettings

logger = logging.getLogger(__name__)

# What reading, colouring and writing one picture may raise without saying anything about the next.
# cv2.error: of memory that OpenCV does not get, too.
_ONE_BAD_FILE = (OSError, ValueError, TypeError, RuntimeError, MemoryError, cv2.error)


class _Skip(Exception):  # noqa: N818 (no error: a reason)
    """A picture that is left alone; the message says why."""


class _DoneBefore(Exception):  # noqa: N818
    """A picture whose result is there already."""


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
