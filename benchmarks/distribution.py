"""What the probabilities are worth: `python -m benchmarks.distribution PACK_OR_IMAGES ...`.

Does the confidence hold, do the suggestions, and how good and how different are the samples?
The truth is what `zcolor evaluate` measures against too; colours are compared at the resolution
of the network's output, where the probabilities stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from tqdm import tqdm

from zcolor import ColorDistribution, Colorizer
from zcolor.atomic import whole_file
from zcolor.metrics import auc_scores
from zcolor.training.dataset import open_photos
from zcolor.training.validate import measured_photo, rgb8_to_lab

RADII = (10.0, 20.0)
BINS = 15
POINTS = 5  # along each side, for the suggestions
N_SAMPLES = 8


@dataclass(frozen=True)
class Arguments:
    """Which photographs, and by which model."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Packs or images."""
    model: str = "zhang"
    """A name or a checkpoint."""
    photos: int = 200
    """Spread evenly over the set."""
    json: Path | None = None
    """A file for the reliability of the confidence, as docs/draw.py draws it."""


def reliability(confidence: Tensor, right: Tensor) -> Tensor:
    """(3, BINS): pixels, mean confidence and share of right ones in each bin."""
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    n, sure, hits = (
        torch.bincount(place, weights=weights.double(), minlength=BINS)
        for weights in (torch.ones_like(confidence), confidence, right)
    )
    return torch.stack((n, sure / n.clamp(min=1), hits / n.clamp(min=1)))


def sample_figures(distribution: ColorDistribution, truth: Tensor, seed: int) -> Tensor:
    """AuC of decode and of the best of 1, 2, 4, 8 samples, their distance and chroma."""

    def auc(ab: Tensor) -> Tensor:
        return auc_scores((ab - truth).norm(dim=-3)).mean(dim=(-2, -1))

    drawn = distribution.sample(N_SAMPLES, seed=seed)[:, 0]
    scores = auc(drawn)
    best = [scores[:n].max() for n in (1, 2, 4, N_SAMPLES)]
    apart = (drawn[:, None] - drawn[None]).norm(dim=2).mean(dim=(2, 3)).sum()
    apart = apart / (N_SAMPLES * (N_SAMPLES - 1))
    decoded = auc(distribution.decode()[0])
    grey = auc(torch.zeros_like(truth))
    beaten = (scores.max() > decoded).float() * 100
    return torch.stack((grey, decoded, *best, beaten, apart, drawn.norm(dim=1).mean()))


def main(arguments: Arguments) -> None:
    """Measure and print."""
    colorizer = Colorizer(arguments.model, device="cpu")
    photos = open_photos(arguments.sources)
    n = min(arguments.photos, len(photos))
    seen: dict[float, list[tuple[Tensor, Tensor]]] = {radius: [] for radius in RADII}
    ranks = torch.zeros(2, 5)
    figures = []
    for i in tqdm([i * len(photos) // n for i in range(n)], unit="photo"):
        rgb = measured_photo(photos.read(i))
        distribution = colorizer.distribution(rgb)
        h, w = distribution.logits.shape[2:]
        truth = F.interpolate(rgb8_to_lab(rgb)[:, 1:], (h, w), mode="area")[0]
        error = (distribution.decode()[0] - truth).norm(dim=0).flatten()
        for radius in RADII:
            confidence = distribution.confidence(radius=radius).flatten()
            seen[radius].append((confidence, error <= radius))
        for x in (np.arange(POINTS) + 0.5) / POINTS:
            for y in (np.arange(POINTS) + 0.5) / POINTS:
                true = truth[:, int(y * h), int(x * w)]
                palette = distribution.suggest(x, y, ranks.shape[1])
                apart = torch.tensor([(torch.tensor(s.ab) - true).norm() for s in palette])
                ranks[0, : len(palette)] += torch.tensor([s.probability for s in palette])
                ranks[1, apart.argmin()] += 1
        figures.append(sample_figures(distribution, truth, seed=i))
    curves = {}
    for radius, pairs in seen.items():
        confidence, right = (torch.cat(part) for part in zip(*pairs, strict=True))
        table = reliability(confidence, right)
        curves[f"{radius:g}"] = table[:, table[0] > 0].tolist()
        ece = (table[0] * (table[1] - table[2]).abs()).sum() / table[0].sum()
        print(
            f"confidence, radius {radius:g}: right {100 * right.float().mean():.1f} %, "
            f"said {100 * confidence.mean():.1f} %, calibration error {100 * ece:.2f} %"
        )
        print(
            "  said -> right: "
            + ", ".join(f"{a:.2f} -> {b:.2f}" for n_in, a, b in table.T.tolist() if n_in)
        )
    print(
        f"suggestions: said {', '.join(f'{v:.3f}' for v in ranks[0] / (n * POINTS**2))}; "
        f"nearest to the truth {', '.join(f'{v:.3f}' for v in ranks[1] / (n * POINTS**2))}"
    )
    if arguments.json is not None:
        text = json.dumps({"photos": n, "pixels, said, right": curves}, indent=1)
        with whole_file(arguments.json) as temporary:
            temporary.write_text(text + "\n")
    names = (
        "grey",
        "decode",
        "best of 1",
        "2",
        "4",
        str(N_SAMPLES),
        "% of photos beaten",
        "distance between samples",
        "their chroma",
    )
    means = torch.stack(figures).mean(dim=0).tolist()
    print(
        "samples, AuC raw: "
        + ", ".join(f"{name} {value:.2f}" for name, value in zip(names, means, strict=True))
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
