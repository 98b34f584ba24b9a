"""`ColorNet`: the one interface of every family of colorizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from zcolor.settings import PRESETS, DecodeSettings, Preset

# What a network answers and what it is trained towards: a tensor, or several by name.
Output = Tensor | tuple[Tensor, ...]


class ColorNet(nn.Module, ABC):
    """A network that reads lightness and answers with colour.

    The hall (`zcolor.colorizer`) and the training loop know this interface alone; they never ask
    which family they hold.

    Attributes
    ----------
    working_size : int
        Side in pixels of the square whose area photos are brought to.
    presets : Mapping
        How the model decodes under each of the named presets; changes nothing in families that do
        not decode.
    clip_length : int
        Frames read at once: 1 for photographs.
    optimizer_defaults : dict
        Training settings that suit the family better than the general ones.
    """

    working_size: int = 128
    presets: Mapping[Preset, DecodeSettings] = PRESETS
    clip_length: ClassVar[int] = 1
    optimizer_defaults: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def forward(self, lightness: Tensor) -> Output:
        """Answer to (n, 1, h, w) lightness, L in [0, 100], in the family's own terms."""

    @abstractmethod
    def target(self, ab: Tensor, lightness: Tensor, labels: Tensor | None) -> Output:
        """Make of the true ab (n, 2, h, w) what `loss` compares the output with."""

    @abstractmethod
    def loss(self, output: Output, target: Output) -> dict[str, Tensor]:
        """Return scalar losses by name; `total` is what is minimised."""

    @abstractmethod
    def to_ab(self, output: Output, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Turn an output into (n, 2, h', w') ab, unscaled; h' = w' = 1 for one colour a photo."""

    def predict_ab(self, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Colour (n, 1, h, w) lightness: `to_ab(forward(lightness))`, as (n, 2, h', w') ab."""
        return self.to_ab(self(lightness), lightness, decode)

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Return what a checkpoint's header must say to build this network again."""

    @classmethod
    @abstractmethod
    def from_header(cls, header: Mapping[str, Any]) -> ColorNet:
        """Build the network, without its weights, that `header` described."""
