"""Every settings dataclass of zcolor; imports no torch, so that the command line starts at once."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

Device = str
DecodeMethod = Literal["annealed", "argmax", "mean"]
Colors = Literal["means", "centers"]
Upsample = Literal["bilinear"]
Rebalancing = Literal["neglog", "zhang", "none"]

UPSAMPLE_METHODS: tuple[str, ...] = get_args(Upsample)
WORKING_SIZES = (8, 4096)
"""Smallest and largest working size, in pixels."""
MAX_SATURATION = 4.0
"""Largest factor on ab; beyond it every colour lies at the edge of the gamut."""


def check_upsample(method: str) -> None:
    """Refuse an upsampling method that is none of `UPSAMPLE_METHODS` with a ValueError."""
    if method not in UPSAMPLE_METHODS:
        choices = ", ".join(repr(name) for name in UPSAMPLE_METHODS)
        raise ValueError(f"unknown upsample method {method!r}; choose one of {choices}")


@dataclass(frozen=True)
class DecodeSettings:
    """How the distribution over the cells of the grid becomes one colour."""

    method: DecodeMethod = "annealed"
    """`annealed`: the annealed mean; `argmax`: the most probable cell; `mean`: the expectation."""
    temperature: float = 0.38
    """Temperature of the annealed mean, in [0, 1]: 0 is argmax, 1 the mean (Zhang: 0.38)."""
    colors: Colors = "means"
    """The colour of a cell: the mean ab of its training pixels, or its centre."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.method not in ("annealed", "argmax", "mean"):
            raise ValueError(f"decode must be 'annealed', 'argmax' or 'mean', got {self.method!r}")
        if not 0.0 <= self.temperature <= 1.0:
            raise ValueError(
                f"temperature must lie in [0, 1] (0 = argmax, 1 = mean), got {self.temperature!r}"
            )
        if self.colors not in ("means", "centers"):
            raise ValueError(f"colors must be 'means' or 'centers', got {self.colors!r}")

    def changed(
        self,
        *,
        method: str | None = None,
        temperature: float | None = None,
        colors: str | None = None,
    ) -> DecodeSettings:
        """Return these settings with what is not None replaced.

        A temperature alone asks for the annealed mean.

        Raises
        ------
        ValueError
            If a value is unknown or out of range, or a temperature is given together with
            `argmax` or `mean`, which have none.
        """
        if temperature is not None and method in ("argmax", "mean"):
            raise ValueError(
                f"decode={method!r} has no temperature (argmax is 0, mean is 1); leave the "
                "temperature out or use decode='annealed'"
            )
        if temperature is not None and method is None:
            method = "annealed"
        return DecodeSettings(
            method=cast(DecodeMethod, self.method if method is None else method),
            temperature=self.temperature if temperature is None else temperature,
            colors=cast(Colors, self.colors if colors is None else colors),
        )

    @property
    def effective_temperature(self) -> float:
        """The temperature that the method stands for: argmax 0, mean 1."""
        return {"argmax": 0.0, "mean": 1.0}.get(self.method, self.temperature)


@dataclass(frozen=True)
class ColorizeSettings:
    """How pictures are coloured; where None is allowed, it takes the model's own."""

    decode: DecodeMethod | None = "annealed"
    """How probabilities become colour."""
    temperature: float | None = None
    """Of the annealed mean, 0 (argmax) to 1 (mean); the model's own choice if not given."""
    colors: Colors | None = None
    """The colour of a cell: the mean of its training pixels, or its centre."""
    size: int | None = None
    """Working size in pixels, 8 to 4096; the model's own if not given."""
    upsample: Upsample = "bilinear"
    """How the colour comes to full size."""
    saturation: float = 1.0
    """Factor on the colour, 0 (grey) to 4."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not (_is_number(self.saturation) and 0 <= self.saturation <= MAX_SATURATION):
            raise ValueError(
                f"saturation must lie in [0, {MAX_SATURATION:g}] (0 is grey, 1 leaves the colours "
                f"as they are), got {self.saturation!r}"
            )
        if self.temperature is not None and not _is_number(self.temperature):
            raise ValueError(f"temperature must be a number in [0, 1], got {self.temperature!r}")
        check_upsample(self.upsample)
        self.decode_settings(DecodeSettings())  # refuses what no model can decode with
        if self.size is None:
            return
        if not _is_number(self.size) or self.size != int(self.size):
            raise ValueError(f"size must be a whole number of pixels, got {self.size!r}")
        low, high = WORKING_SIZES
        if not low <= self.size <= high:
            raise ValueError(
                f"size must lie in {low}..{high} pixels (left out, it is the model's own), "
                f"got {self.size}"
            )

    def decode_settings(self, own: DecodeSettings) -> DecodeSettings:
        """Return a model's own settings for decoding with what is not None here replaced."""
        return own.changed(method=self.decode, temperature=self.temperature, colors=self.colors)


def _is_number(value: object) -> bool:
    """Tell a finite real number from everything else."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _are_shares(values: tuple[float, ...]) -> bool:
    """None is negative or NaN, and they sum to 1."""
    return all(value >= 0 for value in values) and math.isclose(sum(values), 1, abs_tol=1e-6)


@dataclass(frozen=True)
class PackSettings:
    """How photographs become a training pack (HDF5)."""

    short_side: int = 128
    """Photos are shrunk to this short side, in pixels; smaller ones are kept as they are."""
    min_side: int = 32
    """Photos with a side below this, in pixels, are dropped."""
    min_chroma: float = 4.0
    """Photos whose mean chroma (CIELAB) is below this are dropped as near-grey."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of train, val and test; the content hash of a photo decides where it goes."""
    quality: int = 95
    """JPEG quality (4:4:4) of photos that had to be re-encoded; 100 stores lossless PNG."""
    jobs: int = 0
    """Decoding threads; 0 takes one per core."""
    max_pixels: int = 300_000_000
    """Photos with more pixels than this are counted as broken."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.short_side < 8 or self.min_side < 1:
            raise ValueError(
                f"short_side must be at least 8 and min_side at least 1, "
                f"got {self.short_side} and {self.min_side}"
            )
        if not _are_shares(self.fractions):
            raise ValueError(
                f"fractions must be three shares that sum to 1 (as 0.8 0.1 0.1), "
                f"got {self.fractions}"
            )
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must lie in 1..100, got {self.quality}")


@dataclass(frozen=True)
class PriorSettings:
    """How the colours of training photographs are counted into a prior."""

    bins: int = 18
    """Cells along each side of the ab grid."""
    range: tuple[float, float] = (-110.0, 110.0)
    """Lowest and highest ab of the grid."""
    size: int = 0
    """Short side, in pixels, that photos are shrunk to before counting; 0 keeps their own."""
    stride: int = 4
    """ab is averaged over stride x stride pixels before binning, as the targets are."""
    smoothing: float = 0.5
    """Sigma of the Gaussian that smooths p for the `zhang` weights, in cells."""
    floor: float = 1e-5
    """Added to every in-gamut p before renormalising, so that -log p stays bounded."""
    mixing: float = 0.5
    """lambda of the `zhang` weights: the share of the uniform distribution."""
    jobs: int = 0
    """Counting threads; 0 takes one per core."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        low, high = self.range
        if self.bins < 2 or not low < high or not math.isfinite(high - low):
            raise ValueError(
                "the grid needs at least 2 bins and finite low < high, "
                f"got {self.bins} and {self.range}"
            )
        if self.stride < 1 or self.size < 0 or self.smoothing < 0 or self.floor <= 0:
            raise ValueError(
                "stride must be at least 1, size and smoothing at least 0, floor above 0; got "
                f"stride={self.stride} size={self.size} smoothing={self.smoothing} "
                f"floor={self.floor}"
            )
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing (lambda) must lie in [0, 1], got {self.mixing}")


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes to a training photo, drawn anew each epoch from (seed, epoch, index)."""

    scale: tuple[float, float] = (1.0, 2.0)
    """The crop's side times a factor drawn from this range is the short side the photo is shrunk
    to (never enlarged beyond its own): 1 takes the whole short side, 2 half of it."""
    flip: bool = True
    """Mirror half of the photos left to right."""
    rotation: float = 5.0
    """Largest rotation either way, in degrees."""
    shear: float = 0.03
    """Largest shear either way, as a fraction."""
    jitter: float = 0.08
    """Largest change of intensity: gain, and gain of each channel by a quarter of it."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 1.0 <= self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two numbers with 1 <= low <= high, got {self.scale}")
        if min(self.rotation, self.shear, self.jitter) < 0 or self.jitter >= 1:
            raise ValueError(
                "rotation, shear and jitter must not be negative and jitter below 1; got "
                f"{self.rotation}, {self.shear}, {self.jitter}"
            )


@dataclass(frozen=True)
class TrainSettings:
    """One training run. Everything that decides its result stands here."""

    photos: int = 400_000
    """Photos to be seen in all; the learning-rate schedule ends there."""
    batch: int = 64
    """Photos a step, over all processes."""
    accumulate: int = 1
    """Steps of this many equal parts, their gradients added, where a batch does not fit."""
    crops: tuple[int, ...] = (64, 96, 128)
    """Crop sides in pixels (multiples of 8), one after the other."""
    shares: tuple[float, ...] = (0.75, 0.18, 0.07)
    """Share of `photos` that each crop side gets."""
    width: float = 0.5
    """Channels of the network as a share of the paper's."""
    targets: Literal["soft", "hard"] = "soft"
    """Soft targets over the nearest cells, or one-hot."""
    rebalancing: Rebalancing = "neglog"
    """Weights of the colours in the loss."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW, Adam (coupled decay) or SGD with momentum 0.9."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-3
    """Weight decay of the convolutions (norms and biases have none)."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """Warm-up then cosine to `lr_floor`, or halving when the monitored loss stops falling."""
    warmup: float = 0.02
    """Share of the run in which the learning rate rises linearly."""
    lr_floor: float = 1e-5
    """Lowest learning rate."""
    patience: int = 3
    """`plateau`: epochs without improvement before the learning rate is halved."""
    ema: float = 0.998
    """Decay of the running mean of the weights that is validated and shipped; 0 turns it off."""
    clip: float = 5.0
    """Largest norm of the gradient; 0 turns clipping off."""
    bf16: bool = True
    """Autocast to bfloat16 with channels_last."""
    monitor: Literal["val", "train"] = "val"
    """The loss that decides which model is the best, and the plateau schedule."""
    epoch_photos: int = 0
    """Photos between two validations; 0 takes the whole training set."""
    val_photos: int = 300
    """Photos of the validation set used at each of them; 0 takes all."""
    cache: bool = False
    """Decode the whole set once into memory; otherwise photos are streamed."""
    jobs: int = 2
    """Threads that decode and augment."""
    threads: int = 0
    """Threads of torch on the CPU; 0 leaves torch's own choice."""
    seed: int = 0
    """Seed of initialisation, order and augmentation."""
    device: Device = "auto"
    """`auto` takes CUDA, then MPS, then the CPU."""
    checkpoint_minutes: float = 3.0
    """Minutes between checkpoints."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Augmentation."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, known in (
            ("targets", ("soft", "hard")),
            ("rebalancing", get_args(Rebalancing)),
            ("optimizer", ("adamw", "adam", "sgd")),
            ("schedule", ("cosine", "plateau")),
            ("monitor", ("val", "train")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if len(self.crops) != len(self.shares) or not _are_shares(self.shares):
            raise ValueError(
                f"crops and shares must be equally long and the shares, none below 0, sum to 1, "
                f"got crops={self.crops} shares={self.shares}"
            )
        if any(crop < 8 or crop % 8 for crop in self.crops):
            raise ValueError(f"crops must be multiples of 8, got {self.crops}")
        if self.photos < 1 or self.batch < 1 or self.accumulate < 1:
            raise ValueError(
                "photos, batch and accumulate must be at least 1, got "
                f"{self.photos}, {self.batch}, {self.accumulate}"
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch ({self.batch}) must be a multiple of accumulate ({self.accumulate})"
            )
        if not 0 <= self.ema < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"ema and warmup must lie in [0, 1), got {self.ema} and {self.warmup}")
        if self.width <= 0 or self.lr <= 0 or self.lr_floor < 0:
            raise ValueError(
                "width and lr must be above 0 and lr_floor at least 0, got "
                f"{self.width}, {self.lr}, {self.lr_floor}"
            )
