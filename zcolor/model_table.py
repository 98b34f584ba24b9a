"""The models: one literal table from which `zcolor.registry` finds classes and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class ModelEntry:
    """A row of the table: a family of networks, and its weights if some ship with the package."""

    network: str
    """Where the class is, as "module:Class"."""
    description: str
    """What it is, in a line."""
    source: str
    """The publication that the network follows."""
    recipe: str = ""
    """How it is trained: what `zcolor train --model NAME` takes as typed before what is typed."""
    extra: str = ""
    """The extra that must be installed for it."""
    weights: str = ""
    """File of the weights in `zcolor/assets`; empty if they have to be trained first."""
    n_parameters: int = 0
    """Learned numbers of the network that ships; 0 where none does."""
    licence: str = ""
    """Licence of the weights."""

    @property
    def path(self) -> Path:
        """Where the weights are, if some ship."""
        return _ASSETS / self.weights


MODELS: Mapping[str, ModelEntry] = {
    "zhang": ModelEntry(
        network="zcolor.models.zhang:Zhang",
        description="classification over an 18x18 grid of ab cells; width 0.5, trained by zcolor",
        source="Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016",
        weights="zhang.safetensors",
        n_parameters=8_083_940,
        licence="BSD-2-Clause",
    ),
    "autoencoder": ModelEntry(
        network="zcolor.models.autoencoder:Autoencoder",
        description="regression of ab, encoder and decoder without skip connections; two layouts",
        source="plain: Baldassarre et al.: Deep Koalarization, 2017, without its extractor",
        recipe=(
            "--optimizer adam --lr 1e-3 --weight-decay 1e-5 --schedule plateau --lr-floor 1e-5 "
            "--ema 0 --crops 128 --shares 1 --batch 20"
        ),
    ),
    "fusion": ModelEntry(
        network="zcolor.models.fusion:Fusion",
        description="regression of ab, told by a frozen classification network what is to be seen",
        source="Baldassarre, Gonzalez Morin, Rodes-Guirao: Deep Koalarization, 2017",
        recipe=(
            "--optimizer adam --lr 1e-3 --weight-decay 0 --schedule plateau --lr-floor 1e-5 "
            "--monitor train --ema 0 --crops 128 --shares 1 --batch 20"
        ),
        extra="zoo",
    ),
    "video-fusion": ModelEntry(
        network="zcolor.models.video_fusion:VideoFusion",
        description="fusion with a memory from frame to frame, trained on clips made over photos",
        source="docs/recipes/video-fusion.md",
        recipe=(
            "--optimizer adam --lr 1e-3 --weight-decay 0 --schedule plateau --monitor train "
            "--batch 4"
        ),
        extra="zoo",
    ),
    "vgg16": ModelEntry(
        network="zcolor.models.vgg16:Vgg16",
        description="VGG-16 whose last dense layer answers with the chroma of the photo at 33 x 33",
        source="Simonyan, Zisserman: Very Deep Convolutional Networks, ICLR 2015",
        recipe=(
            "--working-size 224 --crops 224 --shares 1 --optimizer sgd --lr 1e-2 "
            "--weight-decay 5e-4 --schedule plateau --augment.scaled 0 --film.share 0 --batch 32"
        ),
        extra="zoo",
    ),
    "resnet34": ModelEntry(
        network="zcolor.models.resnet:ResNet34",
        description="ResNet-34 under the classification of colour",
        source="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016",
        recipe="--width 1",
        extra="zoo",
    ),
    "plain34": ModelEntry(
        network="zcolor.models.resnet:Plain34",
        description="the same layers without shortcuts, to show what these are worth",
        source="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016",
        recipe="--width 1",
        extra="zoo",
    ),
    "densenet": ModelEntry(
        network="zcolor.models.densenet:DenseNet121",
        description="DenseNet-121 under the classification of colour",
        source="Huang et al.: Densely Connected Convolutional Networks, CVPR 2017",
        recipe="--width 1",
        extra="zoo",
    ),
    "mean-chroma": ModelEntry(
        network="zcolor.models.mean_chroma:MeanChroma",
        description="one colour for the whole photo, its mean a and b; trained by zcolor",
        source="blocks with batch norm as in Ioffe, Szegedy: Batch Normalization, ICML 2015",
        recipe="--crops 128 --shares 1 --optimizer adam --lr 1e-3 --weight-decay 1e-5 --batch 64",
        weights="mean-chroma.safetensors",
        n_parameters=988_516,
        licence="BSD-2-Clause",
    ),
}
"""Every family of networks; the keys are what checkpoints name in their header as `family`."""
