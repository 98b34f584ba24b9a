"""The networks that look at pictures for style transfer: VGG-19, and our own `zhang`.

VGG-19 sees colour; its weights are no part of zcolor. `zhang` sees lightness alone and ships.

References
----------
Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from zcolor.models.timm_weights import file_state, hub_state, timm_config
from zcolor.models.zhang import Zhang
from zcolor.registry import load_model

STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
"""Layers whose Gram matrices are the style (Gatys et al. 2016, section 3). Of `zhang`, whose groups
stride where VGG-19 pools, the layers of the same names gave the clearest textures of three sets
that were looked at; two convolutions deep, in place of one, they were more blurred."""
CONTENT_LAYER = "conv4_2"
"""Layer that is the content (Gatys et al. 2016, section 3)."""

# Convolutions of VGG-19 between two poolings (Simonyan and Zisserman 2015, table 1, column E).
_VGG19_BLOCKS = (2, 2, 4, 4, 4)
_VGG19_CLASSES = 1000
# What `zhang` reads is (L - 50) / 50.
_ZHANG_MIDDLE = 50.0


class FeatureNet(nn.Module):
    """Feature maps of named layers of a convolutional network, none of which learns.

    Parameters
    ----------
    layers
        Modules that are run one after another.
    taps
        Which module's output each name stands for, by its place in `layers`.
    style, content
        The names whose Gram matrices are the style, and the name that is the content.
    mean, std
        Of every channel of the input, which is brought to (input - mean) / std first.

    Raises
    ------
    ValueError
        If a name stands for no module.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        taps: Mapping[str, int],
        *,
        style: Sequence[str],
        content: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        unknown = {*style, content} - set(taps)
        if unknown or not style or max(taps.values()) >= len(layers):
            raise ValueError(
                f"the layers {', '.join([*style, content])} must be among those of the network "
                f"({', '.join(taps)}), each of its {len(layers)} modules"
            )
        self.style, self.content = tuple(style), content
        self.taps = {name: taps[name] for name in (*style, content)}
        # What lies deeper than the last layer that is asked for is never run.
        self.layers = nn.ModuleList(layers[: max(self.taps.values()) + 1])
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        self.requires_grad_(requires_grad=False)
        self.eval()

    @property
    def n_channels(self) -> int:
        """Channels of the pictures it looks at: 1 is L in [0, 100], 3 is sRGB in [0, 1]."""
        return int(self.mean.shape[1])

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """Give the feature maps of the layers that are style or content.

        Parameters
        ----------
        picture
            (n, c, h, w): L in [0, 100] or sRGB in [0, 1], by `n_channels`.

        Returns
        -------
        (n, c', h', w') by name.
        """
        x = (picture - self.mean) / self.std
        names = {index: name for name, index in self.taps.items()}
        found = {}
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in names:
                found[names[i]] = x
        return found


def zhang_features(
    weights: str | os.PathLike[str] = "zhang", *, device: str | torch.device = "cpu"
) -> FeatureNet:
    """Look with our own network, which reads lightness alone and comes with the package.

    Its strides become means of neighbouring answers: answers at every second pixel alone leave
    what lies between them free, and pictures drawn by them get a chequered grain. Maps go on beyond
    their edges as they end there: with zeros, the edge of a picture is a thing to be drawn.

    Parameters
    ----------
    weights
        `zhang`, or the path of a checkpoint of that family.
    device
        Where it goes.

    Returns
    -------
    A net for pictures of one channel, L in [0, 100].

    Raises
    ------
    ValueError, FileNotFoundError
        As for `zcolor.load_model`, and for a checkpoint of another family.
    """
    net = load_model(weights, device=device)
    if not isinstance(net, Zhang):
        raise ValueError(
            f"{weights} is of the family {type(net).__name__}, but the features are those of "
            "zhang; give a checkpoint of that family, or leave the weights out"
        )
    layers: list[nn.Module] = []
    taps = {}
    for number, group in enumerate(net.groups, start=1):
        assert isinstance(group, nn.Sequential)
        n_convolutions, stride = 0, 1
        for module in group:
            if isinstance(module, nn.Conv2d):
                stride = int(module.stride[0])
                module.stride, module.padding_mode = (1, 1), "replicate"
            layers.append(module)
            if isinstance(module, nn.ReLU):
                n_convolutions += 1
                taps[f"conv{number}_{n_convolutions}"] = len(layers) - 1
                if stride > 1:
                    layers.append(nn.AvgPool2d(stride, ceil_mode=True))
    scale = (_ZHANG_MIDDLE,)
    return FeatureNet(
        layers, taps, style=STYLE_LAYERS, content=CONTENT_LAYER, mean=scale, std=scale
    ).to(device)


def vgg19_features(
    weights: str | os.PathLike[str] = "hub", *, device: str | torch.device = "cpu"
) -> FeatureNet:
    """Look with VGG-19, which sees colour, its poolings taking means as in the papers.

    Parameters
    ----------
    weights
        `hub` fetches those that timm names; or a file of theirs or of torchvision's
        (.safetensors, .pth).
    device
        Where it goes.

    Returns
    -------
    A net for pictures of three channels, sRGB in [0, 1].

    Raises
    ------
    OSError
        If the hub cannot be reached, or there is no such file.
    ValueError
        If the file holds no weights of VGG-19.
    ImportError
        If timm is not installed.
    """
    if weights == "hub":
        try:
            state = hub_state("vgg19")
        except OSError as error:
            raise OSError(
                f"{error}; where there is no internet, download them elsewhere and give the file "
                "by --weights FILE, or use --features zhang, which comes with zcolor"
            ) from error
    else:
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"there is no file {weights}; give the weights of VGG-19, or 'hub' to fetch them"
            )
        state = file_state("vgg19", weights, classes=_VGG19_CLASSES)
    config = timm_config("vgg19")
    layers, taps = _vgg19_layers(state)
    return FeatureNet(
        layers,
        taps,
        style=STYLE_LAYERS,
        content=CONTENT_LAYER,
        mean=config["mean"],
        std=config["std"],
    ).to(device)


def _vgg19_layers(state: Mapping[str, Tensor]) -> tuple[list[nn.Module], dict[str, int]]:
    """Build the convolutional part of VGG-19 of its weights, and say where each layer is."""
    layers: list[nn.Module] = []
    taps = {}
    for block, n_convolutions in enumerate(_VGG19_BLOCKS, start=1):
        for i in range(1, n_convolutions + 1):
            weight = state[f"features.{len(layers)}.weight"]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            bias = state[f"features.{len(layers)}.bias"]
            convolution.load_state_dict({"weight": weight, "bias": bias})
            layers += [convolution, nn.ReLU()]
            taps[f"conv{block}_{i}"] = len(layers) - 1
        layers.append(nn.AvgPool2d(2, ceil_mode=True))
    return layers, taps
