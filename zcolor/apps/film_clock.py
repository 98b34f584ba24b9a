"""The time of a film on its way into another container: where it begins, jumps and should end."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Containers whose header states the duration exactly, so that less means that the file is cut off.
_EXACT_DURATION = frozenset({"mov", "mp4", "matroska", "webm"})
# Of these, those whose duration counts from time 0 and not from the start of the film.
_FROM_ZERO = frozenset({"matroska", "webm"})
# A file counts as cut off if this much, and more than the longest frame, is missing at its end.
_MISSING_SECONDS = 0.5
# Time stamps waver a little in damaged films; where they fall back by more, films were joined.
_JUMP_SECONDS = 0.5
# FFmpeg's clock for whole files, in ticks per second (AV_TIME_BASE).
_TICKS = 1_000_000
DEFAULT_RATE = 25
"""Rate of films that state none, in frames per second (FFmpeg's own default)."""


class FilmClock:
    """Gives the times of the new film, and knows where the given one jumps or ends too soon.

    Parameters
    ----------
    given
        The film.
    video
        Its picture.
    copies
        The tracks that are read besides.
    source
        Its name, for messages.

    Attributes
    ----------
    end : float
        Of what was read so far, in seconds.
    """

    def __init__(
        self,
        given: InputContainer,
        video: VideoStream,
        copies: Sequence[Stream],
        source: Path,
    ) -> None:
        self._given, self._video, self._source = given, video, source
        self._tracks = [video, *copies]
        self._reached: dict[int, float] = {}  # by each copied track, in seconds
        self._last_pts: int | None = None
        self._longest = 0  # frame so far, in ticks of the picture
        self.end = 0.0
        # Broadcasts count their time from anywhere; in other films a late start is meant.
        self._start = (given.start_time or 0) if _starts_anywhere(given) else 0

    @property
    def expected_frames(self) -> int | None:
        """How many frames the header promises, if it does."""
        rate = self._video.average_rate
        if self._video.frames or not (self._given.duration and rate):
            return self._video.frames or None
        return round(self._given.duration / _TICKS * rate)

    def read(self, packet: Packet[Stream]) -> None:
        """Take note of a packet.

        Parameters
        ----------
        packet
            The next of the film.

        Raises
        ------
        ValueError
            If the time of its track falls back; that of the picture is looked at by frames.
        """
        base = packet.time_base
        if packet.pts is not None:
            self.end = max(self.end, float((packet.pts + (packet.duration or 0)) * base))
        # Subtitles may stand in any order; frames are coded in another than they are shown in.
        if packet.stream.type == "audio" and packet.dts is not None:
            now = float((packet.dts - self.offset(base)) * base)
            self._check_jump(self._reached.get(packet.stream.index, now), now)
            self._reached[packet.stream.index] = now

    def offset(self, base: Fraction) -> int:
        """Give what is taken off the time stamps of a track.

        Parameters
        ----------
        base
            A tick of the track, in seconds.

        Returns
        -------
        In ticks.
        """
        return round(Fraction(self._start, _TICKS) / base)

    def time_of(self, frame: VideoFrame) -> int:
        """Give the new time of a frame; one without comes a frame after the last.

        Parameters
        ----------
        frame
            The next of the film, as it is shown.

        Returns
        -------
        In ticks of its track.

        Raises
        ------
        ValueError
            If time falls back.
        """
        base = self._video.time_base or Fraction(1, DEFAULT_RATE)
        last, pts = self._last_pts, frame.pts if frame.pts is not None else frame.dts
        if pts is not None:
            pts -= self.offset(base)
        elif last is not None:
            pts = last + round(1 / (base * (self._video.average_rate or DEFAULT_RATE)))
        pts = pts or 0
        if last is not None:
            self._check_jump(float(last * base), float(pts * base))
            pts = max(pts, last + 1)  # no two frames are at one time
            self._longest = max(self._longest, pts - last)
        self._last_pts = pts
        return pts

    def check_complete(self, n_frames: int) -> None:
        """Refuse a film that ends before its header says, or has no frames at all.

        Parameters
        ----------
        n_frames
            How many it had.

        Raises
        ------
        ValueError
            If it is cut off.
        """
        said = self._said_end()
        allowed = max(_MISSING_SECONDS, float(self._longest * (self._video.time_base or 0)))
        if not n_frames or (said is not None and said - self.end > allowed):
            start = (self._given.start_time or 0) / _TICKS
            said = max(self.end if said is None else said, start)
            raise ValueError(
                f"{self._source} is cut off: it ends at {max(0.0, self.end - start):.1f} s of "
                f"{said - start:.1f} s; copy it again from where it came from"
            )

    def _said_end(self) -> float | None:
        """When the tracks that are read end by the header, in seconds; None if it does not say."""
        names = set(self._given.format.name.split(","))
        if names.isdisjoint(_EXACT_DURATION) or self._given.duration is None:
            return None
        start = 0 if names & _FROM_ZERO else self._given.start_time or 0
        whole = (start + self._given.duration) / _TICKS
        if all(track.duration for track in self._tracks):
            return min(whole, max(_end_of(track) for track in self._tracks))
        # The longest track may be one that is left out.
        return whole if len(self._tracks) == _n_in_time(self._given) else None

    def _check_jump(self, last: float, now: float) -> None:
        if last - now > _JUMP_SECONDS:
            raise ValueError(
                f"{self._source}: time falls back from {last:.1f} s to {now:.1f} s, as where "
                "recordings are joined; let FFmpeg join them in time and colour what it makes: "
                "ffmpeg -i FILE -c copy JOINED.mkv"
            )


def _starts_anywhere(given: InputContainer) -> bool:
    from av.format import Flags

    flags = Flags(given.format.flags)
    return Flags.ts_discont in flags


def _end_of(track: Stream) -> float:
    """When a track ends by the header, in seconds."""
    ticks = (track.start_time or 0) + (track.duration or 0)
    return float(ticks * (track.time_base or 0))


def _n_in_time(given: InputContainer) -> int:
    """Count the tracks that have a duration: all but covers and attached files."""
    from av.stream import Disposition

    return sum(
        stream.type != "attachment" and not stream.disposition & Disposition.attached_pic
        for stream in given.streams
    )
