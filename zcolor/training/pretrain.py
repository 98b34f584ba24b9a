"""Pretrain an extractor: a classification network that learns the labels of grey photographs.

Where ImageNet's weights cannot be had, this makes what `zcolor.models.extractor.Extractor` loads.
Until it is done the whole state stands in `OUT.part`, and the same call goes on from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from zcolor.atomic import locked
from zcolor.checkpoint import write_checkpoint
from zcolor.lab import rgb_to_lightness
from zcolor.models.extractor import EXTRACTOR_KIND, Extractor
from zcolor.precision import fast_precision
from zcolor.registry import pick_device
from zcolor.training.augment import Augmenter
from zcolor.training.dataset import open_photos, part_hashes
from zcolor.training.labelled import LabelledPhotos, labels_of, part_by_label
from zcolor.training.loader import BatchLoader, epoch_order
from zcolor.training.optimizers import make_optimizers
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.schedule import Schedule
from zcolor.training.settings import AugmentSettings, TrainSettings
from zcolor.training.signals import noted_signals
from zcolor.training.state import has_state, previous_of, read_state, write_state

logger = logging.getLogger(__name__)

Sources = Sequence[str | os.PathLike[str]]
# Share of the truth that is spread over all classes (Szegedy et al. 2016, section 7).
_LABEL_SMOOTHING = 0.1
# Steps between two looks at the loss, and minutes between two saved states.
_LOOK_STEPS = 20
_SAVE_MINUTES = 3.0
# What measuring sees: a crop that is not changed.
_PLAIN = AugmentSettings(scaled=0, flip=False, rotation=0, shear=0, jitter=0)


@dataclass(frozen=True)
class PretrainResult:
    """How a leg of pretraining ended."""

    reason: Literal["done", "minutes", "interrupted"]
    """`done`: all photos seen; `minutes`: the leg's time is spent; `interrupted`: by a signal."""
    seen: int
    """Photos seen, over all legs."""
    path: Path
    """The extractor if done, otherwise the state that the same call goes on from."""
    n_labels: int
    """Classes."""
    n_held_out: int
    """Photos that were not learnt from."""
    accuracy: float
    """Share of those whose label is the most probable one; NaN unless done."""
    losses: tuple[float, ...]
    """The loss of every step of this leg."""


def pretrain(
    settings: PretrainSettings,
    data: Sources,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    minutes: float | None = None,
    progress: bool = True,
    command: str = "",
) -> PretrainResult:
    """Train a network of timm to name the folders of photographs seen in grey.

    Parameters
    ----------
    settings
        Everything that decides the result.
    data
        Packs (their `train` split) or images in folders, lists or zip archives.
    out
        The extractor to write (.safetensors). If `out`.part is there, it is gone on from.
    overwrite
        Replace `out` if it exists.
    minutes
        End this leg after so many minutes; None goes on to the end.
    progress
        Show a progress bar.
    command
        What was typed, for the record.

    Returns
    -------
    How it ended and what came of it.

    Raises
    ------
    FileExistsError
        If `out` exists and `overwrite` is not set.
    ValueError
        If there are not two labels to tell apart, the network is unknown or cannot see photos of
        that size, or `out`.part is of another call.
    InUseError
        If another process pretrains into `out`.
    RuntimeError
        If the loss became NaN.
    """
    path = Path(out)
    if path.suffix != ".safetensors":
        raise ValueError(f"an extractor is written as .safetensors, got {path}")
    _check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(path.name + ".lock"), str(path)):
        _check_free(path, overwrite=overwrite)  # another process may just have ended
        work = _Pretraining(settings, data, path, command, progress=progress)
        return work.run(minutes, overwrite=overwrite)


def _check_free(path: Path, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name, or overwrite it")


class _Pretraining:
    """One leg: everything that `pretrain` needs, by name."""

    def __init__(
        self, settings: PretrainSettings, data: Sources, path: Path, command: str, *, progress: bool
    ) -> None:
        s = self.settings = settings
        self.path, self.command, self.progress = path, command, progress
        self.state = path.with_name(path.name + ".part")
        photos = open_photos(data, "train")
        self.labels, self.learnt, self.held = part_by_label(
            photos, held_out=s.held_out, min_photos=s.min_photos, seed=s.seed
        )
        self.data_hash = photos.data_hash
        # Which photo is held out depends on their order and on the label of each.
        self.order = list(part_hashes(photos))
        names = "\n".join(labels_of(photos)).encode("utf-8", "surrogateescape")
        self.label_of_each = hashlib.sha256(names).hexdigest()
        self.device = pick_device(s.device)
        torch.manual_seed(s.seed)
        extractor = Extractor(s.extractor, classes=len(self.labels), size=s.size)
        self.extractor = extractor.to(self.device)
        self.net: nn.Module = extractor.network.requires_grad_(requires_grad=True)
        usual = TrainSettings(
            photos=s.photos,
            batch=s.batch,
            crops=(s.size,),
            shares=(1.0,),
            working_size=s.size,
            optimizer="adamw",
            lr=s.lr,
            weight_decay=s.weight_decay,
            warmup=0.05,
            lr_floor=min(s.lr, 1e-5),
        )
        self.schedule = Schedule(usual)
        self.optimizers = make_optimizers(self.net, usual)
        self.seen = 0
        self.spent_s = 0.0  # over all legs
        self.losses: list[float] = []
        if has_state(self.state):
            self._resume()

    def run(self, minutes: float | None, *, overwrite: bool = False) -> PretrainResult:
        """Train until the photos, the minutes or the user's patience are spent."""
        s = self.settings
        start, earlier = time.monotonic(), self.spent_s
        saved = start
        recent: list[Tensor] = []
        reason: Literal["done", "minutes", "interrupted"] = "done"
        bar = tqdm(
            total=s.photos,
            initial=self.seen,
            unit="photo",
            desc="pretrain",
            disable=not self.progress,
        )
        batches = closing(self._batches(self.learnt, AugmentSettings(), self.seen))
        with noted_signals() as stop, bar, batches as steps:
            while self.seen < s.photos:
                lightness, classes, end = next(steps)
                recent.append(self._learn(lightness, classes))
                bar.update(min(end, s.photos) - self.seen)
                self.seen = min(end, s.photos)
                self.spent_s = earlier + time.monotonic() - start
                if len(recent) == _LOOK_STEPS or self.seen == s.photos:
                    self._look(recent, bar)
                if stop or (minutes is not None and time.monotonic() - start > 60 * minutes):
                    reason = "interrupted" if stop else "minutes"
                    break
                if time.monotonic() - saved > 60 * _SAVE_MINUTES:
                    self._save(recent, bar)
                    saved = time.monotonic()
        self._save(recent, bar)
        if self.seen < s.photos:
            return self._result(reason, self.state, math.nan)
        accuracy = self._measure()
        _check_free(self.path, overwrite=overwrite)  # hours have passed
        self._write(accuracy)
        return self._result("done", self.path, accuracy)

    def _result(
        self, reason: Literal["done", "minutes", "interrupted"], path: Path, accuracy: float
    ) -> PretrainResult:
        return PretrainResult(
            reason,
            self.seen,
            path,
            len(self.labels),
            len(self.held),
            accuracy,
            tuple(self.losses),
        )

    def _batches(
        self, photos: LabelledPhotos, augment: AugmentSettings, seen: int
    ) -> Generator[tuple[Tensor, Tensor, int], None, None]:
        """Yield lightness, classes and the photos seen after each batch, without end."""
        s, n = self.settings, len(photos)
        augmenter = Augmenter(augment, s.seed, s.size)
        loader = BatchLoader(photos, augmenter, batch=s.batch, jobs=s.jobs, seed=s.seed)
        order = lru_cache(maxsize=2)(lambda epoch: epoch_order(n, s.seed, epoch))
        with closing(loader.batches(seen, lambda _: s.size)) as batches:
            for batch in batches:
                numbers = range(batch.end - s.batch, batch.end)
                places = [int(order(number // n)[number % n]) for number in numbers]
                rgb = batch.target.to(self.device).float() / 255
                classes = torch.from_numpy(photos.classes[places]).to(self.device)
                yield rgb_to_lightness(rgb), classes, batch.end

    def _learn(self, lightness: Tensor, classes: Tensor) -> Tensor:
        """Take one step; returns the loss."""
        lr = self.schedule.lr(self.seen)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        self.net.train()
        self.net.zero_grad(set_to_none=True)
        pictures = self.extractor.prepare(lightness)
        with fast_precision(self.device):
            logits = self.net(pictures)
        loss = F.cross_entropy(logits.float(), classes, label_smoothing=_LABEL_SMOOTHING)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def _look(self, recent: list[Tensor], bar: tqdm[Any]) -> None:
        """Read the losses of the last steps; stop at a NaN before anything is saved."""
        if not recent:
            return
        values = torch.stack(recent).tolist()
        recent.clear()
        if not all(map(math.isfinite, values)):
            good = f"go on from {self.state}" if self.state.exists() else "nothing was saved"
            raise RuntimeError(
                f"the loss became NaN or infinite near photo {self.seen:,}; {good}, with a lower "
                "lr in a new file"
            )
        self.losses += values
        bar.set_postfix(loss=f"{sum(values) / len(values):.3f}", refresh=False)

    @torch.inference_mode()
    def _measure(self) -> float:
        """The share of the photos held out whose label is found."""
        self.net.eval()
        right = seen = 0
        with closing(self._batches(self.held, _PLAIN, 0)) as batches:
            while seen < len(self.held):
                lightness, classes, seen = next(batches)
                with fast_precision(self.device):
                    answer = self.extractor(lightness).argmax(dim=1)
                # The last batch goes on into the next round.
                of_this_round = len(classes) - max(0, seen - len(self.held))
                right += int((answer == classes)[:of_this_round].sum())
        return right / len(self.held)

    def _write(self, accuracy: float) -> None:
        s = self.settings
        header = {
            "kind": EXTRACTOR_KIND,
            "extractor": s.extractor,
            "classes": len(self.labels),
            "size": s.size,
            "labels": self.labels,
            "accuracy": round(accuracy, 4),
            "provenance": {
                "settings": dataclasses.asdict(s),
                "data_hash": self.data_hash,
                "n_photos": len(self.learnt),
                "n_held_out": len(self.held),
                "seen": self.seen,
                "hours": round(self.spent_s / 3600, 3),
                "command": self.command,
                "torch": torch.__version__,
            },
        }
        write_checkpoint(self.path, self.net.state_dict(), header)
        for state in (self.state, previous_of(self.state)):
            state.unlink(missing_ok=True)

    def _settings(self) -> dict[str, Any]:
        """What must be equal when a state is gone on from, in JSON's own types."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self.settings)))
        del values["device"], values["jobs"]
        return values

    def _save(self, recent: list[Tensor], bar: tqdm[Any]) -> None:
        self._look(recent, bar)
        header = {
            "settings": self._settings(),
            "data_hash": self.data_hash,
            "labels": self.labels,
            "order": self.order,
            "label_of_each": self.label_of_each,
            "seen": self.seen,
            "spent_s": self.spent_s,
        }
        write_state(self.state, self.net, None, self.optimizers, header)

    def _resume(self) -> None:
        header = read_state(
            self.state, self.net, None, self.optimizers, check=self._check_same_call
        )
        self.seen, self.spent_s = int(header["seen"]), float(header["spent_s"])
        logger.info("going on from %s: %d photos seen", self.state, self.seen)

    def _check_same_call(self, header: dict[str, Any]) -> None:
        """Refuse the state of a call with other settings or photographs, or another order."""
        same = {"settings": self._settings(), "data_hash": self.data_hash, "labels": self.labels}
        changed = [name for name, value in same.items() if header.get(name) != value]
        # States of earlier versions do not tell these.
        later = {"order": self.order, "label_of_each": self.label_of_each}
        changed += [name for name, value in later.items() if header.get(name, value) != value]
        if changed:
            raise ValueError(
                f"{self.state} was begun with other {' and '.join(changed)}; give the same call "
                f"again to go on, or delete that file and {previous_of(self.state).name} to begin "
                "anew"
            )
