"""Faces: a grid search for networks that colour portraits, then transfer learning to fruit.

`python -m studies.faces FACES.zip NCD.zip --runs runs/faces` trains everything and writes
docs/studies/faces.md. What is finished is kept in the folder of runs: the same command goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from studies.faces_measure import (
    constant,
    error_table,
    picture_sheet,
    predictor,
    public_faces,
    some_test_photos,
)
from studies.faces_runs import SUBJECTS, FacesStudy, Fit, unpack
from studies.faces_search import Search, search, transfer
from studies.report import save_plot, table, typed, write_page
from zcolor.training.dataset import open_photos

_CONSTANT = "training mean"


def _heat_map(searches: Mapping[str, Search], study: FacesStudy) -> str:
    """Validation error over the grid: a row of panels for each family, a panel for each length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(study.epochs), 2.2 * len(searches)), layout="constrained")
    axes = figure.subplots(len(searches), len(study.epochs), squeeze=False)
    for row, (model, found) in zip(axes, searches.items(), strict=True):
        errors = {(t.activation, t.lr, t.epochs): t.mse for t in found.trials}
        low, high = np.log10([min(errors.values()), max(errors.values())])
        activations = SUBJECTS[model].activations
        for panel, epochs in zip(row, study.epochs, strict=True):
            values = np.array([[errors[a, lr, epochs] for lr in study.rates] for a in activations])
            panel.imshow(np.log10(values), vmin=low, vmax=high, cmap="viridis_r", aspect="auto")
            for (y, x), value in np.ndenumerate(values):
                shade = "black" if np.log10(value) < (low + high) / 2 else "white"
                panel.text(x, y, f"{value:.1e}", ha="center", va="center", color=shade, fontsize=8)
            panel.set_xticks(range(len(study.rates)), [f"{lr:g}" for lr in study.rates])
            panel.set_yticks(range(len(activations)), activations)
            panel.set_title(f"{model}, epoch {epochs}", fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("learning rate")
    return save_plot(figure, study.out / "faces-grid.png")


def _curves(searches: Mapping[str, Search], study: FacesStudy) -> str:
    """Validation error of every run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(searches), 3.4), layout="constrained")
    axes = figure.subplots(1, len(searches), squeeze=False)[0]
    for panel, (model, found) in zip(axes, searches.items(), strict=True):
        for (lr, activation), run in sorted(found.fits.items()):
            style = ("-", "--", ":")[SUBJECTS[model].activations.index(activation)]
            color = f"C{study.rates.index(lr)}"
            label = f"{activation}, {lr:g}"
            panel.plot(*zip(*run.curve.items(), strict=True), style, color=color, label=label)
        panel.set(title=model, xlabel="epochs", ylabel="validation MSE", yscale="log")
        panel.grid(alpha=0.3, which="both")
        panel.set_xticks(range(1, max(study.epochs) + 1))
        panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return save_plot(figure, study.out / "faces-curves.png")


def _introduction(study: FacesStudy, sizes: Mapping[str, str]) -> list[str]:
    sides = " and ".join(f"{SUBJECTS[model].side} px for `{model}`" for model in SUBJECTS)
    return [
        (
            "Two networks learn the colours of portraits: `mean-chroma` the mean a and b of a "
            "photo, `autoencoder` the colour of every pixel. A grid search over learning rate, "
            "length and activation chooses each of them on validation photos; the chosen ones then "
            "learn fruit and vegetables, from the faces and from scratch."
        ),
        (
            f"Faces (Georgia Tech Face Database): {sizes['faces']} photos for training, validation "
            f"and test (80:10:10), no person in two of them. Natural-Color Dataset: {sizes['ncd']} "
            f"photos, at random. An epoch sees every training photo {study.enlarge} times, each "
            "time another crop: mirrored half of the time, enlarged by up to a quarter nine times "
            "out of ten; 30 % of the crops are seen aged as old film, as `zcolor train` does "
            f"unless told otherwise. Photos and crops have a side of {sides}. Adam, weight decay "
            f"1e-5, batches of {study.batch}, mean squared error, seed {study.seed}."
        ),
        (
            f"Lengths are {', '.join(map(str, study.epochs))} epochs; published are 100, 300 and "
            "500. The learning rate is constant, so that one run of the greatest length, validated "
            "on its way, gives the errors of all lengths. Errors are of a / 255 and b / 255, as "
            "published. PSNR and SSIM take a range of 255 and are means over photos at their full "
            "size, after the answer has become 8-bit RGB."
        ),
    ]


def _grid_rows(searches: Mapping[str, Search], study: FacesStudy) -> str:
    rows: list[Sequence[object]] = []
    for model, found in searches.items():
        errors = {(t.lr, t.activation, t.epochs): t.mse for t in found.trials}
        for lr, activation in sorted(found.fits, reverse=True):
            values = [f"{errors[lr, activation, epochs]:.2e}" for epochs in study.epochs]
            rows.append([f"`{model}`", activation, f"{lr:g}", *values])
    lengths = [f"epoch {epochs}" for epochs in study.epochs]
    return table(["model", "activation", "learning rate", *lengths], rows)


def _chosen(searches: Mapping[str, Search]) -> str:
    return "\n".join(
        f"- `{model}`: {found.best.activation}, learning rate {found.best.lr:g}; the weights are "
        f"those of its best validation, after epoch {found.best_fit.best_epoch} (validation MSE "
        f"{min(found.best_fit.curve.values()):.2e})."
        for model, found in searches.items()
    )


def run(study: FacesStudy, *, command: Sequence[str], progress: bool = True) -> Path:
    """Train, measure and write the page.

    Parameters
    ----------
    study
        What to do.
    command
        What was typed.
    progress
        Show a progress bar, which counts training runs.

    Returns
    -------
    The page.
    """
    faces = unpack(study.faces, study.runs / "faces", by_label=True, seed=study.seed)
    ncd = unpack(study.ncd, study.runs / "ncd", by_label=False, seed=study.seed)
    n_runs = sum(len(study.rates) * len(s.activations) + 2 for s in SUBJECTS.values())
    searches: dict[str, Search] = {}
    fruit: dict[str, Fit] = {}
    with tqdm(total=n_runs, unit="run", disable=not progress) as bar:
        for model in SUBJECTS:
            bar.set_description(model)
            found = searches[model] = search(study, model, faces, bar)
            for name, scratch in (("from faces", False), ("from scratch", True)):
                fruit[f"{model}, {name}"] = transfer(study, model, found, ncd, scratch=scratch)
                bar.update()
    on_faces = {_CONSTANT: constant(faces)}
    on_faces |= {model: predictor(s.best_fit.best, study.device) for model, s in searches.items()}
    on_fruit = {_CONSTANT: constant(ncd)}
    on_fruit |= {name: predictor(run.best, study.device) for name, run in fruit.items()}
    shown = {name: predict for name, predict in on_fruit.items() if name.endswith("from faces")}
    shown = {name.partition(",")[0]: predict for name, predict in shown.items()}
    sizes = {
        name: ", ".join(str(len(open_photos([folder]))) for folder in data.values())
        for name, data in (("faces", faces), ("ncd", ncd))
    }
    face_painters = {model: on_faces[model] for model in searches}
    picture_sheet(study.runs / "faces-sheet.jpg", face_painters, some_test_photos(faces))
    picture_sheet(study.runs / "ncd-sheet.jpg", shown, some_test_photos(ncd))
    parts = [
        *_introduction(study, sizes),
        "## The grid",
        "Validation MSE, the mean of a and b, after each length:",
        _grid_rows(searches, study),
        _heat_map(searches, study),
        _curves(searches, study),
        "The lowest error of the grid chooses:",
        _chosen(searches),
        "## Faces",
        (
            f"Test photos, of people that no network has seen. `{_CONSTANT}` gives every photo the "
            "mean colour of the training photos. Rows in italics are published figures, not "
            "measured here; how their photos were split is not known."
        ),
        error_table("faces", on_faces, faces),
        (
            "Two portraits in the public domain (NASA, U.S. Navy), taken and cut otherwise than "
            "those of the set, whose terms do not allow to show it here. Sheets of test photos of "
            "both sets lie in the folder of the run."
        ),
        picture_sheet(study.out / "faces-sheet.jpg", face_painters, public_faces()),
        "## Transfer to fruit and vegetables",
        (
            f"{study.transfer_epochs} epochs at a learning rate of {study.transfer_rate:g}, "
            "beginning with the networks that learned faces, or with random weights; the weights "
            "are those of the best validation."
        ),
        error_table("ncd", on_fruit, ncd),
        table(
            ["run", "epoch of the weights", "validation MSE"],
            [
                [name, run.best_epoch, f"{min(run.curve.values()):.2e}"]
                for name, run in fruit.items()
            ],
        ),
    ]
    page = study.out / "faces.md"
    write_page(page, "Faces: grid search and transfer", parts, command=command)
    return page


if __name__ == "__main__":
    run(tyro.cli(FacesStudy), command=typed("studies.faces"))
