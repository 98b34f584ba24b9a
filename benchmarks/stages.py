"""What each stage of a training brought: `python -m benchmarks.stages val.h5 --models A B ...`.

The checkpoints of a training that went on and on (`zcolor train --init`) colour the same validation
photographs, as they are and aged as old film, all with the same presets: a learning curve for both,
and for what old film costs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.film import ALL, CLEAN, measure, method
from zcolor.apps.evaluate_model import GREY
from zcolor.atomic import whole_file
from zcolor.bootstrap import Figure
from zcolor.checkpoint import read_header
from zcolor.evaluation import Evaluation
from zcolor.models.base import ColorNet
from zcolor.registry import find_weights, load_model
from zcolor.settings import PRESETS, Preset
from zcolor.training.dataset import open_photos
from zcolor.training.settings import FilmSettings

WAYS: dict[str, FilmSettings | None] = {CLEAN: None, ALL: FilmSettings()}
"""Photographs as they are, and aged."""
AUCS = ("auc_raw", "auc_rebalanced")


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Validation photographs: packs, folders, images, zip archives."""
    models: tuple[str, ...] = ("zhang",)
    """Names or checkpoints, in the order of their training."""
    presets: str = ""
    """The model whose presets decode all of them; if not given, the last one."""
    photos: int = 0
    """So many of the photographs, evenly spread; 0 takes all."""
    jobs: int = 2
    """Photos at a time."""
    json: Path | None = None
    """A file for the figures."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.photos < 0 or self.jobs < 1:
            raise ValueError(
                "photos must be at least 0 (all of them) and jobs at least 1, got "
                f"photos={self.photos} jobs={self.jobs}"
            )
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(
                f"name at least one checkpoint, and each of them once; got {list(self.models)}"
            )


def measure_stages(settings: Settings) -> dict[str, Any]:
    """Measure the models; the figures as `--json` writes them.

    Returns
    -------
    `photos` (their number), `grey` (its AuCs), and `stages`: for each model its name, the photos
    seen since the first one began, the share of its crops that were aged, and for each preset the
    differences to grey of clean and aged photographs and what is lost between the two, each as
    (value, low, high) of a 95 % bootstrap interval over photos.
    """
    nets: dict[str, ColorNet] = {name: load_model(name) for name in settings.models}
    photos = open_photos(settings.data, "all")
    n = min(settings.photos or len(photos), len(photos))
    decoded_by = settings.presets or settings.models[-1]
    decode = (nets[decoded_by] if decoded_by in nets else load_model(decoded_by)).presets
    evaluation = measure(nets, WAYS, decode, photos, n=n, jobs=settings.jobs)
    seen = 0
    stages: list[dict[str, Any]] = []
    for name in nets:
        header = read_header(find_weights(name))
        provenance = header.get("provenance", {})
        if "mean_of" not in provenance:  # a mean of stages saw what they saw
            seen += provenance.get("seen", 0)
        aged = header.get("training", {}).get("film", {}).get("share", 0.0)
        found: dict[str, Any] = {preset: _stage(evaluation, name, preset) for preset in PRESETS}
        stages.append({"name": Path(name).stem, "seen": seen, "aged": aged, **found})
    grey = {auc: evaluation.figures(GREY)[auc].value for auc in AUCS}
    return {"photos": n, "grey": grey, "stages": stages}


def _stage(evaluation: Evaluation, net: str, preset: Preset) -> dict[str, Any]:
    """AuCs of one model: above grey, clean and aged, and what lies between."""
    clean, aged = (method(net, way, preset) for way in WAYS)
    found = {
        "clean": evaluation.gains(clean),
        "aged": evaluation.gains(aged),
        "lost": evaluation.gains(clean, aged),
    }
    return {
        key: {auc: dataclasses.astuple(gains[auc]) for auc in AUCS} for key, gains in found.items()
    }


def table(measured: Mapping[str, Any]) -> str:
    """Make the table: AuC above grey, raw / rebalanced, with half of the interval of the loss."""
    head = " | ".join(f"`{preset}`, clean | aged | lost" for preset in PRESETS)
    lines = [f"| photos seen (aged) | {head} |", "| --- " * (3 * len(PRESETS) + 1) + "|"]
    for stage in measured["stages"]:
        cells = [f"{stage['seen']:,} ({100 * stage['aged']:.0f} %)"]
        for preset in PRESETS:
            for key, sign in (("clean", "+"), ("aged", "+"), ("lost", "")):
                raw, rebalanced = (Figure(*stage[preset][key][auc]) for auc in AUCS)
                cell = f"{raw.value:{sign}.2f} / {rebalanced.value:{sign}.2f}"
                cells.append(f"{cell} ± {rebalanced.half_width:.2f}" if key == "lost" else cell)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(settings: Settings) -> None:
    """Measure, print the table, and write the figures."""
    measured = measure_stages(settings)
    print(table(measured))
    if settings.json is not None:
        with whole_file(settings.json) as temporary:
            temporary.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
