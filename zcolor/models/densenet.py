"""DenseNet-121 under the classification of colour.

References
----------
Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.
Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017 (strides turned into dilation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from zcolor.models.base import Options
from zcolor.models.classifier import Classifier
from zcolor.models.extractor import RANDOM, Extractor, ExtractorKind

if TYPE_CHECKING:
    from timm.models.densenet import DenseNet

# Layers of the four blocks and growth rate of the paper's 121-layer network (its table 1).
_BLOCKS = (6, 12, 24, 16)
_GROWTH_RATE = 32
# Channels of the head, those of group 8 of Zhang et al. 2016.
_HEAD_CHANNELS = 256
# What timm's networks read: grey levels in [0, 1] of this mean and deviation (those of ImageNet,
# averaged over red, green and blue).
_MEAN, _STD = 0.449, 0.226


@dataclass(frozen=True)
class DenseNetOptions(Options):
    """What a DenseNet-121 alone knows."""

    weights: str = RANDOM
    """What a new encoder begins with: `random`, `hub` (timm's, learned on ImageNet; downloaded
    once), or a file: of timm or torchvision, or of `zcolor pretrain --extractor densenet121`."""


class DenseNet121(Classifier):
    """Dense blocks: each layer reads all layers before it in its block.

    At an eighth of the input's size, then a head that doubles it, and a 1x1 classifier.

    Parameters
    ----------
    grid, width, targets, working_size, presets
        As for `zcolor.models.classifier.Classifier`. `width` scales the growth rate (32), with
        which all channels grow.
    options
        A `DenseNetOptions`.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If the width leaves no channels, or `targets` or `working_size` make no sense.
    """

    options_type = DenseNetOptions
    options: DenseNetOptions

    def build(self) -> None:
        """Make the layers.

        Raises
        ------
        ImportError
            If timm is not installed.
        ValueError
            If the width leaves no channels.
        """
        if round(_GROWTH_RATE * self.width) < 1:
            raise ValueError(f"width {self.width} leaves no channels; use at least 1/32")
        head = round(_HEAD_CHANNELS * self.width)
        self.encoder = _make_encoder(round(_GROWTH_RATE * self.width))
        self.head = _make_head(self.encoder.num_features, head)
        self.classifier = nn.Conv2d(head, self.grid.n_bins, kernel_size=1)
        # A small classifier starts near the uniform distribution: the first loss is log q.
        nn.init.normal_(self.classifier.weight, std=0.01)

    def logits(self, scaled: Tensor) -> Tensor:
        """Answer to lightness scaled to [-1, 1], (n, 1, h, w) with h and w multiples of 8.

        Returns
        -------
        (n, q, h / 4, w / 4) logits.
        """
        grey = ((scaled + 1) / 2 - _MEAN) / _STD
        features = self.encoder.forward_features(grey)  # (n, c, h / 8, w / 8)
        logits: Tensor = self.classifier(self.head(features))
        return logits

    def begin(self) -> None:
        """Give a new encoder the weights that `options` names.

        Raises
        ------
        OSError, ValueError
            If they cannot be had or do not fit; the message names the cure.
        """
        if self.options.weights == RANDOM:
            return
        if self.width != 1:
            raise ValueError(
                f"the weights {self.options.weights!r} are of full width, this network is of width "
                f"{self.width}; take --width 1, or begin with --options weights=random"
            )
        _load_pretrained(self.encoder, self.options.weights)


def _make_encoder(growth_rate: int) -> DenseNet:
    """The DenseNet-121 of timm for one channel in, at stride 8, without its own classifier."""
    try:
        from timm.models.densenet import DenseNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("this model needs timm: pip install 'zcolor[zoo]'") from error
    encoder = DenseNet(
        growth_rate=growth_rate, block_config=_BLOCKS, in_chans=1, num_classes=0, global_pool=""
    )
    # timm has no output_stride for it: the poolings before the last two blocks are left out, and
    # their 3x3 convolutions look as far apart as the poolings would have made them.
    for place, dilation in ((3, 2), (4, 4)):
        encoder.features.get_submodule(f"transition{place - 1}").pool = nn.Identity()
        for layer in encoder.features.get_submodule(f"denseblock{place}").modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (dilation, dilation)
    return encoder


def _make_head(channels: int, out: int) -> nn.Sequential:
    """From an eighth of the input's size to a quarter, as group 8 of Zhang et al. does."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def _load_pretrained(encoder: DenseNet, weights: str) -> None:
    """Take over what timm's densenet121 has learned on pictures of three channels.

    Its first convolution is summed over them, which for grey pictures changes nothing; its own
    classifier is left behind.
    """
    kind = ExtractorKind.of("densenet121", weights)
    learned = Extractor("densenet121", classes=kind.classes, size=kind.size)
    learned.load(weights)
    state = learned.network.state_dict()
    state["features.conv0.weight"] = state["features.conv0.weight"].sum(dim=1, keepdim=True)
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
