"""What settings of training have in common to be refused for; imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any


def are_shares(values: tuple[float, ...]) -> bool:
    """None is negative or NaN, and they sum to 1."""
    return all(value >= 0 for value in values) and math.isclose(sum(values), 1, abs_tol=1e-6)


def check_not_negative(settings: Any, *names: str) -> None:
    """Refuse settings of these names that are negative, infinite or NaN.

    Raises
    ------
    ValueError
        That names the first of them.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_not_negative(SimpleNamespace(jobs=-1), "jobs")
    Traceback (most recent call last):
    ...
    ValueError: jobs must be a number of at least 0, got -1
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a number of at least 0, got {value}")
