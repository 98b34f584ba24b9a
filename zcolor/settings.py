"""How pictures are coloured: settings, their ranges and their errors.

Imports no torch, so that the command line starts at once.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast, get_args

Device = str
DecodeMethod = Literal["annealed", "argmax", "mean"]
Colors = Literal["means", "centers"]
Upsample = Literal["bilinear", "guided"]
Average = Literal["none", "flip", "crops"]
Preset = Literal["vivid", "accurate"]
Frame = Literal["leave", "color"]

UPSAMPLE_METHODS: tuple[str, ...] = get_args(Upsample)
WORKING_SIZES = (8, 4096)
"""Smallest and largest working size, in pixels."""
MAX_REBALANCE = 4.0
"""Largest power of the rebalancing weights in decoding: rare colours win nearly everywhere."""
MAX_NEUTRAL = 30.0
"""Largest shift of a and of b that takes a cast away, in ab units."""
MAX_LEND = 2.0
"""Furthest that colours lean towards a reference: beyond it they are its own nearly everywhere."""
MAX_SATURATION = 4.0
"""Largest factor on ab; beyond it every colour lies at the edge of the gamut."""


def check_upsample(method: str) -> None:
    """Refuse an upsampling method that is none of `UPSAMPLE_METHODS` with a ValueError."""
    _check_choice("upsample method", method, UPSAMPLE_METHODS)


def check_average(average: str) -> None:
    """Refuse a test-time average that is none of `Average` with a ValueError."""
    _check_choice("average", average, get_args(Average))


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        choices = ", ".join(map(repr, known))
        raise ValueError(f"unknown {name} {value!r}; choose one of {choices}")


def _is_number(value: object) -> bool:
    """Tell a finite real number from everything else."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_ab(value: object) -> bool:
    """Tell a small pair of a and b from everything else."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(_is_number(part) and abs(part) <= MAX_NEUTRAL for part in value)
    )


@dataclass(frozen=True)
class DecodeSettings:
    """How the distribution over the cells of the grid becomes one colour."""

    method: DecodeMethod = "annealed"
    """`annealed`: the annealed mean; `argmax`: the most probable cell; `mean`: the expectation."""
    temperature: float = 0.38
    """Temperature of the annealed mean, in [0, 1]: 0 is argmax, 1 the mean (Zhang: 0.38)."""
    colors: Colors = "means"
    """The colour of a cell: the mean ab of its training pixels, or its centre."""
    rebalance: float = 1.0
    """Power of the rebalancing weights of training that is in the probabilities, in [0, 4]: 0 is
    how often colours really occur, 1 is as trained, above 1 favours rare colours more."""
    neutral: tuple[float, float] = (0.0, 0.0)
    """The ab that is shown as neutral. Where a network hesitates it answers with a mean of what is
    possible, and that is warm, as the mean of all photographs is: a cast."""
    gain: float = 1.0
    """Factor on ab after that, in [0, 4]: a mean of what is possible is paler than any of it."""
    contrast: float = 0.0
    """How much more than others the colours are strengthened that differ from the photo's mean
    colour, in [0, 4]: up to a factor of 1 + contrast; 0 treats all alike. Where a network is not
    sure of the colours of a photo, its answers lie closer together than the true ones do."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.method not in ("annealed", "argmax", "mean"):
            raise ValueError(f"decode must be 'annealed', 'argmax' or 'mean', got {self.method!r}")
        if not (_is_number(self.temperature) and 0 <= self.temperature <= 1):
            raise ValueError(
                f"temperature must lie in [0, 1] (0 = argmax, 1 = mean), got {self.temperature!r}"
            )
        if self.colors not in ("means", "centers"):
            raise ValueError(f"colors must be 'means' or 'centers', got {self.colors!r}")
        if not (_is_number(self.rebalance) and 0 <= self.rebalance <= MAX_REBALANCE):
            raise ValueError(
                f"rebalance must lie in [0, {MAX_REBALANCE:g}] (0 = as colours occur, 1 = as "
                f"trained), got {self.rebalance!r}"
            )
        if not _is_ab(self.neutral):
            raise ValueError(
                f"neutral must be two numbers a and b of at most {MAX_NEUTRAL:g} in size, "
                f"got {self.neutral!r}"
            )
        object.__setattr__(self, "neutral", tuple(map(float, self.neutral)))  # lists from JSON
        if not (_is_number(self.gain) and 0 <= self.gain <= MAX_SATURATION):
            raise ValueError(f"gain must lie in [0, {MAX_SATURATION:g}], got {self.gain!r}")
        if not (_is_number(self.contrast) and 0 <= self.contrast <= MAX_SATURATION):
            raise ValueError(f"contrast must lie in [0, {MAX_SATURATION:g}], got {self.contrast!r}")

    def changed(
        self,
        *,
        method: str | None = None,
        temperature: float | None = None,
        colors: str | None = None,
        rebalance: float | None = None,
        neutral: tuple[float, float] | None = None,
        gain: float | None = None,
        contrast: float | None = None,
    ) -> DecodeSettings:
        """Return these settings with what is not None replaced.

        A temperature alone asks for the annealed mean.

        Raises
        ------
        ValueError
            If a value is unknown or out of range, or a temperature is given together with
            `argmax` or `mean`, which have none.
        """
        if temperature is not None and method in ("argmax", "mean"):
            raise ValueError(
                f"decode={method!r} has no temperature (argmax is 0, mean is 1); leave the "
                "temperature out or use decode='annealed'"
            )
        if temperature is not None and method is None:
            method = "annealed"
        return DecodeSettings(
            method=cast(DecodeMethod, self.method if method is None else method),
            temperature=self.temperature if temperature is None else temperature,
            colors=cast(Colors, self.colors if colors is None else colors),
            rebalance=self.rebalance if rebalance is None else rebalance,
            neutral=self.neutral if neutral is None else neutral,
            gain=self.gain if gain is None else gain,
            contrast=self.contrast if contrast is None else contrast,
        )

    @property
    def effective_temperature(self) -> float:
        """The temperature that the method stands for: argmax 0, mean 1."""
        return {"argmax": 0.0, "mean": 1.0}.get(self.method, self.temperature)


PRESETS: Mapping[Preset, DecodeSettings] = MappingProxyType(
    {
        "vivid": DecodeSettings(
            temperature=0.82, rebalance=1.85, neutral=(2.15, 5.7), gain=1.0, contrast=0.415
        ),
        "accurate": DecodeSettings(
            temperature=0.75, rebalance=0.95, neutral=(0.5, 1.0), gain=0.9, contrast=0.2
        ),
    }
)
"""The named ways of decoding, for models that state none of their own: more colour, or less error
on the average pixel. Chosen with the shipped model (docs/model-card.md)."""


DECODING = ("decode", "temperature", "colors", "rebalance", "neutral")
"""The fields of `ColorizeSettings` that say how probabilities become colour."""


@dataclass(frozen=True)
class ColorizeSettings:
    """How pictures are coloured; where None is allowed, it takes the preset's or the model's."""

    preset: Preset = "vivid"
    """`vivid`: more colour; `accurate`: less error on the average pixel, so paler."""
    decode: DecodeMethod | None = None
    """How probabilities become colour; the preset's way if not given."""
    temperature: float | None = None
    """Of the annealed mean, 0 (argmax) to 1 (mean); the preset's if not given."""
    colors: Colors | None = None
    """The colour of a cell: the mean of its training pixels, or its centre; the preset's if not
    given."""
    rebalance: float | None = None
    """0 (colours as often as they occur) to 4 (rare ones favoured); the preset's if not given."""
    neutral: tuple[float, float] | None = None
    """The a and b that are shown as neutral, which takes a cast away: 0 5 for a yellowish one; the
    preset's if not given."""
    size: int | None = None
    """Working size in pixels, 8 to 4096; the model's own if not given."""
    upsample: Upsample = "guided"
    """How the colour comes to full size: `guided` by the lightness, so that it stops at edges, or
    `bilinear`, a little faster."""
    saturation: float = 1.0
    """Factor on the colour, 0 (grey) to 4, on top of what the preset has."""
    average: Average = "none"
    """Test-time averaging, slower and a little better: over the mirror image, or ten crops."""
    reference: str | None = None
    """A colour photo that lends its colours: they become as frequent as they are in it."""
    lend: float = 0.7
    """How far colours lean towards the reference's, 0 (not at all) to 2; 1 is Bayes' rule."""
    frame: Frame = "leave"
    """A white or black frame all around a photograph, or the black bars of a film: `leave` it grey
    and colour what lies inside, or `color` the picture as a whole."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not (_is_number(self.lend) and 0 <= self.lend <= MAX_LEND):
            raise ValueError(
                f"lend must lie in [0, {MAX_LEND:g}] (0 lends nothing, 1 is Bayes' rule), "
                f"got {self.lend!r}"
            )
        if not (_is_number(self.saturation) and 0 <= self.saturation <= MAX_SATURATION):
            raise ValueError(
                f"saturation must lie in [0, {MAX_SATURATION:g}] (0 is grey, 1 leaves the colours "
                f"as they are), got {self.saturation!r}"
            )
        if self.temperature is not None and not _is_number(self.temperature):
            raise ValueError(f"temperature must be a number in [0, 1], got {self.temperature!r}")
        if self.rebalance is not None and not _is_number(self.rebalance):
            raise ValueError(f"rebalance must be a number in [0, 4], got {self.rebalance!r}")
        check_upsample(self.upsample)
        check_average(self.average)
        _check_choice("preset", self.preset, get_args(Preset))
        _check_choice("frame", self.frame, get_args(Frame))
        self.decode_settings(PRESETS)  # refuses what no model can decode with
        if self.size is None:
            return
        if not _is_number(self.size) or self.size != int(self.size):
            raise ValueError(f"size must be a whole number of pixels, got {self.size!r}")
        low, high = WORKING_SIZES
        if not low <= self.size <= high:
            raise ValueError(
                f"size must lie in {low}..{high} pixels (left out, it is the model's own), "
                f"got {self.size}"
            )

    def decode_settings(self, presets: Mapping[Preset, DecodeSettings]) -> DecodeSettings:
        """Return the preset of a model with what is not None here replaced."""
        return presets[self.preset].changed(
            method=self.decode,
            temperature=self.temperature,
            colors=self.colors,
            rebalance=self.rebalance,
            neutral=self.neutral,
        )


@dataclass(frozen=True)
class EvaluateSettings:
    """How an evaluation runs."""

    quick: bool = False
    """Leave out the slow measures (SSIM, CIEDE2000, LPIPS and FID)."""
    film: bool = False
    """Let the network see each photo as old film, aged in a way of its own that is always the
    same; the results keep the lightness of the clean photo."""
    limit: int = 0
    """Measure so many photos, spread evenly over the set; 0 takes all."""
    batch: int = 16
    """Photos that go through the network together; figures change by its rounding alone."""
    jobs: int = 0
    """Threads that measure; 0 takes one per core."""
    replicates: int = 1000
    """Bootstrap replicates."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.batch < 1 or self.replicates < 1 or min(self.limit, self.jobs, self.seed) < 0:
            raise ValueError(
                "batch and replicates must be at least 1, limit, jobs and seed at least 0; got "
                f"{self.batch}, {self.replicates}, {self.limit}, {self.jobs}, {self.seed}"
            )
