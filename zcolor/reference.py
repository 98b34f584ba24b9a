"""A reference photograph that lends its colours: its shares of colours in place of the prior's.

A classifier has learned how often each cell of the ab grid occurs. Where a photograph is known to
have other colours (an evening, an autumn wood), Bayes' rule moves its answers there: the
probability of each cell is multiplied by how much more often the reference has it.

References
----------
Saerens, Latinne, Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities", Neural Computation 2002 (gamma = 1).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.arrays import to_float
from zcolor.lab import rgb_to_lab
from zcolor.photo import ImageLike, Photo, read_photo
from zcolor.quantizer import AbGrid
from zcolor.working import resize_area, working_shape

LEND = 0.7
"""How far colours lean towards a reference's, as a power: 0 not at all, 1 by Bayes' rule."""
REFERENCE_STRIDE = 4
"""Colours are counted over blocks of so many pixels a side, as the priors are."""
# Sigma of the Gaussian that spreads a count over its neighbours, in widths of a cell.
_SMOOTHING = 0.5
# Share of the prior in what the reference is taken for: colours that it lacks are held down, not
# forbidden, and keep their proportions among each other. Chosen by looking, as the default of gamma
# was: with a floor alone, rare colours came up in every photo whose reference lacks common ones.
_MIXING = 0.05
# Added to the share of every cell, so that what training hardly reached is not raised without end.
# A photo at working size 128 has 1024 blocks.
_FLOOR = 1e-3
# Below this mean chroma a picture has no colours to lend.
_GREY_CHROMA = 2.0


def read_reference(image: ImageLike, *, size: int = 128) -> Tensor:
    """Read a reference photo, at the size at which the network looks at photos.

    Parameters
    ----------
    image
        A colour picture of any kind that `zcolor.colorize` takes, but no batch.
    size
        Side of the square of equal area, in pixels.

    Returns
    -------
    (1, 3, h, w) float32 sRGB in [0, 1]; transparency is left out.

    Raises
    ------
    ValueError
        For a grey picture, a batch, and what cannot be read.
    TypeError, FileNotFoundError, IsADirectoryError
        As for `zcolor.photo.read_photo`.

    Examples
    --------
    >>> red = np.zeros((40, 60, 3), np.uint8)
    >>> red[..., 0] = 200
    >>> read_reference(red, size=16).shape
    torch.Size([1, 3, 16, 16])
    """
    found = small_rgb(read_photo(image), size)
    if rgb_to_lab(found)[:, 1:].norm(dim=1).mean() < _GREY_CHROMA:
        raise ValueError(
            f"the reference has hardly any colour (mean chroma below {_GREY_CHROMA:g}), so there "
            "is nothing to lend; take a colour photo"
        )
    return found


def small_rgb(photo: Photo, size: int | None) -> Tensor:
    """Give the colours of a photo at working size.

    Parameters
    ----------
    photo
        A single picture; grey ones have three equal channels, transparency is left out.
    size
        Side of the square of equal area, in pixels; None keeps the photo's own size.

    Returns
    -------
    (1, 3, h, w) float32 sRGB in [0, 1].

    Raises
    ------
    ValueError
        For a batch, or a size below 8.
    """
    if photo.n != 1:
        raise ValueError(f"expected a single picture, got a batch of {photo.n}")
    pixels = photo.pixels
    if isinstance(pixels, Tensor):
        pixels = pixels.permute(0, 2, 3, 1).cpu().numpy()
    # Alpha comes last: one channel of grey, or three of colour.
    colors = pixels[0, :, :, : 3 if pixels.shape[3] >= 3 else 1]
    # In the byte order of this machine: OpenCV looks at no other.
    rgb = np.array(colors, dtype=colors.dtype.newbyteorder("="), order="C")
    if rgb.dtype == np.float16:  # OpenCV does not know it
        rgb = rgb.astype(np.float32)
    if size is not None:
        rgb = resize_area(rgb, *working_shape(photo.height, photo.width, size))
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None].expand(1, 3, -1, -1)
    return to_float(tensor, "cpu", torch.float32).clamp(0, 1)


def color_shares(rgb: Tensor, grid: AbGrid) -> Tensor:
    """Count how much of a picture has the colours of each cell.

    Parameters
    ----------
    rgb
        (n, 3, h, w) sRGB in [0, 1]; ab is averaged over blocks of `REFERENCE_STRIDE` pixels first.
    grid
        The q cells.

    Returns
    -------
    (q,) float32, summing to 1.

    Examples
    --------
    >>> color_shares(torch.ones(1, 3, 8, 8), AbGrid()).max().item()
    1.0
    """
    ab = rgb_to_lab(rgb)[:, 1:]
    cells = grid.encode(F.avg_pool2d(ab, REFERENCE_STRIDE, ceil_mode=True))
    counts = torch.bincount(cells.flatten(), minlength=grid.n_bins)
    return counts.float() / counts.sum()


def reference_bias(rgb: Tensor, grid: AbGrid, prior: Tensor, gamma: float = LEND) -> Tensor:
    """Give what is added to a classifier's logits so that its colours lean towards a picture's.

    Parameters
    ----------
    rgb
        (n, 3, h, w) the reference, sRGB in [0, 1].
    grid
        The q cells of the classifier.
    prior
        (q,) share of the training pixels in each cell.
    gamma
        How far to lean: 0 not at all, 1 all the way.

    Returns
    -------
    (q,) float32 on the device of `prior`: gamma log(r / p), so that p(q | x) becomes proportional
    to p(q | x) (r / p)^gamma. Here p are the shares of the training photographs and r those of the
    reference, both smoothed by a Gaussian of half a cell; a twentieth of p is mixed into r, and
    1e-3 is added to every cell of both.

    Raises
    ------
    ValueError
        If the prior does not fit the grid or holds what is no share, or gamma is negative or not
        finite.

    Notes
    -----
    Saerens et al. 2002 with gamma = 1: the exact answer for a photograph whose cells
    look as in training but are as frequent as in the reference.

    Examples
    --------
    >>> grid = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [60.0, 60.0]]))
    >>> grey = torch.full((1, 3, 8, 8), 0.5)
    >>> bias = reference_bias(grey, grid, torch.tensor([0.5, 0.5]), 1)
    >>> bool(bias[0] > 0 > bias[1])
    True
    """
    if prior.shape != (grid.n_bins,) or not bool((prior >= 0).all()) or not prior.sum() > 0:
        raise ValueError(
            f"prior must be ({grid.n_bins},) shares, none negative, got {tuple(prior.shape)}; "
            "take the prior of the same network as the grid"
        )
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"gamma must be a finite number of at least 0, got {gamma!r}")
    shares = torch.stack([color_shares(rgb.cpu(), grid), (prior / prior.sum()).float().cpu()])
    r, p = _smoothed(shares, grid)
    r = (1 - _MIXING) * r + _MIXING * p
    bias: Tensor = gamma * ((r + _FLOOR) / (p + _FLOOR)).log()
    return bias.to(prior.device)


def _smoothed(shares: Tensor, grid: AbGrid) -> Tensor:
    """Spread (n, q) shares over the neighbours of each cell; sums are kept."""
    squared = torch.cdist(grid.centers.double(), grid.centers.double()).square()
    kernel = torch.exp(squared / (-2 * (_SMOOTHING * grid.width) ** 2))
    return (shares.double() @ (kernel / kernel.sum(dim=1, keepdim=True))).float()
