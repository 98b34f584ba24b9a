"""Many photographs through a folder run and through the server: `python -m benchmarks.soak`.

What must hold, and is measured: every photo comes back, once, as itself; memory and the number of
open files stay flat. Memory is read from /proc, so that this runs on Linux alone.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tyro
from skimage import data
from tqdm import tqdm

from benchmarks.timing import ROOT, zcolor_command
from zcolor.atomic import whole_file

Grey8 = npt.NDArray[np.uint8]

SIDES = (48, 64)
"""Height and width of a photo, in pixels."""
CLIENTS = 4
"""Requests at a time."""
_PER_FOLDER = 500
_SAMPLE_SECONDS = 0.5
_START_SECONDS = 120
# The lightness of an 8-bit result may differ by rounding, and a little more outside the gamut.
_SAME_L = 3.0
# Other photos differ by far more than that: their marks are made so (`photo`).


@dataclass(frozen=True)
class Settings:
    """How long it goes on."""

    photos: int = 10_000
    """Photos through each door."""
    out: Path = Path("runs/soak")
    """Folder for soak.json and soak.md."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.photos < CLIENTS:
            raise ValueError(f"photos must be at least {CLIENTS}, got {self.photos}")


@dataclass
class Watch:
    """Memory and open files of a process, against the share of its work that is done."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)
    """(photos done, resident megabytes, open files)."""

    def look(self, pid: int, done: float) -> None:
        """Take a sample; nothing once the process has ended."""
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            n_files = len(os.listdir(f"/proc/{pid}/fd"))
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return
        self.samples.append((done, pages * os.sysconf("SC_PAGE_SIZE") / 1e6, n_files))

    def between(self, low: float, high: float) -> tuple[float, int]:
        """Give the highest memory and number of files while `low` to `high` photos were done."""
        some = [s for s in self.samples if low <= s[0] <= high] or self.samples[-1:]
        return max(s[1] for s in some), max(s[2] for s in some)


@dataclass(frozen=True)
class Soaked:
    """What came of one door."""

    door: str
    photos: int
    seconds: float
    lost: int
    """Photos without a result."""
    duplicated: int
    """Results without a photo, temporary files among them."""
    mistaken: int
    """Results with the lightness of something else."""
    memory_early_mb: float
    """Highest while 10 to 30 % were done."""
    memory_late_mb: float
    """Highest while 80 to 100 % were done."""
    files_early: int
    files_late: int

    @property
    def row(self) -> str:
        """Of the table."""
        return (
            f"| {self.door} | {self.photos:,} | {self.photos / self.seconds:.0f} | {self.lost} | "
            f"{self.duplicated} | {self.mistaken} | {self.memory_early_mb:.0f} -> "
            f"{self.memory_late_mb:.0f} | {self.files_early} -> {self.files_late} |"
        )


HEADER = (
    "| door | photos | a second | lost | duplicated | mistaken | memory, MB (10-30 % -> 80-100 %) "
    "| open files |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)
"""Of the table."""


def photo(index: int) -> Grey8:
    """Make a grey photo that differs from every other: part of a photograph, with its number.

    Parameters
    ----------
    index
        From 0.

    Returns
    -------
    (48, 64) uint8; the first row of blocks holds the number in binary, 40 levels apart.
    """
    rng = np.random.default_rng(index)
    whole: Grey8 = data.camera()  # type: ignore[no-untyped-call]
    height, width = SIDES
    top, left = (int(rng.integers(0, n - m)) for n, m in zip(whole.shape, SIDES, strict=True))
    part = whole[top : top + height, left : left + width].copy()
    bits = np.array([index >> k & 1 for k in range(16)], np.uint8) * 40 + 100
    part[:4] = np.repeat(bits, width // 16)[None]
    return part


def is_of(rgb: npt.NDArray[Any] | None, index: int) -> bool:
    """Whether (h, w, 3) BGR is a colouring of a photo: nearly its lightness everywhere."""
    grey = photo(index)
    if rgb is None or rgb.shape != (*grey.shape, 3):
        return False
    lightness = [
        cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[..., 0]
        for picture in (rgb, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    ]
    return float(np.abs(lightness[0] - lightness[1]).max()) < _SAME_L


def soak_folder(n: int, model: str, folder: Path) -> Soaked:
    """Colour a folder of `n` photos by the command, and look at every result."""
    source, out = folder / "in", folder / "out"
    names = [f"{i // _PER_FOLDER:03}/{i:06}.png" for i in range(n)]
    for i, name in enumerate(tqdm(names, unit="photo", desc="write")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(source / name), photo(i))
    watch, start = Watch(), time.perf_counter()
    words = ("colorize", str(source), "-o", str(out), "--model", model)
    with _started(words) as process, tqdm(total=n, unit="photo", desc="folder") as bar:
        while process.poll() is None:
            time.sleep(_SAMPLE_SECONDS)
            done = _count(out)
            watch.look(process.pid, done)
            bar.update(done - bar.n)
        if process.returncode:
            raise RuntimeError(f"zcolor colorize ended with {process.returncode}")
    seconds = time.perf_counter() - start
    found = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    there = [i for i, name in enumerate(names) if name in found]
    mistaken = sum(not is_of(cv2.imread(str(out / names[i])), i) for i in there)
    return _summary("folder", n, seconds, n - len(there), len(found - set(names)), mistaken, watch)


def soak_server(n: int, model: str) -> Soaked:
    """Send `n` photos to a server, several at a time, and look at every answer."""
    watch, done, ended = Watch(), [0], threading.Event()
    counted = threading.Lock()
    # A queue that holds all clients: what comes when it is full is tested elsewhere.
    words = ("serve", "--port", "0", "--model", model, "--queue", str(2 * CLIENTS))
    with _started(words, stderr=subprocess.PIPE) as process, tqdm(total=n, desc="server") as bar:
        port = _port_of(process)

        def client(numbers: Sequence[int]) -> list[bool]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            answers = []
            for i in numbers:
                answers.append(_asked(connection, i))
                with counted:
                    done[0] += 1
                    bar.update()
            connection.close()
            return answers

        def sample() -> None:
            while not ended.wait(_SAMPLE_SECONDS):
                watch.look(process.pid, done[0])

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            lists = list(pool.map(client, [range(k, n, CLIENTS) for k in range(CLIENTS)]))
        seconds = time.perf_counter() - start
        watch.look(process.pid, n)
        ended.set()
        sampler.join()
    answers = [answer for some in lists for answer in some]
    return _summary("server", n, seconds, n - len(answers), 0, answers.count(False), watch)


def _asked(connection: http.client.HTTPConnection, index: int) -> bool:
    """Send a photo; whether its colouring came back."""
    body = cv2.imencode(".png", photo(index))[1].tobytes()
    connection.request("POST", "/colorize", body, {"Content-Type": "image/png"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(f"the server answered {response.status}: {answer[:300]!r}")
    return is_of(cv2.imdecode(np.frombuffer(answer, np.uint8), cv2.IMREAD_COLOR), index)


def _summary(
    door: str, n: int, seconds: float, lost: int, duplicated: int, mistaken: int, watch: Watch
) -> Soaked:
    early, late = watch.between(0.1 * n, 0.3 * n), watch.between(0.8 * n, n)
    memory, files = (early[0], late[0]), (early[1], late[1])
    return Soaked(door, n, seconds, lost, duplicated, mistaken, *memory, *files)


def _count(folder: Path) -> int:
    """Finished files two levels down, without the temporary ones."""
    if not folder.exists():
        return 0
    return sum(
        not entry.name.startswith(".")
        for below in os.scandir(folder)
        if below.is_dir()
        for entry in os.scandir(below.path)
    )


@contextmanager
def _started(words: Sequence[str], *, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a command of zcolor, and end it whatever happens."""
    process = subprocess.Popen(
        zcolor_command(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if stderr is None else stderr,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stderr:
            process.stderr.close()


def _port_of(process: subprocess.Popen[str]) -> int:
    """Wait until the server says where it is."""
    assert process.stderr is not None
    told = []
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and (line := process.stderr.readline()):
        told.append(line)
        if found := re.search(r"http://[^:]+:(\d+)", line):
            return int(found.group(1))
    raise RuntimeError(f"the server did not start: {''.join(told)[-500:]}")


def main(settings: Settings) -> None:
    """Send the photos through both doors, print the table, write it and the figures."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("the soak reads memory from /proc and runs on Linux alone")
    with tempfile.TemporaryDirectory(prefix="zcolor-soak-") as folder:
        found = [soak_folder(settings.photos, settings.model, Path(folder))]
    found.append(soak_server(settings.photos, settings.model))
    page = "\n".join([HEADER, *(soaked.row for soaked in found)])
    settings.out.mkdir(parents=True, exist_ok=True)
    figures = json.dumps([asdict(soaked) for soaked in found], indent=1)
    for name, text in (("soak.md", page + "\n"), ("soak.json", figures)):
        with whole_file(settings.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main(tyro.cli(Settings))
