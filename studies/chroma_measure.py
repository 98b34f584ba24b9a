"""What the study of chroma compression does to photographs, and what it measures of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from studies.report import Rgb8
from zcolor.atomic import whole_file
from zcolor.bootstrap import REPLICATES, Figure, RatioBootstrap, interval, poisson_weights
from zcolor.metrics import ciede2000, mse_ab
from zcolor.metrics_image import psnr, ssim
from zcolor.photo import read_photo
from zcolor.training.dataset import Photos
from zcolor.training.validate import rgb8_to_lab, rgb8_to_tensor
from zcolor.ycbcr import ab_to_chroma, chroma_to_ab, chroma_to_rgb, rgb_to_chroma, rgb_to_luma

SHRUNK = (0, 50, 60, 70, 80, 85, 90, 95)
"""Percent of each side that is taken away; 0 shows what 8 bits alone cost."""
WAYS = ("Lab, bicubic", "Lab, guided", "YCbCr with Y", "CbCr with L")
"""How chroma is kept, and brought back."""
MEASURES = {
    "psnr": ("PSNR of RGB, dB", 2),
    "ssim": ("SSIM of RGB", 4),
    "ciede2000": ("CIEDE2000", 2),
    "rmse": ("RMSE of ab", 2),
}
"""Key, name for people and decimals."""
# Photos between two writings of what is measured.
_KEPT_EVERY = 10
Measured = dict[str, list[list[float]]]
"""For each photo, by its index, a list over ways and levels (the levels innermost) of measures."""
Key = tuple[str, int, str]
"""A way, a level and a measure."""


# ---- chroma, smaller and back ----------------------------------------------------------------


def shrink(planes: Tensor, percent: float) -> Tensor:
    """Take a share of each side away, bicubically, without aliases.

    Parameters
    ----------
    planes
        (n, c, h, w).
    percent
        In [0, 100): 85 leaves 15 % of each side, at least one pixel.

    Returns
    -------
    (n, c, h', w').
    """
    size = [max(1, round(side * (1 - percent / 100))) for side in planes.shape[-2:]]
    return F.interpolate(planes, size, mode="bicubic", antialias=True) if percent else planes


def enlarge(planes: Tensor, size: Sequence[int]) -> Tensor:
    """Bring (n, c, h', w') back to a size, bicubically."""
    same = planes.shape[-2:] == torch.Size(size)
    return planes if same else F.interpolate(planes, list(size), mode="bicubic")


def restored(rgb: Rgb8, percent: float, way: str) -> Rgb8:
    """Give a photo the chroma that is left of its own.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8.
    percent
        What is taken away of each side of its chroma.
    way
        One of `WAYS`. `Lab, bicubic`: ab, joined with the full L. `Lab, guided`: the same small
        ab, enlarged along the edges of L. `YCbCr with Y`: Cb and Cr, joined with the full luma, as
        JPEG and video do. `CbCr with L`: Cb and Cr, turned into ab by the full L.

    Returns
    -------
    (h, w, 3) uint8.

    Raises
    ------
    ValueError
        For another way.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    photo, size = read_photo(rgb), rgb.shape[:2]
    unit, lab = rgb8_to_tensor(rgb), rgb8_to_lab(rgb)
    if way == "YCbCr with Y":
        chroma = enlarge(shrink(rgb_to_chroma(unit), percent), size)
        joined = chroma_to_rgb(rgb_to_luma(unit), chroma).clamp(0, 1)
        return np.asarray((joined[0] * 255).round().byte().permute(1, 2, 0))
    if way == "CbCr with L":
        chroma = enlarge(shrink(ab_to_chroma(lab[:, 1:], lab[:, :1]), percent), size)
        ab = chroma_to_ab(chroma, lab[:, :1])
    else:
        ab = shrink(lab[:, 1:], percent)
        if way == "Lab, bicubic":
            ab = enlarge(ab, size)
    return np.asarray(photo.with_ab(ab, upsample="guided"), dtype=np.uint8)


def measure(rgb: Rgb8, truth: Rgb8) -> dict[str, float]:
    """Take every measure of `MEASURES` of one picture beside its truth, both (h, w, 3) uint8."""
    lab, true_lab = rgb8_to_lab(rgb), rgb8_to_lab(truth)
    return {
        "psnr": psnr(rgb, truth),
        "ssim": ssim(rgb, truth),
        "ciede2000": ciede2000(lab, true_lab),
        "rmse": float(mse_ab(lab[:, 1:], true_lab[:, 1:]).mean().sqrt()),
    }


# ---- photographs -----------------------------------------------------------------------------


def choose(photos: Photos, *, short_side: int, limit: int) -> list[int]:
    """Choose photos that are large enough, spread over all of these.

    Raises
    ------
    ValueError
        If there are none.
    """
    large = [i for i in range(len(photos)) if min(photos.read(i).shape[:2]) >= short_side]
    if not large:
        raise ValueError(
            f"no photo has a short side of {short_side} pixels; give larger ones, or --short-side"
        )
    n = min(limit, len(large))
    return [large[i * len(large) // n] for i in range(n)]


def read(photos: Photos, index: int, *, short_side: int) -> Rgb8:
    """Read a photo and shrink it to a short side in pixels, by area."""
    rgb = photos.read(index)
    scale = short_side / min(rgb.shape[:2])
    if scale == 1:
        return rgb
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def measure_all(
    photos: Photos,
    chosen: Sequence[int],
    folder: Path,
    *,
    short_side: int,
    progress: bool = True,
) -> Measured:
    """Measure every photo, or go on where this was interrupted.

    Parameters
    ----------
    photos, chosen
        Which photos, by index.
    folder
        Where the measures are kept; those of other photos or sizes are replaced.
    short_side
        Photos are shrunk to it, in pixels.
    progress
        Show a progress bar.

    Returns
    -------
    The measures of the chosen photos.
    """
    kept = folder / "measured.json"
    key = {"data": photos.data_hash, "short_side": short_side, "shrunk": SHRUNK, "ways": WAYS}
    stamp = json.loads(json.dumps(key))
    found: Measured = {}
    if kept.exists():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        found = stored["measured"] if stored["of"] == stamp else {}
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in chosen if str(index) not in found]
    for n, index in enumerate(tqdm(missing, disable=not progress, unit="photo"), 1):
        truth = read(photos, index, short_side=short_side)
        found[str(index)] = [
            list(measure(restored(truth, percent, way), truth).values())
            for way in WAYS
            for percent in SHRUNK
        ]
        if n % _KEPT_EVERY == 0 or n == len(missing):
            with whole_file(kept) as temporary:
                temporary.write_text(json.dumps({"of": stamp, "measured": found}), encoding="utf-8")
    return {str(index): found[str(index)] for index in chosen}


def summarise(measured: Measured, seed: int) -> dict[Key, Figure]:
    """Mean over photos and its 95 % interval, by way, level and measure."""
    keys = [(way, percent, name) for way in WAYS for percent in SHRUNK for name in MEASURES]
    means = RatioBootstrap(len(keys), REPLICATES)
    for photo, rows in measured.items():
        values = np.array(rows, dtype=np.float64).flatten()
        means.add(poisson_weights(seed, int(photo), REPLICATES), values, np.ones_like(values))
    replicates = means.replicates()
    return {
        key: interval(float(value), replicates[:, i], n_photos=len(measured))
        for i, (key, value) in enumerate(zip(keys, means.values(), strict=True))
    }
