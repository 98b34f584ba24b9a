"""How models are made: settings of packing, counting priors, augmentation and training.

Imports no torch, so that the command line starts at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from zcolor.settings import Device
from zcolor.training.film_settings import FilmSettings
from zcolor.training.setting_checks import are_shares, check_not_negative

__all__ = [
    "AugmentSettings",
    "FilmSettings",
    "PackSettings",
    "PriorSettings",
    "Rebalancing",
    "TrainSettings",
]

Rebalancing = Literal["neglog", "zhang", "none"]


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
        if not are_shares(self.fractions):
            raise ValueError(
                f"fractions must be three shares that sum to 1 (as 0.8 0.1 0.1), "
                f"got {self.fractions}"
            )
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must lie in 1..100, got {self.quality}")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {self.max_pixels}")
        check_not_negative(self, "min_chroma", "jobs")


@dataclass(frozen=True)
class PriorSettings:
    """How the colours of training photographs are counted into a prior."""

    bins: int = 18
    """Cells along each side of the ab grid."""
    range: tuple[float, float] = (-110.0, 110.0)
    """Lowest and highest ab of the grid."""
    size: int = 128
    """Short side, in pixels, that photos are shrunk to before counting, as packing them does; 0
    keeps their own."""
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
        check_not_negative(self, "smoothing", "floor", "jobs")


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes to a training photo, drawn anew each epoch from (seed, epoch, index)."""

    scaled: float = 0.3
    """Share of the photos that are scaled; the others have the size they are coloured at."""
    scale: tuple[float, float] = (0.7, 2.0)
    """Range of that scale, drawn with equal weight at every ratio: 1 brings the short side to the
    working size, below 1 shows more of the photo, above 1 enlarges it."""
    flip: bool = True
    """Mirror half of the photos left to right; `--augment.no-flip` mirrors none."""
    rotation: float = 5.0
    """Largest rotation either way, in degrees."""
    shear: float = 0.03
    """Largest shear either way, as a fraction."""
    jitter: float = 0.08
    """Largest change of intensity: gain, and gain of each channel by a quarter of it."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0.0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two numbers with 0 < low <= high, got {self.scale}")
        if not 0 <= self.scaled <= 1:
            raise ValueError(f"scaled must be a share in [0, 1], got {self.scaled}")
        if min(self.rotation, self.shear, self.jitter) < 0 or self.jitter >= 1:
            raise ValueError(
                "rotation, shear and jitter must not be negative and jitter below 1; got "
                f"{self.rotation}, {self.shear}, {self.jitter}"
            )
        check_not_negative(self, "rotation", "shear", "jitter")  # NaN too
        if math.isinf(self.scale[1]):
            raise ValueError(f"scale must be finite, got {self.scale}")


@dataclass(frozen=True)
class TrainSettings:
    """One training run. Everything that decides its result stands here."""

    model: str = "zhang"
    """The family of networks, as `zcolor models` lists them."""
    options: tuple[str, ...] = ()
    """What the family alone knows, as NAME=VALUE words; docs/recipes tells which."""
    photos: int = 400_000
    """Photos to be seen in all; the learning-rate schedule ends there."""
    batch: int = 64
    """Photos a step, over all processes; families of films make a clip over each."""
    accumulate: int = 1
    """Steps of this many equal parts, their gradients added, where a batch does not fit."""
    crops: tuple[int, ...] = (64, 96, 128)
    """Crop sides in pixels (multiples of 8), one after the other."""
    shares: tuple[float, ...] = (0.75, 0.18, 0.07)
    """Share of `photos` that each crop side gets."""
    working_size: int = 128
    """Side of the square whose area photos are brought to when they are coloured; crops are cut
    from photos of this short side."""
    width: float = 0.5
    """Channels of the network as a share of the paper's."""
    targets: Literal["soft", "hard"] = "soft"
    """Soft targets over the nearest cells, or one-hot."""
    rebalancing: Rebalancing = "neglog"
    """Weights of the colours in the loss."""
    teacher_share: float = 0.5
    """With a teacher: the share of the loss that follows its answer to the clean photograph, in
    (0, 1]; the true colours keep the rest."""
    optimizer: Literal["muon", "adamw", "adam", "sgd"] = "muon"
    """Muon for the convolutions, AdamW, Adam (coupled decay), or SGD with momentum 0.9."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2
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
    """bfloat16 with channels_last where the device computes in it, else float32; `--no-bf16` takes
    float32 everywhere."""
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
    film: FilmSettings = field(default_factory=FilmSettings)
    """Old film: the share of the crops that are aged, and how."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, known in (
            ("targets", ("soft", "hard")),
            ("rebalancing", get_args(Rebalancing)),
            ("optimizer", ("muon", "adamw", "adam", "sgd")),
            ("schedule", ("cosine", "plateau")),
            ("monitor", ("val", "train")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if len(self.crops) != len(self.shares) or not are_shares(self.shares):
            raise ValueError(
                f"crops and shares must be equally long and the shares, none below 0, sum to 1, "
                f"got crops={self.crops} shares={self.shares}"
            )
        if any(crop < 8 or crop % 8 for crop in self.crops):
            raise ValueError(f"crops must be multiples of 8, got {self.crops}")
        if self.working_size < 8:
            raise ValueError(f"working_size must be at least 8, got {self.working_size}")
        if self.photos < 1 or self.batch < 1 or self.accumulate < 1:
            raise ValueError(
                "photos, batch and accumulate must be at least 1, got "
                f"{self.photos}, {self.batch}, {self.accumulate}"
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch ({self.batch}) must be a multiple of accumulate ({self.accumulate})"
            )
        if not 0 < self.teacher_share <= 1:
            raise ValueError(f"teacher_share must lie in (0, 1], got {self.teacher_share}")
        if not 0 <= self.ema < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"ema and warmup must lie in [0, 1), got {self.ema} and {self.warmup}")
        if self.width <= 0 or self.lr <= 0 or self.lr_floor < 0:
            raise ValueError(
                "width and lr must be above 0 and lr_floor at least 0, got "
                f"{self.width}, {self.lr}, {self.lr_floor}"
            )
        # Negative values are not all without effect: a norm clipped to -1 turns the gradient round.
        check_not_negative(
            self, "width", "lr", "lr_floor", "weight_decay", "clip", "patience", "epoch_photos",
            "val_photos", "jobs", "threads", "seed", "checkpoint_minutes",
        )  # fmt: skip
        if self.lr_floor > self.lr:
            raise ValueError(
                f"lr_floor must not lie above lr, or the rate would rise, got {self.lr_floor} and "
                f"{self.lr}; lower lr_floor too"
            )
