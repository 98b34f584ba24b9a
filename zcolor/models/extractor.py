"""A classification network of timm, frozen, that says what is to be seen in a grey photograph.

Networks that fuse such an answer with their own features (Baldassarre et al. 2017, after Iizuka,
Simo-Serra, Ishikawa 2016) hold an `Extractor`. Its weights are ImageNet's from timm's hub, a local
file, or one that `zcolor pretrain` wrote.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from zcolor.checkpoint import CheckpointError, read_checkpoint, read_header
from zcolor.lab import lab_to_rgb
from zcolor.models.base import Options
from zcolor.models.timm_weights import file_classes, file_state, hub_state, make_timm, timm_config

EXTRACTOR_KIND = "extractor"
"""What the header of a pretrained extractor states as its `kind`."""
HUB, RANDOM = "hub", "random"
"""The weights that are no file: ImageNet's from timm's hub, and none at all."""

_CURES = (
    "where there is no internet, download the weights elsewhere and give the file in place of "
    "'hub' among the --options, or pretrain a network on folders of photographs with 'zcolor "
    "pretrain PHOTOS --extractor NAME --out FILE'; 'random' is for trying out"
)


@dataclass(frozen=True)
class ExtractorKind:
    """What must be known of an extractor before its weights are: it decides sizes of layers."""

    classes: int
    """Length of the answer."""
    size: int
    """Side in pixels of the square that it looks at."""

    @classmethod
    def of(cls, name: str, weights: str | os.PathLike[str]) -> Self:
        """Find out what the extractor of these weights is like, without building it.

        Parameters
        ----------
        name
            A network of timm.
        weights
            `hub`, `random` or a file, as for `Extractor.load`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the network is unknown, or the file is no good or of another network.
        ImportError
            If timm is not installed.
        """
        config = timm_config(name)
        own = cls(int(config["num_classes"]), int(config["input_size"][-1]))
        if weights in (HUB, RANDOM):
            return own
        path = _existing(weights)
        if _is_ours(path):
            header = _own_header(path, name)
            return cls(int(header["classes"]), int(header["size"]))
        return cls(file_classes(name, path), own.size)


@dataclass(frozen=True)
class ExtractorOptions(Options):
    """What families with an extractor know of it."""

    of_the_beginning: ClassVar[tuple[str, ...]] = ("extractor_weights",)

    extractor: str = "inception_resnet_v2"
    """A classification network of timm."""
    extractor_weights: str = "hub"
    """`hub` for those of timm, the path of a file, or `random`."""
    extractor_classes: int = 0
    """Length of the extractor's answer; 0 takes that of its weights."""
    extractor_size: int = 0
    """Side in pixels of the square that the extractor looks at; 0 takes that of its weights."""

    def settled(self) -> Self:
        """Fill in what the extractor's weights say, so that a checkpoint is built without them.

        Raises
        ------
        FileNotFoundError, ValueError, ImportError
            As for `ExtractorKind.of`.
        """
        if self.extractor_classes > 0 and self.extractor_size > 0:
            return self
        kind = ExtractorKind.of(self.extractor, self.extractor_weights)
        return dataclasses.replace(
            self,
            extractor_classes=self.extractor_classes or kind.classes,
            extractor_size=self.extractor_size or kind.size,
        )


class Extractor(nn.Module):
    """A frozen network that reads lightness and answers with a vector a photo.

    It never learns: its weights have no gradient, it stays in evaluation mode whatever is asked of
    it, so that the statistics of its norms stay as they are, and it is run without a graph.

    Parameters
    ----------
    name
        A classification network of timm, such as `inception_resnet_v2`.
    classes
        Length of the answer.
    size
        Side in pixels of the square that photographs are brought to before it sees them.

    Raises
    ------
    ValueError
        If timm knows no such network, or it cannot see a square of that size.
    ImportError
        If timm is not installed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, classes: int, size: int) -> None:
        super().__init__()
        self.name, self.classes, self.size = name, classes, size
        self.network = make_timm(name, classes=classes)
        config = timm_config(name)
        for what in ("mean", "std"):
            # The statistics of the photographs that timm trains this network with.
            value = torch.tensor(config[what]).view(1, 3, 1, 1)
            self.register_buffer(what, value, persistent=False)
        self.requires_grad_(requires_grad=False)
        self.eval()
        if size != config["input_size"][-1]:
            self._check_size(int(config["input_size"][-1]))

    def _check_size(self, own: int) -> None:
        place = next(self.network.parameters()).device
        try:
            self(torch.zeros(1, 1, self.size, self.size, device=place))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ValueError(
                f"{self.name} cannot look at squares of {self.size} px "
                f"({' '.join(str(error).split())}); it was made for {own}, choose a size nearer "
                "to that"
            ) from error

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Stay in evaluation mode."""
        return super().train(mode=False)

    def prepare(self, lightness: Tensor) -> Tensor:
        """Make of lightness what the network was trained to see.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, 3, size, size): the grey sRGB picture of that lightness, three times, normalised with
        the mean and standard deviation that timm states for the network.
        """
        side = (self.size, self.size)
        lightness = lightness.float()
        if lightness.shape[-2:] != side:
            lightness = F.interpolate(
                lightness, side, mode="bilinear", align_corners=False, antialias=True
            )
        grey = torch.cat((lightness, torch.zeros_like(lightness).expand(-1, 2, -1, -1)), dim=1)
        return (lab_to_rgb(grey, map_gamut=False) - self.mean) / self.std

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with the logits of the classes.

        Its weights never get a gradient; the lightness does if it asks for one, as in
        `zcolor inspect`.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, classes) float32.
        """
        # Without it nothing is kept for a backward pass: training has no use for one in here.
        with torch.set_grad_enabled(torch.is_grad_enabled() and lightness.requires_grad):
            answer: Tensor = self.network(self.prepare(lightness))
        return answer.float()

    def load(self, weights: str | os.PathLike[str]) -> None:
        """Take pretrained weights.

        Parameters
        ----------
        weights
            `hub`: those that timm names for the network, downloaded once; `random`: none, the
            weights stay as they are; otherwise a file: of `zcolor pretrain`, or a state dict of
            timm or torchvision (.safetensors, .pth). Pickles that would run code are refused.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        OSError
            If the hub cannot be reached or has none for this network.
        ValueError
            If the file is no good, of another network or of another number of classes.
        """
        if weights == RANDOM:
            return
        if weights == HUB:
            own = int(timm_config(self.name)["num_classes"])
            if self.classes != own:
                raise ValueError(
                    f"timm's weights of {self.name} have {own} classes, asked for were "
                    f"{self.classes}; leave the number out"
                )
            try:
                state = hub_state(self.name)
            except OSError as error:
                raise OSError(f"{error}; {_CURES}") from error
        else:
            path = _existing(weights)
            if _is_ours(path):
                header = _own_header(path, self.name)
                if header["classes"] != self.classes:
                    raise ValueError(
                        f"{path} has {header['classes']} classes, asked for were {self.classes}; "
                        "leave the number out, it stands in the file"
                    )
                state, _ = read_checkpoint(path)
            else:
                state = file_state(self.name, path, classes=self.classes)
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"the weights {weights} do not fit {self.name}: {error}") from error
        self.requires_grad_(requires_grad=False)


def _existing(weights: str | os.PathLike[str]) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"there are no weights at {path}; give a file, or 'hub' for those of timm; {_CURES}"
        )
    return path


def _is_ours(path: Path) -> bool:
    """Whether a file was written by `zcolor.checkpoint`."""
    if path.suffix.lower() != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "zcolor" in (file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is cut short or no safetensors file ({error}); copy or download it again"
        ) from error


def _own_header(path: Path, name: str) -> dict[str, Any]:
    """The header of a pretrained extractor, which must be of the network `name`."""
    header = read_header(path)
    if header.get("kind") != EXTRACTOR_KIND:
        raise ValueError(
            f"{path} is a checkpoint of zcolor, but no extractor; make one with 'zcolor pretrain'"
        )
    if header["extractor"] != name:
        raise ValueError(
            f"{path} holds weights of {header['extractor']}, not of {name}; take them with "
            f"--options extractor={header['extractor']}"
        )
    return header
