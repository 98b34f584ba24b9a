"""Every colouring of a photo that `zcolor evaluate` measures: the model's and the baselines'."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.averaging import averaged_ab
from zcolor.checkpoint import read_header
from zcolor.evaluation import CellScore, score_cells
from zcolor.metrics_image import Rgb8
from zcolor.models.base import Output
from zcolor.models.classifier import Classifier
from zcolor.photo import Photo, read_photo
from zcolor.precision import computes_in_bfloat16, fast_precision
from zcolor.registry import find_weights, load_model, pick_device
from zcolor.scores import Truth
from zcolor.settings import ColorizeSettings, Upsample
from zcolor.two_scales import with_coarse_colors

GREY, MEAN, CEILING, TRUTH = "grey", "mean colour", "ceiling", "truth"
"""Names of the baselines."""
PRIOR = "prior"
"""The classifier that answers with the prior everywhere."""
NATURAL = "natural"
"""A classifier without the tilt of its rebalancing: `zcolor.ColorDistribution.natural`."""
# Working pixels that go through the network at once: 64 photos at 128 x 128.
_PIXELS_AT_ONCE = 1 << 20
# The share that a cell which training never saw gets, so that its cross-entropy is finite.
_SMALLEST_SHARE = 1e-9


@dataclass(frozen=True, eq=False)
class Look:
    """One photo as the network saw it at one working size."""

    size: int
    lightness: Tensor
    """(1, 1, h, w)."""
    output: Output | None
    """The network's answer; None where no variant needs it."""
    coarse: Look | None = None
    """The same photo at the model's own size, where this one is larger: its colours are coarser."""


class Contestants:
    """A model decoded in several ways, and the baselines that belong to it.

    Parameters
    ----------
    model
        A name of `zcolor.list_models()`, or a checkpoint. Without variants only its grid and
        priors are used.
    variants
        What to measure, by name; those of one working size share the forward pass.
    device
        As for `zcolor.colorize`.

    Attributes
    ----------
    methods : tuple of str
        The baselines and the variants, in the order of the table.
    networks : tuple of str
        Classifiers whose answers are measured as such, the prior among them.

    Raises
    ------
    ValueError, FileNotFoundError
        As for `zcolor.load_model`; if a variant has the name of a baseline.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        variants: Mapping[str, ColorizeSettings],
        *,
        device: str | torch.device = "auto",
    ) -> None:
        taken = {GREY, MEAN, CEILING, TRUTH} & set(variants)
        if taken:
            raise ValueError(f"{taken.pop()!r} is the name of a baseline; name the variant anew")
        if any(settings.reference is not None for settings in variants.values()):
            raise ValueError(
                "a reference lends its colours to some photos and takes them from others, so that "
                "no evaluation with one is offered; leave the reference out"
            )
        self.device = pick_device(device)
        self.net = load_model(model, device=self.device)
        self.path = find_weights(model)
        self.variants = dict(variants)
        for variant in self.variants.values():
            self.net.decoding(variant)  # refused now, not after the first photos
        self._by_size: dict[int, list[str]] = {}
        for name, settings in self.variants.items():
            size = self.net.working_size if settings.size is None else int(settings.size)
            self._by_size.setdefault(size, []).append(name)
        sizes = list(self._by_size) or [self.net.working_size]
        self._by_size = {size: self._by_size.get(size, []) for size in sizes}
        self.classifies = isinstance(self.net, Classifier)
        one = len(sizes) == 1
        self._ceilings = {size: CEILING if one else f"{CEILING} at {size}" for size in sizes}
        stem = Path(model).stem
        self._networks = {size: stem if one else f"{stem} at {size}" for size in sizes}
        baselines = [GREY, *([MEAN] if self.classifies else [])]
        ceilings = list(self._ceilings.values()) if self.classifies else []
        self.methods = (*baselines, *self.variants, *ceilings)
        self.networks: tuple[str, ...] = ()
        if self.classifies and self.variants:
            names = self._networks.values()
            self.networks = (*names, *(f"{name}, {NATURAL}" for name in names), PRIOR)

    def describe(self) -> dict[str, object]:
        """Say which weights these are, for the JSON."""
        header = read_header(self.path)
        kept = ("family", "width", "targets", "working_size", "presets", "data_hash", "steps")
        known = {**header, **header.get("provenance", {})}
        return {
            "file": self.path.name,
            "sha256": header["sha256"],
            **{name: known[name] for name in kept if name in known},
        }

    def temperature(self, variant: str) -> float:
        """The temperature that a variant's decoding stands for."""
        return self.net.decoding(self.variants[variant]).effective_temperature

    @property
    def precision(self) -> str | None:
        """What the network answers in; None where none does."""
        if not self.variants:
            return None
        return "bfloat16" if computes_in_bfloat16(self.device) else "float32"

    @torch.inference_mode()
    def look(self, photos: Sequence[Rgb8]) -> list[list[Look]]:
        """Send photos through the network, those of one working shape together.

        Returns
        -------
        For each photo, what was seen at each working size.
        """
        read = [read_photo(rgb) for rgb in photos]
        own = self.net.working_size
        needs_own = any(names and size > own for size, names in self._by_size.items())
        coarse = self._seen(read, own, answered=True) if needs_own else []
        columns = []
        for size, names in self._by_size.items():
            looks = self._seen(read, size, answered=bool(names))
            if names and size > own:
                looks = [
                    replace(look, coarse=c) if c.lightness.shape != look.lightness.shape else look
                    for look, c in zip(looks, coarse, strict=True)
                ]
            columns.append(looks)
        return [list(row) for row in zip(*columns, strict=True)]

    def _seen(self, photos: Sequence[Photo], size: int, *, answered: bool) -> list[Look]:
        """Send photos through the network at one working size; without an answer, only look."""
        looks: dict[int, Look] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        for i, photo in enumerate(photos):
            groups.setdefault(photo.working_shape(size), []).append(i)
        for (height, width), members in groups.items():
            at_once = max(1, _PIXELS_AT_ONCE // (height * width))
            for start in range(0, len(members), at_once):
                part = members[start : start + at_once]
                lightness = torch.cat([photos[i].lightness(size, self.device) for i in part])
                with fast_precision(self.device):
                    output = self.net(lightness) if answered else None
                for k, i in enumerate(part):
                    looks[i] = Look(size, lightness[k : k + 1], _pick(output, k))
        return [looks[i] for i in range(len(photos))]

    @torch.inference_mode()
    def results(self, truth: Truth, looks: Sequence[Look]) -> Iterator[tuple[str, Rgb8]]:
        """Colour one photo in every way, one after the other, as (name, (h, w, 3) uint8)."""
        photo = read_photo(truth.rgb)
        yield GREY, _joined(photo, torch.zeros(1, 2, 1, 1, device=self.device))
        if self.classifies:
            means, prior = self.net.get_buffer("cell_means"), self.net.get_buffer("prior")
            yield MEAN, _joined(photo, (prior @ means / prior.sum()).view(1, 2, 1, 1))
        for look in looks:
            upsample: Upsample = "bilinear"
            for name in self._by_size[look.size]:
                settings = self.variants[name]
                upsample = settings.upsample
                ab = self._ab(look, settings)
                yield name, _joined(photo, ab, upsample, settings.saturation)
            if self.classifies:
                means = self.net.get_buffer("cell_means")
                ab = means[self.true_cells(truth, look)].permute(0, 3, 1, 2)
                yield self._ceilings[look.size], _joined(photo, ab, upsample)

    def _ab(self, look: Look, settings: ColorizeSettings) -> Tensor:
        """(1, 2, h', w') ab of one photo, as `zcolor.Colorizer` predicts it."""
        decode = self.net.decoding(settings)
        assert look.output is not None
        if settings.average == "none":
            ab = self.net.to_ab(look.output, look.lightness, decode)
        else:
            predict = functools.partial(self.net.predict_ab, decode=decode)
            with fast_precision(self.device):
                ab = averaged_ab(predict, look.lightness, settings.average)
        return (
            ab if look.coarse is None else with_coarse_colors(ab, self._ab(look.coarse, settings))
        )

    @torch.inference_mode()
    def cell_scores(self, truth: Truth, looks: Sequence[Look]) -> dict[str, CellScore]:
        """Measure the network's probabilities for one photo, and the prior's, by name."""
        found: dict[str, CellScore] = {}
        for look in looks:
            if not isinstance(look.output, Tensor) or not self.classifies:
                continue
            cells = self.true_cells(truth, look)
            name = self._networks[look.size]
            found[name] = score_cells(look.output, cells)
            tilt = self.net.get_buffer("class_weights").log().view(1, -1, 1, 1)
            found[f"{name}, {NATURAL}"] = score_cells(look.output - tilt, cells)
            if PRIOR not in found:
                log_p = self.net.get_buffer("prior").clamp(min=_SMALLEST_SHARE).log()
                constant = log_p.view(1, -1, 1, 1).expand(-1, -1, *cells.shape[1:])
                found[PRIOR] = score_cells(constant, cells)
        return found

    def true_cells(self, truth: Truth, look: Look) -> Tensor:
        """(1, h', w') int64: the true ab averaged down to the network's output, in its cells."""
        working = F.interpolate(truth.lab[:, 1:], look.lightness.shape[-2:], mode="area")
        target = self.net.target(working.to(self.device), look.lightness, None)
        # Classifiers give the cells that a pixel is spread over, the nearest first.
        cells: Tensor = target[0][:, 0]
        return cells


def _pick(output: Output | None, index: int) -> Output | None:
    """The answer to one photo of a batch, in float32."""
    if output is None or isinstance(output, Tensor):
        return None if output is None else output[index : index + 1].float()
    return tuple(part[index : index + 1].float() for part in output)


def _joined(
    photo: Photo, ab: Tensor, upsample: Upsample = "bilinear", saturation: float = 1.0
) -> Rgb8:
    colored = photo.with_ab(ab, upsample=upsample, saturation=saturation)
    return np.asarray(colored, dtype=np.uint8)
