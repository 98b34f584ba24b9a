"""What Pillow warns of goes to the log: a damaged file is no fault of the program that reads it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL

logger = logging.getLogger(__name__)

_PILLOW = Path(PIL.__file__).parent


class _PillowWarnings:
    """How many threads read pictures now, and what the first of them found and the last restores.

    Python's filters of warnings belong to the whole process, so that threads which each put back
    what they found would leave the filters of one another behind.
    """

    def __init__(self) -> None:
        self._lock, self._n_readers = threading.Lock(), 0
        self._before = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            if self._n_readers == 0:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("always", module=r"PIL\.")
                warnings.showwarning = _log_or(warnings.showwarning)
            self._n_readers += 1

    def leave(self) -> None:
        with self._lock:
            self._n_readers -= 1
            if self._n_readers == 0:
                self._before.__exit__(None, None, None)


_pillow_warnings = _PillowWarnings()


@contextmanager
def pillow_warnings_logged() -> Iterator[None]:
    """Send what Pillow warns of meanwhile, such as an EXIF block that is cut off, to the log.

    A warning would reach the user once, without the name of the file, or stop a program that
    turns warnings into errors. Safe in threads.

    Examples
    --------
    >>> from PIL import Image
    >>> with pillow_warnings_logged():
    ...     _ = Image.new("L", (2, 2)).getexif()
    """
    _pillow_warnings.enter()
    try:
        yield
    finally:
        _pillow_warnings.leave()


def _log_or(show: Any) -> Any:
    def shown(
        message: Warning | str, category: type[Warning], filename: str, *more: Any, **rest: Any
    ) -> None:
        if Path(filename).is_relative_to(_PILLOW):
            logger.warning("Pillow: %s", " ".join(str(message).split()))
        else:
            show(message, category, filename, *more, **rest)

    return shown
