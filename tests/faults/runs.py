"""Real `zcolor` commands as processes that can be killed, and the small inputs they work on."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from tests.clips import write_film
from zcolor.atomic import PART_PATTERN
from zcolor.training.packfile import PackedPhoto, write_pack

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
ZCOLOR = [sys.executable, "-c", "import sys; from zcolor.apps.cli import main; sys.exit(main())"]
"""What the installed `zcolor` script does."""


def but(first, *others):
    """Values of a parameter: the first in the fast tests too, the others in the slow ones."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


TINY = [
    *("--batch", "8", "--crops", "16", "--shares", "1", "--width", "0.0625", "--val-photos", "2"),
    *("--working-size", "32", "--ema", "0.9", "--no-bf16", "--jobs", "1", "--device", "cpu"),
]
"""Options of a network that is trained in seconds."""


class Zygote:
    """Starts commands quickly, one at a time (`zygote.py` does the work)."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    def start(self, folder, *argv, largest=None, obeys=False):
        """Start `zcolor argv` in a folder; its output is added to `folder/../log`.

        Files may have `largest` bytes, as if the disk were full then; with `obeys` root is bound
        by the permissions of files as everybody is.
        """
        log = Path(folder).parent / "log"
        call = {"argv": list(map(str, argv)), "log": str(log), "cwd": str(folder)}
        call |= {"largest": largest, "obeys": obeys}
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        return _Command(int(self._process.stdout.readline()), self._process.stdout, log)

    def run(self, folder, *argv):
        """Run `zcolor argv` to its end."""
        command = self.start(folder, *argv)
        code = command.wait()
        assert code == 0, command.log.read_text()[-2000:]

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


class _Command:
    def __init__(self, pid, answers, log):
        self.pid, self._answers, self.log = pid, answers, log

    def send(self, number):
        """Send a signal; nothing if the command has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ended(self):
        """Whether the command has ended, without waiting."""
        return not Path(f"/proc/{self.pid}").exists()

    def wait(self):
        """Wait for the exit code; minus the signal that ended it."""
        return int(self._answers.readline())


def start(*argv, cwd):
    """Start the real command as the installed script does, beside others."""
    return subprocess.Popen(
        [*ZCOLOR, *map(str, argv)],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_at_random(start, begun, check, *, n, span_s, rng, clean):
    """Kill a command `n` times; after a run that ended before its kill the work begins anew.

    Parameters
    ----------
    start
        Starts the command, or starts it again after a kill.
    begun
        Tells whether the work is under way: kills fall from then on.
    check
        Called after each kill (False) and each end (True).
    n, span_s, rng
        Kills, each at a random moment of so many seconds.
    clean
        Removes the finished work.
    """
    kills = ends = 0
    while kills < n:
        command = start()
        while not (begun() or command.ended()):
            time.sleep(0.002)
        until = time.monotonic() + rng.uniform(0, span_s)
        while time.monotonic() < until and not command.ended():
            time.sleep(0.002)
        command.send(signal.SIGKILL)
        code = command.wait()
        assert code in (0, -signal.SIGKILL), command.log.read_text()[-2000:]
        check(code == 0)
        kills += code != 0
        ends += code == 0
        if code == 0:
            clean()
    command = start()
    assert command.wait() == 0, command.log.read_text()[-2000:]
    check(True)
    return kills, ends + 1


# ---- inputs ----------------------------------------------------------------------------------


def blotches(seed, side):
    """A photograph of soft colours, (side, side, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


def make_photos(folder, n, side):
    """A folder of `n` JPEG photographs, all different."""
    folder.mkdir(parents=True)
    for i in range(n):
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), blotches(i, side))
    return folder


def make_pack(path, n, side=24, fractions=(1.0, 0.0)):
    """A pack of `n` photographs; of 50 different ones, as making them takes longer than counting.

    `fractions` are the shares of train and val.
    """
    encoded = [cv2.imencode(".jpg", blotches(i, side))[1].tobytes() for i in range(min(n, 50))]
    data = [encoded[i % len(encoded)] for i in range(n)]
    photos = [
        PackedPhoto(
            len(data[i]), side, side, int(i >= n * fractions[0]), "x", i.to_bytes(16, "big"), str(i)
        )
        for i in range(n)
    ]
    write_pack(path, photos, data)
    return path


def make_film(path, n):
    """A film of `n` frames with a cut after every twenty."""
    bgr = [blotches(i // 20, 64) for i in range(n)]
    return write_film(path, [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in bgr])


# ---- results ---------------------------------------------------------------------------------


def names(folder):
    """What is in a folder and its subfolders, without what a kill may leave."""
    parts = set(folder.rglob(PART_PATTERN))
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path not in parts
    )


def parts(folder):
    """Files that were being written."""
    return sorted(path.name for path in folder.rglob(PART_PATTERN))


def h5_content(path):
    """Everything in an HDF5 file but the command that made it."""
    with h5py.File(path) as file:
        datasets = {name: file[name][:].tolist() for name in file}
        return datasets, {k: v for k, v in file.attrs.items() if k != "command"}
