"""How far a picture is from a content and a style: energies over feature maps and Gram matrices.

References
----------
Gatys, Ecker, Bethge, "Texture Synthesis Using Convolutional Neural Networks", NeurIPS 2015.
Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zcolor.style_features import FeatureNet

# A layer that answers a picture with nothing at all is not scaled up to noise.
_SMALLEST_MEAN = 1e-6


def gram(features: Tensor) -> Tensor:
    """Correlate the channels of feature maps over all places (Gatys et al. 2016, equation 3).

    Parameters
    ----------
    features
        (n, c, h, w).

    Returns
    -------
    (n, c, c): the mean over places of the products of two channels, G / M in the paper's terms, so
    that pictures of unlike size can be compared.

    Examples
    --------
    >>> gram(torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])).tolist()
    [[[5.0, 1.0], [1.0, 2.0]]]
    """
    flat = features.flatten(2)  # (n, c, places)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def style_energy(features: Tensor, style_gram: Tensor) -> Tensor:
    """Compare the Gram matrix of a layer with that of the style.

    Parameters
    ----------
    features
        (n, c, h, w) of the picture.
    style_gram
        (n, c, c) or (1, c, c), from `gram`.

    Returns
    -------
    Scalar: 1 / (4 N^2 M^2) times the summed squared differences of the unnormalised matrices, N
    channels and M places (Gatys et al. 2016, equation 4).
    """
    difference = gram(features) - style_gram
    return difference.square().sum() / (4 * features.shape[1] ** 2)


def content_energy(features: Tensor, content: Tensor) -> Tensor:
    """Compare the features of a layer with those of the content.

    Parameters
    ----------
    features, content
        (n, c, h, w), the picture's and the content's.

    Returns
    -------
    Scalar: half the mean squared difference. Gatys et al. 2016, equation 1, take the sum; with
    the mean, alpha does the same to pictures of every size.
    """
    return (features - content).square().mean() / 2


@dataclass(frozen=True)
class Energies:
    """How far the picture still is from what it shall be."""

    content: float
    """E_content, without alpha."""
    style: float
    """E_style, without beta."""


class Objective:
    """E = alpha E_content + beta E_style of a picture (Gatys et al. 2016, equation 7).

    Features are divided by the mean answer of their layer to the style (to the content, for the
    content), as the paper scales its network to a mean activation of one: so that no layer counts
    for more because its numbers happen to be large.

    Parameters
    ----------
    features
        The network that looks.
    style
        (1, c, h, w), in the channels of `features`.
    content
        (1, c, h, w), or None for texture synthesis.
    alpha, beta
        Of the content and of the style, at least 0.
    layer_weights
        Of every style layer; None takes 1 / n for each (section 3 of the paper).

    Raises
    ------
    ValueError
        If a picture has other channels than `features` looks at, alpha or beta is negative, or
        `layer_weights` names other layers.
    """

    def __init__(
        self,
        features: FeatureNet,
        style: Tensor,
        content: Tensor | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        layer_weights: Mapping[str, float] | None = None,
    ) -> None:
        names = features.style
        for picture in (style, *([] if content is None else [content])):
            if picture.ndim != 4 or picture.shape[:2] != (1, features.n_channels):
                raise ValueError(
                    f"pictures must be (1, {features.n_channels}, h, w) for this network, got "
                    f"{tuple(picture.shape)}"
                )
        if not (alpha >= 0 and beta >= 0):
            raise ValueError(f"alpha and beta must be at least 0, got {alpha} and {beta}")
        if layer_weights is not None and set(layer_weights) != set(names):
            raise ValueError(
                f"layer_weights must name {', '.join(names)}, got {', '.join(layer_weights)}"
            )
        self.features, self.alpha, self.beta = features, alpha, beta
        self.weights = dict(layer_weights or dict.fromkeys(names, 1 / len(names)))
        with torch.no_grad():
            of_style = features(style)
            self.scales = {name: _scale(of_style[name]) for name in names}
            self.grams = {name: gram(of_style[name] * self.scales[name]) for name in names}
            self.content = None
            if content is not None:
                kept = features(content)[features.content]
                self.content_scale = _scale(kept)
                self.content = kept * self.content_scale

    def __call__(self, picture: Tensor) -> tuple[Tensor, Energies]:
        """Give E, to be minimised, and its parts."""
        found = self.features(picture)
        style = sum(
            (
                self.weights[name] * style_energy(found[name] * self.scales[name], target)
                for name, target in self.grams.items()
            ),
            picture.new_zeros(()),
        )
        content = picture.new_zeros(())
        if self.content is not None:
            mine = found[self.features.content] * self.content_scale
            content = content_energy(mine, self.content)
        total = self.alpha * content + self.beta * style
        return total, Energies(content.item(), style.item())


def _scale(features: Tensor) -> float:
    return 1 / max(features.abs().mean().item(), _SMALLEST_MEAN)
