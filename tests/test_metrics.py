"""Measures against plain loops, and the meter against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zcolor.metrics import (
    AucMeter,
    auc_scores,
    cast_sums,
    ciede2000,
    lightness_error,
    mean_chroma,
    mse_ab,
)
from zcolor.metrics_cells import (
    calibration_error,
    calibration_sums,
    cell_cross_entropy,
    top_k_accuracy,
)
from zcolor.metrics_image import MAX_PSNR, colorfulness, psnr, psnr_ab, ssim, ssim_ab
from zcolor.quantizer import AbGrid


def auc_by_thresholds(errors: np.ndarray, weights: np.ndarray) -> float:
    """Zhang et al. 2016, section 3.1, word by word."""
    shares = [(weights * (errors <= t)).sum() / weights.sum() for t in range(151)]
    return 100 * float(np.mean(shares))


def random_ab(seed: int, spread: float, shape=(1, 2, 13, 9)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * spread


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 400), min_size=1, max_size=50))
def test_scores_average_to_the_area_under_the_curve(errors):
    errors = np.array(errors, dtype=np.float32)
    scores = auc_scores(torch.from_numpy(errors))
    assert scores.double().mean().item() == pytest.approx(
        auc_by_thresholds(errors, np.ones_like(errors)), abs=1e-3
    )


def test_meter_equals_the_definition_raw_and_rebalanced():
    meter, grid = AucMeter(), AbGrid()
    results = [random_ab(i, 20) for i in range(4)]
    truths = [random_ab(100 + i, 15) for i in range(4)]
    for result, truth in zip(results, truths, strict=True):
        meter.add(result, truth)
    errors = np.concatenate(
        [(r - t).norm(dim=1).flatten().numpy() for r, t in zip(results, truths, strict=True)]
    )
    cells = np.concatenate([grid.encode(t).flatten().numpy() for t in truths])
    share = np.bincount(cells, minlength=grid.n_bins) / len(cells)
    assert meter.raw() == pytest.approx(auc_by_thresholds(errors, np.ones(len(errors))), abs=1e-3)
    assert meter.rebalanced() == pytest.approx(
        auc_by_thresholds(errors, 1 / share[cells]), abs=1e-3
    )


def test_meter_counts_chosen_photos_for_the_bootstrap():
    meter = AucMeter()
    for i in range(3):
        meter.add(random_ab(i, 20), random_ab(50 + i, 20))
    alone = AucMeter()
    for i in (2, 2, 0):
        alone.add(random_ab(i, 20), random_ab(50 + i, 20))
    chosen = torch.tensor([2, 2, 0])
    assert meter.raw(chosen) == pytest.approx(alone.raw())
    assert meter.rebalanced(chosen) == pytest.approx(alone.rebalanced())


def test_a_worse_result_measures_worse():
    truth = random_ab(0, 20)
    values = []
    for error in (0.0, 5.0, 50.0):
        meter = AucMeter()
        meter.add(truth + error, truth)
        values.append((meter.raw(), meter.rebalanced()))
    assert values[0] == (100.0, 100.0)
    assert values == sorted(values, reverse=True)


def test_rebalancing_makes_rare_colours_count():
    truth = torch.zeros(1, 2, 10, 10)
    truth[:, 0, 0, 0] = 80.0  # one vivid pixel
    meter = AucMeter()
    meter.add(torch.zeros_like(truth), truth)
    assert meter.raw() > 99
    assert meter.rebalanced() == pytest.approx((100 + 100 * (151 - 80) / 151) / 2, abs=1e-3)


def test_mean_chroma_is_a_plain_mean():
    ab = random_ab(3, 30, (2, 2, 5, 7))
    expected = np.sqrt((ab.numpy() ** 2).sum(axis=1)).mean(axis=(1, 2))
    np.testing.assert_allclose(mean_chroma(ab).numpy(), expected, rtol=1e-5)


def test_an_empty_meter_and_odd_shapes_are_refused():
    with pytest.raises(ValueError, match="add photos first"):
        AucMeter().raw()
    with pytest.raises(ValueError, match="one photo at a time"):
        AucMeter().add(torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4))
    with pytest.raises(ValueError, match="one photo at a time"):
        AucMeter().add(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))


# ---- colour ------------------------------------------------------------------------------------


def random_rgb(seed: int, shape=(24, 31, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_mse_is_a_plain_mean_for_each_channel():
    ab, truth = random_ab(1, 20), random_ab(2, 20)
    expected = ((ab.double().numpy() - truth.double().numpy()) ** 2).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(mse_ab(ab, truth).numpy(), expected, rtol=1e-12)


def test_ciede2000_of_published_pairs():
    # Sharma, Wu, Dalal 2005, table 1: pairs 1, 7, 13, 25.
    pairs = (
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, -0.001, 2.49), (50.0, 0.0009, -2.49), 4.8045),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    )
    for first, second, expected in pairs:
        one, two = (torch.tensor(c, dtype=torch.float64).view(1, 3, 1, 1) for c in (first, second))
        assert ciede2000(one, two) == pytest.approx(expected, abs=1e-4)


def test_lightness_error_is_the_mean_and_the_largest():
    one, two = random_ab(3, 20, (1, 1, 6, 5)), random_ab(4, 20, (1, 1, 6, 5))
    difference = np.abs(one.double().numpy() - two.double().numpy())
    assert lightness_error(one, two) == pytest.approx((difference.mean(), difference.max()))


def test_cast_looks_at_true_neutrals_alone():
    ab, truth = random_ab(5, 20), random_ab(6, 6)
    total, n = np.zeros(2), 0
    for y in range(truth.shape[2]):
        for x in range(truth.shape[3]):
            if math.hypot(*truth[0, :, y, x].tolist()) < 5:
                total += ab[0, :, y, x].numpy()
                n += 1
    sums, n_pixels = cast_sums(ab, truth)
    assert 0 < n < truth[0, 0].numel()
    assert n_pixels == n
    np.testing.assert_allclose(sums.numpy(), total, rtol=1e-5)
    assert cast_sums(ab, truth + 100)[1] == 0


@pytest.mark.parametrize("measure", [mse_ab, cast_sums, psnr_ab, ssim_ab])
def test_other_shapes_of_ab_are_refused(measure):
    with pytest.raises(ValueError, match=r"one photo at a time.*\(1, 2, h, w\)"):
        measure(torch.zeros(1, 2, 12, 12), torch.zeros(1, 2, 12, 13))
    with pytest.raises(ValueError, match="one photo at a time"):
        measure(torch.zeros(2, 2, 12, 12), torch.zeros(2, 2, 12, 12))
    with pytest.raises(ValueError, match="one photo at a time"):
        measure(torch.zeros(1, 2, 0, 12), torch.zeros(1, 2, 0, 12))


# ---- pictures ----------------------------------------------------------------------------------


def test_psnr_equals_that_of_scikit_image():
    rgb, truth = random_rgb(1), random_rgb(2)
    expected = skimage.metrics.peak_signal_noise_ratio(truth, rgb, data_range=255)
    assert psnr(rgb, truth) == pytest.approx(expected)
    ab, true_ab = random_ab(1, 20), random_ab(2, 20)
    for channel, value in enumerate(psnr_ab(ab, true_ab)):
        one, two = (pixels[0, channel].double().numpy() for pixels in (ab, true_ab))
        expected = skimage.metrics.peak_signal_noise_ratio(two, one, data_range=255)
        assert value == pytest.approx(expected)


def test_equal_pictures_get_the_best_values():
    rgb, ab = random_rgb(1), random_ab(1, 20)
    assert psnr(rgb, rgb) == MAX_PSNR
    assert psnr_ab(ab, ab) == (MAX_PSNR, MAX_PSNR)
    assert ssim(rgb, rgb) == pytest.approx(1)
    assert mse_ab(ab, ab).tolist() == [0, 0]


def ssim_by_loops(one: np.ndarray, two: np.ndarray, peak: float) -> float:
    """Wang et al. 2004, equation 13, window by window; 11 x 11, sigma 1.5, no padding."""
    axis = np.arange(-5, 6)
    window = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    values = []
    for y in range(one.shape[0] - 10):
        for x in range(one.shape[1] - 10):
            p, q = (picture[y : y + 11, x : x + 11].astype(float) for picture in (one, two))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append(
                (2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
            )
    return float(np.mean(values))


def test_ssim_equals_the_paper_window_by_window():
    truth = random_rgb(3)
    rgb = np.clip(
        truth.astype(int) + np.random.default_rng(4).integers(-40, 40, truth.shape), 0, 255
    )
    rgb = rgb.astype(np.uint8)
    expected = np.mean([ssim_by_loops(rgb[:, :, i], truth[:, :, i], 255) for i in range(3)])
    assert ssim(rgb, truth) == pytest.approx(expected, abs=1e-6)
    ab, true_ab = random_ab(1, 20, (1, 2, 14, 13)), random_ab(2, 20, (1, 2, 14, 13))
    expected = [ssim_by_loops(ab[0, i].numpy(), true_ab[0, i].numpy(), 255) for i in range(2)]
    assert ssim_ab(ab, true_ab) == pytest.approx(expected, abs=1e-6)


def test_colorfulness_pixel_by_pixel():
    rgb = random_rgb(5)
    rg = [float(r) - float(g) for r, g, _ in rgb.reshape(-1, 3)]
    yb = [(float(r) + float(g)) / 2 - float(b) for r, g, b in rgb.reshape(-1, 3)]
    spread = math.sqrt(np.var(rg) + np.var(yb))
    shift = math.sqrt(np.mean(rg) ** 2 + np.mean(yb) ** 2)
    assert colorfulness(rgb) == pytest.approx(spread + 0.3 * shift)


def test_pictures_of_other_kinds_are_refused():
    rgb = random_rgb(1)
    for wrong in (rgb.astype(np.float32), rgb[:, :-1], rgb[:, :, :1]):
        for measure in (psnr, ssim):
            with pytest.raises(ValueError, match="must be uint8 of one shape"):
                measure(wrong, rgb)
    with pytest.raises(ValueError, match="must be uint8"):
        colorfulness(rgb[:, :, 0])
    with pytest.raises(ValueError, match="window of 11 x 11"):
        ssim(rgb[:10], rgb[:10])
    with pytest.raises(ValueError, match="window of 11 x 11"):
        ssim_ab(torch.zeros(1, 2, 10, 30), torch.zeros(1, 2, 10, 30))


# ---- classifiers -------------------------------------------------------------------------------


@pytest.fixture
def answer():
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(2, 9, 4, 5, generator=generator) * 2
    return logits, torch.randint(0, 9, (2, 4, 5), generator=generator)


@pytest.mark.parametrize("k", [1, 5, 9])
def test_top_k_pixel_by_pixel(answer, k):
    logits, cells = answer
    hits = [
        cells[n, y, x].item() in np.argsort(-logits[n, :, y, x].numpy())[:k]
        for n in range(2)
        for y in range(4)
        for x in range(5)
    ]
    assert top_k_accuracy(logits, cells, k) == pytest.approx(np.mean(hits))


def test_cross_entropy_pixel_by_pixel(answer):
    logits, cells = answer
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    true_p = np.take_along_axis(p, cells.numpy()[:, None], axis=1)
    assert cell_cross_entropy(logits, cells) == pytest.approx(-np.log(true_p).mean(), abs=1e-6)


def test_calibration_pixel_by_pixel(answer):
    logits, cells = answer
    sums = np.zeros((3, 15))
    p = torch.softmax(logits, dim=1).permute(0, 2, 3, 1).reshape(-1, 9).numpy()
    for probabilities, cell in zip(p, cells.flatten().tolist(), strict=True):
        k = min(int(probabilities.max() * 15), 14)
        sums[:, k] += 1, probabilities.max(), probabilities.argmax() == cell
    found = calibration_sums(logits, cells)
    np.testing.assert_allclose(found.numpy(), sums, rtol=1e-6)
    n, confidence, hits = sums
    expected = sum(
        n[k] / n.sum() * abs(hits[k] / n[k] - confidence[k] / n[k]) for k in range(15) if n[k]
    )
    assert calibration_error(found) == pytest.approx(expected)


def test_certain_pixels_stand_in_the_last_bin():
    logits = torch.tensor([0.0, 1000.0]).view(1, 2, 1, 1)
    assert calibration_sums(logits, torch.ones(1, 1, 1).long())[:, -1].tolist() == [1, 1, 1]


def test_answers_that_do_not_fit_are_refused(answer):
    logits, cells = answer
    for measure in (cell_cross_entropy, calibration_sums):
        with pytest.raises(ValueError, match="cells"):
            measure(logits, cells[:, :-1])
    for k in (0, 10):
        with pytest.raises(ValueError, match=r"k must lie in 1\.\.9"):
            top_k_accuracy(logits, cells, k)
    with pytest.raises(ValueError, match="n_bins"):
        calibration_sums(logits, cells, 0)
    with pytest.raises(ValueError, match="no pixels"):
        calibration_error(torch.zeros(3, 15))


def test_ciede2000_of_a_picture_is_the_mean_over_its_pixels():
    generator = torch.Generator().manual_seed(0)
    lab, truth = (
        torch.rand(1, 3, 2, 3, generator=generator) * 80 - torch.tensor([0.0, 40, 40]).view(3, 1, 1)
        for _ in range(2)
    )
    alone = [
        ciede2000(lab[:, :, y : y + 1, x : x + 1], truth[:, :, y : y + 1, x : x + 1])
        for y in range(2)
        for x in range(3)
    ]
    assert ciede2000(lab, truth) == pytest.approx(np.mean(alone), rel=1e-5)
    assert max(alone) > 1.5 * min(alone)
