"""Work spread over the processes of Ray: a cluster, or the cores of this computer.

Ray Data maps tasks to workers: it starts them, hands them tasks, and gives a task to another one
when the process that had it dies. What is said here once for all commands is how Ray is started and
ended, how many workers there are, and what becomes of a task that no worker survives.

Tasks and answers are JSON, in which any file name and every number come through unchanged.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from zcolor.extras import install_command

logger = logging.getLogger(__name__)

Task = Mapping[str, Any]
"""What JSON holds."""
Answer = tuple[dict[str, Any], bytes]
"""What JSON holds, and bytes beside it."""

# Processes that may die of a task before it is given up.
_LIVES = 3
# Tasks that wait at a worker while it has one in hand.
_IN_FLIGHT = 2
# Threads that share a GPU: while one photo is in the network, others are read and written.
_MOST_THREADS = 8
# The paths of Ray's sockets may have 107 bytes, of which it takes about 70 itself.
_LONGEST_TEMPORARY = 30
_INSTALL = f"--engine ray needs Ray: {install_command('cluster')}"


class Worker(Protocol):
    """What a process of the cluster holds: made once, then given tasks."""

    def work(self, task: Task) -> Iterable[Answer]:
        """Do one task."""


@dataclass(frozen=True)
class Pool:
    """How many workers there are, and what each of them has."""

    size: int
    """Processes."""
    gpus: int = 0
    """GPUs of each: 1 or none."""
    threads: int = 1
    """Photos that each works on at a time."""


def import_ray() -> Any:
    """Import Ray with Ray Data; an ImportError names the extra, if it is not installed."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    return ray


def pool_for(
    nodes: Sequence[Mapping[str, float]], n_tasks: int, *, jobs: int = 0, device: str = "cpu"
) -> Pool:
    """Choose the workers: one for each GPU where these are to be used, or else for each core.

    Parameters
    ----------
    nodes
        What each machine has: "CPU" cores and "GPU" devices.
    n_tasks
        More workers than tasks would be idle.
    jobs
        Workers that are asked for; 0 takes as many as there is room for.
    device
        As for `zcolor.colorize`; `auto` takes GPUs where there are some.

    Returns
    -------
    The workers.

    Raises
    ------
    ValueError
        If GPUs are asked for and there are none, or one of them by its number.

    Examples
    --------
    >>> pool_for([{"CPU": 8.0}, {"CPU": 8.0}], 1000)
    Pool(size=16, gpus=0, threads=1)
    >>> pool_for([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], 1000, device="auto")
    Pool(size=2, gpus=1, threads=4)
    """
    if device.startswith("cuda:"):
        raise ValueError(
            f"a cluster gives each worker a GPU of its own, so that {device} names none; "
            "use the device cuda"
        )
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" and not with_gpu:
        raise ValueError("no machine of the cluster has a GPU; use the device auto or cpu")
    if with_gpu and device in ("auto", "cuda"):
        room = sum(int(node["GPU"]) for node in with_gpu)
        threads = min(int(node.get("CPU", 1) // int(node["GPU"])) for node in with_gpu)
        return Pool(_size(room, n_tasks, jobs), 1, min(max(1, threads), _MOST_THREADS))
    return Pool(_size(sum(int(node.get("CPU", 0)) for node in nodes), n_tasks, jobs))


def _size(room: int, n_tasks: int, jobs: int) -> int:
    """Tell how many workers: no more than have room at once, as others would wait for ever."""
    return max(1, min(jobs or room, room, n_tasks))


@contextmanager
def ray_running(address: str | None = None, *, n_cores: int | None = None) -> Iterator[None]:
    """Hold a connection to Ray.

    Parameters
    ----------
    address
        Of a cluster that runs: HOST:PORT, or `auto` on one of its machines. None uses the Ray that
        this process has, or else starts one on the cores of this computer, which ends with the
        context and leaves nothing behind.
    n_cores
        Of this computer; None takes all.

    Raises
    ------
    ImportError
        If Ray is not installed.
    ConnectionError
        If no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        if address is not None:
            raise ConnectionError(
                f"this process has a Ray already, and so cannot go to {address}; "
                "call ray.shutdown() first, or leave the address out"
            )
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Faults of single workers, which are repaired, are told nowhere but in Ray's own log.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is not None:
        try:
            with _hushed():
                ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ConnectionError(
                f"there is no Ray cluster at {address} ({error}); start one with `ray start "
                "--head` and give HOST:PORT as it is shown there"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Nothing is told to anyone, and the password is this Ray's own, in no file.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with _short_folder() as folder:
        with _hushed():
            ray.init(
                address="local",
                num_cpus=n_cores or os.cpu_count(),
                include_dashboard=False,
                _temp_dir=folder,
                **quiet,
            )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep notes of Ray's C++ part off the terminal, which it writes before it reads its level."""
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


@contextmanager
def _short_folder() -> Iterator[str]:
    """Make a folder for Ray's logs and sockets, whose paths must be short."""
    usual, short = tempfile.gettempdir(), "/tmp"  # nosec B108 (a new folder is made in it)
    parent = short if len(usual) > _LONGEST_TEMPORARY and os.path.isdir(short) else usual
    # The processes of Ray may still write their last lines.
    made = tempfile.TemporaryDirectory(prefix="zc-", dir=parent, ignore_cleanup_errors=True)
    with made as folder:
        yield folder


def machines() -> list[dict[str, float]]:
    """List what each machine of the cluster has, by name of the resource."""
    ray = import_ray()
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def run_tasks(
    worker: type[Worker],
    arguments: Mapping[str, Any],
    tasks: Sequence[Task],
    pool: Pool,
    *,
    in_order: bool = False,
) -> Iterator[Answer]:
    """Have tasks done by workers.

    The process of a worker that dies is started again and its task done again, so that a task may
    be done twice; its answers come once.

    Parameters
    ----------
    worker
        Its class.
    arguments
        What each worker is made with.
    tasks
        One after the other; a task that is lost is named by its place.
    pool
        How many workers there are.
    in_order
        Give the answers in the order of the tasks. Then a task that no worker survives ends the
        work, and otherwise it gives no answer.

    Yields
    ------
    The answers of each task together, as they come.

    Raises
    ------
    RuntimeError
        If the workers cannot be made, or by their own errors.
    """
    ray = import_ray()
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = in_order
    context.max_errored_blocks = 0 if in_order else -1
    _silence()
    tally = ray.remote(num_cpus=0)(_Tally).remote()
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items(
            [{"place": place, "task": json.dumps(task)} for place, task in enumerate(tasks)],
            override_num_blocks=len(tasks),  # each for itself
        )
        answers = rows.map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                size=pool.size, max_tasks_in_flight_per_actor=_IN_FLIGHT
            ),
            num_cpus=1,
            num_gpus=pool.gpus or None,
            fn_constructor_args=(worker, json.dumps(dict(arguments)), os.getcwd(), tally),
            fn_constructor_kwargs={"in_order": in_order},
        )
    try:
        for row in answers.iter_rows():
            yield json.loads(row["answer"]), row["data"]
    except ray.exceptions.RayError as error:
        raise RuntimeError(_reason(error)) from error
    finally:
        ray.kill(tally)


def _silence() -> None:
    """Keep Ray Data's reports on its own doings out of the way."""
    level = logging.INFO if logger.isEnabledFor(logging.DEBUG) else logging.CRITICAL
    logging.getLogger("ray.data").setLevel(level)


def _reason(error: BaseException) -> str:
    """Say in a line why work on a cluster ended, without the traces of its processes."""
    reason = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:  # the first cause that says something
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        reason = lines[-1] if lines else reason
        cause = cause.__cause__
    return f"the work on the cluster ended: {reason}"


class _Tally:
    """Counts how often each task was begun: Ray gives it to another process without end."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, place: int) -> int:
        """Count one more."""
        self.begun[place] += 1
        return self.begun[place]


class _Actor:
    """A worker in a process of its own, at home in the same folder as the command."""

    def __init__(
        self, worker: Any, arguments: str, folder: str, tally: Any, *, in_order: bool
    ) -> None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise RuntimeError(
                f"{socket.gethostname()} has no folder {folder} ({error.strerror}); all machines "
                "of the cluster must see the same files under the same names"
            ) from error
        self.worker: Worker = worker(**json.loads(arguments))
        self.tally, self.in_order = tally, in_order

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        found: list[Answer] = []
        for place, task in zip(batch["place"], batch["task"], strict=True):
            if import_ray().get(self.tally.begin.remote(int(place))) <= _LIVES:
                found += self.worker.work(json.loads(task))
            elif self.in_order:
                raise RuntimeError(f"{_LIVES} processes died of the same photos; is memory short?")
        return {
            "answer": [json.dumps(answer) for answer, _ in found],
            "data": [data for _, data in found],
        }
