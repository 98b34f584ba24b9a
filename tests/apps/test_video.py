"""Films in, films out: what must be the same afterwards is, and what cannot be is said."""

import signal
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import Interpolation
from PIL import Image
from skimage import data
from torch import nn

from tests.clips import Layer, scene, write_film
from zcolor.apps import video
from zcolor.apps.film_copy import FilmCopy
from zcolor.apps.video import color_video
from zcolor.colorizer import Colorizer
from zcolor.icc import srgb_profile
from zcolor.lab8 import rgb8_to_lab
from zcolor.models.video_fusion import VideoFusion, VideoFusionOptions
from zcolor.registry import save_model
from zcolor.settings import ColorizeSettings
from zcolor.temporal import TemporalSmoother

SIZE = (96, 64)
EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


@pytest.fixture(scope="module")
def pictures():
    """Ten grey frames of a pan over a photograph."""
    pan = [Layer(data.coffee(), x=(0.35, 0.5), scale=(0.25, 0.25))]
    return [frame.grey for frame in scene(pan, 10, SIZE)]


@pytest.fixture
def film(pictures, tmp_path):
    return write_film(tmp_path / "film.mp4", pictures)


@pytest.fixture
def color(weights):
    """`color_video` with the small network."""

    def call(source, out=None, **options):
        return color_video(
            source, out, **{"model": weights, "device": "cpu", "progress": False, **options}
        )

    return call


def frames_of(path):
    with av.open(str(path)) as film:
        return list(film.decode(video=0))


def times_of(path):
    return [Fraction(frame.pts) * frame.time_base for frame in frames_of(path)]


def sound_of(path):
    with av.open(str(path)) as film:
        return [(p.pts * p.time_base, bytes(p)) for p in film.demux(audio=0) if p.size]


def duration_of(path):
    with av.open(str(path)) as film:
        return film.duration


def rgb_of(frame):
    rgb = frame.reformat(
        format="rgb24", src_color_range=frame.color_range, interpolation=EXACT
    ).to_ndarray()
    return np.ascontiguousarray(rgb)


def upright(frame):
    """The frame as a player shows it, by FFmpeg's own filter."""
    graph = av.filter.Graph()
    turns = {0: [], 90: ["cclock"], -90: ["clock"], 180: ["clock", "clock"], -180: ["clock"] * 2}
    source = last = graph.add_buffer(template=None, **_shape(frame))
    for turn in turns[frame.rotation]:
        node = graph.add("transpose", turn)
        last.link_to(node)
        last = node
    sink = graph.add("buffersink")
    last.link_to(sink)
    graph.configure()
    source.push(frame)
    return rgb_of(sink.pull())


def _shape(frame):
    return {
        "width": frame.width,
        "height": frame.height,
        "format": frame.format,
        "time_base": frame.time_base,
    }


def lightness(rgb):
    return rgb8_to_lab(rgb)[..., 0]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- what stays as it was ------------------------------------------------------------------


def test_a_film_with_sound(color, film, tmp_path):
    report = color(film, tmp_path / "out.mp4", crf=4)
    assert report.path == tmp_path / "out.mp4"
    assert (report.n_frames, report.n_scenes, report.left_out) == (10, 1, ())
    assert times_of(report.path) == times_of(film)
    assert duration_of(report.path) == duration_of(film)
    before, after = sound_of(film), sound_of(report.path)
    assert len(before) > 10
    assert after == before
    for given, made in zip(frames_of(film), frames_of(report.path), strict=True):
        assert (made.width, made.height, made.format.name) == (*SIZE, "yuv420p")
        off = lightness(rgb_of(made)) - lightness(rgb_of(given))
        assert abs(off.mean()) < 0.3
        assert np.abs(off).mean() < 1
    colored = rgb8_to_lab(rgb_of(made))[..., 1:]
    assert np.linalg.norm(colored, axis=-1).mean() > 5


def test_colours_are_tagged_and_right(color, film, tmp_path):
    report = color(film, tmp_path / "out.mp4", crf=0, smooth=0)
    with av.open(str(report.path)) as made:
        context = made.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        # ITU-T H.273: 1 is BT.709 for all three; range 1 is 16..235.
        tags = (context.color_primaries, context.color_trc, context.colorspace)
        assert (*tags, context.color_range) == (1, 1, 1, 1)
    given, made = frames_of(film)[4], frames_of(report.path)[4]
    settings = ColorizeSettings()
    alone = Colorizer(_model(color), device="cpu").batch([rgb_of(given)], settings)[0]
    # By the tags alone: BT.709, 16..235 (ITU-R BT.709-6, section 3), written out.
    y, cb, cr = (plane.astype(float) for plane in np.split(made.to_ndarray(format="yuv444p"), 3))
    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    rgb = np.concatenate([y + 1.5748 * cr, y - 0.187324 * cb - 0.468124 * cr, y + 1.8556 * cb])
    expected = np.moveaxis(alone, -1, 0) / 255
    # Colour is stored for 2 x 2 pixels at a time, so that edges differ.
    assert np.abs(rgb - expected).mean() < 0.02
    assert np.abs(rgb.mean(axis=(1, 2)) - expected.mean(axis=(1, 2))).max() < 0.005


def test_black_bars_stay_black_and_the_picture_is_coloured_as_if_they_were_not_there(
    color, pictures, tmp_path
):
    boxed = [np.pad(picture, ((0, 0), (32, 32))) for picture in pictures]
    options = {"codec": "ffv1", "pixel_format": "gray", "options": (), "sound": None}
    film = write_film(tmp_path / "boxed.mkv", [boxed[0] // 30, *boxed], **options)
    report = color(film, tmp_path / "out.mkv", crf=0, smooth=0)
    colorizer = Colorizer(_model(color), device="cpu")
    for made, picture in list(zip(frames_of(report.path)[1:], boxed, strict=True))[::4]:
        rgb = rgb_of(made).astype(int)
        # A line of each bar is looked at too.
        expected = colorizer(np.ascontiguousarray(picture[:, 31:-31]), frame="color")
        assert np.abs(rgb[:, 31:-31] - expected).mean() < 5
        assert np.abs(rgb[:, :30]).max() <= 3
        assert np.abs(rgb[:, -30:]).max() <= 3
    whole = color(
        film, tmp_path / "whole.mkv", crf=0, smooth=0, settings=ColorizeSettings(frame="color")
    )
    other = rgb_of(frames_of(whole.path)[1]).astype(int)[:, 31:-31]
    alone = colorizer(np.ascontiguousarray(boxed[0]), frame="color")[:, 31:-31]
    assert np.abs(other - alone).mean() < 5
    assert np.abs(other - rgb_of(frames_of(report.path)[1])[:, 31:-31]).mean() > 10


def test_bars_do_not_begin_a_scene_with_every_frame(color, pictures, tmp_path):
    random = np.random.default_rng(0)
    boxed = [
        np.pad(picture, ((12, 12), (0, 0))) + random.integers(0, 4, (88, 96), np.uint8)
        for picture in pictures
    ]
    film = write_film(tmp_path / "boxed.mp4", boxed)
    assert color(film, tmp_path / "out.mp4").n_scenes == 1


def _model(color):
    return color.__closure__[0].cell_contents


def test_grey_stays_as_bright_as_it_was(color, pictures, tmp_path):
    film = write_film(
        tmp_path / "grey.mkv", pictures, codec="ffv1", pixel_format="gray", options=(), sound=None
    )
    report = color(film, tmp_path / "out.mkv", crf=0, settings=ColorizeSettings(saturation=0))
    for made, given in zip(frames_of(report.path), pictures, strict=True):
        off = rgb_of(made).astype(int) - given[..., None]
        assert np.abs(off).max() <= 2
        assert abs(off.mean()) < 0.2


def test_variable_frame_rate(color, pictures, tmp_path):
    times = [0, 7, 8, 50, 51, 52, 110, 200, 201, 333]
    film = write_film(tmp_path / "vfr.mp4", pictures, times=times, time_base=Fraction(1, 90))
    report = color(film, tmp_path / "out.mp4")
    assert times_of(report.path) == [Fraction(time, 90) for time in times]
    assert times_of(report.path) == times_of(film)
    assert duration_of(report.path) == duration_of(film)


@pytest.mark.parametrize(
    ("ending", "start", "sound"), [("mp4", 13, "aac"), ("mp4", 50, None), ("mkv", 50, None)]
)
def test_a_late_start_stays_late(color, pictures, tmp_path, ending, start, sound):
    times = range(start, start + 10)
    film = write_film(tmp_path / f"late.{ending}", pictures, times=times, sound=sound)
    report = color(film, tmp_path / f"out.{ending}")
    assert times_of(report.path) == times_of(film)
    assert times_of(film)[0] == Fraction(start, 25)


def test_broadcasts_begin_at_zero(color, pictures, tmp_path):
    film = write_film(tmp_path / "cast.ts", pictures, sound="mp2")
    report = color(film, tmp_path / "out.mp4")
    before, after = times_of(film), times_of(report.path)
    with av.open(str(film)) as given:
        start = Fraction(given.start_time, 1_000_000)
    assert start > 0
    expected = [float(t - start) for t in before]
    np.testing.assert_allclose([float(t) for t in after], expected, atol=1e-4)  # ticks of 1/90000
    assert [packet for _, packet in sound_of(report.path)] == [p for _, p in sound_of(film)]


@pytest.mark.parametrize("ending", ["mkv", "mov"])
def test_other_containers(color, film, tmp_path, ending):
    report = color(film, tmp_path / f"out.{ending}")
    # Where sound begins before 0, Matroska lets all tracks begin later; and it counts milliseconds.
    before, after = times_of(film), times_of(report.path)
    later = after[0] - before[0]
    assert later == (Fraction(21, 1000) if ending == "mkv" else 0)
    for now, then in zip(after, before, strict=True):
        assert abs(now - then - later) <= Fraction(1, 1000)
    for (now, _), (then, _) in zip(sound_of(report.path), sound_of(film), strict=True):
        assert abs(now - then - later) <= Fraction(1, 1000)
    assert [packet for _, packet in sound_of(report.path)] == [p for _, p in sound_of(film)]


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_picture_is_shown_upright(color, pictures, tmp_path, degrees, mirrored):
    film = write_film(tmp_path / "turned.mp4", pictures[:2], turned=(degrees, mirrored))
    report = color(film, tmp_path / "out.mp4", crf=4, settings=ColorizeSettings(saturation=0))
    given, made = frames_of(film)[0], frames_of(report.path)[0]
    assert made.rotation == 0
    assert Type.DISPLAYMATRIX not in {side.type for side in made.side_data}
    if mirrored:  # `av_display_matrix_flip` mirrors after the turn
        matrix = np.frombuffer(given.side_data["DISPLAYMATRIX"], np.int32).reshape(3, 3)
        assert np.linalg.det(matrix[:2, :2] / 65536.0) == -1
        turns = {0: 0, 90: 1, 180: 2, -90: 3}[degrees]
        expected = np.rot90(rgb_of(given), turns)[:, ::-1]
    else:
        expected = upright(given)
    assert rgb_of(made).shape == expected.shape
    assert np.abs(rgb_of(made).astype(int) - expected).mean() < 3


@pytest.mark.parametrize("size", [(95, 63), (95, 64), (96, 63)])
def test_odd_sizes(color, pictures, tmp_path, size):
    cropped = [picture[: size[1], : size[0]].copy() for picture in pictures]
    film = write_film(tmp_path / "odd.mkv", cropped, codec="ffv1", pixel_format="gray", options=())
    report = color(film, tmp_path / "out.mp4", crf=4)
    made = frames_of(report.path)
    assert {(f.width, f.height, f.format.name) for f in made} == {(*size, "yuv444p")}
    off = lightness(rgb_of(made[5])) - lightness(np.stack([cropped[5]] * 3, axis=-1))
    assert np.abs(off).mean() < 1


def test_a_film_that_changes_its_size_is_refused(color, pictures, tmp_path):
    """As when recordings are joined: one track has one size, and squeezed faces help nobody."""
    options = {"codec": "mpeg2video", "options": (("q", "3"),)}
    small = write_film(tmp_path / "a.ts", pictures, sound=None, **options)
    larger = [np.kron(picture, np.ones((2, 2), np.uint8)) for picture in pictures]
    large = write_film(tmp_path / "b.ts", larger, sound=None, **options)
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(
        ValueError, match=r"changes from 96 x 64 to 192 x 128 pixels after \d+ frames"
    ):
        color(tmp_path / "both.ts", tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_pixel_aspect_metadata_and_chapters(color, pictures, tmp_path):
    source = tmp_path / "wide.mkv"
    with av.open(str(source), "w") as film:
        track = film.add_stream("libx264", rate=25, width=SIZE[0], height=SIZE[1])
        track.codec_context.sample_aspect_ratio = Fraction(16, 15)
        film.metadata["title"] = "A walk"
        chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000)}
        film.set_chapters([{**chapter, "metadata": {"title": "one"}}])
        for picture in pictures:
            film.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        film.mux(track.encode(None))
    report = color(source, tmp_path / "out.mkv")
    with av.open(str(report.path)) as made:
        assert made.streams.video[0].sample_aspect_ratio == Fraction(16, 15)
        assert made.metadata["title"] == "A walk"
        assert [chapter["metadata"]["title"] for chapter in made.chapters()] == ["one"]


def test_what_an_edit_list_cuts_away_stays_unheard(color, pictures, tmp_path):
    whole = write_film(tmp_path / "whole.mp4", pictures * 3)
    source, cut = tmp_path / "cut.mp4", 0.62
    options = {"avoid_negative_ts": "disabled"}  # what lies before 0 is cut away by the header
    with av.open(str(whole)) as given, av.open(str(source), "w", container_options=options) as film:
        tracks = [film.add_stream_from_template(track) for track in given.streams]
        for packet in given.demux():
            if packet.size:
                before = round(cut / packet.time_base)
                packet.pts, packet.dts = packet.pts - before, packet.dts - before
                packet.stream = tracks[packet.stream.index]
                film.mux(packet)
    with av.open(str(source)) as film:
        assert sum(packet.is_discard for packet in film.demux(audio=0)) > 20
    report = color(source, tmp_path / "out.mkv")
    assert report.n_frames == len(frames_of(source))
    assert 0 <= float(times_of(report.path)[0] - sound_of(report.path)[0][0]) < 0.1
    assert duration_of(report.path) / 1e6 == pytest.approx(duration_of(source) / 1e6, abs=0.1)


def two_tracks(path, pictures):
    """A German film of ten frames, and another picture of twenty."""
    with av.open(str(path), "w") as film:
        tracks = [
            film.add_stream("libx264", rate=25, width=SIZE[0], height=SIZE[1]) for _ in range(2)
        ]
        tracks[0].metadata.update({"language": "ger", "title": "As it was shown"})
        tracks[1].disposition, tracks[0].disposition = Disposition.default, Disposition.original
        for track, frames in zip(tracks, (pictures, pictures * 4), strict=True):
            for picture in frames:
                film.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
            film.mux(track.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_longer_track_that_is_left_out(color, pictures, tmp_path, ending):
    report = color(two_tracks(tmp_path / f"two.{ending}", pictures), tmp_path / f"out.{ending}")
    assert (report.n_frames, report.left_out) == (10, ("video track 1",))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_tags_of_the_picture(color, pictures, tmp_path, ending):
    source = two_tracks(tmp_path / f"two.{ending}", pictures)
    with av.open(str(source)) as film:
        disposition = film.streams.video[0].disposition
    report = color(source, tmp_path / "out.mkv")
    with av.open(str(report.path)) as made:
        (track,) = made.streams
        tags = dict(track.metadata)
        assert (tags["language"], tags["title"]) == ("ger", "As it was shown")
        assert track.disposition == disposition
        # Not taken over: the encoder's own words for the old packets.
        assert tags["DURATION"].startswith("00:00:00.4")


def test_no_ghosts_after_a_cut(color, pictures, tmp_path):
    cut = [Layer(np.ascontiguousarray(data.astronaut()[:, ::-1]), scale=(0.2, 0.25))]
    second = [frame.grey for frame in scene(cut, 6, SIZE)]
    options = {"codec": "ffv1", "pixel_format": "gray", "options": (), "sound": None}
    both = write_film(tmp_path / "both.mkv", [*pictures[:6], *second], **options)
    alone = write_film(tmp_path / "alone.mkv", second, **options)
    report = color(both, tmp_path / "both-color.mkv", crf=0)
    assert report.n_scenes == 2
    for smooth, n_equal in ((0, 1), (TemporalSmoother().smooth, 6)):
        other = color(alone, tmp_path / "other.mkv", crf=0, smooth=smooth, overwrite=True)
        made = [f.to_ndarray() for f in frames_of(report.path)[6:]]
        expected = [f.to_ndarray() for f in frames_of(other.path)]
        for ours, theirs in zip(made[:n_equal], expected[:n_equal]):
            assert np.array_equal(ours, theirs)
    assert not np.array_equal(made[3], frames_of(report.path)[3].to_ndarray())


@pytest.mark.parametrize("average", ["none", "flip"])
def test_a_family_of_films_remembers_a_scene_and_no_other(color, pictures, tmp_path, average):
    torch.manual_seed(0)
    options = VideoFusionOptions(
        frames=3, memory=6, extractor="test_resnet", extractor_weights="random",
        extractor_classes=5, extractor_size=32,
    )  # fmt: skip
    net = VideoFusion(working_size=64, options=options)
    nn.init.normal_(net.decoder[-3].weight, std=0.3)  # colours that differ by more than rounding
    save_model(tmp_path / "net.safetensors", net, {})
    how = {
        "model": tmp_path / "net.safetensors", "smooth": 0, "crf": 0,
        "settings": ColorizeSettings(average=average),
    }  # fmt: skip

    def film(name, frames):
        written = write_film(tmp_path / name, frames, codec="ffv1", pixel_format="gray",
                             options=(), sound=None)  # fmt: skip
        report = color(written, tmp_path / f"color-{name}", **how)
        return report.n_scenes, [f.to_ndarray() for f in frames_of(report.path)]

    other = [Layer(np.ascontiguousarray(data.astronaut()[:, ::-1]), scale=(0.2, 0.25))]
    second = [frame.grey for frame in scene(other, 4, SIZE)]
    n_scenes, both = film("both.mkv", [*pictures[:4], *second])
    assert n_scenes == 2
    _, alone = film("alone.mkv", second)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(both[4:], alone, strict=True))
    _, (single,) = film("single.mkv", second[3:])
    assert not np.array_equal(alone[3], single)
    _, (first,) = film("first.mkv", second[:1])
    assert np.array_equal(alone[0], first)


# ---- names ---------------------------------------------------------------------------------


def test_names_beside_the_original(color, film, pictures, tmp_path):
    assert color(film).path == tmp_path / "film-color.mp4"
    other = write_film(tmp_path / "old.avi", pictures[:3], codec="mjpeg", pixel_format="yuvj420p",
                       options=(), sound=None)  # fmt: skip
    assert color(other).path == tmp_path / "old-color.mkv"


def test_names_with_a_colon_are_no_urls(color, film, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = film.rename(tmp_path / "2024-01-01T12:30.mp4")
    report = color(source.name)
    assert report.path == Path("2024-01-01T12:30-color.mp4")
    color(source.name, "d:1/out.mp4")
    assert sound_of(tmp_path / "d:1" / "out.mp4") == sound_of(source)


def test_folders_are_made(color, film, tmp_path):
    assert color(film, tmp_path / "a" / "b" / "out.mp4").path.is_file()


def test_nothing_is_replaced_unasked(color, film, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"out\.mp4 exists.*--overwrite"):
        color(film, out)
    assert out.read_text() == "mine"
    assert color(film, out, overwrite=True).n_frames == 10
    assert len(frames_of(out)) == 10


def test_the_original_is_never_replaced(color, film, tmp_path):
    link = tmp_path / "link.mp4"
    link.symlink_to(film)
    for out in (film, link):
        with pytest.raises(ValueError, match="is the original"):
            color(film, out, overwrite=True)
    assert len(frames_of(film)) == 10


@pytest.mark.parametrize("name", ["out.webm", "out.gif", "out"])
def test_unknown_containers(color, film, tmp_path, name):
    with pytest.raises(ValueError, match=r"one of \.mp4, \.m4v, \.mov, \.mkv"):
        color(film, tmp_path / name)


# ---- what cannot be ------------------------------------------------------------------------


def test_no_such_file(color, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.mp4: there is no such file"):
        color(tmp_path / "no.mp4")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        color(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crf": 52}, "crf must lie in 0"),
        ({"crf": -1}, "crf must lie in 0"),
        ({"smooth": 1.5}, r"smooth must lie in \[0, 1\]"),
    ],
)
def test_options_that_make_no_sense(color, film, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        color(film, **options)
    assert files(tmp_path) == ["film.mp4"]


def test_text_is_no_film(color, tmp_path):
    (tmp_path / "notes.mp4").write_text("no film at all\n" * 100)
    with pytest.raises(ValueError, match=r"notes\.mp4 cannot be read as a film"):
        color(tmp_path / "notes.mp4")
    assert files(tmp_path) == ["notes.mp4"]


def test_sound_alone_is_no_film(color, tmp_path):
    with av.open(str(tmp_path / "song.mka"), "w", format="matroska") as song:
        track = song.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        track.codec_context.layout = "mono"
        song.mux(track.encode(frame))
    with pytest.raises(ValueError, match=r"no moving picture \(its tracks: audio\)"):
        color(tmp_path / "song.mka")


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("ending", ["mp4", "fast.mp4", "mkv"])
def test_a_film_that_is_cut_off(color, pictures, tmp_path, share, ending):
    options = {"movflags": "+faststart"} if "fast" in ending else {}
    film = write_film(
        tmp_path / f"film.{ending}", pictures * 10, container_options=options, sound=None
    )
    whole = film.read_bytes()
    film.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut off|is broken"):
        color(film, tmp_path / "out.mkv")
    assert files(tmp_path) == [film.name]


@pytest.mark.parametrize("sound", [None, "aac"])
def test_recordings_joined_byte_by_byte(color, pictures, tmp_path, sound):
    """Time begins anew in the middle: half of the frames would come in the time of one."""
    one = write_film(tmp_path / "one.ts", pictures * 2, sound=sound)
    two = tmp_path / "two.ts"
    two.write_bytes(one.read_bytes() * 2)
    one.unlink()
    with pytest.raises(ValueError, match=r"two\.ts: time falls back from 0\.[78].* -c copy"):
        color(two, tmp_path / "out.mkv")
    assert files(tmp_path) == ["two.ts"]


def test_times_that_the_container_refuses(color, film, tmp_path, monkeypatch):
    """Those of the sound waver by less than a jump; Matroska would take them, MP4 does not."""
    copied = FilmCopy._copied

    def wavering(self, packet):
        packet = copied(self, packet)
        if packet.dts > 4000:
            packet.dts = packet.pts = 0
        return packet

    monkeypatch.setattr(FilmCopy, "_copied", wavering)
    with pytest.raises(ValueError, match=r"film\.mp4 cannot be copied any further at 0\.\d s, aft"):
        color(film, tmp_path / "out.mp4")
    assert files(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_damaged_frames_are_not_coloured_as_if_they_were_whole(color, pictures, tmp_path, ending):
    codec = {"codec": "mpeg4", "options": (("q", "3"),)} if ending == "avi" else {}
    film = write_film(tmp_path / f"film.{ending}", pictures * 4, sound=None, **codec)
    with av.open(str(film)) as given:
        packet = [packet for packet in given.demux() if packet.size][25]
    content = bytearray(film.read_bytes())
    start = packet.pos + packet.size // 3
    for place in range(start, min(start + 200, packet.pos + packet.size - 4)):
        content[place] ^= 0x5A
    film.write_bytes(content)
    with pytest.raises(ValueError, match=rf"film\.{ending} is broken at 1\.\d s, after 2\d frames"):
        color(film, tmp_path / "out.mkv")
    assert files(tmp_path) == [film.name]


def test_a_broadcast_that_begins_anywhere_and_one_that_may_lack_a_part(
    color, pictures, tmp_path, caplog
):
    options = {"codec": "mpeg2video", "options": (("g", "12"), ("bf", "2"), ("q", "3"))}
    film = write_film(tmp_path / "film.ts", pictures * 4, sound=None, **options)
    content, n_bytes = bytearray(film.read_bytes()), 188  # of a packet
    film.write_bytes(content[len(content) // n_bytes // 3 * n_bytes :])
    assert 10 < color(film, tmp_path / "out.mkv").n_frames < 40
    assert not caplog.records
    for start in range(len(content) // n_bytes // 2 * n_bytes, len(content), n_bytes):
        content[start + 3] ^= 0x05  # the packets' counter jumps
    film.write_bytes(content)
    assert color(film, tmp_path / "out.mkv", overwrite=True).n_frames == 40
    (record,) = caplog.records
    assert "film.ts seems to lack a part at " in record.getMessage()


def test_long_frames_are_not_taken_for_a_cut(color, pictures, tmp_path):
    film = write_film(tmp_path / "slides.mkv", pictures[:4], times=[0, 75, 150, 225], sound=None)
    assert color(film).n_frames == 4


def test_sound_that_the_container_cannot_hold(color, pictures, tmp_path):
    film = write_film(tmp_path / "film.mkv", pictures, sound="pcm_s16le")
    with pytest.raises(ValueError, match=r"\.mp4 cannot hold .*audio pcm_s16le.*\.mkv"):
        color(film, tmp_path / "out.mp4")
    assert files(tmp_path) == ["film.mkv"]
    assert sound_of(color(film, tmp_path / "out.mkv").path) == sound_of(film)


def test_subtitles_that_matroska_cannot_hold(color, film, tmp_path, monkeypatch):
    def refused(self, stream):
        raise ValueError("matroska does not support mov_text")

    monkeypatch.setattr(av.container.OutputContainer, "add_stream_from_template", refused)
    with pytest.raises(ValueError, match=r"\.mkv cannot hold .*in \.mp4 or \.mov, or take that"):
        color(film, tmp_path / "out.mkv")


def test_without_pyav(color, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "zcolor\[video\]"'):
        color(film)


# ---- in the middle of the work -------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "earlier result"])
def test_interrupt_leaves_nothing_behind(color, film, tmp_path, monkeypatch, before):
    out = tmp_path / "out.mp4"
    if before:
        out.write_text(before)
    seen = []

    def interrupted(self, photo, settings):
        seen.append(files(tmp_path))
        if len(seen) == 4:
            signal.raise_signal(signal.SIGINT)
        return predict(self, photo, settings)

    predict = Colorizer.predict_ab
    monkeypatch.setattr(Colorizer, "predict_ab", interrupted)
    with pytest.raises(KeyboardInterrupt):
        color(film, out, overwrite=True)
    assert any(name.endswith(".part") for name in seen[-1])  # there was something to remove
    assert files(tmp_path) == (["film.mp4", "out.mp4"] if before else ["film.mp4"])
    if before:
        assert out.read_text() == before


def test_errors_leave_nothing_behind(color, film, tmp_path, monkeypatch):
    def broken(self, photo, settings):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Colorizer, "predict_ab", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        color(film, tmp_path / "out.mp4")
    assert files(tmp_path) == ["film.mp4"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts pages as Linux does")
def test_memory_does_not_grow_with_length(color, tmp_path, monkeypatch):
    pan = [Layer(data.coffee(), x=(0.3, 0.6), scale=(0.9, 0.9))]
    pictures = [frame.grey for frame in scene(pan, 10, (320, 240))]
    film = write_film(tmp_path / "long.mp4", pictures * 20, options=(("preset", "ultrafast"),))
    used = []

    def counted(self, frame):
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
        return paint(self, frame)

    paint = video._Painter.paint
    monkeypatch.setattr(video._Painter, "paint", counted)
    color(film)
    assert len(used) == 200
    # 100 frames that were kept would be 23 MB.
    assert max(used[150:]) - max(used[50:75]) < 12e6


@pytest.mark.parametrize(
    "name",
    ["photo.png", "photo.jpg", "photo.webp", "photo.tif", "photo.gif", "photo.avif", "photo.ico"],
)
def test_a_picture_is_no_film(name, tmp_path):
    profile = {} if name == "photo.ico" else {"icc_profile": srgb_profile()}
    Image.fromarray(data.coffee()).save(tmp_path / name, **profile)
    with pytest.raises(ValueError, match=r"is a picture, no film; use `zcolor colorize "):
        color_video(tmp_path / name, device="cpu", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("ending", ["gif", "avif"])
def test_an_animated_picture_is_a_film(color, pictures, tmp_path, ending):
    first, *others = [Image.fromarray(picture) for picture in pictures[:4]]
    source = tmp_path / f"moves.{ending}"
    first.save(source, save_all=True, append_images=others, duration=100)
    assert color(source, tmp_path / "out.mkv").n_frames == 4


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_films_of_pictures(codec, pictures, tmp_path):
    """Every frame a file of its own, by codecs that may carry a colour profile."""
    pixel_format = "yuvj420p" if codec == "mjpeg" else "rgb24"
    write_film(tmp_path / "a.mov", pictures[:3], codec=codec, pixel_format=pixel_format, options=())
    report = color_video(tmp_path / "a.mov", device="cpu", progress=False)
    assert report.n_frames == 3
