"""What more workers bring, and what ten million photographs cost: `python -m benchmarks.scaling`.

First what one photo costs one core, stage by stage; then how much faster two workers are than one,
for each engine; from these the days that N machines would take. Everything printed is measured
but for the machines of the last table, which stand on paper (`Node`).
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import torch
import tyro
from tqdm import tqdm

from benchmarks.photographs import jpeg_bytes, photograph
from benchmarks.report import describe_machine
from benchmarks.timing import ROOT, zcolor_command
from zcolor.atomic import whole_file
from zcolor.colorizer import Colorizer
from zcolor.files import encode_image
from zcolor.photo import read_photo

Engine = Literal["local", "ray"]
TRAINING = "training"
"""Row of the training; all others colour."""
SHAPES = ((480, 640), (1200, 1600), (3000, 4000))
"""Height and width of the photos whose cost is measured."""
_STAGES = ("reading", "network", "joining", "writing")
# One thread for everything that a worker does, so that two workers have two cores.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
_TRAIN_SIDE, _TRAIN_BATCH = 64, 32
_TRAIN_PHOTOS, _TRAIN_SHAPE = 64, (96, 128)
# Photos seen for each photo that is coloured, so that both take about as long.
_TRAIN_TIMES = 8


@dataclass(frozen=True)
class Settings:
    """What is measured, and where it is written."""

    photos: int = 80
    """Files of 1200 x 1600 for the engines; each is run on so many and on twice as many."""
    runs: int = 9
    """Of each stage."""
    rounds: int = 2
    """Of each engine and number of workers; the quicker one counts."""
    engines: tuple[Engine, ...] = ("local", "ray")
    """Engines to try."""
    training: bool = True
    """Measure training with one and two processes too."""
    out: Path = Path("runs/scaling")
    """Folder for scaling.json and scaling.md."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if min(self.photos, self.runs, self.rounds) < 1:
            raise ValueError(
                "photos, runs and rounds must be at least 1, got "
                f"{self.photos}, {self.runs} and {self.rounds}"
            )


@dataclass(frozen=True)
class Cost:
    """What one photo costs one core."""

    shape: tuple[int, int]
    seconds: Mapping[str, float]
    """Of each of the stages: reading, network, joining, writing."""
    bytes_in: int
    bytes_out: int

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Node:
    """A machine on paper. Nothing of it is measured."""

    name: str
    cores: int
    gpu: bool
    """Takes the network off the cores. Its own time, under a millisecond a photo by the number of
    operations (2.64 GMAC), is left out."""
    gigabytes_per_second: float = 1.25
    """Between the machine and the storage: 10 Gbit/s."""


NODES = (
    Node("2 cores", 2, gpu=False),
    Node("32 cores", 32, gpu=False),
    Node("16 cores and a GPU", 16, gpu=True),
)
STORAGE_GB_PER_SECOND = 20.0
"""What the shared storage gives all machines together, on paper."""
ARCHIVE = 10_000_000
"""Photographs of the last table."""


def photo_cost(shape: tuple[int, int], colorizer: Colorizer, runs: int) -> Cost:
    """Measure the stages of one photo on one thread: medians of several passes."""
    jpeg = jpeg_bytes(photograph(*shape), grey=True)
    passes: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(jpeg)
        for _ in range(runs + 1):  # the first warms up
            times = [time.perf_counter()]
            photo = read_photo(path)
            times.append(time.perf_counter())
            ab = colorizer.predict_ab(photo)
            times.append(time.perf_counter())
            pixels = photo.render(ab)
            times.append(time.perf_counter())
            encoded = encode_image(pixels, "JPEG")
            times.append(time.perf_counter())
            passes.append([b - a for a, b in itertools.pairwise(times)])
    medians = [statistics.median(values) for values in zip(*passes[1:], strict=True)]
    return Cost(shape, dict(zip(_STAGES, medians, strict=True)), len(jpeg), len(encoded))


def coloring_rate(engine: Engine, workers: int, folder: Path, n: int) -> float:
    """Measure photos a second of a running job: from the times for n and for 2 n photos.

    The difference leaves out what a job takes to start, which the larger one does not pay twice.

    Parameters
    ----------
    engine
        As of `zcolor colorize`.
    workers
        Photos at a time.
    folder
        Holds `all`, with 2 n photos, and `half`, with n.
    n
        Photos.
    """
    seconds = {}
    for name in ("half", "all"):
        out = folder / f"{engine}-{workers}-{name}"
        words = ["colorize", str(folder / name), "-o", str(out), "--overwrite"]
        words += ["--jobs", str(workers), "--engine", engine]
        seconds[name] = _seconds(zcolor_command(*words))
    return n / max(seconds["all"] - seconds["half"], 1e-9)


def training_rate(workers: int, folder: Path, n: int) -> float:
    """Measure photos a second of training with so many processes, in the same way."""
    seconds = {}
    for name, photos in (("half", n), ("all", 2 * n)):
        out = folder / f"train-{workers}-{name}-{time.monotonic_ns()}"
        words = [str(folder / "train"), "--out", str(out), "--photos", str(photos)]
        words += ["--crops", str(_TRAIN_SIDE), "--shares", "1", "--batch", str(_TRAIN_BATCH)]
        words += ["--width", "0.5", "--monitor", "train", "--cache", "--jobs", "1"]
        words += ["--epoch-photos", str(4 * n), "--device", "cpu"]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
        launcher.append("--")  # or else it takes our --monitor for one of its own
        start = [sys.executable, *(launcher if workers > 1 else [])]
        command = [*start, str(ROOT / "tools" / "train.py"), *words]
        seconds[name] = _seconds(command)
    return n / max(seconds["all"] - seconds["half"], 1e-9)


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **_ONE_THREAD},
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-800:]}"
        )
    return time.perf_counter() - start


@dataclass(frozen=True)
class Plan:
    """What so many machines need for an archive."""

    node: Node
    n_nodes: int
    days: float
    storage_gb_per_second: float
    """Read and written by all of them together."""
    bottleneck: str


def plan(cost: Cost, node: Node, n_nodes: int, *, efficiency: float, n: int = ARCHIVE) -> Plan:
    """Work out what machines on paper would take.

    Parameters
    ----------
    cost
        Of one photo, measured.
    node, n_nodes
        Which machines, and how many.
    efficiency
        Measured share of twice the rate that a second worker brings; taken for all cores.
    n
        Photographs.

    Examples
    --------
    >>> seconds = {"reading": 0.1, "network": 0.2, "joining": 0.1, "writing": 0.1}
    >>> cost = Cost((1, 1), seconds, 1_000_000, 1_000_000)
    >>> plan(cost, Node("a", 10, gpu=False), 1, efficiency=1.0, n=864_000).days
    0.5
    >>> plan(cost, Node("a", 10, gpu=True), 1, efficiency=1.0, n=864_000).bottleneck
    'reading, joining and writing on the cores'
    """
    on_cores = cost.total - (cost.seconds["network"] if node.gpu else 0.0)
    gigabytes = (cost.bytes_in + cost.bytes_out) / 1e9
    stages = [s for s in _STAGES if s != "network" or not node.gpu]
    named = f"{', '.join(stages[:-1])} and {stages[-1]} on the cores"
    rates = {
        named: n_nodes * node.cores * efficiency / on_cores,
        "the machines' lines": n_nodes * node.gigabytes_per_second / gigabytes,
        "the storage": STORAGE_GB_PER_SECOND / gigabytes,
    }
    bottleneck = min(rates, key=lambda name: rates[name])
    rate = rates[bottleneck]
    return Plan(node, n_nodes, n / rate / 86_400, rate * gigabytes, bottleneck)


def _cost_table(costs: Sequence[Cost]) -> str:
    head = " | ".join(_STAGES)
    lines = [
        f"| photo | {head} | together | bytes in | bytes out |",
        "| --- " * (len(_STAGES) + 4) + "|",
    ]
    for cost in costs:
        stages = " | ".join(f"{1000 * cost.seconds[stage]:.1f} ms" for stage in _STAGES)
        height, width = cost.shape
        lines.append(
            f"| {width} x {height} | {stages} | {1000 * cost.total:.0f} ms | "
            f"{cost.bytes_in / 1e6:.2f} MB | {cost.bytes_out / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def _rate_table(rates: Mapping[str, Mapping[int, float]]) -> str:
    lines = ["| what | 1 worker | 2 workers | efficiency |", "| --- | --- | --- | --- |"]
    for name, by_workers in rates.items():
        one, two = by_workers[1], by_workers[2]
        lines.append(f"| {name} | {one:.1f} a second | {two:.1f} | {two / one / 2:.0%} |")
    return "\n".join(lines)


def _duration(days: float) -> str:
    if days >= 1:
        return f"{days:.1f} days"
    hours = 24 * days
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"


def _plan_table(plans: Sequence[Plan]) -> str:
    lines = [
        "| machines | time | storage, GB a second | bottleneck |",
        "| --- | --- | --- | --- |",
    ]
    lines.extend(
        f"| {one.n_nodes:,} of {one.node.name} | {_duration(one.days)} | "
        f"{one.storage_gb_per_second:.2f} | {one.bottleneck} |"
        for one in plans
    )
    return "\n".join(lines)


def _coloring(engine: Engine, folder: Path, n: int, workers: int) -> float:
    return coloring_rate(engine, workers, folder, n)


def _measure_rates(settings: Settings, folder: Path) -> dict[str, dict[int, float]]:
    n = settings.photos
    for name, count, shape in (
        ("half", n, SHAPES[1]),
        ("all", 2 * n, SHAPES[1]),
        ("train", _TRAIN_PHOTOS, _TRAIN_SHAPE),
    ):
        (folder / name).mkdir()
        for i in range(count):
            jpeg = jpeg_bytes(photograph(*shape, index=i), grey=name != "train")
            (folder / name / f"{i:04}.jpg").write_bytes(jpeg)
    rates: dict[str, dict[int, float]] = {}
    ways: dict[str, Callable[[int], float]] = {
        f"colouring, --engine {engine}": functools.partial(_coloring, engine, folder, n)
        for engine in settings.engines
    }
    if settings.training:
        ways[TRAINING] = lambda workers: training_rate(workers, folder, _TRAIN_TIMES * n)
    for _ in range(settings.rounds):
        for name, rate_of in tqdm(ways.items(), unit="engine"):
            kept = rates.setdefault(name, {})
            for workers in (1, 2):
                rate = rate_of(workers)
                kept[workers] = max(rate, kept.get(workers, 0.0))
                tqdm.write(f"{name}, {workers}: {rate:.1f} a second", file=sys.stderr)
    return rates


def main(settings: Settings) -> None:
    """Measure, print the tables, and write them with the figures."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    colorizer = Colorizer(device="cpu")
    costs = [photo_cost(shape, colorizer, settings.runs) for shape in SHAPES]
    with tempfile.TemporaryDirectory(prefix="zcolor-scaling-") as folder:
        rates = _measure_rates(settings, Path(folder))
    # Many machines are the engine's that scales worst here.
    efficiency = min(1.0, *(two[2] / two[1] / 2 for name, two in rates.items() if name != TRAINING))
    plans = [
        plan(costs[1], node, n_nodes, efficiency=efficiency)
        for node in NODES
        for n_nodes in (1, 10, 100, 1000)
    ]
    height, width = SHAPES[1]
    about = f"Efficiency {efficiency:.0%}, {ARCHIVE:,} photographs of {width} x {height}:"
    page = "\n\n".join(
        [
            json.dumps(describe_machine()),
            _cost_table(costs),
            _rate_table(rates),
            about,
            _plan_table(plans),
        ]
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "costs": [asdict(cost) for cost in costs],
        "rates": rates,
        "plans": [asdict(one) for one in plans],
    }
    for name, text in (
        ("scaling.md", page + "\n"),
        ("scaling.json", json.dumps(figures, indent=1)),
    ):
        with whole_file(settings.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main(tyro.cli(Settings))
