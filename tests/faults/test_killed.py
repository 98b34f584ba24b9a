"""Killed (SIGKILL) in the middle of the work: the same command finishes it, with equal results."""

import random
import signal
import time

import pytest
import torch

from tests.faults import runs
from zcolor.checkpoint import read_checkpoint
from zcolor.training.state import has_state

ONCE, OFTEN = pytest.param(1, id="once"), pytest.param(20, id="often", marks=pytest.mark.slow)
SEED = 2016


def disturb(zygote, folder, reference, *, n, arguments, begun, check, clean):
    """Measure an undisturbed run of `arguments()` in `reference`, then kill others in `folder`."""
    for place in (folder, reference):
        place.mkdir()
    command = zygote.start(reference, *arguments(reference))
    while not (begun(reference) or command.ended()):
        time.sleep(0.002)
    began = time.monotonic()
    assert command.wait() == 0, command.log.read_text()[-2000:]
    check(reference, done=True)
    kills, _ = runs.kill_at_random(
        lambda: zygote.start(folder, *arguments(folder)),
        lambda: begun(folder),
        lambda done: check(folder, done=done),
        n=n,
        span_s=time.monotonic() - began,
        rng=random.Random(SEED),
        clean=lambda: clean(folder),
    )
    assert kills == n


@pytest.mark.parametrize("n", [ONCE, OFTEN])
def test_pack(zygote, tmp_path, n):
    photos = runs.make_photos(tmp_path / "photos", 60 if n == 1 else 300, 200)
    whole = tmp_path / "whole"

    def check(folder, *, done):
        assert (folder / "d.h5").exists() >= done
        if (folder / "d.h5").exists():
            assert runs.h5_content(folder / "d.h5") == runs.h5_content(whole / "d.h5")
        if done:
            assert runs.names(folder) == ["d.h5", "d.report.txt"]

    def clean(folder):
        (folder / "d.h5").unlink()

    disturb(
        zygote,
        tmp_path / "out",
        whole,
        n=n,
        # A kill may come after the pack was written and before its journal was removed.
        arguments=lambda folder: ["pack", photos, "--out", "d.h5", "--jobs", 2, "--overwrite"],
        begun=lambda folder: (folder / "d.h5.part").exists(),
        check=check,
        clean=clean,
    )


@pytest.mark.parametrize("n", [ONCE, OFTEN])
def test_priors(zygote, tmp_path, n):
    # What was counted is kept every 2,048 photos.
    pack = runs.make_pack(tmp_path / "photos.h5", 2200 if n == 1 else 6000)
    whole = tmp_path / "whole"

    def check(folder, *, done):
        assert (folder / "p.h5").exists() >= done
        if (folder / "p.h5").exists():
            assert (folder / "p.h5").read_bytes() == (whole / "p.h5").read_bytes()
        if done:
            assert runs.names(folder) == ["p.h5"]

    disturb(
        zygote,
        tmp_path / "out",
        whole,
        n=n,
        arguments=lambda folder: ["priors", pack, "--out", "p.h5"],
        # There is no sign before the first 2,048 photos: from the start then, which takes no time.
        begun=lambda folder: folder.exists(),
        check=check,
        clean=lambda folder: (folder / "p.h5").unlink(),
    )


@pytest.mark.parametrize("n", [ONCE, OFTEN])
def test_train(zygote, tmp_path, n):
    pack = runs.make_pack(tmp_path / "photos.h5", 48, 40, fractions=(0.9, 0.1))
    assert zygote.run(tmp_path, "priors", pack, "--out", "p.h5") is None
    whole = tmp_path / "whole"
    options = [
        *("--photos", 160 if n == 1 else 480, "--epoch-photos", 80, "--checkpoint-minutes", 0.005),
        *("--priors", tmp_path / "p.h5", *runs.TINY),
    ]

    def arguments(folder):
        resume = ["--resume"] if has_state(folder / "run" / "last.safetensors") else []
        return ["train", pack, "--out", "run", *options, *resume]

    def check(folder, *, done):
        run = folder / "run"
        for path in run.glob("*.safetensors*"):
            read_checkpoint(path)  # whole, whatever happened
        if done:
            for name in ("last.safetensors", "best.safetensors"):
                ours, theirs = (read_checkpoint(f / "run" / name)[0] for f in (folder, whole))
                assert ours.keys() == theirs.keys()
                assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
            assert runs.parts(run) == []
            assert not (run / ".lock").exists()

    def clean(folder):
        for path in (folder / "run").glob("last.safetensors*"):
            path.unlink()

    disturb(
        zygote,
        tmp_path / "out",
        whole,
        n=n,
        arguments=arguments,
        begun=lambda folder: (folder / "run" / "log.jsonl").exists(),
        check=check,
        clean=clean,
    )


@pytest.mark.parametrize("n", [ONCE, OFTEN])
def test_colorize_a_folder(zygote, tiny_model, tmp_path, n):
    photos = runs.make_photos(tmp_path / "photos", 30 if n == 1 else 150, 150)
    whole = tmp_path / "whole"

    def check(folder, *, done):
        found = runs.names(folder)
        for name in found:
            assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
        if done:
            assert found == runs.names(whole)

    def clean(folder):
        for path in (folder / "color").iterdir():
            path.unlink()

    disturb(
        zygote,
        tmp_path / "out",
        whole,
        n=n,
        arguments=lambda folder: [
            *("colorize", photos, "-o", "color", "--model", tiny_model, "--resume"),
            *("--jobs", 2, "--device", "cpu"),
        ],
        begun=lambda folder: (folder / "color").exists() and any((folder / "color").iterdir()),
        check=check,
        clean=clean,
    )


@pytest.mark.parametrize("n", [ONCE, OFTEN])
def test_video(zygote, tiny_model, tmp_path, n):
    film = runs.make_film(tmp_path / "film.mp4", 30 if n == 1 else 80)
    whole = tmp_path / "whole"

    def check(folder, *, done):
        out = folder / "color.mp4"
        assert out.exists() >= done
        if out.exists():
            assert out.read_bytes() == (whole / "color.mp4").read_bytes()

    disturb(
        zygote,
        tmp_path / "out",
        whole,
        n=n,
        arguments=lambda folder: [
            *("video", film, "-o", "color.mp4", "--model", tiny_model, "--overwrite"),
            *("--device", "cpu"),
        ],
        begun=lambda folder: bool(runs.parts(folder)),
        check=check,
        clean=lambda folder: (folder / "color.mp4").unlink(),
    )


def test_the_kill_is_one(zygote, tmp_path):
    """The tests above kill with the signal that no process can catch."""
    (tmp_path / "a").mkdir()
    command = zygote.start(tmp_path / "a", "pack", tmp_path, "--out", "d.h5")
    command.send(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
