"""`AbGrid`: cells over the ab plane of CIELAB, and the way from ab to cells and back.

References
----------
Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2.1.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zcolor.lab import rgb_to_lab

# Distances to a free list of centres are computed for at most this many pixel-centre pairs at once.
_PAIRS_AT_ONCE = 1 << 24
MAX_BINS = 256
"""Cells along an axis at most: 0.9 ab units, well below what eyes tell apart."""
MAX_CENTERS = 4096
"""Centres of a free list at most, as all their distances are computed."""
# ab this far out is far from every colour; squares of much larger numbers would overflow.
_FARTHEST = 1e4
# Colours a side of the RGB cube that are looked up to find the cells that sRGB reaches.
_GAMUT_SAMPLES = 64


class AbGrid:
    """Cells over the ab plane: a regular grid, or the nearest of any list of centres.

    The regular grid has `bins` x `bins` cells; cell `ia * bins + ib` is centred on
    `low + (i + 0.5) * width` along each axis. Values outside belong to the edge cell.

    Parameters
    ----------
    bins
        Cells along each axis.
    low, high
        Range of a and of b, in CIELAB units.

    Attributes
    ----------
    centers : Tensor
        (q, 2) float32, the ab of every cell's centre.
    width : float
        Distance between neighbouring centres, in ab units.

    Raises
    ------
    ValueError
        If there are fewer than 2 bins or more than `MAX_BINS`, no whole number of them, or the
        range is empty.

    Examples
    --------
    >>> grid = AbGrid()
    >>> grid.n_bins, round(grid.width, 2)
    (324, 12.22)
    >>> grid.encode(torch.zeros(1, 2, 1, 1)).item()
    171
    """

    def __init__(self, bins: int = 18, low: float = -110.0, high: float = 110.0) -> None:
        if not _is_count(bins) or not low < high or not math.isfinite(high - low):
            raise ValueError(
                f"a grid needs at least 2 bins and finite low < high, got bins={bins}, "
                f"low={low}, high={high}; a whole number of bins, at most {MAX_BINS}"
            )
        self.bins: int | None = int(bins)
        self.low, self.high = float(low), float(high)
        self.width = (self.high - self.low) / bins
        steps = torch.arange(self.bins, dtype=torch.float64, device="cpu") + 0.5
        axis = self.low + steps * self.width
        self.centers = torch.cartesian_prod(axis, axis).float()  # (q, 2)

    @classmethod
    def from_centers(cls, points: Tensor) -> AbGrid:
        """Make a grid of any list of centres, as the 313 of the original paper.

        Parameters
        ----------
        points
            (q, 2) ab centres, q from 2 to `MAX_CENTERS`; all finite and different.

        Returns
        -------
        A grid whose cells are the regions nearest to each centre.

        Raises
        ------
        ValueError
            If the shape is another, or a centre is not finite or stands twice.

        Examples
        --------
        >>> AbGrid.from_centers(torch.tensor([[0.0, 0.0], [50.0, 0.0]])).n_bins
        2
        """
        points = torch.as_tensor(points, dtype=torch.float32, device="cpu")
        if points.ndim != 2 or points.shape[1] != 2 or not 2 <= len(points) <= MAX_CENTERS:
            raise ValueError(
                f"centers must have shape (q, 2) with q >= 2, got {tuple(points.shape)}; "
                f"at most {MAX_CENTERS} of them"
            )
        if not bool(points.isfinite().all()) or len(points.unique(dim=0)) != len(points):
            raise ValueError("centers must be finite and each must stand once")
        grid = cls.__new__(cls)
        grid.bins = None
        grid.low, grid.high = points.min().item(), points.max().item()
        grid.centers = points.clone()
        distances = torch.cdist(points, points)
        distances.fill_diagonal_(torch.inf)
        # The usual spacing: the median distance to the nearest neighbour.
        grid.width = distances.amin(dim=1).median().item()
        return grid

    @property
    def n_bins(self) -> int:
        """Number of cells, q."""
        return len(self.centers)

    @cached_property
    def in_gamut(self) -> Tensor:
        """(q,) bool: the cells that some sRGB colour reaches (64 values a channel are tried)."""
        axis = torch.linspace(0, 1, _GAMUT_SAMPLES, dtype=torch.float32, device="cpu")
        cube = torch.cartesian_prod(axis, axis, axis).t()[None, :, :, None]  # (1, 3, 64^3, 1)
        mask = torch.zeros(self.n_bins, dtype=torch.bool, device="cpu")
        mask[self.encode(rgb_to_lab(cube)[:, 1:]).unique()] = True
        return mask

    def encode(self, ab: Tensor) -> Tensor:
        """Find the cell of every pixel.

        Parameters
        ----------
        ab
            (n, 2, h, w), finite.

        Returns
        -------
        (n, h, w) int64 in [0, q).

        Raises
        ------
        ValueError
            If the shape is another or a value is NaN or infinite.
        """
        _check_ab(ab)
        if self.bins is None:
            return self._nearest(ab, 1)[0][:, 0]
        ia, ib = self._axis_index(ab).unbind(dim=1)
        return ia * self.bins + ib

    def soft_encode(
        self, ab: Tensor, *, k: int = 5, sigma: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Spread every pixel over its k nearest cells with a Gaussian of the distance.

        Parameters
        ----------
        ab
            (n, 2, h, w), finite; values outside a regular grid are first brought to its edge; with
            a list of centres, values beyond +-10,000 to these.
        k
            Number of cells.
        sigma
            Standard deviation in ab units; None takes half a cell's width (the paper's 5 belongs
            to its grid of 10 units).

        Returns
        -------
        indices : Tensor
            (n, k, h, w) int64, nearest first.
        weights : Tensor
            (n, k, h, w), dtype of `ab`; they sum to 1 over k.

        Raises
        ------
        ValueError
            If the shape is another, a value is not finite, `k` is not in 1..q or sigma <= 0.

        Notes
        -----
        Zhang et al. 2016, section 2.1 ("soft-encoding").
        """
        _check_ab(ab)
        sigma = self.width / 2 if sigma is None else sigma
        if not 1 <= k <= self.n_bins or not sigma > 0:
            raise ValueError(
                f"k must lie in 1..{self.n_bins} and sigma above 0, got k={k}, sigma={sigma}"
            )
        if self.bins is not None:
            ab = ab.clamp(self.low, self.high)
        # In a regular grid of 3 or more the 5 nearest cells stand in the 3x3 around a pixel.
        if self.bins is not None and self.bins >= 3 and k <= 5:
            indices, squared = self._nearest_in_window(ab, k)
        else:
            indices, squared = self._nearest(ab, k)
        return indices, torch.softmax(squared / (-2 * sigma**2), dim=1)

    def to_dict(self) -> dict[str, Any]:
        """Describe the grid in plain values for a checkpoint's header."""
        if self.bins is None:
            return {"centers": self.centers.tolist()}
        return {"bins": self.bins, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> AbGrid:
        """Make the grid that `to_dict` described.

        Raises
        ------
        ValueError
            If the description names neither bins, low and high nor centers.

        Examples
        --------
        >>> AbGrid.from_dict(AbGrid(10).to_dict()) == AbGrid(10)
        True
        """
        if "centers" in description:
            return cls.from_centers(description["centers"])
        if not {"bins", "low", "high"} <= set(description):
            raise ValueError(
                "a grid is described by 'bins', 'low' and 'high', or by 'centers'; "
                f"got {sorted(description)}"
            )
        return cls(description["bins"], float(description["low"]), float(description["high"]))

    def __eq__(self, other: object) -> bool:
        """Two grids are equal when their centres are."""
        return isinstance(other, AbGrid) and torch.equal(self.centers, other.centers)

    def __hash__(self) -> int:
        """Hash that agrees with equality."""
        return hash(tuple(self.centers.flatten().tolist()))

    def __repr__(self) -> str:
        """Show what to call to make this grid."""
        if self.bins is None:
            return f"AbGrid.from_centers(<{self.n_bins} points>)"
        return f"AbGrid(bins={self.bins}, low={self.low}, high={self.high})"

    def _axis_index(self, ab: Tensor) -> Tensor:
        assert self.bins is not None
        position = (ab - self.low) / self.width
        return position.floor().clamp(0, self.bins - 1).long()  # (n, 2, h, w)

    def _nearest_in_window(self, ab: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Indices and squared distances of the k <= 5 nearest cells, nearest first."""
        assert self.bins is not None
        middle = self._axis_index(ab).clamp(1, self.bins - 2)  # (n, 2, h, w)
        offset = torch.arange(-1, 2, device=ab.device).view(1, 1, 3, 1, 1)
        window = middle.unsqueeze(2) + offset  # (n, 2, 3, h, w)
        apart = (ab.unsqueeze(2) - (self.low + (window + 0.5) * self.width)) ** 2
        squared = (apart[:, 0].unsqueeze(2) + apart[:, 1].unsqueeze(1)).flatten(1, 2)
        cells = (window[:, 0].unsqueeze(2) * self.bins + window[:, 1].unsqueeze(1)).flatten(1, 2)
        squared, order = squared.topk(k, dim=1, largest=False)  # (n, k, h, w)
        return cells.gather(1, order), squared

    def _nearest(self, ab: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Indices and squared distances of the k nearest of any list of centres."""
        n, _, h, w = ab.shape
        pixels = ab.permute(0, 2, 3, 1).reshape(-1, 2)
        pixels = pixels.clamp(-_FARTHEST, _FARTHEST)
        centers = self.centers.to(pixels)
        indices, squared = [], []
        for part in pixels.split(max(1, _PAIRS_AT_ONCE // self.n_bins)):
            apart = ((part[:, None] - centers[None]) ** 2).sum(dim=2)
            near, index = apart.topk(k, dim=1, largest=False)
            indices.append(index)
            squared.append(near)

        def picture(parts: list[Tensor]) -> Tensor:
            return torch.cat(parts).view(n, h, w, k).permute(0, 3, 1, 2)

        return picture(indices), picture(squared)


def _is_count(bins: Any) -> bool:
    """Tell a number of cells along an axis from everything else: headers hold anything."""
    real = isinstance(bins, numbers.Real)
    return real and bins % 1 == 0 and 2 <= bins <= MAX_BINS


def _check_ab(ab: Tensor) -> None:
    if ab.ndim != 4 or ab.shape[1] != 2 or not ab.is_floating_point():
        raise ValueError(
            f"ab must be a floating tensor of shape (n, 2, h, w), got {ab.dtype} {tuple(ab.shape)}"
        )
    if not bool(ab.isfinite().all()):
        raise ValueError(
            "ab holds NaN or infinite values, which belong to no cell; "
            "look at the picture that they were computed from"
        )
