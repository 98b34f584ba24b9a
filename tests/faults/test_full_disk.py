"""The disk is full: an error that says so, no half file, and the same command goes on later.

A limit on the size of files stands for the disk where a process is to meet it in the middle of a
write; the system then fails as with a full disk, in all libraries (EFBIG in place of ENOSPC). The
slow tests use a real file system of a few kilobytes, which they must be allowed to mount.
"""

import errno
import os
import shutil
import subprocess
from contextlib import nullcontext

import pytest
import torch

from tests.faults import runs
from zcolor.atomic import FULL, whole_file
from zcolor.checkpoint import read_checkpoint
from zcolor.training.state import read_state, write_state

SAYS_SO = ("No space left on device", "File too large")


def refused(command, folder, names):
    """The command ends with exit code 1, the reason and the file, and nothing half."""
    assert command.wait() == 1, command.log.read_text()[-2000:]
    *_, last = command.log.read_text().splitlines()
    assert any(words in command.log.read_text() for words in SAYS_SO)
    assert "Traceback" not in command.log.read_text()
    assert runs.parts(folder) == []
    assert runs.names(folder) == names
    return last


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("largest", "left"),
    [
        pytest.param(20_000, ["d.h5.part"], id="the journal"),
        # The pack has an index beside the photographs, the journal a line for each.
        pytest.param(None, ["d.h5.part", "d.report.txt"], id="the pack"),
    ],
)
def test_pack(zygote, folder, tmp_path, largest, left):
    photos = runs.make_photos(tmp_path / "photos", 20, 100)
    call = ["pack", photos, "--out", "d.h5", "--quality", 100, "--jobs", 1]
    whole = tmp_path / "whole"
    whole.mkdir()
    zygote.run(whole, *call)
    largest = largest or (whole / "d.h5").stat().st_size - 100
    last = refused(zygote.start(folder, *call, largest=largest), folder, left)
    assert "d.h5" in last
    zygote.run(folder, *call)
    assert runs.h5_content(folder / "d.h5") == runs.h5_content(whole / "d.h5")
    assert runs.names(folder) == ["d.h5", "d.report.txt"]


@pytest.mark.parametrize(
    ("largest", "left"),
    [pytest.param(2_000, [], marks=pytest.mark.slow), (14_000, ["p.h5.part"])],
)
def test_priors(zygote, folder, tmp_path, largest, left):
    pack = runs.make_pack(tmp_path / "photos.h5", 40)
    refused(zygote.start(folder, "priors", pack, "--out", "p.h5", largest=largest), folder, left)
    zygote.run(folder, "priors", pack, "--out", "p.h5")
    zygote.run(folder, "priors", pack, "--out", "p.h5")
    assert runs.names(folder) == ["p.h5"]


def test_train(zygote, folder, tmp_path):
    pack = runs.make_pack(tmp_path / "photos.h5", 48, 40, fractions=(0.9, 0.1))
    call = ["train", pack, "--out", "run", "--photos", 80, "--epoch-photos", 40, *runs.TINY]
    # Room for the finished weights, a quarter of the state.
    command = zygote.start(folder, *call, largest=500_000)
    assert command.wait() == 1
    log = command.log.read_text()
    assert "File too large: 'run/last.safetensors.new'" in log
    assert "Traceback" not in log
    run = folder / "run"
    assert runs.parts(folder) == []
    assert sorted(path.name for path in run.glob("*.safetensors*")) == ["best.safetensors"]
    read_checkpoint(run / "best.safetensors")
    zygote.run(folder, *call)  # nothing was saved, so that it begins anew, without --resume
    assert read_checkpoint(run / "last.safetensors")[1]["seen"] == 80


def test_colorize(zygote, folder, tiny_model, tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 4, 60)
    shutil.copy(runs.make_photos(tmp_path / "large", 1, 900) / "000.jpg", photos / "large.jpg")
    call = ["colorize", photos, "-o", ".", "--model", tiny_model, "--device", "cpu", "--resume"]
    few = [f"{i:03d}.jpg" for i in range(4)]
    command = zygote.start(folder, *call, largest=10_000)
    refused(command, folder, few)
    assert "large.jpg" in command.log.read_text()
    zygote.run(folder, *call)
    assert runs.names(folder) == [*few, "large.jpg"]


@pytest.mark.parametrize("container", runs.but("mp4", "mkv"))
def test_video(zygote, folder, tiny_model, tmp_path, container):
    film = runs.make_film(tmp_path / "film.mp4", 20)
    name = f"color.{container}"
    call = ["video", film, "-o", name, "--model", tiny_model, "--device", "cpu", "--overwrite"]
    zygote.run(folder, *call)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    # In the middle, and as late as at the index.
    for largest in (2_000, len(whole) - 10):
        refused(zygote.start(folder, *call, largest=largest), folder, [])
    (folder / name).write_bytes(b"earlier")
    refused(zygote.start(folder, *call, largest=2_000), folder, [name])
    assert (folder / name).read_bytes() == b"earlier"


@pytest.mark.parametrize("number", sorted(FULL))
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_is_whole_or_not_at_all(tmp_path, monkeypatch, step, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.txt"
    path.write_text("earlier")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"a\.txt") as caught, whole_file(path) as temporary:
        temporary.write_text("new")
    assert caught.value.errno == number
    assert (path.read_text(), runs.names(tmp_path), runs.parts(tmp_path)) == (
        "earlier", ["a.txt"], [],
    )  # fmt: skip


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_state_is_never_lost(tmp_path, monkeypatch, step, which):
    """Whatever call fails as the third state is written, one that is whole is found."""
    net = torch.nn.Linear(1, 1)
    path, calls = tmp_path / "last", []
    for seen in (1, 2):
        write_state(path, net, None, [], {"seen": seen})
    real = getattr(os, step)

    def full(*args):
        calls.append(args)
        if len(calls) == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    n_calls = {"fsync": 1, "replace": 3}[step]
    fails = pytest.raises(OSError, match="No space left") if which <= n_calls else nullcontext()
    with monkeypatch.context() as patch, fails:
        patch.setattr(os, step, full)
        write_state(path, net, None, [], {"seen": 3})
    # A new one that is whole but has not its name yet is not taken; what it replaces is.
    assert read_state(path, net, None, [])["seen"] == (2 if which <= n_calls else 3)
    assert runs.parts(tmp_path) == []


# ---- a real disk -----------------------------------------------------------------------------


def on_a_small_disk(size, mount, script):
    """Run a shell script with a file system of `size` at `mount`, which goes with the script."""
    command = f"mount -t tmpfs -o size={size} tmpfs {mount} && {script}"
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", command],
        env=runs.ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", ["8k", "60k", "250k", "400k"])
@pytest.mark.parametrize("command", ["pack", "priors", "train", "colorize", "video"])
def test_on_a_real_disk(tmp_path, tiny_model, command, size):
    mount = tmp_path / "disk"
    mount.mkdir()
    tried = on_a_small_disk("8k", mount, "true")
    assert tried.returncode == 0, f"this test must be able to mount a tmpfs: {tried.stderr}"
    photos = runs.make_photos(tmp_path / "photos", 60, 150)
    pack = runs.make_pack(tmp_path / "photos.h5", 48, 40, fractions=(0.9, 0.1))
    film = runs.make_film(tmp_path / "film.mp4", 60)
    cpu = ["--model", tiny_model, "--device", "cpu"]
    arguments = {
        "pack": [photos, "--out", mount / "d.h5", "--quality", 100],
        "priors": [pack, "--out", mount / "p.h5"],
        "train": [pack, "--out", mount / "run", "--photos", 80, *runs.TINY],
        "colorize": [photos, "-o", mount / "color", *cpu],
        "video": [film, "-o", mount / "color.mp4", *cpu],
    }[command]
    call = [*runs.ZCOLOR, command, *map(str, arguments)]
    quoted = " ".join(f"'{word}'" for word in call)
    done = on_a_small_disk(size, mount, f"{quoted}; code=$?; ls -AR {mount}; exit $code")
    assert done.returncode in ((1,) if size == "8k" else (0, 1)), done.stderr[-2000:]
    if done.returncode:
        assert "No space left on device" in done.stderr, done.stderr[-2000:]
        assert "Traceback" not in done.stderr
    assert ".zcolor-" not in done.stdout
    if command == "video":
        assert ("color.mp4" in done.stdout.split()) == (done.returncode == 0)
