"""What a run writes down: its log, its curves, the means of its losses."""

from __future__ import annotations

import json

import cv2
import torch

from zcolor.training.logbook import Logbook, LossWindow


def test_logbook_drops_what_a_lost_leg_wrote(tmp_path):
    first = Logbook(tmp_path)
    for seen in (10, 20, 30):
        first.write(seen, {"total": 1.0 / seen, "lr": 1e-3})
    first.close()
    second = Logbook(tmp_path, seen=20)
    second.write(28, {"total": 0.5, "lr": 1e-3, "val_auc_raw": 89.0})
    second.draw_curves()
    second.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["seen"] for line in lines] == [10, 20, 28]
    curves = cv2.imread(str(tmp_path / "curves.png"))
    assert curves.shape[0] > 400
    assert curves.std() > 5
    assert not list(tmp_path.glob("*.part"))


def test_a_fresh_logbook_starts_empty(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"seen": 5}\n')
    book = Logbook(tmp_path)
    book.close()
    assert book.records == []


def test_loss_window_gives_means_and_every_total():
    window = LossWindow()
    for total in (1.0, 2.0, 6.0):
        window.add({"total": torch.tensor(total), "top1": torch.tensor(0.5)})
    means, totals = window.take()
    assert means == {"total": 3.0, "top1": 0.5}
    assert totals == [1.0, 2.0, 6.0]
    assert not window.steps
