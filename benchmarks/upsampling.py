"""Bilinear against guided upsampling: `python -m benchmarks.upsampling [PACK OR IMAGES ...]`.

The true ab of colour photographs is averaged over blocks and brought back to full size; what is
lost is measured near strong edges of L and overall. Without arguments the photographs are those
of scikit-image. Then the cost of joining ab to a picture in both ways, in interleaved runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import tyro
from skimage import data
from torch import Tensor

from zcolor.lab import rgb_to_lab
from zcolor.render import join_ab, resized_lightness
from zcolor.settings import UPSAMPLE_METHODS
from zcolor.training.dataset import Rgb8, open_photos
from zcolor.upsample import GUIDE_EPS, GUIDE_RADIUS, guide_ab, upsample_ab

SKIMAGE_PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
FACTORS = (4, 8, 16)
"""ab is averaged over blocks of this side; a network at working size 128 gives 512 px photos 16."""
EDGE_SHARE = 0.1
"""Share of the pixels of a photo, those with the largest gradient of L, that count as edges."""
TIMED_SHAPES = ((512, 512), (1536, 2048), (3000, 4000))
RUNS = 7


def strong_edges(lightness: Tensor) -> Tensor:
    """(h, w) mask of the pixels of (1, 1, h, w) L with the strongest Sobel gradient."""
    plane = lightness[0, 0].numpy()
    gradient = np.hypot(cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1))
    return torch.from_numpy(gradient >= np.quantile(gradient, 1 - EDGE_SHARE))


def squared_errors(rgb: Rgb8, factor: int, radius: int, eps: float) -> tuple[Tensor, Tensor]:
    """Squared error of ab, the mean of a and b, for both ways, and the edges.

    Returns
    -------
    (2, h, w) for bilinear and guided, and the (h, w) mask of strong edges.
    """
    height, width = (side // factor * factor for side in rgb.shape[:2])
    pixels = np.ascontiguousarray(rgb[:height, :width])[None]
    lab = rgb_to_lab(torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2))
    lightness, ab = lab[:, :1], lab[:, 1:]
    small = F.avg_pool2d(ab, factor)
    guide = resized_lightness(pixels, *small.shape[2:], device="cpu")
    results = torch.cat(
        (
            upsample_ab(small, height, width),
            guide_ab(guide, small, radius=radius, eps=eps).upsample(lightness, height),
        )
    )
    return (results - ab).square().mean(dim=1), strong_edges(lightness)


def print_errors(photos: Sequence[Rgb8], radius: int, eps: float) -> None:
    """Print the RMSE of ab over all pixels of all photos, for every factor."""
    print(f"RMSE of ab, {len(photos)} photos; guided with radius {radius}, eps {eps:g}")
    print("shrunk   near edges: bilinear  guided           overall: bilinear  guided")
    for factor in FACTORS:
        sums, counts = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2)
        for rgb in photos:
            if min(rgb.shape[:2]) < factor:
                continue
            errors, edges = squared_errors(rgb, factor, radius, eps)
            sums += torch.stack((errors[:, edges].sum(dim=1), errors.sum(dim=(1, 2))))
            counts += torch.tensor([edges.sum(), edges.numel()])
        (edge_b, edge_g), (all_b, all_g) = (sums / counts[:, None]).sqrt().tolist()
        print(
            f"{factor:4d}x {edge_b:21.3f} {edge_g:7.3f} ({edge_g / edge_b - 1:+6.1%})"
            f" {all_b:18.3f} {all_g:7.3f} ({all_g / all_b - 1:+6.1%})"
        )


def print_seconds() -> None:
    """Print what joining 32x32 ab to grey pictures costs; the machine's noise only adds to it."""
    print(f"\njoin_ab, {torch.get_num_threads()} threads, least of {RUNS} interleaved runs")
    ab = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0)) * 20
    tile = data.camera()  # type: ignore[no-untyped-call]
    for height, width in TIMED_SHAPES:
        pixels = cv2.resize(tile, (width, height))[None, :, :, None]
        seconds: dict[str, list[float]] = {method: [] for method in UPSAMPLE_METHODS}
        for _ in range(RUNS):
            for method, runs in seconds.items():
                start = time.perf_counter()
                join_ab(pixels, ab, upsample=method)
                runs.append(time.perf_counter() - start)
        least = "   ".join(f"{method} {min(runs):.3f} s" for method, runs in seconds.items())
        print(f"{width} x {height}: {least}")


def main(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    *,
    limit: int = 150,
    radius: int = GUIDE_RADIUS,
    eps: float = GUIDE_EPS,
    cost: bool = True,
) -> None:
    """Measure and print.

    Parameters
    ----------
    photos
        Packs, archives, folders or images; scikit-image's own photos if none is given.
    limit
        Photos taken, evenly spread over all.
    radius, eps
        Of the guided way, to compare others with the chosen ones.
    cost
        Also time both ways.
    """
    if photos:
        opened = open_photos(list(photos), "all")
        chosen = np.unique(np.linspace(0, len(opened) - 1, limit).astype(int))
        pictures = [opened.read(int(i)) for i in chosen]
    else:
        pictures = [getattr(data, name)() for name in SKIMAGE_PHOTOS]
    print_errors(pictures, radius, eps)
    if cost:
        print_seconds()


if __name__ == "__main__":
    tyro.cli(main)
