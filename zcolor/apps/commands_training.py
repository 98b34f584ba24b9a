"""The commands that make a model, one dataclass each; see `zcolor.apps.commands`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zcolor.apps.command_parts import Engine, Sources, check_engine
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.settings import PackSettings, PriorSettings, TrainSettings


@dataclass(frozen=True)
class Train:
    """Train a colorizer on photographs.

    example: zcolor train photos.h5 --out runs/first
    """

    data: Sources
    """Packs (.h5; their train split), or images: folders, globs, lists, zip archives."""
    out: Path
    """The run's folder."""
    val: tuple[str, ...] = ()
    """Packs or images to validate on; without them the val split of the pack."""
    priors: Path | None = None
    """Priors made by `zcolor priors`; without them they are counted first."""
    init: str | None = None
    """A finished model (name or checkpoint) to begin with, in place of random weights."""
    teacher: str | None = None
    """A finished classifier (name or checkpoint) to learn from beside the true colours."""
    resume: bool = False
    """Go on exactly where the last leg ended."""
    minutes: float | None = None
    """End this leg cleanly after so many minutes."""
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(
        default_factory=TrainSettings
    )
    """Everything that decides the result."""


@dataclass(frozen=True)
class Pretrain:
    """Teach a network of timm the folder names of grey photographs, as an extractor for `fusion`.

    example: zcolor pretrain photos.h5 --extractor resnet18 --out extractor.safetensors
    """

    data: Sources
    """Packs (.h5; their train split), or images in folders, lists or zip archives."""
    out: Path
    """The extractor to write (.safetensors)."""
    overwrite: bool = False
    """Replace it if it exists."""
    minutes: float | None = None
    """End this leg cleanly after so many minutes; the same command goes on."""
    settings: Annotated[PretrainSettings, tyro.conf.arg(name="")] = field(
        default_factory=PretrainSettings
    )
    """Everything that decides the result."""


@dataclass(frozen=True)
class Pack:
    """Pack photographs for training into one HDF5 file.

    example: zcolor pack ~/Pictures --out photos.h5
    """

    sources: Sources
    """Folders, images, globs (in quotes), zip archives or .txt lists of photographs."""
    out: Path
    """The pack to write (.h5); dropped photos are listed in a .report.txt beside it."""
    overwrite: bool = False
    """Replace the pack if it exists."""
    settings: Annotated[PackSettings, tyro.conf.arg(name="")] = field(default_factory=PackSettings)
    """How photographs become a pack."""
    engine: Engine = "local"
    """`local`, or `ray`: the machines of a Ray cluster, with the same results."""
    address: str | None = None
    """Of the cluster, HOST:PORT; without it --engine ray takes the cores of this computer."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        check_engine(self.engine, self.address)


@dataclass(frozen=True)
class Priors:
    """Count the colours of photographs into the prior of every cell of the ab grid.

    example: zcolor priors photos.h5 --out priors.h5 --plot priors.png
    """

    data: Sources
    """Packs (.h5), folders, images, globs, .txt lists or zip archives."""
    out: Path
    """The HDF5 file to write."""
    plot: Path | None = None
    """A PNG file for a picture of the priors."""
    split: Literal["train", "val", "test", "all"] = "train"
    """The split of packs to count; images outside packs are always counted."""
    settings: Annotated[PriorSettings, tyro.conf.arg(name="")] = field(
        default_factory=PriorSettings
    )
    """How to count."""
    engine: Engine = "local"
    """`local`, or `ray`: the machines of a Ray cluster, with the same results."""
    address: str | None = None
    """Of the cluster, HOST:PORT; without it --engine ray takes the cores of this computer."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        check_engine(self.engine, self.address)
