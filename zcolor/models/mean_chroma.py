"""One colour for the whole photo: networks that predict its mean a and b, and nothing else.

The smallest task of colouring. Seven blocks that each halve the photo bring 128 x 128 pixels of
lightness to 1 x 1, where the last block's two maps are the mean a and the mean b.

References
----------
Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", ICML 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from zcolor.models.base import Options
from zcolor.models.regressor import Regressor

SIDE = 128
"""Side in pixels that photos are brought to: seven halvings make it 1."""
# Values of each hidden layer of the fully connected network.
_HIDDEN = (8192, 4096, 1024, 256)
# Maps that blocks 1 to 6 of the convolutional networks give; block 7 gives two.
_MAPS = {
    "cnn1": (3, 3, 3, 3, 3, 3),
    "cnn2": (16, 32, 64, 128, 256, 256),
    "cnn3": (32, 64, 128, 256, 256, 512),
}
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


@dataclass(frozen=True)
class MeanChromaOptions(Options):
    """What differs between the networks of this family."""

    net: Literal["fc", "cnn1", "cnn2", "cnn3"] = "cnn2"
    """`fc`: fully connected layers of 8192, 4096, 1024 and 256 values; `cnn1`, `cnn2`, `cnn3`:
    seven blocks of rising width, of 544 to 2,169,796 parameters."""
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"
    """After every layer but the last, which is linear: colours may be negative."""
    scale: float = 128.0
    """What ab is divided by: 128 brings it nearly to [-1, 1]; published errors are at 255."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale must be above 0 and finite, got {self.scale}")


class MeanChroma(Regressor):
    """A network that predicts the mean a and b of a photo.

    Photos of another size are brought to 128 x 128 first, whatever their proportions.

    Parameters
    ----------
    working_size
        Side in pixels of the square whose area photos are brought to before.
    options
        Which network; None takes the defaults.
    """

    options_type = MeanChromaOptions

    def __init__(self, *, working_size: int = SIDE, options: Options | None = None) -> None:
        super().__init__(working_size=working_size, options=options)
        assert isinstance(self.options, MeanChromaOptions)
        self.scale = self.options.scale
        activation = _ACTIVATIONS[self.options.activation]
        if self.options.net == "fc":
            self.layers = _dense([SIDE * SIDE, *_HIDDEN, 2], activation)
        else:
            self.layers = _blocks([1, *_MAPS[self.options.net], 2], activation)
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d | nn.Linear) and last.bias is not None
        # The first answer is nearly neutral, not a colour of chance.
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with the mean colour.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, 2, 1, 1) mean ab / `scale`.
        """
        x = (lightness - 50) / 50
        if x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        means: Tensor = self.layers(x)
        return means.reshape(-1, 2, 1, 1)


def _dense(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Fully connected layers over all pixels, the activation between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def _blocks(maps: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Blocks of batch norm, a 3 x 3 convolution of stride 2 and the activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(maps):
        layers += [
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
            activation(),
        ]
    return nn.Sequential(*layers[:-1])
