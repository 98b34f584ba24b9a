"""The study of chroma compression, on small pictures made here."""

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from studies import chroma_compression, chroma_measure
from studies.chroma_compression import ChromaStudy, run
from studies.chroma_measure import (
    MEASURES,
    SHRUNK,
    WAYS,
    choose,
    enlarge,
    measure,
    measure_all,
    read,
    restored,
    shrink,
    summarise,
)
from zcolor.training.dataset import open_photos
from zcolor.training.validate import rgb8_to_lab


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos of short side 32 and more, and one that is too small."""
    folder = tmp_path_factory.mktemp("photos")
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    for name, rgb, size in (
        ("a.png", astronaut, (32, 32)),
        ("b.png", coffee, (60, 40)),
        ("c.png", coffee, (30, 20)),
    ):
        Image.fromarray(rgb).resize(size, Image.Resampling.BOX).save(folder / name)
    return folder


def photo(side=64):
    rgb = skimage.data.astronaut()
    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BOX))


# ---- chroma, smaller and back ----------------------------------------------------------------


@pytest.mark.parametrize(("percent", "side"), [(0, 224), (50, 112), (85, 34), (95, 11), (99.9, 1)])
def test_sides_that_remain(percent, side):
    assert shrink(torch.zeros(1, 2, 224, 224), percent).shape == (1, 2, side, side)


def test_shrinking_and_enlarging_are_those_of_pil_and_opencv():
    plane = rgb8_to_lab(photo())[:, 1:2]
    small = shrink(plane, 75)
    theirs = Image.fromarray(plane[0, 0].numpy()).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.abs(small[0, 0].numpy() - np.asarray(theirs)).max() < 1e-3
    back = cv2.resize(small[0, 0].numpy(), (64, 64), interpolation=cv2.INTER_CUBIC)
    assert np.abs(enlarge(small, (64, 64))[0, 0].numpy() - back).max() < 1e-2


@pytest.mark.parametrize("way", WAYS)
def test_nothing_taken_away_is_nothing_lost(way):
    truth = photo()
    found = restored(truth, 0, way)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("way", WAYS)
def test_one_colour_loses_nothing(way):
    truth = np.full((40, 56, 3), (180, 90, 40), np.uint8)
    assert np.abs(restored(truth, 90, way).astype(int) - truth).max() <= 1


@pytest.mark.parametrize("way", WAYS)
def test_more_taken_away_is_more_lost(way):
    truth = photo()
    errors = [measure(restored(truth, percent, way), truth)["rmse"] for percent in (0, 50, 80, 95)]
    assert errors == sorted(errors)
    assert errors[-1] > 5 * errors[0]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "YCbCr with Y"])
def test_lightness_stays(way):
    truth = photo()
    off = rgb8_to_lab(restored(truth, 90, way))[:, 0] - rgb8_to_lab(truth)[:, 0]
    assert off.abs().max() < 0.5


def test_luma_stays_where_the_colour_exists():
    truth = (photo() // 2 + 64).astype(np.uint8)  # far from the border of the gamut
    weights = np.array([0.299, 0.587, 0.114])
    off = (restored(truth, 90, "YCbCr with Y") - truth.astype(float)) @ weights
    assert np.abs(off).max() < 1


def test_an_unknown_way():
    with pytest.raises(ValueError, match="way must be one of Lab, bicubic"):
        restored(photo(), 50, "HSV")


def test_measures():
    truth = photo()
    same = measure(truth, truth)
    assert list(same) == list(MEASURES)
    assert same == {"psnr": 100, "ssim": pytest.approx(1), "ciede2000": 0, "rmse": 0}
    lab = rgb8_to_lab(truth)
    grey = np.repeat(np.asarray(Image.fromarray(truth).convert("L"))[..., None], 3, 2)
    expected = np.sqrt((lab[0, 1:].numpy() ** 2).mean())
    assert measure(grey, truth)["rmse"] == pytest.approx(expected, rel=1e-3)


# ---- photographs -----------------------------------------------------------------------------


def test_photos_that_are_too_small_are_left_out(folder):
    photos = open_photos([folder])
    assert choose(photos, short_side=32, limit=9) == [0, 1]
    assert choose(photos, short_side=32, limit=1) == [0]
    assert read(photos, 1, short_side=32).shape == (32, 48, 3)
    with pytest.raises(ValueError, match="no photo has a short side of 64"):
        choose(photos, short_side=64, limit=9)


def test_an_interrupted_measurement_goes_on(folder, tmp_path, monkeypatch):
    photos = open_photos([folder])
    monkeypatch.setattr(chroma_measure, "SHRUNK", (0, 90))
    monkeypatch.setattr(chroma_measure, "_KEPT_EVERY", 1)
    whole = measure_all(photos, [0, 1], tmp_path / "whole", short_side=32, progress=False)
    assert np.shape(whole["0"]) == (len(WAYS) * 2, len(MEASURES))
    seen = []

    def interrupted(*args):
        seen.append(args)
        if len(seen) > len(WAYS) * 2:
            raise KeyboardInterrupt
        return restored(*args)

    monkeypatch.setattr(chroma_measure, "restored", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_all(photos, [0, 1], tmp_path / "part", short_side=32, progress=False)
    seen.clear()
    again = measure_all(photos, [0, 1], tmp_path / "part", short_side=32, progress=False)
    assert again == whole
    assert len(seen) == len(WAYS) * 2, "the first photo is not measured again"
    # Another size is another measurement.
    seen.clear()
    measure_all(photos, [1], tmp_path / "part", short_side=36, progress=False)
    assert seen


def test_means_over_photos():
    rows = len(WAYS) * len(SHRUNK)
    measured = {str(i): [[i, 2.0, 0.0, 10.0 * i]] * rows for i in range(1, 41)}
    figures = summarise(measured, 0)
    assert len(figures) == rows * len(MEASURES)
    mean = figures[WAYS[1], 70, "psnr"]
    assert mean.value == pytest.approx(20.5)
    # Of the standard deviation over the root of 40, 1.96 on either side.
    assert mean.half_width == pytest.approx(1.96 * np.arange(1, 41).std() / 40**0.5, rel=0.15)
    assert figures[WAYS[0], 95, "ssim"].half_width == pytest.approx(0, abs=1e-9)


# ---- the page --------------------------------------------------------------------------------


def test_the_page(folder, tmp_path):
    study = ChromaStudy(
        (str(folder),), limit=2, short_side=32, called="pictures", runs=tmp_path / "runs",
        out=tmp_path / "out",
    )  # fmt: skip
    page = run(study, command=["python", "-m", "studies.chroma_compression"], progress=False)
    text = page.read_text()
    assert "2 pictures, short side 32 px" in text
    assert "| 85 % | 34 x 34 | 2,312 | 0.046 |" in text
    tables = [line for line in text.splitlines() if line.startswith("| 95 % |")]
    assert len(tables) == len(MEASURES) + 1
    for name in ("chroma-compression.png", "chroma-compression.jpg"):
        assert f"({name})" in text
        assert 0 < (page.parent / name).stat().st_size < 400_000
    assert (study.runs / "sheet.jpg").exists()
    # Photographs that are measured stay there; the page shows others.
    assert {path.name for path in page.parent.iterdir()} == {
        "chroma-compression.md",
        "chroma-compression.png",
        "chroma-compression.jpg",
    }
    with Image.open(page.with_suffix(".jpg")) as sheet:
        assert sheet.size == (7 * 128, 4 * 128 + 16)
    # The same command writes the same page from what it has measured.
    assert run(study, command=["python", "-m", "studies.chroma_compression"], progress=False)
    assert page.read_text() == text


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"short_side": 16}, {"seed": -1}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="limit must be at least 1"):
        ChromaStudy(("photos",), **wrong)


def test_the_level_of_the_network_is_one_of_those_measured():
    assert chroma_compression._NETWORK in SHRUNK
    assert set(chroma_compression._SHOWN) <= set(SHRUNK)
