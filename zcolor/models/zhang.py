"""The classifier of Zhang et al. 2016: 22 convolutions in 8 groups, and one 1x1 classifier.

References
----------
Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016.
He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015 (initialisation).
"""

from __future__ import annotations

from torch import Tensor, nn

from zcolor.models.classifier import Classifier

# The paper's channels, convolutions, closing stride and dilation of groups 1 to 7.
_GROUPS = (
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
)
_CHANNELS_8 = 256


class Zhang(Classifier):
    """The network of the paper; `width` scales its channels (1 is the paper's).

    Parameters
    ----------
    grid, width, targets, working_size, presets, options
        As for `zcolor.models.classifier.Classifier`; this family has no options of its own.

    Raises
    ------
    ValueError
        If the width leaves a group without channels, or `targets` or `working_size` make no sense.
    """

    def build(self) -> None:
        """Make the layers, with He's initialisation."""
        width = self.width
        if round(_GROUPS[0][0] * width) < 1:
            raise ValueError(f"width {width} leaves no channels; use at least 1/64")
        groups: list[nn.Module] = []
        channels = 1
        for wide, n_convolutions, stride, dilation in _GROUPS:
            out = round(wide * width)
            groups.append(_group(channels, out, n_convolutions, stride, dilation))
            channels = out
        self.groups = nn.Sequential(*groups, _last_group(channels, round(_CHANNELS_8 * width)))
        self.classifier = nn.Conv2d(round(_CHANNELS_8 * width), self.grid.n_bins, kernel_size=1)
        self.apply(_he_initialise)
        # A small classifier starts near the uniform distribution: the first loss is log q.
        nn.init.normal_(self.classifier.weight, std=0.01)

    def logits(self, scaled: Tensor) -> Tensor:
        """Answer to lightness scaled to [-1, 1], (n, 1, h, w) with h and w multiples of 8.

        Returns
        -------
        (n, q, h / 4, w / 4) logits.
        """
        logits: Tensor = self.classifier(self.groups(scaled))
        return logits


def _group(channels: int, out: int, n: int, stride: int, dilation: int) -> nn.Sequential:
    """`n` convolutions with ReLU; the last one strides, batch norm closes the group."""
    layers: list[nn.Module] = []
    for i in range(n):
        step = stride if i == n - 1 else 1
        layers += [
            nn.Conv2d(channels, out, 3, stride=step, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
        ]
        channels = out
    return nn.Sequential(*layers, nn.BatchNorm2d(out))


def _last_group(channels: int, out: int) -> nn.Sequential:
    """Group 8: a transposed convolution that doubles the size, and two convolutions."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _he_initialise(module: nn.Module) -> None:
    """Var[w] = 2 / n, n the inputs that reach one output (He et al. 2015, equation 10)."""
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return
    height, width = module.kernel_size
    inputs = module.in_channels * height * width
    if isinstance(module, nn.ConvTranspose2d):
        # A stride of s lets only every s-th weight along an axis reach one output.
        inputs //= module.stride[0] * module.stride[1]
    nn.init.normal_(module.weight, std=(2 / inputs) ** 0.5)
    assert module.bias is not None
    nn.init.zeros_(module.bias)
