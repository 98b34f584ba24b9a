"""The training runs of the faces study: its settings, its photographs, and one run after the other.

What is finished is kept: asked for again, a run is read, or goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from studies.report import PAGES
from zcolor.atomic import whole_file
from zcolor.checkpoint import read_header
from zcolor.models.regressor import Regressor
from zcolor.registry import load_model
from zcolor.settings import Device
from zcolor.training.loop import train
from zcolor.training.settings import AugmentSettings, TrainSettings
from zcolor.training.sources import find_photos

PUBLISHED_SCALE = 255.0
"""Published errors are of a and b divided by this."""
# Every photo that is not taken as it is, is enlarged by up to a quarter and cropped.
_AUGMENT = AugmentSettings(scaled=0.9, scale=(1.0, 1.25), rotation=0.0, shear=0.0, jitter=0.0)


@dataclass(frozen=True)
class Subject:
    """A family of networks in this study."""

    side: int
    """Side in pixels that photos and crops have."""
    activations: tuple[str, ...]
    """What the grid goes over."""
    options: tuple[str, ...] = ()
    """Further options of the family."""


SUBJECTS = {
    "mean-chroma": Subject(128, ("relu", "tanh"), ("net=cnn2", "scale=255")),
    "autoencoder": Subject(64, ("relu", "sigmoid", "tanh")),
}
"""By name in the registry; every one a `Regressor` with the option `activation`."""


@dataclass(frozen=True)
class FacesStudy:
    """The faces study: grid search, and transfer to the Natural-Color Dataset."""

    faces: tyro.conf.Positional[Path]
    """Zip archive of portraits, a folder a person."""
    ncd: tyro.conf.Positional[Path]
    """Zip archive of the Natural-Color Dataset."""
    runs: Path = Path("runs/faces")
    """Folder of the training runs, and of the photos as they were split."""
    out: Path = PAGES
    """Folder of the page."""
    epochs: tuple[int, ...] = (1, 3, 5)
    """Lengths to try: passes over the enlarged training set."""
    rates: tuple[float, ...] = (1e-3, 1e-4, 1e-5)
    """Learning rates to try."""
    enlarge: int = 10
    """Crops of each training photo in an epoch."""
    transfer_epochs: int = 3
    """Length of the transfer runs."""
    transfer_rate: float = 1e-3
    """Learning rate of the transfer runs."""
    batch: int = 32
    """Photos a step."""
    device: Device = "auto"
    """Where the networks are trained."""
    seed: int = 0
    """Seed of the splits, the networks and the crops."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        lengths = (*self.epochs, self.transfer_epochs, self.enlarge)
        if not self.epochs or not self.rates or min(lengths) < 1:
            raise ValueError(
                "epochs, transfer_epochs and enlarge must be at least 1 and rates not empty, got "
                f"{self.epochs}, {self.transfer_epochs}, {self.enlarge} and {self.rates}"
            )


@dataclass(frozen=True)
class Fit:
    """A finished training run."""

    best: Path
    """The weights of its best validation."""
    curve: dict[int, float]
    """Validation MSE of ab / 255, the mean of a and b, by epochs."""

    @property
    def best_epoch(self) -> int:
        """The epoch of the weights."""
        return min(self.curve, key=self.curve.__getitem__)


# ---- photographs -----------------------------------------------------------------------------


def split_names(names: Sequence[str], groups: Sequence[str], *, seed: int) -> dict[str, list[str]]:
    """Share names out 80:10:10, those of one group together.

    Returns
    -------
    Names by `train`, `val` and `test`.

    Raises
    ------
    ValueError
        If there are fewer than three groups.

    Examples
    --------
    >>> names = [f"{person}{i}" for person in "abcdefghij" for i in range(2)]
    >>> parts = split_names(names, [name[0] for name in names], seed=0)
    >>> [len(part) for part in parts.values()]
    [16, 2, 2]
    """
    known = sorted(set(groups))
    if len(known) < 3:
        raise ValueError(f"a split needs at least 3 groups of photos, got {len(known)}")
    order = [known[i] for i in np.random.default_rng(seed).permutation(len(known))]
    n = max(1, round(0.1 * len(known)))
    part_of = dict.fromkeys(order, "train")
    part_of |= dict.fromkeys(order[-2 * n : -n], "val") | dict.fromkeys(order[-n:], "test")
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name, group in zip(names, groups, strict=True):
        parts[part_of[group]].append(name)
    return parts


def unpack(archive: Path, folder: Path, *, by_label: bool, seed: int) -> dict[str, Path]:
    """Write the photos of an archive into a folder for each split, as training takes them.

    Parameters
    ----------
    archive
        A zip archive.
    folder
        Made, with `train`, `val` and `test` in it; used again where it was made from the same.
    by_label
        Keep the photos of one folder of the archive, such as those of a person, together.
    seed
        Of the split.

    Returns
    -------
    The folders by split.

    Raises
    ------
    ValueError
        If the folder was made from another archive or seed.
    """
    entries = find_photos([archive])
    names = [entry.member or "" for entry in entries]
    parts = split_names(names, [e.label if by_label else e.name for e in entries], seed=seed)
    record = folder / "split.json"
    if record.exists():
        if json.loads(record.read_text(encoding="utf-8")) != parts:
            raise ValueError(
                f"{folder} was made from other photos or another seed than {archive}; choose "
                "another folder of runs"
            )
    else:
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
        with zipfile.ZipFile(archive) as photos:
            for part, members in parts.items():
                (folder / part).mkdir(parents=True)
                for member in members:
                    name = member.replace("/", "-")
                    (folder / part / name).write_bytes(photos.read(member))
        with whole_file(record) as temporary:
            temporary.write_text(json.dumps(parts), encoding="utf-8")
    return {part: folder / part for part in parts}


# ---- training --------------------------------------------------------------------------------


def run_settings(
    study: FacesStudy, model: str, activation: str, lr: float, epochs: Sequence[int], n: int
) -> TrainSettings:
    """Make the settings of one run: a constant rate, up to the longest of the epochs.

    Parameters
    ----------
    study
        What all runs share.
    model, activation, lr
        What differs.
    epochs
        The lengths that are to be looked at; the network is validated at each of them.
    n
        Training photos.
    """
    subject = SUBJECTS[model]
    epoch = n * study.enlarge
    return TrainSettings(
        model=model,
        options=(*subject.options, f"activation={activation}"),
        photos=max(epochs) * epoch,
        batch=study.batch,
        crops=(subject.side,),
        shares=(1.0,),
        working_size=subject.side,
        optimizer="adam",
        lr=lr,
        weight_decay=1e-5,
        # A plateau that never ends: the rate is constant, so that one run stands for all lengths.
        schedule="plateau",
        patience=1_000_000,
        warmup=0.0,
        lr_floor=0.0,
        ema=0.0,
        epoch_photos=math.gcd(*epochs) * epoch,
        val_photos=0,
        cache=True,
        seed=study.seed,
        device=study.device,
        augment=_AUGMENT,
    )


def fit(
    s: TrainSettings,
    data: Mapping[str, Path],
    folder: Path,
    *,
    epoch: int,
    init: Path | None = None,
) -> Fit:
    """Train a network, or go on with it, or read what was finished.

    Parameters
    ----------
    s
        The run.
    data
        Folders of photos by split.
    folder
        Where the run is kept.
    epoch
        Photos of an epoch.
    init
        A finished model to begin with.

    Raises
    ------
    ValueError
        If the folder holds a run of other settings, or one that began from another model.
    KeyboardInterrupt
        If the training was interrupted; its state is saved.
    """
    record = folder / "fit.json"
    begun = None if init is None else read_header(init)["sha256"]
    asked = json.loads(json.dumps({**dataclasses.asdict(s), "device": "", "init": begun}))
    if record.exists():
        found = json.loads(record.read_text(encoding="utf-8"))
        if found["settings"] != asked:
            raise ValueError(
                f"{folder} holds a run of other settings; choose another folder of runs"
            )
        curve = {int(epochs): value for epochs, value in found["curve"].items()}
        return Fit(folder / "best.safetensors", curve)
    resume = (folder / "last.safetensors").exists()
    result = train(
        s, [data["train"]], folder, val=[data["val"]], init=init, resume=resume, progress=False
    )
    if result.reason != "done":
        raise KeyboardInterrupt
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    losses = [r["val_loss"] for r in records if "val_loss" in r]
    # Validations are equally far apart, and the last one ends the run.
    assert len(losses) * s.epoch_photos == s.photos
    net = load_model(result.best)
    assert isinstance(net, Regressor)
    factor = (net.scale / PUBLISHED_SCALE) ** 2
    curve = {(i + 1) * s.epoch_photos // epoch: v * factor for i, v in enumerate(losses)}
    with whole_file(record) as temporary:
        text = json.dumps({"settings": asked, "curve": curve})
        temporary.write_text(text, encoding="utf-8")
    return Fit(result.best, curve)
