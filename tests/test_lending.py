"""A reference that lends its colours, through the hall: every kind of picture, and refusals."""

import dataclasses
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import zcolor
from zcolor.colorizer import Colorizer
from zcolor.lab import rgb_to_lab
from zcolor.models.regressor import Regressor
from zcolor.photo import read_photo
from zcolor.reference import read_reference, reference_bias
from zcolor.settings import MAX_LEND, PRESETS, ColorizeSettings

GREY = data.camera()[::4, ::4]


def of_color(red, green, blue):
    return np.full((64, 64, 3), (red, green, blue), np.uint8)


WARM, COLD = of_color(200, 120, 40), of_color(40, 90, 200)


@pytest.fixture(scope="module")
def colorizer():
    return Colorizer(device="cpu")


def mean_b(picture):
    return rgb_to_lab(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[:, 2].mean().item()


@pytest.mark.parametrize("dtype", [">u2", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("size", [None, 32])
def test_a_reference_may_be_big_endian(dtype, size):
    top = 257 if dtype == ">u2" else 1 / 255
    array = (WARM * np.float64(top)).astype(dtype)
    plain = array.astype(array.dtype.newbyteorder("="))
    found = read_reference(array, size=size)
    assert torch.equal(found, read_reference(plain, size=size))
    assert found.mean(dim=(0, 2, 3)).tolist() == pytest.approx(
        [200 / 255, 120 / 255, 40 / 255], abs=1e-3
    )


def test_colours_lean_towards_the_reference_and_more_so_with_lend(colorizer):
    plain = mean_b(colorizer(GREY))
    warm = [mean_b(colorizer(GREY, reference=WARM, lend=lend)) for lend in (0.6, 1.2)]
    cold = [mean_b(colorizer(GREY, reference=COLD, lend=lend)) for lend in (0.8, 1.2)]
    assert plain < warm[0] < warm[1]
    assert plain > cold[0] > cold[1]


def test_lending_nothing_changes_nothing(colorizer):
    assert np.array_equal(colorizer(GREY, reference=WARM, lend=0), colorizer(GREY))


def test_the_colorizer_itself_stays_as_it_was(colorizer):
    before = colorizer(GREY)
    colorizer(GREY, reference=WARM)
    assert colorizer.net.lean is None
    assert np.array_equal(colorizer(GREY), before)


def test_what_leans_shares_its_layers(colorizer):
    leaning = colorizer.net.leaning(read_reference(WARM), 0.5)
    assert leaning.classifier is colorizer.net.classifier
    assert leaning.prior is colorizer.net.prior
    assert leaning.state_dict().keys() == colorizer.net.state_dict().keys()


def test_the_answer_is_multiplied_as_the_formula_says(colorizer):
    """Decoded as trained and at T = 1: the mean over p(q | x) (r / p)^gamma."""
    net = colorizer.net
    decode = PRESETS["vivid"].changed(
        temperature=1.0, rebalance=1.0, neutral=(0.0, 0.0), gain=1.0, contrast=0.0
    )
    lightness = read_photo(GREY).lightness(32, "cpu")
    reference = read_reference(WARM, size=32)
    with torch.inference_mode():
        ab = net.leaning(reference, 0.7).predict_ab(lightness, decode)
        p = net(lightness).softmax(1)
    p = p * reference_bias(reference, net.grid, net.prior, 0.7).exp().view(1, -1, 1, 1)
    p = p / p.sum(1, keepdim=True)
    expected = torch.einsum("nqhw,qc->nchw", p, net.cell_means)
    assert torch.allclose(ab, expected, atol=1e-2)


def test_a_file_a_picture_and_the_settings_are_the_same(colorizer, tmp_path):
    path = tmp_path / "warm.png"
    Image.fromarray(WARM).save(path)
    expected = colorizer(GREY, reference=WARM, lend=0.8)
    assert np.array_equal(colorizer(GREY, reference=path, lend=0.8), expected)
    settings = ColorizeSettings(reference=str(path), lend=0.8)
    assert np.array_equal(colorizer.batch([GREY], settings)[0], expected)
    photo = read_photo(GREY)
    assert np.array_equal(photo.with_ab(colorizer.predict_ab(photo, settings)), expected)
    assert np.array_equal(zcolor.colorize(GREY, reference=WARM, lend=0.8, device="cpu"), expected)


def test_a_file_that_changes_is_read_again(colorizer, tmp_path):
    path = tmp_path / "reference.png"
    found = []
    for i, picture in enumerate((WARM, COLD)):
        Image.fromarray(picture).save(path)
        os.utime(path, (i, i))
        settings = ColorizeSettings(reference=str(path))
        found.append(mean_b(colorizer.batch([GREY], settings)[0]))
    assert found[0] > found[1] + 3


def test_a_model_that_answers_with_a_colour_says_so():
    class Plain(Regressor):
        def forward(self, lightness):
            return torch.zeros(len(lightness), 2, 1, 1)

    with pytest.raises(ValueError, match=r"Plain answers with a colour.*leave the reference out"):
        Plain().leaning(read_reference(WARM), 0.5)
    with pytest.raises(ValueError, match="answers with a colour"):
        zcolor.colorize(GREY, model="mean-chroma", reference=WARM, device="cpu")


@pytest.mark.parametrize("lend", [-0.1, MAX_LEND + 0.1, float("nan"), "much"])
def test_lend_that_makes_no_sense_is_refused(colorizer, lend):
    with pytest.raises(ValueError, match=r"lend must lie in \[0, 2\]"):
        colorizer(GREY, reference=WARM, lend=lend)


def test_references_that_are_none_are_refused(colorizer, tmp_path):
    with pytest.raises(ValueError, match="hardly any colour"):
        colorizer(GREY, reference=GREY)
    with pytest.raises(FileNotFoundError, match=r"no reference .*nothing\.jpg"):
        colorizer.batch([GREY], ColorizeSettings(reference=str(tmp_path / "nothing.jpg")))


def test_settings_with_a_reference_can_be_written_as_json():
    settings = dataclasses.asdict(ColorizeSettings(reference="a.jpg"))
    assert json.loads(json.dumps(settings))["reference"] == "a.jpg"
