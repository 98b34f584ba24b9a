import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import cv2
import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2lab

from zcolor.files import read_image
from zcolor.icc import srgb_profile
from zcolor.training import pack
from zcolor.training.journal import Journal, Record
from zcolor.training.pack import PackReport, pack_photos, split_of
from zcolor.training.packfile import PackedPhoto, PackedPhotos, write_pack
from zcolor.training.prepare import CHROMA_SIDE, mean_chroma
from zcolor.training.settings import PackSettings

ROOT = Path(__file__).resolve().parent.parent.parent
ALL_TRAIN = PackSettings(fractions=(1, 0, 0))
LOSSLESS = PackSettings(quality=100, fractions=(1, 0, 0))


def colorful(seed, height=40, width=50):
    """A smooth picture of strong colours, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(pixels, file_format="JPEG", **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def make_folder(folder, count, **size):
    """`count` photos in the folders even/ and odd/."""
    for index in range(count):
        path = folder / ("odd" if index % 2 else "even") / f"{index:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(colorful(index, **size), quality=90))
    return folder


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def run(sources, out, settings=ALL_TRAIN, **options):
    sources = sources if isinstance(sources, list) else [sources]
    return pack_photos(sources, out, settings, progress=False, **options)


def content(path):
    """Every dataset of a pack."""
    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in file}


def assert_same_content(path, other):
    ours, theirs = content(path), content(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def stored(path):
    photos = PackedPhotos(path)
    return [photos.read_bytes(i).tobytes() for i in range(len(photos))]


# ---- sources, labels, report ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip", "list", "glob", "files"])
def test_sources_of_every_kind(tmp_path, kind):
    folder = make_folder(tmp_path / "photos", 6)
    paths = sorted(folder.rglob("*.jpg"))
    names = [str(path.relative_to(folder)) for path in paths]
    lines = "# two folders\n\n" + "\n".join(f"photos/{name}  # a photo" for name in names)
    (tmp_path / "list.txt").write_text(lines)
    source = {
        "folder": folder,
        "zip": make_zip(tmp_path / "photos.zip", {n: (folder / n).read_bytes() for n in names}),
        "list": tmp_path / "list.txt",
        "glob": str(folder / "*" / "*.jpg"),
        "files": [str(path) for path in paths],
    }[kind]
    report = run(source, tmp_path / "data.h5")
    assert (report.kept, report.splits) == (6, {"train": 6, "val": 0, "test": 0})
    assert stored(tmp_path / "data.h5") == [path.read_bytes() for path in paths]
    photos = PackedPhotos(tmp_path / "data.h5")
    assert photos.labels == ["even", "odd"]
    assert photos.label.tolist() == [0, 0, 0, 1, 1, 1]
    for written, name in zip(content(tmp_path / "data.h5")["name"], names):
        assert written.decode().endswith(name)


def test_index_says_what_the_bytes_are(tmp_path):
    make_folder(tmp_path / "photos", 4, height=200, width=300)
    settings = PackSettings(short_side=64, jobs=2)
    report = run(tmp_path / "photos", tmp_path / "data.h5", settings, command="pack it")
    data = content(tmp_path / "data.h5")
    assert data["length"].sum() == len(data["bytes"]) == report.n_bytes
    np.testing.assert_array_equal(data["offset"], np.cumsum(data["length"]) - data["length"])
    for index, photo in enumerate(stored(tmp_path / "data.h5")):
        shape = (data["height"][index], data["width"][index])
        assert cv2.imdecode(np.frombuffer(photo, np.uint8), 1).shape[:2] == shape == (64, 96)
    sources = [p.read_bytes() for p in sorted((tmp_path / "photos").rglob("*.jpg"))]
    hashes = [hashlib.sha256(source).digest()[:16] for source in sources]
    assert [row.tobytes() for row in data["hash"]] == hashes
    with h5py.File(tmp_path / "data.h5") as file:
        assert file.attrs["zcolor_pack"] == 1
        assert file.attrs["command"] == "pack it"
        written = json.loads(file.attrs["settings"])
    assert written["short_side"] == 64
    assert "jobs" not in written


def test_every_reason_to_drop(tmp_path):
    folder = make_folder(tmp_path / "photos", 3)
    good = (folder / "even" / "000.jpg").read_bytes()
    grey = np.full((40, 40, 3), 120, np.uint8)
    frames = [Image.fromarray(colorful(seed)) for seed in (50, 51)]
    files = {
        "bad/cut.jpg": encoded(colorful(60, 200, 200))[:-2000],
        "bad/empty.png": b"",
        "bad/film.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "bad/huge.png": encoded(np.zeros((300, 300, 3), np.uint8), "PNG"),
        "bad/text.jpg": b"this is no picture",
        "copy/within.jpg": good,
        "grey/grey.png": encoded(grey, "PNG"),
        "grey/mode_l.png": encoded(grey[..., 0], "PNG"),
        "grey/nearly.png": encoded(grey + np.array([2, 0, 0], np.uint8), "PNG"),
        "small/flat.png": encoded(colorful(61, 31, 90), "PNG"),
        "small/narrow.png": encoded(colorful(62, 90, 31), "PNG"),
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    archive = make_zip(tmp_path / "more.zip", {"x/across.jpg": good, "x/ok.jpg": b"\xff\xd8 cut"})
    report = run([folder, archive], tmp_path / "data.h5", PackSettings(max_pixels=200 * 200))

    def names(photos):
        return [Path(photo.name.split("!")[-1]).name for photo in photos]

    broken = ["cut.jpg", "empty.png", "film.webp", "huge.png", "text.jpg", "ok.jpg"]
    assert report.kept == 3
    assert names(report.broken) == broken
    assert names(report.near_grey) == ["grey.png", "mode_l.png", "nearly.png"]
    assert names(report.tiny) == ["flat.png", "narrow.png"]
    # within.jpg comes before even/000.jpg: the first one that is found is kept.
    assert names(report.duplicates) == ["000.jpg", "across.jpg"]
    assert all("same as" in d.reason and "within.jpg" in d.reason for d in report.duplicates)
    reasons = [photo.reason for photo in report.broken]
    words = ["truncated", "empty", "animated", "90000 pixels", "no image", "no image"]
    for reason, word in zip(reasons, words, strict=True):
        assert word in reason
    assert report.tiny[0].reason == "90 x 31 pixels, below a side of 32"
    assert report.near_grey[0].reason == "mean chroma 0.00, below 4"
    text = (tmp_path / "data.report.txt").read_text()
    assert text == report.text()
    assert "dropped: 3 near-grey, 2 tiny, 6 broken, 2 duplicates" in text
    for photo in (*report.broken, *report.near_grey, *report.tiny, *report.duplicates):
        assert f"  {photo.name}: {photo.reason}\n" in text


def test_damaged_and_encrypted_archives_are_counted_as_broken(tmp_path):
    members = {f"{i}.png": encoded(colorful(i), "PNG") for i in range(3)}
    path = make_zip(tmp_path / "photos.zip", members)
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT")
    data[start + 20] ^= 0xFF  # the first member no longer has its checksum
    with zipfile.ZipFile(path) as archive:
        second = archive.getinfo("1.png").header_offset
    data[second + 6] |= 1  # the second one says in both places that it is encrypted
    central = data.rindex(b"1.png") - 46
    data[central + 8] |= 1
    path.write_bytes(data)
    report = run(path, tmp_path / "data.h5")
    assert report.kept == 1
    assert ["CRC" in report.broken[0].reason, "encrypted" in report.broken[1].reason] == [1, 1]


def test_an_equal_photo_that_is_dropped_is_no_duplicate(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(np.full((40, 40), 9, np.uint8), "PNG"))
    (tmp_path / "c.jpg").write_bytes(encoded(colorful(0)))
    report = run(tmp_path, tmp_path / "data.h5")
    assert (report.kept, len(report.near_grey), len(report.duplicates)) == (1, 2, 0)


def test_nothing_left_is_an_error_with_a_report(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(np.full((40, 40), 9, np.uint8), "PNG"))
    with pytest.raises(
        ValueError, match=r"no photograph is left.*min_chroma and min_side\n.*\n.*1 near-grey"
    ):
        run(tmp_path / "a.png", tmp_path / "data.h5")
    assert "a.png: mean chroma 0.00" in (tmp_path / "data.report.txt").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "data.report.txt"]
    # The same photo is welcome where grey is: nothing of the first attempt is in the way.
    assert run(tmp_path, tmp_path / "data.h5", PackSettings(min_chroma=0)).kept == 1


def test_refusals(tmp_path):
    make_folder(tmp_path / "photos", 2)
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist and matches nothing"):
        run(tmp_path / "nowhere", tmp_path / "data.h5")
    with pytest.raises(FileNotFoundError, match=r"\*\.jpg does not exist"):
        run(tmp_path / "none" / "*.jpg", tmp_path / "data.h5")
    with pytest.raises(ValueError, match=r"no photographs in .*none"):
        run(tmp_path / "none", tmp_path / "data.h5")
    with pytest.raises(ValueError, match=r"must end in \.h5 or \.hdf5, got .*data\.zip"):
        run(tmp_path / "photos", tmp_path / "data.zip")
    assert not list(tmp_path.glob("data*"))


def test_an_existing_pack_is_replaced_only_on_demand(tmp_path):
    make_folder(tmp_path / "photos", 2)
    out = tmp_path / "deep" / "data.h5"
    run(tmp_path / "photos", out)
    before = out.read_bytes()
    make_folder(tmp_path / "photos", 4)
    with pytest.raises(FileExistsError, match=r"data\.h5 exists; choose another name"):
        run(tmp_path / "photos", out)
    assert out.read_bytes() == before
    assert run(tmp_path / "photos", out, overwrite=True).kept == 4
    assert len(PackedPhotos(out)) == 4
    assert sorted(p.name for p in out.parent.iterdir()) == ["data.h5", "data.report.txt"]


def test_notes_of_the_user_are_not_taken_for_a_report(tmp_path):
    make_folder(tmp_path / "photos", 2)
    notes = tmp_path / "data.report.txt"
    notes.write_text("my own notes: 2 photos\n")
    with pytest.raises(
        FileExistsError, match=r"data\.report\.txt exists and is no report of a pack"
    ):
        run(tmp_path / "photos", tmp_path / "data.h5")
    assert notes.read_text() == "my own notes: 2 photos\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.report.txt", "photos"]
    assert run(tmp_path / "photos", tmp_path / "data.h5", overwrite=True).kept == 2
    # The pack was deleted, its report was not.
    (tmp_path / "data.h5").unlink()
    assert run(tmp_path / "photos", tmp_path / "data.h5").kept == 2


def test_a_pack_that_another_process_has_just_made_is_not_replaced(tmp_path, monkeypatch):
    make_folder(tmp_path / "photos", 2)

    @contextmanager
    def late(*_):
        (tmp_path / "data.h5").write_bytes(b"theirs")
        yield

    monkeypatch.setattr(pack, "locked", late)
    with pytest.raises(FileExistsError, match=r"data\.h5 exists"):
        run(tmp_path / "photos", tmp_path / "data.h5")
    assert (tmp_path / "data.h5").read_bytes() == b"theirs"


# ---- the pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        encoded(colorful(1), "JPEG", quality=80),
        encoded(colorful(1), "JPEG", quality=80, icc_profile=srgb_profile()),
        encoded(colorful(1), "WEBP"),
        encoded(colorful(1), "PNG"),
        encoded(colorful(1, 128, 300), "PNG"),
    ],
    ids=["jpeg", "jpeg-srgb", "webp", "png", "png-128"],
)
def test_a_plain_small_photo_is_stored_as_it_is(tmp_path, data):
    (tmp_path / "photo.jpg").write_bytes(data)
    run(tmp_path / "photo.jpg", tmp_path / "data.h5")
    assert stored(tmp_path / "data.h5") == [data]
    np.testing.assert_array_equal(PackedPhotos(tmp_path / "data.h5").read(0), read_rgb(data))


def read_rgb(data):
    return read_image(data).pixels[:, :, :3]


def swapped_profile():
    """A profile whose red and blue primaries are exchanged."""
    profile = srgb_profile().replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ")
    return profile.replace(b"????", b"bXYZ")


def rotated_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


OTHERS = {
    "alpha": encoded(np.dstack([colorful(1), np.full((40, 50), 200, np.uint8)]), "PNG"),
    "palette": encoded(Image.fromarray(colorful(1)).quantize(64), "PNG"),
    "transparent-color": encoded(colorful(1), "PNG", transparency=(1, 2, 3)),
    "cmyk": encoded(Image.fromarray(colorful(1)).convert("CMYK"), "JPEG"),
    "profile": encoded(colorful(1), "PNG", icc_profile=swapped_profile()),
    "orientation": encoded(colorful(1), "PNG", exif=rotated_exif()),
    "bmp": encoded(colorful(1), "BMP"),
    "tiff": encoded(colorful(1), "TIFF"),
    "16-bit": cv2.imencode(".png", colorful(1)[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
    "grey": encoded(colorful(1)[..., 0], "PNG"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_photo_is_encoded_anew_as_plain_rgb(tmp_path, kind):
    (tmp_path / "photo.png").write_bytes(OTHERS[kind])
    truth = read_image(OTHERS[kind]).pixels
    if truth.dtype == np.uint16:
        truth = (truth // 257).astype(np.uint8)
    truth = truth[..., :3] if truth.shape[2] >= 3 else np.repeat(truth[..., :1], 3, axis=2)
    settings = PackSettings(quality=100, min_chroma=0)
    run(tmp_path / "photo.png", tmp_path / "lossless.h5", settings)
    np.testing.assert_array_equal(PackedPhotos(tmp_path / "lossless.h5").read(0), truth)
    run(tmp_path / "photo.png", tmp_path / "lossy.h5", PackSettings(min_chroma=0))
    for name, file_format in (("lossless", "PNG"), ("lossy", "JPEG")):
        (data,) = stored(tmp_path / f"{name}.h5")
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode) == (file_format, "RGB")
            assert not image.getexif()
            assert data != OTHERS[kind]
            if file_format == "JPEG":
                # 4:4:4: no channel is stored at another resolution.
                assert {layer[1:3] for layer in image.layer} == {(1, 1)}
    lossy = PackedPhotos(tmp_path / "lossy.h5").read(0)
    # A dithered palette is the hardest of them for JPEG: off by 2.7.
    assert np.abs(lossy.astype(int) - truth).mean() < 4


def test_the_profile_and_the_orientation_are_applied(tmp_path):
    (tmp_path / "a.png").write_bytes(OTHERS["orientation"])
    (tmp_path / "b.png").write_bytes(OTHERS["profile"])
    run(tmp_path, tmp_path / "data.h5", LOSSLESS)
    photos = PackedPhotos(tmp_path / "data.h5")
    # Orientation 6: the stored picture is to be turned a quarter clockwise.
    np.testing.assert_array_equal(photos.read(0), np.rot90(colorful(1), -1))
    assert content(tmp_path / "data.h5")["height"].tolist() == [50, 40]
    plain, turned = colorful(1).astype(float).mean((0, 1)), photos.read(1).mean((0, 1))
    assert np.sign(plain[0] - plain[2]) == -np.sign(turned[0] - turned[2])


def test_shrinking_averages_areas(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    rgb[..., 2] //= 8  # noise alone averages to grey
    (tmp_path / "noise.png").write_bytes(encoded(rgb, "PNG"))
    settings = PackSettings(short_side=32, quality=100)
    run(tmp_path / "noise.png", tmp_path / "data.h5", settings)
    shrunk = PackedPhotos(tmp_path / "data.h5").read(0)
    assert shrunk.shape == (32, 48, 3)
    blocks = rgb.reshape(32, 4, 48, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - blocks).max() <= 0.5


@pytest.mark.parametrize(
    ("shape", "shrunk"), [((301, 200), (193, 128)), ((200, 9000), (128, 5760))]
)
def test_the_short_side_is_what_was_asked_for(tmp_path, shape, shrunk):
    (tmp_path / "photo.png").write_bytes(encoded(colorful(3, *shape), "PNG"))
    run(tmp_path / "photo.png", tmp_path / "data.h5")
    assert PackedPhotos(tmp_path / "data.h5").read(0).shape == (*shrunk, 3)


def test_a_large_jpeg_is_decoded_smaller_and_never_stored_as_it_is(tmp_path):
    # Halving gives the short side itself, so that nothing is left to shrink.
    large = colorful(1, 256, 384)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.jpg").write_bytes(encoded(large, quality=95))
    pack_photos([tmp_path / "in"], tmp_path / "p.h5", LOSSLESS, progress=False)
    stored = PackedPhotos(tmp_path / "p.h5").read(0)
    mean = cv2.resize(large, (192, 128), interpolation=cv2.INTER_AREA)
    assert stored.shape == mean.shape
    assert np.abs(stored.astype(int) - mean).mean() < 3


def test_mean_chroma_is_that_of_scikit_image():
    rgb = colorful(5, CHROMA_SIDE, 80)
    lab = rgb2lab(rgb)
    assert mean_chroma(rgb) == pytest.approx(np.hypot(lab[..., 1], lab[..., 2]).mean(), abs=0.02)
    # A larger photo is measured on a small copy, where its fine noise is gone.
    noise = np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8)
    lab = rgb2lab(noise)
    assert np.hypot(lab[..., 1], lab[..., 2]).mean() > 30
    assert mean_chroma(noise) < 10


# ---- the split -----------------------------------------------------------------------------


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (0.5, 0.0, 0.5)])
def test_shares_of_a_large_set(fractions):
    hashes = [hashlib.sha256(b"%d" % i).digest()[:16] for i in range(20_000)]
    shares = np.bincount([split_of(h, fractions) for h in hashes], minlength=3) / len(hashes)
    # Four standard deviations of a share of 20,000 draws.
    assert np.abs(shares - fractions).max() < 4 * 0.5 / np.sqrt(20_000)
    assert shares[np.array(fractions) == 0].sum() == 0


@hypothesis.given(st.binary(min_size=16, max_size=16), st.lists(st.integers(0, 9), min_size=3))
def test_a_photo_goes_to_a_split_that_has_a_share(digest, weights):
    weights = weights[:3]
    hypothesis.assume(sum(weights))
    fractions = tuple(weight / sum(weights) for weight in weights)
    split = split_of(digest, fractions)
    assert fractions[split] > 0
    place = int.from_bytes(digest[:8], "big") / 2**64
    assert sum(fractions[:split]) - 1e-9 <= place <= sum(fractions[: split + 1]) + 1e-9
    # What follows the first 64 bits has no say.
    assert split_of(digest[:8] + bytes(8), fractions) == split


@pytest.mark.parametrize("digest", [bytes(16), b"\xff" * 16, b"\x80" + bytes(15)])
@pytest.mark.parametrize("only", [0, 1, 2])
def test_a_share_of_one_takes_everything(digest, only):
    fractions = tuple(float(i == only) for i in range(3))
    assert split_of(digest, fractions) == only


def test_a_photo_keeps_its_split_whatever_else_is_packed(tmp_path):
    make_folder(tmp_path / "photos", 30)
    settings = PackSettings(fractions=(0.4, 0.3, 0.3))
    report = run(tmp_path / "photos", tmp_path / "all.h5", settings)
    run([tmp_path / "photos" / "odd"], tmp_path / "some.h5", settings)
    splits = {}
    for name in ("all", "some"):
        data = content(tmp_path / f"{name}.h5")
        splits[name] = {h.tobytes(): int(s) for h, s in zip(data["hash"], data["split"])}
    assert splits["some"].items() <= splits["all"].items()
    counts = np.bincount(list(splits["all"].values()), minlength=3)
    assert list(report.splits.values()) == counts.tolist()
    assert counts.min() > 0


# ---- threads, interruptions, memory --------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """Photos kept as they are, shrunk ones, duplicates and broken ones, in two sources."""
    folder = make_folder(tmp_path / "photos", 20)
    make_folder(tmp_path / "photos" / "large", 6, height=150, width=170)
    (folder / "even" / "broken.jpg").write_bytes(b"broken")
    members = {f"z/{i}.jpg": encoded(colorful(i % 4)) for i in range(100, 112)}
    return [folder, make_zip(tmp_path / "more.zip", members)]


def test_content_does_not_depend_on_the_number_of_jobs(tmp_path, mixed):
    reports = {}
    for jobs in (1, 4):
        reports[jobs] = run(mixed, tmp_path / f"{jobs}.h5", PackSettings(jobs=jobs))
    assert_same_content(tmp_path / "1.h5", tmp_path / "4.h5")
    assert reports[1].duplicates == reports[4].duplicates
    assert len(reports[1].duplicates) == 8


def fail_at(monkeypatch, number, error):
    """Let the preparation of photo `number` fail; give the names of those prepared."""
    real, names = pack.prepare, []

    def prepare(entry, settings):
        names.append(entry.name)
        if len(names) == number:
            raise error
        return real(entry, settings)

    monkeypatch.setattr(pack, "prepare", prepare)
    return names


@pytest.mark.parametrize("number", [1, 2, 14, 30])
def test_interrupted_and_continued_equals_uninterrupted(
    tmp_path, mixed, monkeypatch, caplog, number
):
    whole = run(mixed, tmp_path / "whole.h5", PackSettings(jobs=1))
    with monkeypatch.context() as patch:
        fail_at(patch, number, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            run(mixed, tmp_path / "data.h5", PackSettings(jobs=1))
    assert f"interrupted: {number - 1} of 39 photos are done" in caplog.text
    assert "same sources with the same settings to continue" in caplog.text
    assert not (tmp_path / "data.h5").exists()
    assert (tmp_path / "data.h5.part").exists()
    with monkeypatch.context() as patch:
        names = fail_at(patch, -1, None)
        # The number of threads may change on the way.
        report = run(mixed, tmp_path / "data.h5", PackSettings(jobs=3))
    assert len(names) == 39 - (number - 1)
    assert_same_content(tmp_path / "data.h5", tmp_path / "whole.h5")
    assert (report.duplicates, report.broken) == (whole.duplicates, whole.broken)
    assert not list(tmp_path.glob("data.h5.*"))


def test_an_interruption_while_the_pack_is_written_loses_nothing(tmp_path, mixed, monkeypatch):
    run(mixed, tmp_path / "whole.h5")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt_at_pack(os.replace))
        with pytest.raises(KeyboardInterrupt):
            run(mixed, tmp_path / "data.h5")
    assert sorted(p.name for p in tmp_path.glob("data*")) == ["data.h5.part", "data.report.txt"]
    with monkeypatch.context() as patch:
        names = fail_at(patch, -1, None)
        run(mixed, tmp_path / "data.h5")
    assert names == []
    assert_same_content(tmp_path / "data.h5", tmp_path / "whole.h5")


def interrupt_at_pack(replace):
    def interrupted(source, target):
        if str(target).endswith(".h5"):
            raise KeyboardInterrupt
        replace(source, target)

    return interrupted


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_process_leaves_what_the_next_one_continues(tmp_path, mixed, monkeypatch):
    code = (
        "import os, signal, sys\n"
        "from zcolor.training.settings import PackSettings\n"
        "from zcolor.training import journal, pack\n"
        "real = journal.Journal.add\n"
        "def add(self, record, data=b''):\n"
        "    if len(self.records) == 23:\n"
        '        self._file.write(b\'{"verdict":"kept"\'), self._file.flush()\n'
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(self, record, data)\n"
        "journal.Journal.add = add\n"
        "pack.pack_photos(sys.argv[2:], sys.argv[1], PackSettings(jobs=2), progress=False)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "data.h5"), *map(str, mixed)]
    killed = subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    names = fail_at(monkeypatch, -1, None)
    run(mixed, tmp_path / "data.h5", PackSettings())
    assert len(names) == 39 - 23
    run(mixed, tmp_path / "whole.h5", PackSettings())
    assert_same_content(tmp_path / "data.h5", tmp_path / "whole.h5")


def test_a_part_of_other_work_is_refused(tmp_path, mixed, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(patch, 5, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            run(mixed, tmp_path / "data.h5")
    part = (tmp_path / "data.h5.part").read_bytes()
    match = r"data\.h5\.part was begun with other photographs or settings.*or delete it"
    with pytest.raises(ValueError, match=match):
        run(mixed, tmp_path / "data.h5", PackSettings(short_side=64))
    with pytest.raises(ValueError, match=match):
        run(mixed[:1], tmp_path / "data.h5")
    with (mixed[0] / "even" / "broken.jpg").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=match):
        run(mixed, tmp_path / "data.h5")
    assert (tmp_path / "data.h5.part").read_bytes() == part


def test_few_photos_are_in_flight(monkeypatch):
    limit = 2 * pack._IN_FLIGHT
    lock, full, beyond = threading.Lock(), threading.Event(), threading.Event()
    started = []

    def prepare(entry, settings):
        with lock:
            started.append(entry)
            if len(started) == limit:
                full.set()
            if len(started) > limit:
                beyond.set()
        if entry == 0:
            # The first photo is slow: all that may go ahead of it does, and no more.
            assert full.wait(30)
            assert not beyond.wait(0.2)
        return Record("tiny", str(entry)), b""

    monkeypatch.setattr(pack, "prepare", prepare)
    order = [int(r.detail) for r, _ in pack._prepare_all(range(10 * limit), PackSettings(jobs=2))]
    assert order == list(range(10 * limit))


def test_memory_does_not_grow_with_the_photos(tmp_path):
    members = {f"{i}.jpg": encoded(colorful(i, 600, 600), quality=80) for i in range(60)}
    source = make_zip(tmp_path / "photos.zip", members)
    run(source, tmp_path / "warm.h5")
    tracemalloc.start()
    try:
        run(source, tmp_path / "data.h5", PackSettings(jobs=2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All of them decoded take 65 MB, two of them with their copies about 6.
    assert peak < 20e6


# ---- the journal and the writer ------------------------------------------------------------


def filled_journal(path):
    journal = Journal(path, "key")
    for i in range(3):
        data = bytes([i]) * (10 + i)
        # No zlib here: the CRC-32 of these bytes, from another source.
        crc = int.from_bytes(np.uint32(crc32(data)).tobytes(), sys.byteorder)
        journal.add(Record("kept", "", f"{i:032x}", 4, 5, len(data), crc), data)
        journal.add(Record("broken", "because"))
    journal.close()
    return journal.records


def crc32(data):
    """CRC-32 bit by bit (ISO 3309)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_a_journal_cut_anywhere_keeps_its_whole_records(tmp_path):
    path = tmp_path / "x.part"
    records = filled_journal(path)
    whole = path.read_bytes()
    counts = []
    for length in [*range(0, len(whole), 3), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        journal = Journal(path, "key")
        assert journal.records == records[: len(journal.records)]
        counts.append(len(journal.records))
        for record in records[len(journal.records) :]:
            index = records.index(record)
            data = bytes([index // 2]) * record.size
            journal.add(record, data)
        assert list(journal.payloads()) == [b"\0" * 10, b"\1" * 11, b"\2" * 12]
        journal.close()
        assert path.read_bytes() == whole
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (0, 5, 6)


def test_a_journal_with_damaged_bytes_goes_on_before_them(tmp_path):
    path = tmp_path / "x.part"
    records = filled_journal(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\1" * 11) + 3] = 0
    path.write_bytes(data)
    journal = Journal(path, "key")
    journal.close()
    assert journal.records == records[:2]
    # A power cut may leave zeros where the end was.
    path.write_bytes(path.read_bytes() + bytes(100) + b"\n")
    journal = Journal(path, "key")
    journal.close()
    assert journal.records == records[:2]


def test_a_foreign_file_is_no_journal(tmp_path):
    path = tmp_path / "x.part"
    path.write_bytes(b"somebody's notes\n")
    with pytest.raises(ValueError, match=r"x\.part was begun with other photographs"):
        Journal(path, "key")
    assert path.read_bytes() == b"somebody's notes\n"


def test_write_pack_checks_the_payloads_and_leaves_nothing(tmp_path):
    photo = PackedPhoto(4, 1, 1, 0, "label", bytes(16), "name")
    for payload in (b"123", b"12345"):
        with pytest.raises(ValueError, match=rf"have {len(payload)} bytes.*sum to 4"):
            write_pack(tmp_path / "data.h5", [photo], [payload])
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf8_are_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_pack(tmp_path / "data.h5", [PackedPhoto(1, 1, 1, 0, name, bytes(16), name)], [b"x"])
    assert content(tmp_path / "data.h5")["name"].tolist() == [rb"caf\udce9.jpg"]


def test_summary_counts():
    report = PackReport(Path("a.h5"), 3, {"train": 2, "val": 1, "test": 0}, 1 << 19)
    assert report.summary().startswith("a.h5: 3 photos, 0.5 MiB (train 2, val 1, test 0)\n")
    assert report.text() == report.summary() + "\n"
