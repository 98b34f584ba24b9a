"""`zcolor pack`, `zcolor priors` and `zcolor train`, and the scripts in tools/ that call them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from zcolor.apps import cli
from zcolor.checkpoint import read_header
from zcolor.quantizer import AbGrid
from zcolor.training import loop, pack, priors
from zcolor.training.packfile import PackedPhotos
from zcolor.training.priors import read_priors
from zcolor.training.settings import PriorSettings, TrainSettings

ROOT = Path(__file__).resolve().parent.parent.parent
N_PHOTOS = 6


@pytest.fixture
def photos(tmp_path):
    """A folder of photographs of all sorts of colours, 60 pixels wide and 90 high."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(N_PHOTOS):
        patches = np.random.default_rng(seed).integers(0, 256, (6, 4, 3))
        pixels = np.kron(patches, np.ones((15, 15, 1))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), pixels)
    return folder


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def assert_refused(capsys, code, message, *arguments):
    """The call ends with this exit code and one line that has the message."""
    assert run(*arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("zcolor: ")
    assert re.search(message, error)
    assert error.count("\n") == 1


# ---- the scripts ---------------------------------------------------------------------------


def script(name, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "tools" / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        # The package need not be installed.
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [("pack_dataset.py", "pack"), ("build_priors.py", "priors"), ("train.py", "train")],
)
def test_help_of_a_script(name, command):
    result = script(name, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: zcolor {command} " in result.stdout
    assert f"example: zcolor {command} " in result.stdout


def test_script_packs(photos, tmp_path):
    out = tmp_path / "data.h5"
    result = script("pack_dataset.py", photos, "--out", out, "--jobs", 1)
    assert result.returncode == 0, result.stderr
    assert f"{out}: {N_PHOTOS} photos" in result.stdout
    with h5py.File(out) as file:
        assert file.attrs["command"] == f"zcolor pack {photos} --out {out} --jobs 1"
    without_out = script("pack_dataset.py", photos)
    assert without_out.returncode == 2
    assert "--out" in without_out.stderr


# ---- pack ----------------------------------------------------------------------------------


def test_pack(photos, tmp_path, capsys):
    out = tmp_path / "data.h5"
    options = ["--short-side", 48, "--fractions", 0, 1, 0, "--jobs", 2]
    assert run("pack", photos, "--out", out, *options) == 0
    shown = capsys.readouterr().out
    assert f"{out}: {N_PHOTOS} photos" in shown
    assert "dropped: 0 near-grey, 0 tiny, 0 broken, 0 duplicates" in shown
    packed = PackedPhotos(out, "val")
    assert [packed.read(i).shape for i in range(len(packed))] == [(72, 48, 3)] * N_PHOTOS
    with h5py.File(out) as file:
        assert file.attrs["command"].startswith(f"zcolor pack {photos} --out {out} --short-side")
    assert_refused(capsys, 2, r"data\.h5 exists; choose", "pack", photos, "--out", out)
    assert run("pack", photos, "--out", out, "--overwrite", "--fractions", 1, 0, 0) == 0
    assert len(PackedPhotos(out, "train")) == N_PHOTOS


@pytest.mark.parametrize(
    ("sources", "message"),
    [([], "no photographs were named"), (["nowhere"], "nowhere does not exist")],
)
def test_pack_refuses_in_a_line(tmp_path, monkeypatch, capsys, sources, message):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, 2, message, "pack", *sources, "--out", "data.h5")
    assert list(tmp_path.iterdir()) == []


def test_settings_that_make_no_sense(tmp_path, capsys):
    out = tmp_path / "data.h5"
    assert run("pack", "x", "--out", out, "--fractions", 1, 1, 1) == 2
    assert "fractions must be three shares" in capsys.readouterr().err
    assert not out.exists()


def test_interrupted_pack_goes_on(photos, tmp_path, monkeypatch, capsys, caplog):
    real, prepared = pack.prepare, []

    def prepare(entry, settings):
        prepared.append(entry.name)
        if len(prepared) == 3:
            raise KeyboardInterrupt
        return real(entry, settings)

    monkeypatch.setattr(pack, "prepare", prepare)
    call = ["pack", photos, "--out", tmp_path / "data.h5", "--jobs", 1]
    assert run(*call) == 130
    error = capsys.readouterr().err
    assert error.endswith("zcolor: interrupted; the same command goes on where it stood\n")
    assert f"interrupted: 2 of {N_PHOTOS} photos are done" in caplog.text
    assert (tmp_path / "data.h5.part").exists()
    del prepared[:]
    monkeypatch.setattr(pack, "prepare", lambda *entry: prepared.append(entry) or real(*entry))
    assert run(*call) == 0
    assert len(prepared) == N_PHOTOS - 2
    assert len(PackedPhotos(tmp_path / "data.h5")) == N_PHOTOS


# ---- priors --------------------------------------------------------------------------------


def test_priors_are_counted_written_drawn_and_told(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [
        *("--out", "p.h5", "--plot", "p.png", "--bins", "12", "--range", "-96", "96"),
        *("--size", "24", "--stride", "3", "--smoothing", "0.8", "--jobs", "1", "--split", "all"),
    ]
    assert run("priors", "photos", *options) == 0
    told = capsys.readouterr().out
    assert "cells seen: " in told
    assert told.endswith("written: p.h5\ndrawn: p.png\n")
    found = read_priors(tmp_path / "p.h5")
    assert found.grid == AbGrid(12, -96, 96)
    assert found.settings == PriorSettings(12, (-96, 96), 24, 3, 0.8, jobs=1)
    assert found.n_photos == N_PHOTOS
    assert found.command == "zcolor priors photos " + " ".join(options)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("plot", "code", "message"),
    [
        ("photos/3.png", 2, "photos/3.png exists and is no plot of priors.*name another file"),
        ("notes.doc", 2, r"must end in \.png, got notes\.doc"),
        ("p.h5", 2, r"must end in \.png"),
        ("folder.png", 1, "folder.png is a folder"),
        ("photos/3.png/p.png", 1, "photos/3.png is no folder"),
    ],
)
def test_a_plot_takes_the_place_of_nothing_else(
    photos, tmp_path, monkeypatch, capsys, plot, code, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(priors, "count_colors", None)  # refused before hours of counting
    Path("notes.doc").write_text("mine")
    Path("folder.png").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_refused(capsys, code, message, "priors", photos, "--out", "p.h5", "--plot", plot)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_plot_is_not_the_file_of_the_priors(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call = ["priors", photos, "--out", "p.png", "--plot", tmp_path / "p.png"]
    assert_refused(capsys, 2, "is to hold the priors; name another file for the plot", *call)
    assert not Path("p.png").exists()


def test_an_earlier_plot_is_replaced(photos, tmp_path):
    plot, drawn = tmp_path / "new" / "p.png", []
    for bins in (12, 14):
        call = ["priors", photos, "--out", tmp_path / "p.h5", "--plot", plot, "--bins", bins]
        assert run(*call) == 0
        drawn.append(plot.read_bytes())
    assert drawn[0] != drawn[1]


def test_priors_of_a_pack_are_those_of_its_split(photos, tmp_path):
    pack_file, out = tmp_path / "data.h5", tmp_path / "p.h5"
    assert run("pack", photos, "--out", pack_file, "--fractions", 0.5, 0.5, 0) == 0
    found = {}
    for split in ("train", "val", "all"):
        assert run("priors", pack_file, "--out", out, "--split", split) == 0
        found[split] = read_priors(out).n_photos
    assert found["train"] == len(PackedPhotos(pack_file, "train")) > 0
    assert found["val"] == N_PHOTOS - found["train"] > 0
    assert found["all"] == N_PHOTOS


@pytest.mark.parametrize(
    ("data", "message"),
    [([], "no DATA given; name packs"), (["nowhere"], "nowhere does not exist")],
)
@pytest.mark.parametrize("command", ["priors", "train"])
def test_data_that_is_not_there_is_refused_in_a_line(
    tmp_path, monkeypatch, capsys, command, data, message
):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, 2, message, command, *data, "--out", "out")
    if not data:
        assert list(tmp_path.iterdir()) == []


def test_interrupted_priors_go_on(photos, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    call = ["priors", photos, "--out", tmp_path / "p.h5"]
    with monkeypatch.context() as patch:
        patch.setattr(priors, "write_priors", stop)
        assert run(*call) == 130
    error = capsys.readouterr().err
    assert error.endswith("zcolor: interrupted; the same command goes on where it stood\n")
    assert (tmp_path / "p.h5.part").exists()
    assert run(*call) == 0
    assert read_priors(tmp_path / "p.h5").n_photos == N_PHOTOS
    assert not (tmp_path / "p.h5.part").exists()


def test_priors_are_there_even_if_they_cannot_be_drawn(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    call = ["priors", photos, "--out", tmp_path / "p.h5", "--plot", tmp_path / "p.png"]
    assert run(*call) == 1
    shown = capsys.readouterr()
    assert shown.out.endswith(f"written: {tmp_path / 'p.h5'}\n")
    assert re.match(r"zcolor: .*zcolor\[train\]", shown.err.splitlines()[-1])
    assert read_priors(tmp_path / "p.h5").n_photos == N_PHOTOS


# ---- train ---------------------------------------------------------------------------------

TINY = [
    *("--photos", "40", "--batch", "8", "--epoch-photos", "40", "--crops", "16", "--shares", "1"),
    *("--width", "0.0625", "--val-photos", "2", "--no-bf16", "--jobs", "1", "--device", "cpu"),
]


def test_train_is_handed_its_settings(tmp_path, capsys, monkeypatch):
    calls = []

    def train(*args, **options):
        calls.append((args, options))
        return loop.TrainResult("done", 1234, (), tmp_path / "state", tmp_path / "best")

    monkeypatch.setattr(loop, "train", train)
    arguments = "train a.h5 b.zip --out run --val v.zip --photos 10 --crops 64 --shares 1"
    more = "--no-bf16 --augment.rotation 3 --minutes 2.5 --resume --priors p.h5"
    assert run(*arguments.split(), *more.split()) == 0
    ((settings, data, out), options) = calls[0]
    defaults = TrainSettings()
    assert (settings.photos, settings.crops, settings.shares) == (10, (64,), (1.0,))
    assert (settings.bf16, settings.augment.rotation) == (False, 3.0)
    assert (settings.batch, settings.seed) == (defaults.batch, defaults.seed)
    assert (data, str(out)) == (("a.h5", "b.zip"), "run")
    assert options["val"] == ("v.zip",)
    assert (str(options["priors"]), options["minutes"], options["resume"]) == ("p.h5", 2.5, True)
    assert options["command"] == f"zcolor {arguments} {more}"
    assert f"done: 1,234 photos seen; state {tmp_path / 'state'}\n" in capsys.readouterr().out


def test_train_in_legs(photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    state, best = out / "last.safetensors", out / "best.safetensors"
    call = ["train", photos, "--val", photos, "--out", out, *TINY]
    go_on = "the same command with --resume goes on from there\n"

    assert run(*call, "--minutes", 0) == 0
    assert capsys.readouterr().out == f"minutes: 8 photos seen; state {state}\n{go_on}"
    assert_refused(capsys, 2, "holds a training run already; go on with --resume", *call)

    step = loop._Trainer._step

    def interrupted_step(self, batches):
        if self.record.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_step", interrupted_step)
        assert run(*call, "--resume") == 130
    assert capsys.readouterr().out == f"interrupted: 24 photos seen; state {state}\n{go_on}"

    assert run(*call, "--resume") == 0
    assert capsys.readouterr().out == f"done: 40 photos seen; state {state}, best {best}\n"
    typed = " ".join(map(str, [*call, "--resume"]))
    assert read_header(best)["provenance"]["command"] == f"zcolor {typed}"


def test_diverged_training_is_told_in_a_line(photos, tmp_path, capsys):
    wild = ["--optimizer", "sgd", "--lr", "1e30", "--clip", 0, "--warmup", 0]
    call = ["train", photos, "--val", photos, "--out", tmp_path / "run", *TINY, *wild]
    assert run(*call) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    *_, last = shown.err.splitlines()
    assert re.match(r"zcolor: the loss or the gradient became NaN .*; none was saved; .*--lr", last)


def test_train_interrupted_before_it_begins(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", stop)
    assert run("train", "x.h5", "--out", tmp_path / "run") == 130
    again = "zcolor: interrupted; give the same command again, with --resume if it had begun"
    assert capsys.readouterr().err == f"{again} to train\n"
