"""The speed-up table: what is measured, left out, kept and written; no verdict by the clock."""

import json

import pytest
import torch

from studies import speedup
from studies.speedup import Cell, Settings, Way, make_task, measure, run, ways_here
from zcolor.models.zhang import Zhang
from zcolor.precision import computes_in_bfloat16
from zcolor.registry import save_model

ONE, FAST = Way("cpu", 1, False), Way("cpu", 1, True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, Zhang(width=1 / 32, working_size=16), {})
    return str(path)


@pytest.fixture
def settings(model, tmp_path):
    return Settings(
        photos=2, batches=(1, 2), sizes=(16,), seconds=0.01, model=model,
        runs=tmp_path / "runs", page=tmp_path / "studies" / "speedup.md",
    )  # fmt: skip


def test_the_first_way_is_one_thread_in_float32():
    ways = ways_here()
    assert ways[0] == ONE
    assert len(set(ways)) == len(ways)
    assert any(way.bf16 for way in ways) == computes_in_bfloat16(torch.device("cpu"))
    assert any(way.device == "cuda" for way in ways) == torch.cuda.is_available()
    assert FAST.name == "CPU, 1 thread, bfloat16"


@pytest.mark.parametrize("work", ["colouring", "training"])
@pytest.mark.parametrize("way", [ONE, FAST])
def test_a_run_does_its_work_in_its_precision_on_its_threads(model, work, way):
    net = speedup.load_model(model)
    net.train(work == "training")
    seen = []
    net.classifier.register_forward_hook(
        lambda _, __, output: seen.append((output.dtype, output.shape[0], torch.get_num_threads()))
    )
    before = net.classifier.weight.clone()
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    threads = torch.get_num_threads()
    try:
        assert make_task(net, Cell(work, 16, 2), way, pixels)() > 0
    finally:
        torch.set_num_threads(threads)
    fast = way.bf16 and computes_in_bfloat16(torch.device("cpu"))
    assert seen == [(torch.bfloat16 if fast else torch.float32, 2, 1)]
    assert torch.equal(before, net.classifier.weight) == (work == "colouring")


def test_what_would_take_too_long_is_left_out(settings):
    cell = Cell("colouring", 16, 2)
    threads = torch.get_num_threads()
    rates = {ONE.name: settings.limit / cell.pixels * 1.01, FAST.name: 1e-9}
    found = measure(cell, [ONE, FAST], settings, rates)
    assert found[ONE.name] == []
    assert len(found[FAST.name]) == 3  # the least
    assert torch.get_num_threads() == threads


def test_rates_are_those_of_the_largest_batch():
    cells = {
        "colouring 16 1": {"a": [2.0], "b": [1.0]},
        "colouring 16 4": {"a": [4.0, 4.0, 9.0], "b": []},
        "training 16 8": {"a": [99.0]},
    }
    rates = speedup._rates(cells, "colouring")
    assert rates == pytest.approx({"a": 4.0 / 4 / 256, "b": 1.0 / 256})


def test_the_page_has_times_and_ratios_and_the_run_goes_on_where_it_ended(settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run(settings, ways=[ONE, FAST], progress=False)
    path = settings.runs / "speedup.json"
    state = json.loads(path.read_text())
    assert set(state["cells"]) == {
        f"{work} 16 {batch}" for work in ("colouring", "training") for batch in (1, 2)
    }
    # Figures that are known, one of them missing.
    state["cells"]["colouring 16 2"] = {ONE.name: [0.4, 0.2, 0.3], FAST.name: [0.1, 0.1, 0.1]}
    state["cells"]["training 16 2"] = {ONE.name: [3.0, 3.0, 3.0], FAST.name: [2.0, 2.0, 2.0]}
    path.write_text(json.dumps(state))
    monkeypatch.setattr(speedup, "measure", lambda *_: pytest.fail("measured again"))
    text = run(settings, ways=[ONE, FAST], progress=False).read_text(encoding="utf-8")
    assert "| 16 px, batch 2 | 150 (125 to 175) | 50 (50 to 50) |" in text
    assert "| 16 px, batch 2 | 1.00 | 3.00 |" in text
    assert "| 16 px, batch 2 | 3000 (3000 to 3000) | 2000 (2000 to 2000) |" in text
    assert "| 16 px, batch 2 | 1.00 | 1.50 |" in text
    assert "no GPU on this machine" in text
    assert "python -m studies.speedup" in text


def test_cells_that_were_left_out_have_a_dash(settings):
    state = {
        "about": {"processor": "P", "cores": 2, "cuda": "GPU 9", "torch": "2"},
        "load": 0.1,
        "cells": {
            f"{work} 16 {batch}": {ONE.name: [], FAST.name: [1.0]}
            for work in ("colouring", "training")
            for batch in (1, 2)
        },
    }
    text = "\n".join(speedup._page_parts(settings, state, [ONE.name, FAST.name]))
    assert "| 16 px, batch 1 | – | 1000 (1000 to 1000) |" in text
    assert "| 16 px, batch 1 | – | – |" in text
    assert "and GPU 9" in text
    assert "no GPU" not in text


def test_figures_of_another_machine_are_not_mixed_in(settings):
    settings.runs.mkdir()
    (settings.runs / "speedup.json").write_text(
        json.dumps({"about": {"processor": "another"}, "load": 0, "cells": {}})
    )
    with pytest.raises(ValueError, match="name another folder: --runs FOLDER"):
        run(settings, ways=[ONE], progress=False)


@pytest.mark.parametrize("wrong", [{"photos": 0}, {"sizes": (20,)}, {"limit": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Settings(**wrong)
