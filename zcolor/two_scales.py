"""Colours at a working size above the model's own: coarse ones from there, fine ones from here.

At its own size a network sees whole objects; at a larger one it sees parts of them in more detail,
and mistakes walls for skies. So the coarse colours are taken from its own size, and the larger
one adds only what the former cannot show: the bands of a Laplacian pyramid (Burt and Adelson
1983).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def with_coarse_colors(fine: Tensor, coarse: Tensor) -> Tensor:
    """Replace the coarse part of ab by ab that was predicted at a smaller working size.

    Parameters
    ----------
    fine
        (n, 2, h, w) ab, predicted at the larger working size.
    coarse
        (n, 2, h', w') ab of the same photos, predicted at the smaller one.

    Returns
    -------
    (n, 2, h, w) ab: averaged over the places of `coarse` it is nearly `coarse`, and its deviations
    from these averages are those of `fine`. One colour a photo (1 x 1) is returned as it is in
    `coarse`.

    Raises
    ------
    ValueError
        If the pictures are not as many, or `fine` is the smaller one.

    Examples
    --------
    >>> import torch
    >>> fine = torch.tensor([1.0, 3.0, 5.0, 7.0]).expand(1, 2, 4, 4)
    >>> with_coarse_colors(fine, torch.zeros(1, 2, 1, 1))[0, 0, 0].tolist()
    [-3.0, -1.0, 1.0, 3.0]
    """
    if (
        fine.shape[:2] != coarse.shape[:2]
        or min(fine.shape[2] - coarse.shape[2], fine.shape[3] - coarse.shape[3]) < 0
    ):
        raise ValueError(
            f"fine must be of the same photos and not smaller than coarse, got "
            f"{tuple(fine.shape)} and {tuple(coarse.shape)}"
        )
    # MPS pools only where sizes divide; these tensors are small.
    pooled = fine.cpu() if fine.device.type == "mps" else fine
    own_coarse = F.adaptive_avg_pool2d(pooled, (coarse.shape[2], coarse.shape[3])).to(fine.device)
    change = F.interpolate(coarse - own_coarse, fine.shape[-2:], mode="bilinear")
    return fine + change
