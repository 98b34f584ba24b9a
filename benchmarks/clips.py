"""Clips whose motion is known, made over photographs, and their flicker along that motion.

The photographs pan, zoom and turn; things move in front of them; every frame has its own grain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from zcolor.lab import rgb_to_lab
from zcolor.training.dataset import Rgb8

Grey8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, and where its pixels were in the one before."""

    truth: Rgb8
    """(h, w, 3) RGB without grain."""
    grey: Grey8
    """(h, w): what is to be coloured, grain included."""
    before: npt.NDArray[np.float32] | None
    """(h, w, 2) place (x, y) of each pixel in the frame before; None where a scene begins."""
    seen: Mask | None
    """(h, w): pixels that the frame before showed too; None where a scene begins."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A photograph that moves; pairs are (from, to)."""

    rgb: Rgb8
    """(h, w, 3)."""
    mask: Grey8 | None = None
    """(h, w), 255 where the layer is; None: everywhere (the background)."""
    x: tuple[float, float] = (0.5, 0.5)
    """The point of the picture in the middle of the frame, as a share of its width."""
    y: tuple[float, float] = (0.5, 0.5)
    """As a share of its height."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Frame pixels per pixel of the picture."""
    turn: tuple[float, float] = (0.0, 0.0)
    """Degrees."""

    def matrix(self, time: float, size: tuple[int, int]) -> Doubles:
        """Give the 3 x 3 matrix that takes x and y of the frame to the picture's.

        Parameters
        ----------
        time
            In [0, 1]: 0 where the scene begins, 1 where it ends.
        size
            Width and height of the frame.
        """
        x, y, scale, turn = (a + (b - a) * time for a, b in (self.x, self.y, self.scale, self.turn))
        height, width = self.rgb.shape[:2]
        angle = np.deg2rad(turn)
        rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        matrix = np.eye(3)
        matrix[:2, :2] = rotate
        matrix[:2, 2] = np.array([x * width, y * height]) - rotate @ (np.array(size) / 2)
        return matrix

    def show(self, time: float, size: tuple[int, int]) -> tuple[Rgb8, Mask]:
        """Draw the layer on the frame: (h, w, 3) RGB, and the (h, w) mask of where it is."""
        matrix = self.matrix(time, size)[:2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        rgb = cv2.warpAffine(self.rgb, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        if self.mask is None:
            mask = np.ones(size[::-1], bool)
        else:
            mask = cv2.warpAffine(self.mask, matrix, size, flags=flags) > 127
        return np.asarray(rgb, np.uint8), mask


def blob(rgb: Rgb8, top: int, left: int, height: int, width: int) -> tuple[Rgb8, Grey8]:
    """Cut an ellipse out of a photograph: the picture and the mask of a layer."""
    part = np.ascontiguousarray(rgb[top : top + height, left : left + width])
    mask = np.zeros(part.shape[:2], np.uint8)
    middle, axes = (width // 2, height // 2), (width // 2 - 2, height // 2 - 2)
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 255, -1)
    return part, mask


def scene(
    layers: Sequence[Layer],
    n_frames: int,
    size: tuple[int, int],
    *,
    grain: float = 0.0,
    exposure: float = 0.0,
    seed: int = 0,
) -> list[Frame]:
    """Film layers that move.

    Parameters
    ----------
    layers
        The last on top; the first is the background.
    n_frames
        How many frames.
    size
        Width and height in pixels.
    grain
        Standard deviation, in levels of 255, of the noise that each frame has of its own.
    exposure
        Standard deviation, in levels of 255, of the brightness of the frames.
    seed
        Of grain and exposure.

    Returns
    -------
    The frames.
    """
    rng = np.random.default_rng(seed)
    frames: list[Frame] = []
    top_before = np.zeros(size[::-1], np.int32)
    for i in range(n_frames):
        time = i / max(1, n_frames - 1)
        shown = [layer.show(time, size) for layer in layers]
        truth, top = shown[0][0].copy(), np.zeros(size[::-1], np.int32)
        for k, (rgb, mask) in enumerate(shown[1:], start=1):
            truth[mask], top[mask] = rgb[mask], k
        before = seen = None
        if i:
            before = _places(layers, top, (i - 1) / max(1, n_frames - 1), time)
            x, y = before[..., 0], before[..., 1]
            inside = (x >= 0) & (x <= size[0] - 1) & (y >= 0) & (y <= size[1] - 1)
            seen = inside & (
                cv2.remap(top_before.astype(np.float32), x, y, cv2.INTER_NEAREST) == top
            )
        noise = rng.normal(rng.normal(0, exposure) if exposure else 0, grain or 1e-9, size[::-1])
        grey = cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY) + noise
        frames.append(Frame(truth, grey.clip(0, 255).round().astype(np.uint8), before, seen))
        top_before = top
    return frames


def _places(
    layers: Sequence[Layer], top: npt.NDArray[np.int32], earlier: float, time: float
) -> npt.NDArray[np.float32]:
    """Tell where each pixel was: (h, w, 2) x and y; `top` says which layer it shows."""
    height, width = top.shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    here = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float64)
    before = np.zeros((height, width, 2), np.float32)
    for k, layer in enumerate(layers):
        there, now = (layer.matrix(when, (width, height)) for when in (earlier, time))
        move = np.linalg.inv(there) @ now
        before[top == k] = (here @ move.T)[..., :2][top == k]
    return before


def true_ab(frame: Frame) -> npt.NDArray[np.float32]:
    """Give the (h, w, 2) ab of the truth."""
    rgb = torch.from_numpy(frame.truth).permute(2, 0, 1)[None] / 255
    ab: npt.NDArray[np.float32] = rgb_to_lab(rgb)[0, 1:].permute(1, 2, 0).numpy()
    return ab


def flicker(abs_: Sequence[Floats], frames: Sequence[Frame]) -> float:
    """Measure how much colour changes from frame to frame where nothing but motion changed.

    Parameters
    ----------
    abs_
        (h, w, c) ab, or other planes, of each frame as it is shown.
    frames
        The frames.

    Returns
    -------
    Mean length of the change along the true motion, over the pixels that both frames show; the
    first frame of a scene has none.
    """
    changes = []
    for now, earlier, frame in zip(abs_[1:], abs_, frames[1:], strict=False):
        if frame.before is not None and frame.seen is not None:
            came = cv2.remap(earlier, frame.before[..., 0], frame.before[..., 1], cv2.INTER_LINEAR)
            changes.append(np.linalg.norm(now - came, axis=-1)[frame.seen].mean())
    return float(np.mean(changes))
