"""The learning rate and the crop side over a run, as functions of the photos seen."""

from __future__ import annotations

import bisect
import math
from itertools import accumulate
from typing import Any

from zcolor.training.settings import TrainSettings


class Schedule:
    """Learning rate and crop side.

    Parameters
    ----------
    settings
        `cosine`: a linear warm-up, then half a cosine down to `lr_floor`. `plateau`: the same
        warm-up, then halving whenever the monitored loss has not fallen for `patience`
        validations, never below `lr_floor`.

    Examples
    --------
    >>> schedule = Schedule(TrainSettings(photos=100, warmup=0.1, lr=1.0, lr_floor=0.0))
    >>> [round(schedule.lr(seen), 3) for seen in (0, 10, 55, 100)]
    [0.1, 1.0, 0.5, 0.0]
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self._crop_ends = [round(end * settings.photos) for end in accumulate(settings.shares)]
        self._scale = 1.0
        self._best = math.inf
        self._bad = 0

    def crop(self, seen: int) -> int:
        """Side of the crops, in pixels, once `seen` photos have been seen."""
        place = bisect.bisect_right(self._crop_ends, seen)
        return self.settings.crops[min(place, len(self.settings.crops) - 1)]

    def lr(self, seen: int) -> float:
        """Learning rate of the step that begins after `seen` photos."""
        s = self.settings
        warmup = s.warmup * s.photos
        if seen < warmup:
            # The first step moves already: it takes the rate that the second one begins with.
            return s.lr * min(1.0, max(seen, min(s.batch, 0.1 * warmup)) / warmup)
        if s.schedule == "plateau":
            return max(s.lr_floor, s.lr * self._scale)
        progress = min(1.0, (seen - warmup) / max(1.0, s.photos - warmup))
        return s.lr_floor + (s.lr - s.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress))

    def validated(self, loss: float) -> None:
        """Take note of a validation; `plateau` halves the rate when the loss stopped falling."""
        if loss < self._best:
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > self.settings.patience:
            self._scale, self._bad = self._scale / 2, 0

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, in plain values."""
        best = None if math.isinf(self._best) else self._best
        return {"scale": self._scale, "best": best, "bad": self._bad}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._scale, self._bad = float(state["scale"]), int(state["bad"])
        self._best = math.inf if state["best"] is None else float(state["best"])
