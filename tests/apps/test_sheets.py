"""Before/after sheets."""

import numpy as np
import pytest
from PIL import Image

from zcolor.apps import sheets


def test_contact_sheet_shows_every_sheet_once():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0), (0, 90, 90)]
    drawn = [Image.new("RGB", (1000 + 300 * i, 100), color) for i, color in enumerate(colors)]
    contact = sheets.contact_sheet(drawn)
    assert contact.width == sheets._CONTACT_WIDTH
    shares = [
        np.all(np.asarray(contact) == color, axis=2).sum() / (sheet.width * sheet.height)
        for sheet, color in zip(drawn, colors, strict=True)
    ]
    assert shares == pytest.approx([sheets._CONTACT_SCALE**2] * len(drawn), rel=0.02)


def test_captions_are_drawn():
    picture = Image.new("RGB", (64, 64), (250, 250, 248))
    blank, written = sheets.draw_sheet([("", picture)]), sheets.draw_sheet([("zcolor", picture)])
    assert np.ptp(np.asarray(blank)) == 2
    assert np.asarray(written)[: sheets._CAPTION_HEIGHT].min() < 100
    assert np.array_equal(
        np.asarray(blank)[sheets._CAPTION_HEIGHT :], np.asarray(written)[sheets._CAPTION_HEIGHT :]
    )


def test_sheet_of_nothing():
    with pytest.raises(ValueError, match="at least one panel"):
        sheets.draw_sheet([])


@pytest.mark.parametrize("shape", [(640, 320, 1), (100, 50, 2), (640, 320, 3), (320, 160, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_panel_has_the_colour_of_the_picture(shape, dtype):
    rgb = np.array([90, 30, 200][: 1 if shape[2] < 3 else 3])
    color = np.array([*rgb, 77]) if shape[2] in (2, 4) else rgb
    scale = 257 if dtype == np.uint16 else 1
    pixels = np.broadcast_to((color * scale).astype(dtype), shape)
    panel = sheets.panel_of(np.ascontiguousarray(pixels))
    assert (panel.size, panel.mode) == ((160, 320), "RGB")
    assert np.all(np.asarray(panel) == rgb)
