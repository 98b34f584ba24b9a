"""The classifier of Zhang et al. 2016: 22 convolutions in 8 groups, and one 1x1 classifier.

References
----------
Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016.
He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015 (initialisation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zcolor.decode import decode_logits, shown_colors
from zcolor.distribution import ColorDistribution
from zcolor.losses import rebalanced_cross_entropy
from zcolor.models.base import ColorNet, Output
from zcolor.quantizer import AbGrid
from zcolor.settings import PRESETS, DecodeSettings, Preset

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
# Three halvings: inputs are padded to multiples of 8. Group 8 doubles once: output at 1/4.
_MULTIPLE = 8
OUTPUT_STRIDE = 4


class Zhang(ColorNet):
    """Colour as classification over the cells of an ab grid.

    Parameters
    ----------
    grid
        The cells; None takes the 18x18 grid over -110..110.
    width
        Channels as a share of the paper's (width 1 is the paper's network).
    targets
        `soft`: spread over the 5 nearest cells; `hard`: the true cell alone.
    working_size
        Side in pixels of the square whose area photos are brought to.
    presets
        How this model's answers are decoded under each named preset; None takes
        `zcolor.settings.PRESETS`.

    Attributes
    ----------
    class_weights : Tensor
        (q,) rebalancing weights of the loss; ones until `set_priors`.
    cell_means : Tensor
        (q, 2) mean ab of the training pixels in each cell; the centres until `set_priors`.
    prior : Tensor
        (q,) share of the training pixels in each cell; uniform until `set_priors`.

    Raises
    ------
    ValueError
        If the width leaves a group without channels, or `targets` or `working_size` make no sense.
    """

    def __init__(
        self,
        grid: AbGrid | None = None,
        *,
        width: float = 0.5,
        targets: Literal["soft", "hard"] = "soft",
        working_size: int = 128,
        presets: Mapping[Preset, DecodeSettings] | None = None,
    ) -> None:
        super().__init__()
        if round(_GROUPS[0][0] * width) < 1:
            raise ValueError(f"width {width} leaves no channels; use at least 1/64")
        if targets not in ("soft", "hard"):
            raise ValueError(f"targets must be 'soft' or 'hard', got {targets!r}")
        if working_size < _MULTIPLE:
            raise ValueError(f"working_size must be at least {_MULTIPLE}, got {working_size}")
        self.grid = grid or AbGrid()
        self.width = width
        self.targets = targets
        self.working_size = working_size
        self.presets = dict(PRESETS if presets is None else presets)

        groups: list[nn.Module] = []
        channels = 1
        for wide, n_convolutions, stride, dilation in _GROUPS:
            out = round(wide * width)
            groups.append(_group(channels, out, n_convolutions, stride, dilation))
            channels = out
        self.groups = nn.Sequential(*groups, _last_group(channels, round(_CHANNELS_8 * width)))
        self.classifier = nn.Conv2d(round(_CHANNELS_8 * width), self.grid.n_bins, kernel_size=1)
        self.register_buffer("class_weights", torch.ones(self.grid.n_bins))
        self.register_buffer("cell_means", self.grid.centers.clone())
        self.register_buffer("prior", torch.full((self.grid.n_bins,), 1 / self.grid.n_bins))
        self.class_weights: Tensor
        self.cell_means: Tensor
        self.prior: Tensor
        self.apply(_he_initialise)
        # A small classifier starts near the uniform distribution: the first loss is log q.
        nn.init.normal_(self.classifier.weight, std=0.01)

    def set_priors(self, prior: Tensor, means: Tensor, weights: Tensor) -> None:
        """Take over the priors of the training photographs.

        Parameters
        ----------
        prior
            (q,) share of the pixels in each cell.
        means
            (q, 2) mean ab of the pixels in each cell.
        weights
            (q,) rebalancing weights of the loss.

        Raises
        ------
        ValueError
            If a length is not that of the grid or a value is NaN or infinite; nothing is taken
            over then.
        """
        given = {"prior": prior, "cell_means": means, "class_weights": weights}
        for name, value in given.items():
            shape = self.get_buffer(name).shape
            if value.shape != shape:
                raise ValueError(
                    f"{name} must be {tuple(shape)} for this grid, got {tuple(value.shape)}"
                )
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinite values; build the priors again")
        for name, value in given.items():
            self.get_buffer(name).copy_(value)

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with logits over the cells.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, q, ceil(h / 4), ceil(w / 4)) logits.
        """
        h, w = lightness.shape[-2:]
        pad_h, pad_w = -h % _MULTIPLE, -w % _MULTIPLE
        x = (lightness - 50) / 50
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        logits: Tensor = self.classifier(self.groups(x))
        return logits[:, :, : -(-h // OUTPUT_STRIDE), : -(-w // OUTPUT_STRIDE)]

    def target(
        self, ab: Tensor, lightness: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Average ab down to the output's size and bin it.

        Parameters
        ----------
        ab
            (n, 2, h, w) true ab, h and w multiples of 4.
        lightness, labels
            Not needed by this family.

        Returns
        -------
        indices, weights : Tensor
            (n, k, h / 4, w / 4): the cells of each pixel, the nearest first, and their shares.
        """
        small = F.avg_pool2d(ab, OUTPUT_STRIDE)
        if self.targets == "soft":
            return self.grid.soft_encode(small)
        indices = self.grid.encode(small).unsqueeze(1)
        return indices, torch.ones_like(indices, dtype=ab.dtype)

    def loss(self, output: Output, target: Output) -> dict[str, Tensor]:
        """Rebalanced cross-entropy (`total`), the same unweighted, and top-1 cell accuracy."""
        assert isinstance(output, Tensor) and isinstance(target, tuple)
        indices, soft_weights = target
        total, plain = rebalanced_cross_entropy(output, indices, soft_weights, self.class_weights)
        with torch.no_grad():
            accuracy = (output.argmax(dim=1) == indices[:, 0]).float().mean()
        return {"total": total, "cross_entropy": plain.detach(), "top1": accuracy}

    def to_ab(self, output: Output, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Decode logits to (n, 2, h / 4, w / 4) ab."""
        assert isinstance(output, Tensor)
        colors = shown_colors(self.grid, self.cell_means, decode)
        bias = None
        if decode.rebalance != 1:
            bias = (decode.rebalance - 1) * self.class_weights.log()
        return decode_logits(output, colors, decode.effective_temperature, bias=bias)

    def distribution(self, lightness: Tensor) -> ColorDistribution:
        """Answer with the whole distribution over the cells of each pixel.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100].

        Returns
        -------
        The distribution at a quarter of the size of `lightness`, with the lightness averaged to
        that size; decoding it costs no forward pass.
        """
        return ColorDistribution(
            self(lightness).float(),
            self.grid,
            self.cell_means,
            self.presets["vivid"],
            self.class_weights,
            # At the right and bottom edge the average is over what is left.
            F.avg_pool2d(lightness, OUTPUT_STRIDE, ceil_mode=True),
        )

    def header(self) -> dict[str, Any]:
        """Return what a checkpoint's header must say to build this network again."""
        return {
            "grid": self.grid.to_dict(),
            "width": self.width,
            "targets": self.targets,
            "working_size": self.working_size,
            "presets": {name: asdict(decode) for name, decode in self.presets.items()},
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Zhang:
        """Build the network, without its weights, that `header` described.

        Raises
        ------
        ValueError
            If the header is incomplete.
        """
        missing = {"grid", "width", "targets", "working_size", "presets"} - set(header)
        if missing:
            raise ValueError(f"the header of a zhang checkpoint lacks {', '.join(sorted(missing))}")
        return cls(
            AbGrid.from_dict(header["grid"]),
            width=header["width"],
            targets=header["targets"],
            working_size=header["working_size"],
            presets={name: DecodeSettings(**header["presets"][name]) for name in PRESETS},
        )


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
