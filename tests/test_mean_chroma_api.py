"""`zcolor.mean_chroma`, and photos tinted by the model that answers it."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import zcolor
from zcolor.lab import rgb_to_lab
from zcolor.photo import read_photo
from zcolor.registry import MODELS, load_model
from zcolor.settings import DecodeSettings

GREY = np.asarray(Image.fromarray(skimage.data.camera()).resize((160, 120)))


@pytest.fixture(scope="module")
def expected():
    return zcolor.mean_chroma(GREY, device="cpu")


def kinds(folder):
    """The same picture as everything that it may be."""
    path = folder / "photo.png"
    Image.fromarray(GREY).save(path)
    yield path
    yield str(path)
    yield path.read_bytes()
    yield io.BytesIO(path.read_bytes())
    yield Image.fromarray(GREY)
    yield GREY[None, :, :, None]
    yield np.repeat(GREY[:, :, None], 3, axis=2)
    yield GREY.astype(np.uint16) * 257
    yield torch.from_numpy(GREY.astype(np.float32) / 255)


def test_two_finite_numbers_of_a_plausible_size(expected):
    a, b = expected
    assert isinstance(a, float)
    assert isinstance(b, float)
    assert np.hypot(a, b) < 40


def test_every_kind_of_picture(tmp_path, expected):
    for picture in kinds(tmp_path):
        np.testing.assert_allclose(
            zcolor.mean_chroma(picture, device="cpu"), expected, atol=0.3, err_msg=repr(picture)
        )


def test_a_frame_is_not_looked_at(expected):
    framed = np.pad(GREY, 12, constant_values=250)
    photo = read_photo(framed, find_frame=True)
    assert photo.inside is not None
    inside = zcolor.mean_chroma(GREY, device="cpu")
    assert zcolor.mean_chroma(framed, device="cpu") == inside == expected
    colorizer = zcolor.Colorizer("mean-chroma", device="cpu")
    np.testing.assert_allclose(colorizer.predict_ab(photo).flatten(), inside, atol=0.3)


def test_color_is_not_looked_at():
    """The lightness alone decides: a photo and its own grey get the same."""
    photo = np.asarray(Image.fromarray(skimage.data.coffee()).resize((128, 96)))
    grey = np.asarray(zcolor.colorize(photo, model="mean-chroma", saturation=0, device="cpu"))
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    np.testing.assert_allclose(
        zcolor.mean_chroma(photo, device="cpu"), zcolor.mean_chroma(grey, device="cpu"), atol=0.3
    )


def test_it_is_the_answer_of_the_network(expected):
    net = load_model("mean-chroma")
    with torch.no_grad():
        lightness = read_photo(GREY).lightness(net.working_size, "cpu")
        ab = net.predict_ab(lightness, DecodeSettings())
    np.testing.assert_allclose(ab.flatten(), expected, atol=1e-3)


@pytest.mark.parametrize("average", ["none", "flip", "crops"])
def test_colorize_tints_the_photo_in_one_colour(average):
    ramp = np.tile(np.linspace(100, 180, 96, dtype=np.uint8), (64, 1))
    tinted = zcolor.colorize(ramp, model="mean-chroma", average=average, device="cpu")
    lab = rgb_to_lab(torch.from_numpy(tinted).permute(2, 0, 1)[None] / 255)
    ab = lab[0, 1:].flatten(1)
    assert ab.std(dim=1).max() < 0.6  # rounding to 8 bits
    if average == "none":
        expected = zcolor.mean_chroma(ramp, device="cpu")
        np.testing.assert_allclose(ab.mean(dim=1), expected, atol=0.6)


@pytest.mark.parametrize("size", [64, 256])
def test_another_working_size(size):
    tinted = zcolor.colorize(GREY, model="mean-chroma", size=size, device="cpu")
    assert tinted.shape == (*GREY.shape, 3)


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="single picture, got a batch of 2; call it for each"):
        zcolor.mean_chroma(np.stack([GREY, GREY])[..., None])


@pytest.mark.parametrize(
    ("image", "error"),
    [("nowhere.png", FileNotFoundError), (b"no picture", ValueError), (7, TypeError)],
)
def test_what_is_no_picture_is_refused(image, error):
    with pytest.raises(error):
        zcolor.mean_chroma(image)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="unknown device 'toaster'"):
        zcolor.mean_chroma(GREY, device="toaster")


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("zcolor.model_table._ASSETS", tmp_path)
    with pytest.raises(FileNotFoundError, match="weights of 'mean-chroma' are missing"):
        zcolor.mean_chroma(GREY, device="cpu")


def test_the_weights_are_small():
    assert MODELS["mean-chroma"].path.stat().st_size < 3e6
