"""What scaling costs: the arithmetic of the page, and a run of the smallest size."""

import json

import cv2
import pytest
import torch

from benchmarks import scaling
from benchmarks.scaling import STORAGE_GB_PER_SECOND, Cost, Node, Settings, plan

SECONDS = {"reading": 0.01, "network": 0.02, "joining": 0.03, "writing": 0.04}
CORES = "reading, network, joining and writing on the cores"


def cost(size=1e6):
    return Cost((100, 100), SECONDS, int(size), int(size))


def test_days_follow_from_the_seconds_of_a_photo():
    one = plan(cost(), Node("a", 10, gpu=False), 1, efficiency=0.5, n=1_000_000)
    # 0.1 s on 10 cores at half of their rate: 50 photos a second.
    assert one.days == pytest.approx(1_000_000 / 50 / 86_400)
    assert one.storage_gb_per_second == pytest.approx(50 * 2e6 / 1e9)
    assert one.bottleneck == CORES
    ten = plan(cost(), Node("a", 10, gpu=False), 10, efficiency=0.5, n=1_000_000)
    assert ten.days == pytest.approx(one.days / 10)


def test_a_gpu_takes_the_network_off_the_cores():
    with_it, without = (
        plan(cost(), Node("a", 10, gpu=gpu), 1, efficiency=1.0) for gpu in (True, False)
    )
    assert with_it.days == pytest.approx(without.days * 0.08 / 0.1)
    assert "network" not in with_it.bottleneck


def test_lines_and_storage_become_the_bottleneck():
    lines = plan(cost(1e9), Node("a", 1000, gpu=False), 1, efficiency=1.0)
    assert lines.bottleneck == "the machines' lines"
    assert lines.storage_gb_per_second == pytest.approx(1.25)
    storage = plan(cost(1e9), Node("a", 1000, gpu=False), 1000, efficiency=1.0)
    assert storage.bottleneck == "the storage"
    assert storage.storage_gb_per_second == pytest.approx(STORAGE_GB_PER_SECOND)


def test_rates_leave_out_the_start(monkeypatch, tmp_path):
    # A job takes 5 s to start and 0.1 s a photo for one worker.
    def seconds(command):
        workers = int(command[command.index("--jobs") + 1])
        return 5 + 0.1 * (20 if "/all" in " ".join(command) else 10) / workers

    monkeypatch.setattr(scaling, "_seconds", seconds)
    for workers in (1, 2):
        rate = scaling.coloring_rate("local", workers, tmp_path, 10)
        assert rate == pytest.approx(10 * workers)


@pytest.fixture
def threads():
    """Give back the threads that a measurement takes away."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.usefixtures("threads")
def test_a_small_run_writes_its_tables(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, "SHAPES", ((32, 48), (64, 64)))
    monkeypatch.setattr(scaling, "coloring_rate", lambda engine, workers, folder, n: 3.0 * workers)
    scaling.main(Settings(photos=1, runs=1, rounds=1, training=False, out=tmp_path / "out"))
    page = capsys.readouterr().out
    assert "| colouring, --engine ray | 3.0 a second | 6.0 | 100% |" in page
    assert (tmp_path / "out" / "scaling.md").read_text().strip() == page.strip()
    figures = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert all(seconds > 0 for c in figures["costs"] for seconds in c["seconds"].values())
    assert len(figures["plans"]) == 12
