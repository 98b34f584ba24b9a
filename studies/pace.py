"""How long one photo takes each of several training runs, measured in turn and alone.

The wall time of a long run tells as much about what else the machine did. So the time to compare
is measured once all runs are finished: whole training steps of every run, one after the other,
round after round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.photographs import photograph
from benchmarks.timing import Spread, interleave, timed
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
    """Seconds that a training step takes for each of its photos."""

    median: float
    """Half of the steps are quicker."""
    lower: float
    """The lower quartile."""
    upper: float
    """The upper quartile."""


def measure_paces(
    runs: Mapping[str, TrainSettings], priors: Priors, *, rounds: int = ROUNDS
) -> dict[str, Pace]:
    """Measure whole training steps of several runs in turn.

    A step is conversion to Lab, forward and backward pass, optimizer and running mean, on a batch
    that is in memory: reading photographs is the same for all and left out.

    Parameters
    ----------
    runs
        Settings by name; the weights that a family begins with are not fetched.
    priors
        For those that classify.
    rounds
        Steps of each.
    """
    tasks = {name: timed(_stepper(settings, priors)) for name, settings in runs.items()}
    seconds = interleave(tasks, runs=rounds)
    paces = {}
    for name, settings in runs.items():
        spread = Spread.of([s / settings.batch for s in seconds[name]])
        paces[name] = Pace(spread.median, spread.lower, spread.upper)
    return paces


def _stepper(s: TrainSettings, priors: Priors) -> Callable[[], None]:
    device = pick_device(s.device)
    net = make_network(priors, s, device, begin=False)
    learner = Learner(net, s, Crew(0, 1, device))
    side = s.crops[0]
    rgb = np.stack([photograph(side, side, index=i) for i in range(s.batch)])
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2).contiguous()
    batch = Batch(pixels, pixels, s.batch)

    def step() -> None:
        # The lowest rate: what is learned here does not matter, and nothing may diverge.
        learner.learn([batch], s.lr_floor)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step
