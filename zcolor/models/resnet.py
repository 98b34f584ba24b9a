"""ResNet-34 and the same network without shortcuts, under the classification of colour.

References
----------
He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017 (strides turned into dilation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from zcolor.models.base import Options
from zcolor.models.classifier import Classifier
from zcolor.models.extractor import RANDOM, Extractor, ExtractorKind

if TYPE_CHECKING:
    from timm.models.resnet import ResNet

# Blocks and channels of the four stages of the paper's 34-layer network (its table 1).
_BLOCKS = (3, 4, 6, 3)
_CHANNELS = (64, 128, 256, 512)
# Channels of the head, those of group 8 of Zhang et al. 2016.
_HEAD_CHANNELS = 256
# What timm's networks read: grey levels in [0, 1] of this mean and deviation (those of ImageNet,
# averaged over red, green and blue).
_MEAN, _STD = 0.449, 0.226


@dataclass(frozen=True)
class ResNet34Options(Options):
    """What a ResNet-34 alone knows."""

    weights: str = RANDOM
    """What a new encoder begins with: `random`, `hub` (timm's, learned on ImageNet; downloaded
    once), or a file: of timm or torchvision, or of `zcolor pretrain --extractor resnet34`."""


class _Encoder34(Classifier):
    """The 34 layers at an eighth of the input's size, a head that doubles it, a 1x1 classifier."""

    shortcuts: ClassVar[bool]

    def build(self) -> None:
        """Make the layers.

        Raises
        ------
        ImportError
            If timm is not installed.
        ValueError
            If the width leaves a stage without channels.
        """
        if round(_CHANNELS[0] * self.width) < 1:
            raise ValueError(f"width {self.width} leaves no channels; use at least 1/64")
        channels = tuple(round(wide * self.width) for wide in _CHANNELS)
        head = round(_HEAD_CHANNELS * self.width)
        self.encoder = _make_encoder(channels, shortcuts=self.shortcuts)
        self.head = _make_head(channels[-1], head)
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


class ResNet34(_Encoder34):
    """Residual: each pair of convolutions adds to what enters it.

    Parameters
    ----------
    grid, width, targets, working_size, presets
        As for `zcolor.models.classifier.Classifier`. `width` scales the channels of the stages and
        of the head; timm's stem keeps its 64.
    options
        A `ResNet34Options`.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If the width leaves a stage without channels, or `targets` or `working_size` make no sense.
    """

    shortcuts = True
    options_type = ResNet34Options
    options: ResNet34Options

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


class Plain34(_Encoder34):
    """The same layers without the additions: each block is all that its successor sees.

    A block that changes the size or the number of channels has a 1x1 projection on its shortcut;
    with nothing to be added these are left out (0.7 % of the weights). All other weights have
    the same names and shapes as those of `ResNet34`. No weights are published for it, so it has no
    options and is trained from the beginning.

    Parameters
    ----------
    grid, width, targets, working_size, presets, options
        As for `ResNet34`; this family has no options of its own.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If the width leaves a stage without channels, or `targets` or `working_size` make no sense.
    """

    shortcuts = False


def _make_encoder(channels: tuple[int, ...], *, shortcuts: bool) -> ResNet:
    """The ResNet-34 of timm for one channel in, at stride 8, without its own classifier."""
    try:
        from timm.models.resnet import BasicBlock, ResNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("this model needs timm: pip install 'zcolor[zoo]'") from error

    class PlainBlock(BasicBlock):
        """Two convolutions, and nothing is added to them."""

        def forward(self, x: Tensor) -> Tensor:
            x = self.act1(self.bn1(self.conv1(x)))
            answer: Tensor = self.act2(self.bn2(self.conv2(x)))
            return answer

    encoder = ResNet(
        BasicBlock if shortcuts else PlainBlock,  # type: ignore[arg-type] # timm means the class
        _BLOCKS,
        channels=channels,
        in_chans=1,
        output_stride=8,
        num_classes=0,
        global_pool="",
        # As in the paper. timm's own choice, a last norm that starts at zero, makes each block
        # begin as the identity; a block without a shortcut would begin, and stay, at nothing.
        zero_init_last=False,
    )
    if not shortcuts:
        for block in encoder.modules():
            if isinstance(block, PlainBlock):
                block.downsample = None
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


def _load_pretrained(encoder: ResNet, weights: str) -> None:
    """Take over what timm's resnet34 has learned on pictures of three channels.

    Its first convolution is summed over them, which for grey pictures changes nothing; its own
    classifier is left behind.
    """
    kind = ExtractorKind.of("resnet34", weights)
    learned = Extractor("resnet34", classes=kind.classes, size=kind.size)
    learned.load(weights)
    state = learned.network.state_dict()
    state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
