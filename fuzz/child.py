"""The process that reads the damaged files, and may die of it."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import logging
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz.readers import Reader, make_file

MEGABYTE = 1 << 20
_GROWTH_MB = 4  # a file that raises the peak by more is told of


def load_readers(where: str) -> dict[str, Reader]:
    """Import the function that gives the readers, named as "module:function"."""
    module, _, name = where.partition(":")
    readers: dict[str, Reader] = getattr(importlib.import_module(module), name)()
    return readers


def peak_mb() -> float:
    """Tell the largest resident size of this process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux tells kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def work(sender: Connection, job: dict[str, Any]) -> None:
    """Read files number `start`, `start + step`, ... below `stop`, and tell of each.

    Parameters
    ----------
    sender
        Gets, as JSON, {"ready": peak in MiB} and then one message for each file.
    job
        "readers" ("module:function"), "only" (names, or none for all), "seed", "start", "stop",
        "step", "memory_mb" (address space that reading may take beyond what the libraries have),
        and "log" (a file for the trace of a crash).
    """
    with open(job["log"], "w", encoding="utf-8") as log:
        faulthandler.enable(log)
        _quiet()
        with tempfile.TemporaryDirectory(prefix="zcolor-fuzz-") as folder:
            try:
                readers = load_readers(job["readers"])
                if job["only"]:
                    readers = {name: readers[name] for name in job["only"]}
                _warm_up(readers, Path(folder))
            except Exception:
                log.write(traceback.format_exc())
                raise
            _bound_memory(job["memory_mb"])
            sender.send_bytes(json.dumps({"ready": peak_mb()}).encode())
            for number in range(job["start"], job["stop"], job["step"]):
                told = _one(readers, job["seed"], number, Path(folder))
                sender.send_bytes(json.dumps(told).encode())
    sender.close()


def _quiet() -> None:
    """The C libraries speak of every damaged file, and so do the logs of zcolor."""
    logging.disable(logging.CRITICAL)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    os.close(silence)


def _warm_up(readers: dict[str, Reader], folder: Path) -> None:
    """Read every whole file once: libraries load, caches fill, and a seed that fails is found."""
    for name, reader in readers.items():
        for which, data in reader.seeds().items():
            path = folder / f"seed{reader.ending}"
            path.write_bytes(data)
            try:
                reader.read(path)
            except Exception as error:
                raise AssertionError(f"the whole {name} {which!r} cannot be read") from error


def _bound_memory(megabytes: int) -> None:
    """Let allocations fail, as far as the system can (Linux)."""
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        pages = int(sizes.read_text(encoding="ascii").split()[0])
        bound = pages * resource.getpagesize() + megabytes * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """A warning that leaves a reader is a fault of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _one(readers: dict[str, Reader], seed: int, number: int, folder: Path) -> dict[str, Any]:
    name, data = make_file(readers, seed, number)
    reader = readers[name]
    path = folder / f"file{reader.ending}"
    path.write_bytes(data)
    before, start = peak_mb(), time.perf_counter()
    told: dict[str, Any] = {"number": number, "reader": name}
    try:
        with _no_warnings():
            reader.read(path)
        told |= {"outcome": "read", "kind": ""}
    except reader.errors as error:
        named = str(path) in str(error) or not reader.names_file
        kind = type(error).__name__ + ("" if named else " without the name of the file")
        told |= {"outcome": "refused" if named else "fault", "kind": kind}
        if not named:
            told["trace"] = traceback.format_exc()
    except Exception as error:  # noqa: BLE001 - what it is is what is asked
        told |= {"outcome": "fault", "kind": type(error).__name__}
        told["trace"] = traceback.format_exc()
    told["seconds"] = time.perf_counter() - start
    told["peak_mb"] = peak_mb()
    if told["peak_mb"] > before + _GROWTH_MB:
        told["grew_mb"] = told["peak_mb"] - before
    return told
