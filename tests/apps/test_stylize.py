"""`zcolor stylize`: what comes out, in which colours and sizes, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from zcolor.apps import stylize as app
from zcolor.apps.stylize import StyleSettings, stylize, stylize_file
from zcolor.lab import rgb_to_lab
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model
from zcolor.style_features import FeatureNet

CAT = data.chelsea()[20:84, 100:196]
BRICK = data.brick()[:80, :80]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Settings for a thin zhang with random weights, at a tiny size."""
    path = tmp_path_factory.mktemp("zhang") / "thin.safetensors"
    torch.manual_seed(0)
    save_model(path, Zhang(width=1 / 16).eval(), {})
    return {"weights": str(path), "size": 32, "steps": 3}


@pytest.fixture
def files(tmp_path):
    Image.fromarray(CAT).save(tmp_path / "cat.png")
    Image.fromarray(BRICK).save(tmp_path / "brick.png")
    return tmp_path


def lab_of(picture):
    return rgb_to_lab(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)


def test_the_photo_keeps_its_colours_and_changes_its_lightness(quick):
    picture, energies = stylize(CAT, BRICK, StyleSettings(**quick, beta=100), progress=False)
    assert picture.shape == (24, 40, 3)  # the working shape of 64 x 96 at size 32
    assert picture.dtype == np.uint8
    import cv2

    before, after = lab_of(cv2.resize(CAT, (40, 24), interpolation=cv2.INTER_AREA)), lab_of(picture)
    assert (before - after)[:, 1:].abs().mean() < 1
    assert (before - after)[:, :1].abs().mean() > 0.5
    assert energies.style > 0
    assert energies.content > 0


def test_full_keeps_the_size_and_the_detail(quick):
    picture, _ = stylize(CAT, BRICK, StyleSettings(**quick, full=True), progress=False)
    assert picture.shape == CAT.shape
    # What the small drawing cannot hold is still that of the photo.
    change = lab_of(picture)[:, :1] - lab_of(CAT)[:, :1]
    fine = change - nn.functional.avg_pool2d(change, 5, 1, 2, count_include_pad=False)
    photo = lab_of(CAT)[:, :1]
    detail = photo - nn.functional.avg_pool2d(photo, 5, 1, 2, count_include_pad=False)
    assert fine.std() < detail.std() / 2


def test_a_texture_has_the_size_of_its_style_and_no_colour(quick):
    picture, energies = stylize(None, data.coffee()[:96, :96], StyleSettings(**quick))
    assert picture.shape == (32, 32, 3)
    assert np.ptp(picture.astype(int), axis=2).max() <= 1
    assert energies.content == 0


def test_the_same_seed_gives_the_same_texture(quick):
    first, again, other = (
        stylize(None, BRICK, StyleSettings(**quick, seed=seed))[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_network_that_sees_colour_changes_colours(quick, monkeypatch):
    torch.manual_seed(0)
    net = FeatureNet(
        [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()], {"one": 1}, style=("one",), content="one",
        mean=(0.5,) * 3, std=(0.25,) * 3,
    )  # fmt: skip
    asked = []
    monkeypatch.setattr(app, "_features", lambda settings, device: asked.append(settings) or net)
    settings = StyleSettings(size=32, steps=30, features="vgg19", alpha=0.01, beta=100)
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = np.arange(64) * 4
    green = red[:, :, [1, 0, 2]]
    picture, _ = stylize(red, green, settings, progress=False)
    assert asked == [settings]
    assert picture[..., 1].mean() > 20 + green[..., 0].mean()
    full, _ = stylize(
        red, green, StyleSettings(size=32, steps=2, features="vgg19", full=True), progress=False
    )
    assert full.shape == red.shape


@pytest.mark.parametrize(("weights", "asked"), [("", "hub"), ("vgg19.pth", "vgg19.pth")])
def test_vgg19_takes_the_weights_it_is_given(monkeypatch, weights, asked):
    import zcolor.style_features as style_features

    seen = []
    monkeypatch.setattr(
        style_features, "vgg19_features", lambda name, *, device: seen.append((name, device))
    )
    app._features(StyleSettings(features="vgg19", weights=weights), torch.device("cpu"))
    assert seen == [(asked, torch.device("cpu"))]


def test_a_file_is_written_in_the_format_of_its_name(quick, files):
    report = stylize_file(
        files / "cat.png", files / "brick.png", files / "new" / "a.jpg", StyleSettings(**quick)
    )
    with Image.open(report.path) as image:
        assert (image.format, image.size) == ("JPEG", (40, 24))
    assert report.seconds > 0
    assert [p.name for p in (files / "new").iterdir()] == ["a.jpg"]


def test_nothing_is_replaced_unasked(quick, files):
    out = files / "out.png"
    out.write_bytes(b"mine")
    cat, brick, settings = files / "cat.png", files / "brick.png", StyleSettings(**quick)
    with pytest.raises(FileExistsError, match=r"out\.png exists.*--overwrite"):
        stylize_file(cat, brick, out, settings)
    assert out.read_bytes() == b"mine"
    stylize_file(cat, brick, out, settings, overwrite=True)
    assert out.read_bytes()[1:4] == b"PNG"
    for original in (cat, brick):
        before = original.read_bytes()
        with pytest.raises(ValueError, match="an original, which is never replaced"):
            stylize_file(cat, brick, original, settings, overwrite=True)
        assert original.read_bytes() == before


def test_an_interrupt_leaves_nothing_behind(quick, files, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "_draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stylize_file(None, files / "brick.png", files / "out.png", StyleSettings(**quick))
    assert sorted(p.name for p in files.iterdir()) == ["brick.png", "cat.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"beta": 0.0}, "beta above it"),
        ({"beta": float("nan")}, "beta above it"),
        ({"alpha": float("inf")}, "both finite, got inf and 2.0"),
        ({"beta": float("inf")}, "both finite, got 1.0 and inf"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"size": 8}, r"size must lie in 16\.\.1024"),
        ({"size": 2000}, r"size must lie in 16\.\.1024"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        StyleSettings(**change)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_picture_of_no_numbers_is_not_written(quick, files, steps):
    settings = StyleSettings(**{**quick, "steps": steps}, beta=1e39)
    with pytest.raises(ValueError, match=r"alpha 1 and beta 1e\+39 are too large to draw with"):
        stylize_file(files / "cat.png", files / "brick.png", files / "out.png", settings)
    assert sorted(p.name for p in files.iterdir()) == ["brick.png", "cat.png"]


def test_a_place_that_cannot_be_is_refused_before_the_drawing(quick, files, monkeypatch):
    monkeypatch.setattr(app, "_draw", None)
    (files / "folder.png").mkdir()
    cat, brick, settings = files / "cat.png", files / "brick.png", StyleSettings(**quick)
    with pytest.raises(IsADirectoryError, match=r"folder\.png is a folder; name a file"):
        stylize_file(cat, brick, files / "folder.png", settings, overwrite=True)
    with pytest.raises(NotADirectoryError, match=r"since .*cat\.png is no folder"):
        stylize_file(cat, brick, cat / "out.png", settings)


def test_calls_that_make_no_sense_are_refused(quick, files):
    with pytest.raises(ValueError, match="full is for photos"):
        stylize(None, BRICK, StyleSettings(**quick, full=True))
    with pytest.raises(ValueError, match="batch of 2"):
        stylize(np.stack([CAT, CAT]), BRICK, StyleSettings(**quick))
    with pytest.raises(FileNotFoundError, match=r"no picture .*dog\.png"):
        stylize_file(files / "dog.png", files / "brick.png", files / "out.png")
    with pytest.raises(ValueError, match="ending"):
        stylize_file(files / "cat.png", files / "brick.png", files / "out.txt")
