"""`ColorDistribution`: the answer of a classifier as an object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zcolor.decode import cell_colors, decode_logits, strips
from zcolor.quantizer import AbGrid
from zcolor.settings import DecodeSettings


@dataclass(frozen=True, eq=False)
class ColorDistribution:
    """A probability for every cell of the ab grid, at every pixel of a photo.

    Decoding it again with another temperature costs no forward pass.

    Parameters
    ----------
    logits
        (n, q, h, w), at the working resolution of the network.
    grid
        The q cells.
    means
        (q, 2) mean ab of the training pixels of each cell, or None where unknown.
    defaults
        How the model decodes unless told otherwise.

    Examples
    --------
    >>> grid = AbGrid()
    >>> distribution = ColorDistribution(torch.zeros(1, 324, 2, 2), grid)
    >>> distribution.decode(method="mean").abs().max().item() < 1e-3
    True
    """

    logits: Tensor
    grid: AbGrid
    means: Tensor | None = None
    defaults: DecodeSettings = DecodeSettings(colors="centers")

    def __post_init__(self) -> None:
        """Refuse logits that do not belong to the grid."""
        if self.logits.ndim != 4 or self.logits.shape[1] != self.grid.n_bins:
            raise ValueError(
                f"logits must be (n, {self.grid.n_bins}, h, w) for this grid, "
                f"got {tuple(self.logits.shape)}"
            )

    @property
    def probabilities(self) -> Tensor:
        """(n, q, h, w) float32 in [0, 1], summing to 1 over q; computed anew at each call."""
        return torch.softmax(self.logits.float(), dim=1)

    def decode(
        self,
        *,
        method: str | None = None,
        temperature: float | None = None,
        colors: str | None = None,
    ) -> Tensor:
        """Decode to ab; what is None is taken from the model's own settings.

        Parameters
        ----------
        method
            `annealed`, `argmax` or `mean`.
        temperature
            T of the annealed mean in [0, 1].
        colors
            `means` or `centers` of the cells.

        Returns
        -------
        (n, 2, h, w) float32 ab at the distribution's resolution.

        Raises
        ------
        ValueError
            If an option is unknown or out of range, or a temperature is given to a method that
            has none.
        """
        settings = self.defaults.changed(method=method, temperature=temperature, colors=colors)
        chosen = cell_colors(self.grid, self.means, settings.colors)
        return decode_logits(self.logits, chosen, settings.effective_temperature)

    def confidence(self) -> Tensor:
        """Tell how sure the network is at each pixel.

        Returns
        -------
        (n, 1, h, w) in [0, 1]: 1 - H / log q, H the entropy of the pixel's distribution; 0 is
        the uniform distribution, 1 a single cell.
        """
        entropy = torch.empty_like(self.logits[:, :1], dtype=torch.float32)
        for photo, rows, part in strips(self.logits):
            # entr(0) is 0, where p * log p would be NaN.
            p = torch.softmax(part.float(), dim=0)
            entropy[photo, 0, rows] = torch.special.entr(p).sum(dim=0)
        return (1 - entropy / math.log(self.grid.n_bins)).clamp(0, 1)
