"""Take the mean of the weights of trainings: `python tools/mean_weights.py A B --out C`.

A and B are checkpoints, or folders of runs of `zcolor train`, whose end counts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from zcolor.settings import DecodeSettings, Preset
from zcolor.training.mean_weights import mean_weights


@dataclass(frozen=True)
class Settings:
    """What is averaged."""

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkpoints and folders of runs, of networks of one kind."""
    out: Path
    """The checkpoint to write."""
    shares: tuple[float, ...] = ()
    """How much each weighs; equal parts if not given."""
    vivid: tuple[float, ...] = ()
    """Temperature, rebalance, neutral a and b, gain and contrast of the preset `vivid`, in place of
    those of the last source."""
    accurate: tuple[float, ...] = ()
    """The same for `accurate`."""


def preset_of(numbers: tuple[float, ...]) -> DecodeSettings:
    """Make a preset of its six numbers.

    Raises
    ------
    ValueError
        If there are more or fewer, or they make no sense.
    """
    if len(numbers) != 6:
        raise ValueError(
            "a preset has six numbers (temperature, rebalance, neutral a, neutral b, gain, "
            f"contrast), got {len(numbers)}"
        )
    temperature, rebalance, a, b, gain, contrast = numbers
    return DecodeSettings(
        temperature=temperature,
        rebalance=rebalance,
        neutral=(a, b),
        gain=gain,
        contrast=contrast,
    )


def main(settings: Settings) -> None:
    """Average, and say where the weights are."""
    given: dict[Preset, tuple[float, ...]] = {
        "vivid": settings.vivid,
        "accurate": settings.accurate,
    }
    presets = {name: preset_of(numbers) for name, numbers in given.items() if numbers}
    mean_weights(settings.sources, settings.out, shares=settings.shares, presets=presets)
    print(f"written: {settings.out}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Settings))
    except (OSError, ValueError) as error:
        sys.exit(f"mean_weights: {error}")
