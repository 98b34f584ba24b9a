"""Counting colours: against NumPy loops, for any number of threads, through interrupts."""

import logging

import cv2
import numpy as np
import pytest
import torch

from zcolor.lab import RGB_TO_XYZ
from zcolor.quantizer import AbGrid
from zcolor.training import counting
from zcolor.training.counting import ColorCounts, blocks_of, count_blocks, count_colors
from zcolor.training.counting_state import read_state, write_state
from zcolor.training.settings import PriorSettings


def count_photo(rgb: np.ndarray, grid: AbGrid, **how: int) -> ColorCounts:
    return count_blocks([blocks_of(rgb, **how)], grid)


class ListPhotos:
    """Photos in a list; an exception in it is raised when its place is read."""

    data_hash = "list"

    def __init__(self, photos):
        self.photos = list(photos)
        self.reads = []

    def __len__(self):
        return len(self.photos)

    def read(self, index):
        self.reads.append(index)
        photo = self.photos[index]
        if isinstance(photo, BaseException):
            raise photo
        return photo


def blotches(seed, height=23, width=34):
    """A photo of noisy patches of all sorts of colours."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (height // 5 + 1, width // 5 + 1, 3))
    smooth = np.kron(patches, np.ones((5, 5, 1)))[:height, :width]
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def lab_of_pixel(rgb):
    """CIELAB of one pixel, in float64."""
    matrix = RGB_TO_XYZ.numpy()
    display = rgb.astype(np.float64) / 255
    linear = np.where(display > 0.04045, ((display + 0.055) / 1.055) ** 2.4, display / 12.92)
    x, y, z = matrix @ linear / matrix.sum(axis=1)
    delta = 6 / 29
    fx, fy, fz = (t ** (1 / 3) if t > delta**3 else t / (3 * delta**2) + 4 / 29 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def count_in_loops(rgb, grid, stride):
    """Counts and sums of thousandths, one block after the other."""
    counts = np.zeros(grid.n_bins, dtype=np.int64)
    sums = np.zeros((grid.n_bins, 2), dtype=np.int64)
    centers = grid.centers.double().numpy()
    for top in range(0, rgb.shape[0] - stride + 1, stride):
        for left in range(0, rgb.shape[1] - stride + 1, stride):
            block = rgb[top : top + stride, left : left + stride].reshape(-1, 3)
            ab = np.mean([lab_of_pixel(pixel)[1:] for pixel in block], axis=0)
            milli = np.round(ab * 1000).astype(np.int64)
            if grid.bins is None:
                cell = int(((centers - milli / 1000) ** 2).sum(axis=1).argmin())
            else:
                place = np.floor((milli / 1000 - grid.low) / grid.width)
                ia, ib = np.clip(place, 0, grid.bins - 1).astype(int)
                cell = ia * grid.bins + ib
            counts[cell] += 1
            sums[cell] += milli
    return counts, sums


FREE_GRID = AbGrid.from_centers(torch.randn(17, 2, generator=torch.Generator().manual_seed(1)) * 40)


@pytest.mark.parametrize("stride", [1, 2, 4, 7])
@pytest.mark.parametrize("grid", [AbGrid(), AbGrid(7, -60, 80), FREE_GRID], ids=repr)
def test_counts_equal_those_of_a_numpy_loop(grid, stride):
    rgb = blotches(stride)
    counted = count_photo(rgb, grid, stride=stride)
    counts, sums = count_in_loops(rgb, grid, stride)
    assert counted.counts.dtype == np.int64
    np.testing.assert_array_equal(counted.counts, counts)
    assert np.count_nonzero(counts) >= 5
    # A thousandth that lies on the edge of rounding may go either way in float32.
    np.testing.assert_allclose(counted.milli_sums, sums, atol=1 + 0.02 * counts.max())
    np.testing.assert_array_equal(counted.photos_per_cell, counts > 0)


def test_edges_that_fill_no_block_are_left_out():
    rgb = blotches(0, height=11, width=13)
    whole = count_photo(rgb[:8, :12], AbGrid(), stride=4)
    counted = count_photo(rgb, AbGrid(), stride=4)
    assert counted.counts.sum() == 2 * 3
    np.testing.assert_array_equal(counted.counts, whole.counts)


def test_greys_fall_into_one_cell_and_have_no_colour():
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    counted = count_photo(greys, AbGrid(), stride=1)
    assert counted.counts[171] == 256
    assert not counted.milli_sums.any()


def test_a_photo_in_bands_counts_the_same(monkeypatch):
    rgb = blotches(5, height=41)
    whole = count_photo(rgb, AbGrid(), stride=3)
    monkeypatch.setattr(counting, "_PIXELS_AT_ONCE", 1)
    banded = count_photo(rgb, AbGrid(), stride=3)
    np.testing.assert_array_equal(banded.counts, whole.counts)
    np.testing.assert_array_equal(banded.milli_sums, whole.milli_sums)


def test_size_shrinks_and_never_enlarges():
    rgb = blotches(3, height=40, width=60)
    small = cv2.resize(rgb, (30, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(
        count_photo(rgb, AbGrid(), size=20, stride=2).counts,
        count_photo(small, AbGrid(), stride=2).counts,
    )
    np.testing.assert_array_equal(
        count_photo(rgb, AbGrid(), size=400, stride=2).counts,
        count_photo(rgb, AbGrid(), stride=2).counts,
    )


@pytest.mark.parametrize("size", [21, 30, 39])
def test_a_photo_shrunk_by_less_than_two_keeps_its_colours(size):
    rgb = cv2.resize(blotches(3, height=10, width=15), (60, 40), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(rgb, (round(size * 1.5), size), interpolation=cv2.INTER_AREA)
    got = blocks_of(rgb, size=size, stride=3).mean(axis=0)
    np.testing.assert_allclose(got, blocks_of(small, stride=3).mean(axis=0), atol=700)


def test_photos_counted_together_are_the_sum_of_each(monkeypatch):
    photos = [blotches(seed, height=20 + seed) for seed in range(7)]
    alone = sum((count_photo(rgb, AbGrid()) for rgb in photos), ColorCounts.empty(324))
    together = count_blocks([blocks_of(rgb) for rgb in photos], AbGrid())
    assert_same(together, alone)
    for at_once in (1, 1 << 20):
        monkeypatch.setattr(counting, "_BLOCKS_AT_ONCE", at_once)
        streamed = count_colors(ListPhotos(photos), PriorSettings(size=0), progress=False)
        assert_same(streamed, alone)


def test_a_photo_smaller_than_a_block_is_refused():
    with pytest.raises(ValueError, match=r"3 x 9 pixels is smaller than one block of 4 x 4"):
        count_photo(blotches(0, height=3, width=9), AbGrid(), stride=4)


def assert_same(one, other):
    for name in ("counts", "milli_sums", "photos_per_cell"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.n_photos, one.broken) == (other.n_photos, other.broken)


def test_any_number_of_threads_counts_the_same():
    photos = [blotches(seed) for seed in range(100)]
    photos[70] = ValueError("cut short")
    results = [
        count_colors(ListPhotos(photos), PriorSettings(jobs=jobs), progress=False)
        for jobs in (1, 3)
    ]
    assert_same(*results)
    assert results[0].n_photos == 99
    by_hand = sum(count_photo(p, AbGrid()).counts for p in photos if isinstance(p, np.ndarray))
    np.testing.assert_array_equal(results[0].counts, by_hand)


def test_the_number_of_torch_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    count_colors(ListPhotos([blotches(0)]), PriorSettings(jobs=1), progress=False)
    assert torch.get_num_threads() == before


def test_every_state_that_is_saved_leads_to_the_same_result(monkeypatch):
    monkeypatch.setattr(counting, "_PHOTOS_A_TASK", 2)
    monkeypatch.setattr(counting, "_PHOTOS_A_SAVE", 6)
    photos = [blotches(seed) for seed in range(20)]
    saved = []
    whole = count_colors(ListPhotos(photos), PriorSettings(), save=saved.append, progress=False)
    assert [state.n_done for state in saved] == [6, 12, 18, 20]
    for state in saved:
        again = ListPhotos(photos)
        result = count_colors(again, PriorSettings(jobs=2), start=state, progress=False)
        assert_same(result, whole)
        assert sorted(again.reads) == list(range(state.n_done, 20))


def test_an_interrupt_saves_what_was_counted(monkeypatch):
    monkeypatch.setattr(counting, "_PHOTOS_A_TASK", 2)
    photos = [blotches(seed) for seed in range(20)]
    photos[9] = KeyboardInterrupt()
    saved = []
    with pytest.raises(KeyboardInterrupt):
        count_colors(ListPhotos(photos), PriorSettings(), save=saved.append, progress=False)
    assert [state.n_done for state in saved] == [8]


def test_broken_photos_are_left_out_and_listed(caplog):
    photos = ListPhotos([blotches(0), OSError("bad disk"), blotches(1), blotches(2, 3, 3)])
    with caplog.at_level(logging.WARNING):
        counted = count_colors(photos, PriorSettings(), progress=False)
    assert counted.n_photos == 2
    assert [index for index, _ in counted.broken] == [1, 3]
    assert "left out photo #1: OSError: bad disk" in caplog.text
    assert "left out photo #3: ValueError: a photo of 3 x 3" in caplog.text
    assert "2 of 4 photos were left out" in caplog.text


def test_a_fault_of_the_program_is_not_taken_for_a_broken_photo():
    with pytest.raises(TypeError, match="unexpected"):
        count_colors(ListPhotos([TypeError("unexpected")]), PriorSettings(), progress=False)


def test_nothing_to_count_is_refused():
    with pytest.raises(ValueError, match=r"none of the 1 photos could be counted.*cut short"):
        count_colors(ListPhotos([ValueError("cut short")]), PriorSettings(), progress=False)
    with pytest.raises(ValueError, match="there are no photos to count"):
        count_colors(ListPhotos([]), PriorSettings(), progress=False)


def test_a_state_is_read_back_for_the_same_job_alone(tmp_path, caplog):
    counted = count_photo(blotches(0), AbGrid()) + ColorCounts.broken_photo(324, 1, OSError("gone"))
    path = tmp_path / "priors.h5.part"
    write_state(path, {"data": "a"}, counted)
    assert_same(read_state(path, {"data": "a"}), counted)
    assert read_state(path, {"data": "b"}) is None
    assert "is of other photos or settings" in caplog.text
    path.write_bytes(path.read_bytes()[:-50])
    assert read_state(path, {"data": "a"}) is None
    assert "cannot be read" in caplog.text
    assert read_state(tmp_path / "other.part", {"data": "a"}) is None
