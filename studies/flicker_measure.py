"""What the study of flicker measures: films over photographs, ways to colour them, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.clips import Frame, Layer, flicker, scene, true_ab
from benchmarks.video import answers
from studies.report import Rgb8
from zcolor import Colorizer
from zcolor.metrics import auc_scores, mean_chroma
from zcolor.photo import read_photo
from zcolor.precision import fast_precision
from zcolor.settings import DecodeSettings
from zcolor.temporal import SMOOTH, TemporalSmoother

EXPOSURE = 2.0
"""Standard deviation of the brightness of the frames, in levels of 255."""
# The camera begins and ends within these: times that the photo fills the frame, the place of its
# middle as a share of the sides, degrees.
_ZOOM, _MIDDLE, _TURN = (1.15, 1.5), (0.42, 0.58), 4.0


@dataclass(frozen=True)
class Method:
    """One way to colour a clip."""

    model: str
    """A family that the study trains, or a model that ships."""
    as_clip: bool = False
    """Give the network the whole clip, not frame after frame."""
    smooth: float = 0.0
    """Smoothing along the motion, as `zcolor video` does it."""


METHODS = {
    "fusion": Method("fusion"),
    "fusion, smoothed": Method("fusion", smooth=SMOOTH),
    "video-fusion, single frames": Method("video-fusion"),
    "video-fusion, clips": Method("video-fusion", as_clip=True),
    "video-fusion, clips, smoothed": Method("video-fusion", as_clip=True, smooth=SMOOTH),
    "zhang": Method("zhang"),
    "zhang, smoothed": Method("zhang", smooth=SMOOTH),
}
"""What is compared, by the name in the table."""


def film(rgb: Rgb8, n_frames: int, side: int, *, grain: float, seed: Sequence[int]) -> list[Frame]:
    """Film a photograph with a camera that pans, zooms and turns.

    Parameters
    ----------
    rgb
        (h, w, 3) photograph.
    n_frames
        How many frames.
    side
        Of the square frames, in pixels.
    grain
        Standard deviation of the grain, in levels of 255.
    seed
        Numbers that decide camera, grain and brightness.
    """
    rng = np.random.default_rng(seed)
    fit = side / min(rgb.shape[:2])
    begin, end = (fit * rng.uniform(*_ZOOM, 2)).tolist()
    (x, y), turn = rng.uniform(*_MIDDLE, (2, 2)).tolist(), rng.uniform(-_TURN, _TURN, 2).tolist()
    layer = Layer(rgb, x=tuple(x), y=tuple(y), scale=(begin, end), turn=tuple(turn))
    noise = int(rng.integers(2**31))
    return scene([layer], n_frames, (side, side), grain=grain, exposure=EXPOSURE, seed=noise)


@torch.inference_mode()
def clip_answers(colorizer: Colorizer, frames: Sequence[Frame]) -> list[tuple[Tensor, Tensor]]:
    """Ask a network that reads clips: the lightness and the ab of every frame."""
    net = colorizer.net
    photos = [read_photo(frame.grey) for frame in frames]
    lightness = torch.cat([photo.lightness(net.working_size, "cpu") for photo in photos])
    with fast_precision(torch.device("cpu")):  # as single frames are coloured
        ab = net.predict_ab(lightness[None], DecodeSettings())
    return list(zip(lightness.split(1), ab.split(1), strict=True))


def colored(
    colorizer: Colorizer, method: Method, frames: Sequence[Frame]
) -> list[tuple[Tensor, Tensor]]:
    """Colour a clip: the lightness and the ab of every frame, smoothed if the method says so."""
    found = (clip_answers if method.as_clip else answers)(colorizer, frames)
    smoother = TemporalSmoother(method.smooth)
    return [(lightness, smoother(lightness, ab)) for lightness, ab in found]


def measure(frames: Sequence[Frame], abs_: Sequence[Tensor]) -> dict[str, Any]:
    """Measure (2, h, w) ab of the frames of a clip.

    Returns
    -------
    `flicker` (a number for every frame but the first), and means over the frames: `auc` (raw, in
    percent), `rmse` (of a and b) and `chroma`.
    """
    planes = [np.ascontiguousarray(ab.permute(1, 2, 0).numpy()) for ab in abs_]
    aucs, rmses = [], []
    for ab, frame in zip(abs_, frames, strict=True):
        error = (ab - torch.from_numpy(true_ab(frame)).permute(2, 0, 1)).norm(dim=0)
        aucs.append(float(auc_scores(error).mean()))
        rmses.append(float(error.square().mean().div(2).sqrt()))
    pairs = range(1, len(frames))
    return {
        "flicker": [flicker(planes[i - 1 : i + 1], frames[i - 1 : i + 1]) for i in pairs],
        "auc": float(np.mean(aucs)),
        "rmse": float(np.mean(rmses)),
        "chroma": float(mean_chroma(torch.stack(list(abs_))).mean()),
    }


def means(clips: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Average over clips: `flicker`, `auc`, `rmse`, `chroma`, and `share`, flicker over chroma."""
    of = {
        key: float(np.mean([clip[key] for clip in clips]))
        for key in ("flicker", "auc", "rmse", "chroma")
    }
    return {**of, "share": of["flicker"] / of["chroma"] if of["chroma"] else float("nan")}
