"""Writing image files: formats, bits, alpha, metadata, and files whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

import zcolor.files
from zcolor.files import Metadata, encode_image, read_image, write_image
from zcolor.formats import color_format, format_for
from zcolor.icc import srgb_profile
from zcolor.writers import write_encoded


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def metadata() -> Metadata:
    exif = Image.Exif()
    exif[0x013B], exif[0x0112] = "A. Nonymous", 1
    exif[0x8769] = {0x9003: "1931:05:01 10:00:00", 0xA005: {1: "R98"}}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 15.5)}
    return Metadata(exif=exif.tobytes(), dpi=(300.0, 150.0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (33, 21), (700, 600)])
def test_lossless(size: tuple[int, int], file_format: str, channels: int, dtype: str) -> None:
    pixels = noise(*size, channels, dtype=dtype)
    data = encode_image(pixels, file_format, metadata())
    decoded = read_image(data)
    assert decoded.format == file_format
    assert decoded.pixels.dtype == dtype
    assert np.array_equal(decoded.pixels, pixels)
    # Readers that share no code with this package agree.
    if file_format == "TIFF":
        assert np.array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    else:
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(other[..., [2, 1, 0, 3][:channels]], pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_profile_and_metadata_are_written(file_format: str, dtype: str) -> None:
    data = encode_image(noise(16, 16, 3, dtype=dtype), file_format, metadata())
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.info["icc_profile"] == srgb_profile()
    exif = image.getexif()
    assert exif[0x013B] == "A. Nonymous"
    assert exif.get_ifd(0x8769)[0x9003] == "1931:05:01 10:00:00"
    assert exif.get_ifd(0xA005) == {1: "R98"}
    assert exif.get_ifd(0x8825)[2] == (52.0, 30.0, 15.5)
    if file_format in ("PNG", "TIFF", "JPEG"):
        assert tuple(round(float(value)) for value in image.info["dpi"]) == (300, 150)
    # Through another file nothing changes any more.
    once = read_image(data).metadata
    twice = read_image(encode_image(noise(16, 16, 3), file_format, once)).metadata
    assert twice == once


@pytest.mark.parametrize("name", ["José Müll".encode(), "Jose Müller".encode("latin-1")])
@pytest.mark.parametrize(
    ("file_format", "dtype"),
    [("JPEG", "uint8"), ("PNG", "uint8"), ("PNG", "uint16"), ("TIFF", "uint8"), ("WEBP", "uint8"),
     ("AVIF", "uint8")],
)  # fmt: skip
def test_names_that_are_not_ascii_are_kept(file_format: str, dtype: str, name: bytes) -> None:
    """In the first directory and in the second (the owner of the camera), byte by byte."""
    exif = Image.Exif()
    exif[0x013B], exif[0x0112], exif[0x8769] = "A. Nonymous", 6, {0xA430: "A. Nonymous"}
    block = exif.tobytes().replace(b"A. Nonymous", name)
    assert block.count(name) == 2
    original = io.BytesIO()
    Image.new("L", (40, 24), 90).save(original, "JPEG", exif=block)
    kept = read_image(original.getvalue()).metadata
    data = encode_image(noise(16, 16, 3, dtype=dtype), file_format, kept)
    with Image.open(io.BytesIO(data)) as image:
        written = image.getexif()
        assert written[0x013B].encode("latin-1") == name
        assert written.get_ifd(0x8769)[0xA430].encode("latin-1") == name
    assert read_image(data).metadata == read_image(encode_image(
        noise(16, 16, 3), file_format, read_image(data).metadata)).metadata  # fmt: skip


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "BMP", "JPEG2000", "TGA"])
def test_16_bits_are_rounded_for_formats_of_8(file_format: str) -> None:
    pixels = np.full((16, 16, 3), (52000, 30000, 10000), np.uint16)
    decoded = read_image(encode_image(pixels, file_format)).pixels
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - [202, 117, 39]).max() <= 4


def test_colour_is_not_subsampled_in_jpeg() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2] = (255, 0, 0)
    pixels[:, 1::2] = (0, 0, 255)
    decoded = read_image(encode_image(pixels, "JPEG")).pixels
    assert np.abs(decoded.astype(int) - pixels).mean() < 10


def test_quality() -> None:
    pixels = noise(64, 64, 3)
    sizes = [len(encode_image(pixels, "JPEG", quality=quality)) for quality in (30, 70, 95)]
    assert sizes == sorted(set(sizes))


def test_equal_pictures_make_equal_files() -> None:
    pixels = noise(8, 8, 3, dtype="uint16")
    for file_format in ("PNG", "TIFF"):
        assert encode_image(pixels, file_format) == encode_image(pixels.copy(), file_format)


@pytest.mark.parametrize(
    "view", [lambda p: p[::-1, ::2], lambda p: p[..., ::-1], lambda p: p.transpose(1, 0, 2)]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_views(file_format: str, dtype: str, view: Any) -> None:
    pixels = view(noise(10, 14, 3, dtype=dtype))
    assert np.array_equal(read_image(encode_image(pixels, file_format)).pixels, pixels)


REFUSED = {
    "format": (np.zeros((4, 4, 3), np.uint8), "XBM", {}, "cannot write colour as 'XBM'; choose"),
    "dtype": (np.zeros((4, 4, 3)), "PNG", {}, r"uint8 or uint16 .*got float64 \(4, 4, 3\)"),
    "rank": (np.zeros((4, 4), np.uint8), "PNG", {}, r"got uint8 \(4, 4\)"),
    "empty": (np.zeros((0, 4, 3), np.uint8), "PNG", {}, r"got uint8 \(0, 4, 3\)"),
    "grey": (np.zeros((4, 4, 1), np.uint8), "PNG", {}, "3 or 4 channels, got 1; repeat"),
    "alpha": (np.zeros((4, 4, 4), np.uint8), "JPEG", {}, "JPEG cannot hold transparency; choose"),
    "quality": (np.zeros((4, 4, 3), np.uint8), "JPEG", {"quality": 0}, "1 to 100, got 0"),
    "size": (np.zeros((1, 70000, 3), np.uint8), "JPEG", {}, "JPEG cannot hold this 70000 x 1 pic"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    pixels, file_format, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        encode_image(pixels, file_format, **options)


# -------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("b/c.png", "PNG"), ("x.tif", "TIFF"),
        ("x.tiff", "TIFF"), ("x.webp", "WEBP"), ("x.bmp", "BMP"), ("x.ppm", "PPM"),
        ("x.jp2", "JPEG2000"), ("x.gif", "GIF"),
    ],
)  # fmt: skip
def test_format_for(name: str, expected: str) -> None:
    assert format_for(name) == format_for(Path(name)) == expected


@pytest.mark.parametrize("name", ["a.pgm", "a.pbm", "a.xbm", "a.txt", "a", ".png", "a.pdf"])
def test_format_for_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="names none of JPEG, PNG"):
        format_for(name)


def test_color_format() -> None:
    assert color_format("TIFF") == "TIFF"
    assert [color_format(name) for name in ("PGM", "PBM", "XBM", "PCX", None)] == ["PNG"] * 5
    assert color_format("BMP") == "BMP"
    assert color_format("BMP", alpha=True) == "PNG"
    assert color_format("WEBP", alpha=True) == "WEBP"


# ---------------------------------------------------------------------------------------- files


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    for seed in (3, 4):
        pixels = noise(seed, 5, 3)
        write_image(path, pixels, metadata=metadata())
        assert np.array_equal(read_image(path).pixels, pixels)
    assert os.listdir(tmp_path) == ["photo.png"]


def test_the_format_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "no-ending"
    write_image(str(path), noise(4, 4, 3), file_format="TIFF")
    assert read_image(path).format == "TIFF"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"the old file")

    def no_space(source: Path, target: Path) -> None:
        assert source.parent == target.parent == tmp_path
        raise OSError("no space left")

    monkeypatch.setattr(zcolor.files.os, "replace", no_space)
    with pytest.raises(OSError, match="no space left"):
        write_image(path, noise(4, 4, 3))
    with pytest.raises(ValueError, match="JPEG cannot hold transparency"):
        write_image(tmp_path / "other.jpg", noise(4, 4, 4))
    with pytest.raises(ValueError, match=r"end the name in \.png"):
        write_image(tmp_path / "other.xyz", noise(4, 4, 3))
    assert os.listdir(tmp_path) == ["photo.png"]
    assert path.read_bytes() == b"the old file"


class _FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "PPM"])
def test_a_full_disk_is_no_fault_of_the_format(file_format: str, dtype: str) -> None:
    pixels = noise(40, 40, 3, dtype=dtype)
    with pytest.raises(OSError, match="No space left"):
        write_encoded(_FullDisk(), pixels, file_format, icc=b"", metadata=Metadata(), quality=95)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "JPEG2000"])
def test_files_hold_what_encode_image_gives(file_format: str, tmp_path: Path) -> None:
    pixels = noise(40, 50, 3)
    write_image(tmp_path / "a", pixels, file_format=file_format, metadata=metadata(), quality=80)
    expected = encode_image(pixels, file_format, metadata(), quality=80)
    assert (tmp_path / "a").read_bytes() == expected


def test_every_16_bit_level_is_rounded_to_8() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    decoded = read_image(encode_image(levels, "BMP")).pixels
    assert np.array_equal(decoded, np.rint(levels / 257).astype(np.uint8))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_image(tmp_path / "nowhere" / "photo.png", noise(4, 4, 3))
