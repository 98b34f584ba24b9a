"""Random changes to training photographs, decided by (seed, epoch, index) alone.

So the same run gives the same pictures whatever the number of threads, and a resumed run goes on
with those that the uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from zcolor.training.dataset import Rgb8
from zcolor.training.settings import AugmentSettings

# Changes what the network sees, never what it is trained towards (old film, fading, grain):
# takes the clean crop and a generator, returns the RGB whose lightness is the input.
Degradation = Callable[[Rgb8, np.random.Generator], Rgb8]
Doubles = npt.NDArray[np.float64]
# Rotation and shear interpolate, which softens the picture, and photos to be coloured are not
# softened: so most crops are taken pixel by pixel.
_WARPED_SHARE = 0.3
# How fast the camera of a clip may go, either way, for each frame: a pan as a share of the crop,
# the log of a zoom, a turn in degrees, a change of the gain. A film at 25 frames a second that
# goes through half its width in a second pans by 0.02.
_PAN, _ZOOM, _TURN, _GAIN = 0.03, 0.02, 1.0, 0.02
# How near it may come. Photos are kept so much larger, so that no frame has to be enlarged.
_NEAREST = 1.25


@dataclass(frozen=True)
class Sample:
    """One training example, cut from one photograph."""

    target: Rgb8
    """(crop, crop, 3): the colours to learn."""
    source: Rgb8
    """(crop, crop, 3): what the lightness is taken from; `target` itself unless degraded."""


class Augmenter:
    """Cuts a random crop of a photograph, mirrored, scaled, turned and lit at random.

    Parameters
    ----------
    settings
        How far each change may go.
    seed
        Seed of the run.
    working_size
        Short side in pixels that photos have when they are coloured.
    degrade
        A change of the input alone, or None.
    """

    def __init__(
        self,
        settings: AugmentSettings,
        seed: int,
        working_size: int,
        degrade: Degradation | None = None,
    ) -> None:
        self.settings = settings
        self.working_size = working_size
        self.seed = seed
        self.degrade = degrade

    def __call__(self, rgb: Rgb8, crop: int, epoch: int, index: int) -> Sample:
        """Cut one example.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8 photograph, any size; it is not written to.
        crop
            Side of the example in pixels.
        epoch, index
            With the seed they decide every random choice.

        Returns
        -------
        The example, (crop, crop, 3) uint8.
        """
        rng = np.random.default_rng((self.seed, epoch, index))
        target = self._light(self._cut(self._scale(rgb, crop, rng), crop, rng), rng)
        source = target if self.degrade is None else self.degrade(target, rng)
        return Sample(target, source)

    def clip(self, rgb: Rgb8, crop: int, epoch: int, index: int, length: int) -> list[Sample]:
        """Film a photograph with a camera that pans, zooms, turns and changes its exposure slowly.

        Each goes on evenly from a random start; turns and exposure keep within the settings. A
        degradation is drawn once: it sees every frame with the same randomness, so that a clip is
        on one film, whose grain and scratches stand still.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8 photograph, any size; it is not written to.
        crop
            Side of the frames in pixels.
        epoch, index
            With the seed they decide every random choice.
        length
            Number of frames.

        Returns
        -------
        The frames in order, each (crop, crop, 3) uint8.
        """
        rng = np.random.default_rng((self.seed, epoch, index))
        photo = self._scale(rgb, crop, rng, larger=_NEAREST)
        mirror = self.settings.flip and bool(rng.random() < 0.5)
        matrices = self._camera(photo.shape[:2], crop, length, rng)
        gains = self._exposures(length, rng)
        aging = (self.seed, epoch, index, 1)  # apart from what the camera has drawn
        frames = []
        for matrix, gain in zip(matrices, gains, strict=True):
            part = _warped(photo, matrix, crop)
            target = _lit(_uint8(part[:, ::-1] if mirror else part), gain)
            source = target
            if self.degrade is not None:
                source = self.degrade(target, np.random.default_rng(aging))
            frames.append(Sample(target, source))
        return frames

    def _camera(
        self, size: tuple[int, ...], crop: int, length: int, rng: np.random.Generator
    ) -> list[Doubles]:
        """Matrices (2, 3) that take the pixels of each frame to those of the photo (h, w)."""
        turns = np.deg2rad(_drift(self.settings.rotation, _TURN, length, rng))
        zooms = np.exp(_drift(np.log(_NEAREST) / 2, _ZOOM, length, rng))
        steps = np.sqrt(_NEAREST) * zooms  # photo pixels for each pixel of a frame, 1 to _NEAREST
        reach = crop / 2 * steps.max()  # from the middle to the border, where it is widest
        y, x = (
            n / 2 - 0.5 + _drift(max(0.0, n / 2 - reach), _PAN * crop, length, rng) for n in size
        )
        matrices = []
        for step, turn, middle in zip(steps, turns, np.stack((x, y), axis=1), strict=True):
            cos, sin = step * np.cos(turn), step * np.sin(turn)
            matrices.append(_around(np.array([[cos, -sin], [sin, cos]]), middle, crop))
        return matrices

    def _exposures(self, length: int, rng: np.random.Generator) -> Doubles:
        """Gains (length, 3) of red, green and blue: one that drifts, and a tint that stays."""
        jitter = self.settings.jitter
        exposure = _drift(jitter, _GAIN, length, rng)
        tint = rng.uniform(-jitter, jitter, 3) / 4
        return np.asarray((1 + exposure[:, None]) * (1 + tint))

    def _scale(
        self, rgb: Rgb8, crop: int, rng: np.random.Generator, *, larger: float = 1.0
    ) -> Rgb8:
        """Bring the short side to the working size (`larger` times), for some photos to another."""
        settings = self.settings
        short = min(rgb.shape[:2])
        factor = 1.0
        if settings.scaled and rng.random() < settings.scaled:
            # Equally many at every ratio.
            factor = float(np.exp(rng.uniform(*np.log(settings.scale))))
        side = math.ceil(larger * max(crop, round(self.working_size * factor)))
        if side == short:
            return rgb
        height, width = (max(side, round(n * side / short)) for n in rgb.shape[:2])
        how = cv2.INTER_AREA if side < short else cv2.INTER_CUBIC
        return _uint8(cv2.resize(rgb, (width, height), interpolation=how))

    def _cut(self, rgb: Rgb8, crop: int, rng: np.random.Generator) -> Rgb8:
        """Cut a crop at random, sometimes turned and sheared, half of the time mirrored."""
        settings = self.settings
        height, width = rgb.shape[:2]
        top = int(rng.integers(0, height - crop + 1))
        left = int(rng.integers(0, width - crop + 1))
        mirror = settings.flip and bool(rng.random() < 0.5)
        if (settings.rotation or settings.shear) and rng.random() < _WARPED_SHARE:
            turn = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation))
            shear = rng.uniform(-settings.shear, settings.shear)
            cos, sin = np.cos(turn), np.sin(turn)
            linear = np.array([[cos, -sin + shear], [sin, cos]])
            middle = np.array([left + crop / 2 - 0.5, top + crop / 2 - 0.5])
            part = _warped(rgb, _around(linear, middle, crop), crop)
        else:
            part = rgb[top : top + crop, left : left + crop]
        return _uint8(part[:, ::-1] if mirror else part)

    def _light(self, rgb: Rgb8, rng: np.random.Generator) -> Rgb8:
        """Change the intensity: one gain for all channels, and a smaller one for each."""
        jitter = self.settings.jitter
        if not jitter:
            return rgb
        gains = (1 + rng.uniform(-jitter, jitter)) * (1 + rng.uniform(-jitter, jitter, 3) / 4)
        return _lit(rgb, gains)


def _drift(limit: float, fastest: float, length: int, rng: np.random.Generator) -> Doubles:
    """Go evenly from a random start, by at most `fastest` a frame, within `limit` either way."""
    start = rng.uniform(-limit, limit)
    end = start + rng.uniform(-fastest, fastest) * (length - 1)
    return np.linspace(start, np.clip(end, -limit, limit), length)


def _around(linear: Doubles, middle: Doubles, crop: int) -> Doubles:
    """The matrix (2, 3) from pixels of a crop to those of a photo, given where its middle is."""
    return np.column_stack((linear, middle - linear @ np.full(2, crop / 2 - 0.5)))


def _warped(rgb: Rgb8, matrix: Doubles, crop: int) -> npt.NDArray[np.generic]:
    """Read a crop through a matrix; beyond the border the photo is mirrored."""
    return cv2.warpAffine(
        rgb,
        matrix,
        (crop, crop),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _lit(rgb: Rgb8, gains: Doubles) -> Rgb8:
    """Multiply red, green and blue."""
    table = np.arange(256)[:, None] * gains[None]
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return _uint8(cv2.LUT(np.ascontiguousarray(rgb), table[None]))


def _uint8(pixels: npt.NDArray[np.generic]) -> Rgb8:
    """Give OpenCV's answer the type it has."""
    return np.ascontiguousarray(pixels, dtype=np.uint8)
