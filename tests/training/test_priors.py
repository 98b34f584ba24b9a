"""Priors: made of folders and packs, interrupted, written, read, described, drawn."""

import dataclasses
import json
import sys

import cv2
import h5py
import numpy as np
import pytest
import torch

from zcolor.quantizer import AbGrid
from zcolor.training import counting, priors
from zcolor.training.counting import blocks_of, count_blocks
from zcolor.training.packfile import PackedPhoto, write_pack
from zcolor.training.prior_plot import plot_priors
from zcolor.training.priors import (
    Priors,
    build_priors,
    read_priors,
    rebalancing_weights,
    summary,
    write_priors,
)
from zcolor.training.settings import PriorSettings

N_PHOTOS = 14


def blotches(seed):
    """A photo of patches of all sorts of colours."""
    patches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3))
    return np.kron(patches, np.ones((6, 6, 1))).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(N_PHOTOS):
        cv2.imwrite(str(folder / f"{seed:02d}.png"), blotches(seed)[:, :, ::-1])
    return folder


@pytest.fixture
def built(folder, tmp_path):
    return build_priors([folder], tmp_path / "priors.h5", progress=False, command="as typed")


def assert_same(one, other):
    assert one.grid == other.grid
    for name in ("counts", "means", "p", "photos_per_cell"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    for name in ("n_photos", "n_pixels", "data_hash", "settings", "command"):
        assert getattr(one, name) == getattr(other, name)


def test_a_folder_is_counted_photo_by_photo(built):
    alone = [count_blocks([blocks_of(blotches(seed))], AbGrid()) for seed in range(N_PHOTOS)]
    np.testing.assert_array_equal(built.counts, sum(photo.counts for photo in alone))
    np.testing.assert_array_equal(built.photos_per_cell, sum(p.counts > 0 for p in alone))
    assert built.n_photos == N_PHOTOS
    assert built.n_pixels == N_PHOTOS * (30 // 4) * (42 // 4)
    assert built.p.sum() == pytest.approx(1)
    assert built.command == "as typed"
    assert len(built.data_hash) == 64


def test_means_are_those_of_the_pixels_and_the_centre_where_there_are_none(tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    # Two flat photos, and their CIELAB: sRGB red and a soft green.
    cv2.imwrite(str(folder / "red.png"), np.full((8, 8, 3), (0, 0, 255), dtype=np.uint8))
    cv2.imwrite(str(folder / "green.png"), np.full((8, 8, 3), (120, 160, 120), dtype=np.uint8))
    found = build_priors([folder], tmp_path / "two.h5", progress=False)
    seen = np.flatnonzero(found.counts)
    assert found.means.dtype == np.float32
    np.testing.assert_allclose(found.means[seen], [[-21.8, 16.54], [80.1, 67.2]], atol=0.02)
    unseen = np.delete(np.arange(324), seen)
    np.testing.assert_array_equal(found.means[unseen], AbGrid().centers.numpy()[unseen])


def test_the_number_of_threads_changes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "_PHOTOS_A_TASK", 2)
    one, three = (
        build_priors([folder], tmp_path / f"{jobs}.h5", PriorSettings(jobs=jobs), progress=False)
        for jobs in (1, 3)
    )
    assert_same(one, dataclasses.replace(three, settings=one.settings))


def test_an_interrupted_count_goes_on_where_it_stood(folder, built, tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "_PHOTOS_A_TASK", 2)
    out = tmp_path / "again.h5"
    state = tmp_path / "again.h5.part"
    reads = []
    read = priors.open_photos([folder]).__class__.read

    def read_until(self, index):
        reads.append(index)
        if index == 7 and not state.exists():
            raise KeyboardInterrupt
        return read(self, index)

    monkeypatch.setattr(priors.open_photos([folder]).__class__, "read", read_until)
    with pytest.raises(KeyboardInterrupt):
        build_priors([folder], out, PriorSettings(jobs=1), progress=False)
    assert state.exists()
    assert not out.exists()
    reads.clear()
    again = build_priors([folder], out, PriorSettings(jobs=2), progress=False, command="as typed")
    assert sorted(reads) == list(range(6, N_PHOTOS))
    assert_same(dataclasses.replace(again, settings=built.settings), built)
    assert not state.exists()


@pytest.mark.parametrize("change", ["settings", "photos"])
def test_a_state_of_another_count_is_not_continued(folder, tmp_path, monkeypatch, caplog, change):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(priors, "write_priors", stop)
        with pytest.raises(KeyboardInterrupt):
            build_priors([folder], tmp_path / "p.h5", progress=False)
    settings = PriorSettings(stride=2) if change == "settings" else PriorSettings()
    if change == "photos":
        cv2.imwrite(str(folder / "99.png"), blotches(99))
    fresh = build_priors([folder], tmp_path / "fresh.h5", settings, progress=False)
    assert_same(build_priors([folder], tmp_path / "p.h5", settings, progress=False), fresh)
    assert "is of other photos or settings" in caplog.text


def test_broken_photos_are_named_and_do_not_end_the_count(folder, tmp_path, caplog):
    whole = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(whole[: len(whole) // 2])
    found = build_priors([folder], tmp_path / "p.h5", progress=False)
    assert found.n_photos == N_PHOTOS - 1
    assert "03.png" in caplog.text
    assert f"1 of {N_PHOTOS} photos were left out" in caplog.text


def test_a_pack_is_counted_by_split(tmp_path):
    photos, payloads = [], []
    for seed in range(6):
        payload = cv2.imencode(".png", blotches(seed)[:, :, ::-1])[1].tobytes()
        photos.append(PackedPhoto(len(payload), 30, 42, seed % 2, "x", bytes([seed] * 16), "x"))
        payloads.append(payload)
    write_pack(tmp_path / "pack.h5", photos, payloads)
    found = {
        split: build_priors([tmp_path / "pack.h5"], tmp_path / "p.h5", split=split, progress=False)
        for split in ("train", "val", "all")
    }
    assert [found[split].n_photos for split in found] == [3, 3, 6]
    expected = sum(count_blocks([blocks_of(blotches(seed))], AbGrid()).counts for seed in (1, 3, 5))
    np.testing.assert_array_equal(found["val"].counts, expected)
    np.testing.assert_array_equal(found["all"].counts, found["train"].counts + found["val"].counts)
    assert len({priors.data_hash for priors in found.values()}) == 3


def test_priors_take_the_place_of_nothing_else(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), blotches(0)[:, :, ::-1])
    for name in ("pack.h5", "letter.txt"):
        (tmp_path / name).write_bytes(b"something of value")
        with pytest.raises(FileExistsError, match=f"{name} exists and holds no priors"):
            build_priors([tmp_path / "0.png"], tmp_path / name, progress=False)
        assert (tmp_path / name).read_bytes() == b"something of value"
    with pytest.raises(IsADirectoryError, match="name a file for the priors"):
        build_priors([tmp_path / "0.png"], tmp_path, progress=False)
    pack = tmp_path / "real.h5"
    payload = cv2.imencode(".png", blotches(1)[:, :, ::-1])[1].tobytes()
    write_pack(pack, [PackedPhoto(len(payload), 30, 42, 0, "x", bytes(16), "x")], [payload])
    before = pack.read_bytes()
    with pytest.raises(FileExistsError, match="holds no priors"):
        build_priors([pack], pack, progress=False)
    assert pack.read_bytes() == before


def test_photos_of_one_colour_are_refused_with_the_cure(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((16, 16, 3), 99, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"reach 1 of 324 cells.*count colour photographs"):
        build_priors([tmp_path / "grey.png"], tmp_path / "p.h5", progress=False)
    assert not (tmp_path / "p.h5").exists()


FREE_GRID = AbGrid.from_centers(torch.randn(30, 2, generator=torch.Generator().manual_seed(3)) * 40)


@pytest.mark.parametrize("grid", [AbGrid(10, -100, 100), FREE_GRID], ids=repr)
def test_what_is_written_is_read_back(folder, tmp_path, grid):
    settings = PriorSettings(stride=2, smoothing=0.7, mixing=0.4)
    found = build_priors([folder], tmp_path / "p.h5", settings, grid=grid, progress=False)
    assert_same(read_priors(tmp_path / "p.h5"), found)
    with h5py.File(tmp_path / "p.h5") as file:
        for kind in ("neglog", "zhang"):
            np.testing.assert_array_equal(file[f"weights_{kind}"], rebalancing_weights(found, kind))
        np.testing.assert_array_equal(file["p"], found.p)
        np.testing.assert_array_equal(file["centers"], grid.centers)
        assert file.attrs["n_pixels"] == found.n_pixels
        assert file.attrs["n_photos"] == N_PHOTOS
        assert json.loads(file.attrs["settings"])["stride"] == 2


def test_the_same_priors_are_the_same_bytes(built, tmp_path):
    write_priors(tmp_path / "again.h5", built)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "priors.h5").read_bytes()


def test_a_very_long_command_is_cut_rather_than_refused(built, tmp_path):
    write_priors(tmp_path / "p.h5", dataclasses.replace(built, command="name.png " * 20_000))
    assert len(read_priors(tmp_path / "p.h5").command) == 32_000


def test_weights_follow_the_settings_of_the_priors(built):
    mixed = dataclasses.replace(built, settings=PriorSettings(mixing=0.1))
    assert rebalancing_weights(mixed, "zhang").max() > rebalancing_weights(built, "zhang").max()


def test_files_that_hold_no_priors_are_refused(built, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there are no priors at .*none\.h5"):
        read_priors(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match=r"text\.h5 is no HDF5 file of priors or was cut short"):
        read_priors(tmp_path / "text.h5")
    whole = (tmp_path / "priors.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.h5 is no HDF5 file of priors or was cut short"):
        read_priors(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["counts"] = np.arange(3)
    with pytest.raises(ValueError, match=r"other\.h5 is an HDF5 file, but holds no priors"):
        read_priors(tmp_path / "other.h5")
    with h5py.File(tmp_path / "priors.h5", "a") as file:
        del file["means"]
    with pytest.raises(ValueError, match=r"priors\.h5 is no HDF5 file of priors"):
        read_priors(tmp_path / "priors.h5")


def made_up(photos_per_cell):
    """Priors of two common cells, one of 0.5 % and one far below."""
    grid = AbGrid()
    counts = np.zeros(grid.n_bins, dtype=np.int64)
    photos = counts.copy()
    counts[[170, 171, 188, 200]] = 60_000, 39_400, 500, 100
    photos[[170, 171, 188, 200]] = photos_per_cell
    return Priors(grid, counts, grid.centers.numpy(), photos, n_photos=5000)


def test_the_summary_says_what_was_counted():
    lines = summary(made_up([5000, 4000, 2, 1])).splitlines()
    assert lines[0] == "5,000 photos, 100,000 blocks of 4 x 4 pixels"
    assert lines[1].startswith("cells seen: 4 of 324 (")
    assert lines[2] == "greyest cell: 60.0%, the four around neutral: 99.4%"
    assert lines[3].startswith("weights of the cells seen: neglog 0.")
    # The rare cells lie beyond 99 %, so that two photos of them do no harm.
    assert len(lines) == 4


def test_a_common_cell_of_few_photos_is_warned_of(built, folder, tmp_path, caplog):
    assert made_up([5000, 100, 2, 1]).stable_photos == 100
    shaky = made_up([5000, 99, 2, 1])
    assert "too few photos for a stable prior" in summary(shaky)
    assert "only 99 photos" in summary(shaky)
    build_priors([folder], tmp_path / "few.h5", progress=False)
    assert "too few photos for a stable prior" in caplog.text


@pytest.mark.parametrize("grid", [AbGrid(8), FREE_GRID], ids=repr)
def test_the_plot_is_a_png_with_colours(folder, tmp_path, grid):
    found = build_priors([folder], tmp_path / "p.h5", grid=grid, progress=False)
    plot_priors(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    drawn = cv2.imread(str(tmp_path / "plot.png"))
    assert min(drawn.shape[:2]) > 600
    # The ab plane stands in the upper left quarter: strong red and blue among its colours.
    blue, green, red = np.moveaxis(drawn[: drawn.shape[0] // 2, : drawn.shape[1] // 2], 2, 0)
    assert ((red > 220) & (green < 90) & (blue < 90)).any()
    assert ((blue > 220) & (green < 120) & (red < 120)).any()


def test_two_equal_cells_can_be_drawn(tmp_path):
    grid = AbGrid.from_centers(torch.tensor([[-30.0, 0.0], [30.0, 0.0]]))
    even = Priors(grid, np.array([5, 5]), grid.centers.numpy(), np.array([1, 1]), n_photos=2)
    plot_priors(even, tmp_path / "even.png")
    assert cv2.imread(str(tmp_path / "even.png")) is not None


def test_without_matplotlib_the_plot_names_the_extra(built, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"zcolor\[train\]"):
        plot_priors(built, tmp_path / "plot.png")
