"""Put the parts of a training run together: priors, photographs, loaders, network."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from zcolor.models.base import ColorNet
from zcolor.models.classifier import Classifier
from zcolor.precision import computes_in_bfloat16
from zcolor.registry import find_family, load_model
from zcolor.training.augment import Augmenter, Degradation
from zcolor.training.dataset import Photos, content_hashes, open_photos
from zcolor.training.distributed import Crew
from zcolor.training.film import Film
from zcolor.training.loader import BatchLoader
from zcolor.training.packfile import PACK_SUFFIXES, PackedPhotos
from zcolor.training.priors import (
    Priors,
    build_priors,
    read_priors,
    rebalancing_weights,
    write_priors,
)
from zcolor.training.run_folder import RunFolder
from zcolor.training.settings import PriorSettings, TrainSettings
from zcolor.training.state import has_state

logger = logging.getLogger(__name__)

Sources = Sequence[str | os.PathLike[str]]


def priors_of(
    data: Sources,
    path: str | os.PathLike[str] | None,
    model: str,
    folder: RunFolder,
    crew: Crew,
    *,
    data_hash: str,
    progress: bool,
) -> Priors | None:
    """Read the priors of the training photographs, or count them into the run's folder first.

    Priors that are given are copied there, so that a run goes on when they are gone. Counts that a
    run which never began left there are used if they are of these photographs (`data_hash`). None
    for a family that does not classify.
    """
    if not issubclass(find_family(model), Classifier):
        return None
    counted = folder.path / "priors.h5"
    begun = has_state(folder.state)
    if path is not None and begun and counted.exists() and not os.path.exists(path):
        return read_priors(counted)
    if path is not None:
        given = read_priors(path)
        if crew.leads and not begun and not _same_file(path, counted):
            if counted.exists():
                read_priors(counted)  # refuses to replace anything else
            write_priors(counted, given)
        return given
    if crew.leads and not (
        counted.exists() and (begun or read_priors(counted).data_hash == data_hash)
    ):
        build_priors(data, counted, PriorSettings(), progress=progress)
    crew.share(0.0)  # the other processes wait here for the file
    return read_priors(counted)


def _same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def warn_of_ignored(s: TrainSettings, priors: str | os.PathLike[str] | None) -> None:
    """Warn of what was asked for and does nothing for the family."""
    if issubclass(find_family(s.model), Classifier):
        return
    usual = TrainSettings()
    ignored = [
        f"--{name}"
        for name in ("width", "targets", "rebalancing")
        if getattr(s, name) != getattr(usual, name)
    ]
    ignored += ["--priors"] if priors is not None else []
    if ignored:
        logger.warning(
            "%s: it does not classify colours, so that %s changes nothing",
            s.model,
            " ".join(ignored),
        )


def open_val(data: Sources, val: Sources) -> Photos | None:
    """Open what was named for validation, or else the val split of the training packs.

    A pack that was made for validation alone, and so has no val split, is taken whole.

    Raises
    ------
    ValueError
        If such a pack is trained on too.
    """
    named = list(val)
    if not named:
        packs = [path for path in data if Path(path).suffix.lower() in PACK_SUFFIXES]
        named = [path for path in packs if len(PackedPhotos(path, "val"))]
        return open_photos(named, "val") if named else None
    trained_on = {Path(path).resolve() for path in data}
    for path in named:
        pack = Path(path).suffix.lower() in PACK_SUFFIXES and Path(path).resolve() in trained_on
        if pack and not len(PackedPhotos(path, "val")):
            raise ValueError(
                f"{path} has no validation photos, so that its training photos would be validated "
                "on; name others with --val, pack with a val share, or choose the best model by "
                "--monitor train"
            )
    return open_photos(named, "val or all")


def warn_of_shared(photos: Photos, val: Photos) -> None:
    """Warn of photographs that are both trained and validated on."""
    n_shared = len(content_hashes(photos) & content_hashes(val))
    if n_shared:
        logger.warning(
            "%d of %d validation photos are trained on too, so that val_loss says little of "
            "others; name others with --val, or pack with a val share",
            n_shared,
            len(val),
        )


def make_network(
    priors: Priors | None,
    s: TrainSettings,
    device: torch.device,
    init: str | os.PathLike[str] | None = None,
    *,
    begin: bool = True,
) -> ColorNet:
    """Build the network with its priors and its initial weights: from the seed, or from a model.

    Parameters
    ----------
    priors
        Those of the training photographs, for classifiers.
    s
        The family, its options, sizes and seed.
    device
        Where the network goes.
    init
        A finished model to begin with.
    begin
        Fetch what the family begins with; needless where the weights are about to be replaced.

    Raises
    ------
    ValueError
        If the model to begin with is another one than the settings and the priors ask for, or the
        family needs priors and there are none.
    """
    torch.manual_seed(s.seed)
    family = find_family(s.model)
    header: dict[str, Any] = {
        "working_size": s.working_size,
        "width": s.width,
        "targets": s.targets,
        "options": dataclasses.asdict(family.options_type.parse(s.options)),
    }
    if issubclass(family, Classifier):
        if priors is None:
            raise ValueError(f"{s.model} is trained with priors; give those of the photographs")
        header["grid"] = priors.grid.to_dict()
    net = family.from_header(header)
    if init is not None:
        _begin_with(net, init)
    elif begin:
        net.begin()
    if priors is not None and isinstance(net, Classifier):
        net.set_priors(
            torch.from_numpy(priors.p).float(),
            torch.from_numpy(priors.means),
            torch.from_numpy(rebalancing_weights(priors, s.rebalancing)),
        )
    return _laid_out(net.to(device), device, bf16=s.bf16)


def _laid_out(net: ColorNet, device: torch.device, *, bf16: bool) -> ColorNet:
    """Put the channels last, where convolutions are computed in bfloat16: fastest so."""
    if not (bf16 and computes_in_bfloat16(device)):
        return net
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _begin_with(net: ColorNet, init: str | os.PathLike[str]) -> None:
    """Take the weights of a finished model of the same build."""
    first = load_model(init)
    # How targets and presets are made may differ; the layers and their meaning may not.
    mine, theirs = net.header(), first.header()
    differ = any(mine.get(key) != theirs.get(key) for key in ("grid", "width"))
    if type(first) is not type(net) or differ or net.options.build() != first.options.build():
        raise ValueError(
            f"{init} cannot be the beginning of this run: its family, grid, width or options "
            f"differ from those of the settings and the priors ({type(first).__name__}, width "
            f"{theirs.get('width')}, options {theirs['options']})"
        )
    net.load_state_dict(first.state_dict())


def load_teacher(
    teacher: str | os.PathLike[str], net: ColorNet, device: torch.device, *, bf16: bool
) -> Classifier:
    """Load a finished model to learn from.

    Parameters
    ----------
    teacher
        Its name or checkpoint.
    net
        The network that learns.
    device
        Where the teacher goes.
    bf16
        Lay its weights out for bfloat16 where the device computes in it.

    Raises
    ------
    ValueError
        If either is no classifier, or their cells or rebalancing weights differ, so that the
        teacher's answer means something else.
    """
    master = load_model(teacher)
    if not isinstance(net, Classifier) or not isinstance(master, Classifier):
        raise ValueError(
            f"only a classifier of colour can teach another; {teacher} is a "
            f"{type(master).__name__}, what learns is a {type(net).__name__}"
        )
    if master.grid.to_dict() != net.grid.to_dict() or not torch.allclose(
        master.class_weights, net.class_weights.to(master.class_weights.device), rtol=1e-2
    ):
        raise ValueError(
            f"{teacher} cannot teach this run: its cells or its rebalancing weights are others; "
            "train with the priors and the --rebalancing that it was trained with"
        )
    master = master.to(device).eval().requires_grad_(requires_grad=False)
    _laid_out(master, device, bf16=bf16)
    return master


def make_loaders(
    photos: Photos,
    s: TrainSettings,
    crew: Crew,
    degrade: Degradation | None,
    *,
    clip_length: int = 1,
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
            clip_length=clip_length,
        )
        for part in range(s.accumulate)
    ]
