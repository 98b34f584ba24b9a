"""The sums of an evaluation against plain recomputation, and its bootstrap against resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zcolor.bootstrap import Figure, RatioBootstrap, interval, poisson_weights
from zcolor.evaluation import CellEvaluation, Evaluation, score_cells
from zcolor.lab import rgb_to_lab
from zcolor.metrics import AucMeter, ciede2000
from zcolor.metrics_image import colorfulness, psnr, psnr_ab, ssim, ssim_ab
from zcolor.quantizer import AbGrid
from zcolor.scores import MEASURES, Truth, score_photo, score_truth

GRID = AbGrid()


def picture(seed: int, shape=(20, 17)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.integers(30, 220, 3)
    return np.clip(base + rng.normal(0, 30, (*shape, 3)), 0, 255).astype(np.uint8)


def lab_of(rgb: np.ndarray) -> torch.Tensor:
    return rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None])


def grey_of(rgb: np.ndarray) -> np.ndarray:
    return np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def shapes(i: int) -> tuple[int, int]:
    return (20 + i, 31 - i)


def evaluated(order, n_replicates=200, quick=True) -> Evaluation:
    """A method that is half right, and grey."""
    evaluation = Evaluation(["grey", "half"], n_replicates=n_replicates)
    for i in order:
        rgb = picture(i, shapes(i))
        truth = Truth(rgb, GRID)
        half = ((rgb.astype(int) + grey_of(rgb)) // 2).astype(np.uint8)
        results = {"grey": grey_of(rgb), "half": half}
        evaluation.add(i, {name: score_photo(r, truth, quick=quick) for name, r in results.items()})
    return evaluation


# ---- the values --------------------------------------------------------------------------------


def test_auc_equals_that_of_the_meter():
    evaluation, meter = evaluated(range(6)), AucMeter()
    for i in range(6):
        rgb = picture(i, shapes(i))
        meter.add(lab_of(grey_of(rgb))[:, 1:], lab_of(rgb)[:, 1:])
    figures = evaluation.figures("grey")
    assert figures["auc_raw"].value == pytest.approx(meter.raw(), abs=1e-9)
    assert figures["auc_rebalanced"].value == pytest.approx(meter.rebalanced(), abs=1e-9)


def test_errors_over_pixels_are_pooled_and_the_others_are_means_of_photos():
    figures = evaluated(range(4), quick=False).figures("grey")
    squares, n, casts, chromas = np.zeros(2), 0, [], []
    for i in range(4):
        rgb = picture(i, shapes(i))
        ab, truth = lab_of(grey_of(rgb))[0, 1:].numpy(), lab_of(rgb)[0, 1:].numpy()
        squares += ((ab.astype(float) - truth) ** 2).sum(axis=(1, 2))
        n += truth[0].size
        casts.append(ab[:, np.hypot(*truth) < 5])
        chromas.append(np.hypot(*ab).mean())
    cast = np.concatenate(casts, axis=1).mean(axis=1)
    mse = squares / n
    assert [figures["mse_a"].value, figures["mse_b"].value] == pytest.approx(mse, rel=1e-5)
    assert figures["rmse_b"].value == pytest.approx(math.sqrt(mse[1]), rel=1e-5)
    assert [figures["cast_a"].value, figures["cast_b"].value] == pytest.approx(cast, abs=1e-6)
    assert figures["chroma"].value == pytest.approx(np.mean(chromas), abs=1e-6)
    assert set(figures) == {measure.name for measure in MEASURES if not measure.extra}


def test_every_other_measure_is_the_mean_of_its_function_over_photos():
    figures = evaluated(range(2), quick=False).figures("half")
    expected: dict[str, list[float]] = {}
    for i in range(2):
        truth = picture(i, shapes(i))
        half = ((truth.astype(int) + grey_of(truth)) // 2).astype(np.uint8)
        lab, true_lab = lab_of(half), lab_of(truth)
        values = {
            "psnr_rgb": psnr(half, truth),
            "ssim_rgb": ssim(half, truth),
            "ciede2000": ciede2000(lab, true_lab),
            "colorfulness": colorfulness(half),
            "colorfulness_difference": colorfulness(half) - colorfulness(truth),
        }
        values["psnr_a"], values["psnr_b"] = psnr_ab(lab[:, 1:], true_lab[:, 1:])
        values["ssim_a"], values["ssim_b"] = ssim_ab(lab[:, 1:], true_lab[:, 1:])
        for name, value in values.items():
            expected.setdefault(name, []).append(value)
    assert expected["colorfulness_difference"][0] < 0  # paler than the truth
    for name, found in expected.items():
        assert figures[name].value == pytest.approx(np.mean(found), rel=1e-5), name
    assert figures["rmse_a"].value == pytest.approx(math.sqrt(figures["mse_a"].value))


def test_largest_lightness_error_is_that_of_all_photos():
    evaluation = Evaluation(["grey"], n_replicates=5)
    white = np.full((16, 16, 3), 255, np.uint8)
    for i, level in enumerate((250, 200, 253)):
        result = np.full_like(white, level)
        evaluation.add(i, {"grey": score_photo(result, Truth(white, GRID), quick=True)})
    figure = evaluation.figures("grey")["lightness_max"]
    expected = 100 - lab_of(np.full((1, 1, 3), 200, np.uint8))[0, 0].item()
    assert figure.value == pytest.approx(expected, abs=1e-3)
    assert math.isnan(figure.low)


def test_quick_leaves_the_slow_measures_out_and_nothing_else():
    quick, full = evaluated(range(2)), evaluated(range(2), quick=False)
    slow = {measure.name for measure in MEASURES if measure.slow and not measure.extra}
    assert set(full.figures("half")) - set(quick.figures("half")) == slow
    for name, figure in quick.figures("half").items():
        np.testing.assert_equal(figure, full.figures("half")[name])


def test_error_shares_average_to_the_auc():
    evaluation = evaluated(range(3))
    shares = evaluation.error_shares("half")
    assert shares.shape == (151,)
    assert (np.diff(shares) >= 0).all()
    assert 100 * shares.mean() == pytest.approx(evaluation.figures("half")["auc_raw"].value)


def test_cell_scores_average_to_the_rebalanced_auc():
    evaluation = evaluated(range(3))
    expected = evaluation.figures("half")["auc_rebalanced"].value
    assert np.nanmean(evaluation.cell_scores("half")) == pytest.approx(expected)


def test_the_truth_has_only_what_describes_it():
    truth = Truth(picture(1), GRID)
    evaluation = Evaluation(["grey", "truth"], n_replicates=5)
    grey = score_photo(grey_of(truth.rgb), truth, quick=True)
    evaluation.add(0, {"grey": grey, "truth": score_truth(truth)})
    figures = evaluation.figures("truth")
    assert set(figures) == {"colorfulness", "chroma"}
    chroma = np.hypot(*lab_of(truth.rgb)[0, 1:].numpy()).mean()
    assert figures["chroma"].value == pytest.approx(chroma, rel=1e-5)


# ---- the intervals -----------------------------------------------------------------------------


def test_any_order_gives_the_same_figures():
    one, other = evaluated(range(8)), evaluated([5, 2, 7, 0, 1, 6, 4, 3])
    for method in one.methods:
        for name, figure in one.figures(method).items():
            found = other.figures(method)[name]
            np.testing.assert_allclose(
                [found.value, found.low, found.high],
                [figure.value, figure.low, figure.high],
                rtol=1e-9,
                atol=1e-9,
            )


def test_replicates_are_the_weighted_set():
    """Every replicate equals the measure over the photos repeated as often as they weigh."""
    n, n_replicates = 5, 20
    evaluation = evaluated(range(n), n_replicates)
    _, replicates = evaluation._tallies["half"].results()
    names = [measure.name for measure in MEASURES]
    raw, rebalanced = names.index("auc_raw"), names.index("auc_rebalanced")
    weights = np.stack([poisson_weights(0, i, n_replicates) for i in range(n)])
    for k in range(n_replicates):
        meter = AucMeter()
        for i in np.repeat(np.arange(n), weights[:, k].astype(int)):
            rgb = picture(i, shapes(i))
            half = ((rgb.astype(int) + grey_of(rgb)) // 2).astype(np.uint8)
            meter.add(lab_of(half)[:, 1:], lab_of(rgb)[:, 1:])
        if not meter.scores:
            assert np.isnan(replicates[k, raw])
            continue
        assert replicates[k, raw] == pytest.approx(meter.raw(), abs=1e-9)
        assert replicates[k, rebalanced] == pytest.approx(meter.rebalanced(), abs=1e-9)


def test_interval_of_a_mean_is_that_of_statistics():
    """Over many photos, 1.96 standard errors of the mean to each side."""
    rng = np.random.default_rng(3)
    values = rng.gamma(4, 2, 1500)
    ratio = RatioBootstrap(1, 1000)
    for i, value in enumerate(values):
        ratio.add(poisson_weights(0, i, 1000), np.array([value]), np.ones(1))
    figure = interval(ratio.values()[0], ratio.replicates()[:, 0], n_photos=len(values))
    assert figure.value == pytest.approx(values.mean())
    expected = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert figure.half_width == pytest.approx(expected, rel=0.1)


def test_a_single_photo_has_no_interval():
    one = evaluated([3])
    for method in one.methods:
        for name, figure in (*one.figures(method).items(), *one.gains(method).items()):
            assert np.isfinite(figure.value), name
            assert np.isnan([figure.low, figure.high]).all(), name
    two = evaluated([3, 4])
    for name in ("auc_raw", "auc_rebalanced", "psnr_rgb"):
        assert two.figures("half")[name].half_width > 0


def test_a_measure_that_one_photo_of_many_has_gets_no_interval():
    """The cast is taken where the truth is neutral, which may be in one photo alone."""
    evaluation = Evaluation(["grey"], n_replicates=20)
    for i, rgb in enumerate((np.full((16, 16, 3), 90, np.uint8), picture(1, (16, 16)) // 2 + 60)):
        truth = Truth(rgb, evaluation.grid)
        if i:
            rgb = rgb.copy()
            rgb[..., 0] = 255  # nothing of it is neutral
            truth = Truth(rgb, evaluation.grid)
        evaluation.add(i, {"grey": score_photo(truth.rgb, truth)})
    figures = evaluation.figures("grey")
    assert np.isnan(figures["cast_a"].low)
    assert np.isfinite(figures["auc_rebalanced"].low)


def test_differences_use_the_same_replicates():
    evaluation = evaluated(range(8))
    gain = evaluation.gains("half")["auc_raw"]
    half, grey = (evaluation.figures(name)["auc_raw"] for name in ("half", "grey"))
    assert gain.value == pytest.approx(half.value - grey.value)
    assert gain.low > 0  # half of the colour is better than none in every photo
    # As both are good and bad on the same photos, their difference is surer than either.
    assert gain.half_width < math.hypot(half.half_width, grey.half_width)
    assert all(figure.value == 0 for figure in evaluation.gains("grey").values())
    assert evaluation.gains("grey")["auc_rebalanced"] == Figure(0, 0, 0)
    back = evaluation.gains("grey", "half")["auc_raw"]
    assert (back.value, back.low, back.high) == pytest.approx((-gain.value, -gain.high, -gain.low))


@given(
    st.floats(-1e3, 1e3),
    st.lists(st.floats(-1e3, 1e3) | st.just(math.nan), min_size=1, max_size=30),
)
def test_an_interval_is_never_turned_round_and_ignores_a_shift(value, replicates):
    replicates = np.array(replicates)
    figure = interval(value, replicates, n_photos=2)
    if np.isnan(replicates).all():
        assert math.isnan(figure.low)
        return
    assert figure.low <= figure.high
    shifted = interval(value, replicates + 7, n_photos=2)
    assert [shifted.low, shifted.high] == pytest.approx([figure.low, figure.high], abs=1e-6)


def test_weights_are_poisson_and_belong_to_the_photo():
    weights = np.stack([poisson_weights(1, i, 500) for i in range(40)])
    assert weights.mean() == pytest.approx(1, abs=0.03)
    assert weights.var() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(weights[7], poisson_weights(1, 7, 500))
    assert not np.array_equal(weights[7], poisson_weights(2, 7, 500))
    np.testing.assert_allclose(np.corrcoef(weights) - np.eye(40), 0, atol=0.25)


# ---- classifiers -------------------------------------------------------------------------------


def test_cell_figures_are_over_all_pixels():
    evaluation = CellEvaluation(n_replicates=50)
    generator = torch.Generator().manual_seed(2)
    hits, entropies, calibration = [], [], np.zeros((3, 15))
    for i, side in enumerate((3, 8, 5)):
        logits = torch.randn(1, 6, side, side, generator=generator)
        cells = torch.randint(0, 6, (1, side, side), generator=generator)
        score = score_cells(logits, cells)
        evaluation.add(i, score)
        hits.append((logits.argmax(dim=1) == cells).flatten())
        log_p = torch.log_softmax(logits.double(), dim=1).gather(1, cells[:, None])
        entropies.append(-log_p.flatten())
        calibration += score.calibration
    figures = evaluation.figures()
    assert figures["top1"].value == pytest.approx(100 * torch.cat(hits).double().mean().item())
    assert figures["cross_entropy"].value == pytest.approx(torch.cat(entropies).mean().item())
    assert figures["top5"].value > figures["top1"].value
    assert figures["top1"].low <= figures["top1"].value <= figures["top1"].high
    n, confidence, right = calibration
    expected = 100 * np.abs(confidence - right).sum() / n.sum()
    assert evaluation.calibration_error() == pytest.approx(expected)


# ---- refusals ----------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="different names"):
        Evaluation(["grey", "grey"])
    with pytest.raises(ValueError, match="the reference 'grey' among them"):
        Evaluation(["model"])
    with pytest.raises(ValueError, match="n_replicates"):
        Evaluation(["grey"], n_replicates=0)
    with pytest.raises(ValueError, match="expected the scores of grey"):
        Evaluation(["grey"]).add(0, {})
    with pytest.raises(ValueError, match=r"the result has 19 x 17 pixels, the truth 20 x 17"):
        score_photo(picture(0)[:-1], Truth(picture(0), GRID))
