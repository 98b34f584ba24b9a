"""What a memory buys in films: `fusion` frame by frame against `video-fusion` on clips.

`python -m studies.flicker PHOTOS --val PHOTOS --runs runs/flicker` trains both on the same
photographs, films held-out photographs with a camera whose motion is known, measures how much the
colours change along that motion, and writes docs/studies/flicker.md. What is finished is kept in
the folder of runs: the same command goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import tyro
from tqdm import tqdm

from benchmarks.clips import Frame, true_ab
from benchmarks.video import full_ab
from studies.claim import claim
from studies.compare import unpack
from studies.flicker_measure import EXPOSURE, METHODS, colored, film, means, measure
from studies.pace import ROUNDS, kept_paces
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
from zcolor.atomic import whole_file
from zcolor.checkpoint import read_header
from zcolor.photo import read_photo
from zcolor.settings import Device
from zcolor.temporal import SMOOTH
from zcolor.training.dataset import open_photos
from zcolor.training.loop import train
from zcolor.training.pretrain import pretrain
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.settings import AugmentSettings, FilmSettings, TrainSettings

matplotlib.use("Agg")

TRAINED = ("fusion", "video-fusion")
"""The families that this study trains."""
_SHEET_CLIPS, _SHEET_FRAMES = 2, 4


@dataclass(frozen=True)
class FlickerStudy:
    """Flicker of films coloured frame by frame and with a memory."""

    photos: tyro.conf.Positional[tuple[str, ...]]
    """Training photographs: zip archives or folders, a folder a label."""
    val: tuple[str, ...]
    """Photographs to film and measure on."""
    only: str = "miniplaces"
    """Take the photos in whose name this stands; empty takes all."""
    n_photos: int = 4000
    """Training photos: so many of them."""
    n_clips: int = 16
    """Photos to film, a clip each."""
    clip_frames: int = 12
    """Frames of these clips."""
    frames: int = 5
    """Frames of the clips that `video-fusion` learns from."""
    seen: int = 10_000
    """Frames that each of the two learns from, a multiple of `frames`."""
    step_frames: int = 20
    """Frames of each step of both, a multiple of `frames`."""
    extractor: Path | None = None
    """An extractor that `zcolor pretrain` wrote; None pretrains one on the training photos."""
    network: str = "resnet18"
    """The network that is pretrained otherwise."""
    pretrained: int = 12_000
    """Photos that it sees, with their labels."""
    side: int = 64
    """Working size, and crops of the training, in pixels."""
    frame_side: int = 96
    """Side of the measured frames, in pixels."""
    grain: float = 4.0
    """Standard deviation of their grain, in levels of 255."""
    runs: Path = Path("runs/flicker")
    """Folder of the runs."""
    out: Path = PAGES
    """Folder of the page."""
    device: Device = "auto"
    """Where the networks are trained."""
    seed: int = 0
    """Seed of all runs and of the clips."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.frames < 2 or self.clip_frames < 2 or self.n_clips < 1:
            raise ValueError(
                "clips need at least 2 frames, and at least 1 must be measured; got frames="
                f"{self.frames} clip_frames={self.clip_frames} n_clips={self.n_clips}"
            )
        if self.seen % self.frames or self.step_frames % self.frames:
            raise ValueError(
                f"seen ({self.seen}) and step_frames ({self.step_frames}) must be multiples of "
                f"frames ({self.frames}), so that both networks see the same number"
            )


def train_settings(model: str, study: FlickerStudy, extractor: Path) -> TrainSettings:
    """Settings of one run: the same number of frames, in the same number of steps.

    Parameters
    ----------
    model
        One of `TRAINED`.
    study
        What both share.
    extractor
        The pretrained extractor.
    """
    frames = study.frames if model == "video-fusion" else 1
    network = read_header(extractor)["extractor"]
    options = [f"extractor={network}", f"extractor_weights={extractor}"]
    if frames > 1:
        options.append(f"frames={frames}")
    photos = study.seen // frames
    return TrainSettings(
        model=model,
        options=tuple(options),
        photos=photos,
        batch=study.step_frames // frames,
        crops=(study.side,),
        shares=(1.0,),
        working_size=study.side,
        optimizer="adam",
        weight_decay=0.0,
        monitor="train",
        epoch_photos=photos,  # the end of the run is what is measured
        cache=True,
        seed=study.seed,
        device=study.device,
        augment=AugmentSettings(scaled=0.0),
        film=FilmSettings(share=0.0),
    )


def run(study: FlickerStudy) -> None:
    """Train, film, measure and write the page."""
    runs = study.runs
    claim(study, study.runs)
    photos = unpack(study.photos, runs / "train", only=study.only, n=study.n_photos)
    unpack(study.val, runs / "val", only=study.only, n=study.n_clips)
    extractor = study.extractor or _extractor(study, photos)
    models: dict[str, Path | str] = {"zhang": "zhang"}
    for model in TRAINED:
        best = models[model] = runs / model / "best.safetensors"
        if not best.exists():
            state = runs / model / "last.safetensors"
            s = train_settings(model, study, extractor)
            if train(s, [photos], runs / model, resume=state.exists()).reason != "done":
                raise KeyboardInterrupt
    colorizers = {model: Colorizer(path, device="cpu") for model, path in models.items()}
    _write(study, colorizers, measure_all(study, colorizers), extractor)


def _extractor(study: FlickerStudy, photos: Path) -> Path:
    path = study.runs / "extractor.safetensors"
    if not path.exists():
        settings = PretrainSettings(
            extractor=study.network,
            photos=study.pretrained,
            size=study.side,
            seed=study.seed,
            device=study.device,
        )
        if pretrain(settings, [photos], path).reason != "done":
            raise KeyboardInterrupt
    return path


def measure_all(
    study: FlickerStudy, colorizers: dict[str, Colorizer]
) -> dict[str, list[dict[str, Any]]]:
    """Measure every method on every clip, and the truth; what is done is kept in the runs."""
    kept = study.runs / "figures.json"
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in (*METHODS, "truth")}
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
    photos = open_photos([study.runs / "val"])
    for i in tqdm(range(len(found["truth"]), study.n_clips), unit="clip", desc="measure"):
        frames = _filmed(photos.read(i), study, i)
        for name, method in METHODS.items():
            colors = colored(colorizers[method.model], method, frames)
            shown = [full_ab(f.grey, ab)[0] for f, (_, ab) in zip(frames, colors, strict=True)]
            found[name].append(measure(frames, shown))
        truth = [torch.from_numpy(true_ab(frame)).permute(2, 0, 1) for frame in frames]
        found["truth"].append(measure(frames, truth))
        with whole_file(kept) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    return found


def _filmed(rgb: Rgb8, study: FlickerStudy, i: int) -> list[Frame]:
    seed = (study.seed, i)
    return film(rgb, study.clip_frames, study.frame_side, grain=study.grain, seed=seed)


# ---- the page --------------------------------------------------------------------------------


def _write(
    study: FlickerStudy,
    colorizers: dict[str, Colorizer],
    found: dict[str, list[dict[str, Any]]],
    extractor: Path,
) -> None:
    figures = {name: means(clips) for name, clips in found.items()}
    parts = [
        _intro(study, extractor),
        _table(figures),
        _verdict(figures),
        _costs(study, colorizers, extractor),
        _plot(found, study.out),
        "## The pictures",
        f"Time goes down: frames from the first to the last of each clip. {SHOWN}",
        _sheet(study, colorizers),
    ]
    write_page(
        study.out / "flicker.md", "Flicker in films", parts, command=typed("studies.flicker")
    )


def _intro(study: FlickerStudy, extractor: Path) -> str:
    header = read_header(extractor)
    steps = study.seen // study.step_frames
    return (
        "`fusion` colours every frame of a film by itself; `video-fusion` has a memory that goes "
        f"from frame to frame. Both learn from {study.seen:,} frames of {study.side} x "
        f"{study.side} pixels in {steps:,} steps of {study.step_frames} (Adam, 1e-3, cosine): "
        f"`fusion` from as many crops of {study.n_photos:,} photographs, `video-fusion` from "
        f"{study.seen // study.frames:,} clips of {study.frames} frames that a camera makes over "
        "them, so it sees fewer photographs. Both hold the same frozen extractor, a "
        f"{header['extractor']} that learned the {header['classes']} labels of training "
        f"photographs ({100 * float(header['accuracy']):.1f} % of held-out photos right).\n\n"
        f"Measured on clips of {study.clip_frames} frames of {study.frame_side} x "
        f"{study.frame_side} pixels, filmed over {study.n_clips} held-out photographs with a pan, "
        f"a zoom and a turn; each frame has grain of {study.grain:g} levels and a brightness of "
        f"its own ({EXPOSURE:g} levels). Flicker is the mean length of the change of ab along the "
        "true motion, in ab units; a pale film flickers less, so its share of the mean chroma "
        "stands beside it. The truth's flicker is what interpolation leaves. `zhang` is the model "
        "that shipped at the time of this run, trained on far more, for orientation; *smoothed* "
        "is what `zcolor video` does "
        f"with `--smooth {SMOOTH:g}`."
    )


def _table(figures: dict[str, dict[str, float]]) -> str:
    header = ["", "flicker", "share of the chroma", "AuC raw", "RMSE", "chroma"]
    rows = [
        [
            name,
            f"{f['flicker']:.2f}",
            f"{100 * f['share']:.1f} %",
            f"{f['auc']:.2f}",
            f"{f['rmse']:.2f}",
            f"{f['chroma']:.1f}",
        ]
        for name, f in figures.items()
    ]
    return table(header, rows)


def _verdict(figures: dict[str, dict[str, float]]) -> str:
    alone, memory = figures["fusion"], figures["video-fusion, clips"]
    without, smoothed = figures["video-fusion, single frames"], figures["fusion, smoothed"]

    def against(one: dict[str, float], other: dict[str, float]) -> str:
        return f"{one['flicker'] / other['flicker']:.2f} times ({one['share'] / other['share']:.2f}"

    return (
        f"The flicker of `video-fusion` on clips is {against(memory, alone)} as a share of the "
        f"chroma) that of `fusion`, with {memory['auc'] - alone['auc']:+.2f} points of AuC. Given "
        "single frames, so that its memory is always empty, it is "
        f"{against(without, alone)}): the difference between the two is what the memory does, the "
        "rest is what was learned. Smoothing `fusion` along the motion makes it "
        f"{against(smoothed, alone)})."
    )


def _costs(study: FlickerStudy, colorizers: dict[str, Colorizer], extractor: Path) -> str:
    runs = {model: train_settings(model, study, extractor) for model in TRAINED}
    paces = kept_paces(study.runs / "paces.json", runs)
    rows = []
    for model in TRAINED:
        parameters = list(colorizers[model].net.parameters())
        learned = sum(p.numel() for p in parameters if p.requires_grad)
        n = sum(p.numel() for p in parameters)
        pace = f"{1000 * paces[model].median:.1f} ms"
        rows.append([model, f"{learned / 1e6:.2f} M", f"{n / 1e6:.2f} M", pace])
    header = ["", "parameters learned", "with the extractor", "a training step, for each frame"]
    note = f"Time: the median of {ROUNDS} steps of both in turn, once they had learned."
    return f"{table(header, rows)}\n\n{note}"


def _plot(found: dict[str, list[dict[str, Any]]], out: Path) -> str:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.5, 3.8))
    left, right = figure.subplots(1, 2)
    for name in METHODS:
        each = np.mean([clip["flicker"] for clip in found[name]], axis=0)
        left.plot(range(2, len(each) + 2), each, marker=".", label=name)
        f = means(found[name])
        right.scatter(100 * f["share"], f["auc"], label=name)
    left.set_xlabel("frame")
    left.set_ylabel("flicker, ab units")
    left.set_ylim(bottom=0)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("flicker as a share of the chroma [%]")
    right.set_ylabel("AuC raw [%]")
    right.legend(fontsize=6)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return save_plot(figure, out / "flicker.png")


def _sheet(study: FlickerStudy, colorizers: dict[str, Colorizer]) -> str:
    """Draw films over what the page may show, and for the folder of runs over measured photos."""
    names = [name for name, method in METHODS.items() if not method.smooth]
    captions = ["grey", *(name.replace("video-fusion,", "video:") for name in names), "truth"]

    def draw(photos: Sequence[Rgb8], path: Path) -> str:
        rows: list[list[Rgb8]] = []
        for i, rgb in enumerate(photos):
            frames = _filmed(rgb, study, i)
            colors = [colored(colorizers[METHODS[n].model], METHODS[n], frames) for n in names]
            for k in np.linspace(0, study.clip_frames - 1, _SHEET_FRAMES).round().astype(int):
                photo = read_photo(frames[k].grey)
                shown = [np.asarray(photo.with_ab(color[k][1]), dtype=np.uint8) for color in colors]
                grey = np.repeat(frames[k].grey[..., None], 3, axis=2)
                rows.append([grey, *shown, frames[k].truth])
        return save_sheet(captions, rows, path, side=112)

    measured = open_photos([study.runs / "val"])
    some = [measured.read(i) for i in range(min(_SHEET_CLIPS, study.n_clips))]
    draw(some, study.runs / "sheet.jpg")
    return draw(shown_photos(_SHEET_CLIPS), study.out / "flicker.jpg")


if __name__ == "__main__":
    run(tyro.cli(FlickerStudy))
