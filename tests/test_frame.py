import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from torch import nn

from zcolor import Colorizer
from zcolor.apps.folder import color_files
from zcolor.apps.stream import color_bytes
from zcolor.files import encode_image
from zcolor.frame import SEARCH_SIDE, FilmBars, Inside, find_inside, inside_bars, inside_frame
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo
from zcolor.registry import save_model
from zcolor.render import join_ab
from zcolor.settings import ColorizeSettings

PHOTO = np.ascontiguousarray(data.camera()[::3, ::3])
"""A photographer before a bright sky, (171, 171) uint8."""


def framed(photo, margins, tone):
    """Put a frame around a grey picture; margins are top, bottom, left, right."""
    top, bottom, left, right = margins
    return np.pad(photo, ((top, bottom), (left, right)), constant_values=tone)


def place(photo, margins):
    top, _, left, _ = margins
    return Inside(top, top + photo.shape[0], left, left + photo.shape[1])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with random weights whose colours differ over a picture."""
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=64)
    nn.init.normal_(net.classifier.weight, std=100.0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net, {})
    return path


@pytest.fixture(scope="module")
def tiny(weights):
    return Colorizer(weights, device="cpu")


# ---- finding -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(2, 25)] * 4),
    st.sampled_from([0.0, 8.0, 92.0, 100.0]),
    st.floats(0, 2),
    st.integers(0, 99),
)
def test_finds_a_frame_of_any_width_under_grain(margins, tone, grain, seed):
    random = np.random.default_rng(seed)
    photo = random.uniform(25, 75, (90, 120))
    picture = framed(photo, margins, tone) + random.normal(0, grain, np.add(photo.shape, (
        margins[0] + margins[1], margins[2] + margins[3])))  # fmt: skip
    assert find_inside(picture.clip(0, 100).astype(np.float32)) == place(photo, margins)


@pytest.mark.parametrize("tone", [2, 97])
def test_finds_the_frame_of_a_photograph(tone):
    photo = PHOTO.astype(np.float32) / 2.55
    margins = (9, 12, 7, 7)
    assert find_inside(framed(photo, margins, tone)) == place(photo, margins)


def test_dust_and_a_scratch_do_not_hide_a_frame():
    margins = (12, 12, 12, 12)
    picture = framed(PHOTO.astype(np.float32) / 2.55, margins, 96)
    random = np.random.default_rng(0)
    for y, x in zip(*(random.integers(0, picture.shape[0], 150) for _ in range(2)), strict=True):
        picture[y, x] = 40
    picture[:, 60:62] = 50
    assert find_inside(picture) == place(PHOTO, margins)


def test_a_bright_sky_may_run_into_the_frame_on_one_side():
    photo = np.random.default_rng(0).uniform(25, 75, (90, 120)).astype(np.float32)
    photo[:20] = 96
    found = find_inside(framed(photo, (8, 8, 8, 8), 96))
    assert found == Inside(28, 98, 8, 128)  # what is as white as paper needs no colour


def test_a_photograph_without_a_frame_has_none():
    for picture in (data.camera(), data.astronaut()[..., 1], data.coffee()[..., 1], data.cat()):
        assert (
            inside_frame(picture[None, ..., None] if picture.ndim == 2 else picture[None]) is None
        )


def test_what_stands_before_a_backdrop_is_not_framed():
    for tone in (5, 95):
        y, x = np.mgrid[:100, :140]
        picture = np.full((100, 140), tone, np.float32)
        picture[(y - 50) ** 2 / 40**2 + (x - 70) ** 2 / 50**2 < 1] = 50
        assert find_inside(picture) is None


@pytest.mark.parametrize(
    "margins",
    [(0, 12, 12, 12), (12, 12, 12, 0), (12, 0, 0, 0), (12, 12, 0, 0), (0, 0, 0, 0)],
)
def test_a_frame_goes_all_around(margins):
    photo = np.random.default_rng(0).uniform(25, 75, (90, 120)).astype(np.float32)
    assert find_inside(framed(photo, margins, 96)) is None


@pytest.mark.parametrize(("vertical", "horizontal"), [(0, 20), (15, 0), (12, 20)])
def test_black_bars_are_a_frame_on_two_sides(vertical, horizontal):
    picture = np.pad(PHOTO, ((vertical, vertical), (horizontal, horizontal)))
    found = inside_frame(picture[None, ..., None])
    slack = np.abs(np.subtract(found, place(PHOTO, [vertical, vertical, horizontal, horizontal])))
    assert slack.max() <= 1


@pytest.mark.parametrize("margins", [(15, 0, 0, 0), (0, 0, 0, 20), (20, 0, 20, 0)])
def test_black_on_one_side_is_no_bar(margins):
    assert inside_frame(framed(PHOTO, margins, 0)[None, ..., None]) is None


def test_a_lamp_in_a_dark_room_is_not_between_bars():
    y, x = np.mgrid[:100, :140]
    lamp = np.clip(90 - np.hypot(y - 50, x - 70) * 3, 0, 100).astype(np.float32)
    assert find_inside(lamp) is None


@pytest.mark.parametrize("tone", [30, 50, 65])
def test_a_sky_or_a_wall_is_no_paper(tone):
    photo = np.random.default_rng(0).uniform(0, 100, (90, 120)).astype(np.float32)
    assert find_inside(framed(photo, (9, 9, 9, 9), tone)) is None


@pytest.mark.parametrize("tone", [0.0, 50.0, 100.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (40, 60)])
def test_one_tone_has_no_inside(shape, tone):
    assert find_inside(np.full(shape, tone, np.float32)) is None


def test_a_frame_that_leaves_next_to_nothing_is_none():
    photo = np.random.default_rng(0).uniform(25, 75, (20, 30)).astype(np.float32)
    assert find_inside(framed(photo, (40, 40, 40, 40), 96)) is None


@pytest.mark.parametrize("tone", range(0, 256, 15))
def test_the_cheap_look_at_the_border_hides_no_frame(tone):
    picture = framed(np.full((60, 60), 120 if tone > 170 else 230, np.uint8), [6] * 4, tone)
    lightness = read_photo(picture).lightness(72, "cpu")[0, 0].numpy()
    assert inside_frame(picture[None, ..., None]) == find_inside(lightness)


@given(st.tuples(*[st.integers(0, 40)] * 4), st.integers(20, 800), st.integers(20, 1600))
def test_scaled_keeps_the_frame_out(margins, height, width):
    inside = Inside(margins[0], 100 - margins[1], margins[2], 200 - margins[3])
    scaled = inside.scaled((100, 200), (height, width))
    vertical, horizontal = Fraction(height, 100), Fraction(width, 200)
    assert inside.top * vertical <= scaled.top < inside.top * vertical + 1
    assert inside.bottom * vertical - 1 < scaled.bottom <= inside.bottom * vertical
    assert inside.left * horizontal <= scaled.left < inside.left * horizontal + 1
    assert inside.right * horizontal - 1 < scaled.right <= inside.right * horizontal


def test_an_inside_that_reaches_the_edges_still_does_at_any_size():
    for height in range(385, 3000, 7):
        for width in (384, 400, 487, 640, 1280, 1920, 2999):
            scale = SEARCH_SIDE / max(height, width)
            rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
            inside = Inside(0, rows, 0, columns)
            assert inside.scaled((rows, columns), (height, width)) == (0, height, 0, width)


def test_an_inside_without_a_whole_pixel_at_another_size_is_none():
    assert Inside(0, 9, 1, 2).scaled((9, 3), (9, 4)) is None
    assert Inside(1, 2, 0, 9).scaled((3, 9), (4, 9)) is None
    assert Inside(1, 2, 0, 9).scaled((3, 9), (6, 9)) == Inside(2, 4, 0, 9)


@pytest.mark.parametrize("turn", [False, True])
def test_a_strip_too_thin_for_a_frame_has_none(tiny, turn):
    strip = np.ones((500, 4), np.float32)
    strip[1:-1, 1:-1] = 0.66
    strip = strip.T if turn else strip
    assert read_photo(strip, find_frame=True).inside is None
    assert tiny(strip).shape == (*strip.shape, 3)


def test_a_large_scan_is_searched_small_and_found_within_a_pixel_of_the_search():
    photo = np.array(Image.fromarray(PHOTO).resize((1710, 1368)))
    margins = (61, 80, 47, 90)
    scan = framed(photo, margins, 244)
    found = inside_frame(scan[None, ..., None])
    assert found is not None
    slack = np.abs(np.subtract(found, place(photo, margins)))
    assert slack.max() <= max(scan.shape) / SEARCH_SIDE


# ---- the bars of a film ----------------------------------------------------------------------


def boxed(vertical, horizontal, level=50.0, shape=(60, 100)):
    frame = np.zeros(shape, np.float32)
    frame[vertical : shape[0] - vertical, horizontal : shape[1] - horizontal] = level
    return frame


@given(st.integers(2, 25), st.integers(2, 40), st.floats(9, 100))
def test_bars_are_found_with_a_line_of_each(vertical, horizontal, level):
    bars = FilmBars()
    expected = Inside(vertical - 1, 61 - vertical, horizontal - 1, 101 - horizontal)
    assert bars.inside(boxed(vertical, horizontal, level)) == expected
    assert not bars.gone


def test_bars_only_become_narrower():
    bars = FilmBars()
    assert bars.inside(np.zeros((60, 100), np.float32)) is None  # a fade begins in black
    assert bars.inside(boxed(20, 30)) == Inside(19, 41, 29, 71)  # a lamp in a dark room
    assert bars.inside(boxed(0, 12)) == Inside(0, 60, 11, 89)
    assert bars.inside(boxed(15, 30)) == Inside(0, 60, 11, 89)
    assert bars.inside(np.zeros((60, 100), np.float32)) == Inside(0, 60, 11, 89)
    assert bars.inside(boxed(0, 11)) == Inside(0, 60, 11, 89)  # a soft edge
    assert bars.inside(boxed(0, 0)) is None
    assert bars.gone
    assert bars.inside(boxed(0, 12)) is None


def test_noise_in_the_bars_is_no_picture():
    frame = boxed(0, 20) + np.random.default_rng(0).uniform(0, 5, (60, 100)).astype(np.float32)
    assert FilmBars().inside(frame) == Inside(0, 60, 19, 81)


def test_one_bar_alone_is_a_dark_wall():
    frame = boxed(0, 0)
    frame[:, :30] = 0
    assert FilmBars().inside(frame) is None


def test_frames_are_looked_at_no_longer_once_the_bars_are_gone():
    bars, looked = FilmBars(), []
    bars.inside(boxed(0, 0))
    bars.inside = looked.append
    assert inside_bars(np.zeros((1, 60, 100, 3), np.uint8), bars) is None
    assert looked == []


def test_bars_of_a_large_frame():
    frame = np.zeros((1, 1080, 1920, 3), np.uint8)
    frame[:, :, 240:1680] = 120
    assert inside_bars(frame, FilmBars()) == Inside(0, 1080, 235, 1685)


# ---- colouring -----------------------------------------------------------------------------

MARGINS = (10, 14, 8, 12)
SCAN = framed(PHOTO, MARGINS, 245)
PLACE = place(PHOTO, MARGINS)


def kinds():
    """The same framed picture in every kind of pixels."""
    rgb = np.repeat(SCAN[..., None], 3, axis=2)
    return {
        "uint8": rgb,
        "grey": SCAN,
        "uint16": rgb.astype(np.uint16) * 257,
        "float32": rgb.astype(np.float32) / 255,
        "alpha": np.dstack((rgb, np.arange(SCAN.shape[1])[None].repeat(len(SCAN), 0) % 256)).astype(
            np.uint8
        ),
        "torch": torch.from_numpy(rgb).permute(2, 0, 1),
    }


def channels_last(picture):
    return picture.permute(1, 2, 0).numpy() if isinstance(picture, torch.Tensor) else picture


@pytest.mark.parametrize("kind", kinds())
def test_the_inside_gets_the_colours_it_has_without_its_frame(tiny, kind):
    picture = kinds()[kind]
    colored = channels_last(tiny(picture))
    cropped = picture[:, *PLACE.slices] if kind == "torch" else picture[PLACE.slices]
    np.testing.assert_array_equal(
        colored[PLACE.slices], channels_last(tiny(cropped, frame="color"))
    )


@pytest.mark.parametrize("kind", kinds())
def test_the_frame_stays_as_it_was(tiny, kind):
    picture = kinds()[kind]
    given_, colored = channels_last(picture), channels_last(tiny(picture))
    outside = np.ones(SCAN.shape, bool)
    outside[PLACE.slices] = False
    given_ = given_[..., None].repeat(3, axis=2) if kind == "grey" else given_
    np.testing.assert_allclose(colored[outside], given_[outside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("turn", [False, True])
def test_a_picture_between_bars_is_coloured_to_its_last_line(tiny, turn):
    picture = np.zeros((487, 640), np.uint8)
    picture[:, 106:-106] = 120 + np.arange(487)[:, None] % 97
    picture = np.ascontiguousarray(picture.T) if turn else picture
    edges = np.swapaxes(tiny(picture), 0, 1) if turn else tiny(picture)
    chroma = np.ptp(edges[:, 200:440].astype(int), axis=2)
    assert np.median(chroma[0]) > 3
    assert np.median(chroma[-1]) > 3
    assert np.ptp(edges[:, :90].astype(int), axis=2).max() == 0


def test_color_colours_the_picture_as_a_whole(tiny):
    whole = tiny(SCAN, frame="color")
    plain = read_photo(SCAN)
    np.testing.assert_array_equal(whole, plain.with_ab(tiny.predict_ab(plain)))
    assert not np.array_equal(whole, tiny(SCAN))


def test_in_place_gives_the_same(tiny):
    ab = tiny.predict_ab(read_photo(SCAN, find_frame=True))
    rgb = np.repeat(SCAN[None, ..., None], 3, axis=3)
    expected = join_ab(rgb, ab, inside=PLACE.slices)
    given_ = rgb.copy()
    result = join_ab(given_, ab, inside=PLACE.slices, in_place=True)
    assert torch.equal(result, expected)
    np.testing.assert_array_equal(given_, expected.permute(0, 2, 3, 1).numpy())


def test_every_door_leaves_the_frame(tiny, weights, tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(SCAN).save(path)
    expected = np.repeat(SCAN[..., None], 3, axis=2)
    expected[PLACE.slices] = tiny(np.ascontiguousarray(PHOTO), frame="color")
    report = color_files([path], tmp_path / "out", model=weights, device="cpu", progress=False)
    with Image.open(report.done[0]) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
    piped, _ = color_bytes(path.read_bytes(), tiny, ColorizeSettings())
    np.testing.assert_array_equal(read_photo(piped).pixels[0], expected)
    np.testing.assert_array_equal(np.asarray(tiny(path)), expected)


def test_batches_of_pictures_each_have_their_frame_and_arrays_of_many_none(tiny):
    listed = tiny.batch([SCAN, PHOTO])
    for together, alone in zip(listed, (tiny(SCAN), tiny(PHOTO)), strict=True):
        # A batch is summed up in another order.
        assert np.abs(together.astype(int) - alone).max() <= 2
    outside = np.ones(SCAN.shape, bool)
    outside[PLACE.slices] = False
    np.testing.assert_array_equal(listed[0][outside], tiny(SCAN)[outside])
    assert read_photo(np.stack((SCAN, SCAN))[..., None], find_frame=True).inside is None


def test_the_distribution_is_of_the_whole_picture(tiny):
    photo = read_photo(SCAN)
    ab = tiny.distribution(SCAN).decode(**dataclasses.asdict(tiny.net.presets["vivid"]))
    torch.testing.assert_close(ab, tiny.predict_ab(photo))


def test_an_unknown_way_is_refused(tiny):
    with pytest.raises(ValueError, match=r"unknown frame 'crop'; choose one of 'leave', 'color'"):
        tiny(SCAN, frame="crop")


def test_a_frame_is_neutral_also_where_the_paper_is_yellow(tiny):
    sepia = np.repeat(SCAN[..., None], 3, axis=2)
    sepia[..., 2] = sepia[..., 2] // 10 * 9
    data_ = encode_image(sepia, "PNG")
    colored = read_photo(tiny(data_)).pixels[0].astype(int)
    outside = np.ones(SCAN.shape, bool)
    outside[PLACE.slices] = False
    assert np.ptp(colored[outside], axis=1).max() <= 1
