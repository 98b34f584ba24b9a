"""What every network that answers with ab itself shares: scale, targets, mean squared error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor

from zcolor.models.base import ColorNet, Output
from zcolor.settings import DecodeSettings


class Regressor(ColorNet):
    """Colour as regression: ab divided by `scale`, at the size of the output.

    A family writes `forward(lightness)`, which gives (n, 2, h', w') ab / `scale`, of any size, or
    (n, 2, 1, 1) for one colour a photo.

    Attributes
    ----------
    scale : float
        What ab is divided by; 128 brings it nearly to [-1, 1].
    """

    scale: float = 128.0

    def target(self, ab: Tensor, lightness: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (n, 2, h, w) true ab as it is; `loss` averages it to the size of the output."""
        return ab

    def loss(self, output: Output, target: Output) -> dict[str, Tensor]:
        """Mean squared error of ab / `scale` (`total`), and the RMSE in ab units."""
        assert isinstance(output, Tensor) and isinstance(target, Tensor)
        squared = F.mse_loss(output.float(), self.small_target(target, output))
        return {"total": squared, "rmse": squared.detach().sqrt() * self.scale}

    def small_target(self, ab: Tensor, output: Tensor) -> Tensor:
        """Average true ab over the pixels that each value of the output stands for, and scale it.

        Parameters
        ----------
        ab
            (n, 2, h, w), unscaled.
        output
            (n, 2, h', w'), whose size is taken.

        Returns
        -------
        (n, 2, h', w'), ab / `scale`.
        """
        if ab.shape[-2:] != output.shape[-2:]:
            ab = F.interpolate(ab, output.shape[-2:], mode="area")
        return ab / self.scale

    def to_ab(self, output: Output, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Scale the output back to ab; there is nothing to decode."""
        assert isinstance(output, Tensor)
        return output.float() * self.scale

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """Build the network, without its weights, that `header` described.

        Raises
        ------
        ValueError
            If the header is incomplete.
        """
        if "working_size" not in header:
            raise ValueError(f"the header of a checkpoint of {cls.__name__} lacks working_size")
        return cls(working_size=header["working_size"], options=cls.options_of(header))
