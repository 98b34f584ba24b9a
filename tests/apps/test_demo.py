import re

import numpy as np
import pytest
from PIL import Image

from zcolor.apps import demo, sheets
from zcolor.apps.demo import SAMPLES, make_demo
from zcolor.apps.sheets import PANEL_HEIGHT
from zcolor.photo import read_photo


def test_samples_of_the_source_tree():
    photos = sorted(SAMPLES.iterdir())
    table = (SAMPLES.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+\.jpg)` \|", table, re.M) != []
    # Every sample is listed with its source and licence, and nothing else is.
    assert sorted(re.findall(r"^\| `([\w-]+\.jpg)` \|", table, re.M)) == [p.name for p in photos]
    assert all(
        re.search(rf"^\| `{path.name}` .*\| (public domain|CC0) \|$", table, re.M)
        for path in photos
    )
    assert 6 <= len(photos) <= 12
    assert sum(path.stat().st_size for path in photos) < 2e6
    for path in photos:
        photo = read_photo(path)
        assert max(photo.height, photo.width) <= 640


def test_sheets(tmp_path, weights):
    samples = tmp_path / "samples"
    samples.mkdir()
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[..., 0] = np.random.default_rng(0).integers(150, 255, (32, 48))
    Image.fromarray(rgb).save(samples / "color.png")
    Image.new("L", (32, 32), 90).save(samples / "grey.jpg")
    (samples / "README.md").write_text("no photograph")
    out = tmp_path / "deep" / "out"
    report = make_demo(out, samples=samples, model=weights, device="cpu", progress=False)
    assert report.sheets == (out / "color.jpg", out / "grey.jpg")
    assert report.contact == out / "_all.jpg"
    assert sorted(path.name for path in out.iterdir()) == ["_all.jpg", "color.jpg", "grey.jpg"]
    height, gap = PANEL_HEIGHT, sheets._GAP
    with Image.open(report.sheets[0]) as sheet:  # grey, coloured, original
        width = height * 48 // 32
        assert sheet.width == 3 * width + 4 * gap
        pixels = np.asarray(sheet).astype(int)[sheets._CAPTION_HEIGHT :][:height]
        starts = [gap + i * (width + gap) for i in range(3)]
        grey, colored, original = (pixels[:, left : left + width] for left in starts)
    assert np.ptp(grey, axis=2).max() <= 2
    assert np.ptp(colored, axis=2).max() > 10
    assert np.ptp(original, axis=2).mean() > 150
    with Image.open(report.sheets[1]) as sheet:  # a grey photo has no original to show
        assert sheet.width == 2 * height + 3 * gap
    make_demo(out, samples=samples, model=weights, device="cpu", progress=False)


def test_no_photograph_is_replaced(tmp_path, weights):
    Image.new("L", (16, 16), 90).save(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(FileExistsError, match="would replace a photograph"):
        make_demo(tmp_path, samples=tmp_path, model=weights, device="cpu", progress=False)
    assert (tmp_path / "a.jpg").read_bytes() == before
    (tmp_path / "a.jpg").rename(tmp_path / "_all.jpg")
    with pytest.raises(FileExistsError, match=r"_all\.jpg would replace"):
        make_demo(tmp_path, samples=tmp_path, model=weights, device="cpu", progress=False)


def test_every_photograph_has_its_sheet_and_a_bad_one_is_named(tmp_path, weights):
    samples, out = tmp_path / "samples", tmp_path / "out"
    samples.mkdir()
    options = {"samples": samples, "model": weights, "device": "cpu", "progress": False}
    (samples / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"none of the 1 photographs can be read.*bad\.png"):
        make_demo(out, **options)
    for name in ("a.png", "A.jpg", "._a.jpg", "b.jpg"):
        Image.new("L", (16, 16), 90).save(samples / name)
    report = make_demo(out, **options)
    assert [path.name for path in report.sheets] == ["A.jpg.jpg", "a.png.jpg", "b.jpg"]
    assert [path for path, _ in report.failed] == [samples / "bad.png"]
    assert "is no image" in report.failed[0][1]


def test_installed_without_the_source_tree(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "SAMPLES", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"source tree of zcolor.*--samples"):
        make_demo(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_samples_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*; check the name"):
        make_demo(tmp_path / "out", samples=tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no photographs .* name another folder"):
        make_demo(tmp_path / "out", samples=tmp_path)


def test_pictures_of_others_are_not_replaced(tmp_path, weights):
    samples, out = tmp_path / "samples", tmp_path / "pics"
    samples.mkdir()
    out.mkdir()
    Image.new("L", (16, 16), 90).save(samples / "cat.jpg")
    options = {"samples": samples, "model": weights, "device": "cpu", "progress": False}
    for name in ("cat.jpg", "_all.jpg"):
        Image.new("L", (16, 16), 120).save(out / name)
        before = (out / name).read_bytes()
        with pytest.raises(FileExistsError, match=rf"{name} was not written by zcolor demo"):
            make_demo(out, **options)
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_bytes() == before
        (out / name).unlink()
    (out / "cat.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(FileExistsError, match=r"cat\.jpg was not written by zcolor demo"):
        make_demo(out, **options)
