"""How an extractor is pretrained on labelled photographs; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from zcolor.settings import Device
from zcolor.training.setting_checks import check_not_negative


@dataclass(frozen=True)
class PretrainSettings:
    """One pretraining: a classification network of timm on the labels of photographs."""

    extractor: str = "resnet18"
    """The network, as `timm.list_models()` lists it."""
    photos: int = 300_000
    """Photos to be seen in all; the learning-rate schedule ends there."""
    batch: int = 64
    """Photos a step."""
    lr: float = 1e-3
    """Peak learning rate, of AdamW."""
    weight_decay: float = 0.05
    """Weight decay (norms and biases have none)."""
    size: int = 64
    """Side in pixels of the squares that the network learns on, a multiple of 8; it will look at
    photographs at that size."""
    held_out: float = 0.05
    """Share of the photos of every label that is not learnt from but measured on."""
    min_photos: int = 20
    """Labels with fewer photos than this are left out."""
    jobs: int = 2
    """Threads that decode and augment."""
    seed: int = 0
    """Seed of initialisation, split, order and augmentation."""
    device: Device = "auto"
    """`auto` takes CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.photos < 1 or self.batch < 2:
            raise ValueError(
                f"photos must be at least 1 and batch at least 2, got {self.photos} and "
                f"{self.batch}"
            )
        if self.lr <= 0 or self.weight_decay < 0:
            raise ValueError(
                "lr must be above 0 and weight_decay not negative, got "
                f"{self.lr} and {self.weight_decay}"
            )
        if self.size < 8 or self.size % 8:
            raise ValueError(f"size must be a multiple of 8, got {self.size}")
        if not 0 < self.held_out < 1 or self.min_photos < 2:
            raise ValueError(
                "held_out must lie between 0 and 1 and min_photos be at least 2, got "
                f"{self.held_out} and {self.min_photos}"
            )
        check_not_negative(self, "lr", "weight_decay", "jobs", "seed")
