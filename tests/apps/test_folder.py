import functools
import logging
import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from zcolor.apps import chain, folder
from zcolor.apps.folder import color_files
from zcolor.colorizer import Colorizer
from zcolor.settings import ColorizeSettings


@pytest.fixture
def color(weights):
    """`color_files` with the small network."""

    def call(*sources, out=None, **options):
        return color_files(
            sources, out, **{"model": weights, "device": "cpu", "progress": False, **options}
        )

    return call


def tree(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


# ---- where results go ----------------------------------------------------------------------


def test_results_go_beside_the_originals(color, album):
    before = {name: (album / name).read_bytes() for name in tree(album)}
    report = color(album)
    assert report.failed == ()
    # a.jpg has its result already; the format of c.pgm holds no colour.
    assert report.done == (
        album / "1950" / "b-color.PNG",
        album / "1950" / "summer" / "c-color.png",
    )
    assert [path for path, _ in report.skipped] == [album / "a.jpg"]
    assert "a-color.jpg exists" in report.skipped[0][1]
    assert tree(album) == sorted([*before, "1950/b-color.PNG", "1950/summer/c-color.png"])
    assert all((album / name).read_bytes() == data for name, data in before.items())


def test_tree_is_mirrored(color, album, tmp_path):
    report = color(album, out=tmp_path / "out")
    assert report.skipped == report.failed == ()
    assert tree(tmp_path / "out") == ["1950/b.PNG", "1950/summer/c.png", "a.jpg"]
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert (image.mode, image.size) == ("RGB", (60, 40))


def test_several_folders_keep_their_names(color, album, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (album / "a.jpg").rename(other / "b.jpg")
    report = color(album, other, other / "b.jpg", out=tmp_path / "out")
    assert report.failed == ()
    assert tree(tmp_path / "out") == [
        "album/1950/b.PNG",
        "album/1950/summer/c.png",
        "b.jpg",
        "other/b.jpg",
    ]


def test_second_run_does_not_colour_its_own_results(color, album):
    color(album)
    (album / "out").mkdir()
    first = color(album, out=album / "out")
    assert len(first.done) == 3
    again = color(album, out=album / "out")
    assert again.done == again.failed == ()
    assert len(again.skipped) == 3


def test_single_file_takes_a_name(color, album, tmp_path):
    report = color(album / "a.jpg", out=tmp_path / "deep" / "new.tif")
    assert report.done == (tmp_path / "deep" / "new.tif",)
    with Image.open(report.done[0]) as image:
        assert image.format == "TIFF"


def test_single_file_into_a_folder(color, album, tmp_path):
    assert color(album / "a.jpg", out=tmp_path / "new").done == (tmp_path / "new" / "a.jpg",)


def test_earlier_result_is_coloured_if_asked_for_by_name(color, album):
    assert color(album / "a-color.jpg").done == (album / "a-color-color.jpg",)


# ---- what is in the results ----------------------------------------------------------------


def test_result_is_what_the_colorizer_gives(color, album, weights):
    options = {"saturation": 1.5, "decode": "argmax", "size": 40}
    (path,) = color(album / "1950" / "b.PNG", settings=ColorizeSettings(**options)).done
    expected = Colorizer(weights, device="cpu")(album / "1950" / "b.PNG", **options)
    with Image.open(path) as image:
        assert np.array_equal(image, expected)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_stay(color, tmp_path, ending):
    path = tmp_path / f"deep.{ending}"
    grey = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    assert cv2.imwrite(str(path), grey)
    (result,) = color(path).done
    pixels = cv2.imread(str(result), cv2.IMREAD_UNCHANGED)
    assert (pixels.dtype, pixels.shape) == (np.uint16, (24, 32, 3))
    assert len(np.unique(pixels)) > 256


def test_metadata_is_kept(color, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Agfa"
    exif[0x0112] = 6  # lies on its side
    Image.new("L", (30, 20), 90).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    (result,) = color(tmp_path / "a.jpg").done
    with Image.open(result) as image:
        assert image.size == (20, 30)
        assert image.getexif()[0x010F] == "Agfa"
        assert image.getexif().get(0x0112, 1) == 1
        assert image.info["dpi"] == (300, 300)
        assert image.info["icc_profile"]


def test_quality_is_handed_on(color, album, tmp_path):
    sizes = [
        color(album / "a.jpg", out=tmp_path / f"{q}.jpg", quality=q).done[0].stat().st_size
        for q in (20, 100)
    ]
    assert sizes[0] < sizes[1]


def test_transparency_moves_to_a_format_that_holds_it(color, tmp_path):
    with (tmp_path / "a.bmp").open("wb") as file:
        Image.new("LA", (20, 20), (90, 30)).save(file, "PNG")
    (result,) = color(tmp_path / "a.bmp").done
    assert result == tmp_path / "a-color.png"
    with Image.open(result) as image:
        assert image.mode == "RGBA"
    report = color(tmp_path / "a.bmp", out=tmp_path / "b.jpg")
    assert "JPEG cannot hold the transparency" in report.failed[0][1]


# ---- what goes wrong -----------------------------------------------------------------------


def test_bad_files_do_not_end_the_work(color, album, tmp_path, caplog):
    (album / "0.jpg").write_bytes((album / "a.jpg").read_bytes()[:200])
    (album / "1.png").write_bytes(b"not a picture")
    (album / "2.png").touch()
    caplog.set_level(logging.DEBUG, "zcolor")
    report = color(tmp_path / "nowhere.jpg", album, out=tmp_path / "out")
    assert len(report.done) == 3
    reasons = dict(report.failed)
    assert set(reasons) == {
        tmp_path / "nowhere.jpg",
        album / "0.jpg",
        album / "1.png",
        album / "2.png",
    }
    assert "no such file or folder" in reasons[tmp_path / "nowhere.jpg"]
    assert "truncated" in reasons[album / "0.jpg"]
    assert "empty" in reasons[album / "2.png"]
    assert not report.interrupted
    assert sum(record.exc_info is not None for record in caplog.records) == 3


def test_memory_that_opencv_does_not_get_ends_no_folder(color, album, tmp_path, monkeypatch):
    real = Colorizer.predict_ab
    calls = []

    def once(self, photo, settings):
        calls.append(photo)
        if len(calls) == 1:
            raise cv2.error("(-4:Insufficient memory) Failed to allocate 99 bytes")
        return real(self, photo, settings)

    monkeypatch.setattr(Colorizer, "predict_ab", once)
    report = color(album, out=tmp_path / "out", jobs=1)
    assert len(report.done) == 2
    ((_, reason),) = report.failed
    assert "Insufficient memory" in reason


def test_picture_above_the_limit_fails(color, album):
    report = color(album / "a.jpg", out=album / "new.png", max_pixels=2399)
    assert "60 x 40" in report.failed[0][1]


def test_overwrite_replaces_results_but_no_originals(color, album, tmp_path):
    before = (album / "a-color.jpg").read_bytes()
    assert color(album / "a.jpg").done == ()
    assert (album / "a-color.jpg").read_bytes() == before
    assert color(album / "a.jpg", overwrite=True).done == (album / "a-color.jpg",)
    assert (album / "a-color.jpg").read_bytes() != before

    original = (album / "a.jpg").read_bytes()
    link = tmp_path / "link"
    link.symlink_to(album, target_is_directory=True)
    for out in (album, album / "a.jpg", link):
        report = color(album / "a.jpg", out=out, overwrite=True)
        assert "originals, which are never replaced" in report.failed[0][1]
    assert (album / "a.jpg").read_bytes() == original


@pytest.fixture
def tells_case(tmp_path):
    (tmp_path / "case").touch()
    if (tmp_path / "CASE").exists():
        pytest.skip("this disk takes A for a: what is played here is real there")
    (tmp_path / "case").unlink()


@pytest.mark.usefixtures("tells_case")
def test_an_original_is_known_under_any_name(color, tmp_path):
    """A link stands for a file system that takes "Photos" and "photos" for one folder."""
    for folder_name in ("Photos", "photos"):
        (tmp_path / folder_name).mkdir()
    Image.new("L", (16, 16), 99).save(tmp_path / "Photos" / "A.jpg")
    os.link(tmp_path / "Photos" / "A.jpg", tmp_path / "photos" / "A.jpg")
    before = (tmp_path / "Photos" / "A.jpg").read_bytes()
    report = color(tmp_path / "Photos", out=tmp_path / "photos", overwrite=True)
    assert "is one of the originals, which are never replaced" in report.failed[0][1]
    assert (tmp_path / "Photos" / "A.jpg").read_bytes() == before


@pytest.mark.usefixtures("tells_case")
@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}])
def test_two_names_of_one_place_are_one_result(options, color, tmp_path, monkeypatch):
    for name in ("A.jpg", "a.jpg"):
        Image.new("L", (16, 16), 99).save(tmp_path / name)
    write = chain.write_image

    def write_one_name(path, *args, **more):
        """As a file system that takes "A" for "a"."""
        write(path, *args, **more)
        path.with_name("a.jpg").hardlink_to(path)

    monkeypatch.setattr(chain, "write_image", write_one_name)
    out = tmp_path / "out"
    for _ in range(2):
        report = color(tmp_path / "A.jpg", tmp_path / "a.jpg", out=out, **options)
        assert [path for path, _ in report.failed] == [tmp_path / "a.jpg"]
        assert "has just been made of" in report.failed[0][1]
        if "overwrite" in options:
            (out / "a.jpg").unlink()


def test_settings_that_the_model_has_no_use_for_are_told_once(album, tmp_path):
    settings = ColorizeSettings(temperature=0.5)
    with pytest.raises(ValueError, match="leave temperature out"):
        color_files([album], tmp_path / "out", model="mean-chroma", settings=settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_one_source_that_cannot_be_looked_at_ends_nothing(color, album, tmp_path):
    endless = album / ("x" * 300 + ".jpg")
    pipe = album / "pipe.jpg"
    os.mkfifo(pipe)
    report = color(endless, album / "a.jpg", pipe, out=tmp_path / "out")
    assert report.done == (tmp_path / "out" / "a.jpg",)
    reasons = dict(report.failed)
    assert reasons[endless].startswith("cannot be opened (File name too long")
    assert "neither a file nor a folder" in reasons[pipe]


def test_one_result_for_two_sources_is_refused(color, tmp_path):
    for name in ("x.pgm", "x.png"):
        Image.new("L", (16, 16), 99).save(tmp_path / name)
    report = color(tmp_path, overwrite=True)
    assert report.done == (tmp_path / "x-color.png",)
    assert report.failed[0][0] == tmp_path / "x.png"
    assert "has just been made of" in report.failed[0][1]


def test_interrupt_says_what_is_done(color, album, tmp_path, monkeypatch):
    write, written = chain.write_image, []

    def interrupted(path, *args, **options):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *args, **options)

    monkeypatch.setattr(chain, "write_image", interrupted)
    report = color(album, out=tmp_path / "out", jobs=1)
    assert report.interrupted
    assert report.waiting == 2
    assert report.done == (tmp_path / "out" / "a.jpg",)
    assert tree(tmp_path / "out") == ["a.jpg"]


# ---- side by side --------------------------------------------------------------------------


@pytest.fixture
def one_core():
    """The same sums however many photos share the cores, so that files can be compared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_core")
def test_side_by_side_is_as_one_after_the_other(color, tmp_path):
    """Good, bad, transparent and existing pictures, and several that ask for one name."""
    source = tmp_path / "in"
    source.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        grey = rng.integers(0, 256, (20 + 7 * i, 60 - 5 * i), dtype=np.uint8)
        Image.fromarray(grey).save(source / f"{i}.{('jpg', 'png', 'tif', 'pgm')[i % 4]}")
    Image.new("L", (30, 30), 9).save(source / "1.pgm")  # like 1.png, once it is coloured
    Image.new("LA", (20, 20), (90, 30)).save(source / "a.png")
    (source / "a.bmp").write_bytes((source / "a.png").read_bytes())  # becomes a.png: taken first
    (source / "3.bmp").write_bytes(b"not a picture")
    (source / "4.png").write_bytes((source / "1.png").read_bytes()[:60])
    reports, files = [], []
    for jobs in (1, 4):
        out = tmp_path / "out"
        (out / "in").mkdir(parents=True)
        (out / "in" / "6.tif").write_bytes(b"mine")
        report = color(source, source / "0.jpg", source / "0.jpg", out=out, jobs=jobs)
        reports.append(report)
        files.append({path: path.read_bytes() for path in out.rglob("*") if path.is_file()})
        out.rename(tmp_path / f"out-{jobs}")
    assert reports[0] == reports[1]
    assert files[0] == files[1]
    report = reports[0]
    assert len(report.done) == 9
    assert [path.name for path, _ in report.skipped] == ["6.tif"]
    assert len(report.failed) == 5
    # A source named twice, or two that ask for one name: the first one has it.
    assert [path.name for path, reason in report.failed if "has just been made" in reason] == [
        "1.png",
        "a.png",
        "0.jpg",
    ]


def test_the_report_keeps_the_order_of_the_pictures(color, tmp_path, monkeypatch):
    """The first picture is the last to be finished."""
    names = [f"{i}.png" for i in range(6)]
    for name in names:
        Image.new("L", (16, 16), 99).save(tmp_path / name)
    read, others = chain.read_photo, threading.Semaphore(0)

    def late(path, **options):
        if path.name == "0.png":
            for _ in names[1:]:
                assert others.acquire(timeout=30)
        photo = read(path, **options)
        others.release()
        return photo

    monkeypatch.setattr(chain, "read_photo", late)
    report = color(tmp_path, out=tmp_path / "out", jobs=2)
    assert [path.name for path in report.done] == names


def test_pixels_in_flight_are_bounded(color, tmp_path, monkeypatch):
    for i, side in enumerate([16, 40, 16, 16, 24, 100, 16, 24, 16]):
        Image.new("L", (side, side), 99).save(tmp_path / f"{i}.png")
    room = 4 * 400
    monkeypatch.setattr(
        folder, "Lanes", functools.partial(folder.Lanes, pixels_per_thread=room // 4)
    )
    read, write = chain.read_photo, chain.write_image
    lock, held, most = threading.Lock(), [], []

    def counted_read(path, **options):
        photo = read(path, **options)
        with lock:
            held.append(photo.width * photo.height)
            most.append(list(held))
        return photo

    def counted_write(path, pixels, **options):
        write(path, pixels, **options)
        with lock:
            held.remove(pixels.shape[0] * pixels.shape[1])

    monkeypatch.setattr(chain, "read_photo", counted_read)
    monkeypatch.setattr(chain, "write_image", counted_write)
    report = color(tmp_path, out=tmp_path / "out", jobs=4)
    assert len(report.done) == 9
    assert all(len(pixels) == 1 or sum(pixels) <= room for pixels in most)


@pytest.mark.parametrize("jobs", [1, 3])
def test_ctrl_c_leaves_whole_files_and_counts_the_rest(color, tmp_path, monkeypatch, jobs):
    n = 16
    for i in range(n):
        Image.new("L", (24, 24), 5 * i).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "00.png").write_bytes(b"not a picture")
    write, written = chain.write_image, []

    def slow_write(path, *args, **options):
        write(path, *args, **options)
        written.append(path)
        if len(written) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)

    monkeypatch.setattr(chain, "write_image", slow_write)
    report = color(tmp_path, out=tmp_path / "out", jobs=jobs)
    assert report.interrupted
    assert [path.name for path, _ in report.failed] == ["00.png"]
    assert len(report.done) + report.waiting == n - 1
    # Those under way when it came may still end, or stop between their steps.
    assert 4 <= len(report.done) <= 5 + jobs
    assert tree(tmp_path / "out") == sorted(path.name for path in written)  # no half files
    for path in report.done:
        with Image.open(path) as image:
            image.load()
    rest = color(tmp_path, out=tmp_path / "out", jobs=jobs)
    assert len(rest.done) + len(rest.skipped) == n - 1
    assert not rest.interrupted


def test_folder_that_cannot_be_opened(color, album, monkeypatch):
    scandir = os.scandir

    def closed(path):
        if os.path.basename(path) == "1950":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    report = color(album, overwrite=True)
    assert report.done == (album / "a-color.jpg",)
    assert report.failed == ((album / "1950", "cannot be opened (Permission denied)"),)


def test_folder_without_pictures(color, tmp_path):
    report = color(tmp_path)
    assert report.failed == ((tmp_path, "there are no pictures in this folder; check its name"),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "quality must lie in 1..100, got 0"),
        ({"jobs": -1}, r"jobs must be 0 \(one per core\) or more, got -1"),
        ({"device": "gpu"}, "unknown device"),
        ({"out": "new.doc"}, "cannot write colour to 'new.doc'"),
    ],
)
def test_options_that_make_no_sense(color, album, options, message):
    with pytest.raises(ValueError, match=message):
        color(album / "a.jpg", **options)


def test_sources_that_make_no_sense(color, album):
    with pytest.raises(ValueError, match="nothing to colour; name image files or folders"):
        color()
    with pytest.raises(ValueError, match=r"2 sources cannot go into the one file .*name a folder"):
        color(album / "a.jpg", album / "a-color.jpg", out="one.png")
