"""The study of flicker, on pictures that take no time."""

import dataclasses
import itertools
import json
import shutil

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from benchmarks.clips import flicker, true_ab
from studies import flicker as study_module
from studies.flicker import FlickerStudy, run, train_settings
from studies.flicker_measure import METHODS, Method, clip_answers, colored, film, means, measure
from zcolor.checkpoint import write_checkpoint
from zcolor.models.base import ColorNet
from zcolor.models.extractor import EXTRACTOR_KIND
from zcolor.models.timm_weights import make_timm
from zcolor.registry import MODELS, ModelEntry
from zcolor.training.settings import TrainSettings


@pytest.fixture
def extractor(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / "made.safetensors"
    header = {
        "kind": EXTRACTOR_KIND,
        "extractor": "test_resnet",
        "classes": 6,
        "size": 32,
        "accuracy": 0.25,
    }
    write_checkpoint(path, make_timm("test_resnet", classes=6).state_dict(), header)
    return path


@pytest.fixture
def study(tmp_path, monkeypatch):
    rows = {
        "fusion": ModelEntry("zcolor.models.fusion:Fusion", "", ""),
        "video-fusion": ModelEntry("zcolor.models.video_fusion:VideoFusion", "", ""),
    }
    monkeypatch.setattr("zcolor.registry.MODELS", {**MODELS, **rows})
    rng = np.random.default_rng(0)
    for folder, n in (("photos", 4), ("others", 2)):
        for i in range(n):
            small = rng.integers(0, 256, (4, 4, 3), np.uint8)
            path = tmp_path / folder / "miniplaces" / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(small, (40, 44), interpolation=cv2.INTER_CUBIC))
    return FlickerStudy(
        (str(tmp_path / "photos"),),
        val=(str(tmp_path / "others"),),
        n_photos=4,
        n_clips=2,
        clip_frames=3,
        frames=2,
        seen=8,
        step_frames=4,
        network="test_resnet",
        pretrained=7,
        side=32,
        frame_side=32,
        runs=tmp_path / "runs",
        out=tmp_path / "pages",
        device="cpu",
    )


def test_the_page_holds_what_was_measured_and_a_second_call_does_nothing(
    study, extractor, monkeypatch
):
    asked = []

    def pretrain(settings, photos, path):
        asked.append((settings.extractor, settings.photos, settings.size))
        shutil.copy(extractor, path)
        return type("Result", (), {"reason": "done"})

    monkeypatch.setattr(study_module, "pretrain", pretrain)
    run(study)
    assert asked == [("test_resnet", 7, 32)]
    page = (study.out / "flicker.md").read_text()
    found = json.loads((study.runs / "figures.json").read_text())
    assert set(found) == {*METHODS, "truth"}
    assert all(len(clips) == 2 and len(clips[0]["flicker"]) == 2 for clips in found.values())
    for name, clips in found.items():
        f = means(clips)
        assert (
            f"| {name} | {f['flicker']:.2f} | {100 * f['share']:.1f} % | {f['auc']:.2f} |" in page
        )
    assert "25.0 % of held-out photos right" in page
    files = {p.name for p in study.out.iterdir()}
    assert files == {"flicker.md", "flicker.jpg", "flicker.png"}
    assert (study.runs / "sheet.jpg").exists()
    for name, photos in (("fusion", 8), ("video-fusion", 4)):
        lines = (study.runs / name / "log.jsonl").read_text().splitlines()
        assert max(json.loads(line)["seen"] for line in lines) == photos

    for what in ("train", "pretrain", "measure"):
        monkeypatch.setattr(study_module, what, lambda *_, **__: pytest.fail("done again"))
    run(study)
    assert (study.out / "flicker.md").read_text() == page

    with pytest.raises(ValueError, match="holds runs of other settings"):
        run(dataclasses.replace(study, seed=1))


def test_both_see_the_same_number_of_frames_in_the_same_number_of_steps(extractor):
    study = FlickerStudy(("a",), val=("b",), seen=600, frames=5, step_frames=20, side=48)
    fusion, video = (train_settings(name, study, extractor) for name in study_module.TRAINED)
    assert isinstance(fusion, TrainSettings)
    assert (fusion.photos, fusion.batch) == (600, 20)
    assert (video.photos, video.batch) == (120, 4)
    assert "frames=5" in video.options
    same = {"model": "", "options": (), "photos": 1, "batch": 1, "epoch_photos": 1}
    assert dataclasses.replace(fusion, **same) == dataclasses.replace(video, **same)
    assert set(fusion.options) < set(video.options)
    assert f"extractor_weights={extractor}" in fusion.options


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seen": 11}, "must be multiples of frames"),
        ({"step_frames": 12}, "must be multiples of frames"),
        ({"frames": 1}, "at least 2 frames"),
        ({"clip_frames": 1}, "at least 2 frames"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FlickerStudy(("a",), val=("b",), **wrong)


# ---- clips and figures -----------------------------------------------------------------------


def clip(n=4, seed=(0, 1), grain=0.0):
    return film(skimage.data.astronaut()[:256, :256], n, 64, grain=grain, seed=seed)


def test_a_film_moves_and_its_motion_is_known():
    frames = clip()
    assert [frame.truth.shape for frame in frames] == [(64, 64, 3)] * 4
    colors = [true_ab(frame) for frame in frames]
    pairs = itertools.pairwise(colors)
    still = np.mean([np.linalg.norm(b - a, axis=2).mean() for a, b in pairs])
    assert flicker(colors, frames) < 0.5 * still
    assert all(frame.seen.mean() > 0.85 for frame in frames[1:])
    assert not np.array_equal(clip(seed=(0, 2))[0].truth, frames[0].truth)
    assert np.array_equal(clip()[3].grey, frames[3].grey)


def test_figures_against_what_is_known():
    frames = clip(3)
    truth = [torch.from_numpy(true_ab(frame)).permute(2, 0, 1) for frame in frames]
    shifted = [ab + torch.tensor([3.0, 4.0])[:, None, None] for ab in truth]
    f = measure(frames, shifted)
    assert f["rmse"] == pytest.approx((25 / 2) ** 0.5, rel=1e-4)
    # Every pixel is 5 away: right for thresholds 5 to 150 of the 151, rounding of 5 aside.
    assert f["auc"] == pytest.approx(100 * 146 / 151, abs=0.7)
    assert f["flicker"] == pytest.approx(measure(frames, truth)["flicker"], abs=1e-3)
    grey = measure(frames, [torch.zeros(2, 64, 64)] * 3)
    assert (grey["flicker"], grey["chroma"]) == ([0, 0], 0)
    jumping = [torch.full((2, 64, 64), float(k)) for k in (0, 3, 3)]
    assert measure(frames, jumping)["flicker"] == pytest.approx([18**0.5, 0], abs=1e-3)


def test_means_over_clips():
    clips = [
        {"flicker": [1.0, 2.0], "auc": 90.0, "rmse": 8.0, "chroma": 5.0},
        {"flicker": [3.0, 4.0], "auc": 80.0, "rmse": 4.0, "chroma": 15.0},
    ]
    found = means(clips)
    assert found == {"flicker": 2.5, "auc": 85, "rmse": 6, "chroma": 10, "share": 0.25}


class Counting(ColorNet):
    """Colours every frame of a clip by its number."""

    def forward(self, lightness):
        n = torch.arange(float(lightness.shape[1] if lightness.ndim == 5 else 1))
        return n[:, None, None, None].expand(-1, 2, 4, 4)

    def target(self, ab, lightness, labels=None): ...
    def loss(self, output, target): ...
    def to_ab(self, output, lightness, decode):
        return output

    @classmethod
    def from_header(cls, header): ...


class Desk:
    """As much of a Colorizer as is needed."""

    def __init__(self):
        self.net = Counting(working_size=32)

    def predict_ab(self, photo):
        return self.net(photo.lightness(32, "cpu"))


def test_clips_are_given_whole_and_frames_alone():
    frames = clip(3)
    found = clip_answers(Desk(), frames)
    assert [tuple(lightness.shape) for lightness, _ in found] == [(1, 1, 32, 32)] * 3
    assert [ab.mean().item() for _, ab in found] == [0, 1, 2]
    alone = colored(Desk(), Method("x"), frames)
    assert [ab.mean().item() for _, ab in alone] == [0, 0, 0]
    whole = colored(Desk(), Method("x", as_clip=True), frames)
    assert [ab.mean().item() for _, ab in whole] == [0, 1, 2]
    smooth = colored(Desk(), Method("x", as_clip=True, smooth=0.9), frames)
    assert smooth[2][1].mean() < 1.5
