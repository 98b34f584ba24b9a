"""The faces study: splits, runs that are kept, measures, and the page, on tiny photographs."""

import dataclasses
import io
import json
import zipfile
from itertools import chain

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studies import faces, faces_runs, faces_search
from studies.faces_measure import mean_color, measure
from studies.faces_runs import FacesStudy, Fit, Subject, fit, run_settings, split_names, unpack
from zcolor.lab import rgb_to_lab
from zcolor.training.dataset import open_photos
from zcolor.training.schedule import Schedule

PEOPLE = 5
EACH = 2
TINY = {
    "mean-chroma": Subject(32, ("relu", "tanh"), ("net=cnn1", "scale=255")),
    "autoencoder": Subject(32, ("tanh",), ("channels=2",)),
}


def archive(path, folders):
    """A zip of small photographs, `EACH` in every folder."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(skimage.data.astronaut())
    with zipfile.ZipFile(path, "w") as file:
        for folder in folders:
            for i in range(EACH):
                x, y = rng.integers(0, 300, 2)
                data = io.BytesIO()
                photo.crop((x, y, x + 200, y + 200)).resize((40, 40)).save(data, "PNG")
                file.writestr(f"{folder}/{i}.png", data.getvalue())
    return path


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    return (
        archive(folder / "faces.zip", [f"faces/person-{i}" for i in range(PEOPLE)]),
        archive(folder / "ncd.zip", [f"ncd/{name}" for name in ("apple", "pear", "plum")]),
    )


@pytest.fixture
def study(archives, tmp_path):
    face_zip, ncd_zip = archives
    return FacesStudy(
        face_zip, ncd_zip, tmp_path / "runs", tmp_path / "pages",
        epochs=(1, 3), rates=(1e-2, 1e-4), enlarge=2, transfer_epochs=2, batch=4, device="cpu",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """Small networks, and no curves of each run, which take longer than its training."""
    monkeypatch.setattr("zcolor.training.logbook.Logbook.draw_curves", lambda _: None)
    for name in TINY:
        monkeypatch.setitem(faces_runs.SUBJECTS, name, TINY[name])


# ---- splits ----------------------------------------------------------------------------------


@given(people=st.integers(3, 60), each=st.integers(1, 4), seed=st.integers(0, 9))
def test_splits_share_out_groups(people, each, seed):
    groups = [f"p{i % people}" for i in range(people * each)]
    names = [f"{group}/{i}" for i, group in enumerate(groups)]
    parts = split_names(names, groups, seed=seed)
    assert sorted(chain.from_iterable(parts.values())) == sorted(names)
    of = [{name.split("/")[0] for name in part} for part in parts.values()]
    assert sum(map(len, of)) == people  # no group in two parts
    assert abs(len(of[1]) - 0.1 * people) <= 0.9
    assert len(of[1]) == len(of[2]) >= 1


def test_fifty_people_are_split_40_5_5():
    groups = [f"p{i // 15}" for i in range(750)]
    parts = split_names([str(i) for i in range(750)], groups, seed=0)
    assert [len(part) for part in parts.values()] == [600, 75, 75]


def test_two_groups_cannot_be_split():
    with pytest.raises(ValueError, match="at least 3 groups of photos, got 2"):
        split_names(["a", "b"], ["x", "y"], seed=0)


def test_unpacked_photos_are_those_of_the_archive(study):
    folders = unpack(study.faces, study.runs / "faces", by_label=True, seed=0)
    people = {part: {p.name.split("-")[2] for p in folders[part].iterdir()} for part in folders}
    assert [len(people[part]) for part in ("train", "val", "test")] == [3, 1, 1]
    with zipfile.ZipFile(study.faces) as file:
        stored = {name.replace("/", "-"): file.read(name) for name in file.namelist()}
    found = {p.name: p.read_bytes() for part in folders.values() for p in part.iterdir()}
    assert found == stored


def test_unpacking_again_keeps_the_photos_or_refuses_others(study):
    folder = study.runs / "faces"
    folders = unpack(study.faces, folder, by_label=True, seed=0)
    stamps = [p.stat().st_mtime_ns for p in sorted(folder.rglob("*.png"))]
    assert unpack(study.faces, folder, by_label=True, seed=0) == folders
    assert [p.stat().st_mtime_ns for p in sorted(folder.rglob("*.png"))] == stamps
    with pytest.raises(ValueError, match="made from other photos or another seed"):
        unpack(study.ncd, folder, by_label=True, seed=0)


def test_what_an_interrupted_unpacking_left_is_replaced(study):
    folder = study.runs / "faces"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "half.png").write_bytes(b"half")
    folders = unpack(study.faces, folder, by_label=True, seed=0)
    assert not (folders["train"] / "half.png").exists()


# ---- runs ------------------------------------------------------------------------------------


def test_the_rate_is_constant_and_every_length_is_validated(study):
    s = run_settings(study, "mean-chroma", "tanh", 1e-4, (2, 4, 6), 10)
    schedule = Schedule(s)
    for loss in (3.0, *[4.0] * 50):
        schedule.validated(loss)
    assert {schedule.lr(seen) for seen in (0, 1, 40, s.photos)} == {1e-4}
    assert (s.photos, s.epoch_photos) == (6 * 10 * study.enlarge, 2 * 10 * study.enlarge)
    assert s.options == ("net=cnn1", "scale=255", "activation=tanh")
    assert (s.optimizer, s.weight_decay, s.ema) == ("adam", 1e-5, 0)


@pytest.fixture
def one_run(study):
    """Settings, photos, folder and length of an epoch of a small run."""
    folders = unpack(study.faces, study.runs / "faces", by_label=True, seed=0)
    n = len(open_photos([folders["train"]]))
    s = run_settings(study, "mean-chroma", "relu", 1e-3, study.epochs, n)
    return s, folders, study.runs / "one", n * study.enlarge


def test_a_finished_run_is_read_and_not_trained_again(one_run, monkeypatch):
    s, folders, folder, epoch = one_run
    first = fit(s, folders, folder, epoch=epoch)
    assert list(first.curve) == [1, 2, 3]
    assert first.best.is_file()
    monkeypatch.delattr(faces_runs, "train")
    assert fit(s, folders, folder, epoch=epoch) == first
    again = dataclasses.replace(s, device="auto")  # another machine
    assert fit(again, folders, folder, epoch=epoch) == first
    with pytest.raises(ValueError, match="a run of other settings; choose another folder"):
        fit(dataclasses.replace(s, lr=0.5), folders, folder, epoch=epoch)


def test_the_curve_is_the_validation_loss_in_units_of_255(one_run):
    s, folders, folder, epoch = one_run
    s = dataclasses.replace(s, options=("net=cnn1", "scale=100"))
    found = fit(s, folders, folder, epoch=epoch)
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [record["val_loss"] for record in records if "val_loss" in record]
    assert [v * 255**2 / 100**2 for v in found.curve.values()] == pytest.approx(losses)


def test_an_interrupted_run_goes_on(one_run, monkeypatch):
    s, folders, folder, epoch = one_run
    whole = fit(s, folders, folder, epoch=epoch)
    train, halves = faces_runs.train, []

    def half(*args, **kwargs):
        halves.append(kwargs["resume"])
        return train(*args, **kwargs, minutes=0.0 if len(halves) == 1 else None)

    monkeypatch.setattr(faces_runs, "train", half)
    other = folder.with_name("other")
    with pytest.raises(KeyboardInterrupt):
        fit(s, folders, other, epoch=epoch)
    assert fit(s, folders, other, epoch=epoch).curve == pytest.approx(whole.curve)
    assert halves == [False, True]


def test_the_grid_takes_every_point_and_the_lowest_error(study, monkeypatch):
    folders = unpack(study.faces, study.runs / "faces", by_label=True, seed=0)
    asked = []

    def pretend(s, data, folder, *, epoch, init=None):
        asked.append((s.lr, s.options[-1]))
        low = (s.lr, s.options[-1]) == (1e-4, "activation=tanh")
        return Fit(folder / "best.safetensors", {1: 3.0, 2: 9.0, 3: 1.0 if low else 2.0})

    monkeypatch.setattr(faces_search, "fit", pretend)
    found = faces_search.search(study, "mean-chroma", folders)
    assert len(asked) == len(set(asked)) == 4  # two rates, two activations
    assert len({(t.lr, t.epochs, t.activation) for t in found.trials}) == len(found.trials) == 8
    assert found.best == faces_search.Trial(1e-4, 3, "tanh", 1.0)
    assert found.best_fit.best_epoch == 3


# ---- measures --------------------------------------------------------------------------------


@pytest.fixture
def photos(study):
    return open_photos([unpack(study.faces, study.runs / "faces", by_label=True, seed=0)["test"]])


def lab_of(rgb):
    return rgb_to_lab(torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255).numpy().astype(float)


def test_measures_of_a_grey_answer(photos):
    """By NumPy: the error of grey is the colour itself."""
    ab = [lab_of(photos.read(i))[0, 1:] for i in range(len(photos))]
    means = np.mean([c.mean(axis=(1, 2)) ** 2 for c in ab], axis=0) / 255**2
    pixels = [np.mean(c**2, axis=(1, 2)) / 255**2 for c in ab]
    got = measure(lambda _: torch.zeros(1, 2, 1, 1), photos)
    np.testing.assert_allclose(got[:2], means, rtol=1e-3)
    np.testing.assert_allclose(got[2:4], np.mean(pixels, axis=0), rtol=5e-3)
    np.testing.assert_allclose(got[4:6], np.mean(-10 * np.log10(pixels), axis=0), atol=0.05)


def test_the_truth_has_no_error(photos):
    wanted = iter([torch.from_numpy(lab_of(photos.read(i))[:, 1:]).float() for i in range(2)])
    got = measure(lambda _: next(wanted), photos)
    assert max(got[:2]) < 1e-9
    assert max(got[2:4]) < 1e-4
    assert min(got[4:6]) > 40
    assert min(got[6:]) > 0.9


def test_the_mean_colour_counts_every_photo_the_same(photos):
    means = [lab_of(photos.read(i))[0, 1:].mean(axis=(1, 2)) for i in range(len(photos))]
    np.testing.assert_allclose(mean_color(photos).flatten(), np.mean(means, axis=0), atol=1e-3)


# ---- the whole -------------------------------------------------------------------------------


def test_the_page(study, monkeypatch):
    monkeypatch.setitem(faces_runs.SUBJECTS, "mean-chroma", Subject(32, ("relu",), ("net=cnn1",)))
    study = dataclasses.replace(study, rates=(1e-3,), epochs=(1,), enlarge=1, transfer_epochs=1)
    command = ["python", "-m", "studies.faces", "faces.zip"]
    page = faces.run(study, command=command, progress=False)
    text = page.read_text(encoding="utf-8")
    pictures = {"faces-grid.png", "faces-curves.png", "faces-sheet.jpg"}
    assert {path.name for path in page.parent.iterdir()} == {"faces.md", *pictures}
    # Photographs of the sets stay in the folder of runs: their terms do not allow to show them.
    for name in ("faces-sheet.jpg", "ncd-sheet.jpg"):
        assert (study.runs / name).exists()
    for name in pictures:
        assert f"({name})" in text
        assert 0 < page.with_name(name).stat().st_size <= 400_000
    assert "6, 2, 2 photos" in text
    assert text.count("| *published") == 3
    rows = [line for line in text.splitlines() if line.startswith("| mean-chroma, from ")]
    assert len(rows) == 4  # errors and lengths
    assert "nan" not in text
    with Image.open(page.with_name("faces-sheet.jpg")) as sheet:
        assert sheet.size == (4 * 128, 2 * 128 + 16)  # the two portraits in the public domain
    # Everything is kept: the second time nothing is trained and the same is written.
    monkeypatch.delattr(faces_runs, "train")
    assert faces.run(study, command=command, progress=False).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "changes", [{"epochs": (0,)}, {"epochs": ()}, {"rates": ()}, {"enlarge": 0}]
)
def test_settings_that_make_no_sense(study, changes):
    with pytest.raises(ValueError, match="must be at least 1 and rates not empty"):
        dataclasses.replace(study, **changes)
