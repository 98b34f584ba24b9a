"""Train a network: every step of it, from the first photo to the best checkpoint.

A run lives in one folder: `last.safetensors` (the whole state; `resume` goes on from it),
`last.safetensors.previous` (the one before, should the last be lost),
`best.safetensors` (the weights to use, float16), `settings.json`, `log.jsonl`, `curves.png`,
`sheets/`, `tensorboard/` and `priors.h5`.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from zcolor.checkpoint import read_header
from zcolor.registry import find_family, find_weights, save_model
from zcolor.training.assemble import (
    load_teacher,
    make_loaders,
    make_network,
    open_val,
    priors_of,
    warn_of_ignored,
    warn_of_shared,
)
from zcolor.training.augment import Degradation
from zcolor.training.cache import CachedPhotos
from zcolor.training.dataset import open_photos, part_hashes
from zcolor.training.distributed import Crew, join_crew
from zcolor.training.examine import examine
from zcolor.training.learner import Learner
from zcolor.training.loader import Batch
from zcolor.training.logbook import Logbook, LossWindow
from zcolor.training.record import RunRecord
from zcolor.training.run_folder import RunFolder
from zcolor.training.schedule import Schedule
from zcolor.training.settings import TrainSettings
from zcolor.training.signals import noted_signals
from zcolor.training.state import has_state, read_state, write_state

logger = logging.getLogger(__name__)

Sources = Sequence[str | os.PathLike[str]]
# Steps between two entries of the log, and between two looks for NaN.
_LOG_STEPS = 20


class TrainingDivergedError(RuntimeError):
    """The loss or the gradient became NaN or infinite."""


@dataclass(frozen=True)
class TrainResult:
    """How a leg of training ended."""

    reason: Literal["done", "minutes", "interrupted"]
    """`done`: all photos seen; `minutes`: the leg's time is spent; `interrupted`: by a signal."""
    seen: int
    """Photos seen, over all legs."""
    losses: tuple[float, ...]
    """The weighted loss of every step of this leg."""
    state: Path
    """What the next leg resumes from."""
    best: Path
    """The best weights so far; missing while nothing was validated."""


def train(
    settings: TrainSettings,
    data: Sources,
    out: str | os.PathLike[str],
    *,
    val: Sources = (),
    priors: str | os.PathLike[str] | None = None,
    init: str | os.PathLike[str] | None = None,
    teacher: str | os.PathLike[str] | None = None,
    resume: bool = False,
    minutes: float | None = None,
    degrade: Degradation | None = None,
    progress: bool = True,
    command: str = "",
) -> TrainResult:
    """Train a network on photographs, one leg at a time.

    Parameters
    ----------
    settings
        Everything that decides the result.
    data
        Packs (their `train` split) or images.
    out
        The run's folder.
    val
        Packs or images to validate on; without them the `val` split of the packs in `data`.
    priors
        The priors of the training photographs, for classifiers; without them they are counted
        first.
    init
        A finished model (a name or a checkpoint) whose weights the run begins with; without it
        they are random, or what the family begins with. Its family, grid, width and options
        must be those of the settings.
    teacher
        A finished classifier (a name or a checkpoint) whose answer to the clean photograph is
        learnt beside the true colours: by `TrainSettings.teacher_share`.
    resume
        Go on from `last.safetensors` exactly where it was written; if that is damaged, from the
        state before it. Under `torchrun`, which repeats the same call after a fault, a folder
        without a run is begun.
    minutes
        End this leg after so many minutes, with a checkpoint; None goes on to the end.
    degrade
        A change of the input alone, applied to each example in place of `settings.film`.
    progress
        Show progress bars.
    command
        What was typed, for the record.

    Returns
    -------
    How it ended and where the files are.

    Raises
    ------
    FileExistsError
        If the folder holds a run and `resume` is not set.
    FileNotFoundError
        If `resume` is set and there is no run.
    InUseError
        If another process trains into the folder.
    ValueError
        If the settings, the data or the priors do not fit together.
    TrainingDivergedError
        If the loss became NaN; the last good checkpoint is named.
    """
    folder = RunFolder(Path(out))
    resume = folder.check(resume=resume, may_begin=dist.is_torchelastic_launched())
    crew = join_crew(settings.device)
    try:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        with folder.held() if crew.leads else nullcontext():
            inputs = _Inputs(data, val, priors, init, teacher, degrade)
            trainer = _Trainer(settings, inputs, folder, crew, command, progress=progress)
            return trainer.run(resume=resume, minutes=minutes)
    finally:
        crew.close()


@dataclass(frozen=True)
class _Inputs:
    """What a run is made from, as `train` was given it."""

    data: Sources
    val: Sources
    priors: str | os.PathLike[str] | None
    init: str | os.PathLike[str] | None
    teacher: str | os.PathLike[str] | None
    degrade: Degradation | None


class _Trainer:
    """One leg of a run: everything that `train` needs, by name."""

    def __init__(
        self,
        settings: TrainSettings,
        inputs: _Inputs,
        folder: RunFolder,
        crew: Crew,
        command: str,
        *,
        progress: bool,
    ) -> None:
        find_family(settings.model).options_type.parse(settings.options)  # before anything is done
        if crew.leads:
            warn_of_ignored(settings, inputs.priors)
        self.settings, self.folder, self.crew = settings, folder, crew
        self.init, init_hash = _finished(inputs.init)
        self.teacher, teacher_hash = _finished(inputs.teacher)
        self.progress = progress and crew.leads
        photos = open_photos(inputs.data, "train")
        self.val = open_val(inputs.data, inputs.val)
        self.record = RunRecord(
            settings,
            photos.data_hash,
            len(photos),
            init_hash,
            teacher_hash,
            command,
            val_hash=None if self.val is None else self.val.data_hash,
            order=part_hashes(photos),
            earlier_order=part_hashes(photos, packs_as_sets=True),
        )
        if self.val is not None and crew.leads:
            warn_of_shared(photos, self.val)
        if settings.monitor == "val" and self.val is None:
            raise ValueError(
                "there are no validation photos: give some with --val, pack with a val share, "
                "or choose the best model by --monitor train"
            )
        self.priors = priors_of(
            inputs.data,
            inputs.priors,
            settings.model,
            folder,
            crew,
            data_hash=photos.data_hash,
            progress=self.progress,
        )
        if settings.cache:
            photos = CachedPhotos(photos, jobs=settings.jobs, progress=self.progress)
        self._build()
        self.loaders = make_loaders(
            photos, settings, crew, inputs.degrade, clip_length=self.learner.net.clip_length
        )

    def _build(self) -> None:
        """Make what learns, and its schedule."""
        s = self.settings
        begin = not has_state(self.folder.state)
        net = make_network(self.priors, s, self.crew.device, self.init, begin=begin)
        teacher = None
        if self.teacher is not None:
            teacher = load_teacher(self.teacher, net, self.crew.device, bf16=s.bf16)
        self.learner = Learner(net, s, self.crew, teacher)
        self.schedule = Schedule(s)
        self.losses: list[float] = []

    def run(self, *, resume: bool, minutes: float | None) -> TrainResult:
        """Train until the photos, the minutes or the user's patience are spent."""
        s, record = self.settings, self.record
        if resume:
            self._resume()
        if self.crew.leads:
            if not resume:
                self.folder.set_aside()
            self.logbook = Logbook(self.folder.path, seen=record.seen)
            self.folder.write_settings(s)
        start, earlier = time.monotonic(), record.spent_s
        saved = start
        epoch_photos = s.epoch_photos or record.n_photos
        streams = [loader.batches(record.seen, self.schedule.crop) for loader in self.loaders]
        reason: Literal["done", "minutes", "interrupted"] = "done"
        window = LossWindow()
        bar = tqdm(
            total=s.photos,
            initial=record.seen,
            unit="photo",
            desc="train",
            disable=not self.progress,
        )
        with noted_signals() as stop, bar:
            while record.seen < s.photos:
                before = record.seen
                window.add(self._step([next(stream) for stream in streams]))
                bar.update(record.seen - before)
                record.spent_s = earlier + time.monotonic() - start
                if record.step % _LOG_STEPS == 0:
                    self._log(window, bar)
                epoch_ends = record.seen // epoch_photos > before // epoch_photos
                if epoch_ends or record.seen >= s.photos:
                    self._log(window, bar)
                    self._epoch_end()
                # Clocks differ: all processes save, or none.
                elif self.crew.any(flag=time.monotonic() - saved > 60 * s.checkpoint_minutes):
                    self._log(window, bar)
                    self._save()
                    saved = time.monotonic()
                spent = minutes is not None and time.monotonic() - start > 60 * minutes
                if self.crew.any(flag=bool(stop) or spent):
                    reason = "interrupted" if self.crew.any(flag=bool(stop)) else "minutes"
                    break
            self._log(window, bar)
            self._save()
        for stream in streams:
            stream.close()
        if self.crew.leads:
            self.logbook.draw_curves()
            self.logbook.close()
        reason = "done" if record.seen >= s.photos else reason
        return TrainResult(
            reason, record.seen, tuple(self.losses), self.folder.state, self.folder.best
        )

    def _step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """Learn from one batch and count its photos."""
        losses = self.learner.learn(batches, self.schedule.lr(self.record.seen))
        self.record.seen = min(batches[0].end, self.settings.photos)
        self.record.step += 1
        return losses

    def _log(self, window: LossWindow, bar: tqdm[Any]) -> None:
        """Write the means since the last entry; stop at a NaN before anything is saved."""
        record = self.record
        if not window.steps:
            return
        means, totals = window.take()
        self.losses += totals
        record.epoch_loss += sum(totals)
        record.epoch_steps += len(totals)
        if self.crew.any(flag=not all(map(math.isfinite, means.values()))):
            state = self.folder.state
            good = f"the last good checkpoint is {state}" if state.exists() else "none was saved"
            raise TrainingDivergedError(
                f"the loss or the gradient became NaN or infinite near photo {record.seen:,} "
                f"({means}); {good}; go on from it with a lower --lr"
            )
        if self.crew.leads:
            rate = {"lr": self.schedule.lr(record.seen), "minutes": record.spent_s / 60}
            self.logbook.write(
                record.seen,
                {**means, **rate, "crop": float(self.schedule.crop(record.seen))},
            )
            bar.set_postfix(loss=f"{means['total']:.3f}", refresh=False)

    def _epoch_end(self) -> None:
        """Validate, draw, keep the best, save."""
        s, record = self.settings, self.record
        monitored = math.nan
        if self.crew.leads:
            net = self.learner.averaged
            net.eval()
            values = {}
            if self.val is not None:
                values = examine(net, self.val, s, self.crew.device, self.logbook, record.seen)
            train_loss = record.epoch_loss / record.epoch_steps
            monitored = values["val_loss"] if s.monitor == "val" else train_loss
            if monitored < record.best:
                record.best = monitored
                save_model(self.folder.best, net, record.provenance(values))
            self.logbook.draw_curves()
            net.train()
        self.schedule.validated(self.crew.share(monitored))
        record.epoch_loss, record.epoch_steps = 0.0, 0
        self._save()

    def _save(self) -> None:
        if not self.crew.leads:
            return
        learner = self.learner
        header = {**self.record.header(), "schedule": self.schedule.state()}
        write_state(self.folder.state, learner.net, learner.average, learner.optimizers, header)

    def _resume(self) -> None:
        learner = self.learner
        header = read_state(
            self.folder.state,
            learner.net,
            learner.average,
            learner.optimizers,
            check=lambda header: self.record.check(header, self.folder.state),
        )
        self.record.restore(header)
        self.schedule.restore(header["schedule"])


def _finished(model: str | os.PathLike[str] | None) -> tuple[Path | None, str | None]:
    """Find finished weights, and the SHA-256 that their header states."""
    if model is None:
        return None, None
    path = find_weights(model)
    return path, read_header(path)["sha256"]
