"""Colour a film, frame by frame and without flicker: the door behind `zcolor video`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from zcolor.apps.film import CONTAINERS, Upright, check_av, created, look, opened
from zcolor.apps.film_copy import FilmCopy
from zcolor.atomic import check_place, whole_file
from zcolor.colorizer import Colorizer
from zcolor.frame import FilmBars, inside_bars
from zcolor.photo import read_photo
from zcolor.settings import ColorizeSettings
from zcolor.temporal import SMOOTH, TemporalSmoother

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MARK = "-color"
"""What the name of a coloured film beside its original ends in."""
CRF = 18
"""Constant rate factor of x264: taken for visually lossless
(https://trac.ffmpeg.org/wiki/Encode/H.264)."""

_MAX_CRF = 51


@dataclass(frozen=True)
class VideoReport:
    """What became of a film."""

    path: Path
    """The film that was written."""
    n_frames: int
    """Frames coloured."""
    n_scenes: int
    """Scenes that were found; 0 where none were looked for: without smoothing and memory."""
    left_out: tuple[str, ...] = ()
    """Tracks of the original that the result has not: data, attachments, covers, other pictures."""


def color_video(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] = "zhang",
    settings: ColorizeSettings = ColorizeSettings(),
    device: str | torch.device = "auto",
    smooth: float = SMOOTH,
    crf: int = CRF,
    overwrite: bool = False,
    progress: bool = True,
) -> VideoReport:
    """Colour a film.

    Frame rate (every time stamp), size, duration, sound, subtitles, chapters and tags are kept;
    sound and subtitles are copied, not encoded again. Frames stored on their side are turned
    upright. The picture is H.264 in 8 bits, BT.709, as yuv420p; as yuv444p where a side is odd,
    which yuv420p cannot hold. Memory does not grow with the length. The film is written whole or
    not at all: after an error or Ctrl-C nothing is left behind.

    Parameters
    ----------
    source
        A film in any format that FFmpeg reads; colour that it has is ignored.
    out
        The new film, its ending one of `zcolor.apps.film.CONTAINERS`; None: NAME-color.EXT beside
        the source, EXT becoming mkv where the source's cannot be written.
    model, device
        As for `zcolor.colorize`.
    settings
        How; the fields are the other parameters of `zcolor.colorize`.
    smooth
        How much colours are held still along the motion, in [0, 1]; 0 colours each frame by itself
        (`zcolor.temporal.TemporalSmoother`).
    crf
        Constant rate factor of x264: 0 (lossless) to 51 (small and ugly).
    overwrite
        Replace `out` if it exists; the original is never replaced.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The report.

    Raises
    ------
    ValueError
        For options that make no sense, another ending, a file that is no film or is broken, tracks
        that the new container cannot hold, and the original as `out`.
    FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError
        If the source is no file, or `out` exists or lies below a file.
    ImportError
        If PyAV is not installed.
    """
    check_av()
    source = Path(source)
    target = _target(source, None if out is None else Path(out), overwrite=overwrite)
    if not 0 <= crf <= _MAX_CRF:
        raise ValueError(f"crf must lie in 0 (lossless)..{_MAX_CRF}, got {crf}")
    smoother = TemporalSmoother(smooth)
    upright = look(source)
    colorizer = Colorizer(model, device=device)
    colorizer.net = colorizer.net.filming()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        opened(source) as given,
        whole_file(target.absolute()) as temporary,  # as FFmpeg names it in errors
        created(temporary, CONTAINERS[target.suffix.lower()]) as made,
    ):
        copy = FilmCopy(given, made, source=source, target=target, upright=upright, crf=crf)
        bars = FilmBars() if settings.frame == "leave" else None
        painter = _Painter(colorizer, settings, smoother, upright, copy.pixel_format, bars)
        with tqdm(
            total=copy.expected_frames,
            desc="colouring",
            unit="frame",
            disable=None if progress else True,
        ) as bar:
            for _ in copy.run(painter.paint):
                bar.update()
    return VideoReport(target, copy.n_frames, smoother.n_scenes, copy.left_out)


@dataclass(frozen=True)
class _Painter:
    """Colours one frame after the other."""

    colorizer: Colorizer
    settings: ColorizeSettings
    smoother: TemporalSmoother
    upright: Upright
    pixel_format: str
    bars: FilmBars | None
    """The black bars that are left black; None: frames are coloured as a whole."""

    def paint(self, frame: VideoFrame) -> VideoFrame:
        """Give the coloured frame, upright, in BT.709."""
        from av import VideoFrame
        from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation

        # Without these flags libswscale makes greys half a level darker.
        exact = (
            Interpolation.BICUBIC
            | Interpolation.ACCURATE_RND
            | Interpolation.FULL_CHR_H_INT
            | Interpolation.FULL_CHR_H_INP
        )
        given = frame.reformat(
            format="rgb24", src_color_range=frame.color_range, interpolation=exact
        )
        photo = read_photo(self.upright(np.asarray(given.to_ndarray(), np.uint8)))
        if self.bars is not None:
            photo = replace(photo, inside=inside_bars(photo.pixels, self.bars))
        settings, net = self.settings, self.colorizer.net
        with torch.inference_mode():
            size = int(settings.size or net.working_size)
            lightness = photo.lightness(size, self.colorizer.device)
            if net.clip_length > 1:  # it remembers the frames of a scene
                net.begin_frame(new_scene=self.smoother.begins_scene(lightness))
            ab = self.colorizer.predict_ab(photo, settings)
            rgb = photo.render(
                self.smoother(lightness, ab),
                upsample=settings.upsample,
                saturation=settings.saturation,
            )
        colored = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=self.pixel_format,
            dst_colorspace="itu709",
            dst_color_range="MPEG",
            interpolation=exact,
        )
        # Players show the curves of BT.709 and of sRGB alike: the levels stay as they are.
        colored.color_primaries, colored.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return colored


def _target(source: Path, out: Path | None, *, overwrite: bool) -> Path:
    """Name the new film, and refuse names that cannot be."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such file; check the path")
    if source.is_dir():
        raise IsADirectoryError(f"{source} is a folder; name the films in it one by one")
    if out is None:
        out = source.with_stem(source.stem + MARK)
        if out.suffix.lower() not in CONTAINERS:
            out = out.with_suffix(".mkv")
    elif out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; name the new film, such as {out / 'film.mp4'}")
    if out.suffix.lower() not in CONTAINERS:
        raise ValueError(
            f"{out} cannot be written: its ending must be one of {', '.join(CONTAINERS)}"
        )
    check_place(out, "the film")
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out} is the original, which is never replaced; choose another output")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another name, or overwrite it (--overwrite)")
    return out
