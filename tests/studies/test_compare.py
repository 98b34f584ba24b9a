"""The comparison of the families, on pictures that take no time."""

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from studies import compare
from studies.compare import CONTESTANTS, CompareStudy, Contestant, reached, recipe_settings, run
from zcolor.training.settings import TrainSettings


def photos(folder, n, seed):
    """Blue above green, the border somewhere: easy to learn."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        rgb = np.zeros((40, 40, 3), np.uint8)
        border = int(rng.integers(10, 30))
        rgb[:border], rgb[border:] = (90, 140, 220), (60, 140, 50)
        noisy = np.clip(rgb + rng.normal(0, 12, (40, 40, 1)), 0, 255).astype(np.uint8)
        path = folder / "miniplaces" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noisy[..., ::-1])


@pytest.fixture
def study(tmp_path, monkeypatch):
    photos(tmp_path / "photos", 12, 0)
    photos(tmp_path / "others", 4, 1)
    small = {
        "zhang": Contestant("zhang", "--width 0.0625 --targets hard --batch 4"),
        "autoencoder, plain": Contestant("autoencoder", "--options layout=plain --batch 4"),
    }
    monkeypatch.setattr(compare, "CONTESTANTS", small)
    return CompareStudy(
        (str(tmp_path / "photos"),),
        val=(str(tmp_path / "others"),),
        n_photos=10,
        n_val=4,
        seen=16,
        side=32,
        families=tuple(small),
        runs=tmp_path / "runs",
        out=tmp_path / "pages",
    )


def test_the_page_holds_what_was_measured_and_a_second_call_trains_nothing(study, monkeypatch):
    run(study)
    page = (study.out / "compare.md").read_text()
    figures = json.loads((study.runs / "zhang" / "figures.json").read_text())
    value = figures["methods"]["chosen"]["figures"]["auc_rebalanced"]["value"]
    assert f"| {value:.2f} |" in page
    assert "classification with rebalancing buys" in page
    assert {p.name for p in study.out.iterdir()} == {
        "compare.md",
        "compare.jpg",
        "compare-curves.png",
    }
    # The four measured photos stay in the folder of runs; the page shows the samples with colours.
    for path, n in ((study.runs / "sheet.jpg", 4), (study.out / "compare.jpg", 8)):
        with Image.open(path) as sheet:
            assert sheet.size == (3 * 112, n * 112 + 16)
    assert len(list((study.runs / "train").rglob("*.png"))) == 10
    for name in ("zhang", "autoencoder-plain"):
        lines = (study.runs / name / "log.jsonl").read_text().splitlines()
        assert max(json.loads(line)["seen"] for line in lines) == 16

    def train(*args, **kwargs):
        pytest.fail("trained again")

    monkeypatch.setattr(compare, "train", train)
    run(study)
    assert (study.out / "compare.md").read_text() == page
    with pytest.raises(ValueError, match="holds runs of other settings"):
        run(dataclasses.replace(study, seen=32))
    assert (study.out / "compare.md").read_text() == page


def test_too_few_photos_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match="only 12 photos with 'miniplaces'"):
        compare.unpack(study.photos, tmp_path / "x", only="miniplaces", n=13)
    assert not (tmp_path / "x").exists()


def test_unknown_families_are_refused():
    with pytest.raises(ValueError, match=r"unknown family 'zang'; choose among zhang"):
        CompareStudy(("a",), val=("b",), families=("zang",))


@pytest.mark.parametrize("name", CONTESTANTS)
def test_all_see_the_same(name):
    study = CompareStudy(("a",), val=("b",), seen=800, side=32, seed=3)
    settings = recipe_settings(CONTESTANTS[name], study, Path("e.safetensors"))
    assert isinstance(settings, TrainSettings)
    assert (settings.photos, settings.crops, settings.working_size) == (800, (32,), 32)
    assert (settings.film.share, settings.augment.scaled, settings.seed) == (0, 0, 3)
    assert settings.model == CONTESTANTS[name].model
    extractor = "extractor_weights=e.safetensors" in settings.options
    assert extractor == CONTESTANTS[name].with_extractor


def test_when_a_loss_was_reached():
    curve = [(100, 1.0, 0.5, 0.0), (200, 2.0, 0.4, 0.0), (300, 3.0, 0.2, 0.0)]
    assert reached(curve, 0.6) == (100, 1.0)
    assert reached(curve, 0.3) == (250, pytest.approx(2.5))
    assert math.isnan(reached(curve, 0.1)[1])


def test_equal_loss_is_told_in_photos_epochs_and_minutes(study):
    curves = {
        "fusion": [(10, 1.0, 0.2, 60.0), (20, 2.0, 0.1, 61.0)],
        "autoencoder, plain": [(10, 0.5, 0.3, 60.0), (20, 1.0, 0.15, 60.0)],
    }
    found = {name: SimpleNamespace(curve=curve) for name, curve in curves.items()}
    text = compare._equal_loss(study, found)
    assert "is 0.15000" in text
    assert "| fusion | 15 | 1.50 | 1.5 | 0.10000 |" in text
    assert "| autoencoder, plain | 20 | 2.00 | 1.0 | 0.15000 |" in text
