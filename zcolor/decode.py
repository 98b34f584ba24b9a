"""From the logits of a classifier to ab: argmax, annealed mean, mean.

References
----------
Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2.3, equation 5.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from zcolor.quantizer import AbGrid
from zcolor.settings import Colors, DecodeSettings

# Pixels decoded at once: the float32 copy of their logits stays at some 20 MB for 324 cells,
# so that (n, q, h, w) never exists twice at full precision.
_PIXELS_AT_ONCE = 1 << 14
COLDEST = 1e-30
"""Temperatures below this act as it does: argmax, but for cells that tie to the last bit."""
# Distance from the photo's mean colour, in ab units, at which half of the contrast counts.
_HALF_DISTANCE = 10.0


def cell_colors(grid: AbGrid, means: Tensor | None, colors: Colors) -> Tensor:
    """Choose the colour that stands for each cell.

    Parameters
    ----------
    grid
        The grid of the classifier.
    means
        (q, 2) mean ab of the training pixels of each cell, or None where unknown.
    colors
        `means`, or `centers` of the cells.

    Returns
    -------
    (q, 2) float32 ab.

    Raises
    ------
    ValueError
        If `means` are asked for and unknown, or of another length than the grid.

    Examples
    --------
    >>> cell_colors(AbGrid(bins=2, low=-1, high=1), None, "centers")[0].tolist()
    [-0.5, -0.5]
    """
    if colors == "centers":
        return grid.centers
    if means is None or means.shape != grid.centers.shape:
        raise ValueError(
            f"decoding with cell means needs {tuple(grid.centers.shape)} of them, got "
            f"{'none' if means is None else tuple(means.shape)}; use colors='centers'"
        )
    return means


def shown_colors(grid: AbGrid, means: Tensor | None, settings: DecodeSettings) -> Tensor:
    """Give the colour that each cell is shown in: gain * (its colour - neutral).

    Means over these colours are the means over the cells' own, shifted and scaled alike.

    Parameters
    ----------
    grid, means
        As for `cell_colors`.
    settings
        `colors`, `neutral` and `gain` count.

    Returns
    -------
    (q, 2) float32 ab.

    Raises
    ------
    ValueError
        As for `cell_colors`.

    Examples
    --------
    >>> warm = DecodeSettings(colors="centers", neutral=(0.0, 0.5), gain=2.0)
    >>> shown_colors(AbGrid(bins=2, low=-1, high=1), None, warm)[1].tolist()
    [-1.0, 0.0]
    """
    colors = cell_colors(grid, means, settings.colors)
    return (colors - colors.new_tensor(settings.neutral)) * settings.gain


def decode_answer(
    logits: Tensor,
    grid: AbGrid,
    means: Tensor | None,
    class_weights: Tensor | None,
    settings: DecodeSettings,
    *,
    lean: Tensor | None = None,
) -> Tensor:
    """Make colours of a classifier's answer, in the way that the settings ask for.

    Parameters
    ----------
    logits
        (n, q, h, w), whole photos, any floating dtype.
    grid, means
        As for `cell_colors`.
    class_weights
        (q,) rebalancing weights of training, or None without any.
    settings
        How.
    lean
        (q,) added to the logits of every pixel, towards the colours of a reference
        (`zcolor.reference`); None adds nothing.

    Returns
    -------
    (n, 2, h, w) float32 ab, on the device of the logits.

    Raises
    ------
    ValueError
        As for `cell_colors`, and if the shapes do not fit.
    """
    colors = shown_colors(grid, means, settings)
    bias = lean
    if settings.rebalance != 1 and class_weights is not None:
        tilt = (settings.rebalance - 1) * class_weights.log()
        bias = tilt if lean is None else tilt + lean
    ab = decode_logits(logits, colors, settings.effective_temperature, bias=bias)
    return strengthen(ab, settings.contrast)


def strengthen(ab: Tensor, contrast: float) -> Tensor:
    """Strengthen the colours of a photo that differ from its mean colour; greys stay grey.

    A colour at the distance d from the mean is multiplied by 1 + contrast * d / (d + 10).

    Parameters
    ----------
    ab
        (n, 2, h, w), whole photos.
    contrast
        In [0, 4]; 0 changes nothing.

    Returns
    -------
    (n, 2, h, w) ab of the same hues.

    Examples
    --------
    >>> ab = torch.tensor([[0.0, 20.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    >>> strengthen(ab, 1.0)[0, 0].tolist()
    [[0.0, 30.0]]
    """
    if contrast == 0:
        return ab
    mean = ab.mean(dim=(2, 3), keepdim=True)
    distance: Tensor = (ab - mean).norm(dim=1, keepdim=True)
    return ab * (1 + contrast * distance / (distance + _HALF_DISTANCE))


def strips(logits: Tensor) -> Iterator[tuple[int, slice, Tensor]]:
    """Cut logits into parts that are small enough for a float32 copy of each.

    Parameters
    ----------
    logits
        (n, q, h, w), any floating dtype.

    Yields
    ------
    photo, rows, part
        The index of the photo, the rows of the strip, and its logits (q, rows, w), a view.

    Examples
    --------
    >>> [(photo, rows.stop) for photo, rows, _ in strips(torch.zeros(2, 4, 3, 5))]
    [(0, 3), (1, 3)]
    """
    n, _, h, w = logits.shape
    step = max(1, _PIXELS_AT_ONCE // max(w, 1))
    for photo in range(n):
        for top in range(0, h, step):
            rows = slice(top, min(top + step, h))
            yield photo, rows, logits[photo, :, rows]


def decode_logits(
    logits: Tensor, colors: Tensor, temperature: float, *, bias: Tensor | None = None
) -> Tensor:
    """Annealed mean of the cells' colours: softmax((logits + bias) / T) @ colors.

    Parameters
    ----------
    logits
        (n, q, h, w), any floating dtype.
    colors
        (q, 2) ab of each cell.
    temperature
        T in [0, 1]; 0 takes the most probable cell (argmax), 1 the mean.
    bias
        (q,) added to the logits of every pixel; None adds nothing.

    Returns
    -------
    (n, 2, h, w) float32 ab, on the device of the logits.

    Raises
    ------
    ValueError
        If the shapes do not fit or the temperature lies outside [0, 1].

    Notes
    -----
    Zhang et al. 2016, equation 5. Pixels are decoded in parts, so that the logits are never held
    a second time in float32.

    Examples
    --------
    >>> logits = torch.tensor([0.0, 9.0]).view(1, 2, 1, 1)
    >>> colors = torch.tensor([[0.0, 0.0], [10.0, -10.0]])
    >>> decode_logits(logits, colors, 0).flatten().tolist()
    [10.0, -10.0]
    """
    if logits.ndim != 4 or colors.shape != (logits.shape[1], 2):
        raise ValueError(
            "logits must be (n, q, h, w) and colors (q, 2), got "
            f"{tuple(logits.shape)} and {tuple(colors.shape)}"
        )
    if not 0.0 <= temperature <= 1.0:
        raise ValueError(
            f"temperature must lie in [0, 1] (0 = argmax, 1 = mean), got {temperature}"
        )
    n, _, h, w = logits.shape
    colors = colors.to(device=logits.device, dtype=torch.float32)
    if bias is not None:
        if bias.shape != (logits.shape[1],):
            raise ValueError(f"bias must be ({logits.shape[1]},), got {tuple(bias.shape)}")
        bias = bias.to(colors)[:, None, None]
    ab = torch.empty(n, 2, h, w, device=logits.device, dtype=torch.float32)
    # Autocast would take the mean of the colours in half precision, worth a third of a unit of ab.
    with torch.autocast(logits.device.type, enabled=False):
        for photo, rows, part in strips(logits):
            if bias is not None:
                part = part.float() + bias
            if temperature == 0:
                decoded = colors[part.argmax(dim=0)].permute(2, 0, 1)
            else:
                # The largest logit is taken away first, so that a small T cannot overflow.
                relative = part.float() - part.amax(dim=0).float()
                p = torch.softmax(relative / max(temperature, COLDEST), dim=0)
                decoded = (colors.t() @ p.flatten(1)).view(2, *p.shape[1:])
            ab[photo, :, rows] = decoded
    return ab
