"""`zcolor inspect`: the folder it writes, what it chooses, what it refuses."""

import re

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from zcolor.apps.inspect import inspect_model
from zcolor.apps.inspect_page import (
    grey_of,
    shade_filter,
    shade_map,
    table_html,
    tile_sheet,
    write_index,
)
from zcolor.excitation import ExciteSettings

QUICK = ExciteSettings(side=16, steps=2)


@pytest.fixture(scope="module")
def photo():
    return skimage.data.coffee()[::10, ::10].copy()


def look(photo, out, weights, **changes):
    return inspect_model(
        photo, out, model=weights, settings=QUICK, device="cpu", progress=False, **changes
    )


def test_a_whole_look(photo, weights, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.fromarray(photo[:, number * 5 :]).save(photos / f"{number}.png")
    out = tmp_path / "new" / "look"
    report = look(photo, out, weights, strongest=2, photos=[photos], max_photos=2)
    names = {path.name for path in out.iterdir()}
    parts = [
        f"{kind}-{n}.png" for kind in ("activations", "excite", "patches") for n in range(1, 10)
    ]
    assert names == {"index.html", "filters.png", "input.png", *parts}
    page = report.page.read_text(encoding="utf-8")
    shown = re.findall(r"src='([^']+)'", page)
    assert sorted(shown) == sorted(names - {"index.html"})
    assert "<h2>Group 9: classifier</h2>" in page
    assert "groups.3.4" in page
    assert len(report.groups) == len(report.fields) == 9
    assert all(len(units) == 2 for units in report.units.values())
    # Two photographs, so two columns; two units, so two rows.
    with Image.open(out / "patches-3.png") as sheet:
        assert sheet.size == (2 * 134 + 6, 2 * 152)
    n_parameters = sum(layer.n_parameters for layer in report.layers)
    assert f"{n_parameters:,} parameters" in report.summary()
    assert report.summary().count("\n") == 10
    # Again into the same folder: ours is replaced.
    again = look(photo, out, weights, group="2", units=(1,))
    assert again.units == {"groups.1": (1,)}


def test_one_unit_of_one_group_without_a_photo(weights, tmp_path):
    report = look(None, tmp_path, weights, group="groups.4", units=[3, 1])
    assert report.units == {"groups.4": (3, 1)}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"index.html", "filters.png", "input.png", "activations-5.png", "excite-5.png"}
    assert "noise like a photo" in report.page.read_text(encoding="utf-8")
    with Image.open(tmp_path / "excite-5.png") as sheet:
        assert sheet.size[0] == 2 * 166 + 6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"units": (1,)}, ValueError, "name it too: --group 5 --unit 17"),
        ({"group": "12"}, ValueError, "there is no group '12'"),
        ({"group": "1", "units": (99,)}, ValueError, "no unit 99 in group groups.0.* 0 to 3"),
        ({"strongest": 0}, ValueError, "at least 1"),
        ({"photos": ["nowhere"], "group": "1"}, FileNotFoundError, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused(photo, weights, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        look(photo, tmp_path, weights, **changes)
    assert not (tmp_path / "index.html").exists()


def test_a_damaged_photo_is_named_and_the_others_are_looked_at(photo, weights, tmp_path, caplog):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("0.png", "2.png"):
        Image.fromarray(photo).save(photos / name)
    (photos / "1.png").write_bytes(b"broken")
    options = {"group": "1", "strongest": 1, "photos": [photos]}
    look(photo, tmp_path / "out", weights, **options)
    with Image.open(tmp_path / "out" / "patches-1.png") as sheet:
        assert sheet.width == 2 * 134 + 6
    (said,) = caplog.messages
    assert said.startswith(f"left out: {photos / '1.png'}: ")
    for name in ("0.png", "2.png"):
        (photos / name).write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"none of the 3 photos can be read; .*0\.png"):
        look(photo, tmp_path / "out", weights, **options)


@pytest.mark.parametrize("name", ["index.html", "input.png", "excite-2.png"])
def test_files_of_others_are_not_replaced(photo, weights, tmp_path, name):
    (tmp_path / name).write_text("<html>my homepage</html>")
    if name.endswith("png"):
        Image.new("L", (8, 8), 70).save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(FileExistsError, match=f"{name} was not written by .* another folder"):
        look(photo, tmp_path, weights)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_an_earlier_look_is_replaced_also_if_it_did_not_end(photo, weights, tmp_path):
    look(photo, tmp_path, weights, group="1", strongest=1)
    (tmp_path / "index.html").unlink()
    look(photo, tmp_path, weights, group="1", strongest=1)
    assert (tmp_path / "index.html").exists()
    Image.new("L", (8, 8)).save(tmp_path / "input.png")  # from before pictures had a mark
    look(photo, tmp_path, weights, group="1", strongest=1)


# ---- the drawing -------------------------------------------------------------------------------


def test_lightness_is_shown_as_its_grey():
    shown = grey_of(torch.tensor([[[0.0, 53.585, 100.0]]]))
    assert shown.tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_maps_are_black_up_to_zero():
    assert shade_map(torch.tensor([[-5.0, 0.0, 1.0, 2.0]]))[0, :, 0].tolist() == [
        0, 0, pytest.approx(128, abs=2), 255
    ]  # fmt: skip
    # Nothing above zero: from the lowest to the highest.
    assert shade_map(torch.tensor([[-3.0, -1.0]]))[0, :, 0].tolist() == [0, 255]
    assert shade_map(torch.zeros(2, 2)).max() == 0


def test_filters_are_blue_white_red():
    blue, white, red = shade_filter(torch.tensor([[-2.0, 0.0, 1.0]]))[0].tolist()
    assert white == [255, 255, 255]
    assert blue == [30, 80, 180]
    assert red[0] > red[1]
    assert (shade_filter(torch.zeros(2, 2)) == 255).all()


def test_tiles_keep_their_proportions_and_hard_edges():
    tile = np.zeros((2, 4, 3), np.uint8)
    tile[:, :2] = 200
    sheet = np.asarray(tile_sheet([("a", tile)] * 3, per_row=2, side=64))
    assert sheet.shape == (2 * 88, 2 * 70 + 6, 3)
    assert set(sheet[18 : 18 + 32, 6:70, 0].flatten().tolist()) == {0, 200}
    assert (sheet[18 + 33 : 80, 6:70] > 240).all()
    with pytest.raises(ValueError, match="at least one tile"):
        tile_sheet([])


def test_text_is_escaped():
    assert table_html(["a"], [["<b>"]]) == (
        "<table><tr><th>a</th></tr>\n<tr><td>&lt;b&gt;</td></tr>\n</table>"
    )


def test_a_page_may_name_what_is_no_text(tmp_path):
    write_index(tmp_path / "index.html", "Inside stra\udcdfe.safetensors", ["<p>"])
    assert "stra\\udcdfe" in (tmp_path / "index.html").read_text("utf-8")
