"""Part of `distribution`: the distinct colours that a pixel may have, ranked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zcolor.lab import lab_to_rgb


@dataclass(frozen=True)
class Suggestion:
    """One colour of the palette that `ColorDistribution.suggest` gives."""

    ab: tuple[float, float]
    """The colour, in ab units."""
    probability: float
    """That the true colour is this one or one near it, in [0, 1]."""
    rgb: tuple[int, int, int] | None
    """The colour at the point's lightness in sRGB, 0..255; None where that is unknown."""


def distinct_colors(p: Tensor, colors: Tensor, distance: float) -> list[tuple[float, int]]:
    """Group colours by greedy non-maximum suppression.

    Parameters
    ----------
    p
        (q,) probabilities.
    colors
        (q, 2) ab of each cell.
    distance
        Cells within this ab distance of a more probable one belong to it.

    Returns
    -------
    The mass of each group and the cell that leads it, the largest mass first.
    """
    groups: list[tuple[float, int]] = []
    left = torch.ones_like(p, dtype=torch.bool)
    for q in p.argsort(descending=True, stable=True).tolist():
        if not left[q]:
            continue
        near = left & ((colors - colors[q]).norm(dim=1) <= distance)
        groups.append((p[near].sum().item(), q))
        left &= ~near
    return sorted(groups, key=lambda group: -group[0])


def srgb_at(lightness: Tensor | None, a: float, b: float) -> tuple[int, int, int] | None:
    """Show ab at a lightness in 8-bit sRGB, with less chroma where sRGB cannot.

    Parameters
    ----------
    lightness
        A single L in [0, 100], or None where it is unknown.
    a, b
        In ab units.

    Returns
    -------
    Red, green and blue in 0..255; None without a lightness.
    """
    if lightness is None:
        return None
    lab = torch.tensor([lightness.item(), a, b], dtype=torch.float32, device="cpu")
    red, green, blue = (lab_to_rgb(lab.view(1, 3, 1, 1)) * 255).round().int().flatten().tolist()
    return red, green, blue
