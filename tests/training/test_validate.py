"""Validation measures what people see; the logbook writes it down."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from zcolor.metrics import AucMeter, mean_chroma
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo
from zcolor.settings import DecodeSettings
from zcolor.training.validate import measured_photo, picture_sheet, rgb8_to_lab, validate

CPU = torch.device("cpu")


class Few:
    """Soft colour gradients of several sizes."""

    data_hash = ""
    sizes = ((128, 150), (140, 128), (60, 84))

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, index: int) -> np.ndarray:
        small = np.random.default_rng(index).integers(0, 256, (3, 4, 3)).astype(np.uint8)
        height, width = self.sizes[index]
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def net() -> Zhang:
    torch.manual_seed(0)
    return Zhang(width=1 / 16, working_size=64).eval()


def test_measures_equal_those_of_the_ordinary_door(net):
    decode = DecodeSettings("annealed", 0.38, "centers")
    measured = validate(net, Few(), range(3), decode, device=CPU)
    meter, chroma = AucMeter(), []
    for index in range(3):
        rgb = measured_photo(Few().read(index))
        photo = read_photo(rgb)
        with torch.inference_mode():
            result = photo.with_ab(net.predict_ab(photo.lightness(64, CPU), decode))
        ab = rgb8_to_lab(result)[:, 1:]
        meter.add(ab, rgb8_to_lab(rgb)[:, 1:])
        chroma.append(mean_chroma(ab).item())
    assert measured.auc_raw == pytest.approx(meter.raw())
    assert measured.auc_rebalanced == pytest.approx(meter.rebalanced())
    assert measured.chroma == pytest.approx(np.mean(chroma))
    # Untrained weights know nothing: about log 324 of loss, hardly a right cell.
    assert measured.cross_entropy == pytest.approx(np.log(324), rel=0.2)
    assert measured.top1 < 0.2


def test_small_photos_are_measured_at_128_and_others_as_they_are():
    assert measured_photo(Few().read(2)).shape == (128, 179, 3)
    assert measured_photo(Few().read(0)).shape == (128, 150, 3)


def test_sheet_shows_grey_argmax_annealed_and_truth(net):
    sheet = picture_sheet(net, Few(), [0, 1], device=CPU, bf16=False)
    assert sheet.shape == (2 * 128, 4 * 128, 3)
    grey, truth = sheet[:128, :128].astype(int), sheet[:128, 3 * 128 :]
    assert np.ptp(grey, axis=2).max() == 0
    expected = cv2.resize(Few().read(0), (128, 128), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(truth, expected)


def test_a_degraded_photo_is_seen_but_not_measured(net):
    """The network reads the aged photo; lightness and truth stay those of the clean one."""
    decode = DecodeSettings("annealed", 0.38, "centers")
    asked = []

    def black(rgb, index):
        asked.append((index, rgb.shape))
        return np.zeros_like(rgb)

    measured = validate(net, Few(), [2, 0], decode, device=CPU, degrade=black)
    assert asked == [(2, measured_photo(Few().read(2)).shape), (0, (128, 150, 3))]
    meter = AucMeter()
    for index in (2, 0):
        rgb = measured_photo(Few().read(index))
        photo = read_photo(rgb)
        with torch.inference_mode():
            ab = net.predict_ab(torch.zeros_like(photo.lightness(64, CPU)), decode)
        meter.add(rgb8_to_lab(photo.with_ab(ab))[:, 1:], rgb8_to_lab(rgb)[:, 1:])
    assert measured.auc_raw == pytest.approx(meter.raw(), abs=1e-4)
    clean = validate(net, Few(), [2, 0], decode, device=CPU)
    assert clean.auc_raw != measured.auc_raw
