"""Ctrl-C and SIGTERM in each command: exit code 130, nothing half, and words on how to go on."""

import signal
import time

import pytest

from tests.faults import runs


@pytest.mark.parametrize("number", runs.but(signal.SIGINT, signal.SIGTERM))
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pack", "the same command goes on where it stood"),
        ("priors", "the same command goes on where it stood"),
        ("train", "the same command with --resume goes on from there"),
        ("colorize", "--resume"),
        ("video", "nothing was written"),
    ],
)
def test_interrupted(zygote, tmp_path, tiny_model, command, words, number):
    folder = tmp_path / "out"
    folder.mkdir()
    model = ["--model", tiny_model, "--device", "cpu"]
    data = {
        "pack": lambda: runs.make_photos(tmp_path / "photos", 200, 200),
        "priors": lambda: runs.make_pack(tmp_path / "photos.h5", 9000),
        "train": lambda: runs.make_pack(tmp_path / "photos.h5", 48, 40, fractions=(0.9, 0.1)),
        "colorize": lambda: runs.make_photos(tmp_path / "photos", 200, 100),
        "video": lambda: runs.make_film(tmp_path / "film.mp4", 200),
    }[command]()
    options, begun = {
        "pack": (["--out", "d.h5", "--jobs", 1], "d.h5.part"),
        "priors": (["--out", "p.h5", "--jobs", 1], "p.h5.part"),
        "train": (["--out", "run", "--photos", 80_000, *runs.TINY], "run/log.jsonl"),
        "colorize": (["-o", "color", *model], "color"),
        "video": (["-o", "color.mp4", *model], runs.PART_PATTERN),
    }[command]
    started = zygote.start(folder, command, data, *options)
    while not (list(folder.glob(begun)) or started.ended()):
        time.sleep(0.01)
    if command == "train":  # past the seconds in which it is set up
        time.sleep(1)
    started.send(number)
    code, log = started.wait(), started.log.read_text()
    assert code == 130, log[-2000:]
    assert "Traceback" not in log
    assert words in log
    assert "interrupted" in log
    assert runs.parts(folder) == []
    if command == "colorize":
        zygote.run(folder, command, data, *options, "--resume")
        assert len(runs.names(folder)) == 200
    elif command in ("pack", "priors"):
        zygote.run(folder, command, data, *options)
    elif command == "video":
        assert runs.names(folder) == []
