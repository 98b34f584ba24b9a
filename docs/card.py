"""Measure the shipped model and write the tables of its card: `python docs/card.py VAL.h5 RUNS`.

Every figure between the marks of the pages (`BLOCKS`) comes from `zcolor evaluate`, whose JSON
files stand in the folder RUNS. What is there already is not measured again, so that a run that was
interrupted goes on; empty the folder for another model. It takes half an hour on two cores.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from zcolor.apps.cli import main as zcolor
from zcolor.training.dataset import open_photos

DOCS = Path(__file__).parent
PRESETS = ("vivid", "accurate")
FIGURES = ("auc_raw", "auc_rebalanced")
SIZES = (128, 256, 512)
N_ENLARGED, ENLARGED_SIDE = 80, 512

Results = Mapping[str, Any]

# What is measured, by the name of its JSON file; the photographs stand before these options.
MEASURED: dict[str, list[str]] = {
    "all": [],
    "film": ["--film", "--quick"],
    "curve-vivid": ["--quick", "--temperatures", "0", "0.38", "0.7", "0.82", "1"],
    "curve-accurate": [
        *("--quick", "--preset", "accurate", "--temperatures", "0", "0.38", "0.75", "0.9", "1")
    ],
    "first300": ["--quick", "--limit", "300"],
    "centers": ["--quick", "--limit", "300", "--colors", "centers"],
    "flip": ["--quick", "--limit", "300", "--average", "flip"],
    "crops": ["--quick", "--limit", "300", "--average", "crops"],
    **{f"size{size}": ["--quick", "--size", str(size), "--batch", "4"] for size in SIZES},
}

COLUMNS = "AuC raw | to grey | AuC rebalanced | to grey | mean chroma | colourfulness | cast a, b"


def enlarge(val: str, folder: Path) -> Path:
    """Write some of the photographs at a short side that every working size can be measured on."""
    photos = open_photos([val], "all")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(N_ENLARGED):
        path = folder / f"{number:03d}.png"
        if not path.exists():
            image = Image.fromarray(photos.read(number * len(photos) // N_ENLARGED))
            factor = ENLARGED_SIDE / min(image.size)
            size = (round(image.width * factor), round(image.height * factor))
            image.resize(size, Image.Resampling.BICUBIC).save(path)
    return folder


def measure(val: str, runs: Path) -> None:
    """Run what has no JSON file yet."""
    runs.mkdir(parents=True, exist_ok=True)
    for name, options in MEASURED.items():
        out = runs / f"{name}.json"
        if out.exists():
            continue
        data = str(enlarge(val, runs / "enlarged")) if name.startswith("size") else val
        if code := zcolor(["evaluate", data, *options, "--json", str(out)]):
            sys.exit(code)


def value(results: Results, method: str, figure: str) -> float:
    """Give one figure of one method."""
    return float(results["methods"][method]["figures"][figure]["value"])


def to_grey(results: Results, method: str, figure: str) -> str:
    """Give the difference to grey with half of its interval."""
    apart = results["methods"][method]["minus_grey"].get(figure)
    if apart is None:
        return ""
    return f"{apart['value']:+.2f} ± {(apart['high'] - apart['low']) / 2:.2f}"


def line(name: str, results: Results, method: str) -> str:
    """Write one method as a row of the wide tables."""
    raw, even, chroma, colors, a, b = (
        value(results, method, figure)
        for figure in ("auc_raw", "auc_rebalanced", "chroma", "colorfulness", "cast_a", "cast_b")
    )
    apart = [to_grey(results, method, figure) for figure in FIGURES]
    return (
        f"| {name} | {raw:.2f} | {apart[0]} | {even:.2f} | {apart[1]} | {chroma:.1f} | "
        f"{colors:.1f} | {round(a, 1) + 0.0:.1f}, {round(b, 1) + 0.0:.1f} |"
    )


def whole(runs: Mapping[str, Results]) -> str:
    """Write the table of all photographs, and the classifier's own figures below it."""
    r = runs["all"]
    names = {
        "grey": "grey (ab = 0)",
        "mean colour": "mean colour of the training pixels",
        "vivid": "**`vivid` (default)**",
        "accurate": "**`accurate`**",
        "ceiling": "ceiling: the truth through the grid",
    }
    rows = [f"| | {COLUMNS} |", "|---" * 8 + "|"]
    rows += [line(name, r, method) for method, name in names.items()]
    truth = [value(r, "truth", figure) for figure in ("chroma", "colorfulness")]
    rows.append(f"| truth | 100 | | 100 | | {truth[0]:.1f} | {truth[1]:.1f} | |")
    other = [
        f"{label} " + ", ".join(f"{m} {value(r, m, figure):.2f}" for m in ("grey", *PRESETS))
        for figure, label in (("ciede2000", "CIEDE2000"), ("psnr_rgb", "PSNR of RGB in dB"))
    ]
    largest = max(value(r, method, "lightness_max") for method in PRESETS)
    networks = {
        "zhang": "as trained",
        "zhang, natural": "without the weights of training (`natural`)",
        "prior": "the prior everywhere",
    }
    own = []
    for network, name in networks.items():
        n = r["networks"][network]
        own.append(
            f"{name}: top-1 {n['top1']['value']:.1f} %, top-5 {n['top5']['value']:.1f} %, "
            f"cross-entropy {n['cross_entropy']['value']:.3f}, "
            f"calibration error {n['calibration_error']:.1f} %"
        )
    text = f"{'; '.join(other)}; largest change of lightness {largest:.2f} L. The classifier itself"
    return "\n".join(rows) + f"\n\n{text}: {'; '.join(own)}."


def curve(runs: Mapping[str, Results]) -> str:
    """Write both presets over the temperature."""
    rows = [f"| preset | T | {COLUMNS} |", "|---" * 9 + "|"]
    for preset in PRESETS:
        r = runs[f"curve-{preset}"]
        for method, found in r["methods"].items():
            if method.startswith("T="):
                rows.append(line(f"{preset} | {found['temperature']:g}", r, method))
    return "\n".join(rows)


HALF = "|{} | vivid: raw | rebalanced | accurate: raw | rebalanced |"


def half(name: object, found: Callable[[str, str], str]) -> str:
    """Write both AuC of both presets as a row of the narrow tables (`HALF`)."""
    cells = [found(preset, figure) for preset in PRESETS for figure in FIGURES]
    return f"| {name} | {' | '.join(cells)} |"


def sizes(runs: Mapping[str, Results]) -> str:
    """Write both presets over the working size."""
    rows = [HALF.format(" size"), "|---" * 5 + "|"]
    for size in SIZES:
        r = runs[f"size{size}"]
        rows.append(half(size, lambda preset, figure, r=r: f"{value(r, preset, figure):.2f}"))
    return "\n".join(rows)


def film(runs: Mapping[str, Results]) -> str:
    """Write what the aging of the photographs costs both presets."""
    rows = [
        "| | AuC raw: clean | aged | lost | rebalanced: clean | aged | lost | aged, to grey |",
        "|---" * 8 + "|",
    ]
    for preset in PRESETS:
        cells = []
        for figure in FIGURES:
            clean, aged = (value(runs[name], preset, figure) for name in ("all", "film"))
            cells += [f"{clean:.2f}", f"{aged:.2f}", f"{clean - aged:.2f}"]
        apart = [to_grey(runs["film"], preset, f) for f in FIGURES]
        rows.append(f"| `{preset}` | {' | '.join(cells)} | {' and '.join(apart)} |")
    return "\n".join(rows)


def variants(runs: Mapping[str, Results]) -> str:
    """Write what centres of cells and averaging over views change."""
    rows = [HALF.format(""), "|---" * 5 + "|"]
    usual = runs["first300"]
    names = {
        "centers": "centres of the cells",
        "flip": "with the mirror image",
        "crops": "with ten crops",
    }
    for name, text in names.items():
        r = runs[name]
        rows.append(half(text, lambda p, f, r=r: f"{value(r, p, f) - value(usual, p, f):+.2f}"))
    return "\n".join(rows)


def aims(runs: Mapping[str, Results]) -> str:
    """Write what was aimed at on these photographs, and whether it was reached."""
    r, aged = runs["all"], runs["film"]

    def above(preset: str, figure: str) -> float:
        return value(r, preset, figure) - value(r, "grey", figure)

    colors = value(r, "vivid", "colorfulness") / value(r, "truth", "colorfulness")
    cast = max(abs(value(r, "vivid", figure)) for figure in ("cast_a", "cast_b"))
    first, *larger = (runs[f"size{size}"] for size in SIZES)
    moved = max(
        value(first, preset, figure) - value(other, preset, figure)
        for other in larger
        for preset in PRESETS
        for figure in FIGURES
    )
    lost = {p: max(value(r, p, f) - value(aged, p, f) for f in FIGURES) for p in PRESETS}
    rows = [
        ("`vivid`, AuC raw above grey", 0.0, above("vivid", "auc_raw"), True),
        ("`vivid`, rebalanced above grey", 6.5, above("vivid", "auc_rebalanced"), True),
        ("`vivid`, colourfulness as a share of the truth's", 0.85, colors, True),
        ("`vivid`, cast in a and b", 2.0, cast, False),
        ("`accurate`, AuC raw above grey", 1.2, above("accurate", "auc_raw"), True),
        ("`accurate`, rebalanced above grey", 4.0, above("accurate", "auc_rebalanced"), True),
        ("either AuC, lost at a working size of 256 or 512", 0.7, moved, False),
        *((f"`{p}`, either AuC, lost on aged photographs", 1.5, lost[p], False) for p in PRESETS),
    ]
    text = ["| | aimed at | measured | |", "|---|---|---|---|"]
    for name, aim, found, least in rows:
        reached = found >= aim if least else found <= aim
        bound = "at least" if least else "at most"
        verdict = "reached" if reached else "**missed**"
        text.append(f"| {name} | {bound} {aim:g} | {found:.3f} | {verdict} |")
    return "\n".join(text)


def ours(runs: Mapping[str, Results]) -> str:
    """Write what stands beside the figures of the papers."""
    r = runs["all"]
    colors = f"colourfulness (truth: {value(r, 'truth', 'colorfulness'):.1f})"
    rows = [f"| | AuC raw | above grey | rebalanced | above grey | {colors} |", "|---" * 6 + "|"]
    for preset in PRESETS:
        cells = []
        for figure in FIGURES:
            found = value(r, preset, figure)
            cells += [f"{found:.2f}", f"{found - value(r, 'grey', figure):+.2f}"]
        cells.append(f"{value(r, preset, 'colorfulness'):.1f}")
        rows.append(f"| zcolor `{preset}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def weights(runs: Mapping[str, Results]) -> str:
    """Write which weights all of it was measured with, and how they answered."""
    r = runs["all"]
    return (
        f"Weights with the SHA-256 `{r['model']['sha256']}`, which answered in {r['precision']}; "
        f"photographs with the data hash `{r['data']['hash']}`."
    )


def presets(runs: Mapping[str, Results]) -> str:
    """Write the numbers of each preset."""
    names = ("temperature", "rebalance", "neutral", "gain", "contrast")
    rows = [f"| | {' | '.join(names).replace('neutral', 'neutral (a, b)')} |", "|---" * 6 + "|"]
    for preset in PRESETS:
        found = runs["all"]["model"]["presets"][preset]
        cells = [
            ", ".join(f"{part:g}" for part in (cell if isinstance(cell, list | tuple) else [cell]))
            for cell in (found[name] for name in names)
        ]
        rows.append(f"| `{preset}` | {' | '.join(cells)} |")
    return "\n".join(rows)


BLOCKS: dict[str, tuple[Callable[[Mapping[str, Results]], str], ...]] = {
    "model-card.md": (presets, weights, whole, curve, sizes, film, variants, aims),
    "comparison.md": (ours,),
    "choosing-colours.md": (presets,),
}
"""The tables of each page: the function `NAME` writes what stands at its mark."""


def filled(page: str, text: str, runs: Mapping[str, Results]) -> str:
    """Put a page's tables between their marks: `<!-- measured: NAME -->` and `<!-- end -->`."""
    for write in BLOCKS[page]:
        name, table = write.__name__, write(runs)
        marks = re.compile(f"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, n = marks.subn(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
        if n != 1:
            raise ValueError(f"{page} has {n} places for the table {name!r}; it needs one")
    return text


def main(arguments: list[str]) -> None:
    """Measure on the pack VAL into the folder RUNS, then rewrite the pages."""
    if len(arguments) != 2:
        sys.exit(__doc__)
    val, runs = arguments[0], Path(arguments[1])
    measure(val, runs)
    found = {name: json.loads((runs / f"{name}.json").read_text("utf-8")) for name in MEASURED}
    hashes = {result["model"]["sha256"] for result in found.values()}
    if len(hashes) != 1:
        sys.exit(f"{runs} holds the figures of {len(hashes)} models; empty it and measure again")
    for page in BLOCKS:
        path = DOCS / page
        path.write_text(filled(page, path.read_text("utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
