"""Training in several processes: one is killed and all go on; each reads its part, and no more."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from tests.faults import runs
from zcolor.checkpoint import read_checkpoint
from zcolor.training.assemble import make_loaders
from zcolor.training.distributed import Crew
from zcolor.training.run_folder import RunFolder
from zcolor.training.settings import TrainSettings

TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    *("--monitor-interval", "0.2"),
]


def torchrun(folder, *argv, restarts=0):
    """Start two processes with the script and its arguments."""
    return subprocess.Popen(
        [*TORCHRUN, f"--max-restarts={restarts}", *map(str, argv)],
        cwd=folder,
        env=runs.ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    """Wait for the end; gives what was said."""
    try:
        return process.communicate(timeout=400)[0]
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends those that it started
        said = process.communicate(timeout=60)[0]
        pytest.fail(f"the processes wait for each other: {said[-3000:]}")


def workers(process):
    """The processes that torchrun started, by their number."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    environments = {pid: Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in children}
    return [int(pid) for pid, words in environments.items() if "WORLD_SIZE=2" in words]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_started_again_and_the_end_is_the_same(tmp_path, rank):
    pack = runs.make_pack(tmp_path / "photos.h5", 48, 40, fractions=(0.9, 0.1))
    priors = runs.start("priors", pack, "--out", "p.h5", cwd=tmp_path)
    said, _ = priors.communicate(timeout=300)
    assert priors.returncode == 0, said
    call = [
        *(runs.ROOT / "tools" / "train.py", pack, "--priors", tmp_path / "p.h5", "--out", "run"),
        *("--photos", 400, "--epoch-photos", 40, "--resume", *runs.TINY),
    ]
    ends = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        process = torchrun(folder, *call, restarts=2)
        if name == "killed":
            state = folder / "run" / "last.safetensors"
            while not state.exists():
                assert process.poll() is None, process.communicate()[0][-3000:]
                time.sleep(0.01)
            time.sleep(random.Random(rank).uniform(0, 0.5))
            victim = next(
                pid
                for pid in workers(process)
                if f"RANK={rank}" in Path(f"/proc/{pid}/environ").read_text().split("\0")
            )
            os.kill(victim, signal.SIGKILL)
        said = ended(process)
        assert process.returncode == 0, said[-3000:]
        assert ("SIGKILL" in said or "-9" in said) == (name == "killed"), said[-3000:]
        assert "done: 400 photos seen" in said
        ends.append(
            [
                read_checkpoint(folder / "run" / f"{which}.safetensors")[0]
                for which in ("last", "best")
            ]
        )
    for whole, killed in zip(*ends, strict=True):
        assert all(torch.equal(whole[key], killed[key]) for key in whole)


@pytest.mark.slow
def test_one_and_two_processes_measure_the_same(tmp_path, tiny_model):
    pack = runs.make_pack(tmp_path / "photos.h5", 12, 140, fractions=(0.5, 0.5))
    script = tmp_path / "measure.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import dataclasses, json
            from zcolor.registry import load_model
            from zcolor.settings import DecodeSettings
            from zcolor.training.distributed import join_crew
            from zcolor.training.packfile import PackedPhotos
            from zcolor.training.validate import validate

            crew = join_crew("cpu")
            net = load_model({str(tiny_model)!r})
            crew.wrap(net)
            photos = PackedPhotos({str(pack)!r}, "val")
            values = validate(net, photos, range(len(photos)), DecodeSettings(), device=crew.device)
            print("VALUES", json.dumps([crew.size, dataclasses.asdict(values)]))
            crew.close()
            """
        )
    )
    alone = subprocess.run(
        [sys.executable, script], env=runs.ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    process = torchrun(tmp_path, script)
    together = ended(process)
    found = [
        json.loads(line.removeprefix("VALUES "))
        for line in (alone + together).splitlines()
        if line.startswith("VALUES ")
    ]
    assert [size for size, _ in found] == [1, 2, 2]
    assert found[0][1] == found[1][1] == found[2][1]


class Noted:
    """Photographs that note which of them are read."""

    data_hash = stamp = ""

    def __init__(self, n):
        self.n, self.read_indices = n, []

    def __len__(self):
        return self.n

    def read(self, index):
        self.read_indices.append(index)
        return runs.blotches(index, 24)


@pytest.mark.parametrize(("size", "accumulate"), [(2, 1), (4, 1), (2, 2)])
def test_each_process_reads_its_part_alone(size, accumulate):
    """Disjoint, complete, and together the very batches of one process."""
    s = TrainSettings(batch=8, accumulate=accumulate, crops=(16,), shares=(1.0,), jobs=1)
    n_steps = 3

    def read(rank, size, steps):
        photos = Noted(40)
        crew = Crew(rank, size, torch.device("cpu"))
        settings = s if size > 1 else TrainSettings(batch=8, crops=(16,), shares=(1.0,), jobs=1)
        targets = []
        for loader in make_loaders(photos, settings, crew, None):
            stream = loader.batches(0, lambda _seen: 16)
            targets.append([next(stream).target for _ in range(steps)])
            stream.close()
        return photos, [torch.cat(parts) for parts in zip(*targets, strict=True)]

    _, whole = read(0, 1, n_steps)
    parts = [read(rank, size, n_steps)[1] for rank in range(size)]
    for step in range(n_steps):
        assert torch.equal(torch.cat([part[step] for part in parts]), whole[step])
    # A whole epoch is five steps; what is read ahead begins the next one.
    read_by = [set(read(rank, size, 1)[0].read_indices) for rank in range(size)]
    first_epoch = [indices for indices in read_by if indices]
    assert len(first_epoch) == size
    assert sum(map(len, read_by)) == len(set().union(*read_by)) <= 40


def test_torchrun_may_begin_what_it_resumes(tmp_path, monkeypatch):
    """It gives the same call again after a fault, which may come before the first checkpoint."""
    folder = RunFolder(tmp_path)
    assert not folder.check(resume=True, may_begin=True)
    with pytest.raises(FileNotFoundError, match="to resume from"):
        folder.check(resume=True)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert torch.distributed.is_torchelastic_launched()
