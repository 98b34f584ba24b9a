"""The table of cases: a name, what measures it, and when it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks import (
    case_cuda,
    case_means,
    case_memory,
    case_parts,
    case_pictures,
    case_start,
    case_training,
)
from benchmarks.bench import Bench, Row


@dataclass(frozen=True)
class Case:
    """A case."""

    measure: Callable[[Bench], list[Row]]
    """What measures it."""
    large: bool = False
    """Whether it takes minutes and gigabytes, and is run only when asked for."""
    needs_cuda: bool = False
    """Whether it is run only where there is CUDA."""


CASES: Mapping[str, Case] = {
    "small": Case(case_pictures.small),
    "medium": Case(case_pictures.medium),
    "large": Case(case_pictures.large),
    "folder": Case(case_pictures.folder),
    "forward": Case(case_parts.forward),
    "lab": Case(case_parts.lab),
    "upsampling": Case(case_parts.upsampling),
    "means": Case(case_means.means),
    "priors": Case(case_training.priors),
    "training": Case(case_training.training),
    "training-memory": Case(case_training.training_memory),
    "startup": Case(case_start.startup),
    "memory": Case(case_memory.memory),
    "giants": Case(case_memory.giants, large=True),
    "growth": Case(case_memory.growth, large=True),
    "many": Case(case_memory.many, large=True),
    "cuda": Case(case_cuda.cuda, needs_cuda=True),
}
"""In the order in which they are run."""


def chosen_cases(names: Sequence[str], *, large: bool) -> list[str]:
    """Tell which cases are run.

    Parameters
    ----------
    names
        Those that were asked for, the large ones too; without any all.
    large
        Whether `all` means the large ones too.

    Returns
    -------
    Their names, in the order of the table. The case for CUDA is left out where there is none,
    unless it is named.

    Raises
    ------
    ValueError
        For an unknown name, or CUDA that is named and not there.
    """
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        raise ValueError(f"there is no case {', '.join(unknown)}; choose from {', '.join(CASES)}")
    has_cuda = torch.cuda.is_available()
    if not has_cuda and any(CASES[name].needs_cuda for name in names):
        raise ValueError("the case cuda needs CUDA, and torch finds none here; leave it out")
    if names:
        return [name for name in CASES if name in names]
    return [
        name
        for name, case in CASES.items()
        if (large or not case.large) and (has_cuda or not case.needs_cuda)
    ]
