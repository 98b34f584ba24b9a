"""Pages, tables and pictures that studies write."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from studies.report import (
    has_colors,
    save_plot,
    save_sheet,
    shown_photos,
    table,
    typed,
    write_page,
)


def test_a_table_has_one_line_a_row():
    lines = table(["a", "b"], [["1", 2], ["3", "4"]]).splitlines()
    assert lines == ["| a | b |", "|---|---|", "| 1 | 2 |", "| 3 | 4 |"]


def test_a_ragged_table_is_refused():
    with pytest.raises(ValueError, match="as many cells"):
        table(["a", "b"], [["1"]])


def test_a_page_says_how_it_was_made_without_paths(tmp_path):
    path = tmp_path / "new" / "page.md"
    words = ["python", "-m", "studies.some", "/home/me/photos.zip", "--n", "3"]
    write_page(path, "Some study", ["First.\n", "| a |\n|---|"], command=words)
    text = path.read_text()
    assert text.startswith("# Some study\n\nFirst.\n\n| a |")
    assert "python -m studies.some photos.zip --n 3" in text
    assert "/home" not in text
    assert [p.name for p in path.parent.iterdir()] == ["page.md"]


def test_a_plot_is_kept_small(tmp_path):
    figure = Figure(figsize=(4, 3))
    figure.add_subplot().plot([1, 2, 3])
    assert save_plot(figure, tmp_path / "some-plot.png") == "![some plot](some-plot.png)"
    with Image.open(tmp_path / "some-plot.png") as image:
        assert image.format == "PNG"
        assert 300 < image.width < 500


def test_a_sheet_shows_every_picture_in_its_place(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(40, 60), (64, 64), (20, 90)]
    colors = rng.integers(0, 256, (2, 3, 3))
    rows = [
        [np.full((*shape, 3), color, np.uint8) for shape, color in zip(shapes, row, strict=True)]
        for row in colors
    ]
    shown = save_sheet(["one", "two", "three"], rows, tmp_path / "sheet.jpg", side=32)
    assert shown == "![sheet](sheet.jpg)"
    with Image.open(tmp_path / "sheet.jpg") as image:
        assert image.size == (3 * 32, 2 * 32 + 16)
        pixels = np.asarray(image).astype(int)
    for i in range(2):
        for j in range(3):
            middle = pixels[16 + 32 * i + 16, 32 * j + 16]
            assert np.abs(middle - colors[i, j]).max() < 12, (i, j)


def test_what_was_typed(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/studies/some.py", "a.zip"])
    assert typed("studies.some") == ["python", "-m", "studies.some", "a.zip"]


def test_pages_show_samples_that_have_colours():
    found = shown_photos(100)
    assert len(found) == 8  # of twelve: two are black and white, two aged
    assert [rgb.shape for rgb in shown_photos(2)] == [rgb.shape for rgb in found[:2]]
    assert all(has_colors(rgb) for rgb in found)
    grey = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    assert not has_colors(grey)
