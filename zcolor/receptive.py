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
        self,
        row: int,
        column: int,
        shape: tuple[int, int],
        *,
        maps: tuple[int, int] | None = None,
    ) -> tuple[int, int, int, int]:
        """The effective field of a place of the maps, moved into the picture.

        Parameters
        ----------
        row, column
            The place.
        shape
            (h, w) of the input, in pixels.
        maps
            (h, w) of the maps, for networks that bring every picture to one size: what they see as
            a square is none in the picture. None: a place every `stride` pixels.

        Returns
        -------
        top, left, bottom, right in pixels, the last two outside.

        Examples
        --------
        >>> Field(stride=8, size=37, effective=20).box(0, 3, (64, 64))
        (0, 18, 20, 38)
        """
        strides = [full / n for full, n in zip(shape, maps)] if maps else [self.stride] * 2
        sizes = [
            min(max(1, round(self.effective * stride / self.stride)), full)
            for stride, full in zip(strides, shape)
        ]
        top, left = (
            round(min(max((place + 0.5) * stride - size / 2, 0), full - size))
            for place, stride, size, full in zip((row, column), strides, sizes, shape)
        )
        return top, left, top + sizes[0], left + sizes[1]


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
    maps: tuple[int, int]
    """(h, w) of the maps."""


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
    height, width = _field_shape(net, group, device)
    noise = 100 * torch.rand(2, 1, height, width, generator=random)
    lightness = noise.to(device).requires_grad_()
    with torch.enable_grad():
        maps = record(net, lightness, [group.layer])[group.layer].float()
        middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
        proportions = torch.randn(middle.shape, generator=random).to(device)
        (gradient,) = torch.autograd.grad((middle * proportions).sum(), [lightness])
    influence = gradient.abs().sum(dim=(0, 1, 3)).cpu().double()  # MPS has no float64
    stride = height / maps.shape[2]
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
def _field_shape(net: nn.Module, group: Group, device: torch.device) -> tuple[int, int]:
    """Choose what to measure on: a high strip, if maps are as high; some networks see squares.

    Those bring everything to one size, so that a strip would be stretched.
    """
    strip = torch.full((1, 1, _FIELD_SIDE, _FIELD_WIDTH), 50.0, device=device)
    maps = record(net, strip, [group.layer])[group.layer]
    if maps.shape[2] * _FIELD_WIDTH == maps.shape[3] * _FIELD_SIDE:
        return _FIELD_SIDE, _FIELD_WIDTH
    side = int(getattr(net, "working_size", _FIELD_SIDE))
    return side, side


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
            size = (own.shape[0], own.shape[1])
            patch = Patch(float(value), number, place, (height, width), size)
            if len(kept) < n:
                heapq.heappush(kept, patch)
            else:
                heapq.heappushpop(kept, patch)
    return [sorted(kept, reverse=True) for kept in best]
