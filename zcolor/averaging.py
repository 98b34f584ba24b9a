"""Test-time averaging: the colour of several views of a photo, mapped back and averaged."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from zcolor.settings import check_average

# Crops begin and end at multiples of this many pixels, so that every output stride up to it fits.
_STEP = 8
# Side of a crop as a share of the photo's: nearly all of the context, and five different borders.
_CROP_SHARE = 7 / 8


def averaged_ab(
    predict: Callable[[Tensor], Tensor], lightness: Tensor, average: str = "none"
) -> Tensor:
    """Predict ab of several views of the same photos, and average them where they belong.

    Parameters
    ----------
    predict
        From (n, 1, h, w) lightness to (n, 2, h', w') ab, or (n, 2, 1, 1) for one colour a photo.
    lightness
        (n, 1, h, w), L in [0, 100].
    average
        `none`; `flip`: the photo and its mirror image (2 forward passes); `crops`: four corners
        and the middle, each of 7/8 of the sides, and their mirror images (10 passes over 0.77 of
        the pixels each), as Krizhevsky et al. 2012, section 4.1, averaged labels.

    Returns
    -------
    (n, 2, h', w') ab, as `predict` gives for the whole photo; (n, 2, h, w) with `crops` where the
    size of its answers does not divide that of the crops.

    Raises
    ------
    ValueError
        For another `average`, or sides that are no multiples of 8 with `crops`.

    Examples
    --------
    >>> import torch
    >>> lightness = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    >>> ab = averaged_ab(lambda x: x[:, :, ::4, ::4].expand(-1, 2, -1, -1), lightness, "crops")
    >>> ab.shape
    torch.Size([1, 2, 4, 4])
    """
    check_average(average)
    if average == "none":
        return predict(lightness)
    if average == "flip":
        return _with_mirror(predict, lightness)
    return _over_crops(predict, lightness)


def _with_mirror(predict: Callable[[Tensor], Tensor], lightness: Tensor) -> Tensor:
    """Average ab with that of the mirror image."""
    return (predict(lightness) + predict(lightness.flip(-1)).flip(-1)) / 2


def _over_crops(predict: Callable[[Tensor], Tensor], lightness: Tensor) -> Tensor:
    """Average ab over the four corners and the middle, and their mirror images."""
    n, _, height, width = lightness.shape
    if height % _STEP or width % _STEP:
        raise ValueError(
            f"the sides of the lightness must be multiples of {_STEP} to be cut into crops, got "
            f"{height} x {width}; use average='flip', or bring it to such a size"
        )
    rows, columns = _crop_side(height), _crop_side(width)
    low, right = height - rows, width - columns
    middle = (low // 2 // _STEP * _STEP, right // 2 // _STEP * _STEP)
    corners = {(0, 0), (0, right), (low, 0), (low, right), middle}  # fewer in a tiny photo
    # The output of each crop, and its place in that of the whole.
    found: list[tuple[Tensor, tuple[slice, slice]]] = []
    for top, left in sorted(corners):
        ab = _with_mirror(predict, lightness[:, :, top : top + rows, left : left + columns])
        if ab.shape[-2:] == (1, 1):  # one colour for the photo
            down, across, place = height, width, (slice(0, 1), slice(0, 1))
        else:
            if rows % ab.shape[-2] or columns % ab.shape[-1]:
                ab = F.interpolate(ab, (rows, columns), mode="bilinear")
            down, across = rows // ab.shape[-2], columns // ab.shape[-1]
            place = (
                slice(top // down, top // down + ab.shape[-2]),
                slice(left // across, left // across + ab.shape[-1]),
            )
        found.append((ab, place))
    total = ab.new_zeros(n, 2, height // down, width // across)
    count = ab.new_zeros(height // down, width // across)
    for ab, place in found:
        total[:, :, *place] += ab
        count[*place] += 1
    return total / count


def _crop_side(side: int) -> int:
    """Side of a crop of a photo's side, both multiples of the step."""
    return max(_STEP, round(side * _CROP_SHARE / _STEP) * _STEP)
