"""ResNet-34 and the same network without shortcuts, under the classification of colour.

References
----------
He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from zcolor.models.encoder import EncoderClassifier, EncoderOptions
from zcolor.models.timm_weights import import_timm

if TYPE_CHECKING:
    from timm.models.resnet import ResNet

# Blocks and channels of the four stages of the paper's 34-layer network (its table 1).
_BLOCKS = (3, 4, 6, 3)
_CHANNELS = (64, 128, 256, 512)


class _Encoder34(EncoderClassifier):
    """The 34 layers, with shortcuts or without."""

    shortcuts: ClassVar[bool]

    def make_encoder(self) -> ResNet:
        """Make the encoder, whose stem keeps timm's 64 channels.

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
        return _make_encoder(channels, shortcuts=self.shortcuts)


class ResNet34(_Encoder34):
    """Residual: each pair of convolutions adds to what enters it.

    Parameters
    ----------
    grid, width, targets, working_size, presets
        As for `zcolor.models.classifier.Classifier`. `width` scales the channels of the stages and
        of the head; timm's stem keeps its 64.
    options
        An `zcolor.models.encoder.EncoderOptions`.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If the width leaves a stage without channels, or `targets` or `working_size` make no sense.
    """

    shortcuts = True
    timm_name = "resnet34"
    first_convolution = "conv1.weight"
    options_type = EncoderOptions


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
    import_timm()
    from timm.models.resnet import BasicBlock, ResNet

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
