"""Making a model: counting priors against decoding alone, training against the step alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.bench import GIGA, MILLION, Bench, Row, Target
from benchmarks.limits import network_macs
from benchmarks.photographs import make_folder
from benchmarks.timing import (
    Pair,
    Spread,
    Usage,
    compare,
    interleave,
    n_cores,
    run_alone,
    timed,
    zcolor_command,
)
from zcolor.training.assemble import make_loaders, make_network
from zcolor.training.dataset import open_photos
from zcolor.training.distributed import join_crew
from zcolor.training.learner import Learner
from zcolor.training.loop import train
from zcolor.training.pack import pack_photos
from zcolor.training.priors import build_priors, read_priors
from zcolor.training.settings import PackSettings, TrainSettings

FLAT = 1.05
"""Peak memory that is called flat: at most this many times that of the shorter job."""
# Forward, and backward to the inputs and to the weights: three times the forward pass.
_STEP_MACS = 3


def _rate_row(
    case: str, what: str, pair: Pair, n: int, *, reference_is: str, least_share: float, note: str
) -> Row:
    """A row in photos a second of seconds for `n` photos."""
    rate = Spread.of([n / seconds for seconds in pair.ours])
    share = 100 * pair.speedup.median
    return Row(
        case,
        what,
        "photos/s",
        rate.median,
        spread=rate,
        reference=n / pair.reference_seconds.median,
        reference_is=reference_is,
        ratio=pair.speedup,
        limit=n / pair.reference_seconds.median,
        limit_is=reference_is,
        target=Target(
            f"at least {100 * least_share:g} % of the reference (has {share:.0f} %)",
            pair.speedup.median >= least_share,
        ),
        note=note,
    )


def priors(bench: Bench) -> list[Row]:
    """Count colours, against decoding the same files by Pillow in as many threads.

    Small photographs, as training sets have them, and photographs of the sizes that people keep.
    """
    sizes = bench.sizes
    kept = make_folder(bench.folder / "kept", sizes.n_files, megapixels=sizes.megapixels)
    return [_priors_row(bench, bench.training_files), _priors_row(bench, kept)]


def _priors_row(bench: Bench, paths: Sequence[Path]) -> Row:
    def decode(path: Path) -> None:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB"))

    def decode_all() -> None:
        with ThreadPoolExecutor(n_cores()) as pool:
            for _ in pool.map(decode, paths):
                pass

    def count_all() -> None:
        build_priors([paths[0].parent], bench.folder / "counted.h5", progress=False)

    pair = compare(count_all, decode_all, runs=bench.runs)
    megapixels = sum(_n_pixels(path) for path in paths) / MILLION / len(paths)
    return _rate_row(
        "priors",
        f"build_priors over {len(paths)} JPEG files of {megapixels:.2g} MP on average",
        pair,
        len(paths),
        reference_is="decoding the same files by Pillow in as many threads",
        least_share=0.7,
        note="the prior is counted at a short side of 128",
    )


def _n_pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def _settings(bench: Bench, steps: int) -> TrainSettings:
    sizes = bench.sizes
    return TrainSettings(
        photos=steps * sizes.batch,
        batch=sizes.batch,
        crops=(sizes.crop,),
        shares=(1.0,),
        width=sizes.training_width,
        monitor="train",
        jobs=n_cores(),
        epoch_photos=steps * sizes.batch,
    )


def _packed(bench: Bench) -> tuple[Path, Path]:
    """The pack to train on and its priors, made at the first call."""
    pack, counted = bench.folder / "training.h5", bench.folder / "priors.h5"
    if not counted.exists():
        settings = PackSettings(fractions=(1.0, 0.0, 0.0), min_chroma=0.0)
        pack_photos([bench.training_files[0].parent], pack, settings, progress=False)
        build_priors([pack], counted, progress=False)
    return pack, counted


def _steady_seconds(log: Path) -> float:
    """Seconds a photo between the first and the last entry of a run's log.

    The first comes after 20 steps: the threads have started and the queue is full.
    """
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    entries = [(record["seen"], 60 * record["minutes"]) for record in records if "total" in record]
    (first, start), (last, stop) = entries[0], entries[-1]
    if first == last:
        raise ValueError(f"{log} has one entry; train for more steps")
    return float((stop - start) / (last - first))


def training(bench: Bench) -> list[Row]:
    """Train on real data, from a pack and from memory, against the step on one batch in memory."""
    sizes = bench.sizes
    pack, counted = _packed(bench)
    settings = _settings(bench, sizes.steps)

    def real(*, cache: bool) -> Callable[[], float]:
        def task() -> float:
            with tempfile.TemporaryDirectory(dir=bench.folder) as run:
                out = Path(run) / "run"
                chosen = dataclasses.replace(settings, cache=cache)
                train(chosen, [pack], out, priors=counted, progress=False)
                return _steady_seconds(out / "log.jsonl")

        return task

    tasks = {
        "pack": real(cache=False),
        "cache": real(cache=True),
        "memory": _memory_task(bench, settings, pack, counted),
    }
    seconds = interleave(tasks, runs=bench.few_runs, warm_up=0)
    macs = _STEP_MACS * network_macs(sizes.training_width, sizes.crop, sizes.crop)
    best = bench.limits.arithmetic / (2 * macs)
    what = f"batch {sizes.batch}, crop {sizes.crop}, width {sizes.training_width:g}"
    note = (
        f"{macs / GIGA:.2f} GMAC a photo and step; at the matmul rate {best:.0f} photos/s; "
        f"{settings.jobs} threads load, {settings.film.share:.0%} of the crops are aged"
    )
    return [
        _rate_row(
            "training",
            f"training from {source}, {what}",
            Pair(seconds[name], seconds["memory"]),
            1,
            reference_is="the same step on one batch in memory",
            least_share=0.95,
            note=note,
        )
        for name, source in (("pack", "a pack"), ("cache", "a pack decoded into memory"))
    ]


def _memory_task(
    bench: Bench, settings: TrainSettings, pack: Path, counted: Path
) -> Callable[[], float]:
    """Seconds a photo of steps on one and the same batch in memory."""
    crew = join_crew(settings.device)
    net = make_network(read_priors(counted), settings, crew.device)
    learner = Learner(net, settings, crew)
    (loader,) = make_loaders(open_photos([pack], "train"), settings, crew, None)
    with closing(loader.batches(0, lambda _: settings.crops[0])) as stream:
        batch = next(stream)
    # As many steps as count in a run on real data.
    n_steps = max(1, bench.sizes.steps // 2)

    def steps() -> None:
        for _ in range(n_steps):
            losses = learner.learn([batch], settings.lr_floor)
        losses["total"].item()  # waits for an accelerator

    task = timed(steps)
    learner.learn([batch], settings.lr_floor)
    return lambda: task() / (n_steps * settings.batch)


def training_memory(bench: Bench) -> list[Row]:
    """Peak memory of a short and of a long run of training over the same photographs."""
    pack, counted = _packed(bench)
    sizes = bench.sizes
    usages: list[Usage] = []
    counts = (sizes.steps // 4 * sizes.batch, sizes.steps * sizes.batch)
    for photos in counts:
        with tempfile.TemporaryDirectory(dir=bench.folder) as run:
            arguments = {
                "photos": photos,
                "batch": sizes.batch,
                "crops": sizes.crop,
                "shares": 1.0,
                "width": sizes.training_width,
                "priors": counted,
                "monitor": "train",
                "out": f"{run}/run",
            }
            options = itertools.chain(
                *((f"--{name}", str(value)) for name, value in arguments.items())
            )
            usages.append(run_alone(zcolor_command("train", str(pack), *options)))
    short, long = (usage.peak_bytes / GIGA for usage in usages)
    return [
        Row(
            "training-memory",
            f"peak memory of training on {counts[1]:,} photos",
            "GB",
            long,
            reference=short,
            reference_is=f"the same on {counts[0]:,} photos",
            target=Target(f"flat: at most {FLAT:g}x that of the shorter run", long <= FLAT * short),
        )
    ]
