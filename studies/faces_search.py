"""The grid search of the faces study, and the transfer of what it found to other photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from studies.faces_runs import SUBJECTS, FacesStudy, Fit, fit, run_settings
from zcolor.extras import install_command
from zcolor.training.dataset import open_photos


@dataclass(frozen=True)
class Trial:
    """A point of the grid."""

    lr: float
    epochs: int
    activation: str
    mse: float
    """Of the validation photos."""


@dataclass(frozen=True)
class Search:
    """What the grid gave for a family."""

    trials: tuple[Trial, ...]
    fits: Mapping[tuple[float, str], Fit]
    """By rate and activation."""

    @property
    def best(self) -> Trial:
        """The lowest error."""
        return min(self.trials, key=lambda trial: trial.mse)

    @property
    def best_fit(self) -> Fit:
        """The run that it comes from."""
        return self.fits[self.best.lr, self.best.activation]


def search(
    study: FacesStudy, model: str, data: Mapping[str, Path], bar: tqdm[Any] | None = None
) -> Search:
    """Try every rate, length and activation.

    The rate is constant, so one run of the greatest length, validated on its way, stands for all
    lengths.

    Parameters
    ----------
    study
        The grid.
    model
        The family.
    data
        Folders of the faces by split.
    bar
        Counts the runs.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(f"the grid search needs Optuna: {install_command('study')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    n = len(open_photos([data["train"]]))
    fits: dict[tuple[float, str], Fit] = {}
    trials: list[Trial] = []

    def objective(trial: optuna.Trial) -> float:
        lr = float(trial.suggest_categorical("lr", list(study.rates)))
        epochs = int(trial.suggest_categorical("epochs", list(study.epochs)))
        activation = str(trial.suggest_categorical("activation", list(SUBJECTS[model].activations)))
        if (lr, activation) not in fits:
            settings = run_settings(study, model, activation, lr, study.epochs, n)
            folder = study.runs / f"{model}-{activation}-{lr:g}"
            fits[lr, activation] = fit(settings, data, folder, epoch=n * study.enlarge)
            if bar is not None:
                bar.update()
        mse = fits[lr, activation].curve[epochs]
        trials.append(Trial(lr, epochs, activation, mse))
        return mse

    space: dict[str, list[str | float | int | bool | None]] = {
        "lr": list(study.rates),
        "epochs": list(study.epochs),
        "activation": list(SUBJECTS[model].activations),
    }
    grid = optuna.samplers.GridSampler(space, seed=study.seed)
    optuna.create_study(sampler=grid).optimize(objective)  # ends when the grid is spent
    return Search(tuple(trials), fits)


def transfer(
    study: FacesStudy, model: str, found: Search, data: Mapping[str, Path], *, scratch: bool
) -> Fit:
    """Train the best network of a family on other photos, from the faces or from scratch."""
    n = len(open_photos([data["train"]]))
    activation = found.best.activation
    settings = run_settings(
        study, model, activation, study.transfer_rate, (1, study.transfer_epochs), n
    )
    folder = study.runs / f"ncd-{model}-{'scratch' if scratch else 'transfer'}"
    init = None if scratch else found.best_fit.best
    return fit(settings, data, folder, epoch=n * study.enlarge, init=init)
