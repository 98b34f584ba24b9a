"""The benchmark of films: that it runs, and what its tables are made of."""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks import video
from benchmarks.clips import Frame
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model
from zcolor.temporal import SMOOTH


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with random weights whose colours differ over a picture."""
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=32)
    nn.init.normal_(net.classifier.weight, std=300.0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net, {})
    return path


def test_tables_and_sheet_with_a_small_network(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(video, "SHEET_FRAMES", 5)
    sheet = tmp_path / "sheet.png"
    video.main(video.Arguments(model=str(weights), frames=4, width=64, sheet=sheet))
    text = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    by_smooth, by_clip = rows[:7], rows[7:]
    assert [row[0] for row in by_smooth[1:]] == [
        "0 (frame by frame)", "0.5", "0.7", "0.8", f"**{SMOOTH:g}**", "0.95",
    ]  # fmt: skip
    flicker = [float(row[1]) for row in by_smooth[1:]]
    assert flicker == sorted(flicker, reverse=True)
    assert flicker[0] > flicker[-1] > 0
    assert len(by_clip) == 7
    # The mean of the clips is the row of the default.
    smoothed = [float(row[1].split(" to ")[1]) for row in by_clip[1:]]
    assert np.mean(smoothed) == pytest.approx(flicker[4], abs=0.01)
    assert len(re.findall(r"^- .*where newly seen", text, re.MULTILINE)) == 6
    with Image.open(sheet) as picture:
        assert picture.size == (round(5 * 64 * 0.45), round(4 * 48 * 0.45))


def test_there_are_as_many_clips_as_said():
    clips = dict(video.make_clips(4, 64, 0.0))
    assert len(clips) == video.N_CLIPS
    assert all(len(frames) == 4 for frames in clips.values())


@pytest.mark.parametrize("wrong", [{"frames": 3}, {"clips": 0}, {"clips": 7}, {"width": 32}])
def test_sizes_that_measure_nothing_are_refused(wrong):
    with pytest.raises(SystemExit, match="at least 4 frames"):
        video.main(video.Arguments(**wrong))


def test_figures_of_two_frames_by_hand():
    grey = np.full((32, 40), 120, np.uint8)
    truth = np.repeat(grey[..., None], 3, axis=2)
    rows, columns = np.mgrid[:32, :40].astype(np.float32)
    still = np.stack((columns, rows), axis=-1)
    seen = np.ones((32, 40), bool)
    seen[:, :5] = False
    frames = [Frame(truth, grey, None, None), Frame(truth, grey, still, seen)]
    lightness = torch.full((1, 1, 32, 40), 50.0)
    ab = [torch.zeros(1, 2, 8, 10), torch.zeros(1, 2, 8, 10)]
    ab[1][:, 0] = 15.0
    figures = video.measure(frames, [(lightness, planes) for planes in ab], 0)
    assert figures.flicker == pytest.approx(15, abs=1e-3)
    assert figures.chroma == pytest.approx(7.5, abs=1e-3)
    # 15 of the thresholds 0, 1, ..., 150 are too small for an error of 15 (all but exactly).
    assert figures.newly_seen == pytest.approx(100 * (1 - 15 / 151), abs=0.7)
    assert figures.auc == pytest.approx((100 + figures.newly_seen) / 2, abs=0.7)


def test_clips_without_newly_seen_pixels_do_not_count_for_these():
    first = video.Figures(flicker=1.0, auc=80.0, chroma=10.0, newly_seen=70.0)
    second = video.Figures(flicker=3.0, auc=90.0, chroma=20.0, newly_seen=math.nan)
    assert video.mean([first, second]) == video.Figures(2.0, 85.0, 15.0, 70.0)
    assert math.isnan(video.mean([second]).newly_seen)
