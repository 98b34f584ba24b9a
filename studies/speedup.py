"""How much faster a GPU, more threads and bfloat16 are: `python -m studies.speedup`.

Seconds per photo (network and decoding) and per training step (a whole step of `zcolor train`) of
the shipped network, over batches and sizes, on one CPU thread, on more, and on CUDA or MPS where
there is one; medians and quartiles of interleaved runs. What one run would take too long for is
left out. Finished cells are kept, and the same command goes on after an interrupt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from benchmarks.photographs import photograph
from benchmarks.report import describe_machine
from benchmarks.timing import Spread, interleave, n_cores, timed
from studies.report import PAGES, table, typed, write_page
from zcolor.atomic import whole_file
from zcolor.lab import rgb_to_lightness
from zcolor.models.base import ColorNet
from zcolor.precision import computes_in_bfloat16, fast_precision
from zcolor.registry import load_model
from zcolor.training.distributed import Crew
from zcolor.training.learner import Learner
from zcolor.training.loader import Batch
from zcolor.training.settings import TrainSettings

Work = Literal["colouring", "training"]
_WORKS: tuple[Work, ...] = ("colouring", "training")
# Of a machine's description, what its speed depends on.
_MACHINE = ("processor", "cores", "cuda", "torch")
_LEAST_RUNS = 3
_HOW = (
    "Medians of interleaved runs after two to warm up, each of which waits for the device; in "
    "brackets the quartiles. Photos are squares of the side given. Colouring is the network and "
    "the decoding of its answer, without reading, upsampling and writing of pictures. A training "
    "step is the whole step of `zcolor train`: conversion to Lab, forward and backward pass, "
    "optimizer and running mean. bfloat16 is torch's autocast; float32 on CUDA lets convolutions "
    "use TF32, as torch does by itself."
)


@dataclass(frozen=True)
class Settings:
    """What is measured, and where it is written."""

    photos: int = 16
    """Photos that each cell is measured on at least, as far as `seconds` allow it."""
    batches: tuple[int, ...] = (1, 16, 64)
    """Photos at once."""
    sizes: tuple[int, ...] = (128, 256, 512)
    """Sides of the photos, in pixels; multiples of 8."""
    seconds: float = 2.0
    """For the runs of one way of computing in one cell, about; three runs are made in any case."""
    limit: float = 1.5
    """Where one run is expected to take more seconds, that cell is left out."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    runs: Path = Path("runs/speedup")
    """Folder for the figures of finished cells."""
    page: Path = PAGES / "speedup.md"
    """The page to write."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if min(self.photos, *self.batches) < 1 or any(s < 8 or s % 8 for s in self.sizes):
            raise ValueError(
                "photos and batches must be at least 1 and sizes multiples of 8, got "
                f"{self.photos}, {self.batches}, {self.sizes}"
            )
        if not (self.seconds > 0 and self.limit > 0):
            raise ValueError(
                f"seconds and limit must be above 0, got {self.seconds} and {self.limit}"
            )


@dataclass(frozen=True)
class Way:
    """A way of computing."""

    device: str
    """`cpu`, `cuda` or `mps`."""
    threads: int
    """Of the CPU."""
    bf16: bool
    """In bfloat16, on devices that compute in it, else in float32."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        where = self.device.upper()
        if self.device == "cpu":
            where = f"CPU, {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{where}, {'bfloat16' if self.bf16 else 'float32'}"


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    work: Work
    """Colouring photos, or a training step."""
    size: int
    """Side of the photos, in pixels."""
    batch: int
    """Photos at once."""

    @property
    def pixels(self) -> int:
        """In the whole batch."""
        return self.batch * self.size**2


def ways_here() -> list[Way]:
    """List the ways of this machine; the first is what the others are compared with."""
    threads = sorted({1, 2, n_cores()} & set(range(1, n_cores() + 1)))
    places = [("cpu", n) for n in threads]
    if torch.cuda.is_available():
        places.append(("cuda", n_cores()))
    if torch.backends.mps.is_available():
        places.append(("mps", n_cores()))
    return [
        Way(device, n, bf16)
        for device, n in places
        for bf16 in (False, True)[: 1 + computes_in_bfloat16(torch.device(device))]
    ]


def synchronize(device: str) -> None:
    """Wait until an accelerator has done all that it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def make_task(net: ColorNet, cell: Cell, way: Way, pixels: Tensor) -> Callable[[], float]:
    """Make what one run of a cell does; it returns its seconds.

    Parameters
    ----------
    net
        The network, on the device of `way`; a training step changes it.
    cell
        What is done.
    way
        How.
    pixels
        (n, 3, size, size) uint8 RGB on the CPU.
    """
    device = torch.device(way.device)
    if cell.work == "training":
        settings = TrainSettings(
            batch=cell.batch, bf16=way.bf16, crops=(cell.size,), shares=(1.0,), device=way.device
        )
        learner = Learner(net, settings, Crew(0, 1, device))
        batch = Batch(pixels, pixels, cell.batch)

        def work() -> None:
            learner.learn([batch], settings.lr_floor)
            synchronize(way.device)
    else:
        lightness = rgb_to_lightness(pixels.float() / 255).to(device)
        decode = net.presets["vivid"]

        def work() -> None:
            with torch.inference_mode(), fast_precision(device, bf16=way.bf16):
                net.predict_ab(lightness, decode)
            synchronize(way.device)

    task = timed(work)

    def run() -> float:
        torch.set_num_threads(way.threads)
        return task()

    return run


def measure(
    cell: Cell, ways: list[Way], settings: Settings, expected: Mapping[str, float]
) -> dict[str, list[float]]:
    """Measure one cell in every way that is not expected to take too long.

    Parameters
    ----------
    cell
        What is measured.
    ways
        How.
    settings
        How much.
    expected
        Seconds a pixel of each way by its name, from what was measured before.

    Returns
    -------
    The seconds of every run, by the name of the way; empty where it was left out.
    """
    before = torch.get_num_threads()
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    possible = [way for way in ways if expected.get(way.name, 0.0) * cell.pixels <= settings.limit]
    if not possible:
        return found
    array = np.stack([photograph(cell.size, cell.size, index=i) for i in range(cell.batch)])
    pixels = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
    tasks, warm = {}, {}
    try:
        for way in possible:
            net = load_model(settings.model, device=way.device)
            net.train(cell.work == "training")
            task = make_task(net, cell, way, pixels)
            task()  # the first run allocates and chooses algorithms
            warm[way.name] = task()
            tasks[way.name] = task
        wanted = math.ceil(settings.photos / cell.batch)
        affordable = math.floor(settings.seconds / max(warm.values()))
        runs = max(_LEAST_RUNS, min(wanted, affordable))
        measured = interleave(tasks, runs=runs, warm_up=0)
        found |= {name: list(seconds) for name, seconds in measured.items()}
    finally:
        torch.set_num_threads(before)
    return found


def run(settings: Settings, *, ways: list[Way] | None = None, progress: bool = True) -> Path:
    """Measure what is not measured yet, and write the page.

    Returns
    -------
    The page.

    Raises
    ------
    ValueError
        If the folder holds the figures of another machine or model.
    """
    ways = ways_here() if ways is None else ways
    machine = describe_machine()
    # What the figures depend on, besides the cell and the way, which name them.
    about = {key: machine.get(key) for key in _MACHINE} | {"model": settings.model}
    path = settings.runs / "speedup.json"
    state: dict[str, Any] = {"about": about, "load": machine["load_before"], "cells": {}}
    if path.exists():
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["about"] != about:
            raise ValueError(
                f"{path} holds figures of {state['about']}, this is {about}; "
                "name another folder: --runs FOLDER"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [Cell(w, s, b) for w in _WORKS for s in settings.sizes for b in settings.batches]
    # The quick ones first: they tell what the others will take.
    cells.sort(key=lambda cell: cell.pixels)
    bar = tqdm(cells, desc="speedup", unit="cell", disable=None if progress else True)
    for cell in bar:
        key = f"{cell.work} {cell.size} {cell.batch}"
        bar.set_postfix_str(key)
        done = state["cells"].setdefault(key, {})
        left = [way for way in ways if not done.get(way.name)]
        if left:
            done |= measure(cell, left, settings, _rates(state["cells"], cell.work))
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
    names = [way.name for way in ways]
    parts = _page_parts(settings, state, names)
    write_page(
        settings.page, "CPU, GPU, threads and bfloat16", parts, command=typed("studies.speedup")
    )
    return settings.page


def _rates(cells: Mapping[str, Mapping[str, list[float]]], work: Work) -> dict[str, float]:
    """Seconds a pixel of each way, in the largest batch that was measured of a kind of work."""
    rates: dict[str, tuple[int, float]] = {}
    for key, ways in cells.items():
        kind, size, batch = key.split()
        pixels = int(batch) * int(size) ** 2
        for name, seconds in ways.items():
            if kind == work and seconds and pixels >= rates.get(name, (0, 0.0))[0]:
                rates[name] = (pixels, Spread.of(seconds).median / pixels)
    return {name: rate for name, (_, rate) in rates.items()}


def _page_parts(settings: Settings, state: Mapping[str, Any], names: list[str]) -> list[str]:
    """Text and tables of the page."""
    about = state["about"]
    gpu = about["cuda"] or ("Apple GPU (MPS)" if any(n.startswith("MPS") for n in names) else None)
    no_gpu = "" if gpu else " There is no GPU on this machine, so there are no rows for one."
    parts = [
        (
            f"Measured with the model `{settings.model}` on {about['processor']}, "
            f"{about['cores']} cores{f', and {gpu}' if gpu else ''}; the load of the machine by "
            f"other programs was {state['load']:g} when it began.{no_gpu}"
        ),
        f"{_HOW} A dash: one run would have taken more than {settings.limit:g} s.",
    ]
    titles = {
        "colouring": "Colouring: milliseconds per photo",
        "training": "Training: milliseconds per step",
    }
    for work in _WORKS:
        cells = [(s, b) for s in settings.sizes for b in settings.batches]
        columns = [f"{size} px, batch {batch}" for size, batch in cells]
        spreads = {
            name: [
                _spread(state["cells"][f"{work} {size} {batch}"].get(name, []))
                for size, batch in cells
            ]
            for name in names
        }
        per = [batch if work == "colouring" else 1 for _, batch in cells]
        # Cells are the rows: there are more of them than ways.
        times = [
            [column, *(_milliseconds(spreads[name][i], per[i]) for name in names)]
            for i, column in enumerate(columns)
        ]
        ratios = [
            [column, *(_ratio(spreads[names[0]][i], spreads[name][i]) for name in names)]
            for i, column in enumerate(columns)
        ]
        parts += [
            f"## {titles[work]}",
            table(["", *names], times),
            f"How many times faster than {names[0]}, at the same size and batch:",
            table(["", *names], ratios),
        ]
    return parts


def _spread(seconds: list[float]) -> Spread | None:
    return Spread.of(seconds) if seconds else None


def _milliseconds(spread: Spread | None, n: int) -> str:
    if spread is None:
        return "–"
    values = [1000 * value / n for value in (spread.median, spread.lower, spread.upper)]
    median, lower, upper = (f"{x:.3g}" if x < 1000 else f"{x:.0f}" for x in values)
    return f"{median} ({lower} to {upper})"


def _ratio(first: Spread | None, other: Spread | None) -> str:
    return "–" if first is None or other is None else f"{first.median / other.median:.2f}"


if __name__ == "__main__":
    run(tyro.cli(Settings, description=__doc__))
