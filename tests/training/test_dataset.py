import hashlib
import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from zcolor.training import cache
from zcolor.training.assemble import open_val
from zcolor.training.cache import CachedPhotos
from zcolor.training.dataset import (
    JoinedPhotos,
    LoosePhotos,
    PackedPhotos,
    content_hashes,
    name_of,
    open_photos,
    part_hashes,
    read_named,
)
from zcolor.training.labelled import LabelledPhotos
from zcolor.training.pack import pack_photos
from zcolor.training.settings import PackSettings
from zcolor.training.sources import (
    PhotoEntry,
    combined_hash,
    content_hash,
    find_photos,
    to_rgb8,
)


def colorful(seed, height=40, width=50):
    """A smooth picture of strong colours, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(pixels, file_format="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Numbered:
    """Photographs of differing sizes whose pixels are their number."""

    data_hash = stamp = "numbered"

    def __init__(self, count, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def read(self, index):
        number = index + self.first
        shape = (1 + number % 3, 1 + number % 5, 3)
        rgb = np.full(shape, number % 251, np.uint8)
        rgb[..., 2] = number // 251
        return rgb


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty photographs in three folders."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(60):
        write(root / f"label{i % 3}" / f"{i:02d}.png", encoded(colorful(i, 33, 32 + i)))
    return root


@pytest.fixture(scope="module")
def packed(folder):
    out = folder.parent / "data.h5"
    settings = PackSettings(fractions=(0.5, 0.3, 0.2))
    pack_photos([folder], out, settings, progress=False, overwrite=True)
    return out


# ---- finding -------------------------------------------------------------------------------


def names(entries):
    return [entry.name.rsplit("/", 1)[-1] for entry in entries]


def test_folders_are_searched_in_order_for_photos_alone(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a/3.webp", "a/notes.md", "a/.hidden.jpg", "4.tif"):
        write(tmp_path / name, b"x")
    assert names(find_photos([tmp_path])) == ["4.tif", "3.webp", "1.png", "2.JPG"]
    # Sources keep their order, and what is named twice is there once.
    assert names(find_photos([tmp_path / "b", tmp_path])) == ["1.png", "2.JPG", "4.tif", "3.webp"]
    assert find_photos([tmp_path / "a" / "notes.md"]) == [PhotoEntry(tmp_path / "a" / "notes.md")]


def test_lists_are_relative_to_themselves(tmp_path):
    for name in ("deep/1.png", "deep/2.png", "3.png"):
        write(tmp_path / name, b"x")
    text = f"# a comment\n../deep/2.png # why\n\n  ../deep/1.png\n{tmp_path / '3.png'}\n../deep\n"
    write(tmp_path / "lists" / "list.txt", text.encode())
    assert names(find_photos([tmp_path / "lists" / "list.txt"])) == ["2.png", "1.png", "3.png"]
    # Editors of Windows begin a file with a mark.
    write(tmp_path / "marked.txt", "3.png\ndeep/1.png\n".encode("utf-8-sig"))
    assert names(find_photos([tmp_path / "marked.txt"])) == ["3.png", "1.png"]
    write(tmp_path / "list.txt", b"3.png\ngone.png\n")
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        find_photos([tmp_path / "list.txt"])


def test_globs_take_photos_archives_and_folders(tmp_path):
    write(tmp_path / "in" / "1.png", b"x")
    write(tmp_path / "in" / "list.txt", b"gone.png")
    write(tmp_path / "in" / "readme.md", b"x")
    write(tmp_path / "in" / "sub" / "2.png", b"x")
    with zipfile.ZipFile(tmp_path / "in" / "z.zip", "w") as archive:
        archive.writestr("3.png", b"x")
    assert names(find_photos([tmp_path / "in" / "*"])) == ["1.png", "2.png", "z.zip!3.png"]
    assert names(find_photos([tmp_path / "**" / "2.png"])) == ["2.png"]
    # A name that exists is no pattern, whatever signs are in it.
    write(tmp_path / "[1].png", b"x")
    assert names(find_photos([tmp_path / "[1].png"])) == ["[1].png"]


def test_sources_that_do_not_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone does not exist and matches nothing; give"):
        find_photos([tmp_path / "gone"])
    with pytest.raises(ValueError, match=r"no photographs in .*; known endings are \.bmp \.jpeg"):
        find_photos([tmp_path])
    with pytest.raises(ValueError, match="no photographs were named"):
        find_photos([])
    write(tmp_path / "bad.zip", b"PK and no more")
    with pytest.raises(ValueError, match=r"bad\.zip is no zip archive or was cut short"):
        find_photos([tmp_path / "bad.zip"])


def test_labels_and_names(monkeypatch, tmp_path):
    assert PhotoEntry(Path("cats/1.jpg")).label == "cats"
    assert PhotoEntry(Path("all.zip"), "x/dogs/1.jpg").label == "dogs"
    assert PhotoEntry(Path("all.zip"), "1.jpg").label == "all"
    assert PhotoEntry(Path("all.zip"), "x/1.jpg").name == "all.zip!x/1.jpg"
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path / "birds")
    assert PhotoEntry(Path("1.jpg")).label == "birds"


def test_an_archive_is_read_by_many_threads_and_anew_when_it_changes(tmp_path):
    path = tmp_path / "all.zip"
    for version in (b"a", b"bb"):
        data = {f"{i}.png": version * (1000 + i) for i in range(50)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in data.items():
                archive.writestr(name, content)
        entries = find_photos([path]) * 10
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(PhotoEntry.read_bytes, entries))
        assert read == [data[entry.member] for entry in entries]


# ---- loose photographs and pixels ----------------------------------------------------------


def test_loose_photos_come_upright_as_rgb8(tmp_path):
    rgb = colorful(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    write(tmp_path / "1-plain.png", encoded(rgb))
    write(tmp_path / "2-turned.png", encoded(rgb, exif=exif))
    write(tmp_path / "3-grey.png", encoded(rgb[..., 0]))
    write(tmp_path / "4-alpha.png", encoded(np.dstack([rgb, rgb[..., 0]])))
    deep = cv2.imencode(".png", rgb[..., ::-1].astype(np.uint16) * 257 + 100)[1].tobytes()
    write(tmp_path / "5-deep.png", deep)
    write(tmp_path / "6-broken.png", b"broken")
    photos = LoosePhotos(find_photos([tmp_path]))
    assert len(photos) == 6
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    for index, expected in enumerate([rgb, np.rot90(rgb, -1), grey, rgb, rgb]):
        read = photos.read(index)
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, expected)
    with pytest.raises(ValueError, match="no image that can be read"):
        photos.read(5)
    hashes = sorted(hashlib.sha256(p.read_bytes()).digest()[:16] for p in tmp_path.iterdir())
    assert photos.data_hash == hashlib.sha256(b"".join(hashes)).hexdigest()


def test_sixteen_bits_are_rounded_to_the_nearest_eight():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    expected = np.rint(levels.astype(float) * 255 / 65535).repeat(3, axis=2)
    np.testing.assert_array_equal(to_rgb8(levels), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_to_rgb8_drops_alpha(channels):
    pixels = np.arange(12 * channels, dtype=np.uint8).reshape(3, 4, channels)
    rgb = to_rgb8(pixels)
    for i in range(3):
        np.testing.assert_array_equal(rgb[..., i], pixels[..., i if channels > 2 else 0])


def test_hashes_do_not_depend_on_the_order():
    hashes = [content_hash(bytes([i])) for i in range(5)]
    assert combined_hash(hashes) == combined_hash(hashes[::-1]) != combined_hash(hashes[1:])
    assert hashes[3] == hashlib.sha256(b"\x03").digest()[:16]


# ---- packs ---------------------------------------------------------------------------------


def test_each_pack_gives_its_val_split_or_all_of_it(packed, folder, tmp_path):
    only = tmp_path / "only.h5"
    pack_photos([folder / "label1"], only, PackSettings(fractions=(1, 0, 0)), progress=False)
    n_val = len(PackedPhotos(packed, "val"))
    assert 0 < n_val < 60
    found = open_photos([packed, only, folder / "label2"], "val or all")
    assert len(found) == n_val + 20 + 20
    assert (
        open_val((), [packed, only]).data_hash
        == open_photos([packed, only], "val or all").data_hash
    )


def test_what_is_trained_on_is_not_validated_on(packed, folder, tmp_path):
    only = tmp_path / "only.h5"
    pack_photos([folder], only, PackSettings(fractions=(1, 0, 0)), progress=False)
    with pytest.raises(ValueError, match=r"only\.h5 has no validation photos.*--val"):
        open_val([only], [tmp_path / "." / "only.h5"])
    assert len(open_val([packed], [packed])) == len(PackedPhotos(packed, "val"))
    assert open_val([only], []) is None


def test_a_photo_that_cannot_be_read_is_named(packed, tmp_path):
    write(tmp_path / "in" / "torn.png", b"\x89PNG torn")
    photos = open_photos([packed, tmp_path / "in"])
    assert np.array_equal(read_named(photos, 0), photos.read(0))
    with pytest.raises(ValueError, match=r"in/torn\.png cannot be read .*; take it out, or make a"):
        read_named(photos, 60)
    assert name_of(photos, 0) == PackedPhotos(packed).names[0]


def test_splits_of_a_pack_are_parts_of_the_whole(packed, folder):
    loose = LoosePhotos(find_photos([folder]))
    whole = PackedPhotos(packed)
    assert len(whole) == 60
    assert whole.data_hash == loose.data_hash
    assert whole.labels == ["label0", "label1", "label2"]
    assert whole.names == [entry.name for entry in loose.entries]
    for i in range(60):
        assert whole.read_bytes(i).tobytes() == loose.entries[i].read_bytes()
        np.testing.assert_array_equal(whole.read(i), loose.read(i))
        assert whole.labels[whole.label[i]] == loose.entries[i].label
    with h5py.File(packed) as file:
        splits = file["split"][:]
    for number, split in enumerate(("train", "val", "test")):
        part = PackedPhotos(packed, split)
        members = np.flatnonzero(splits == number)
        assert len(part) == len(members) > 0
        np.testing.assert_array_equal(part.label, whole.label[members])
        assert part.names == [whole.names[member] for member in members]
        for i, member in enumerate(members):
            np.testing.assert_array_equal(part.read(i), whole.read(member))
        hashes = [content_hash(loose.entries[member].read_bytes()) for member in members]
        assert part.data_hash == combined_hash(hashes)


def test_a_pack_is_read_by_many_threads(packed):
    photos = PackedPhotos(packed)
    expected = [photos.read(i) for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        for i, rgb in enumerate(pool.map(photos.read, list(range(60)) * 5)):
            np.testing.assert_array_equal(rgb, expected[i % 60])


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_pack_is_refused(packed, tmp_path, share):
    whole = packed.read_bytes()
    cut = write(tmp_path / "cut.h5", whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.h5 is no HDF5 file or was cut short.*make it"):
        PackedPhotos(cut)


def test_files_that_are_no_packs_are_refused(packed, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no pack at .*gone\.h5; make one"):
        PackedPhotos(tmp_path / "gone.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["bytes"] = np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match=r"other\.h5 is an HDF5 file, but no pack of version 1"):
        PackedPhotos(tmp_path / "other.h5")
    with h5py.File(tmp_path / "newer.h5", "w") as file:
        file.attrs["zcolor_pack"] = 2
    with pytest.raises(ValueError, match=r"newer\.h5 is an HDF5 file, but no pack of version 1"):
        PackedPhotos(tmp_path / "newer.h5")
    with pytest.raises(ValueError, match="split must be train, val, test or all, got 'dev'"):
        PackedPhotos(packed, "dev")


def test_damaged_bytes_are_reported(packed, tmp_path):
    damaged = write(tmp_path / "damaged.h5", packed.read_bytes())
    with h5py.File(damaged, "r+") as file:
        start = int(file["offset"][7])
        file["bytes"][start : start + 20] = np.zeros(20, np.uint8)
    photos = PackedPhotos(damaged)
    with pytest.raises(ValueError, match=r"photo 7 of .*damaged\.h5 cannot be decoded"):
        photos.read(7)
    np.testing.assert_array_equal(photos.read(8), PackedPhotos(packed).read(8))


# ---- joined, cached, opened ----------------------------------------------------------------


def test_joined_photos_follow_each_other():
    joined = JoinedPhotos([Numbered(3), Numbered(0), Numbered(1, first=3), Numbered(5, first=4)])
    assert len(joined) == 9
    for i in range(9):
        np.testing.assert_array_equal(joined.read(i), Numbered(9).read(i))
    for index in (-1, 9):
        with pytest.raises(IndexError, match=f"photo {index} of 9 does not exist"):
            joined.read(index)
    with pytest.raises(ValueError, match="nothing to join"):
        JoinedPhotos([])


@pytest.mark.parametrize("count", [1, 2, 23, 24, 25, 48, 100])
def test_cached_photos_are_the_photos(count, monkeypatch):
    photos = Numbered(count)
    monkeypatch.setattr(cache, "_CHUNK_BYTES", 5 * photos.read(0).size)
    monkeypatch.setattr(cache, "_IN_FLIGHT", 8)  # 24 at a time
    cached = CachedPhotos(photos, jobs=3, progress=False)
    assert (len(cached), cached.data_hash) == (count, "numbered")
    for i in range(count):
        np.testing.assert_array_equal(cached.read(i), photos.read(i))
    assert len(cached._chunks) >= count / 5


def test_more_than_half_of_the_memory_is_not_cached(monkeypatch):
    assert cache._cache_room() > 1 << 27
    photos, read = Numbered(1000), []
    size = photos.read(0).size
    monkeypatch.setattr(cache, "_cache_room", lambda: 10 * size)
    reader = Numbered.read
    monkeypatch.setattr(Numbered, "read", lambda s, i: read.append(i) or reader(s, i))
    with pytest.raises(ValueError, match=r"first \d+ of 1000 photos take .*`zcolor pack`"):
        CachedPhotos(photos, jobs=2, progress=False)
    assert len(read) < 40  # soon, not when all are decoded


def test_cached_photos_keep_no_more_than_the_pixels(packed):
    photos = PackedPhotos(packed)
    cached = CachedPhotos(photos, progress=False)
    held = sum(chunk.nbytes for chunk in cached._chunks)
    assert held == sum(photos.read(i).nbytes for i in range(60))


def test_open_photos_joins_packs_and_files(packed, folder, tmp_path):
    write(tmp_path / "extra.png", encoded(colorful(99)))
    photos = open_photos([tmp_path / "extra.png", packed], "val")
    val = PackedPhotos(packed, "val")
    assert len(photos) == len(val) + 1
    np.testing.assert_array_equal(photos.read(0), val.read(0))
    np.testing.assert_array_equal(photos.read(len(val)), colorful(99))
    assert photos.data_hash != val.data_hash
    assert isinstance(open_photos([packed]), PackedPhotos)
    assert isinstance(open_photos([str(folder)]), LoosePhotos)


def test_open_photos_refuses_nothing_to_read(packed, folder, tmp_path):
    out = tmp_path / "train.h5"
    pack_photos([folder], out, PackSettings(fractions=(1, 0, 0)), progress=False)
    with pytest.raises(ValueError, match=r"the test split of .*train\.h5 is empty; pack with"):
        open_photos([out], "test")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_photos([packed, tmp_path / "gone"])
    with pytest.raises(ValueError, match="nothing to join"):
        open_photos([])


def test_the_hash_needs_no_second_reading_and_does_not_change(tmp_path, monkeypatch):
    for seed in range(4):
        write(tmp_path / f"{seed}.png", encoded(colorful(seed)))
    expected = combined_hash(
        [content_hash((tmp_path / f"{seed}.png").read_bytes()) for seed in range(4)]
    )
    assert open_photos([tmp_path]).data_hash == expected
    photos = open_photos([tmp_path])
    for index in (0, 2, 3):
        photos.read(index)
    reads = []
    read_bytes = PhotoEntry.read_bytes
    monkeypatch.setattr(
        PhotoEntry, "read_bytes", lambda entry: reads.append(entry.name) or read_bytes(entry)
    )
    assert photos.data_hash == expected
    assert reads == [str(tmp_path / "1.png")]


def test_a_pack_made_anew_with_other_settings_or_order_is_another_one(tmp_path):
    for seed in range(3):
        write(tmp_path / f"{seed}.png", encoded(colorful(seed, 120, 160)))
    files, everything = sorted(tmp_path.glob("*.png")), PackSettings(fractions=(1, 0, 0))
    made = (
        (files, everything),
        (files, replace(everything, jobs=1)),  # how it is carried out changes nothing
        (files[::-1], everything),
        (files, replace(everything, short_side=32)),
    )
    packs = []
    for number, (sources, settings) in enumerate(made):
        pack_photos(sources, tmp_path / f"{number}.h5", settings, progress=False)
        packs.append(PackedPhotos(tmp_path / f"{number}.h5", "train"))
    assert len({pack.data_hash for pack in packs}) == 1
    for hashes in ([pack.stamp for pack in packs], [part_hashes(pack)[0] for pack in packs]):
        assert hashes[0] == hashes[1]
        assert len(set(hashes)) == 3
    assert {part_hashes(p, packs_as_sets=True) for p in packs} == {(packs[0].data_hash,)}


def test_a_photo_is_known_by_its_content_in_every_kind_of_set(packed, folder, tmp_path):
    loose = LoosePhotos(find_photos([folder]))
    every = content_hashes(loose)
    assert len(every) == len(loose)
    assert content_hashes(PackedPhotos(packed)) == every
    val, train = (PackedPhotos(packed, split) for split in ("val", "train"))
    assert content_hashes(val) & content_hashes(train) == set()
    assert content_hashes(JoinedPhotos([val, train])) < every
    assert content_hashes(Numbered(3)) == set()


def test_photos_of_every_kind_are_named(packed, folder, tmp_path):
    loose = LoosePhotos(find_photos([folder]))
    names = [entry.name for entry in loose.entries]
    assert name_of(JoinedPhotos([loose, loose]), len(loose) + 2) == names[2]
    chosen = LabelledPhotos(loose, np.array([3, 1]), np.array([0, 1]))
    assert name_of(chosen, 1) == names[1]
    assert name_of(PackedPhotos(packed), 5) == PackedPhotos(packed).names[5]
    assert name_of(Numbered(3), 2) == "photo #2"


def test_a_photo_that_cannot_be_read_has_no_part_in_the_hash(tmp_path):
    write(tmp_path / "0.png", encoded(colorful(0)))
    alone = open_photos([tmp_path]).data_hash
    write(tmp_path / "1.png", encoded(colorful(1)))
    photos = open_photos([tmp_path])
    (tmp_path / "1.png").unlink()
    assert photos.data_hash == alone


def test_the_stamp_follows_names_sizes_and_times(packed, tmp_path):
    first = write(tmp_path / "in" / "0.png", encoded(colorful(0)))
    write(tmp_path / "in" / "1.png", encoded(colorful(1)))
    stamps = [open_photos([tmp_path / "in"]).stamp]
    assert open_photos([tmp_path / "in"]).stamp == stamps[0]
    os.utime(first, (1, 1))
    stamps.append(open_photos([tmp_path / "in"]).stamp)
    first.rename(first.with_name("00.png"))
    stamps.append(open_photos([tmp_path / "in"]).stamp)
    stamps += [open_photos([packed]).stamp, open_photos([packed, tmp_path / "in"]).stamp]
    assert len(set(stamps)) == len(stamps)


def test_large_jpeg_files_come_smaller_where_they_will_be_shrunk(tmp_path):
    write(tmp_path / "0.jpg", encoded(colorful(0, 200, 300), "JPEG", quality=95))
    whole, small = (open_photos([tmp_path], least_side=side).read(0) for side in (0, 60))
    assert whole.shape == (200, 300, 3)
    assert small.shape == (67, 100, 3) or small.shape == (100, 150, 3)
    mean = cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - mean).mean() < 2
