"""Picture files that nobody wishes to get: a picture comes out, or one named error."""

import json
import os
import socket
import threading
import warnings

import numpy as np
import pytest
from PIL import Image
from torch import nn

from fuzz.seeds import pictures as seeds
from tests.hostile.pictures import LIMIT, cut, nasty
from tests.processes import run_alone
from zcolor.apps.folder import color_files
from zcolor.apps.folder_report import write_summary
from zcolor.colorizer import Colorizer
from zcolor.files import image_size, read_image
from zcolor.models.zhang import Zhang
from zcolor.pillow_warnings import pillow_warnings_logged
from zcolor.readers import MAX_FILE_BYTES, ImageReadError
from zcolor.registry import save_model

MEMORY_MB = 150
"""What reading any of the files may take: a picture of LIMIT pixels at its worst has 24 MB."""
SECONDS = 120
"""Generous: all of them are read in about 2 s on a quiet machine."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    net = Zhang(width=1 / 16, working_size=16)
    nn.init.normal_(net.classifier.weight, std=300.0)
    save_model(path, net, {})
    return path


@pytest.fixture(scope="module")
def colorizer(weights):
    return Colorizer(weights, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All of them as files; endings that fit and others that do not."""
    folder = tmp_path_factory.mktemp("nasty")
    endings = ("jpg", "png", "tif", "webp", "gif", "bmp", "jp2", "avif", "ppm", "pcx", "tga", "xbm")
    for i, (name, (data, _)) in enumerate(nasty().items()):
        (folder / f"{name}.{endings[i % len(endings)]}").write_bytes(data)
    return folder


def verdict(read, *arguments, name):
    """ "picture", "refused", or what went wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read(*arguments)
        except ImageReadError as error:
            found = "refused" if name in str(error) else f"refused without its name: {error}"
        except Exception as error:  # noqa: BLE001 - what it is is what is asked
            found = f"{type(error).__name__}: {error}"
        else:
            found = "picture"
    return f"warned: {caught[0].message}" if caught else found


def test_there_are_more_than_200_of_every_verdict():
    verdicts = [verdict for _, verdict in nasty().values()]
    assert len(verdicts) > 400
    assert min(verdicts.count(each) for each in ("picture", "refused", "either")) > 80
    assert len({data for data, _ in nasty().values()}) > 0.95 * len(verdicts)


def test_each_is_read_or_refused_by_name(folder):
    """The message names the file, no warning leaks, and the verdict is the expected one."""
    expected = {name: verdict for name, (_, verdict) in nasty().items()}
    wrong = []
    for path in sorted(folder.iterdir()):
        found = verdict(lambda p: read_image(p, max_pixels=LIMIT), path, name=str(path))
        allowed = ("picture", "refused") if expected[path.stem] == "either" else expected[path.stem]
        if found not in allowed:
            wrong.append((path.stem, expected[path.stem], found))
        sized = verdict(image_size, path, name=str(path))
        if sized not in ("picture", "refused") or (found, sized) == ("picture", "refused"):
            wrong.append((path.stem, "its size", sized))
    assert wrong == []


def test_each_is_coloured_or_refused(colorizer):
    """Through the public door, from bytes to bytes."""
    wrong = []
    for name, (data, _) in nasty().items():
        if not name.startswith("bombs-"):  # the door has the large limit
            found = verdict(colorizer, data, name="the given bytes")
            if found not in ("picture", "refused"):
                wrong.append((name, found))
    assert wrong == []


def assert_whole_or_refused(step):
    """What can still be read has all its pixels: half a file is never taken for a whole one."""
    complete = {name: read_image(data).pixels for name, data in seeds().items()}
    wrong, n_refused = [], 0
    for name, data in cut(step).items():
        found = verdict(lambda d: read_image(d, max_pixels=LIMIT), data, name="the given bytes")
        if found == "refused":
            n_refused += 1
        elif found != "picture":
            wrong.append((name, found))
        elif not np.array_equal(read_image(data).pixels, complete[name.rsplit("-", 1)[0]]):
            wrong.append((name, "other pixels"))
    assert wrong == []
    assert n_refused > 0.95 * len(cut(step))


def test_each_cut_off_after_every_tenth_byte():
    assert_whole_or_refused(10)


@pytest.mark.slow
def test_each_cut_off_after_every_byte():
    assert_whole_or_refused(1)


_CHILD = """
import logging, pathlib, resource, sys, time
logging.disable(logging.CRITICAL)
from zcolor.files import read_image
from zcolor.readers import ImageReadError
read_image(pathlib.Path(sys.argv[2]))
def peak():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1 << 20 if sys.platform == "darwin" else 1 << 10)
before, worst = peak(), ("", 0.0)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    start = time.perf_counter()
    try:
        read_image(path, max_pixels=int(sys.argv[3]))
    except ImageReadError:
        pass
    worst = max(worst, (path.name, time.perf_counter() - start), key=lambda pair: pair[1])
print(peak() - before, worst[1], worst[0])
"""


def test_memory_and_time_are_bounded(folder, tmp_path):
    """In a process of its own, since peaks are of whole processes."""
    (tmp_path / "first.png").write_bytes(seeds()["png16"])
    told = run_alone(_CHILD, folder, tmp_path / "first.png", LIMIT, seconds=SECONDS)
    megabytes, slowest, name = told.split()
    assert float(megabytes) < MEMORY_MB
    assert float(slowest) < 10, name


# ---- what is no file, and names ----------------------------------------------------------------


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    fifo, sock = tmp_path / "pipe.jpg", tmp_path / "s.jpg"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        for path in (fifo, sock, "/dev/zero"):
            with pytest.raises(ImageReadError, match=r"is no regular file but a pipe, a socket or"):
                read_image(path)
    loop, dangling = tmp_path / "loop.jpg", tmp_path / "dangling.jpg"
    loop.symlink_to(loop)
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (loop, dangling, tmp_path / "a\0b.jpg"):
        with pytest.raises(OSError, match=r"there is no file|symbolic links"):
            read_image(path)


def test_a_sparse_file_is_not_read_into_memory(tmp_path):
    """A terabyte of nothing behind a header whose reader takes the whole file."""
    for name in ("webp", "png16", "avif"):
        path = tmp_path / f"{name}.img"
        path.write_bytes(seeds()[name])
        os.truncate(path, 10**12 if name != "avif" else MAX_FILE_BYTES + 1)
        with pytest.raises(ImageReadError, match=r"img has \d+ bytes, more than the limit of"):
            read_image(path)


NAMES = (
    b"-rf.png",
    b"--help.png",
    b"new\nline.png",
    b"\xff\xfe.png",
    b"100%s.png",
    b"$(id).png",
    b"; ls.png",
    b"\x1b[31m.png",
    b"a'b\"c.png",
    b" .png",
    b"CON.png",
    b"*.png",
    "éß漢\u202e.png".encode(),
    b"~.png",
    b"n" * 251 + b".png",
)


def test_a_folder_of_them_ends_with_a_report_that_names_each(weights, folder, tmp_path):
    album, out = tmp_path / "album", tmp_path / "out"
    album.mkdir()
    for path in folder.iterdir():
        if not path.name.startswith("bombs-"):
            (album / path.name).write_bytes(path.read_bytes())
    for name in NAMES:
        with open(os.path.join(os.fsencode(album), name), "wb") as file:
            file.write(seeds()["png-grey"])
    os.mkfifo(album / "pipe.jpg")
    (album / "folder.jpg").mkdir()
    (album / "dangling.jpg").symlink_to("nowhere")
    (album / "loop.jpg").symlink_to("loop.jpg")
    sources = {path for path in album.iterdir() if path.name != "folder.jpg"}
    report = color_files(
        [album], out, model=weights, device="cpu", jobs=2, max_pixels=LIMIT, progress=False
    )
    assert {photo.source for photo in report.photos} == sources
    assert len(report.done) + len(report.failed) == len(sources)
    assert {path.name for path in out.iterdir()} == {path.name for path in report.done}
    for name in NAMES:
        assert (out / os.fsdecode(name)).is_file()
    for path, reason in report.failed:
        assert path.is_dir() or str(path) in reason or str(out) in reason, (path, reason)
    write_summary(tmp_path / "report.json", report)
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {photo["source"] for photo in told["photos"]} == {str(path) for path in sources}


def test_a_name_too_long_for_the_system(tmp_path):
    with pytest.raises(OSError, match="name"):
        read_image(tmp_path / ("n" * 5000))


# ---- warnings of Pillow ------------------------------------------------------------------------


def test_what_pillow_warns_of_is_logged_and_filters_stay_as_they_were(caplog):
    data = nasty()["exif-JPEG-truncated"][0]
    before = list(warnings.filters), warnings.showwarning
    assert read_image(data).metadata.exif is None or "EXIF" in caplog.text
    assert "Pillow: Corrupt EXIF data" in caplog.text
    assert (warnings.filters, warnings.showwarning) == before


def test_the_filters_are_restored_by_the_last_of_many_threads():
    before = list(warnings.filters), warnings.showwarning
    data = nasty()["exif-JPEG-truncated"][0]

    def read():
        for _ in range(30):
            read_image(data)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (warnings.filters, warnings.showwarning) == before


def test_other_warnings_are_not_touched():
    with pytest.warns(UserWarning, match="mine"), pillow_warnings_logged():
        warnings.warn("mine", stacklevel=1)


# ---- the real size -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_bomb_at_the_limit_takes_what_a_picture_of_its_size_takes(tmp_path):
    """1 bit a pixel, 40 kB on the disk, 289 million pixels: one byte for Pillow and one for us."""
    path = tmp_path / "bomb.png"
    Image.new("1", (17_000, 17_000)).save(path)
    assert path.stat().st_size < 100_000
    code = """
import sys, resource
from zcolor.files import read_image
read_image(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    megabytes = int(run_alone(code, path)) / 1024
    assert 289 < megabytes < 150 + 2.5 * 289
