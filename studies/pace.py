"""How long one picture takes each of several training runs, measured in turn and alone.

The wall time of a long run tells as much about what else the machine did. So the time to compare
is measured once all runs are finished: whole training steps of every run, one after the other,
round after round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.photographs import photograph
from benchmarks.timing import Spread, interleave, timed
from studies.speedup import synchronize
from zcolor.atomic import whole_file
from zcolor.registry import pick_device
from zcolor.training.assemble import make_network
from zcolor.training.distributed import Crew
from zcolor.training.learner import Learner
from zcolor.training.loader import Batch
from zcolor.training.priors import Priors
from zcolor.training.settings import TrainSettings

ROUNDS = 7
"""Steps of each run that count, after one to warm up."""


@dataclass(frozen=True)
class Pace:
    """Seconds that a training step takes for each of its photos, or frames of clips."""

    median: float
    """Half of the steps are quicker."""
    lower: float
    """The lower quartile."""
    upper: float
    """The upper quartile."""


def kept_paces(
    path: Path, runs: Mapping[str, TrainSettings], priors: Priors | None = None
) -> dict[str, Pace]:
    """Read paces from a JSON file, or measure them and write it, if some are missing there.

    Parameters
    ----------
    path
        The file.
    runs, priors
        As for `measure_paces`.
    """
    if path.exists():
        kept = {name: Pace(**pace) for name, pace in json.loads(path.read_text("utf-8")).items()}
        if set(runs) <= set(kept):
            return kept
    paces = measure_paces(runs, priors)
    with whole_file(path) as temporary:
        rows = {name: asdict(pace) for name, pace in paces.items()}
        temporary.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return paces


def measure_paces(
    runs: Mapping[str, TrainSettings], priors: Priors | None = None, *, rounds: int = ROUNDS
) -> dict[str, Pace]:
    """Measure whole training steps of several runs in turn.

    A step is conversion to Lab, forward and backward pass, optimizer and running mean, on a batch
    that is in memory: reading photographs is the same for all and left out.

    Parameters
    ----------
    runs
        Settings by name; the weights that a family begins with are not fetched.
    priors
        For those that classify; None where none does.
    rounds
        Steps of each.
    """
    steps = {name: _stepper(settings, priors) for name, settings in runs.items()}
    tasks = {name: timed(step) for name, (step, _) in steps.items()}
    seconds = interleave(tasks, runs=rounds)
    paces = {}
    for name, (_, n) in steps.items():
        spread = Spread.of([s / n for s in seconds[name]])
        paces[name] = Pace(spread.median, spread.lower, spread.upper)
    return paces


def _stepper(s: TrainSettings, priors: Priors | None) -> tuple[Callable[[], None], int]:
    """Make what does one step, and tell of how many pictures."""
    device = pick_device(s.device)
    net = make_network(priors, s, device, begin=False)
    learner = Learner(net, s, Crew(0, 1, device))
    side, n = s.crops[0], s.batch * net.clip_length
    rgb = np.stack([photograph(side, side, index=i) for i in range(n)])
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2).contiguous()
    batch = Batch(pixels, pixels, s.batch)

    def step() -> None:
        # The lowest rate: what is learned here does not matter, and nothing may diverge.
        learner.learn([batch], s.lr_floor)
        synchronize(device.type)

    return step, n
