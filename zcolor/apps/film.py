"""Films as files, read and written by PyAV (FFmpeg): open, create, and how frames are turned."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from zcolor.extras import install_command

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

Rgb8 = npt.NDArray[np.uint8]

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Endings of films that can be written, and FFmpeg's name for what they stand for."""


@dataclass(frozen=True)
class Upright:
    """How stored frames become upright: the eight ways in which a camera can be held."""

    transpose: bool = False
    """Whether rows become columns, before all else."""
    flip_x: bool = False
    """Whether left and right change places."""
    flip_y: bool = False
    """Whether top and bottom change places."""

    def __call__(self, rgb: Rgb8) -> Rgb8:
        """Turn a stored frame.

        Parameters
        ----------
        rgb
            (h, w, c), any colours.

        Returns
        -------
        (h, w, c), or (w, h, c) where it was transposed; contiguous.

        Examples
        --------
        >>> Upright(flip_x=True)(np.array([[[1], [2]]], np.uint8)).ravel().tolist()
        [2, 1]
        """
        if self.transpose:
            rgb = rgb.transpose(1, 0, 2)
        return np.ascontiguousarray(rgb[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


# These decoders hand on colour profiles as side data, at which PyAV 18 crashes: the side data is
# then looked at only where there is a rotation in it.
_WITH_PROFILES = ("apng", "av1", "jpegxl", "libdav1d", "mjpeg", "png", "tiff", "webp")


# Of pictures and sequences of pictures in the container of MP4: AVIF and HEIF (ISO/IEC 23008-12).
_PICTURE_BRANDS = frozenset({
    "avif", "avis", "heic", "heim", "heis", "heix", "hevc", "hevm", "hevs", "hevx", "mif1", "msf1",
})  # fmt: skip


def check_av() -> None:
    """Raise an ImportError that names the extra, if PyAV is not installed."""
    try:
        import av  # noqa: F401 (whether it is there)
    except ImportError as error:
        raise ImportError(f"films need PyAV: {install_command('video')}") from error


@contextmanager
def opened(source: Path) -> Iterator[InputContainer]:
    """Open a film for reading.

    Parameters
    ----------
    source
        The file.

    Yields
    ------
    PyAV's container.

    Raises
    ------
    ValueError
        If it is none that FFmpeg knows, or has lost its index.
    """
    import av

    try:
        given = av.open(_file_name(source), "r")
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{source} cannot be read as a film ({reason(error)}): it is of another kind, or cut "
            "off; copy it again from where it came from"
        ) from error
    with given:
        yield given


@contextmanager
def created(path: Path, container: str) -> Iterator[OutputContainer]:
    """Open a film for writing; its index is written when all went well.

    Parameters
    ----------
    path
        The file to write.
    container
        FFmpeg's name, one of the values of `CONTAINERS`.

    Yields
    ------
    PyAV's container.
    """
    import av

    # The index goes to the front: players on the web begin before everything has arrived.
    options = {} if container == "matroska" else {"movflags": "+faststart"}
    path.touch()  # FFmpeg opens it late, where a refusal would look like one of the tracks
    made = av.open(_file_name(path), "w", format=container, container_options=options)
    try:
        yield made
    except BaseException:
        try:
            made.close()
        except (av.FFmpegError, ValueError):  # what went wrong before says more
            logger.debug("closing %s", path, exc_info=True)
        raise
    made.close()


def look(source: Path) -> Upright:
    """Decode the first frame of a film: how it is turned, and whether it can be read at all.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    How its frames become upright.

    Raises
    ------
    ValueError
        If there is no moving picture, or it cannot be decoded, or is shown at a slant.
    """
    from av import FFmpegError

    with opened(source) as given:
        video = picture_track(given, source)
        if _is_picture(given, video):
            raise ValueError(f"{source} is a picture, no film; use `zcolor colorize {source}`")
        try:
            frame = next(given.decode(video), None)
        except FFmpegError as error:
            raise ValueError(
                f"{source} is broken: its first frame cannot be decoded ({reason(error)}); "
                "copy it again from where it came from"
            ) from error
        if frame is None:
            raise ValueError(f"{source} is cut off: it has no frames; copy it again")
        if video.codec_context.name in _WITH_PROFILES and not frame.rotation:
            return Upright()
        return _upright(frame, source)


def picture_track(given: InputContainer, source: Path) -> VideoStream:
    """Find the track with the moving picture; the cover of a sound file is none.

    Parameters
    ----------
    given
        An open film.
    source
        Its name, for messages.

    Returns
    -------
    PyAV's stream, the first that is a picture and no cover; of an animated picture the longest.

    Raises
    ------
    ValueError
        If there is none.
    """
    from av.stream import Disposition

    found = [s for s in given.streams.video if not s.disposition & Disposition.attached_pic]
    if found and _brand(given) in _PICTURE_BRANDS:  # a still comes before the sequence
        return max(found, key=lambda stream: stream.frames)
    if found:
        return found[0]
    tracks = ", ".join(stream.type for stream in given.streams) or "none"
    raise ValueError(f"{source} has no moving picture (its tracks: {tracks}); name a film")


def _is_picture(given: InputContainer, video: VideoStream) -> bool:
    """Tell pictures, which FFmpeg reads too, from films; an animated one is a film."""
    name = given.format.name
    if name == "gif" or _brand(given) in _PICTURE_BRANDS:
        return video.frames <= 1
    return name in ("image2", "ico") or name.endswith("_pipe")


def _brand(given: InputContainer) -> str:
    """Give the brand of MP4 and its relatives; other formats have none."""
    return given.metadata.get("major_brand", "") if "mp4" in given.format.name.split(",") else ""


def _file_name(path: Path) -> str:
    """Give a name that FFmpeg takes for that of a file, as it does not for "12:30.mp4"."""
    return str(path.absolute())


def _upright(frame: VideoFrame, source: Path) -> Upright:
    """Read the display matrix: FFmpeg's libavutil/display.h, nine numbers in 16.16 fixed point."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Upright()
    # Stored (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(cast(Any, data), np.int32)[:5].tolist()
    if b == c == 0:
        return Upright(flip_x=a < 0, flip_y=d < 0)
    if a == d == 0:
        return Upright(transpose=True, flip_x=c < 0, flip_y=b < 0)
    raise ValueError(
        f"{source} is shown turned by {frame.rotation} degrees, which is no multiple of 90; turn "
        "its frames first (ffmpeg -i FILE TURNED.mp4)"
    )


def reason(error: Exception) -> str:
    """Give FFmpeg's own words for an error, without the path that PyAV adds.

    Parameters
    ----------
    error
        What was raised.

    Returns
    -------
    One line.

    Examples
    --------
    >>> reason(OSError(28, "No space left on device", "/tmp/.zcolor-0.part"))
    'No space left on device'
    """
    return getattr(error, "strerror", None) or str(error)
