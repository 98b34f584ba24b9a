"""What each effect of old film costs: `python -m benchmarks.film val.h5`.

The network sees validation photographs aged by one effect alone, by all of them, by all but the
spectrum, and as one emulsion alone sees colours; the table gives what is lost against the same
photographs as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from zcolor.apps.evaluate_model import GREY
from zcolor.evaluation import Evaluation
from zcolor.metrics_image import Rgb8
from zcolor.models.base import ColorNet
from zcolor.photo import read_photo
from zcolor.precision import fast_precision
from zcolor.registry import load_model
from zcolor.scores import PhotoScore, Truth, score_photo
from zcolor.settings import PRESETS, DecodeSettings, Preset
from zcolor.training.dataset import Photos, open_photos
from zcolor.training.film import degraded
from zcolor.training.settings import FilmSettings
from zcolor.training.validate import measured_photo

CLEAN, ALL = "as it is", "all of them"
"""Rows beside those of the single effects."""
EMULSIONS = ("blue-sensitive", "orthochromatic", "panchromatic")
"""The first of the shares in `FilmSettings.spectrum`; the last is the eye."""
_CHANCE = "_chance"


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Validation photographs: packs, folders, images, zip archives."""
    photos: int = 400
    """So many of them, evenly spread."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or the checkpoint of a classifier."""
    jobs: int = 2
    """Photos at a time."""


def ageings() -> dict[str, FilmSettings | None]:
    """List the ways of ageing, by the name of their row; None leaves a photo as it is."""
    usual = FilmSettings()
    chances = [f.name for f in dataclasses.fields(usual) if f.name.endswith(_CHANCE)]
    no_effect: dict[str, Any] = dict.fromkeys(chances, 0.0)
    none = dataclasses.replace(usual, **no_effect)
    found: dict[str, FilmSettings | None] = {CLEAN: None, ALL: usual}
    found["all but the spectrum"] = dataclasses.replace(usual, spectrum_chance=0.0)
    for name in chances:
        row = f"{name.removesuffix(_CHANCE)} alone"
        effect: dict[str, Any] = {name: getattr(usual, name)}
        found[row] = dataclasses.replace(none, **effect)
    for k, emulsion in enumerate(EMULSIONS):
        pure: Any = tuple(float(k == other) for other in range(len(usual.spectrum)))
        for row, others in ((f"{emulsion} film", none), (f"{emulsion} film, all effects", usual)):
            found[row] = dataclasses.replace(others, spectrum_chance=1.0, spectrum=pure)
    return found


def measure(
    nets: Mapping[str, ColorNet],
    ways: Mapping[str, FilmSettings | None],
    decode: Mapping[Preset, DecodeSettings],
    photos: Photos,
    *,
    n: int,
    jobs: int,
) -> Evaluation:
    """Measure networks on photographs aged in several ways.

    Parameters
    ----------
    nets, ways, decode
        Each network by its name, decoded in every one of these ways; see `method` for the names
        of what comes out.
    photos, n
        The photographs, of which n are taken, evenly spread.
    jobs
        Photos at a time.
    """
    cpu = torch.device("cpu")
    names = [method(net, way, preset) for net in nets for way in ways for preset in decode]
    evaluation = Evaluation([GREY, *names])
    places = [i * len(photos) // n for i in range(n)]

    @torch.inference_mode()
    def scores(place: int) -> dict[str, PhotoScore]:
        rgb = measured_photo(photos.read(place))
        truth, photo = Truth(rgb, evaluation.grid), read_photo(rgb)

        def score(ab: torch.Tensor) -> PhotoScore:
            colored: Rgb8 = np.asarray(photo.with_ab(ab), dtype=np.uint8)
            return score_photo(colored, truth, quick=True)

        found = {GREY: score(torch.zeros(1, 2, 1, 1))}
        for way, film in ways.items():
            seen = photo if film is None else read_photo(degraded(rgb, place, settings=film))
            for name, net in nets.items():
                lightness = seen.lightness(net.working_size, cpu)
                with fast_precision(cpu):
                    output = net(lightness)
                for preset in decode:
                    ab = net.to_ab(output.float(), lightness, decode[preset])
                    found[method(name, way, preset)] = score(ab)
        return found

    def each() -> Iterator[dict[str, PhotoScore]]:
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(scores, places)

    for place, found in zip(places, tqdm(each(), total=n, unit="photo"), strict=True):
        evaluation.add(place, found)
    return evaluation


def method(net: str, way: str, preset: Preset) -> str:
    """Name a network on photographs aged in a way, decoded by a preset."""
    return f"{net}, {way}, {preset}"


def table(evaluation: Evaluation, net: str) -> str:
    """Make the table: AuC of the clean photos, then what each ageing takes from it."""
    head = " | ".join(f"`{preset}`: raw | rebalanced | colourfulness" for preset in PRESETS)
    lines = [f"| effects | {head} |", "| --- " * (3 * len(PRESETS) + 1) + "|"]
    clean = {preset: evaluation.figures(method(net, CLEAN, preset)) for preset in PRESETS}
    for row in ageings():
        cells = []
        for preset in PRESETS:
            figures = evaluation.figures(method(net, row, preset))
            for name in ("auc_raw", "auc_rebalanced"):
                value = figures[name].value
                lost = f"{value - clean[preset][name].value:+.2f}"
                cells.append(f"{value:.2f}" if row == CLEAN else lost)
            cells.append(f"{figures['colorfulness'].value:.1f}")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(settings: Settings) -> None:
    """Measure, and print the table."""
    net, photos = load_model(settings.model), open_photos(settings.data, "all")
    n = min(settings.photos, len(photos))
    nets = {settings.model: net}
    evaluation = measure(nets, ageings(), net.presets, photos, n=n, jobs=settings.jobs)
    print(table(evaluation, settings.model))


if __name__ == "__main__":
    main(tyro.cli(Settings))
