"""How still the colours of films hold: `python -m benchmarks.video [--sheet PICTURE.png]`.

Prints the tables of docs/video.md. The clips are made over photographs of scikit-image, so that
their true motion and their true colours are known (`benchmarks.clips`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import tyro
from PIL import Image
from skimage import data
from torch import Tensor
from tqdm import tqdm

from benchmarks.clips import Frame, Layer, blob, flicker, scene, true_ab
from zcolor import Colorizer
from zcolor.lab import rgb_to_lightness
from zcolor.metrics import auc_scores, mean_chroma
from zcolor.photo import read_photo
from zcolor.render import resized_lightness
from zcolor.temporal import SMOOTH, TemporalSmoother, follow_motion
from zcolor.training.dataset import Rgb8
from zcolor.upsample import guide_ab

N_CLIPS = 6
FULL_WIDTH = 320  # pixels, the width that the scales of the clips are given for
MIN_NEW = 20  # pixels newly seen, from which on a frame counts for the measure of these

SHEET_FRAMES, SHEET_GRAIN = 14, 8.0  # frames of each of its two scenes
SHEET_SCALE = 0.45  # of the frames on the sheet

TEXTURES = ("brick", "grass")  # the same all over
PICTURES = (
    *("astronaut", "coffee", "chelsea", "rocket", "camera", "moon", "hubble_deep_field"),
    *("retina", "coins", "page", "text", "immunohistochemistry"),
)
"""Different photographs, every pair of them a cut; none needs a download."""
PAN_SHARES = (0.1, 0.2)  # of the width, in a single frame
COARSE_GRAIN, COARSE_EXPOSURE = 30.0, 10.0  # levels of 255


@dataclass(frozen=True)
class Arguments:
    """By which model, how long, how large."""

    model: str = "zhang"
    """A name or a checkpoint."""
    frames: int = 24
    """Of every clip."""
    width: int = FULL_WIDTH
    """Of the frames in pixels; the height is three quarters of it."""
    grain: float = 6.0
    """Standard deviation in levels of 255; the default strength is measured without it too."""
    clips: int = N_CLIPS
    """The first so many of all."""
    sheet: Path | None = None
    """Also draw the picture of docs/video.md, here."""


@dataclass(frozen=True)
class Figures:
    """What was measured on a clip."""

    flicker: float
    auc: float
    """AuC raw."""
    chroma: float
    newly_seen: float
    """AuC raw of the pixels that the frame before did not show; NaN if there are too few."""


def make_clips(n: int, width: int, grain: float) -> Iterator[tuple[str, list[Frame]]]:
    """Make the six clips of n frames one after the other: names and frames."""
    size, k = (width, width * 3 // 4), width / FULL_WIDTH
    astronaut, coffee, cat, rocket = (
        getattr(data, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")
    )

    def film(*layers: Layer, n: int = n, seed: int = 0) -> list[Frame]:
        return scene(layers, n, size, grain=grain, seed=seed)

    pan = Layer(coffee, x=(0.35, 0.62), y=(0.45, 0.55), scale=(0.8 * k, 0.8 * k))
    yield "pan over coffee", film(pan)
    zoom = Layer(astronaut, x=(0.5, 0.45), y=(0.5, 0.35), scale=(0.65 * k, 1.1 * k))
    yield "zoom on an astronaut", film(zoom)
    yield "turn of a cat", film(Layer(cat, turn=(-8, 8), scale=(k, 1.05 * k)))
    sky = Layer(rocket, x=(0.4, 0.6), scale=(0.7 * k, 0.75 * k))
    cup = blob(coffee, 60, 200, 220, 240)
    flight = Layer(*cup, x=(1.1, -0.2), y=(0.5, 0.4), scale=(0.4 * k, 0.45 * k))
    yield "cup over a rocket", film(sky, flight)
    yield "face over a cat", film(*face_over_cat(k))
    table = Layer(coffee, x=(0.4, 0.55), scale=(0.7 * k, 0.7 * k))
    portrait = Layer(astronaut, x=(0.5, 0.45), y=(0.4, 0.4), scale=(0.7 * k, 0.8 * k))
    first = film(table, n=n // 2)
    yield "cut, coffee to astronaut", first + film(portrait, n=n - n // 2, seed=5)


def face_over_cat(k: float) -> tuple[Layer, Layer]:
    """Layers of a face that turns in front of a cat; k scales them."""
    astronaut, cat = data.astronaut(), data.chelsea()  # type: ignore[no-untyped-call]
    face = blob(astronaut, 20, 140, 200, 170)
    turn = Layer(*face, x=(0.1, 1.0), y=(0.3, 0.6), scale=(0.5 * k, 0.5 * k), turn=(0, 20))
    return Layer(cat, x=(0.45, 0.55), scale=(k, k)), turn


def answers(colorizer: Colorizer, frames: Sequence[Frame]) -> list[tuple[Tensor, Tensor]]:
    """Ask the network: the lightness it reads and its ab, of every frame by itself."""
    photos = [read_photo(frame.grey) for frame in frames]
    size = colorizer.net.working_size
    return [(photo.lightness(size, "cpu"), colorizer.predict_ab(photo)) for photo in photos]


def full_ab(grey: npt.NDArray[np.uint8], ab: Tensor) -> Tensor:
    """(1, 2, h, w) ab as it is shown, before colours that sRGB cannot show are brought back."""
    small = resized_lightness(grey[None, ..., None], ab.shape[2], ab.shape[3], device="cpu")
    rgb = torch.from_numpy(grey)[None, None].expand(1, 3, -1, -1) / 255
    return guide_ab(small, ab).upsample(rgb_to_lightness(rgb), grey.shape[0])


def measure(
    frames: Sequence[Frame], colors: Sequence[tuple[Tensor, Tensor]], smooth: float
) -> Figures:
    """Smooth the answers of a clip and measure what is shown."""
    smoother = TemporalSmoother(smooth)
    shown, scores, chroma, newly_seen = [], [], [], []
    for frame, (lightness, ab) in zip(frames, colors, strict=True):
        full = full_ab(frame.grey, smoother(lightness, ab))[0]  # (2, h, w)
        shown.append(np.ascontiguousarray(full.permute(1, 2, 0).numpy()))
        truth = torch.from_numpy(true_ab(frame)).permute(2, 0, 1)
        score = auc_scores((full - truth).norm(dim=0))
        scores.append(float(score.mean()))
        chroma.append(float(mean_chroma(full[None])))
        if frame.seen is not None and (~frame.seen).sum() > MIN_NEW:
            newly_seen.append(float(score[torch.from_numpy(~frame.seen)].mean()))
    return Figures(
        flicker(shown, frames),
        float(np.mean(scores)),
        float(np.mean(chroma)),
        float(np.mean(newly_seen)) if newly_seen else math.nan,
    )


def measure_clips(
    arguments: Arguments, colorizer: Colorizer, smooths: Sequence[float], grain: float
) -> dict[str, dict[float, Figures]]:
    """Measure every clip with every strength: figures by clip and strength."""
    found = {}
    clips = itertools.islice(make_clips(arguments.frames, arguments.width, grain), arguments.clips)
    for name, frames in tqdm(clips, desc=f"grain {grain:g}", total=arguments.clips, unit="clip"):
        colors = answers(colorizer, frames)
        found[name] = {smooth: measure(frames, colors, smooth) for smooth in smooths}
    return found


def mean(figures: Sequence[Figures]) -> Figures:
    """Average figures over clips; clips without newly seen pixels do not count for these."""
    newly_seen = [f.newly_seen for f in figures if not math.isnan(f.newly_seen)]
    return Figures(
        flicker=float(np.mean([f.flicker for f in figures])),
        auc=float(np.mean([f.auc for f in figures])),
        chroma=float(np.mean([f.chroma for f in figures])),
        newly_seen=float(np.mean(newly_seen or [math.nan])),
    )


def print_tables(found: dict[str, dict[float, Figures]], smooths: Sequence[float]) -> None:
    """Print the means over the clips by strength, and every clip at the default."""
    alone = mean([clip[0] for clip in found.values()])
    print("| `smooth` | flicker | lower by | AuC raw | chroma | AuC raw where newly seen |")
    print("|---|---|---|---|---|---|")
    for smooth in smooths:
        now = mean([clip[smooth] for clip in found.values()])
        label = {0: "0 (frame by frame)", SMOOTH: f"**{SMOOTH:g}**"}.get(smooth, f"{smooth:g}")
        lower = f"{alone.flicker / now.flicker:.1f}x" if smooth else ""
        cells = (f"{now.flicker:.2f}", lower, f"{now.auc:.2f}", f"{now.chroma:.1f}")
        print(f"| {' | '.join((label, *cells, f'{now.newly_seen:.2f}'))} |".replace("|  |", "| |"))
    print(f"\n| clip, at {SMOOTH:g} | flicker | lower by | AuC raw | chroma |")
    print("|---|---|---|---|---|")
    for name, clip in found.items():
        a, b = clip[0], clip[SMOOTH]
        print(
            f"| {name} | {a.flicker:.2f} to {b.flicker:.2f} | {a.flicker / b.flicker:.1f}x "
            f"| {a.auc:.2f} to {b.auc:.2f} | {a.chroma:.1f} to {b.chroma:.1f} |"
        )


def print_weak_spots(
    found: dict[str, dict[float, Figures]], without: dict[str, dict[float, Figures]]
) -> None:
    """Print what the default costs: chroma and the newly seen, clip by clip; and without grain."""
    print(f"\nAt {SMOOTH:g}, against frame by frame:")
    for name, clip in found.items():
        a, b = clip[0], clip[SMOOTH]
        print(
            f"- {name}: chroma {100 * (b.chroma / a.chroma - 1):+.1f} %, AuC raw "
            f"{b.auc - a.auc:+.2f}, where newly seen {b.newly_seen - a.newly_seen:+.2f}"
        )
    lower = [clip[0].flicker / clip[SMOOTH].flicker for clip in without.values()]
    a, b = (mean([clip[smooth] for clip in without.values()]) for smooth in (0, SMOOTH))
    print(
        f"- without grain flicker is lower by {a.flicker / b.flicker:.1f}x, "
        f"{min(lower):.1f}x to {max(lower):.1f}x"
    )


def lightness_of(picture: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.float32]:
    """(h, w) L of a picture at a working size."""
    plane: npt.NDArray[np.float32] = read_photo(picture).lightness(size, "cpu")[0, 0].numpy()
    return plane


def print_cuts(size: int, width: int) -> None:
    """Print how sure the motion is across cuts, in fast pans and in coarse grain."""
    pictures = {}
    for name in (*PICTURES, *TEXTURES):
        picture = getattr(data, name)()
        height = min(picture.shape[0], picture.shape[1] * 3 // 4)
        cut = np.ascontiguousarray(picture[:height, : height * 4 // 3])
        small = cv2.resize(cut, (width, width * 3 // 4), interpolation=cv2.INTER_AREA)
        pictures[name] = lightness_of(np.asarray(small, np.uint8), size)
    pairs = {
        (now, before): float(follow_motion(pictures[now], pictures[before])[1].mean())
        for now, before in itertools.permutations(pictures, 2)
    }
    print(f"\nMean confidence of the motion between {len(pictures)} different photographs:")
    for label, some in (
        ("all", pairs),
        ("without the textures", {p: c for p, c in pairs.items() if not set(p) & set(TEXTURES)}),
    ):
        pair = max(some, key=some.__getitem__)
        print(f"- {label}: at most {some[pair]:.2f} ({pair[0]} after {pair[1]})")
    for share in PAN_SHARES:
        print(f"- a pan by {share:g} of the width: {pan_certainty(share, size, width, 6):.2f}")
    sure = pan_certainty(0.015, size, width, COARSE_GRAIN, exposure=COARSE_EXPOSURE)
    print(f"- grain of {COARSE_GRAIN:g} levels with a change of exposure: {sure:.2f}")


def pan_certainty(
    share: float, size: int, width: int, grain: float, *, exposure: float = 0.0
) -> float:
    """Mean confidence of a pan by a share of the frame's width within one frame."""
    coffee, scale = data.coffee(), 0.8 * width / FULL_WIDTH  # type: ignore[no-untyped-call]
    to = 0.4 + share * width / (scale * coffee.shape[1])
    pan = Layer(coffee, x=(0.4, to), scale=(scale, scale))
    first, then = scene([pan], 2, (width, width * 3 // 4), grain=grain, exposure=exposure)
    planes = [lightness_of(frame.grey, size) for frame in (then, first)]
    return float(follow_motion(planes[0], planes[1])[1].mean())


def draw_sheet(colorizer: Colorizer, width: int) -> Rgb8:
    """Draw grey, frame by frame, smoothed and truth of five frames around a cut."""
    size, k, n = (width, width * 3 // 4), width / FULL_WIDTH, SHEET_FRAMES
    coffee = data.coffee()  # type: ignore[no-untyped-call]
    cup = Layer(coffee, x=(0.4, 0.52), y=(0.48, 0.52), scale=(0.62 * k, 0.66 * k))
    frames = scene(face_over_cat(k), n, size, grain=SHEET_GRAIN)
    frames += scene([cup], n, size, grain=SHEET_GRAIN, seed=3)
    smoother = TemporalSmoother()
    columns = []
    for i, (frame, (lightness, ab)) in enumerate(
        zip(frames, answers(colorizer, frames), strict=True)
    ):
        smooth, photo = smoother(lightness, ab), read_photo(frame.grey)
        if i in (n // 2, n - 2, n - 1, n, 2 * n - 2):
            grey = np.repeat(frame.grey[..., None], 3, axis=2)
            shown = (np.asarray(photo.with_ab(planes)) for planes in (ab, smooth))
            columns.append(np.concatenate([grey, *shown, frame.truth]))
    return np.concatenate(columns, axis=1)


def main(arguments: Arguments) -> None:
    """Measure and print."""
    if arguments.frames < 4 or not 1 <= arguments.clips <= N_CLIPS or arguments.width < 64:
        raise SystemExit(
            f"at least 4 frames, 1 to {N_CLIPS} clips and a width of 64 or more are needed, got "
            f"{arguments.frames}, {arguments.clips} and {arguments.width}"
        )
    colorizer = Colorizer(arguments.model, device="cpu")
    smooths = tuple(sorted({0, 0.5, 0.7, 0.8, SMOOTH, 0.95}))
    found = measure_clips(arguments, colorizer, smooths, arguments.grain)
    without = measure_clips(arguments, colorizer, (0, SMOOTH), grain=0.0)
    print_tables(found, smooths)
    print_weak_spots(found, without)
    print_cuts(colorizer.net.working_size, arguments.width)
    if arguments.sheet is not None:
        sheet = Image.fromarray(draw_sheet(colorizer, arguments.width))
        small = (round(sheet.width * SHEET_SCALE), round(sheet.height * SHEET_SCALE))
        sheet.resize(small, Image.Resampling.LANCZOS).save(arguments.sheet, quality=90)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
