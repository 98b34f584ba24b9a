"""What every network that classifies colour shares: cells, targets, loss and decoding.

A family gives the body, which answers with logits; Zhang et al. 2016 is the frame.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.decode import decode_answer
from zcolor.distribution import ColorDistribution
from zcolor.losses import rebalanced_cross_entropy
from zcolor.models.base import ColorNet, Options, Output
from zcolor.quantizer import AbGrid
from zcolor.reference import reference_bias
from zcolor.settings import PRESETS, ColorizeSettings, DecodeSettings, Preset

SIDE_MULTIPLE = 8
"""Bodies halve three times: inputs are padded to multiples of 8."""
MAX_WIDTH = 4.0
"""A network of `zhang` this wide has 5 * 10^8 parameters; a header that says more is damaged."""
OUTPUT_STRIDE = 4
"""Bodies double once: logits at a quarter of the input's size."""


class Classifier(ColorNet):
    """Colour as classification over the cells of an ab grid.

    A family writes `build()` and `logits(scaled)`. It is trained with the priors of its
    photographs.

    Parameters
    ----------
    grid
        The cells; None takes the 18x18 grid over -110..110.
    width
        Channels as a share of those of the family's paper.
    targets
        `soft`: spread over the 5 nearest cells; `hard`: the true cell alone.
    working_size
        Side in pixels of the square whose area photos are brought to.
    presets
        How this model's answers are decoded under each named preset; None takes
        `zcolor.settings.PRESETS`.
    options
        What the family alone knows; None takes its defaults.

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
        If `width`, `targets` or `working_size` make no sense.
    """

    # (q,) added to the logits as they are decoded: towards the colours of a reference.
    lean: Tensor | None = None

    def __init__(
        self,
        grid: AbGrid | None = None,
        *,
        width: float = 0.5,
        targets: Literal["soft", "hard"] = "soft",
        working_size: int = 128,
        presets: Mapping[Preset, DecodeSettings] | None = None,
        options: Options | None = None,
    ) -> None:
        super().__init__(working_size=working_size, options=options)
        if not 0 < width <= MAX_WIDTH:
            raise ValueError(f"width must be above 0, got {width}; at most {MAX_WIDTH:g}")
        if targets not in ("soft", "hard"):
            raise ValueError(f"targets must be 'soft' or 'hard', got {targets!r}")
        self.grid = grid or AbGrid()
        self.width = width
        self.targets = targets
        self.presets = dict(PRESETS if presets is None else presets)
        q = self.grid.n_bins
        self.register_buffer("class_weights", torch.ones(q, dtype=torch.float32))
        self.register_buffer("cell_means", self.grid.centers.clone())
        self.register_buffer("prior", torch.full((q,), 1 / q, dtype=torch.float32))
        self.class_weights: Tensor
        self.cell_means: Tensor
        self.prior: Tensor
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the layers and their first weights; the settings are attributes by then.

        Raises
        ------
        ValueError
            If the settings make no sense in this family.
        """

    @abstractmethod
    def logits(self, scaled: Tensor) -> Tensor:
        """Answer to lightness scaled to [-1, 1], (n, 1, h, w) with h and w multiples of 8.

        Returns
        -------
        (n, q, h / 4, w / 4) logits.
        """

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer with the logits of every cell.

        Parameters
        ----------
        lightness
            (n, 1, h, w), L in [0, 100], any h and w from 1.

        Returns
        -------
        (n, q, ceil(h / 4), ceil(w / 4)) logits.
        """
        h, w = lightness.shape[-2:]
        pad_h, pad_w = -h % SIDE_MULTIPLE, -w % SIDE_MULTIPLE
        x = (lightness - 50) / 50
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        # Rounded up without negative numbers, which ONNX divides in another way than Python does.
        rows, columns = ((side + OUTPUT_STRIDE - 1) // OUTPUT_STRIDE for side in (h, w))
        return self.logits(x)[:, :, :rows, :columns]

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

    def target(
        self, ab: Tensor, lightness: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Average ab down to the output's size and bin it.

        Parameters
        ----------
        ab
            (n, 2, h, w) true ab, h and w multiples of 4.
        lightness, labels
            Not needed by classifiers of colour.

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

    def decoding(self, settings: ColorizeSettings) -> DecodeSettings:
        """Tell how answers are decoded: the model's own preset, but for what the settings state."""
        return settings.decode_settings(self.presets)

    def to_ab(self, output: Output, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Decode logits to (n, 2, h / 4, w / 4) ab."""
        assert isinstance(output, Tensor)
        return decode_answer(
            output, self.grid, self.cell_means, self.class_weights, decode, lean=self.lean
        )

    def leaning(self, reference: Tensor, lend: float) -> Self:
        """Return this network with its colours leaning towards those of a reference photo.

        Its p(q | x) are multiplied by (r(q) / p(q))^lend before they are decoded, where r is how
        frequent the cell is in the reference and p its prior (`zcolor.reference`). Layers and
        buffers are shared; `logits`, `distribution` and what training needs stay as they are.

        Parameters
        ----------
        reference
            (n, 3, h, w) sRGB in [0, 1], at working size.
        lend
            How far: 0 not at all, 1 by Bayes' rule.

        Raises
        ------
        ValueError
            As for `zcolor.reference.reference_bias`.
        """
        other = copy.copy(self)
        other.lean = reference_bias(reference, self.grid, self.prior, lend)
        return other

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
            # Copies: whoever changes them means this answer, not all that come after.
            self.cell_means.clone(),
            self.presets["vivid"],
            self.class_weights.clone(),
            # At the right and bottom edge the average is over what is left.
            F.avg_pool2d(lightness, OUTPUT_STRIDE, ceil_mode=True),
        )

    def header(self) -> dict[str, Any]:
        """Return what a checkpoint's header must say to build this network again."""
        return {
            **super().header(),
            "grid": self.grid.to_dict(),
            "width": self.width,
            "targets": self.targets,
            "presets": {name: asdict(decode) for name, decode in self.presets.items()},
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """Build the network, without its weights, that `header` described.

        Raises
        ------
        ValueError
            If the header is incomplete.
        """
        missing = {"grid", "width", "targets", "working_size"} - set(header)
        if missing:
            raise ValueError(
                f"the header of a checkpoint of {cls.__name__} lacks {', '.join(sorted(missing))}"
            )
        presets = header.get("presets")
        return cls(
            AbGrid.from_dict(header["grid"]),
            width=header["width"],
            targets=header["targets"],
            working_size=header["working_size"],
            presets={name: DecodeSettings(**presets[name]) for name in PRESETS}
            if presets
            else None,
            options=cls.options_of(header),
        )
