"""A film on its way from one container to another: a new picture, all else copied as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from zcolor.apps.film import Upright, picture_track, reason

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# Tracks that are copied as they are.
_COPIED = ("audio", "subtitle")
# Containers whose header states the duration exactly, so that less means that the file is cut off.
_EXACT_DURATION = frozenset({"mov", "mp4", "matroska", "webm"})
# A file counts as cut off if this much, and more than the longest frame, is missing at its end.
_MISSING_SECONDS = 0.5
# FFmpeg's clock for whole files, in ticks per second (AV_TIME_BASE).
_TICKS = 1_000_000
# Rate of films that state none, in frames per second (FFmpeg's own default).
_DEFAULT_RATE = 25


class FilmCopy:
    """Writes the tracks of a film into a new container, nothing of which knows of colour.

    Parameters
    ----------
    given, made
        The film, and the container to fill.
    source, target
        Their names, for messages.
    upright
        What `look` gave.
    crf
        Constant rate factor of x264.

    Attributes
    ----------
    pixel_format : str
        Of the new picture: yuv420p, or yuv444p where a side is odd.
    n_frames : int
        Frames written so far.
    left_out : tuple of str
        Tracks that are not copied.

    Raises
    ------
    ValueError
        If the film has no moving picture, or tracks that the new container cannot hold.
    """

    def __init__(
        self,
        given: InputContainer,
        made: OutputContainer,
        *,
        source: Path,
        target: Path,
        upright: Upright,
        crf: int,
    ) -> None:
        self._given, self._made, self._source, self._target = given, made, source, target
        self._video = picture_track(given, source)
        # As the header has it: the track takes the size of the frame that it decoded last.
        self._size = self._video.width, self._video.height
        made.metadata.update(given.metadata)
        made.set_chapters(given.chapters())
        self._new_video = self._add_video(upright, crf)
        self.pixel_format = self._new_video.pix_fmt or ""
        self._copies = {
            stream.index: self._add_copy(stream)
            for stream in given.streams
            if stream.type in _COPIED
        }
        self.left_out = tuple(
            f"{stream.type} track {stream.index}"
            for stream in given.streams
            if stream.index not in self._copies and stream.index != self._video.index
        )
        self.n_frames = 0
        self._last_pts: int | None = None
        self._longest = 0  # frame so far, in ticks of the picture
        self._end = 0.0  # of what was read, in seconds
        # Broadcasts count their time from anywhere; in other films a late start is meant.
        self._start = (given.start_time or 0) if _starts_anywhere(given) else 0

    @property
    def expected_frames(self) -> int | None:
        """How many frames the header promises, if it does."""
        rate = self._video.average_rate
        if self._video.frames or not (self._given.duration and rate):
            return self._video.frames or None
        return round(self._given.duration / _TICKS * rate)

    def run(self, paint: Callable[[VideoFrame], VideoFrame]) -> Iterator[int]:
        """Copy the film.

        Parameters
        ----------
        paint
            Gives the new picture of a frame, in `pixel_format` and of the upright size.

        Yields
        ------
        How many frames are written, after each of them.

        Raises
        ------
        ValueError
            If the film is broken or cut off, changes its size, or has tracks that the new
            container cannot hold.
        """
        from av import FFmpegError

        try:
            self._made.start_encoding()
        except (FFmpegError, ValueError) as error:
            raise self._unfit(error) from error
        for packet in self._packets():
            copied = self._copies.get(packet.stream.index)
            if packet.stream.index == self._video.index:
                for frame in self._decoded(packet):
                    self._check_frame(frame)
                    painted = paint(frame)
                    painted.time_base = self._video.time_base
                    painted.pts, painted.duration = self._time(frame), frame.duration
                    self._made.mux(self._new_video.encode(painted))
                    self.n_frames += 1
                    yield self.n_frames
            elif copied is not None and packet.size:
                offset = self._offset(packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts - offset
                packet.dts = None if packet.dts is None else packet.dts - offset
                packet.stream = copied
                self._made.mux(packet)
        self._made.mux(self._new_video.encode(None))
        self._check_complete()

    def _add_video(self, upright: Upright, crf: int) -> VideoStream:
        from av.codec.context import Flags
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        video = self._video
        width, height, aspect = video.width, video.height, video.sample_aspect_ratio
        if upright.transpose:
            width, height, aspect = height, width, 1 / aspect if aspect else None
        new = self._made.add_stream(
            "libx264",
            rate=video.average_rate or video.guessed_rate or _DEFAULT_RATE,
            options={"crf": str(crf)},
            width=width,
            height=height,
            # The colour of yuv420p is stored for squares of 2 x 2 pixels.
            pix_fmt="yuv420p" if width % 2 == height % 2 == 0 else "yuv444p",
            time_base=video.time_base,
        )
        context = new.codec_context
        context.flags |= Flags.frame_duration
        if aspect:
            context.sample_aspect_ratio = aspect
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        return new

    def _add_copy(self, stream: Stream) -> Stream:
        codec = stream.codec_context.name
        if self._made.format.name == "mp4" and codec.startswith("pcm_"):
            # FFmpeg may refuse it as late as at the end of the film, and few players know it.
            raise self._unfit(ValueError("PCM does not belong into MP4"))
        try:
            copy = self._made.add_stream_from_template(stream)
        except ValueError as error:
            raise self._unfit(error) from error
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        return copy

    def _packets(self) -> Iterator[Packet[Stream]]:
        """Read the file to its end, where an empty packet for each track flushes its decoder."""
        from av import FFmpegError

        tracks = [self._video, *(self._given.streams[index] for index in self._copies)]
        packets = self._given.demux(tracks)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                raise self._broken(error) from error
            if packet is None:
                return
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._end = max(self._end, end)
            yield packet

    def _decoded(self, packet: Packet[Stream]) -> list[VideoFrame]:
        from av import FFmpegError

        try:
            return self._video.decode(packet)
        except FFmpegError as error:
            raise self._broken(error) from error

    def _check_frame(self, frame: VideoFrame) -> None:
        width, height = self._size
        if (frame.width, frame.height) != self._size:
            raise ValueError(
                f"{self._source} changes from {width} x {height} to {frame.width} x "
                f"{frame.height} pixels after {self.n_frames} frames, and one track has one size; "
                "cut it there and colour the parts"
            )
        if frame.interlaced_frame and not self.n_frames:
            logger.warning(
                "%s is interlaced: colours may show combs; deinterlace it first", self._source
            )

    def _time(self, frame: VideoFrame) -> int:
        """The time of a frame in ticks of its track; one without comes a frame after the last."""
        base = self._video.time_base or Fraction(1, _DEFAULT_RATE)
        last, pts = self._last_pts, frame.pts if frame.pts is not None else frame.dts
        if pts is not None:
            pts -= self._offset(base)
        elif last is not None:
            pts = last + round(1 / (base * (self._video.average_rate or _DEFAULT_RATE)))
        # No two frames are at one time.
        pts = pts or 0
        if last is not None:
            pts = max(pts, last + 1)
            self._longest = max(self._longest, pts - last)
        self._last_pts = pts
        return pts

    def _offset(self, base: Fraction) -> int:
        return round(Fraction(self._start, _TICKS) / base)

    def _check_complete(self) -> None:
        """Refuse a film that ends before its header says, or has no frames at all."""
        said = (self._given.duration or 0) / _TICKS
        exact = not _EXACT_DURATION.isdisjoint(self._given.format.name.split(","))
        missing = said - (self._end - (self._given.start_time or 0) / _TICKS)
        allowed = max(_MISSING_SECONDS, float(self._longest * (self._video.time_base or 0)))
        if not self.n_frames or (exact and missing > allowed):
            raise ValueError(
                f"{self._source} is cut off: it ends at {max(0.0, said - missing):.1f} s of "
                f"{said:.1f} s; copy it again from where it came from"
            )

    def _broken(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self._source} is broken at {self._end:.1f} s, after {self.n_frames} frames "
            f"({reason(error)}); copy it again, or let FFmpeg make of it what it can: "
            "ffmpeg -err_detect ignore_err -i FILE -crf 0 REPAIRED.mkv"
        )

    def _unfit(self, error: Exception) -> ValueError:
        tracks = [
            f"{stream.type} {stream.codec_context.name}"
            for stream in self._given.streams
            if stream.type in _COPIED
        ]
        cure = "end the name of the output in .mkv, which holds nearly everything"
        if self._target.suffix.lower() == ".mkv":
            cure = "the film may be cut off; copy it again from where it came from"
        return ValueError(
            f"{self._target.suffix} cannot hold the sound and subtitles of {self._source} as they "
            f"are ({', '.join(tracks) or 'there are none'}: {reason(error)}); {cure}"
        )


def _starts_anywhere(given: InputContainer) -> bool:
    from av.format import Flags

    flags = Flags(given.format.flags)
    return Flags.ts_discont in flags
