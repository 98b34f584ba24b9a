"""The soak: it sees what is lost, mistaken or leaking, and all is well on a few photos."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import soak
from benchmarks.soak import Settings, Watch, is_of, photo
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=32)
    nn.init.normal_(net.classifier.weight, std=30.0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net, {})
    return path


def test_a_photo_is_taken_for_itself_alone():
    for i in (0, 1, 2, 9999):
        assert is_of(cv2.cvtColor(photo(i), cv2.COLOR_GRAY2BGR), i)
        assert not is_of(cv2.cvtColor(photo(i), cv2.COLOR_GRAY2BGR), i + 1)
    assert not is_of(None, 0)
    assert not is_of(np.zeros((4, 4, 3), np.uint8), 0)


def test_the_watch_sees_growth():
    watch = Watch([(done, 100 + done, 5 + done // 50) for done in range(101)])
    assert watch.between(10, 30) == (130, 5)
    assert watch.between(80, 100) == (200, 7)


def test_nothing_is_lost_or_mistaken_on_a_few(weights, tmp_path, capsys):
    soak.main(Settings(photos=12, out=tmp_path / "soak", model=str(weights)))
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == (tmp_path / "soak" / "soak.md").read_text().splitlines()[2:]
    for row, door in zip(rows, ("folder", "server"), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == [door, "12"]
        assert cells[3:6] == ["0", "0", "0"]


def test_what_is_lost_added_or_mistaken_is_counted(tmp_path, monkeypatch):
    def wrong(words, *, stderr=None):
        """Instead of colouring: one file as it was, one exchanged, one left out, one too many."""
        source, out = tmp_path / "in" / "000", tmp_path / "out" / "000"
        out.mkdir(parents=True)
        for name, taken in (("000000", "000000"), ("000001", "000000"), ("000007", "000000")):
            rgb = cv2.imread(str(source / f"{taken}.png"))
            cv2.imwrite(str(out / f"{name}.png"), rgb)
        return real(("--version",))

    real = soak._started
    monkeypatch.setattr(soak, "_started", wrong)
    monkeypatch.setattr(soak.Watch, "between", lambda *_: (0.0, 0))
    found = soak.soak_folder(4, "zhang", tmp_path)
    assert (found.lost, found.duplicated, found.mistaken) == (2, 1, 1)


@pytest.mark.slow
def test_memory_and_files_stay_flat(weights, tmp_path):
    for soaked in (
        soak.soak_folder(1500, str(weights), tmp_path),
        soak.soak_server(1500, str(weights)),
    ):
        assert (soaked.lost, soaked.duplicated, soaked.mistaken) == (0, 0, 0)
        assert soaked.memory_late_mb < soaked.memory_early_mb + 15
        assert soaked.files_late <= soaked.files_early + 4
