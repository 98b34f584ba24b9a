"""Colour that holds still: the ab of a film smoothed along its motion, frame after frame.

A network that colours each frame by itself answers a little differently every time: grain, or an
edge that moved by half a pixel, is enough. Here the colour of the frame before is brought along the
optical flow to where it now belongs, and averaged with the new answer wherever the motion can be
trusted. Nothing knows of files, and the lightness is not touched.

References
----------
T. Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016: the optical flow.
N. Sundaram, T. Brox and K. Keutzer, "Dense point trajectories by GPU-accelerated large displacement
optical flow", ECCV 2010: motion there and back again as a check for occlusions.
M. Ruder, A. Dosovitskiy and T. Brox, "Artistic style transfer for videos", GCPR 2016: a network's
pictures held still along the motion.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.upsample import guide_ab

Floats = npt.NDArray[np.float32]

SMOOTH = 0.9
"""Share of the earlier colour where motion is certain: flicker 3.7 to 6.1 times lower, AuC no worse
(measured on clips of known motion: docs/video.md)."""
MIN_CONFIDENCE = 0.4
"""Mean confidence below which a frame begins a new scene. Measured: pairs of 14 photographs have at
most 0.33, a pan by a fifth of the width in one frame 0.56, one by a tenth 0.88."""

# Standard deviation, in pixels, of the Gaussian that takes grain from the lightness before it is
# compared: with grain of 6 levels of 255 flow in a flat sky is noise without it.
_GRAIN_SIGMA = 1.0
# Motion there and back again may miss its start by this many pixels, plus a tenth of the motion
# itself (Sundaram et al. 2010, eq. 5, whose 0.5 square pixels are for full-size film).
_RETURN_TOLERANCE = 2.0
_RETURN_SHARE = 0.01
# Difference of L (0..100), beside that of the whole frame, at which confidence has sunk to 1/e.
_LIGHTNESS_TOLERANCE = 8.0
# Optical flow on less than this many pixels a side has no room for its patches of 8 and a pyramid.
_MIN_FLOW_SIDE = 32


def follow_motion(now: Floats, before: Floats) -> tuple[Floats, Floats]:
    """Find where the pixels of a frame were in the frame before it, and how sure that is.

    The confidence is the product of two checks: motion there and back again must return (Sundaram
    et al. 2010, eq. 5, here with a soft edge), and the lightness must be the same at both places.
    A change of exposure (the median difference of the lightness) counts for nothing.

    Parameters
    ----------
    now, before
        (h, w) L in [0, 100] of two frames, of one shape.

    Returns
    -------
    place
        (h, w, 2) x and y in the frame before, in pixels.
    confidence
        (h, w) in [0, 1]; 0 where the place lies outside the frame.

    Raises
    ------
    ValueError
        If the shapes differ or are not (h, w).

    Examples
    --------
    >>> frame = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    >>> frame = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_CUBIC) * 100
    >>> place, confidence = follow_motion(frame[:, 2:], frame[:, :-2])  # it moved to the left by 2
    >>> (place[20, 30] - (30, 20)).round().tolist(), bool(confidence[20, 30] > 0.9)
    ([2.0, 0.0], True)
    """
    if now.ndim != 2 or now.shape != before.shape:
        raise ValueError(
            f"two frames (h, w) of one shape are needed, got {now.shape} and {before.shape}"
        )
    now, before = (_without_grain(frame) for frame in (now, before))
    back, forth = _flow(now, before), _flow(before, now)
    height, width = now.shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    place = np.stack((columns, rows), axis=-1).astype(np.float32) + back
    forth = _warped(forth, place)
    missed = _squares(back + forth)
    allowed = _RETURN_SHARE * (_squares(back) + _squares(forth)) + _RETURN_TOLERANCE**2
    change = now - _warped(before, place)
    change -= np.median(change)
    # Half a pixel beyond the border is still the pixel at the border.
    inside = np.abs((place + 0.5) / (width, height) - 0.5) <= 0.5
    confidence = np.exp(-missed / allowed - (change / _LIGHTNESS_TOLERANCE) ** 2)
    return place, (confidence * inside.all(axis=-1)).astype(np.float32)


def _without_grain(lightness: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(lightness, (0, 0), _GRAIN_SIGMA), np.float32)


def _flow(start: Floats, end: Floats) -> Floats:
    """Dense optical flow (h, w, 2) in pixels, from each pixel of `start` to its place in `end`."""
    height, width = start.shape
    scale = max(1.0, _MIN_FLOW_SIDE / min(height, width))
    size = (round(width * scale), round(height * scale))
    frames = [
        cv2.convertScaleAbs(frame if scale == 1 else cv2.resize(frame, size), alpha=2.55)
        for frame in (start, end)
    ]
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: npt.NDArray[Any] = method.calc(frames[0], frames[1], None)  # type: ignore[call-overload]
    if scale != 1:
        flow = cv2.resize(flow, (width, height)) * (width / size[0], height / size[1])
    return flow.astype(np.float32)


def _warped(planes: Floats, place: Floats) -> Floats:
    """Read (h, w) or (h, w, c) planes at the places (h, w, 2), bilinearly."""
    x, y = place[..., 0], place[..., 1]
    moved = cv2.remap(planes, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _squares(vectors: Floats) -> Floats:
    return np.asarray(np.square(vectors).sum(axis=-1), np.float32)


class TemporalSmoother:
    """Smooths the ab of a film, frame after frame: a recursive filter along the motion.

    The colour kept for the next frame is ``(1 - w) * new + w * earlier``, the earlier one brought
    along the motion and ``w = smooth * confidence`` at every pixel (`follow_motion`): what was
    hidden before, or cannot be followed, takes its new colour at once. Where a new scene begins
    nothing earlier is used.

    Parameters
    ----------
    smooth
        Share of the earlier colour where motion is certain, in [0, 1]: 0 leaves every frame as it
        is, at 1 colours stay as a scene began.

    Attributes
    ----------
    n_scenes : int
        Scenes begun so far; 0 before the first frame, and with a `smooth` of 0 as long as
        `begins_scene` is not asked.

    Raises
    ------
    ValueError
        If `smooth` is outside [0, 1].

    Examples
    --------
    >>> smoother = TemporalSmoother(0.75)
    >>> lightness, grey = torch.full((1, 1, 32, 32), 50.0), torch.zeros(1, 2, 8, 8)
    >>> smoother(lightness, grey + 40).unique().tolist()  # the first frame stays as it is
    [40.0]
    >>> smoother(lightness, grey).unique().tolist()
    [30.0]
    """

    def __init__(self, smooth: float = SMOOTH) -> None:
        if not 0 <= smooth <= 1:
            raise ValueError(
                f"smooth must lie in [0, 1] (0 colours every frame by itself), got {smooth!r}"
            )
        self.smooth = float(smooth)
        self.n_scenes = 0
        self._lightness: Floats | None = None
        self._colors: Floats | None = None
        # Of the frame that was looked at last: where its pixels were before and how sure that is;
        # None where it begins a scene.
        self._motion: tuple[Floats, Floats] | None = None
        self._looked = False

    def reset(self) -> None:
        """Forget the frames so far: the next one begins a new scene."""
        self._lightness = self._colors = self._motion = None
        self._looked = False

    def begins_scene(self, lightness: Tensor) -> bool:
        """Look at the next frame, before it has colours: whether it begins a new scene.

        Once for a frame, and then its colours are smoothed; who does not ask need not.

        Parameters
        ----------
        lightness
            (1, 1, h, w) L in [0, 100] of the frame. Another size than before begins a new scene.

        Raises
        ------
        ValueError
            For another shape.
        """
        if lightness.ndim != 4 or lightness.shape[:2] != (1, 1):
            raise ValueError(
                f"one frame at a time, lightness (1, 1, h, w); got {tuple(lightness.shape)}"
            )
        before = self._lightness
        now = np.ascontiguousarray(lightness[0, 0].float().cpu().numpy())
        self._lightness, self._motion, self._looked = now, None, True
        if before is not None and before.shape == now.shape:
            place, confidence = follow_motion(now, before)
            if confidence.mean() >= MIN_CONFIDENCE:
                self._motion = place, confidence
        self.n_scenes += self._motion is None
        return self._motion is None

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Smooth the colour of the next frame.

        Parameters
        ----------
        lightness
            (1, 1, h, w) L in [0, 100] of the frame, as the network reads it. Another size than
            before begins a new scene.
        ab
            (1, 2, h', w') ab, unscaled, as the network answers.

        Returns
        -------
        `ab` itself where a scene begins (or `smooth` is 0); or else (1, 2, h, w), the smoothed ab
        at the size of the lightness, whose edges it follows (`zcolor.upsample.guide_ab`); dtype
        and device of `ab`.

        Raises
        ------
        ValueError
            For wrong shapes, or more than one frame.
        """
        shapes = (lightness.ndim, *lightness.shape[:2], ab.ndim, *ab.shape[:2])
        if shapes != (4, 1, 1, 4, 1, 2):
            raise ValueError(
                "one frame at a time, lightness (1, 1, h, w) and ab (1, 2, h', w'); got "
                f"{tuple(lightness.shape)} and {tuple(ab.shape)}"
            )
        if self.smooth == 0:
            return ab
        small = F.interpolate(lightness, ab.shape[2:], mode="area").to(ab)
        new_ab = guide_ab(small, ab).upsample(lightness.to(ab), lightness.shape[2])
        new = np.ascontiguousarray(new_ab[0].permute(1, 2, 0).float().cpu().numpy())
        if not self._looked:
            self.begins_scene(lightness)
        self._looked = False
        if self._motion is None or self._colors is None:
            self._colors = new
            return ab
        place, confidence = self._motion
        weight = self.smooth * confidence[..., None]
        self._colors = new + weight * (_warped(self._colors, place) - new)
        return torch.from_numpy(self._colors).permute(2, 0, 1)[None].to(ab)
