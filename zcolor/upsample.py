"""Low-resolution ab brought to the full size of a photograph, whole or in bands of rows.

Two ways: bilinear, which knows nothing of the photograph, and guided by its lightness, so that
colour stops at edges. The lightness keeps the full resolution of the photograph in both.

References
----------
K. He, J. Sun and X. Tang, "Guided image filtering", IEEE TPAMI 35 (2013).
K. He and J. Sun, "Fast guided filter", arXiv:1505.00996 (2015): the coefficients are found at low
resolution and applied at full size.
D. Kiku et al., "Residual interpolation for color image demosaicking", ICIP 2013: what the
coefficients do not explain is interpolated and added back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

GUIDE_RADIUS = 1
"""Radius of the guided filter's windows (He et al. 2013), in pixels of the low-resolution ab."""
GUIDE_EPS = 200.0
"""Regularisation of the guided filter (He et al. 2013), in squared units of L (0..100): windows in
which L varies by less than about 14 colour as the bilinear way does. Both constants are measured:
`benchmarks/upsampling.py`."""


def taps(start: int, stop: int, n_in: int, n_out: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tell where outputs lie between inputs along one axis, for bilinear interpolation.

    Pixel centres lie at half-integers: output i reads position (i + 0.5) n_in / n_out - 0.5.

    Parameters
    ----------
    start, stop
        The first output and the one after the last.
    n_in, n_out
        Number of inputs and of all outputs.

    Returns
    -------
    lower, upper, weight
        (stop - start,) int64 indices of the two neighbours, and the float64 weight of the second.

    Examples
    --------
    >>> [part.tolist() for part in taps(1, 3, 2, 4)]
    [[0, 0], [1, 1], [0.25, 0.75]]
    """
    outputs = torch.arange(start, stop, dtype=torch.float64, device="cpu")
    position = ((outputs + 0.5) * (n_in / n_out) - 0.5).clamp(0, n_in - 1)
    lower = position.floor()
    upper = (lower + 1).clamp(max=n_in - 1)
    return lower.long(), upper.long(), position - lower


def _interpolate(values: Tensor, dim: int, places: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    lower, upper, weight = places
    below = values.index_select(dim, lower.to(values.device))
    above = values.index_select(dim, upper.to(values.device))
    shape = [1] * values.ndim
    shape[dim] = -1
    # Three separate operations, not lerp: a fused one may round differently at the end of a
    # vector, and a band of rows has to equal the same rows of the whole bit by bit.
    step = above.sub_(below).mul_(weight.to(values.dtype).to(values.device).view(shape))
    return step.add_(below)


def _resize(planes: Tensor, height: int, width: int, rows: tuple[int, int]) -> Tensor:
    """Bring (n, c, h', w') to rows of (n, c, height, width), bilinearly.

    The result lies in memory with its columns first: picking whole columns is several times
    faster than picking single values out of rows.
    """
    band = _interpolate(planes, 2, taps(*rows, planes.shape[2], height))  # (n, c, rows, w')
    columns = band.permute(3, 0, 1, 2).contiguous()  # (w', n, c, rows)
    full = _interpolate(columns, 0, taps(0, width, planes.shape[3], width))
    return full.permute(1, 2, 3, 0)  # (n, c, rows, width)


def _check_ab(ab: Tensor) -> None:
    if ab.ndim != 4 or ab.shape[1] != 2 or 0 in ab.shape or not ab.is_floating_point():
        raise ValueError(
            f"ab must be a floating tensor of shape (n, 2, h, w) with no side of 0, got {ab.dtype} "
            f"{tuple(ab.shape)}; stack a and b along dimension 1"
        )


def _checked_rows(height: int, width: int, rows: tuple[int, int] | None) -> tuple[int, int]:
    """Refuse sizes and rows that make no sense; None becomes all of them."""
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    start, stop = (0, height) if rows is None else rows
    if not 0 <= start < stop <= height:
        raise ValueError(
            f"rows must satisfy 0 <= first < last <= {height} (the height), got ({start}, {stop})"
        )
    return start, stop


def upsample_ab(
    ab: Tensor, height: int, width: int, *, rows: tuple[int, int] | None = None
) -> Tensor:
    """Bring ab to another size, or only some rows of it.

    Bilinear with half-pixel centres, like ``F.interpolate(..., align_corners=False)``.

    Parameters
    ----------
    ab
        (n, 2, h', w') ab of any range, floating; (n, 2, 1, 1) gives one colour everywhere.
    height, width
        Size of the whole result in pixels.
    rows
        (first, last + 1): compute only these rows of the result; they equal the same rows of the
        whole bit by bit. None gives every row.

    Returns
    -------
    (n, 2, rows, width), dtype and device of `ab`.

    Raises
    ------
    ValueError
        For a wrong shape or dtype, or rows outside the result.

    Examples
    --------
    >>> ab = torch.tensor([0.0, 40.0]).view(1, 1, 1, 2).expand(1, 2, 1, 2)
    >>> upsample_ab(ab, 1, 4)[0, 0].tolist()
    [[0.0, 10.0, 30.0, 40.0]]
    """
    _check_ab(ab)
    return _resize(ab, height, width, _checked_rows(height, width, rows)).contiguous()


@dataclass(frozen=True, eq=False)
class GuidedAb:
    """Low-resolution ab with what the lightness says about it; see `guide_ab`."""

    planes: Tensor
    """(n, 9, h', w'): ab, the slope of ab over L (2 planes each), L, and the lowest and highest ab
    around each pixel (2 planes each)."""

    def upsample(
        self, lightness: Tensor, height: int, *, rows: tuple[int, int] | None = None
    ) -> Tensor:
        """Bring the ab to full size, or only some rows of it.

        Bilinear ab, plus the slope times what the lightness has more than its own bilinear
        version, kept within the lowest and highest ab around.

        Parameters
        ----------
        lightness
            (n, 1, rows, w) L in [0, 100] of these rows of the photograph at full size; dtype and
            device of the ab.
        height
            Height of the whole result in pixels; its width is that of `lightness`.
        rows
            (first, last + 1): the rows that `lightness` holds; the result equals the same rows of
            the whole bit by bit. None means every row.

        Returns
        -------
        (n, 2, rows, w), dtype and device of the ab.

        Raises
        ------
        ValueError
            If `lightness` has another shape or dtype, or for rows outside the result.

        Examples
        --------
        >>> small = torch.tensor([20.0, 80.0]).view(1, 1, 1, 2)
        >>> ab = torch.tensor([0.0, 40.0]).view(1, 1, 1, 2).expand(1, 2, 1, 2)
        >>> full = torch.tensor([20.0, 20.0, 80.0, 80.0]).view(1, 1, 1, 4)
        >>> a = guide_ab(small, ab).upsample(full, 1)[0, 0, 0]
        >>> [round(value, 1) for value in a.tolist()]  # bilinear: 0, 10, 30, 40
        [0.0, 1.8, 38.2, 40.0]
        """
        n, width = self.planes.shape[0], lightness.shape[-1]
        start, stop = _checked_rows(height, width, rows)
        expected = (n, 1, stop - start, width)
        if lightness.shape != expected or lightness.dtype != self.planes.dtype:
            raise ValueError(
                f"lightness must be {self.planes.dtype} {expected} for these rows, "
                f"got {lightness.dtype} {tuple(lightness.shape)}"
            )
        full = _resize(self.planes, height, width, (start, stop))
        ab, slope, smooth, low, high = full.split((2, 2, 1, 2, 2), dim=1)
        detail = slope * (lightness - smooth)
        return torch.minimum(torch.maximum(ab + detail, low), high).contiguous()


def guide_ab(
    lightness: Tensor, ab: Tensor, *, radius: int = GUIDE_RADIUS, eps: float = GUIDE_EPS
) -> GuidedAb:
    """Find out how ab follows the lightness, so that at full size its edges become colour edges.

    In every window ab is fitted as slope * L + offset by least squares, regularised by `eps`
    (He et al. 2013, eqs. 5 and 6, with L as the guide and at the resolution of ab, as in the fast
    guided filter); each pixel takes the mean slope of the windows that hold it (eq. 8). Two things
    differ from the paper, since here the input is not noise to be smoothed but all there is:

    - What the fit leaves over is kept: the result is the bilinear ab plus slope times the detail
      of L (Kiku et al. 2013). Where L is smooth, or says nothing about ab, that is bilinear ab.
    - The result stays within the range of the 3 x 3 low-resolution ab around, so that there are no
      halos, and no colours that were not there.

    Both averages being over the same areas, `lightness` must be the photograph's at the size of
    ab; a finer one next to a blurred ab would make all slopes too small.

    Parameters
    ----------
    lightness
        (n, 1, h', w') L in [0, 100], the photograph shrunk by area to the size of ab.
    ab
        (n, 2, h', w') ab, unscaled: float32 or float64 like `lightness`.
    radius
        Of the windows, in pixels of ab: side 2 radius + 1, cut at the border.
    eps
        Regularisation in squared units of L, above 0: windows in which the variance of L is small
        against it have no slope.

    Returns
    -------
    What `GuidedAb.upsample` needs.

    Raises
    ------
    ValueError
        For wrong shapes or dtypes, a radius below 1 or an eps that is not above 0.

    Examples
    --------
    >>> guided = guide_ab(torch.full((1, 1, 3, 3), 50.0), torch.ones(1, 2, 3, 3))
    >>> guided.upsample(torch.full((1, 1, 6, 6), 50.0), 6).unique().tolist()
    [1.0]
    """
    _check_ab(ab)
    if lightness.shape != (ab.shape[0], 1, *ab.shape[2:]) or lightness.dtype != ab.dtype:
        raise ValueError(
            f"lightness must be {ab.dtype} ({ab.shape[0]}, 1, {ab.shape[2]}, {ab.shape[3]}), "
            f"the size of ab, got {lightness.dtype} {tuple(lightness.shape)}"
        )
    if ab.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"guided upsampling needs float32 or float64, got {ab.dtype}")
    if radius < 1 or not eps > 0:
        raise ValueError(f"radius must be at least 1 and eps above 0, got {radius} and {eps}")

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2 * radius + 1, 1, radius, count_include_pad=False)

    # Deviations from the photo's mean keep the variances exact in float32.
    centered = lightness - lightness.mean(dim=(2, 3), keepdim=True)
    mean_l = mean(centered)
    variance = (mean(centered * centered) - mean_l * mean_l).clamp(min=0)
    covariance = mean(centered * ab) - mean_l * mean(ab)
    slope = mean(covariance / (variance + eps))  # (n, 2, h', w')
    around = F.pad(ab, (1, 1, 1, 1), mode="replicate")
    high, low = F.max_pool2d(around, 3, 1), -F.max_pool2d(-around, 3, 1)
    return GuidedAb(torch.cat((ab, slope, lightness, low, high), dim=1))
