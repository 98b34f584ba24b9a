"""Old film: each effect does what it says, alone, and the result depends on crop and seed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab
from skimage.measure import label

from zcolor.training.film import SPECTRA, Film, degraded
from zcolor.training.settings import FilmSettings

CHANCES = [field.name for field in fields(FilmSettings) if field.name.endswith("_chance")]
BLUE, ORTHO, PAN, EYE = np.eye(4).tolist()
EDGES = dict.fromkeys(CHANCES, st.sampled_from([0.0, 0.5, 1.0]))


def only(*effects: str, **options) -> FilmSettings:
    """Always age, with these effects alone, each of them always."""
    chances = {name: float(name.removesuffix("_chance") in effects) for name in CHANCES}
    return FilmSettings(share=1.0, **chances, **options)


def aged(rgb: np.ndarray, film: FilmSettings, seed: int = 0) -> np.ndarray:
    """One channel of the aged crop, as float."""
    result = Film(film)(rgb, np.random.default_rng(seed))
    assert result.shape == rgb.shape
    assert result.dtype == np.uint8
    assert (result == result[..., :1]).all()
    return result[..., 0].astype(float)


def colors(height: int = 48, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(value: int, side: int = 128) -> np.ndarray:
    return np.full((side, side, 3), value, dtype=np.uint8)


def ramp() -> np.ndarray:
    return np.repeat(np.tile(np.arange(256, dtype=np.uint8), (8, 1))[:, :, None], 3, axis=2)


def to_linear(rgb: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 in float64, pixel values 0..255 to linear light."""
    v = rgb.astype(np.float64) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def to_levels(linear: np.ndarray) -> np.ndarray:
    """Linear light to pixel values 0..255, not rounded."""
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


# ---- the contract -------------------------------------------------------------------------------


def test_same_crop_and_seed_give_the_same_result():
    rgb = colors()
    for seed in range(30):
        first, again = (
            Film(FilmSettings(share=1.0))(rgb, np.random.default_rng(seed)) for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)


def test_seeds_give_different_results():
    rgb = colors()
    results = {aged(rgb, FilmSettings(share=1.0), seed).tobytes() for seed in range(30)}
    assert len(results) > 25


def test_unworn_film_shows_its_emulsion_and_nothing_else():
    crop = colors()
    worn = replace(FilmSettings(share=1.0), spectrum=(1.0, 0.0, 0.0, 0.0), unworn_share=1.0)
    expected = aged(crop, only("spectrum", spectrum=(1.0, 0.0, 0.0, 0.0)))
    np.testing.assert_array_equal(aged(crop, worn), expected)
    # With one emulsion alone nothing is left to chance; worn film differs from draw to draw.
    np.testing.assert_array_equal(aged(crop, worn, seed=1), expected)
    half = replace(worn, unworn_share=0.5)
    n_unworn = sum(np.array_equal(aged(crop, half, seed), expected) for seed in range(200))
    assert 70 <= n_unworn <= 130


def test_no_chance_of_unworn_film_leaves_every_draw_as_it_was():
    """The fixed aged photos of validation: their pixels must never change."""
    aged_before = [(138.8, 47.8), (131.6, 37.2), (142.3, 47.8), (138.3, 37.8), (142.5, 23.0)]
    for index, (mean, spread) in enumerate(aged_before):
        result = degraded(colors(), index)
        assert (result.mean(), result.std()) == pytest.approx((mean, spread), abs=0.3)


def test_the_share_of_aged_crops_is_kept_and_the_others_are_the_crop_itself():
    rgb = colors(8, 8)
    film = Film(FilmSettings(share=0.3))
    results = [film(rgb, np.random.default_rng(seed)) for seed in range(1000)]
    clean = sum(result is rgb for result in results)
    # Binomial, four sigma.
    assert abs(clean - 700) < 4 * np.sqrt(1000 * 0.3 * 0.7)
    assert Film(FilmSettings(share=0.0))(rgb, np.random.default_rng(0)) is rgb


@pytest.mark.parametrize(
    ("effect", "strength"),
    [
        ("spectrum", {"spectrum": tuple(BLUE)}),
        ("blur", {"blur": (2.0, 2.0)}),
        ("tone", {"gamma": (2.0, 2.0)}),
        ("grain", {"grain": (0.2, 0.2)}),
        ("fade", {"black": (0.3, 0.3)}),
        ("vignette", {"vignette": (0.8, 0.8)}),
        ("scratch", {"opacity": (1.0, 1.0)}),
        ("dust", {"dust": (15.0, 15.0)}),
        ("hair", {"opacity": (1.0, 1.0)}),
        ("jpeg", {"jpeg": (5, 5)}),
    ],
)
def test_each_effect_happens_as_often_as_it_says(effect, strength):
    rgb = colors(24, 24)
    plain = aged(rgb, only())
    film = replace(only(**strength), **{f"{effect}_chance": 0.6})
    changed = sum(bool((aged(rgb, film, seed) != plain).any()) for seed in range(300))
    # Binomial, four sigma; a mark may miss the small crop now and then.
    assert abs(changed - 180) < 4 * np.sqrt(300 * 0.6 * 0.4) + (10 if effect == "hair" else 0)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    constant=st.booleans(),
    chances=st.fixed_dictionaries(EDGES),
)
def test_any_crop_and_any_chances_give_a_grey_picture(height, width, seed, constant, chances):
    rgb = colors(height, width, seed)
    if constant:
        rgb[:] = rgb[0, 0]
    rgb.setflags(write=False)
    before = rgb.copy()
    aged(rgb, FilmSettings(share=1.0, **chances), seed)
    np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_the_strongest_settings_work_on_small_constant_crops(value):
    film = only(
        *(name.removesuffix("_chance") for name in CHANCES),
        blur=(8.0, 8.0),
        gamma=(0.2, 5.0),
        contrast=(-1.0, 1.0),
        grain=(0.5, 0.5),
        grain_size=(4.0, 4.0),
        black=(0.0, 0.49),
        white=(0.5, 1.0),
        vignette=(1.0, 1.0),
        scratches=(0, 100),
        dust=(0.0, 100.0),
        hairs=(0, 100),
        opacity=(0.0, 1.0),
        jpeg=(1, 100),
    )
    for seed in range(8):
        aged(flat(value, 8), film, seed)


def test_views_of_a_photo_work():
    rgb = colors(40, 60)
    for view in (rgb[:, ::-1], rgb[4:36:2, 3:50], rgb[::-1].transpose(1, 0, 2)):
        np.testing.assert_array_equal(
            aged(view, FilmSettings(share=1.0)), aged(view.copy(), FilmSettings(share=1.0))
        )


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
    ],
)
def test_what_is_no_crop_is_refused(bad):
    with pytest.raises(ValueError, match=r"a crop must be uint8 RGB of shape \(h, w, 3\), got"):
        Film(FilmSettings())(bad, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 1.1}, r"share must lie in \[0, 1\], got 1.1"),
        ({"share": float("nan")}, r"share must lie in \[0, 1\]"),
        ({"unworn_share": 1.5}, r"unworn_share must lie in"),
        ({"dust_chance": -0.1}, r"dust_chance must lie in \[0, 1\], got -0.1"),
        ({"spectrum": (0.5, 0.5, 0.5, -0.5)}, "shares of spectrum, none below 0, must sum to 1"),
        ({"spectrum": (0.2, 0.2, 0.2, 0.2)}, "must sum to 1"),
        ({"blur": (1.0, 0.5)}, "blur must be two numbers with 0.0 <= low <= high <= 8.0"),
        ({"blur": (0.0, 9.0)}, "blur must be"),
        ({"gamma": (0.1, 1.0)}, "gamma must be two numbers with 0.2"),
        ({"contrast": (-1.1, 0.0)}, "contrast must be"),
        ({"grain": (-0.01, 0.01)}, "grain must be"),
        ({"grain": (0.0, float("nan"))}, "grain must be"),
        ({"grain_size": (0.0, 5.0)}, "grain_size must be"),
        ({"black": (0.0, 1.1)}, "black must be"),
        ({"white": (-0.1, 1.0)}, "white must be"),
        ({"black": (0.0, 0.8), "white": (0.8, 1.0)}, "black must stay below white"),
        ({"vignette": (0.0, 1.5)}, "vignette must be"),
        ({"scratches": (-1, 1)}, "scratches must be two numbers with 0 <= low <= high <= 100"),
        ({"dust": (0.0, 101.0)}, "dust must be"),
        ({"hairs": (2, 1)}, "hairs must be"),
        ({"opacity": (0.0, 1.1)}, "opacity must be"),
        ({"jpeg": (0, 90)}, "jpeg must be"),
        ({"jpeg": (50, 101)}, "jpeg must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        FilmSettings(**options)


# ---- the emulsions ------------------------------------------------------------------------------


def test_spectra_are_the_light_of_each_band_that_the_emulsion_sees():
    for row, end in zip(SPECTRA, (500, 580, 650), strict=False):
        counts = [0, 0, 0]
        for wavelength in range(400, end):
            counts[2 if wavelength < 500 else 1 if wavelength < 580 else 0] += 1
        np.testing.assert_allclose(row, np.array(counts) / sum(counts), atol=1e-12)
    np.testing.assert_allclose(SPECTRA.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("family", [BLUE, ORTHO, PAN, EYE])
def test_a_spectral_mix_agrees_with_the_reference(family):
    rgb = colors()
    weights = np.array(family) @ SPECTRA
    expected = to_levels((to_linear(rgb) * weights).sum(axis=2))
    mixed = aged(rgb, only("spectrum", spectrum=tuple(family)))
    # 0.5 for the rounding to 8 bits, and float32.
    assert np.abs(mixed - expected).max() < 0.51


def test_without_any_effect_the_lightness_is_that_of_the_crop():
    rgb = colors()
    grey = Film(only())(rgb, np.random.default_rng(0))
    # Half a level of grey is at most 0.25 in L.
    assert np.abs(rgb2lab(grey)[..., 0] - rgb2lab(rgb)[..., 0]).max() < 0.26
    mixed = aged(rgb, only("spectrum", spectrum=tuple(EYE)))
    np.testing.assert_array_equal(grey[..., 0], mixed)


def test_random_mixes_lie_between_the_families():
    rgb = colors()
    each = np.stack([to_levels((to_linear(rgb) * w).sum(axis=2)) for w in SPECTRA])
    low, high = each.min(axis=0) - 0.51, each.max(axis=0) + 0.51
    mixes = [aged(rgb, only("spectrum"), seed) for seed in range(50)]
    assert all(((low <= mix) & (mix <= high)).all() for mix in mixes)


def test_random_mixes_have_the_mean_shares_of_the_settings_and_spread_around_them():
    # One pixel of each primary: its linear light is the weight of its channel.
    primaries = (255 * np.eye(3, dtype=np.uint8))[None]
    shares = (0.2, 0.3, 0.1, 0.4)
    film = only("spectrum", spectrum=shares)
    weights = np.array([to_linear(aged(primaries, film, seed))[0] for seed in range(400)])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=0.02)
    error = weights.mean(axis=0) - np.array(shares) @ SPECTRA
    assert (np.abs(error) < 4 * weights.std(axis=0) / np.sqrt(400) + 0.002).all()
    # Most mixes are near one or two of the families.
    assert (weights.std(axis=0) > 0.5 * SPECTRA.std(axis=0)).all()


def test_red_is_darker_and_blue_lighter_on_the_old_emulsions():
    patches = {
        name: np.full((8, 8, 3), rgb, np.uint8)
        for name, rgb in {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}.items()
    }

    def level(name, family):
        return aged(patches[name], only("spectrum", spectrum=tuple(family))).mean()

    assert level("red", ORTHO) == level("red", BLUE) == 0
    assert level("red", PAN) > 100
    assert level("green", BLUE) == 0 < level("green", PAN) < level("green", ORTHO)
    assert level("blue", EYE) < level("blue", PAN) < level("blue", ORTHO) < level("blue", BLUE)


def test_greys_stay_as_they_are_on_every_emulsion():
    for seed in range(20):
        mixed = aged(ramp(), only("spectrum"), seed)
        assert np.abs(mixed - np.arange(256)).max() <= 1


# ---- the other effects --------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_is_a_gaussian_in_linear_light(sigma):
    grey = np.repeat(colors()[..., :1], 3, axis=2)
    expected = to_levels(gaussian_filter(to_linear(grey[..., 0]), sigma, mode="mirror"))
    assert np.abs(aged(grey, only("blur", blur=(sigma, sigma))) - expected).max() < 1.0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.8])
@pytest.mark.parametrize("contrast", [-0.6, 0.0, 0.8])
def test_tone_curve_agrees_with_the_reference(gamma, contrast):
    v = (np.arange(256) / 255) ** gamma
    expected = 255 * ((1 - contrast) * v + contrast * (3 * v**2 - 2 * v**3))
    film = only("tone", gamma=(gamma, gamma), contrast=(contrast, contrast))
    assert np.abs(aged(ramp(), film) - expected).max() < 0.6


def test_tone_curves_and_fading_never_turn_tones_round():
    film = only("tone", "fade", gamma=(0.2, 5.0), contrast=(-1.0, 1.0))
    for seed in range(50):
        assert (np.diff(aged(ramp(), film, seed), axis=1) >= 0).all()


def test_fading_raises_blacks_and_lowers_whites():
    faded = aged(ramp(), only("fade", black=(0.2, 0.2), white=(0.8, 0.8)))
    np.testing.assert_allclose(faded, np.tile(51 + 0.6 * np.arange(256), (8, 1)), atol=0.6)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
@pytest.mark.parametrize("size", [0.0, 0.5, 1.5])
def test_grain_has_the_sigma_and_the_size_it_says(sigma, size):
    film = only("grain", grain=(sigma, sigma), grain_size=(size, size))
    noise = aged(flat(128, 256), film) - 128
    assert noise.std() == pytest.approx(np.hypot(255 * sigma, np.sqrt(1 / 12)), rel=0.05)
    assert abs(noise.mean()) < 0.1 * noise.std()
    # The border is as grainy as the rest.
    assert noise[:, :2].std() == pytest.approx(noise.std(), rel=0.25)
    # White noise behind a Gaussian of sigma s: correlation exp(-d^2 / 4 s^2) at distance d.
    correlation = np.corrcoef(noise[:, 2:].ravel(), noise[:, :-2].ravel())[0, 1]
    expected = np.exp(-(2**2) / (4 * size**2)) if size else 0.0
    assert correlation == pytest.approx(expected, abs=0.05)


def test_grain_is_strongest_at_middle_grey_and_absent_at_the_ends():
    film = only("grain", grain=(0.05, 0.05))
    spread = {value: aged(flat(value), film).std() for value in (0, 26, 128, 230, 255)}
    assert spread[0] == spread[255] == 0
    assert spread[26] == pytest.approx(0.6 * spread[128], rel=0.1)
    assert spread[230] == pytest.approx(0.6 * spread[128], rel=0.1)


def test_light_falls_off_smoothly_to_the_share_it_says():
    for seed in range(10):
        lit = aged(flat(200), only("vignette", vignette=(0.3, 0.3)), seed)
        assert lit.max() == pytest.approx(200, abs=1)
        assert lit.min() == pytest.approx(140, abs=1)
        assert max(np.abs(np.diff(lit, axis=axis)).max() for axis in (0, 1)) <= 2


def test_jpeg_changes_little_and_a_lower_quality_more():
    smooth = np.repeat(gaussian_filter(colors(96, 96)[..., :1].astype(float), (2, 2, 0)), 3, axis=2)
    smooth = np.rint(smooth).astype(np.uint8)
    plain = aged(smooth, only())
    change = {q: np.abs(aged(smooth, only("jpeg", jpeg=(q, q))) - plain).mean() for q in (10, 95)}
    assert 0 < change[95] < 1 < change[10] < 12


@pytest.mark.parametrize("effect", ["scratch", "hair"])
def test_lines_touch_few_pixels_and_hide_as_much_as_they_say(effect):
    shares = []
    for seed in range(40):
        film = only(effect, scratches=(1, 1), hairs=(1, 1), opacity=(0.5, 0.5))
        change = aged(flat(100), film, seed) - 100
        # One ink: white from 100 up to half of 155, or black down to half of 100.
        assert change.min() >= 0 or change.max() <= 0
        assert change.max() <= 78
        assert change.min() >= -50
        shares.append((change != 0).mean())
    # A line of at most 128 pixels with soft flanks covers at most some 3 of 128 rows.
    assert max(shares) < 0.03
    assert np.median(shares) > 0.001


def test_the_number_of_scratches_is_the_one_asked_for():
    def touched(n):
        film = only("scratch", scratches=(n, n))
        return np.mean([(aged(flat(100, 64), film, seed) != 100).mean() for seed in range(60)])

    assert touched(0) == 0
    assert touched(5) == pytest.approx(5 * touched(1), rel=0.35)


def test_dust_has_the_density_it_says():
    film = only("dust", dust=(1.0, 1.0), opacity=(1.0, 1.0))
    touched = [aged(flat(100), film, seed) != 100 for seed in range(40)]
    # Poisson of mean 16.4 a crop; a few touch each other.
    specks = [label(pixels).max() for pixels in touched]
    assert np.mean(specks) == pytest.approx(128 * 128 / 1000, rel=0.12)
    assert max(pixels.mean() for pixels in touched) < 0.03


# ---- the fixed validation -----------------------------------------------------------------------


def test_a_validation_photo_is_aged_the_same_way_every_time():
    photos = [colors(seed=seed) for seed in range(12)]
    there = [degraded(rgb, index) for index, rgb in enumerate(photos)]
    back = [degraded(photos[index], index) for index in reversed(range(12))][::-1]
    for first, second in zip(there, back, strict=True):
        np.testing.assert_array_equal(first, second)


def test_validation_photos_are_always_aged_and_each_in_its_own_way():
    rgb = colors()
    results = [degraded(rgb, index, settings=FilmSettings(share=0.0)) for index in range(30)]
    assert all((result != rgb).any() for result in results)
    assert len({result.tobytes() for result in results}) > 25
    np.testing.assert_array_equal(results[3], degraded(rgb, 3))


def test_a_validation_photo_has_a_number_from_0():
    with pytest.raises(ValueError, match="non-negative"):
        degraded(colors(), -1)
