"""Draw the pictures of the pages with the shipped model: `python docs/draw.py`.

`python docs/draw.py gallery grid` draws those alone; without names all are drawn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.ticker
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from zcolor import Colorizer
from zcolor.apps.sheets import draw_sheet
from zcolor.apps.stylize import StyleSettings, stylize
from zcolor.lab import lab_to_rgb, rgb_to_lab
from zcolor.photo import read_photo
from zcolor.training.priors import Priors, read_priors, rebalancing_weights

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "samples"
IMAGES = ROOT / "docs" / "images"
PRIORS = ROOT / "data" / "priors.h5"
SIDE = 220  # pixels, height of a picture in a row
FAILURES = (("stairs", "coffee"), ("cat", "raccoon"))  # samples that come out wrong

GALLERY = ("astronaut", "windmill", "coffee", "dandelions", "moose", "cat", "raccoon", "weir")
GALLERY_GREY = ("cameraman", "stairs")  # black and white at their source: no truth
GALLERY_AGED = ("aged-officer", "aged-windmill")
GALLERY_SKIMAGE = ("rocket",)  # of skimage.data, beside those that are among the samples

Rgb = npt.NDArray[np.uint8]


def sample(name: str) -> Image.Image:
    """Open a sample photograph as it is in its file."""
    return Image.open(SAMPLES / f"{name}.jpg").convert("RGB")


def row(*pictures: Image.Image | Rgb) -> Rgb:
    """Set pictures side by side at one height."""
    scaled = []
    for picture in pictures:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        size = (round(image.width * SIDE / image.height), SIDE)
        scaled.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS)))
    return np.concatenate(scaled, axis=1)


def save(name: str, rows: list[Rgb]) -> None:
    """Write rows below each other, the narrower ones filled with white."""
    width = max(r.shape[1] for r in rows)
    filled = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
    ]
    Image.fromarray(np.concatenate(filled)).save(IMAGES / name, quality=88)


def draw_readme(colorizer: Colorizer) -> None:
    """Grey beside vivid, the picture of the README."""
    rows = []
    for names in (("windmill", "moose", "cameraman"), ("weir", "dandelions")):
        pictures = []
        for name in names:
            photo = sample(name).convert("L")
            pictures += [photo, colorizer(photo)]
        rows.append(row(*pictures))
    width = min(r.shape[1] for r in rows)
    rows = [
        np.asarray(Image.fromarray(r).resize((width, round(r.shape[0] * width / r.shape[1]))))
        for r in rows
    ]
    save("demo.jpg", rows)


def draw_presets(colorizer: Colorizer) -> None:
    """Grey, accurate, vivid."""
    rows = []
    for pair in (("windmill", "weir"), ("stairs", "cat"), ("moose", "astronaut")):
        pictures = []
        for name in pair:
            photo = sample(name).convert("L")
            pictures += [photo, colorizer(photo, preset="accurate"), colorizer(photo)]
        rows.append(row(*pictures))
    save("presets.jpg", rows)


def draw_samples(colorizer: Colorizer) -> None:
    """Grey, vivid, five samples."""
    rows = []
    for seed, name in enumerate(("weir", "coffee", "cat")):
        grey = np.asarray(sample(name).convert("L"))
        distribution, photo = colorizer.distribution(grey), read_photo(grey)
        drawn = [photo.with_ab(ab) for ab in distribution.sample(5, seed=seed)]
        rows.append(row(grey, photo.with_ab(distribution.decode()), *drawn))
    save("samples.jpg", rows)


def draw_confidence(colorizer: Colorizer) -> None:
    """The coloured photo, the map of confidence, and the palette of three points."""
    points = {"sky": (0.5, 0.1), "middle": (0.5, 0.5), "ground": (0.4, 0.92)}
    grey = np.asarray(sample("windmill").convert("L"))
    distribution = colorizer.distribution(grey)
    colored = colorizer(grey)
    height, width = grey.shape
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    shown, confident, palette = figure.subplots(1, 3)
    shown.imshow(colored)
    for name, (x, y) in points.items():
        shown.plot(x * width, y * height, "wo", markeredgecolor="black")
        shown.annotate(
            name, (x * width, y * height), color="white", xytext=(6, 6), textcoords="offset points"
        )
    likely = confident.imshow(distribution.confidence()[0, 0], vmin=0, vmax=1, cmap="viridis")
    figure.colorbar(likely, ax=confident, label="probability of being within 20 ab units")
    for line, (name, (x, y)) in enumerate(points.items()):
        for place, suggestion in enumerate(distribution.suggest(x, y, 5)):
            palette.add_patch(
                matplotlib.patches.Rectangle(
                    (place, -line), 0.9, 0.6, color=np.array(suggestion.rgb) / 255
                )
            )
            palette.text(
                place + 0.45,
                0.66 - line,
                f"{suggestion.probability:.2f}",
                ha="center",
                fontsize="small",
            )
        palette.text(-0.1, 0.3 - line, name, ha="right", va="center")
    palette.set(xlim=(-1.4, 5), ylim=(-len(points) + 0.8, 1), title="suggestions")
    for axes in (shown, confident, palette):
        axes.axis("off")
    figure.savefig(IMAGES / "confidence.png", dpi=90)


def draw_guided() -> None:
    """The true ab of a photo, shrunk 16 times and brought back: bilinear, guided, truth."""
    rows = []
    for name, (left, top) in (("coffee", (0.42, 0.1)), ("astronaut", (0.0, 0.0))):
        rgb = np.asarray(sample(name))
        rgb = np.ascontiguousarray(rgb[: rgb.shape[0] // 16 * 16, : rgb.shape[1] // 16 * 16])
        ab = rgb_to_lab(torch.from_numpy(rgb / 255.0).permute(2, 0, 1)[None].float())[:, 1:]
        small = F.avg_pool2d(ab, 16)
        photo = read_photo(rgb)
        ways = [np.asarray(photo.with_ab(small, upsample=how)) for how in ("bilinear", "guided")]
        height, width = rgb.shape[:2]
        part = (
            slice(int(top * height), int((top + 0.5) * height)),
            slice(int(left * width), int((left + 0.5) * width)),
        )
        rows.append(row(*(np.ascontiguousarray(picture[part]) for picture in (*ways, rgb))))
    save("guided.jpg", rows)


def draw_learning() -> None:
    """AuC rebalanced against the photos seen, over the stages, and what a doubling brought."""
    learnt = json.loads((ROOT / "docs" / "learning.json").read_text())
    stages = learnt["stages"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    ends = []  # of the stages that were trained alike, with a quarter of the crops aged
    for stage in stages:
        seen = [stage["before"] + point["seen"] for point in stage["points"]]
        auc = [point["auc_rebalanced"] for point in stage["points"]]
        axes.plot(np.array(seen) / 1000, auc, "o-", markersize=3, label=stage["name"])
        if stage["alike"]:
            ends.append((seen[-1], auc[-1]))
    slope, offset = np.polyfit(np.log2([seen for seen, _ in ends]), [auc for _, auc in ends], 1)
    reach = np.array([ends[0][0], ends[-1][0]])
    label = f"second to fourth, all with\n25 % of the crops aged:\n{slope:+.2f} a doubling"
    axes.plot(reach / 1000, slope * np.log2(reach) + offset, "k:", label=label)
    shipped = learnt["shipped"]
    axes.plot(shipped["seen"] / 1000, shipped["auc_rebalanced"], "k*", label="the mean that ships")
    axes.set(
        xscale="log",
        xlabel="photos seen, thousands",
        ylabel="AuC rebalanced, % (300 photos, T = 0.38)",
    )
    axes.set_xticks([300, 400, 500, 600, 700, 800, 900], minor=False)
    axes.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.grid(visible=True, alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    figure.savefig(IMAGES / "learning.png", dpi=90)


def draw_reliability() -> None:
    """What confidence says against how often it is right."""
    curves = json.loads((ROOT / "docs" / "reliability.json").read_text())
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="what is said is so")
    for radius, (pixels, said, right) in curves["pixels, said, right"].items():
        line = axes.plot(said, right, marker="o", markersize=3, label=f"within {radius} ab units")
        # The area of a dot shows how many pixels it stands for.
        share = np.array(pixels) / sum(pixels)
        axes.scatter(said, right, s=600 * share, alpha=0.3, color=line[0].get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of pixels that are right")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(IMAGES / "reliability.png", dpi=90)


def draw_film_stages() -> None:
    """AuC rebalanced above grey against the photos seen, of clean photographs and old film."""
    measured = json.loads((ROOT / "docs" / "stages.json").read_text())
    continued = json.loads((ROOT / "docs" / "learning.json").read_text())["continued"]
    grey = measured["grey"]["auc_rebalanced"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, preset in zip(figure.subplots(1, 2), ("vivid", "accurate"), strict=True):
        for key, color, label in (
            ("clean", "tab:blue", "clean"),
            ("aged", "tab:brown", "aged as old film"),
        ):
            shipped = [(s["seen"], s[preset][key]["auc_rebalanced"][0]) for s in measured["stages"]]
            later = [(s["seen"], s[preset][key][1] - grey) for s in continued["stages"]]
            fork = [point for point in shipped if point[0] == continued["from"]]
            for points, style, face in (
                (shipped, "o-", color),
                (fork + later, "--", color),
                (later, "o", "white"),
            ):
                named = label if points is shipped else None
                places, values = _thousands(points)
                axes.plot(places, values, style, color=color, markerfacecolor=face, label=named)
                if key == "clean" and style != "o":
                    bound = "1.5 below clean" if named else None
                    axes.plot(places, values - 1.5, ":", color=color, label=bound)
        axes.set(
            title=preset,
            xlabel="photos seen, thousands",
            ylabel="AuC rebalanced above grey (999 photos)",
        )
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(IMAGES / "film-stages.png", dpi=90)


def _thousands(points: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Part points into thousands of photos seen and what was measured there."""
    seen, value = np.transpose(points)
    return seen / 1000, value


def draw_failures(colorizer: Colorizer) -> None:
    """Grey, vivid, truth of photographs that come out wrong."""
    rows = []
    for pair in FAILURES:
        pictures: list[Image.Image | Rgb] = []
        for name in pair:
            photo = sample(name)
            pictures += [photo.convert("L"), colorizer(photo.convert("L")), photo]
        rows.append(row(*pictures))
    save("failures.jpg", rows)


def cells_picture(priors: Priors, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Lay the values of the cells out over the plane: b upwards, a to the right."""
    return values.reshape(priors.settings.bins, priors.settings.bins).T


def draw_grid() -> None:
    """The cells over the ab plane, each in its own colour, at three lightnesses."""
    priors = read_priors(PRIORS)
    bins, (low, high) = priors.settings.bins, priors.settings.range
    centers = priors.grid.centers
    figure = Figure(figsize=(10, 4.1), layout="constrained")
    for axes, lightness in zip(figure.subplots(1, 3, sharey=True), (30, 60, 85), strict=True):
        lab = torch.cat([torch.full((len(centers), 1), float(lightness)), centers], dim=1)
        rgb = lab_to_rgb(lab.T[None, :, None], map_gamut=False)[0, :, 0].T
        shown = ((rgb >= 0) & (rgb <= 1)).all(dim=1)  # sRGB has no others at this lightness
        picture = torch.where(shown[:, None], rgb, torch.ones(3)).reshape(bins, bins, 3)
        axes.imshow(picture.permute(1, 0, 2).numpy(), extent=(low, high, low, high), origin="lower")
        edges = np.linspace(low, high, bins + 1)
        axes.vlines(edges, low, high, color="0.8", linewidth=0.5)
        axes.hlines(edges, low, high, color="0.8", linewidth=0.5)
        axes.plot(0, 0, "k+")
        axes.set(title=f"L = {lightness}", xlabel="a: green to red")
    figure.axes[0].set_ylabel("b: blue to yellow")
    figure.savefig(IMAGES / "grid.png", dpi=90)


def draw_prior() -> None:
    """How often each cell occurs, and what a pixel of it weighs, over the ab plane."""
    priors = read_priors(PRIORS)
    low, high = priors.settings.range
    seen = priors.counts > 0
    panels: tuple[tuple[str, npt.NDArray[np.floating], str], ...] = (
        ("share of the training pixels, p", priors.p, "viridis"),
        ("weight, neglog", rebalancing_weights(priors, "neglog"), "magma"),
        ("weight, zhang", rebalancing_weights(priors, "zhang"), "magma"),
    )
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (title, values, colors) in zip(
        figure.subplots(1, 3, sharey=True), panels, strict=True
    ):
        drawn = axes.imshow(
            cells_picture(priors, np.where(seen, values, np.nan)),
            extent=(low, high, low, high),
            origin="lower",
            norm="log",
            cmap=colors,
        )
        figure.colorbar(drawn, ax=axes, shrink=0.85)
        axes.plot(0, 0, "w+")
        axes.set(title=title, xlabel="a", xlim=(-100, 110), ylim=(-110, 105))
    figure.axes[0].set_ylabel("b")
    figure.savefig(IMAGES / "prior.png", dpi=90)


def draw_weights() -> None:
    """The weights against the share, and how many pixels the rarest cells hold."""
    priors = read_priors(PRIORS)
    order = np.argsort(-priors.counts)[: int((priors.counts > 0).sum())]
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    weight, held = figure.subplots(1, 2)
    for kind, mark in (("neglog", "o"), ("zhang", "s")):
        weights = rebalancing_weights(priors, kind)  # type: ignore[arg-type]
        weight.plot(priors.p[order], weights[order], mark, markersize=3, label=kind)
    weight.axhline(1, color="0.6", linewidth=0.8)
    weight.set(xscale="log", yscale="log", xlabel="p of the cell", ylabel="weight of a pixel")
    weight.legend()
    held.plot(np.arange(1, len(order) + 1), 100 * np.cumsum(priors.p[order]))
    held.set(xscale="log", xlabel="cells, the most frequent first", ylabel="% of all pixels")
    for axes in (weight, held):
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(IMAGES / "weights.png", dpi=90)


def draw_gallery(colorizer: Colorizer) -> None:
    """Sheets of before, after and, where it is known, the truth; none is left out for its looks."""
    from skimage import data

    photos = {name: sample(name) for name in (*GALLERY, *GALLERY_GREY, *GALLERY_AGED)}
    photos |= {name: Image.fromarray(getattr(data, name)()) for name in GALLERY_SKIMAGE}
    for name, photo in photos.items():
        grey = photo.convert("L")
        vivid, accurate = colorizer(grey), colorizer(grey, preset="accurate")
        assert isinstance(vivid, Image.Image)  # since an image went in
        assert isinstance(accurate, Image.Image)
        panels = [
            ("black and white", grey),
            ("zcolor, vivid", vivid),
            ("zcolor, accurate", accurate),
        ]
        if name not in (*GALLERY_GREY, *GALLERY_AGED):
            panels.append(("truth", photo))
        sheet = draw_sheet(panels)
        sheet.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
        sheet.save(IMAGES / f"gallery-{name}.jpg", quality=85, optimize=True)


STYLES = (("chelsea", "brick"), ("coffee", "grass"))  # of skimage.data: content and style
TEXTURES = ("brick", "gravel")
LENT = (("moose", "coffee"), ("weir", "dandelions"), ("raccoon", "moose"))  # samples; the lender


def draw_stylize() -> None:
    """Content, style, result; and two textures beside what was synthesised of each."""
    from skimage import data

    rows = []
    for content, style in STYLES:
        pictures = getattr(data, content)(), np.stack([getattr(data, style)()] * 3, axis=2)
        drawn, _ = stylize(*pictures, StyleSettings(), device="cpu")
        rows.append(row(*pictures, drawn))
    save("stylize.jpg", rows)
    pairs = []
    for texture in TEXTURES:
        picture = np.stack([getattr(data, texture)()] * 3, axis=2)
        pairs += [picture, stylize(None, picture, StyleSettings(), device="cpu")[0]]
    save("texture.jpg", [row(*pairs)])


def draw_lent(colorizer: Colorizer) -> None:
    """Grey, as it is coloured, the reference, with the colours that it lends."""
    rows = []
    for name, lender in LENT:
        photo, reference = sample(name).convert("L"), sample(lender)
        lent = colorizer(photo, reference=reference)
        rows.append(row(photo, colorizer(photo), reference, lent))
    save("lent.jpg", rows)


def draw_frames(colorizer: Colorizer) -> None:
    """Prints with a border of paper: as they came, coloured as a whole, and with it left out."""
    rows = []
    for name, share in (("aged-windmill", 0.12), ("cameraman", 0.06)):
        photo = sample(name).convert("L")
        border = round(share * min(photo.size))
        tone = int(np.quantile(np.asarray(photo), 0.999))
        scan = ImageOps.expand(photo, border, fill=tone)
        rows.append(row(scan, colorizer(scan, frame="color"), colorizer(scan)))
    save("frames.jpg", rows)


def main(names: list[str]) -> None:
    """Draw the pictures of these names, or all of them."""
    model = Colorizer(device="cpu")
    pictures: dict[str, Callable[[], None]] = {
        "demo": lambda: draw_readme(model),
        "presets": lambda: draw_presets(model),
        "samples": lambda: draw_samples(model),
        "confidence": lambda: draw_confidence(model),
        "guided": draw_guided,
        "failures": lambda: draw_failures(model),
        "learning": draw_learning,
        "reliability": draw_reliability,
        "film-stages": draw_film_stages,
        "grid": draw_grid,
        "prior": draw_prior,
        "weights": draw_weights,
        "gallery": lambda: draw_gallery(model),
        "stylize": draw_stylize,
        "lent": lambda: draw_lent(model),
        "frames": lambda: draw_frames(model),
    }
    if unknown := set(names) - set(pictures):
        raise SystemExit(f"no pictures {sorted(unknown)}; choose of {', '.join(pictures)}")
    for name in names or pictures:
        pictures[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
