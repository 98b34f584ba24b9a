"""Measure colourings as the field measures them: `zcolor evaluate`.

A model, decoded in as many ways as wanted from one forward pass, or anybody's results, beside the
same baselines: grey, the mean colour, and the truth through the grid.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from tqdm import tqdm

from zcolor.apps.evaluate_files import check_files
from zcolor.apps.evaluate_inputs import Inputs, Source, TruePhoto, open_inputs
from zcolor.apps.evaluate_model import GREY, TRUTH, Contestants, Look
from zcolor.apps.evaluate_perceptual import Perceptual
from zcolor.apps.evaluate_report import write_page
from zcolor.apps.evaluate_results import (
    EvaluationReport,
    MethodResult,
    NetworkResult,
    ShownPhoto,
    ranked,
)
from zcolor.bootstrap import Figure
from zcolor.evaluation import CellEvaluation, CellScore, Evaluation
from zcolor.metrics_image import Rgb8
from zcolor.scores import PhotoScore, Truth, score_photo, score_truth
from zcolor.settings import ColorizeSettings, EvaluateSettings
from zcolor.training.dataset import Split
from zcolor.training.film import VALIDATION_SEED, degraded
from zcolor.training.settings import FilmSettings

# Photos of each kind (best, median, worst) on the page.
_SHOWN = 6
_PACKAGES = ("zcolor", "torch", "numpy", "scipy", "scikit-image", "opencv-python-headless")


def run_evaluation(
    inputs: Sequence[Source],
    *,
    results: Sequence[Source] = (),
    model: str | os.PathLike[str] = "zhang",
    variants: Mapping[str, ColorizeSettings] | None = None,
    split: Split | None = None,
    settings: EvaluateSettings = EvaluateSettings(),
    device: str | torch.device = "auto",
    json: str | os.PathLike[str] | None = None,
    page: str | os.PathLike[str] | None = None,
    command: str = "",
    tell: Callable[[EvaluationReport], object] | None = None,
    progress: bool = True,
) -> EvaluationReport:
    """Measure a model, or results that others made, beside the baselines.

    Parameters
    ----------
    inputs
        True photos: packs, folders, images, globs, zip archives or lists; with `results` a single
        folder or archive.
    results
        Folders or archives of colourings of these photos, matched by path without ending.
    model
        A name of `zcolor.list_models()`, or a checkpoint. For results alone it gives the mean
        colour and the grid of the ceiling.
    variants
        Ways of colouring with the model, by name; None takes the model's own way, or none where
        there are `results`.
    split
        Of packs; None takes the val split where there is one, or else the whole pack.
    settings
        How the evaluation runs.
    device
        As for `zcolor.colorize`.
    json, page
        Files to write: all figures, and an HTML page with plots and photos. Those of an earlier
        evaluation are replaced, and no others.
    command
        The command line, for the JSON.
    tell
        Called with the figures before any file is written.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    The figures; `table()` shows them.

    Raises
    ------
    ValueError
        If nothing can be measured, or an option makes no sense.
    FileNotFoundError
        If an input, the model or the folder of a file to write does not exist.
    FileExistsError
        If a file to write exists and was not written by an evaluation.

    Notes
    -----
    Memory does not grow with the number of photos but for one number each, their rank on the page.
    """
    if variants is None:
        variants = {} if results else {Path(model).stem: ColorizeSettings()}
    if settings.film and not variants:
        raise ValueError("film ages what a network sees, and none is measured here; leave it out")
    check_files(json, page)
    photos = open_inputs(inputs, results, split=split)
    contestants = Contestants(model, variants, device=device)
    run = _Run(photos, contestants, settings)
    run.measure(progress=progress)
    report = run.report(show=page is not None, command=command)
    # The last of these comes first; one that fails takes no other along.
    with ExitStack() as ways:
        if page is not None:
            ways.callback(write_page, report, page)
        if json is not None:
            ways.callback(report.write_json, json)
        if tell is not None:
            ways.callback(tell, report)
    return report


class _Run:
    """One evaluation: photos, what colours them, and the sums."""

    def __init__(self, photos: Inputs, contestants: Contestants, settings: EvaluateSettings):
        self.photos, self.contestants, self.settings = photos, contestants, settings
        taken = set(photos.result_names) & {*contestants.methods, TRUTH}
        if taken:
            raise ValueError(
                f"a set of results is called {taken.pop()!r}, as a method of this run is; rename it"
            )
        replicates, seed = settings.replicates, settings.seed
        methods = (*contestants.methods, *photos.result_names)
        self.evaluation = Evaluation(
            (*methods, TRUTH), reference=GREY, n_replicates=replicates, seed=seed
        )
        self.networks = {
            name: CellEvaluation(n_replicates=replicates, seed=seed)
            for name in contestants.networks
        }
        self.perceptual = None if settings.quick else Perceptual()
        subjects = (*contestants.variants, *photos.result_names)
        self.subject = subjects[0] if subjects else None
        self.gains: dict[int, float] = {}
        self.versions = {name: _version(name) for name in _PACKAGES}

    def measure(self, *, progress: bool) -> None:
        """Go through all photos once."""
        settings = self.settings
        n = min(settings.limit or len(self.photos), len(self.photos))
        # Spread over the whole set, which may be sorted by source.
        indices = [i * len(self.photos) // n for i in range(n)]
        # Photos are scored side by side, and always added in their order; LPIPS and FID keep sums
        # of their own, which only one thread adds to in order.
        one = self.perceptual is not None and self.perceptual.available
        jobs = 1 if one else settings.jobs or os.cpu_count() or 1
        with (
            ThreadPoolExecutor(jobs) as pool,
            tqdm(total=n, desc="evaluate", unit="photo", disable=None if progress else True) as bar,
        ):
            for batch in self.photos.batches(indices, settings.batch):
                looks = self.contestants.look([self._seen(photo) for photo in batch])
                for photo, (scores, cells) in zip(batch, pool.map(self._score, batch, looks)):
                    self.evaluation.add(photo.index, scores)
                    for name, score in cells.items():
                        self.networks[name].add(photo.index, score)
                    if self.subject is not None:
                        gain = scores[self.subject].auc_raw - scores[GREY].auc_raw
                        self.gains[photo.index] = gain
                bar.update(indices.index(batch[-1].index) + 1 - bar.n)
        if not self.evaluation.n_photos:
            name, reason = self.photos.failed[0]
            raise ValueError(f"none of the {n} photos could be measured; {name}: {reason}")

    def _score(
        self, photo: TruePhoto, looks: Sequence[Look]
    ) -> tuple[dict[str, PhotoScore], dict[str, CellScore]]:
        truth = Truth(photo.rgb, self.evaluation.grid)
        scores = {name: self._measured(name, rgb, truth) for name, rgb in photo.results.items()}
        # One result at a time, as large photos are large.
        for name, rgb in self.contestants.results(truth, looks):
            scores[name] = self._measured(name, rgb, truth)
        scores[TRUTH] = score_truth(truth)
        return scores, self.contestants.cell_scores(truth, looks)

    def _seen(self, photo: TruePhoto) -> Rgb8:
        """What the network gets to see of a photo."""
        return degraded(photo.rgb, photo.index) if self.settings.film else photo.rgb

    def _measured(self, name: str, rgb: Rgb8, truth: Truth) -> PhotoScore:
        lpips = None if self.perceptual is None else self.perceptual.add(name, rgb, truth.rgb)
        return score_photo(rgb, truth, quick=self.settings.quick, lpips=lpips)

    def _figures(self, name: str) -> dict[str, Figure]:
        figures = self.evaluation.figures(name)
        if self.perceptual is not None:
            fid = self.perceptual.fid(name, self.evaluation.n_photos)
            figures |= {} if fid is None else {"fid": Figure(fid)}
        return figures

    def report(self, *, show: bool, command: str) -> EvaluationReport:
        """Gather the figures, and colour the photos of the page once more."""
        variants = self.contestants.variants
        methods = [
            MethodResult(
                name,
                self._figures(name),
                {} if name in (GREY, TRUTH) else self.evaluation.gains(name),
                self.evaluation.cell_scores(name),
                self.evaluation.error_shares(name),
                self.contestants.temperature(name) if name in variants else None,
            )
            for name in self.evaluation.methods
        ]
        networks = [
            NetworkResult(name, network.figures(), network.calibration, network.calibration_error())
            for name, network in self.networks.items()
        ]
        return EvaluationReport(
            tuple(methods),
            tuple(networks),
            self._info(command),
            self.evaluation.n_photos,
            self.subject,
            self.gains,
            tuple(self._shown()) if show else (),
            tuple(self._notes()),
            tuple(self.photos.failed),
        )

    def _notes(self) -> list[str]:
        if self.perceptual is None:
            notes = ["SSIM, CIEDE2000, LPIPS and FID were left out (quick)"]
        else:
            notes = list(self.perceptual.notes)
        if self.settings.film:
            notes.append("the network saw every photo as old film")
        if not self.contestants.classifies:
            notes.append("the model does not classify: no mean colour, no ceiling")
        return notes

    def _info(self, command: str) -> dict[str, object]:
        net = self.contestants.net
        return {
            "command": command,
            "data": self.photos.data,
            "model": self.contestants.describe(),
            "variants": {
                name: {**asdict(variant), "decodes_with": asdict(net.decoding(variant))}
                for name, variant in self.contestants.variants.items()
            },
            "settings": asdict(self.settings),
            "film": self._film(),
            "device": str(self.contestants.device),
            "precision": self.contestants.precision,
            "versions": {
                "python": platform.python_version(),
                **self.versions,
            },
        }

    def _film(self) -> dict[str, object] | None:
        """What `degraded` ages the photos by."""
        if not self.settings.film:
            return None
        return {"seed": VALIDATION_SEED, **asdict(FilmSettings(share=1.0))}

    def _shown(self) -> list[ShownPhoto]:
        """The best, median and worst photos, each once."""
        shown = []
        for kind, indices in ranked(self.gains, _SHOWN).items():
            for index in indices:
                photo = self.photos.read(index)
                truth = Truth(photo.rgb, self.evaluation.grid)
                looks = self.contestants.look([self._seen(photo)])[0]
                results = photo.results | dict(self.contestants.results(truth, looks))
                assert self.subject is not None
                pictures = (results[GREY], results[self.subject], photo.rgb)
                shown.append(ShownPhoto(kind, photo.name, self.gains[index], *pictures))
        return shown


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # as of a source tree that is only on the path
        return "unknown"
