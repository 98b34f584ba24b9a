"""Chroma compression: how small a map of chroma may be before people see it.

`python -m studies.chroma_compression PHOTOS` shrinks the chroma of photographs to 50 ... 5 % of
each side, brings it back, joins it with the full lightness, measures, and writes
docs/studies/chroma-compression.md. What is measured is kept in the folder of runs: the same command
goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from studies.chroma_measure import (
    MEASURES,
    SHRUNK,
    WAYS,
    Key,
    Measured,
    choose,
    measure_all,
    read,
    restored,
    summarise,
)
from studies.report import (
    PAGES,
    SAMPLES,
    SHOWN,
    Rgb8,
    has_colors,
    save_plot,
    save_sheet,
    table,
    typed,
    write_page,
)
from zcolor.bootstrap import REPLICATES, Figure
from zcolor.metrics_image import MAX_PSNR
from zcolor.training.dataset import Photos, open_photos

# The side that VGG-16 looks at, for which the numbers that remain are told.
_LOOK = 224
# The levels that the picture sheet shows, and where its photos stand among all, in the
# order of their error at the level that the network uses.
_SHOWN = (85, 95)
_NETWORK = 85
_RANKS = (0.5, 0.9, 0.97, 1.0)
_INTRODUCTION = (
    "Chroma is smoother than lightness, and people see less of its detail. A network that predicts "
    "a small map of it (`vgg16`: 33 x 33 for 224 x 224 pixels, 15 % of each side) loses what the "
    "map cannot hold, however well it predicts. How much is that? The true chroma of photographs "
    "is shrunk by 50 to 95 % of each side (bicubic, without aliases), brought back, and joined "
    "with what is known of the brightness at full size, in four ways:"
)
_WAYS_TOLD = """\
- `Lab, bicubic`: a and b, joined with L.
- `Lab, guided`: the same small a and b, enlarged along the edges of L, as `zcolor colorize` does.
- `YCbCr with Y`: Cb and Cr of ITU-R BT.601, bicubic, joined with the luma Y, as JPEG and video do.
  It needs the luma of the colours, which a black-and-white photo does not tell exactly.
- `CbCr with L`: the same Cb and Cr, turned into a and b by the L of each pixel, as `vgg16` does
  with `space=ycbcr`."""


@dataclass(frozen=True)
class ChromaStudy:
    """What is measured, and on what."""

    photos: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Packs (`.h5`; all splits), folders or images."""
    limit: int = 300
    """Photos that are measured, spread over all that are large enough."""
    short_side: int = 128
    """Photos are shrunk to this short side, in pixels; smaller ones are left out."""
    called: str = "photographs"
    """What the photos are, for the page."""
    seed: int = 0
    """Of the bootstrap."""
    runs: Path = Path("runs/chroma-compression")
    """Where what is measured is kept."""
    out: Path = PAGES
    """Folder of the page."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.limit < 1 or self.short_side < 32 or self.seed < 0:
            raise ValueError(
                "limit must be at least 1, short_side at least 32 and seed not negative, got "
                f"{self.limit}, {self.short_side} and {self.seed}"
            )


def _tables(figures: Mapping[Key, Figure]) -> list[str]:
    parts = []
    for name, (label, digits) in MEASURES.items():
        rows = [
            [
                f"{percent} %",
                *(
                    f"{figure.value:.{digits}f} ± {figure.half_width:.{digits}f}"
                    for figure in (figures[way, percent, name] for way in WAYS)
                ),
            ]
            for percent in SHRUNK
        ]
        parts += [f"**{label}**", table(["shrunk by", *WAYS], rows)]
    return parts


def _numbers() -> str:
    """What remains of the chroma of a square photo that VGG-16 looks at."""
    rows = []
    for percent in SHRUNK:
        side = max(1, round(_LOOK * (1 - percent / 100)))
        count = 2 * side**2
        rows.append([f"{percent} %", f"{side} x {side}", f"{count:,}", f"{count / _LOOK**2:.3f}"])
    return table(["shrunk by", "chroma", "numbers", "numbers a pixel"], rows)


def _plot(figures: Mapping[Key, Figure], path: Path) -> str:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9, 6.4), layout="constrained")
    axes = canvas.subplots(2, 2).flatten()
    levels = SHRUNK[1:]
    for panel, (name, (label, _)) in zip(axes, MEASURES.items(), strict=True):
        for i, way in enumerate(WAYS):
            line = [figures[way, percent, name] for percent in levels]
            panel.plot(levels, [f.value for f in line], f"C{i}o-", ms=3, label=way)
            low, high = [f.low for f in line], [f.high for f in line]
            panel.fill_between(levels, low, high, color=f"C{i}", alpha=0.15, linewidth=0)
        panel.set(title=label, xlabel="taken away of each side, %")
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return save_plot(canvas, path)


def _sheet(study: ChromaStudy, photos: Photos, measured: Measured, path: Path) -> str:
    """Draw the truth and what is left of it.

    The page gets photos that it may show; the folder of runs measured ones, from the median to the
    worst.
    """
    place = SHRUNK.index(_NETWORK)
    error = list(MEASURES).index("rmse")
    order = sorted(measured, key=lambda photo: measured[photo][place][error])
    ranks = sorted({round(rank * (len(order) - 1)) for rank in _RANKS})
    levels = [(way, percent) for percent in _SHOWN for way in WAYS[:3]]
    captions = ["truth", *(f"{way} {percent} %" for way, percent in levels)]

    def draw(truths: Sequence[Rgb8], path: Path) -> str:
        rows = [
            [truth, *(restored(truth, percent, way) for way, percent in levels)] for truth in truths
        ]
        return save_sheet(captions, rows, path)

    worst = [read(photos, int(order[rank]), short_side=study.short_side) for rank in ranks]
    draw(worst, study.runs / "sheet.jpg")
    samples = open_photos([SAMPLES], "all")
    colored = [read(samples, i, short_side=study.short_side) for i in range(len(samples))]
    return draw([rgb for rgb in colored if has_colors(rgb)][: len(_RANKS)], path)


def _findings(figures: Mapping[Key, Figure]) -> str:
    def says(percent: int, way: str) -> str:
        values = {name: figures[way, percent, name].value for name in MEASURES}
        return (
            f"PSNR {values['psnr']:.1f} dB, SSIM {values['ssim']:.3f}, CIEDE2000 "
            f"{values['ciede2000']:.2f}"
        )

    ways = ", ".join(f"`{way}` {figures[way, _NETWORK, 'ciede2000'].value:.2f}" for way in WAYS)
    return (
        f"Shrunk by 50 %, ab brought back bicubically (`{WAYS[0]}`) gives {says(50, WAYS[0])}; by "
        f"{_NETWORK} %, {says(_NETWORK, WAYS[0])}; by 95 %, {says(95, WAYS[0])}. A CIEDE2000 of 1 "
        "is about the smallest difference that can be seen side by side. The ways compared at "
        f"{_NETWORK} %, by CIEDE2000: {ways}. Two things to keep in mind: the chroma here is the "
        "true one, so that nothing of it has to be hidden by the edges of L; and JPEG files often "
        "hold Cb and Cr at half the size already, which favours these at 50 %."
    )


def run(study: ChromaStudy, *, command: Sequence[str], progress: bool = True) -> Path:
    """Measure and write the page.

    Parameters
    ----------
    study
        What to do.
    command
        What was typed.
    progress
        Show a progress bar.

    Returns
    -------
    The page.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no photographs, or none that is large enough.
    """
    photos = open_photos(study.photos, "all")
    chosen = choose(photos, short_side=study.short_side, limit=study.limit)
    measured = measure_all(
        photos, chosen, study.runs, short_side=study.short_side, progress=progress
    )
    figures = summarise(measured, study.seed)
    page = study.out / "chroma-compression.md"
    how = (
        f"Measured on {len(measured)} {study.called}, short side {study.short_side} px. Values are "
        "means over photos with half of their 95 % intervals "
        f"({REPLICATES} bootstrap replicates, seed {study.seed}). PSNR ends at {MAX_PSNR:.0f} dB."
    )
    ranks = (
        f"{SHOWN} It has those at {', '.join(f'{rank:.0%}' for rank in _RANKS)} of all in the "
        f"order of their RMSE of ab at {_NETWORK} % (`{WAYS[0]}`); the last is the worst."
    )
    numbers = (
        f"For a photo of {_LOOK} x {_LOOK} pixels. The last layer of `vgg16` has 4097 weights for "
        "each of these numbers."
    )
    parts = [
        _INTRODUCTION,
        _WAYS_TOLD,
        how,
        "## What is left",
        _findings(figures),
        _plot(figures, study.out / "chroma-compression.png"),
        *_tables(figures),
        "## Pictures",
        ranks,
        _sheet(study, photos, measured, study.out / "chroma-compression.jpg"),
        "## How many numbers",
        numbers,
        _numbers(),
    ]
    write_page(page, "Chroma compression", parts, command=command)
    return page


if __name__ == "__main__":
    run(tyro.cli(ChromaStudy), command=typed("studies.chroma_compression"))
