"""The families compared: the same photographs, the same number seen, the same measures.

`python -m studies.compare PHOTOS --val PHOTOS --runs runs/compare` trains every family of
`CONTESTANTS` on one set of photographs, measures each as `zcolor evaluate` does, and writes
docs/studies/compare.md. What is finished is kept in the folder of runs: the same command goes on.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro
from tqdm import tqdm

from studies.claim import claim
from studies.pace import ROUNDS, Pace, kept_paces
from studies.report import (
    PAGES,
    SHOWN,
    Rgb8,
    save_plot,
    save_sheet,
    shown_photos,
    table,
    typed,
    write_page,
)
from zcolor import Colorizer
from zcolor.apps.evaluate import run_evaluation
from zcolor.checkpoint import read_header
from zcolor.registry import MODELS, load_model
from zcolor.settings import ColorizeSettings, Device, EvaluateSettings
from zcolor.training.dataset import open_photos
from zcolor.training.loop import train
from zcolor.training.pretrain import pretrain
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.priors import build_priors, read_priors
from zcolor.training.settings import AugmentSettings, FilmSettings, TrainSettings
from zcolor.training.sources import find_photos
from zcolor.training.validate import measured_photo

matplotlib.use("Agg")

_SHEET_PHOTOS = 10
_VALIDATIONS = 8  # of each run, for the learning curves
_EXTRACTOR = "extractor.safetensors"
_PACES = "paces.json"


@dataclass(frozen=True)
class Contestant:
    """One row of the comparison."""

    model: str
    """Family, by its name in the registry."""
    words: str = ""
    """Settings on top of its recipe, as they are typed after `zcolor train`."""
    with_extractor: bool = False
    """Give it the extractor that the study pretrains."""


CONTESTANTS: Mapping[str, Contestant] = {
    "zhang": Contestant("zhang", "--targets hard"),
    "zhang, not rebalanced": Contestant("zhang", "--targets hard --rebalancing none"),
    "resnet34": Contestant("resnet34", "--targets hard --width 0.5"),
    "plain34": Contestant("plain34", "--targets hard --width 0.5"),
    "autoencoder, deep": Contestant("autoencoder"),
    "autoencoder, plain": Contestant("autoencoder", "--options layout=plain"),
    "fusion": Contestant("fusion", with_extractor=True),
    "vgg16": Contestant("vgg16", "--options weights=random width=0.25 dropout=0.0"),
}
"""Who is compared, by the name in the tables."""


@dataclass(frozen=True)
class CompareStudy:
    """The comparison of the families."""

    photos: tyro.conf.Positional[tuple[str, ...]]
    """Training photographs: zip archives or folders, a folder a label."""
    val: tuple[str, ...]
    """Photographs to measure on."""
    only: str = "miniplaces"
    """Take the photos in whose name this stands; empty takes all."""
    n_photos: int = 8000
    """Training photos: the first so many."""
    n_val: int = 300
    """Photos to measure on: the first so many."""
    seen: int = 24_000
    """Photos that each family sees."""
    pretrained: int = 48_000
    """Photos that the extractor of `fusion` sees before, with their labels."""
    side: int = 64
    """Working size and crops of all families, in pixels."""
    families: tuple[str, ...] = tuple(CONTESTANTS)
    """Which of them to compare."""
    runs: Path = Path("runs/compare")
    """Folder of the runs."""
    out: Path = PAGES
    """Folder of the page."""
    device: Device = "auto"
    """Where the networks are trained."""
    seed: int = 0
    """Seed of all runs."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        unknown = set(self.families) - set(CONTESTANTS)
        if unknown:
            raise ValueError(
                f"unknown family {sorted(unknown)[0]!r}; choose among {', '.join(CONTESTANTS)}"
            )


def recipe_settings(contestant: Contestant, study: CompareStudy, extractor: Path) -> TrainSettings:
    """Settings of one run: the family's recipe, its own words, then what all runs share.

    Parameters
    ----------
    contestant
        The family.
    study
        What all share: photos seen, sizes, seed; no film, the same augmentation.
    extractor
        The pretrained extractor.
    """
    words = [*shlex.split(MODELS[contestant.model].recipe), *shlex.split(contestant.words)]
    chosen: TrainSettings = tyro.cli(TrainSettings, args=words)
    options = chosen.options
    if contestant.with_extractor:
        options = (*options, "extractor=resnet18", f"extractor_weights={extractor}")
    return dataclasses.replace(
        chosen,
        model=contestant.model,
        options=options,
        photos=study.seen,
        crops=(study.side,),
        shares=(1.0,),
        working_size=study.side,
        monitor="val",
        epoch_photos=-(-study.seen // _VALIDATIONS),
        val_photos=100,
        cache=True,
        seed=study.seed,
        device=study.device,
        augment=AugmentSettings(scaled=0.0),
        film=FilmSettings(share=0.0),
    )


def unpack(sources: Sequence[str], folder: Path, *, only: str, n: int) -> Path:
    """Write the chosen photos into a folder, a folder a label, as they are in their archives.

    Raises
    ------
    ValueError
        If there are fewer than `n`.
    """
    if folder.exists():
        return folder
    entries = [entry for entry in find_photos(sources) if only in (entry.member or str(entry.path))]
    if len(entries) < n:
        raise ValueError(f"there are only {len(entries)} photos with {only!r} in their names")
    # Archives list their members by name, and so by label.
    chosen = np.random.default_rng(0).permutation(len(entries))[:n]
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for k, i in enumerate(sorted(chosen)):
        entry = entries[i]
        path = unfinished / entry.label / f"{k:06}{Path(entry.member or entry.path).suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.read_bytes())
    unfinished.rename(folder)
    return folder


def run(study: CompareStudy) -> None:
    """Train, measure and write the page."""
    runs = study.runs
    # Families may be compared in several calls: each keeps its own figures.
    claim(study, runs, free=("out", "device", "families"))
    photos = unpack(study.photos, runs / "train", only=study.only, n=study.n_photos)
    val = unpack(study.val, runs / "val", only=study.only, n=study.n_val)
    priors = runs / "priors.h5"
    if not priors.exists():
        build_priors([photos], priors)
    extractor = runs / _EXTRACTOR
    accuracy = ""
    if any(CONTESTANTS[name].with_extractor for name in study.families):
        if not extractor.exists():
            schooling = PretrainSettings(
                photos=study.pretrained, size=study.side, seed=study.seed, device=study.device
            )
            if pretrain(schooling, [photos], extractor).reason != "done":
                raise KeyboardInterrupt
        accuracy = _accuracy(extractor)
    settings_of = {
        name: recipe_settings(CONTESTANTS[name], study, extractor) for name in study.families
    }
    folders = {}
    for name in tqdm(study.families, unit="family"):
        folder = runs / name.replace(", ", "-").replace(" ", "-")
        done = folder / "figures.json"
        if not done.exists():
            _fit(settings_of[name], photos, val, priors, folder)
            chosen = {"chosen": ColorizeSettings()}
            run_evaluation(
                [val],
                model=folder / "best.safetensors",
                variants=chosen,
                settings=EvaluateSettings(),
                device=study.device,
                json=done,
            )
        folders[name] = folder
    paces = kept_paces(runs / _PACES, settings_of, read_priors(priors))
    found = {name: Found(folder, paces[name]) for name, folder in folders.items()}
    _write(study, found, accuracy)


def _fit(s: TrainSettings, photos: Path, val: Path, priors: Path, folder: Path) -> None:
    """Train one family, or go on where its run was interrupted."""
    state = folder / "last.safetensors"
    result = train(s, [photos], folder, val=[val], priors=priors, resume=state.exists())
    if result.reason != "done":
        raise KeyboardInterrupt


class Found:
    """What came of one run, read from its folder."""

    def __init__(self, folder: Path, pace: Pace) -> None:
        self.weights = folder / "best.safetensors"
        figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))["methods"]
        self.grey, self.truth = figures["grey"]["figures"], figures["truth"]["figures"]
        self.figures = figures["chosen"]["figures"]
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        self.pace = pace
        self.curve = [
            (r["seen"], r["seen"] * pace.median / 60, r["val_loss"], r["val_auc_rebalanced"])
            for r in records
            if "val_loss" in r
        ]
        """Photos seen, minutes of training, validation loss, rebalanced AuC; each validation."""
        net = load_model(self.weights)
        self.n_parameters = sum(p.numel() for p in net.parameters())
        self.n_learned = sum(p.numel() for p in net.parameters() if p.requires_grad)
        self.regresses = not hasattr(net, "grid")


def _accuracy(extractor: Path) -> str:
    header = read_header(extractor)
    value = header.get("accuracy", header.get("provenance", {}).get("accuracy"))
    return "" if value is None else f"{100 * float(value):.1f} %"


def reached(curve: Sequence[tuple[int, float, float, float]], loss: float) -> tuple[int, float]:
    """Photos and minutes after which a validation loss is reached, between two validations.

    Returns
    -------
    Interpolated linearly; NaN minutes if it is never reached.

    Examples
    --------
    >>> reached([(100, 1.0, 0.4, 0.0), (200, 2.0, 0.2, 0.0)], 0.3)
    (150, 1.5)
    """
    for before, after in zip([None, *curve], curve, strict=False):
        if after[2] > loss:
            continue
        if before is None:
            return after[0], after[1]
        share = (before[2] - loss) / (before[2] - after[2])
        seen = before[0] + share * (after[0] - before[0])
        return round(seen), before[1] + share * (after[1] - before[1])
    return 0, float("nan")


# ---- the page --------------------------------------------------------------------------------


def _write(study: CompareStudy, found: Mapping[str, Found], accuracy: str) -> None:
    parts = [
        _intro(study, accuracy),
        _main_table(found),
        _headline(found),
        "## Learning curves",
        _plot(found, study.out),
        _equal_loss(study, found),
        "## The pictures",
        SHOWN,
        _sheet(study, found),
    ]
    write_page(
        study.out / "compare.md",
        "The families compared",
        [part for part in parts if part],
        command=typed("studies.compare"),
    )


def _intro(study: CompareStudy, accuracy: str) -> str:
    seen, n, side = f"{study.seen:,}", f"{study.n_photos:,}", study.side
    text = (
        f"Every family is trained on the same {n} photographs of MiniPlaces (100 scenes) and sees "
        f"{seen} of them, {study.seen / study.n_photos:.3g} times the set, at {side} x {side} "
        "pixels, mirrored and lit at random; optimizer, rate and batch are those of its recipe. "
        f"Measured on {study.n_val} others, at a working size of {side}, by the code of `zcolor "
        "evaluate`, in full size and with guided upsampling; classifiers are decoded with the "
        "preset `vivid`. This is far from what the recipes ask for in full: it compares what the "
        "families make of little data and little time, under equal conditions."
    )
    if accuracy:
        text += (
            " ImageNet's weights were not to be had: the extractor of `fusion` is a ResNet-18 that "
            f"learned the 100 labels of the same photographs first ({study.pretrained:,} seen, "
            f"{accuracy} of held-out photos right); `vgg16` begins at random, at a quarter of its "
            "width. With ImageNet's weights both would do better."
        )
    return text


_MEASURES = (
    ("auc_raw", "AuC raw", 2),
    ("auc_rebalanced", "rebalanced", 2),
    ("psnr_rgb", "PSNR", 2),
    ("ssim_rgb", "SSIM", 3),
    ("ciede2000", "CIEDE2000", 2),
    ("colorfulness", "colourfulness", 1),
    ("cast_b", "cast b", 1),
)


def _main_table(found: Mapping[str, Found]) -> str:
    some = next(iter(found.values()))
    header = ["", *(title for _, title, _ in _MEASURES), "ms a photo", "parameters (learned)"]
    rows: list[list[object]] = [["grey", *_values(some.grey), "", ""]]
    for name, result in found.items():
        learned = f"{result.n_parameters / 1e6:.2f} M"
        if result.n_learned != result.n_parameters:
            learned += f" ({result.n_learned / 1e6:.2f} M)"
        rows.append([name, *_values(result.figures), f"{1000 * result.pace.median:.1f}", learned])
    rows.append(["truth", *_values(some.truth), "", ""])
    widths = [
        (f["auc_rebalanced"]["high"] - f["auc_rebalanced"]["low"]) / 2
        for f in (result.figures for result in found.values())
    ]
    note = (
        f"AuC in percent, half of the 95 % interval of the rebalanced one at most {max(widths):.1f}"
        " (over photos; differences between rows are surer than that). PSNR and SSIM of RGB. "
        f"Milliseconds of a training step for each of its photos, the median of {ROUNDS} steps of "
        "all families in turn."
    )
    return f"{table(header, rows)}\n\n{note}"


def _values(figures: Mapping[str, Any]) -> list[str]:
    cells = []
    for key, _, digits in _MEASURES:
        value = figures.get(key, {}).get("value")
        cells.append("" if value is None else f"{value:.{digits}f}")
    return cells


def _headline(found: Mapping[str, Found]) -> str:
    """Say what classification with rebalancing buys over regression."""
    regressors = {name: r for name, r in found.items() if r.regresses}
    if "zhang" not in found or not regressors:
        return ""

    def of(result: Found, key: str) -> float:
        return float(result.figures[key]["value"])

    best = max(regressors, key=lambda name: of(regressors[name], "auc_rebalanced"))
    zhang, other = found["zhang"], regressors[best]
    gain = of(zhang, "auc_rebalanced") - of(other, "auc_rebalanced")
    raw = of(zhang, "auc_raw") - of(other, "auc_raw")
    colors = of(zhang, "colorfulness"), of(other, "colorfulness")
    truth = float(other.truth["colorfulness"]["value"])
    text = (
        f"**What classification with rebalancing buys:** against the best regression here, {best}, "
        f"`zhang` has {gain:+.1f} points of rebalanced AuC and {raw:+.1f} of raw AuC, and a "
        f"colourfulness of {colors[0]:.1f} in place of {colors[1]:.1f} (truth {truth:.1f})."
    )
    text += (
        f" Over the second half of the photos `zhang` gained "
        f"{_late_gain(zhang):+.1f} points on the 100 photos of the curves below, {best} "
        f"{_late_gain(other):+.1f}."
    )
    plain = found.get("zhang, not rebalanced")
    if plain is not None:
        text += (
            " The same classifier trained without rebalancing, decoded in the same way, has "
            f"{of(plain, 'auc_rebalanced'):.1f} rebalanced, {of(plain, 'auc_raw'):.1f} raw and a "
            f"colourfulness of {of(plain, 'colorfulness'):.1f}."
        )
    return text


def _late_gain(result: Found) -> float:
    """Points of rebalanced AuC that the second half of a training brought."""
    half = min(result.curve, key=lambda point: abs(point[0] - result.curve[-1][0] / 2))
    return float(result.curve[-1][3] - half[3])


def _equal_loss(study: CompareStudy, found: Mapping[str, Found]) -> str:
    """Time and epochs of `fusion` to the loss that the autoencoder like it reaches too."""
    fusion, alone = found.get("fusion"), found.get("autoencoder, plain")
    if fusion is None or alone is None:
        return ""
    goal = max(min(point[2] for point in r.curve) for r in (fusion, alone))
    rows = []
    for name, result in (("fusion", fusion), ("autoencoder, plain", alone)):
        seen, minutes = reached(result.curve, goal)
        epochs, best = seen / study.n_photos, min(point[2] for point in result.curve)
        rows.append([name, f"{seen:,}", f"{epochs:.2f}", f"{minutes:.1f}", f"{best:.5f}"])
    header = ["", "photos seen", "epochs", "minutes", "its own best"]
    return (
        "What the extractor's answer is worth: photos, epochs and time until the validation loss "
        f"(MSE of ab / 128) is {goal:.5f}, the lowest that both reach.\n\n{table(header, rows)}"
    )


def _plot(found: Mapping[str, Found], out: Path) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4))
    labels = ((0, "photos seen"), (1, "minutes of training steps"))
    for place, (column, label) in enumerate(labels):
        axes = figure.add_subplot(1, 2, place + 1)
        for name, result in found.items():
            points = [(point[column], point[3]) for point in result.curve]
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set_xlabel(label)
        axes.set_ylabel("rebalanced AuC of 100 photos, T = 0.38 [%]" if not place else "")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    return save_plot(figure, out / "compare-curves.png")


def _sheet(study: CompareStudy, found: Mapping[str, Found]) -> str:
    """Draw what the page may show, and for the folder of runs some of the measured photos."""
    photos = open_photos([study.runs / "val"])
    step = max(1, len(photos) // _SHEET_PHOTOS)
    measured = [measured_photo(photos.read(i)) for i in range(0, len(photos), step)]
    shown = shown_photos(_SHEET_PHOTOS)
    originals = [*shown, *measured[:_SHEET_PHOTOS]]
    columns: list[list[Rgb8]] = []
    for result in found.values():
        colorizer = Colorizer(result.weights, device=study.device)
        columns.append([np.asarray(colorizer(rgb), dtype=np.uint8) for rgb in originals])
    rows = [[*row, original] for *row, original in zip(*columns, originals, strict=True)]
    names = [*found, "truth"]
    save_sheet(names, rows[len(shown) :], study.runs / "sheet.jpg", side=112)
    return save_sheet(names, rows[: len(shown)], study.out / "compare.jpg", side=112)


if __name__ == "__main__":
    run(tyro.cli(CompareStudy))
