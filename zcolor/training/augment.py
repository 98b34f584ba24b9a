"""Random changes to training photographs, decided by (seed, epoch, index) alone.

So the same run gives the same pictures whatever the number of threads, and a resumed run goes on
with those that the uninterrupted one would have seen.
"""

from __future__ import annotations

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
# Rotation and shear interpolate, which softens the picture, and photos to be coloured are not
# softened: so most crops are taken pixel by pixel.
_WARPED_SHARE = 0.3


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

    def _scale(self, rgb: Rgb8, crop: int, rng: np.random.Generator) -> Rgb8:
        """Bring the short side to the working size, or for some photos to another."""
        settings = self.settings
        short = min(rgb.shape[:2])
        factor = 1.0
        if settings.scaled and rng.random() < settings.scaled:
            # Equally many at every ratio.
            factor = float(np.exp(rng.uniform(*np.log(settings.scale))))
        side = max(crop, round(self.working_size * factor))
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
            # Crop pixel -> photo pixel, around the middle of the crop.
            shift = middle - linear @ np.full(2, crop / 2 - 0.5)
            part = cv2.warpAffine(
                rgb,
                np.column_stack((linear, shift)),
                (crop, crop),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT_101,
            )
        else:
            part = rgb[top : top + crop, left : left + crop]
        return _uint8(part[:, ::-1] if mirror else part)

    def _light(self, rgb: Rgb8, rng: np.random.Generator) -> Rgb8:
        """Change the intensity: one gain for all channels, and a smaller one for each."""
        jitter = self.settings.jitter
        if not jitter:
            return rgb
        gains = (1 + rng.uniform(-jitter, jitter)) * (1 + rng.uniform(-jitter, jitter, 3) / 4)
        table = np.arange(256)[:, None] * gains[None]
        table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
        return _uint8(cv2.LUT(np.ascontiguousarray(rgb), table[None]))


def _uint8(pixels: npt.NDArray[np.generic]) -> Rgb8:
    """Give OpenCV's answer the type it has."""
    return np.ascontiguousarray(pixels, dtype=np.uint8)
