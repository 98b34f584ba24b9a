"""Files that change, vanish, are cut short or may not be read while a command is at work."""

import json
import os
import re
import shutil

import pytest
from PIL import Image

from tests.faults import runs
from zcolor.apps import folder as folder_app
from zcolor.training import pack as pack_module
from zcolor.training import priors as priors_module
from zcolor.training.pack import pack_photos
from zcolor.training.packfile import PackedPhotos
from zcolor.training.priors import build_priors
from zcolor.training.settings import PackSettings
from zcolor.training.sources import content_hash


def disturb(photos):
    """Between planning and reading: one is gone, one is cut short, one is another photo now."""
    (photos / "001.jpg").unlink()
    os.truncate(photos / "002.jpg", (photos / "002.jpg").stat().st_size // 2)
    shutil.copy(photos / "004.jpg", photos / "003.jpg")


@pytest.fixture
def photos(tmp_path):
    return runs.make_photos(tmp_path / "photos", 6, 60)


def after(monkeypatch, module, name, then):
    """Let something happen once a function has given its answer."""
    real = getattr(module, name)

    def wrapped(*args, **options):
        answer = real(*args, **options)
        then()
        return answer

    monkeypatch.setattr(module, name, wrapped)


def test_colorize_names_the_lost_and_does_the_rest(photos, tmp_path, tiny_model, monkeypatch):
    with monkeypatch.context() as patch:
        after(patch, folder_app, "plan_jobs", lambda: disturb(photos))
        report = folder_app.color_files(
            [photos], tmp_path / "out", model=tiny_model, device="cpu", jobs=2, progress=False
        )
    assert [path.name for path, _ in report.failed] == ["001.jpg", "002.jpg"]
    (_, gone), (_, cut) = report.failed
    assert "001.jpg" in gone
    assert "truncated or damaged" in cut
    assert runs.names(tmp_path / "out") == ["000.jpg", "003.jpg", "004.jpg", "005.jpg"]
    # The photograph is coloured that was there when it was read.
    one, other = (tmp_path / "out" / f"00{i}.jpg" for i in (3, 4))
    assert one.read_bytes() == other.read_bytes()


def test_pack_lists_the_lost_and_packs_what_it_read(photos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        after(patch, pack_module, "_work_key", lambda: disturb(photos))
        report = pack_photos([photos], tmp_path / "d.h5", PackSettings(jobs=2), progress=False)
    assert [dropped.name[-7:] for dropped in report.broken] == ["001.jpg", "002.jpg"]
    assert [dropped.name[-7:] for dropped in report.duplicates] == ["004.jpg"]
    packed = PackedPhotos(tmp_path / "d.h5")
    assert len(packed) == report.kept == 3
    hashes = {content_hash(path.read_bytes()) for path in photos.iterdir()}
    assert {row.tobytes() for row in packed._hash} < hashes


def test_priors_leave_out_the_lost(photos, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        after(patch, priors_module, "open_photos", lambda: None)
        real = priors_module.count_colors

        def count(*args, **options):
            disturb(photos)
            return real(*args, **options)

        patch.setattr(priors_module, "count_colors", count)
        priors = build_priors([photos], tmp_path / "p.h5", progress=False)
    assert priors.n_photos == 4
    assert "2 of 6 photos were left out" in caplog.text


@pytest.mark.slow
def test_train_names_the_lost_photo_and_keeps_its_state(zygote, tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 16, 40)
    folder = tmp_path / "out"
    folder.mkdir()
    call = ["train", photos, "--val", photos, "--out", "run", "--photos", 64, *runs.TINY]
    zygote.run(folder, *call, "--epoch-photos", 64, "--minutes", 0)
    lost = photos / "003.jpg"
    data = lost.read_bytes()
    lost.write_bytes(data[: len(data) // 2])
    os.utime(lost, (0, 0))
    command = zygote.start(folder, *call, "--epoch-photos", 64, "--resume")
    assert command.wait() in (1, 2)
    assert "Traceback" not in command.log.read_text()
    lost.write_bytes(data)
    zygote.run(folder, *call, "--epoch-photos", 64, "--resume")


def test_video_cut_short_while_it_is_read(tmp_path, tiny_model, monkeypatch):
    from zcolor.apps import video

    film = runs.make_film(tmp_path / "film.mp4", 60)
    paint, seen = video._Painter.paint, []

    def cut(self, frame):
        seen.append(frame)
        if len(seen) == 2:
            os.truncate(film, film.stat().st_size // 2)
        return paint(self, frame)

    monkeypatch.setattr(video._Painter, "paint", cut)
    with pytest.raises(ValueError, match=r"film\.mp4 is (broken at|cut off)"):
        video.color_video(
            film, tmp_path / "color.mp4", model=tiny_model, device="cpu", progress=False
        )
    assert runs.names(tmp_path) == ["film.mp4"]
    assert runs.parts(tmp_path) == []


# ---- permissions -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def closed(path, mode=0):
    """Forbid a file or folder to everybody; the command is bound by it even if it is root's."""
    path.chmod(mode)
    return path


def test_colorize_what_may_not_be_read(zygote, photos, folder, tiny_model):
    closed(photos / "001.jpg")
    below = photos / "below"
    below.mkdir()
    Image.new("L", (40, 40), 90).save(below / "a.png")
    closed(below)
    try:
        call = ["colorize", photos, "-o", ".", "--model", tiny_model, "--device", "cpu"]
        command = zygote.start(folder, *call, "--summary", "s.json", obeys=True)
        assert command.wait() == 1
    finally:
        closed(below, 0o700)
    failed = [p for p in json.loads((folder / "s.json").read_text())["photos"] if p["reason"]]
    assert {os.path.basename(p["source"]) for p in failed} == {"001.jpg", "below"}
    assert all("Permission denied" in photo["reason"] for photo in failed)
    assert len(runs.names(folder)) == 5 + 1


@pytest.mark.parametrize("command", runs.but("pack", "priors", "train"))
def test_a_folder_that_cannot_be_opened_is_not_taken_for_an_empty_one(
    zygote, photos, folder, command
):
    below = photos / "below"
    below.mkdir()
    closed(below)
    try:
        call = [command, photos, "--out", {"pack": "d.h5"}.get(command, "out")]
        started = zygote.start(folder, *call, obeys=True)
        assert started.wait() == 1
    finally:
        closed(below, 0o700)
    log = started.log.read_text()
    assert f"the folder {below} cannot be opened (Permission denied); allow reading it" in log
    assert runs.names(folder) == []


def test_pack_lists_a_photo_that_may_not_be_read(zygote, photos, folder):
    closed(photos / "001.jpg")
    command = zygote.start(folder, "pack", photos, "--out", "d.h5", obeys=True)
    assert command.wait() == 0
    assert "1 broken" in command.log.read_text()
    assert "Permission denied" in (folder / "d.report.txt").read_text()
    assert len(PackedPhotos(folder / "d.h5")) == 5


@pytest.mark.parametrize("command", runs.but("train", "pack", "priors", "colorize", "video"))
def test_a_folder_that_may_not_be_written(zygote, photos, folder, tiny_model, tmp_path, command):
    """Permissions, not a file system mounted read-only; the program sees the same error."""
    model = ["--model", tiny_model, "--device", "cpu"]
    arguments = {
        "pack": [photos, "--out", "d.h5"],
        "priors": [photos, "--out", "p.h5"],
        "train": [photos, "--val", photos, "--out", ".", "--photos", 16, *runs.TINY],
        "colorize": [photos, "-o", ".", *model],
        "video": [runs.make_film(tmp_path / "film.mp4", 3), "-o", "color.mp4", *model],
    }
    closed(folder, 0o500)
    try:
        started = zygote.start(folder, command, *arguments[command], obeys=True)
        assert started.wait() == 1
    finally:
        closed(folder, 0o700)
    log = started.log.read_text()
    assert re.search(r"Permission denied: '.*(lock|h5|\.part|jpg|color\.mp4)'", log), log[-2000:]
    assert "Traceback" not in log
    assert (runs.names(folder), runs.parts(folder)) == ([], [])
