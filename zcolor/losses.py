"""Losses, one function each, with the paper it comes from."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def rebalanced_cross_entropy(
    logits: Tensor,
    indices: Tensor,
    soft_weights: Tensor,
    class_weights: Tensor,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every pixel times the rebalancing weight of its true colour.

    Parameters
    ----------
    logits
        (n, q, h, w), any floating dtype; the loss is computed in float32 or better.
    indices
        (n, k, h, w) int64: the cells a pixel's target is spread over, the true (strongest) cell
        first, as `AbGrid.soft_encode` gives them. k = 1 is a hard target.
    soft_weights
        (n, k, h, w), summing to 1 over k.
    class_weights
        (q,) weight of each colour; ones turn rebalancing off.
    reduction
        `mean` over all pixels, or `sum` over the photos of each photo's mean.

    Returns
    -------
    weighted, unweighted : Tensor
        Two scalars; the second is the same loss with unit weights, for the log.

    Raises
    ------
    ValueError
        If the shapes do not fit or `reduction` is another.

    Notes
    -----
    Zhang et al. 2016, equations 2 and 3. `F.cross_entropy(logits, soft, weight=w)` is not this
    loss: it weights the term of each class, this one weights each pixel by its true cell.

    Examples
    --------
    >>> import torch
    >>> logits, cell = torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.long)
    >>> loss, _ = rebalanced_cross_entropy(logits, cell, torch.ones(1, 1, 1, 1), torch.ones(4))
    >>> round(loss.item(), 4)  # log 4
    1.3863
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    ranks_fit = logits.ndim == indices.ndim == 4 and indices.shape == soft_weights.shape
    if not ranks_fit or indices[:, 0].shape != logits[:, 0].shape:
        raise ValueError(
            f"logits {tuple(logits.shape)}, indices {tuple(indices.shape)} and soft_weights "
            f"{tuple(soft_weights.shape)} do not belong together; expected (n, q, h, w) and twice "
            "(n, k, h, w)"
        )
    n, q = logits.shape[:2]
    if class_weights.shape != (q,):
        raise ValueError(f"class_weights must be ({q},), got {tuple(class_weights.shape)}")
    precise = logits if logits.dtype.itemsize >= 4 else logits.float()
    log_p = F.log_softmax(precise, dim=1).gather(1, indices)
    entropy = -(soft_weights * log_p).sum(dim=1)  # (n, h, w)
    weighted = class_weights[indices[:, 0]] * entropy
    # The mean over all pixels is the mean over photos of each photo's mean.
    scale = n if reduction == "sum" else 1
    return weighted.mean() * scale, entropy.mean() * scale


def taught_cross_entropy(logits: Tensor, taught: Tensor, class_weights: Tensor) -> Tensor:
    """Cross-entropy to the answer of a teacher, each pixel weighed as its true colour would be.

    Parameters
    ----------
    logits, taught
        (n, q, h, w): of the learner and of a teacher that was trained with `class_weights`, any
        floating dtype; the loss is computed in float32 or better.
    class_weights
        (q,) weight of each colour, all above 0.

    Returns
    -------
    Scalar, the mean over pixels.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, at temperature 1.
    What minimises `rebalanced_cross_entropy` is t(q), proportional to w(q) p(q). So a teacher's
    answer t stands for p(q) = Z t(q) / w(q) with Z = 1 / sum(t / w), and the loss expected under
    that p is Z times the cross-entropy to t: the same loss, without the noise of single labels.

    Examples
    --------
    >>> import torch
    >>> logits, weights = torch.zeros(1, 4, 1, 1), torch.ones(4)
    >>> round(taught_cross_entropy(logits, logits, weights).item(), 4)  # log 4
    1.3863
    """
    if logits.ndim != 4 or logits.shape != taught.shape or class_weights.shape != logits.shape[1:2]:
        raise ValueError(
            f"logits {tuple(logits.shape)}, those of the teacher {tuple(taught.shape)} and "
            f"class_weights {tuple(class_weights.shape)} do not belong together; expected twice "
            "(n, q, h, w) and (q,)"
        )
    precise = logits if logits.dtype.itemsize >= 4 else logits.float()
    t = F.softmax(taught.to(precise.dtype), dim=1)
    z = 1 / (t / class_weights[:, None, None]).sum(dim=1)
    return -(z * (t * F.log_softmax(precise, dim=1)).sum(dim=1)).mean()
