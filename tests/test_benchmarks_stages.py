"""The learning curve over checkpoints: what stands in it, and that losses are differences."""

import json

import cv2
import pytest
import torch
from skimage import data
from torch import nn

from benchmarks.stages import AUCS, Settings, main, measure_stages
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model
from zcolor.settings import PRESETS, DecodeSettings
from zcolor.training.mean_weights import mean_weights


@pytest.fixture
def stages(tmp_path):
    paths = []
    for seed, (seen, aged) in enumerate(((100, None), (50, 0.25))):
        torch.manual_seed(seed)
        net = Zhang(width=1 / 16, working_size=32)
        nn.init.normal_(net.classifier.weight, std=300.0)
        path = tmp_path / f"stage{seed}.safetensors"
        training = {} if aged is None else {"film": {"share": aged}}
        save_model(path, net, {"provenance": {"seen": seen}, "training": training})
        paths.append(str(path))
    return tuple(paths)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, photo in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
        cv2.imwrite(str(folder / f"{i}.png"), photo[100:228, 100:260, ::-1])
    return (str(folder),)


def test_every_stage_has_its_figures(stages, photos):
    measured = measure_stages(Settings(photos, models=stages, jobs=1))
    assert measured["photos"] == 3
    first, second = measured["stages"]
    assert [first["name"], second["name"]] == ["stage0", "stage1"]
    assert [first["seen"], second["seen"]] == [100, 150]
    assert [first["aged"], second["aged"]] == [0, 0.25]
    for stage in (first, second):
        for preset in PRESETS:
            for auc in AUCS:
                clean, aged, lost = (stage[preset][key][auc] for key in ("clean", "aged", "lost"))
                assert lost[0] == pytest.approx(clean[0] - aged[0])
                assert lost[1] <= lost[0] <= lost[2]
                # A random network's colours are worse than none.
                assert clean[0] < 0
                assert 0 < measured["grey"][auc] < 100
    assert first["vivid"] != second["vivid"]


def test_a_mean_of_stages_saw_what_they_saw_and_presets_may_be_of_another(stages, photos, tmp_path):
    mean = tmp_path / "mean.safetensors"
    pale = {"vivid": DecodeSettings(temperature=0.4), "accurate": DecodeSettings()}
    mean_weights(stages, mean, presets=pale)
    models = (*stages, str(mean))
    measured = measure_stages(Settings(photos, models=models, jobs=1, photos=1))
    assert [stage["seen"] for stage in measured["stages"]] == [100, 150, 150]
    settings = Settings(photos, models=models, jobs=1, photos=1, presets=stages[0])
    other = measure_stages(settings)
    assert other["stages"][1]["vivid"] != measured["stages"][1]["vivid"]
    usual = measure_stages(Settings(photos, models=stages, jobs=1, photos=1))
    assert other["stages"][1]["vivid"] == usual["stages"][1]["vivid"]


def test_the_table_and_the_file_say_the_same(stages, photos, tmp_path, capsys):
    path = tmp_path / "stages.json"
    main(Settings(photos, models=stages, photos=2, jobs=1, json=path))
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.count("|") == 8
    for stage, row in zip(json.loads(path.read_text())["stages"], rows, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == f"{stage['seen']} ({100 * stage['aged']:.0f} %)"
        raw, rebalanced = (stage["accurate"]["aged"][auc][0] for auc in AUCS)
        assert cells[5] == f"{raw:+.2f} / {rebalanced:+.2f}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photos": -2}, r"photos must be at least 0 \(all of them\).*photos=-2"),
        ({"jobs": 0}, "jobs at least 1, got photos=0 jobs=0"),
        ({"models": ()}, "name at least one checkpoint"),
        ({"models": ("zhang", "zhang")}, "each of them once; got .'zhang', 'zhang'."),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(("photos.h5",), **options)
