"""VGG-16 whose last dense layer answers with the chroma of the whole photo at 33 x 33.

The 1000 outputs of the classifier become 2 x 33 x 33: a map of chroma whose side is 15 % of the
224 pixels that the network looks at. Chroma is smooth, so that little is lost
(`docs/studies/chroma-compression.md`), and the dense layer is 46 times smaller than one for all
pixels would be.

References
----------
K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015 (configuration D).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from zcolor.lab import lab_to_rgb
from zcolor.models.base import Options, Output
from zcolor.models.regressor import Regressor
from zcolor.models.timm_weights import hub_state, import_timm, timm_config
from zcolor.settings import DecodeSettings
from zcolor.ycbcr import ab_to_chroma, chroma_to_ab

INPUT_SIDE = 224
"""Pixels: what the dense layers of VGG-16 are made for."""
EPSILON = 1e-3
"""Rounds the tip of the Euclidean loss, in scaled chroma: a distance of 0 counts as this, and has a
gradient of 0 in place of none. In Lab it stands for 0.13 ab."""
# What ab is divided by, and the chroma of YCbCr in 8 bits.
_SCALES = {"lab": 128.0, "ycbcr": 127.5, "yuv": 127.5}
# What the readers of files of weights raise where one is no good.
_BROKEN_FILE = (RuntimeError, ValueError, LookupError, EOFError, UnpicklingError, SafetensorError)
# The dense layers in files of torchvision; their names in timm, which has them as convolutions, and
# the sides of the kernels.
_TORCHVISION = {"classifier.0": ("pre_logits.fc1", 7), "classifier.3": ("pre_logits.fc2", 1)}


@dataclass(frozen=True)
class Vgg16Options(Options):
    """What is to be chosen of the network."""

    of_the_beginning: ClassVar[tuple[str, ...]] = ("weights",)

    batch_norm: bool = False
    """Batch norm after every convolution (`vgg16_bn`)."""
    output_side: int = 33
    """Side of the map of chroma: 33 is 15 % of 224; 224 predicts every pixel."""
    space: Literal["lab", "ycbcr", "yuv"] = "lab"
    """Chroma: ab / 128, or that of BT.601. The U and V of YUV, scaled to [-1, 1], are the Cb and
    Cr of YCbCr, so that these two are the same."""
    loss: Literal["mse", "euclidean"] = "mse"
    """Mean squared error, or the mean distance of the two chromas of a pixel."""
    weights: str = "hub"
    """What a new network begins with: `hub` (ImageNet, from timm's hub), `random`, or a file of
    timm, of torchvision or of `zcolor pretrain`."""
    freeze: bool = False
    """Keep the convolutions as they begin; the dense layers alone learn."""
    dropout: float = 0.5
    """Share of the dense layers' values that are left out in training."""
    width: float = 1.0
    """Channels as a share of those of the paper."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.output_side < 1 or not self.width >= 1 / 64:
            raise ValueError(
                "output_side must be at least 1 and width at least 1/64, got "
                f"{self.output_side} and {self.width}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.width != 1 and self.weights == "hub":
            raise ValueError(
                f"the weights of the hub fit width=1 alone, got width={self.width}; add "
                "weights=random"
            )
        if self.freeze and self.weights == "random":
            raise ValueError(
                "freeze=true keeps the convolutions as they begin, which would be random for "
                "ever; give weights=hub or a file, or freeze=false"
            )


class Vgg16(Regressor):
    """VGG-16 or its variant with batch norm, from timm, that answers with a map of chroma.

    Parameters
    ----------
    working_size
        Side in pixels of the square whose area photos are brought to; the network stretches them
        to 224 x 224.
    options
        A `Vgg16Options`; None takes the defaults.

    Attributes
    ----------
    scale : float
        What ab is divided by (128), or what 1 stands for in 8-bit YCbCr (127.5).

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If the options make no sense.
    """

    options_type: ClassVar[type[Options]] = Vgg16Options
    options: Vgg16Options

    def __init__(
        self, *, working_size: int = INPUT_SIDE, options: Vgg16Options | None = None
    ) -> None:
        super().__init__(working_size=working_size, options=options)
        o = self.options
        self.scale = _SCALES[o.space]
        vgg = import_timm().models.vgg
        # timm's own function for it takes the paper's channels alone.
        self.vgg: nn.Module = vgg.VGG(
            [c if c == "M" else round(c * o.width) for c in vgg.cfgs["vgg16"]],
            num_classes=2 * o.output_side**2,
            mlp_ratio=o.width,
            drop_rate=o.dropout,
            norm_layer=nn.BatchNorm2d if o.batch_norm else None,
        )
        self.features.requires_grad_(not o.freeze)
        # What the weights of ImageNet are used to; no part of a checkpoint.
        for name in ("mean", "std"):
            value = torch.tensor(timm_config("vgg16")[name], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def features(self) -> nn.Module:
        """The convolutions, below the dense layers."""
        return self.vgg.get_submodule("features")

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 (as torch has it)
        """Set the mode; frozen convolutions keep their statistics whatever it is."""
        super().train(mode)
        if self.options.freeze:
            self.features.eval()
        return self

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with the chroma of the whole photo.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1; stretched to 224 x 224.

        Returns
        -------
        (n, 2, side, side) chroma, nearly in [-1, 1]: (a, b) / 128 or (Cb, Cr).
        """
        square = _resized(lightness.float(), (INPUT_SIDE, INPUT_SIDE), "bilinear")
        grey = _grey(square).expand(-1, 3, -1, -1)
        side = self.options.output_side
        answer: Tensor = self.vgg((grey - self.mean) / self.std)
        return answer.view(len(lightness), 2, side, side)

    def target(self, ab: Tensor, lightness: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the true chroma, shrunk as the network answers.

        Parameters
        ----------
        ab, lightness
            (n, 2, h, w) true ab and (n, 1, h, w) L of the same photos.
        labels
            Not needed.

        Returns
        -------
        (n, 2, side, side), bicubic with the frequencies removed that it could not hold.
        """
        ab = ab.float()
        if self.options.space == "lab":
            chroma = ab / self.scale
        else:
            chroma = ab_to_chroma(ab, lightness.float())
        side = self.options.output_side
        return _resized(chroma, (side, side), "bicubic")

    def loss(self, output: Output, target: Output) -> dict[str, Tensor]:
        """Return what is minimised (`total`) and `rmse`, in ab units or levels of 8-bit YCbCr."""
        assert isinstance(output, Tensor) and isinstance(target, Tensor)
        squared = (output.float() - target).square()
        total = squared.mean()
        rmse = total.detach().sqrt() * self.scale
        if self.options.loss == "euclidean":
            total = (squared.sum(dim=1) + EPSILON**2).sqrt().mean()
        return {"total": total, "rmse": rmse}

    def to_ab(self, output: Output, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Stretch chroma over the photo, bicubically, and turn it into ab.

        At the size of the lightness, since that is where chroma and lightness make a colour, and
        since bicubic brings more back than what enlarges ab afterwards.

        Parameters
        ----------
        output
            What `forward` gave.
        lightness
            (n, 1, h, w) L that it was given.
        decode
            Not needed.

        Returns
        -------
        (n, 2, h, w) ab.
        """
        assert isinstance(output, Tensor)
        chroma = _resized(output.float(), lightness.shape[-2:], "bicubic")
        if self.options.space == "lab":
            return chroma * self.scale
        return chroma_to_ab(chroma, lightness.float())

    def begin(self) -> None:
        """Take the weights that the options name, all but those of the last layer.

        Raises
        ------
        OSError
            If the hub cannot be reached or the file is not there.
        ValueError
            If the file holds other layers.
        """
        o = self.options
        if o.weights == "random":
            return
        name = "vgg16_bn" if o.batch_norm else "vgg16"
        found = _from_hub(name) if o.weights == "hub" else _from_file(o.weights)
        own = self.vgg.state_dict()
        wanted = {key: value.shape for key, value in own.items() if not key.startswith("head.")}
        misfits = [k for k, shape in wanted.items() if k not in found or found[k].shape != shape]
        if misfits:
            raise ValueError(
                f"{o.weights} does not hold the weights of {name} at width {o.width:g}: "
                f"{len(misfits)} of {len(wanted)} tensors are missing or have another shape, "
                f"{misfits[0]} among them; give those of timm or torchvision, or weights=random"
            )
        self.vgg.load_state_dict({**own, **{key: found[key] for key in wanted}})


def _resized(planes: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """Bring (n, c, h, w) to a size, without aliases where it shrinks."""
    if planes.shape[-2:] == size:
        return planes
    # Where it grows, torch's bicubic kernel without antialias is the sharper one, which brings
    # more of a photo's chroma back.
    shrinks = any(old > new for old, new in zip(planes.shape[-2:], size))
    return F.interpolate(planes, size, mode=mode, antialias=shrinks)


def _grey(lightness: Tensor) -> Tensor:
    """Display value, (n, 1, h, w) sRGB in [0, 1], of the grey that has a lightness."""
    neutral = torch.zeros_like(lightness).expand(-1, 2, -1, -1)
    return lab_to_rgb(torch.cat((lightness, neutral), dim=1), map_gamut=False)[:, :1]


def _from_hub(name: str) -> Mapping[str, Tensor]:
    """Weights of ImageNet."""
    try:
        return hub_state(name)
    except OSError as error:
        raise OSError(
            f"{error}; connect to it once, or give a file of timm or torchvision, or of 'zcolor "
            f"pretrain PHOTOS --extractor {name} --out FILE': --options weights=FILE; or begin "
            "without: --options weights=random"
        ) from error


def _from_file(path: str) -> dict[str, Tensor]:
    """Weights under timm's names and in its shapes; those of the last layer are of no use here."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"there is no file of weights at {path}; the option weights is hub, random, or a "
            ".safetensors or .pth file of timm or torchvision"
        )
    load = import_timm().models.load_state_dict
    try:
        found: dict[str, Tensor] = dict(load(path, weights_only=True))
        for theirs, (ours, side) in _TORCHVISION.items():
            if f"{theirs}.weight" in found:
                weight = found.pop(f"{theirs}.weight")
                found[f"{ours}.weight"] = weight.reshape(len(weight), -1, side, side)
                found[f"{ours}.bias"] = found.pop(f"{theirs}.bias")
    except _BROKEN_FILE as error:
        raise ValueError(
            f"{path} holds no weights of VGG-16 ({' '.join(str(error).split())[:200]}); give a "
            ".safetensors or .pth file of timm or torchvision"
        ) from error
    return found
