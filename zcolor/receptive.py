"""How far the units of a network see, and which places of photographs excite them most.

References
----------
Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks", NeurIPS 2016.
Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (the patches).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zcolor.inspection import Group, record

EFFECTIVE_SHARE = 0.9
"""Share of the gradient's size that lies within the effective receptive field."""
# Pixels: height of the strip on which fields are measured, and its width.
_FIELD_SIDE = 512
_FIELD_WIDTH = 64


@dataclass(frozen=True)
class Field:
    """Which square of the input one place of a group's maps depends on."""

    stride: float
    """Pixels of the input from one place of the maps to the next."""
    size: int
    """Side of the square that has any influence at all, in pixels; at most the side that was
    measured on."""
    effective: int
    """Side of the middle part that has 90 % of the influence, in pixels."""

    def box(
        self, row: int, column: int, shape: tuple[int, int], *, side: int | None = None
    ) -> tuple[int, int, int, int]:
        """Square about a place of the maps, moved into the picture.

        Parameters
        ----------
        row, column
            The place.
        shape
            (h, w) of the input, in pixels.
        side
            Of the square; None takes the effective field. At most a side of the picture.

        Returns
        -------
        top, left, bottom, right in pixels, the last two outside.

        Examples
        --------
        >>> Field(stride=8, size=37, effective=20).box(0, 3, (64, 64))
        (0, 18, 20, 38)
        """
        size = min(self.effective if side is None else side, *shape)
        top, left = (
            round(min(max((place + 0.5) * self.stride - size / 2, 0), full - size))
            for place, full in zip((row, column), shape)
        )
        return top, left, top + size, left + size


@dataclass(frozen=True, order=True)
class Patch:
    """A place in a photograph that excites a unit."""

    value: float
    """What the unit answers there."""
    photo: int
    """Number of the photograph."""
    place: tuple[int, int]
    """Row and column in the maps."""
    shape: tuple[int, int]
    """(h, w) of the photograph as the network read it, in pixels."""


def measure_field(net: nn.Module, group: Group, *, seed: int = 0) -> Field:
    """Measure how much of the input one place of a group's maps depends on.

    The gradient of all units at a place in the middle, in random proportions, is followed back to
    two strips of noise: where it is not zero, the input has an influence. Where the field is not
    square, its height is measured.

    Parameters
    ----------
    net
        The network, in evaluation mode.
    group
        One of `list_groups`.
    seed
        Of the noise and the proportions.
    """
    device = next(net.parameters()).device
    random = torch.Generator().manual_seed(seed)
    noise = 100 * torch.rand(2, 1, _FIELD_SIDE, _FIELD_WIDTH, generator=random)
    lightness = noise.to(device).requires_grad_()
    with torch.enable_grad():
        maps = record(net, lightness, [group.layer])[group.layer].float()
        middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
        proportions = torch.randn(middle.shape, generator=random).to(device)
        (gradient,) = torch.autograd.grad((middle * proportions).sum(), [lightness])
    influence = gradient.abs().sum(dim=(0, 1, 3)).double().cpu()
    stride = _FIELD_SIDE / maps.shape[2]
    rows = influence.nonzero()[:, 0]
    if not len(rows):
        return Field(stride, 0, 0)
    size = int(rows[-1] - rows[0]) + 1
    # The place's own row of the input, from which the square grows to both sides.
    centre = (int(rows[0]) + int(rows[-1])) // 2
    total, reach = float(influence.sum()), 0
    while float(influence[max(centre - reach, 0) : centre + reach + 1].sum()) < (
        EFFECTIVE_SHARE * total
    ):
        reach += 1
    return Field(stride, size, min(2 * reach + 1, size))


@torch.no_grad()
def strongest_patches(
    net: nn.Module,
    units: Sequence[tuple[Group, int]],
    photos: Iterable[tuple[int, Tensor]],
    *,
    n: int = 8,
) -> list[list[Patch]]:
    """Find the photographs, and the places in them, that excite units most.

    Parameters
    ----------
    net
        The network, in evaluation mode.
    units
        Groups, and a number of a unit for each.
    photos
        Numbers of photographs with their (1, 1, h, w) lightness on the network's device.
    n
        How many patches are kept for each unit, one of a photograph at most.

    Returns
    -------
    For each unit its patches, the most exciting first.
    """
    layers = sorted({group.layer for group, _ in units})
    best: list[list[Patch]] = [[] for _ in units]
    for number, lightness in photos:
        maps = record(net, lightness, layers)
        height, width = lightness.shape[-2:]
        for (group, unit), kept in zip(units, best, strict=True):
            own = maps[group.layer][0, unit].float()
            value, at = own.flatten().max(dim=0)
            place = divmod(int(at), own.shape[1])
            patch = Patch(float(value), number, place, (height, width))
            if len(kept) < n:
                heapq.heappush(kept, patch)
            else:
                heapq.heappushpop(kept, patch)
    return [sorted(kept, reverse=True) for kept in best]
