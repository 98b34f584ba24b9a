"""Neural style transfer and texture synthesis: a picture drawn until a network's features fit.

The picture is what is learned: its Gram matrices shall be those of the style, its features those
of the content.

References
----------
Gatys, Ecker, Bethge, "Texture Synthesis Using Convolutional Neural Networks", NeurIPS 2015.
Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
Gatys, Bethge, Hertzmann, Shechtman, "Preserving Color in Neural Artistic Style Transfer", 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.style_energy import Energies, Objective
from zcolor.style_features import FeatureNet

Optimizer = Literal["adam", "lbfgs"]

# Adam moves every pixel by about this much a step, in units of the network's scaled input.
_ADAM_STEP = 0.02
# Steps whose gradients L-BFGS remembers.
_LBFGS_HISTORY = 100
# A picture is drawn small first, and halved for that as long as its short side stays above this.
_COARSEST_SIDE = 64
# L units: a style of one lightness is not stretched without end.
_SMALLEST_SPREAD = 1e-3


@dataclass(frozen=True)
class Step:
    """A picture after a step."""

    picture: Tensor
    """(1, c, h, w), at the scale that is being drawn; may lie outside the range of its channels."""
    energies: Energies
    """Its energies as they were before the step."""


def n_scales(height: int, width: int) -> int:
    """Tell at how many sizes a picture is drawn, each half the next.

    Examples
    --------
    >>> n_scales(256, 256), n_scales(96, 500)
    (3, 1)
    """
    count = 1
    while min(height, width) >> count >= _COARSEST_SIDE:
        count += 1
    return count


def draw(
    features: FeatureNet,
    style: Tensor,
    content: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    from_noise: bool = False,
    steps: int = 60,
    optimizer: Optimizer = "adam",
    seed: int = 0,
) -> Iterator[Step]:
    """Draw a picture with the content of one and the style of another, from coarse to fine.

    The papers draw at one size; small first, a picture soon has what is larger than the network
    sees at once. What was drawn small is enlarged and added to.

    Parameters
    ----------
    features
        The network that looks.
    style
        (1, c, h', w'), in the channels of `features`.
    content
        (1, c, h, w), the size of the result; None synthesises a texture of the size of `style`.
    alpha, beta
        As for `Objective`.
    from_noise
        Begin with noise in place of the content; textures always do.
    steps
        How often the picture is changed at each size.
    optimizer
        `adam`, or `lbfgs` as in the papers, which takes more time a step.
    seed
        Of the noise.

    Yields
    ------
    The picture after each step; the last one is the result.

    Raises
    ------
    ValueError
        As for `Objective`, and if `steps` is below 1 or the optimizer unknown.
    """
    if steps < 1 or optimizer not in ("adam", "lbfgs"):
        raise ValueError(
            f"steps must be at least 1 and optimizer 'adam' or 'lbfgs', got {steps}, {optimizer!r}"
        )
    drawn: Tensor | None = None
    before: Tensor | None = None
    goal = style if content is None else content
    for halvings in reversed(range(n_scales(*goal.shape[2:]))):
        model = _shrunk(style, halvings)
        kept = None if content is None else _shrunk(content, halvings)
        objective = Objective(features, model, kept, alpha=alpha, beta=beta)
        base = kept if kept is not None and not from_noise else None
        if drawn is None:
            start = _noise(_shrunk(goal, halvings), seed) if base is None else base
        else:
            start = enlarged(drawn, _shrunk(goal, halvings), before, base)
        for step in _descend(objective, start, steps, optimizer):
            drawn = step.picture
            yield step
        before = base


def enlarged(
    drawn: Tensor, like: Tensor, before: Tensor | None = None, base: Tensor | None = None
) -> Tensor:
    """Bring what was drawn small to a larger size, keeping the detail of what it was drawn over.

    Parameters
    ----------
    drawn
        (1, c, h, w).
    like
        (1, c, h', w'), whose size is taken.
    before, base
        What `drawn` began with at its own size and at the new one, or None if with noise: then only
        the change is enlarged.

    Returns
    -------
    (1, c, h', w').
    """
    size = like.shape[2:]
    if before is None or base is None:
        return F.interpolate(drawn, size, mode="bicubic", align_corners=False)
    change = F.interpolate(drawn - before, size, mode="bicubic", align_corners=False)
    return base + change


def match_lightness(style: Tensor, content: Tensor) -> Tensor:
    """Give the style the mean and the spread of the content's lightness.

    Parameters
    ----------
    style, content
        (1, 1, h, w) L.

    Returns
    -------
    (1, 1, h, w), sigma_C / sigma_S (L_S - mu_S) + mu_C: Gatys et al. 2016, "Preserving Color",
    luminance-only transfer. Without it a dark style would darken the photo.
    """
    spread = content.std() / style.std().clamp(min=_SMALLEST_SPREAD)
    return (style - style.mean()) * spread + content.mean()


def _shrunk(picture: Tensor, halvings: int) -> Tensor:
    if halvings == 0:
        return picture
    height, width = (max(1, side >> halvings) for side in picture.shape[2:])
    return F.interpolate(picture, (height, width), mode="area")


def _noise(like: Tensor, seed: int) -> Tensor:
    """White noise with the mean and the spread of every channel of a picture."""
    white = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)
    spread = like.std(dim=(2, 3), keepdim=True)
    return like.mean(dim=(2, 3), keepdim=True) + spread * white


def _descend(
    objective: Objective, start: Tensor, steps: int, optimizer: Optimizer
) -> Iterator[Step]:
    """Change a picture step by step, so that its energy falls."""
    mean, std = objective.features.mean, objective.features.std
    # In the network's own units, so that one step size fits lightness and sRGB.
    x = ((start - mean) / std).detach().clone().requires_grad_()
    chosen = _optimizer(x, optimizer)
    seen: list[Energies] = []

    def closure() -> float:
        chosen.zero_grad()
        total, energies = objective(x * std + mean)
        total.backward()
        seen.append(energies)
        return total.item()

    for _ in range(steps):
        seen.clear()
        before = x.detach().clone()
        chosen.step(closure)
        if torch.equal(before, x):
            # The line search found nothing better along what L-BFGS remembers: forget it.
            chosen = _optimizer(x, optimizer)
        yield Step((x * std + mean).detach(), seen[0])


def _optimizer(x: Tensor, kind: Optimizer) -> torch.optim.Optimizer:
    if kind == "adam":
        return torch.optim.Adam([x], lr=_ADAM_STEP)
    return torch.optim.LBFGS(
        [x], max_iter=1, history_size=_LBFGS_HISTORY, line_search_fn="strong_wolfe"
    )
