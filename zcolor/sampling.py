"""Part of `distribution`: colourings drawn from the probabilities, coherent over the photo.

Drawing every pixel for itself gives confetti. Here neighbouring pixels share their dice: cell q
gets a Gumbel noise g_q that changes slowly over the photo, and a pixel takes the cell with the
largest log p_q + g_q. At each single pixel that is an exact draw from p; where p stays the same,
the colour does too, and where p changes, as between a face and the sky, so may the colour.

References
----------
Gumbel, "Statistical Theory of Extreme Values", 1954 (the largest log p + g is a draw from p).
Maddison, Mnih, Teh, "The Concrete Distribution", ICLR 2017 (its softened form).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.decode import COLDEST, strips

# Random numbers along each side of the photo, per cell; the field between them is smooth.
_KNOTS = 8
# The shortest coherence that so many knots can follow, in sides of the photo.
_SHORTEST_COHERENCE = 0.1
# Temperature of the concrete distribution: 0 is the exact draw, whose cells have hard borders;
# 0.5 blends cells that are nearly tied and moves the mean over samples by little.
_SOFTNESS = 0.5


def smooth_gumbel(
    noise: Tensor, height: int, width: int, *, coherence: float, rows: slice = slice(None)
) -> Tensor:
    """Turn a few independent normal numbers into smooth fields of Gumbel noise.

    Every number is spread with a Gaussian over the photo. The weights at a pixel are scaled to a
    Euclidean length of 1, so that the field is standard normal at every pixel; its normal and
    then its inverse Gumbel distribution function make it standard Gumbel.

    Parameters
    ----------
    noise
        (..., k, k) independent standard normal numbers, spread evenly over the photo; floating.
    height, width
        Size of the fields in pixels.
    coherence
        Sigma of the Gaussian, in sides of the photo, at least 0.1; infinity makes each field
        constant.
    rows
        Compute only these rows of the fields.

    Returns
    -------
    (..., rows, width) float32, standard Gumbel at each pixel.

    Raises
    ------
    ValueError
        If `coherence` is below 0.1, which so few numbers cannot follow.

    Examples
    --------
    >>> field = smooth_gumbel(torch.randn(5, 8, 8), 20, 30, coherence=float("inf"))
    >>> field.shape, bool((field == field[:, :1, :1]).all())
    (torch.Size([5, 20, 30]), True)
    """
    if not coherence >= _SHORTEST_COHERENCE:
        raise ValueError(
            f"coherence must be at least {_SHORTEST_COHERENCE:g} sides of the photo, "
            f"got {coherence!r}"
        )
    knots = noise.float()
    down = _knot_weights(height, noise.shape[-1], coherence)[rows].to(knots)
    across = _knot_weights(width, noise.shape[-1], coherence).to(knots)
    normal = down @ knots @ across.t()
    # log_ndtr keeps its digits where the distribution function itself would round to 1.
    return -torch.log(-torch.special.log_ndtr(normal))


def _knot_weights(n: int, k: int, coherence: float) -> Tensor:
    """(n, k) weights of k knots at n pixels along one axis, each row of Euclidean length 1."""
    pixel, knot = ((torch.arange(m, dtype=torch.float32, device="cpu") + 0.5) / m for m in (n, k))
    weights = torch.exp(((pixel[:, None] - knot) / coherence).square() / -2)
    return F.normalize(weights, dim=1)


def sample_ab(
    logits: Tensor,
    colors: Tensor,
    n_samples: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    coherence: float = 2.0,
    log_weights: Tensor | None = None,
) -> Tensor:
    """Draw coherent colourings from the logits of a classifier.

    Parameters
    ----------
    logits
        (n, q, h, w), any floating dtype.
    colors
        (q, 2) ab of each cell.
    n_samples
        Number of colourings, at least 1.
    seed
        The same seed gives the same colourings on every run, whatever photos share the batch, and
        the first of many are the few. All photos of a batch are drawn with the same noise.
    temperature
        In (0, 1]: 1 draws from the probabilities, less from sharpened ones, softmax(logits / T):
        fewer colours that are rare.
    coherence
        How far neighbours share their dice, in sides of the photo, at least 0.1; infinity makes
        one draw for the whole photo.
    log_weights
        (q,) taken away from the logits of each pixel first; None takes nothing away.

    Returns
    -------
    (n_samples, n, 2, h, w) float32 ab, on the device of the logits.

    Raises
    ------
    ValueError
        If the shapes do not fit or an option is out of range.

    Notes
    -----
    Maddison et al. 2017, equation 10, with a temperature of 0.5.

    Examples
    --------
    >>> logits = torch.tensor([0.0, 99.0]).view(1, 2, 1, 1)
    >>> colors = torch.tensor([[0.0, 0.0], [10.0, -10.0]])
    >>> sample_ab(logits, colors, 3).flatten(1).tolist()
    [[10.0, -10.0], [10.0, -10.0], [10.0, -10.0]]
    """
    _check(logits, colors, n_samples, temperature)
    if log_weights is None:
        log_weights = colors.new_zeros(len(colors))
    n, q, h, w = logits.shape
    colors = colors.to(device=logits.device, dtype=torch.float32)
    tilt = log_weights.to(colors)[:, None, None]
    # Drawn on the CPU and one sample after the other: see `seed`.
    dice = torch.Generator("cpu").manual_seed(seed)
    noise = [
        torch.randn(q, _KNOTS, _KNOTS, generator=dice, dtype=torch.float32, device="cpu")
        for _ in range(n_samples)
    ]
    ab = torch.empty(n_samples, n, 2, h, w, dtype=torch.float32, device=logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        for i, knots in enumerate(noise):
            for photo, rows, part in strips(logits):
                gumbel = smooth_gumbel(
                    knots.to(logits.device), h, w, coherence=coherence, rows=rows
                )
                # The largest is taken away first, so that a small T cannot overflow.
                natural = part.float() - tilt
                relative = natural - natural.amax(dim=0)
                z = relative / max(temperature, COLDEST) + gumbel
                p = torch.softmax(z / _SOFTNESS, dim=0)
                ab[i, photo, :, rows] = (colors.t() @ p.flatten(1)).view(2, *p.shape[1:])
    return ab


def _check(logits: Tensor, colors: Tensor, n_samples: int, temperature: float) -> None:
    if logits.ndim != 4 or colors.shape != (logits.shape[1], 2):
        raise ValueError(
            "logits must be (n, q, h, w) and colors (q, 2), got "
            f"{tuple(logits.shape)} and {tuple(colors.shape)}"
        )
    if n_samples < 1:
        raise ValueError(f"the number of samples must be at least 1, got {n_samples!r}")
    if not 0 < temperature <= 1:
        raise ValueError(
            f"temperature must lie in (0, 1] (1 draws from the probabilities themselves), "
            f"got {temperature!r}"
        )
