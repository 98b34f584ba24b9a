"""Put the parts of a training run together: priors, photographs, loaders, network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from zcolor.models.zhang import Zhang
from zcolor.registry import load_model
from zcolor.training.augment import Augmenter, Degradation
from zcolor.training.dataset import Photos, open_photos
from zcolor.training.distributed import Crew
from zcolor.training.film import Film
from zcolor.training.loader import BatchLoader
from zcolor.training.packfile import PACK_SUFFIXES, PackedPhotos
from zcolor.training.priors import Priors, build_priors, read_priors, rebalancing_weights
from zcolor.training.settings import PriorSettings, TrainSettings

Sources = Sequence[str | os.PathLike[str]]


def priors_of(
    data: Sources,
    path: str | os.PathLike[str] | None,
    folder: Path,
    crew: Crew,
    *,
    progress: bool,
) -> Priors:
    """Read the priors of the training photographs, or count them into the run's folder first."""
    if path is not None:
        return read_priors(path)
    counted = folder / "priors.h5"
    if not counted.exists() and crew.leads:
        build_priors(data, counted, PriorSettings(), progress=progress)
    crew.share(0.0)  # the other processes wait here for the file
    return read_priors(counted)


def open_val(data: Sources, val: Sources) -> Photos | None:
    """Open what was named for validation, or else the val split of the training packs.

    A pack that was made for validation alone, and so has no val split, is taken whole.
    """
    named = list(val)
    if not named:
        packs = [path for path in data if Path(path).suffix.lower() in PACK_SUFFIXES]
        named = [path for path in packs if len(PackedPhotos(path, "val"))]
        return open_photos(named, "val") if named else None
    split = any(
        Path(path).suffix.lower() in PACK_SUFFIXES and len(PackedPhotos(path, "val"))
        for path in named
    )
    return open_photos(named, "val" if split else "all")


def make_network(
    priors: Priors,
    s: TrainSettings,
    device: torch.device,
    init: str | os.PathLike[str] | None = None,
) -> Zhang:
    """Build the network with its priors and its initial weights: from the seed, or from a model.

    Raises
    ------
    ValueError
        If the model to begin with has another grid or width.
    """
    torch.manual_seed(s.seed)
    net = Zhang(priors.grid, width=s.width, targets=s.targets, working_size=s.working_size)
    if init is not None:
        first = load_model(init)
        same = isinstance(first, Zhang) and first.grid.to_dict() == net.grid.to_dict()
        if not same or first.width != s.width:
            raise ValueError(
                f"{init} cannot be the beginning of this run: its family, grid or width differ "
                f"from those of the settings (width {s.width}) and the priors"
            )
        net.load_state_dict(first.state_dict())
    net.set_priors(
        torch.from_numpy(priors.p).float(),
        torch.from_numpy(priors.means),
        torch.from_numpy(rebalancing_weights(priors, s.rebalancing)),
    )
    net = net.to(device)
    # Convolutions in bfloat16 are fastest with the channels last.
    return net.to(memory_format=torch.channels_last) if s.bf16 else net  # type: ignore[call-overload]


def make_loaders(
    photos: Photos, s: TrainSettings, crew: Crew, degrade: Degradation | None
) -> list[BatchLoader]:
    """Make one loader for each part of this process's share of a batch."""
    if degrade is None and s.film.share:
        degrade = Film(s.film)
    augmenter = Augmenter(s.augment, s.seed, s.working_size, degrade)
    return [
        BatchLoader(
            photos,
            augmenter,
            batch=s.batch,
            part=crew.rank * s.accumulate + part,
            parts=s.accumulate * crew.size,
            jobs=s.jobs,
            seed=s.seed,
        )
        for part in range(s.accumulate)
    ]
