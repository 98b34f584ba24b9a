"""DenseNet-121 under the classification of colour.

References
----------
Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.
Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017 (strides turned into dilation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from zcolor.models.encoder import EncoderClassifier, EncoderOptions
from zcolor.models.timm_weights import import_timm

if TYPE_CHECKING:
    from timm.models.densenet import DenseNet

# Layers of the four blocks and growth rate of the paper's 121-layer network (its table 1).
_BLOCKS = (6, 12, 24, 16)
_GROWTH_RATE = 32


class DenseNet121(EncoderClassifier):
    """Dense blocks: each layer reads all layers before it in its block.

    At an eighth of the input's size, then a head that doubles it, and a 1x1 classifier.

    Parameters
    ----------
    grid, width, targets, working_size, presets
        As for `zcolor.models.classifier.Classifier`. `width` scales the growth rate (32), with
        which all channels grow.
    options
        An `zcolor.models.encoder.EncoderOptions`.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If the width leaves no channels, or `targets` or `working_size` make no sense.
    """

    timm_name = "densenet121"
    first_convolution = "features.conv0.weight"
    options_type = EncoderOptions

    def make_encoder(self) -> DenseNet:
        """Make the encoder.

        Raises
        ------
        ImportError
            If timm is not installed.
        ValueError
            If the width leaves no channels.
        """
        if round(_GROWTH_RATE * self.width) < 1:
            raise ValueError(f"width {self.width} leaves no channels; use at least 1/32")
        return _make_encoder(round(_GROWTH_RATE * self.width))


def _make_encoder(growth_rate: int) -> DenseNet:
    """The DenseNet-121 of timm for one channel in, at stride 8, without its own classifier."""
    import_timm()
    from timm.models.densenet import DenseNet

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
