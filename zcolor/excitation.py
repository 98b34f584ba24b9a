"""The input that most excites a unit of a network, found by climbing its gradient.

Plain gradient ascent on the pixels gives noise. What keeps it to shapes here: the picture is made
of waves, the long ones changing the fastest, as in photographs; and before each step it is shifted,
turned and scaled a little, so that what depends on the exact place of a pixel does not last.

References
----------
Erhan, Bengio, Courville, Vincent, "Visualizing Higher-Layer Features of a Deep Network", technical
report 1341, University of Montreal, 2009 (the idea).
Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014.
Olah, Mordvintsev, Schubert, "Feature Visualization", Distill 2017 (waves, small changes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from zcolor.inspection import BELOW_ZERO, Group, record
from zcolor.precision import fast_precision
from zcolor.receptive import Field


@dataclass(frozen=True)
class ExciteSettings:
    """How the input that most excites a unit is looked for."""

    side: int = 96
    """Of the picture, in pixels; a multiple of 8, at least 16."""
    steps: int = 96
    """Steps of the ascent."""
    rate: float = 0.1
    """How far a step goes (learning rate of Adam)."""
    smoothness: float = 1.2
    """Waves count as 1 / frequency to this power; 0 gives noise, 1 is the mean of photographs."""
    contrast: float = 0.2
    """Of the noise at the start, about its share of the range from black to white."""
    shift: float = 8.0
    """Largest shift before a step, in pixels."""
    turn: float = 5.0
    """Largest turn before a step, in degrees."""
    zoom: float = 0.1
    """Largest change of scale before a step."""
    seed: int = 0
    """Of the noise and of the small changes; the same seed gives the same picture."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.side < 16 or self.side % 8:
            raise ValueError(f"side must be a multiple of 8 from 16 on, got {self.side}")
        if self.steps < 1 or not self.rate > 0:
            raise ValueError(
                "steps must be at least 1 and rate above 0, got "
                f"steps={self.steps} rate={self.rate}"
            )
        if min(self.smoothness, self.contrast, self.shift, self.turn) < 0:
            raise ValueError("smoothness, contrast, shift and turn must not be below 0")
        if not 0 <= self.zoom < 1:
            raise ValueError(f"zoom must lie in [0, 1), got {self.zoom}")


def noise_lightness(
    side: int, *, seed: int = 0, contrast: float = 1.0, smoothness: float = 1.0
) -> Tensor:
    """Draw noise with the spectrum of photographs.

    Parameters
    ----------
    side
        In pixels.
    seed
        Of the noise.
    contrast
        About its share of the range from black to white; 1 is that of contrasty photographs.
    smoothness
        Waves count as 1 / frequency to this power.

    Returns
    -------
    (1, 1, side, side) lightness, L in [0, 100].

    Examples
    --------
    >>> noise_lightness(16).shape
    torch.Size([1, 1, 16, 16])
    """
    waves = contrast * torch.randn(1, *_weights(side, 1.0).shape, 2, generator=_dice(seed))
    return _draw(waves, _weights(side, smoothness), side)


def excite(
    net: nn.Module,
    group: Group,
    units: Sequence[int],
    settings: ExciteSettings | None = None,
    *,
    field: Field | None = None,
    progress: bool = False,
) -> Tensor:
    """Look for the inputs that most excite units of a group.

    The mean answer of a unit is raised over those places of its map that see nothing but the
    picture, and over the four in the middle at least. As an activation follows, answers below zero
    count for a tenth.

    Parameters
    ----------
    net
        The network, in evaluation mode; it is not changed.
    group
        One of `zcolor.inspection.list_groups`.
    units
        Numbers of units, each of which gets a picture.
    settings
        How; None takes the defaults.
    field
        How far the group's places see (`zcolor.receptive.measure_field`); None takes all places.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    (n, 1, side, side) lightness on the CPU, L in [0, 100]; no photographs.

    Raises
    ------
    ValueError
        If there are no units, or one of them does not exist.
    """
    s = settings or ExciteSettings()
    check_units(group, units)
    device = next(net.parameters()).device
    random = _dice(s.seed)
    weights = _weights(s.side, s.smoothness).to(device)
    # All units start from the same noise, so that what differs in the end is theirs.
    start = s.contrast * torch.randn(1, *weights.shape, 2, generator=random)
    waves = start.repeat(len(units), 1, 1, 1).to(device).requires_grad_()
    optimizer = torch.optim.Adam([waves], lr=s.rate)
    own = (torch.arange(len(units), device=device), torch.tensor(units, device=device))
    bar = tqdm(
        range(s.steps), desc=f"excite {group.name}", leave=False, disable=None if progress else True
    )
    with torch.enable_grad():
        for _ in bar:
            moved = _move(_draw(waves, weights, s.side), s, random)
            with fast_precision(device):
                maps = record(net, moved, [group.layer])[group.layer]
            inner = _inner(maps.float()[own], field)
            answers = F.leaky_relu(inner, BELOW_ZERO).mean(dim=(1, 2))
            # Weights and statistics of the network get no gradient.
            (waves.grad,) = torch.autograd.grad(-answers.sum(), [waves])
            optimizer.step()
    return _draw(waves.detach(), weights, s.side).cpu()


def check_units(group: Group, units: Sequence[int]) -> None:
    """Refuse an empty list of units, and those that a group does not have, with a ValueError."""
    if not units:
        raise ValueError("name at least one unit")
    for unit in units:
        if not 0 <= unit < group.n_units:
            raise ValueError(
                f"there is no unit {unit} in group {group.name}; it has units 0 to "
                f"{group.n_units - 1}"
            )


def _dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _weights(side: int, smoothness: float) -> Tensor:
    """(side, side // 2 + 1) weights of the waves, 1 / frequency^smoothness, of mean square 1."""
    down, across = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    # The mean counts as the longest wave.
    frequency = (down.square() + across.square()).sqrt().clamp(min=1 / side)
    weights: Tensor = frequency**-smoothness
    return weights / weights.square().mean().sqrt()


def _draw(waves: Tensor, weights: Tensor, side: int) -> Tensor:
    """Add up (n, side, side // 2 + 1, 2) waves to (n, 1, side, side) lightness."""
    spectrum = torch.view_as_complex(waves) * weights
    picture: Tensor = torch.fft.irfft2(spectrum, s=(side, side), norm="ortho")
    return 100 * picture.sigmoid()[:, None]


def _move(pictures: Tensor, s: ExciteSettings, random: torch.Generator) -> Tensor:
    """Shift, turn and scale pictures, all of them alike; mirrored beyond their edges."""
    draws = (2 * torch.rand(4, generator=random) - 1).tolist()
    turn, zoom = math.radians(s.turn * draws[0]), 1 + s.zoom * draws[1]
    # In the units of affine_grid, the picture reaches from -1 to 1.
    shift = [2 * s.shift * draw / s.side for draw in draws[2:]]
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    matrix = torch.tensor([[cos, -sin, shift[0]], [sin, cos, shift[1]]], device=pictures.device)
    places = F.affine_grid(
        matrix.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False
    )
    return F.grid_sample(pictures, places, padding_mode="reflection", align_corners=False)


def _inner(maps: Tensor, field: Field | None) -> Tensor:
    """Cut (n, h, w) maps to the places that see the picture alone, the middle ones at least."""
    if field is None:
        return maps
    # Half of the field lies beyond a place, but for the half of a stride that is its own.
    edge = max(0, math.ceil((field.size - field.stride) / 2 / field.stride))
    down, across = (min(edge, max(0, n // 2 - 1)) for n in maps.shape[1:])
    return maps[:, down : maps.shape[1] - down, across : maps.shape[2] - across]
