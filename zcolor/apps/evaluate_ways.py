"""In which ways `zcolor evaluate` decodes a model: what can be typed, and what it means.

Imports no torch, so that the command line starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from zcolor.settings import (
    PRESETS,
    Average,
    ColorizeSettings,
    Colors,
    DecodeMethod,
    Preset,
    Upsample,
)

_USUAL = ColorizeSettings()


@dataclass(frozen=True)
class Ways:
    """What is measured of a model; photographs are shown to it whole, without a reference."""

    preset: Preset | None = None
    """Measure this preset alone, `vivid` (more colour) or `accurate` (less error on the average
    pixel); both if not given."""
    temperatures: tuple[float, ...] = ()
    """Measure the model at each of these, with all else as the preset has it (vivid if none is
    given)."""
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
    """The a and b that are shown as neutral; the preset's if not given."""
    size: int | None = None
    """Working size in pixels, 8 to 4096; the model's own if not given."""
    upsample: Upsample = _USUAL.upsample
    """How the colour comes to full size: `guided` by the lightness, or `bilinear`."""
    saturation: float = _USUAL.saturation
    """Factor on the colour, 0 (grey) to 4, on top of what the preset has."""
    average: Average = _USUAL.average
    """Test-time averaging: over the mirror image, or ten crops."""

    def variants(self) -> dict[str, ColorizeSettings]:
        """Name every way of colouring that is to be measured.

        Raises
        ------
        ValueError
            If a value makes no sense, or a temperature stands beside several.

        Examples
        --------
        >>> list(Ways().variants()), list(Ways(preset="accurate").variants())
        (['vivid', 'accurate'], ['accurate'])
        >>> list(Ways(temperatures=(0, 0.5)).variants()), list(Ways(decode="mean").variants())
        (['T=0', 'T=0.5'], ['chosen'])
        """
        if self.temperatures and self.temperature is not None:
            raise ValueError(
                f"a temperature ({self.temperature:g}) and several temperatures are both given; "
                "name it among them"
            )
        chosen = ColorizeSettings(
            preset=self.preset or _USUAL.preset,
            decode=self.decode,
            temperature=self.temperature,
            colors=self.colors,
            rebalance=self.rebalance,
            neutral=self.neutral,
            size=self.size,
            upsample=self.upsample,
            saturation=self.saturation,
            average=self.average,
        )
        if self.temperatures:
            return temperature_variants(chosen, self.temperatures)
        if self.decode is not None or self.temperature is not None:
            return {"chosen": chosen}
        return preset_variants(chosen) if self.preset is None else {self.preset: chosen}

    def check_unused(self) -> None:
        """Refuse a choice where results of others are measured, which no model colours.

        Raises
        ------
        ValueError
            If anything was chosen.
        """
        chosen = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        if chosen:
            raise ValueError(
                f"results are measured as they are and no model colours them; leave out "
                f"{', '.join(chosen)}"
            )


def temperature_variants(
    settings: ColorizeSettings, temperatures: Sequence[float]
) -> dict[str, ColorizeSettings]:
    """Name the same settings with several temperatures.

    Examples
    --------
    >>> list(temperature_variants(ColorizeSettings(), [0, 0.38]))
    ['T=0', 'T=0.38']
    """
    return {f"T={t:g}": replace(settings, temperature=float(t)) for t in temperatures}


def preset_variants(settings: ColorizeSettings) -> dict[str, ColorizeSettings]:
    """Name the same settings under every preset.

    Examples
    --------
    >>> list(preset_variants(ColorizeSettings()))
    ['vivid', 'accurate']
    """
    return {name: replace(settings, preset=name) for name in PRESETS}
