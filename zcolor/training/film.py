"""Old film: age what the network sees, so that a model learns to colour archive scans.

A photograph of 1890 to 1960 differs from the lightness of a digital one: its emulsion did not see
red, or saw too much blue; film and paper have tone curves and grain; the print has faded, was
scratched, and its scan went through JPEG. `Film` draws all of these at random. The targets, and so
the colours to learn, stay clean.

References
----------
"Orthochromatic Materials", The Great Soviet Encyclopedia, 3rd edition (bands of the emulsions).
Newson, Delon, Galerne, "A Stochastic Film Grain Model for Resolution-Independent Rendering",
Computer Graphics Forum 2017 (grain as random covering of the area).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import torch

from zcolor.lab import RGB_TO_XYZ, SRGB_KNEE, SRGB_SLOPE, srgb_to_linear
from zcolor.training.dataset import Rgb8
from zcolor.training.film_marks import draw_dust, draw_lines, hairs, scratches
from zcolor.training.settings import FilmSettings

Tones = npt.NDArray[np.float32]
"""(h, w) display values in [0, 1], or linear light where said so."""

# Wavelengths in nm that stand for sRGB's red, green and blue, and where each emulsion's
# sensitivity ends; from 400 nm to there it is taken as even. No single film's curve.
_CHANNELS_NM = np.array([(580, 700), (500, 580), (400, 500)])
_EMULSION_ENDS_NM = {"blue-sensitive": 500, "orthochromatic": 580, "panchromatic": 650}
# The eye: luminance of linear sRGB, so that a crop without a mix has the L that it had.
_EYE = RGB_TO_XYZ[1].numpy()
# The larger, the more alike are the mixes; at 2 most are near one or two of the families.
_SPECTRUM_CONCENTRATION = 2.0

# Linear light of every 8-bit value.
_SRGB8_TO_LINEAR = srgb_to_linear(torch.arange(256, dtype=torch.float64) / 255).float().numpy()

# Most marks are dust and scratches on the negative, which print white.
_WHITE_MARKS = 0.8

VALIDATION_SEED = 1839
"""Of the fixed aged validation photos; another one makes figures incomparable."""


def _families() -> npt.NDArray[np.float64]:
    """Weights of linear R, G, B in each family, rows in the order of `FilmSettings.spectrum`."""
    low, high = _CHANNELS_NM.T
    rows = []
    for end in _EMULSION_ENDS_NM.values():
        seen = np.clip(end, low, high) - low
        rows.append(seen / seen.sum())
    return np.array([*rows, _EYE])


SPECTRA = _families()
"""(4, 3): weights of linear R, G, B in a blue-sensitive, an orthochromatic and a panchromatic
emulsion, and in the eye; every row sums to 1, so that greys stay as they are."""


class Film:
    """Ages a crop: a `Degradation` for `zcolor.training.augment.Augmenter`.

    In the order of a photograph's life: lens blur, spectral mix (both in linear light), tone
    curve, grain, fading, fall-off of light, scratches, dust and hairs, JPEG.

    Parameters
    ----------
    settings
        Chances and strengths.

    Examples
    --------
    >>> film = Film(FilmSettings(share=1.0))
    >>> crop = np.zeros((64, 64, 3), np.uint8)
    >>> aged = film(crop, np.random.default_rng(0))
    >>> aged.shape, aged.dtype, bool((aged[..., 0] == aged[..., 2]).all())
    ((64, 64, 3), dtype('uint8'), True)
    """

    def __init__(self, settings: FilmSettings) -> None:
        self.settings = settings

    def __call__(self, rgb: Rgb8, rng: np.random.Generator) -> Rgb8:
        """Age one crop, or leave it as it is.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8 sRGB, any size; it is not written to.
        rng
            With the crop it decides the result.

        Returns
        -------
        (h, w, 3) uint8, grey (three equal channels); `rgb` itself where it stays clean.

        Raises
        ------
        ValueError
            If the shape or the dtype is another.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise ValueError(
                f"a crop must be uint8 RGB of shape (h, w, 3), got {rgb.dtype} {rgb.shape}"
            )
        if rng.random() >= self.settings.share:
            return rgb
        # Without a draw where there is no chance: the fixed aged photos stay what they were.
        unworn = self.settings.unworn_share and _happens(self.settings.unworn_share, rng)
        if unworn:
            grey = _eight_bit(_to_display(_mix(rgb, self._spectrum(rng))))
        else:
            tones = self._develop(self._expose(rgb, rng), rng)
            grey = self._scan(self._wear(self._fade(tones, rng), rng), rng)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)

    def _expose(self, rgb: Rgb8, rng: np.random.Generator) -> Tones:
        """Lens and emulsion, in linear light; returns display values."""
        s = self.settings
        seen = _happens(s.spectrum_chance, rng)
        light = _mix(rgb, self._spectrum(rng) if seen else SPECTRA[3])
        if _happens(s.blur_chance, rng):
            light = _blur(light, rng.uniform(*s.blur))
        return _to_display(light)

    def _spectrum(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Weights of linear R, G, B in one emulsion."""
        mix = rng.dirichlet(np.array(self.settings.spectrum) * _SPECTRUM_CONCENTRATION)
        return np.asarray(mix @ SPECTRA)

    def _develop(self, tones: Tones, rng: np.random.Generator) -> Tones:
        """Tone curve and grain."""
        s = self.settings
        if _happens(s.tone_chance, rng):
            tones = _curve(tones, gamma=rng.uniform(*s.gamma), contrast=rng.uniform(*s.contrast))
        if _happens(s.grain_chance, rng):
            sigma, size = rng.uniform(*s.grain), rng.uniform(*s.grain_size)
            # The covered share v of an area varies with v (1 - v): most at middle grey.
            spread = np.sqrt(np.maximum(tones * (1 - tones), 0)) * (2 * sigma)
            tones = np.clip(tones + spread * _noise(tones.shape, size, rng), 0, 1)
        return tones

    def _fade(self, tones: Tones, rng: np.random.Generator) -> Tones:
        """Blacks rise and whites sink; light falls off around some point."""
        s = self.settings
        if _happens(s.fade_chance, rng):
            black, white = rng.uniform(*s.black), rng.uniform(*s.white)
            tones = tones * (white - black) + black
        if _happens(s.vignette_chance, rng):
            tones = tones * _fall_off(tones.shape, rng.uniform(*s.vignette), rng)
        return tones

    def _wear(self, tones: Tones, rng: np.random.Generator) -> Tones:
        """Scratches, dust and hairs, each kind white or black."""
        s = self.settings
        if _happens(s.scratch_chance, rng):
            lines = scratches(tones.shape, _count(s.scratches, rng), rng)
            tones = _cover(tones, draw_lines(tones.shape, lines, s.opacity, rng), rng)
        if _happens(s.dust_chance, rng):
            n = int(rng.poisson(rng.uniform(*s.dust) * tones.size / 1000))
            tones = _cover(tones, draw_dust(tones.shape, n, s.opacity, rng), rng)
        if _happens(s.hair_chance, rng):
            lines = hairs(tones.shape, _count(s.hairs, rng), rng)
            tones = _cover(tones, draw_lines(tones.shape, lines, s.opacity, rng), rng)
        return tones

    def _scan(self, tones: Tones, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Round to 8 bits, sometimes through JPEG."""
        s = self.settings
        grey = _eight_bit(tones)
        if not _happens(s.jpeg_chance, rng):
            return grey
        _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _count(s.jpeg, rng)])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def degraded(rgb: Rgb8, index: int, *, settings: FilmSettings | None = None) -> Rgb8:
    """Give the fixed aged version of a validation photo.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8 sRGB, at the size at which it is measured; it is not written to.
    index
        Number of the photo in its set: alone decides which ageing it gets.
    settings
        Chances and strengths, the default ones if not given; `share` is not looked at.

    Returns
    -------
    (h, w, 3) uint8, grey (three equal channels), always aged.

    Raises
    ------
    ValueError
        If the shape or the dtype is another, or `index` is negative.

    Examples
    --------
    >>> photo = np.full((64, 64, 3), 128, np.uint8)
    >>> bool((degraded(photo, 3) == degraded(photo, 3)).all())
    True
    """
    film = Film(dataclasses.replace(settings or FilmSettings(), share=1.0))
    return film(rgb, np.random.default_rng((VALIDATION_SEED, index)))


def _happens(chance: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < chance)


def _count(limits: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(limits[0], limits[1], endpoint=True))


def _eight_bit(tones: Tones) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(tones * 255), 0, 255).astype(np.uint8)


def _mix(rgb: Rgb8, weights: npt.NDArray[np.float64]) -> Tones:
    """Weigh the channels of (h, w, 3) sRGB in linear light."""
    linear = cv2.LUT(np.ascontiguousarray(rgb), _SRGB8_TO_LINEAR)
    # (1, 3) weights: one channel comes out.
    return _float32(cv2.transform(linear, weights[None]))


def _to_display(light: Tones) -> Tones:
    """Apply the sRGB transfer curve, quicker on a small crop than `zcolor.lab` does."""
    curve = 1.055 * _float32(cv2.pow(light, 1 / 2.4)) - 0.055
    return np.where(light > SRGB_KNEE / SRGB_SLOPE, curve, light * SRGB_SLOPE)


def _curve(tones: Tones, *, gamma: float, contrast: float) -> Tones:
    """Exposure, then a step towards 3v^2 - 2v^3 or away from it; rises for contrast in [-1, 1]."""
    exposed = _float32(cv2.pow(np.clip(tones, 0, 1), gamma))
    step = exposed * exposed * (3 - 2 * exposed)
    return exposed + contrast * (step - exposed)


def _blur(tones: Tones, sigma: float) -> Tones:
    return _float32(cv2.GaussianBlur(tones, (0, 0), sigma)) if sigma > 0 else tones


def _noise(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Tones:
    """(h, w) Gaussian noise of unit sigma, correlated over `size` pixels."""
    radius = int(np.ceil(3 * size))
    height, width = shape
    # With a margin, so that it is the same up to the border.
    white = rng.standard_normal((height + 2 * radius, width + 2 * radius), dtype=np.float32)
    if not radius:
        return white
    kernel = cv2.getGaussianKernel(2 * radius + 1, size, cv2.CV_32F)
    # Filtering scales the sigma by the root of the kernel's sum of squares, once each way.
    kernel = kernel / np.sqrt((kernel**2).sum())
    smooth = _float32(cv2.sepFilter2D(white, -1, kernel, kernel))
    return smooth[radius:-radius, radius:-radius]


def _fall_off(shape: tuple[int, ...], loss: float, rng: np.random.Generator) -> Tones:
    """(h, w) factors: 1 at a point of the crop, 1 - loss where it is farthest from there."""
    rows, columns = (
        (np.arange(side, dtype=np.float32) - rng.uniform(0, side)) ** 2 for side in shape
    )
    distance = rows[:, None] + columns[None]
    return _float32(1 - loss * distance / distance.max())


def _cover(tones: Tones, opacity: npt.NDArray[np.uint8], rng: np.random.Generator) -> Tones:
    """Lay white or black over the tones; opacity is (h, w) uint8, 255 hides."""
    ink = float(rng.random() < _WHITE_MARKS)
    return tones + opacity * np.float32(1 / 255) * (ink - tones)


def _float32(pixels: npt.NDArray[np.generic]) -> Tones:
    """Give OpenCV's answer the type it has."""
    return np.asarray(pixels, dtype=np.float32)
