"""Low-resolution ab brought to the full size of a photograph, whole or in bands of rows.

The luminance keeps the full resolution of the photograph; the eye resolves colour far less, so a
smooth interpolation of ab is enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zcolor.settings import check_upsample


def _taps(start: int, stop: int, n_in: int, n_out: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the outputs `start` to `stop` lie between the inputs, along one axis.

    Pixel centres lie at half-integers: output i reads position (i + 0.5) n_in / n_out - 0.5.
    Returns the indices of the two neighbours and the weight of the second, in float64.
    """
    position = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * (n_in / n_out) - 0.5
    position = position.clamp(0, n_in - 1)
    lower = position.floor()
    upper = (lower + 1).clamp(max=n_in - 1)
    return lower.long(), upper.long(), position - lower


def _interpolate(values: Tensor, dim: int, taps: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    lower, upper, weight = taps
    below = values.index_select(dim, lower.to(values.device))
    above = values.index_select(dim, upper.to(values.device))
    shape = [1] * values.ndim
    shape[dim] = -1
    # Three separate operations, not lerp: a fused one may round differently at the end of a
    # vector, and a band of rows has to equal the same rows of the whole bit by bit.
    step = (above - below) * weight.to(values.dtype).to(values.device).view(shape)
    return below + step


def upsample_ab(
    ab: Tensor,
    height: int,
    width: int,
    *,
    method: str = "bilinear",
    rows: tuple[int, int] | None = None,
) -> Tensor:
    """Bring ab to another size, or only some rows of it.

    Bilinear with half-pixel centres, like ``F.interpolate(..., align_corners=False)``.

    Parameters
    ----------
    ab
        (n, 2, h', w') ab of any range, floating; (n, 2, 1, 1) gives one colour everywhere.
    height, width
        Size of the whole result in pixels.
    method
        One of `zcolor.settings.UPSAMPLE_METHODS`.
    rows
        (first, last + 1): compute only these rows of the result; they equal the same rows of the
        whole bit by bit. None gives every row.

    Returns
    -------
    (n, 2, rows, width), dtype and device of `ab`.

    Raises
    ------
    ValueError
        For an unknown method, a wrong shape or dtype, or rows outside the result.

    Examples
    --------
    >>> ab = torch.tensor([0.0, 40.0]).view(1, 1, 1, 2).expand(1, 2, 1, 2)
    >>> upsample_ab(ab, 1, 4)[0, 0].tolist()
    [[0.0, 10.0, 30.0, 40.0]]
    """
    check_upsample(method)
    if ab.ndim != 4 or ab.shape[1] != 2 or 0 in ab.shape or not ab.is_floating_point():
        raise ValueError(
            f"ab must be a floating tensor of shape (n, 2, h, w) with no side of 0, got {ab.dtype} "
            f"{tuple(ab.shape)}; stack a and b along dimension 1"
        )
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    start, stop = (0, height) if rows is None else rows
    if not 0 <= start < stop <= height:
        raise ValueError(
            f"rows must satisfy 0 <= first < last <= {height} (the height), got ({start}, {stop})"
        )
    band = _interpolate(ab, 2, _taps(start, stop, ab.shape[2], height))  # (n, 2, rows, w')
    return _interpolate(band, 3, _taps(0, width, ab.shape[3], width))  # (n, 2, rows, width)
