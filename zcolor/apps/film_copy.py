"""A film on its way from one container to another: a new picture, all else copied as it is."""

from __future__ import annotations

import errno
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zcolor.apps.film import Upright, picture_track, reason
from zcolor.apps.film_clock import DEFAULT_RATE, FilmClock

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# Tracks that are copied as they are.
_COPIED = ("audio", "subtitle")
# Packets of a sound that are kept before its start: AAC needs one or two to begin as it should.
_RUN_IN = 2
# What of a picture's tags belongs to its old packets, or is made anew.
_OWN_TAGS = re.compile(
    r"alpha_mode|bps|duration|encoder|number_of_|rotate|_statistics|timecode|vendor_id",
    re.IGNORECASE,
)
# What helps where Matroska has no place for a track.
_OTHER_CONTAINER = "end the name of the output in .mp4 or .mov, or take that track out first"


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
        self._warned = False  # of missing parts
        self._clock = FilmClock(
            given, self._video, [given.streams[i] for i in self._copies], source
        )
        # Packets before the start of each copied track; None where it has begun.
        self._run_in: dict[int, deque[Packet[Stream]] | None] = {
            index: deque(maxlen=_RUN_IN) for index in self._copies
        }

    @property
    def expected_frames(self) -> int | None:
        """How many frames the header promises, if it does."""
        return self._clock.expected_frames

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
            cure = "the film may be cut off; copy it again from where it came from"
            raise self._unfit(error, cure) from error
        for packet in self._packets():
            if packet.stream.index == self._video.index:
                for frame in self._decoded(packet):
                    self._check_frame(frame)
                    painted = paint(frame)
                    painted.time_base = self._video.time_base
                    painted.pts, painted.duration = self._clock.time_of(frame), frame.duration
                    self._mux(self._new_video.encode(painted))
                    self.n_frames += 1
                    yield self.n_frames
            elif packet.size:
                self._mux([self._copied(heard) for heard in self._heard(packet)])
        self._mux(self._new_video.encode(None))
        self._clock.check_complete(self.n_frames)

    def _add_video(self, upright: Upright, crf: int) -> VideoStream:
        from av.codec.context import Flags
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        video = self._video
        width, height, aspect = video.width, video.height, video.sample_aspect_ratio
        if upright.transpose:
            width, height, aspect = height, width, 1 / aspect if aspect else None
        new = self._made.add_stream(
            "libx264",
            rate=video.average_rate or video.guessed_rate or DEFAULT_RATE,
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
        tags = {key: text for key, text in _tags(video).items() if not _OWN_TAGS.match(key)}
        new.metadata.update(tags)
        new.disposition = video.disposition
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
        copy.metadata.update(_tags(stream))
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
            self._clock.read(packet)
            yield packet

    def _heard(self, packet: Packet[Stream]) -> list[Packet[Stream]]:
        """Leave out what an edit list cuts away, but for the run-in of the decoder."""
        before = self._run_in[packet.stream.index]
        if packet.is_discard:
            if before is not None:
                before.append(packet)
            return []
        self._run_in[packet.stream.index] = None
        return [*(before or ()), packet]

    def _copied(self, packet: Packet[Stream]) -> Packet[Stream]:
        """Give a packet the time and the track that it has in the new film."""
        offset = self._clock.offset(packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - offset
        packet.dts = None if packet.dts is None else packet.dts - offset
        packet.stream = self._copies[packet.stream.index]
        return packet

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        from av import FFmpegError

        try:
            self._made.mux(packets)
        except FFmpegError as error:
            # Of the system's own errors (a full disk, one that is gone) only this means the film.
            if error.errno in errno.errorcode and error.errno != errno.EINVAL:
                raise
            raise ValueError(
                f"{self._source} cannot be copied any further at {self._clock.end:.1f} s, after "
                f"{self.n_frames} frames ({reason(error)}): its time stamps may be damaged; let "
                "FFmpeg mend them and colour what it makes: ffmpeg -i FILE -c copy MENDED.mkv"
            ) from error

    def _decoded(self, packet: Packet[Stream]) -> list[VideoFrame]:
        from av import FFmpegError

        # No refusal: the counters of a broadcast also jump where whole recordings are joined.
        if packet.is_corrupt and not self._warned:
            self._warned = True
            logger.warning(
                "%s seems to lack a part at %.1f s; look at the result there",
                self._source,
                self._clock.end,
            )
        try:
            return self._video.decode(packet)
        except FFmpegError as error:
            raise self._broken(error) from error

    def _check_frame(self, frame: VideoFrame) -> None:
        if frame.is_corrupt:  # the decoder painted over what is missing
            raise self._broken(ValueError("a frame is damaged"))
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

    def _broken(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self._source} is broken at {self._clock.end:.1f} s, after {self.n_frames} frames "
            f"({reason(error)}); copy it again, or let FFmpeg make of it what it can: "
            "ffmpeg -err_detect ignore_err -i FILE -crf 0 REPAIRED.mkv"
        )

    def _unfit(self, error: Exception, cure: str = _OTHER_CONTAINER) -> ValueError:
        """Say that a track has no place; `cure` is for .mkv, in which nearly everything has."""
        tracks = [
            f"{stream.type} {stream.codec_context.name}"
            for stream in self._given.streams
            if stream.type in _COPIED
        ]
        if self._target.suffix.lower() != ".mkv":
            cure = "end the name of the output in .mkv, which holds nearly everything"
        return ValueError(
            f"{self._target.suffix} cannot hold the sound and subtitles of {self._source} as they "
            f"are ({', '.join(tracks) or 'there are none'}: {reason(error)}); {cure}"
        )


def _tags(stream: Stream) -> dict[str, str]:
    """Give the tags of a track; MP4's title is read as a name, and would be lost under it."""
    tags = dict(stream.metadata)
    return {"title": tags["name"], **tags} if "name" in tags else tags
