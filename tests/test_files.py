"""Reading image files: pixels, orientation, metadata, limits and refusals."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from tests.processes import run_alone
from tests.test_icc import LINEAR, profile
from zcolor.files import ImageReadError, encode_image, from_pil, image_size, read_image
from zcolor.icc import srgb_profile

# Pillow warns of it beside raising; the refusal is what counts here.
ignore_corrupt_exif = pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def deep_png(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A 16-bit PNG written by hand: grey, grey and alpha, RGB or RGB and alpha."""
    height, width, channels = pixels.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    stream = io.BytesIO()
    stream.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    for name, data in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        PngImagePlugin.putchunk(stream, name, data)
    return stream.getvalue()


def deep_tiff(pixels: np.ndarray, *, compression: int = 1) -> bytes:
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 1 else [0]
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    return cv2.imencode(".tiff", np.ascontiguousarray(pixels[..., order]), options)[1].tobytes()


# --------------------------------------------------------------------------------------- pixels

LOSSLESS = ["PNG", "TIFF", "BMP", "PPM", "TGA", "PCX", "JPEG2000"]


@pytest.mark.parametrize("file_format", LOSSLESS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (13, 11)])
def test_rgb_pixels_come_out_as_they_went_in(file_format: str, size: tuple[int, int]) -> None:
    # Pillow 12 cannot read its own PCX of width 1.
    if file_format in ("JPEG2000", "PCX") and 1 in size:
        size = (size[0] + 8, size[1] + 8)
    pixels = noise(*size, 3)
    decoded = read_image(encoded(Image.fromarray(pixels), file_format))
    assert np.array_equal(decoded.pixels, pixels)
    assert decoded.format == file_format


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_come_close(file_format: str) -> None:
    pixels = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    decoded = read_image(encoded(Image.fromarray(pixels), file_format, quality=95))
    assert decoded.format == file_format
    assert np.abs(decoded.pixels.astype(int) - pixels).max() <= 4


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4), ("CMYK", 3)],
)
def test_modes(mode: str, channels: int) -> None:
    file_format = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode)
    decoded = read_image(encoded(image, file_format))
    assert decoded.pixels.shape == (3, 5, channels)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.pixels == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_transparent_colour_becomes_alpha(mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), 9 if mode != "RGB" else (9, 9, 9))
    decoded = read_image(encoded(image, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0))
    assert decoded.pixels[..., -1].tolist() == [[0, 255]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png(channels: int) -> None:
    pixels = noise(9, 7, channels, dtype="uint16")
    decoded = read_image(deep_png(pixels)).pixels
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize("orientation", [1, 6])
def test_grey_and_alpha_of_16_bits_have_their_profile(orientation: int) -> None:
    """As grey without alpha: a profile of linear tones makes middle grey lighter."""
    linear = profile(b"GRAY", {b"kTRC": LINEAR})
    chunks = [
        (b"iCCP", b"linear\0\0" + zlib.compress(linear)),
        (b"eXIf", oriented(orientation).tobytes()[6:]),
    ]
    grey = noise(9, 7, 1, dtype="uint16")
    alpha = noise(9, 7, 2, dtype="uint16")[..., 1:]
    plain = read_image(deep_png(grey, *chunks)).pixels
    both = read_image(deep_png(np.concatenate((grey, alpha), axis=2), *chunks)).pixels
    assert both.shape[2] == 2
    assert np.array_equal(both[..., :1], plain)
    assert plain.astype(float).mean() > 1.1 * grey.mean()
    upright = np.rot90(alpha, -1) if orientation == 6 else alpha
    assert np.array_equal(both[..., 1:], upright)


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
def test_16_bit_tiff(channels: int, compression: int) -> None:
    pixels = noise(9, 7, channels, dtype="uint16")
    decoded = read_image(deep_tiff(pixels, compression=compression))
    assert decoded.format == "TIFF"
    assert decoded.pixels.dtype == np.uint16
    assert np.array_equal(decoded.pixels, pixels)


def test_16_bit_png_with_a_transparent_colour() -> None:
    grey = np.array([[[500], [501]]], np.uint16)
    decoded = read_image(deep_png(grey, (b"tRNS", struct.pack(">H", 500))))
    assert decoded.pixels.tolist() == [[[500, 0], [501, 65535]]]
    rgb = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint16)
    decoded = read_image(deep_png(rgb, (b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    assert decoded.pixels.tolist() == [[[1, 2, 3, 0], [1, 2, 4, 65535]]]


def test_16_bit_pgm() -> None:
    decoded = read_image(b"P5 2 1 65535 " + struct.pack(">HH", 7, 65530))
    assert decoded.pixels.tolist() == [[[7], [65530]]]
    assert (decoded.format, decoded.pixels.dtype) == ("PGM", np.uint16)


@pytest.mark.parametrize("white", [65535, 1023, 300])
def test_16_bit_ppm(white: int) -> None:
    values = np.arange(12) * white // 11
    data = b"P6\n# a scan\n2 2\n%d\n" % white + values.astype(">u2").tobytes()
    decoded = read_image(data)
    assert decoded.format == "PPM"
    assert decoded.pixels.dtype == np.uint16
    assert np.abs(decoded.pixels.ravel() - values * 65535 / white).max() <= 0.5
    again = encode_image(decoded.pixels, "PPM")
    assert np.array_equal(read_image(again).pixels, decoded.pixels)


def test_8_bit_ppm_with_another_white() -> None:
    decoded = read_image(b"P6 1 1 100 \x00\x32\x64").pixels
    assert decoded.tolist() == [[[0, 128, 255]]]


def test_16_bit_cmyk_says_that_it_becomes_8(caplog: pytest.LogCaptureFixture) -> None:
    decoded = read_image(tiff_by_hand(struct.pack("<8H", *[0] * 8), (16,) * 4, 5)).pixels
    assert decoded.tolist() == [[[255] * 3] * 2]
    assert "16-bit CMYK, which is read with 8 bits" in caplog.text


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_level_of_a_png_with_few_bits(bits: int) -> None:
    """By hand: Pillow writes no grey PNG of 2 or 4 bits."""
    white = 2**bits - 1
    row = bytes([0, white << (8 - bits)])  # no filter, one white pixel
    header = struct.pack(">IIBBBBB", 1, 1, bits, 0, 0, 0, 0)
    for level, alpha in ((white, 0), (0, 255)):
        stream = io.BytesIO(b"\x89PNG\r\n\x1a\n")
        stream.seek(0, 2)
        for kind, content in (
            (b"IHDR", header),
            (b"tRNS", struct.pack(">H", level)),
            (b"IDAT", zlib.compress(row)),
            (b"IEND", b""),
        ):
            PngImagePlugin.putchunk(stream, kind, content)
        assert read_image(stream.getvalue()).pixels.tolist() == [[[255, alpha]]]


def tiff_by_hand(rows: bytes, bits: tuple[int, ...], photometric: int, **tags: int) -> bytes:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    directory[256], directory[257] = 2, 1
    directory[258], directory[259], directory[262] = bits, 1, photometric
    directory[273], directory[277], directory[278], directory[279] = 0, len(bits), 1, len(rows)
    for tag, value in tags.items():
        directory[int(tag[1:])] = value
    stream = io.BytesIO()
    directory.save(stream)
    stream.write(rows)
    return stream.getvalue()


def test_a_fourth_sample_that_is_no_alpha_is_left_out() -> None:
    rows = struct.pack("<8H", 1000, 2000, 3000, 0, 4000, 5000, 6000, 9)
    decoded = read_image(tiff_by_hand(rows, (16,) * 4, 2, t338=0)).pixels
    assert decoded.tolist() == [[[1000, 2000, 3000], [4000, 5000, 6000]]]


def test_12_bits_become_16() -> None:
    decoded = read_image(tiff_by_hand(b"\xff\xf0\x00", (12,), 1)).pixels
    assert decoded.ravel().tolist() == [65535, 0]
    middle = read_image(tiff_by_hand(b"\x80\x08\x00", (12,), 1)).pixels
    assert np.abs(middle.astype(int) - 0x800 / 0xFFF * 65535).max() < 16


def test_16_bit_tiff_with_colour_multiplied_by_alpha() -> None:
    rows = struct.pack("<8H", 1000, 2000, 3000, 32768, 0, 0, 0, 0)
    decoded = read_image(tiff_by_hand(rows, (16,) * 4, 2, t338=1)).pixels
    assert decoded[0, 1].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(decoded[0, 0], [2000, 4000, 6000, 32768], atol=1)


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_where_zero_is_white(bits: int) -> None:
    top = 2**bits - 1
    rows = struct.pack("<2B" if bits == 8 else "<2H", 0, top)
    assert read_image(tiff_by_hand(rows, (bits,), 0)).pixels.tolist() == [[[top], [0]]]


# ------------------------------------------------------------------------------------- sources


def test_sources(tmp_path: Path) -> None:
    pixels = noise(4, 5, 3)
    data = encoded(Image.fromarray(pixels), "PNG")
    path = tmp_path / "photo.without.ending"
    path.write_bytes(data)
    stream = io.BytesIO(b"before" + data)
    stream.seek(6)
    with path.open("rb") as opened:
        for source in (data, bytearray(data), memoryview(data), path, str(path), stream, opened):
            assert np.array_equal(read_image(source).pixels, pixels)
    assert path.read_bytes() == data


# ---------------------------------------------------------------------------------- orientation

# What EXIF 2.32 says of each value: where row 0 and column 0 of the stored picture are shown.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x0131] = "a scanner"
    return exif


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "PNG 16", "TIFF 16", "PIL"])
def test_orientation_is_applied_and_reset(kind: str, orientation: int) -> None:
    exif = oriented(orientation)
    pixels = noise(3, 5, 3, dtype="uint16" if kind.endswith("16") else "uint8")
    if kind == "PNG 16":
        data: Any = deep_png(pixels, (b"eXIf", exif.tobytes()[6:]))
    elif kind == "TIFF 16":
        data = tiff_16_with_orientation(pixels, orientation)
    elif kind == "PIL":
        data = Image.open(io.BytesIO(encoded(Image.fromarray(pixels), "PNG", exif=exif)))
    else:
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(Image.fromarray(pixels), kind, exif=exif, **options)
    decoded = from_pil(data) if kind == "PIL" else read_image(data)
    assert np.array_equal(decoded.pixels, UPRIGHT[orientation](pixels))
    kept = Image.Exif()
    kept.load(decoded.metadata.exif)
    assert kept.get(0x0112, 1) == 1
    assert kept[0x0131] == "a scanner"


def tiff_16_with_orientation(pixels: np.ndarray, orientation: int) -> bytes:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    directory[256], directory[257] = pixels.shape[1], pixels.shape[0]
    directory[258], directory[259], directory[262] = (16, 16, 16), 1, 2
    directory[273], directory[277], directory[278] = 0, 3, pixels.shape[0]
    directory[279], directory[274], directory[305] = pixels.nbytes, orientation, "a scanner"
    stream = io.BytesIO()
    directory.save(stream)
    stream.write(pixels.astype("<u2").tobytes())
    return stream.getvalue()


@pytest.mark.parametrize("orientation", [1, 6, 7])
@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_strips_are_the_whole(
    mode: str, rows: int, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows are copied out of Pillow at a time."""
    source = Image.fromarray(noise(9, 5, 3))
    if mode == "P":
        image = source.quantize(16)
        image.info["transparency"] = bytes(range(16))
    elif mode == "I;16":
        image = Image.fromarray(noise(9, 5, dtype="uint16"))
    else:
        image = source.convert(mode)
    target = {"1": "L", "P": "RGBA", "YCbCr": "RGB", "CMYK": "RGB"}.get(mode, mode)
    whole = np.asarray(image if target == mode else image.convert(target)).reshape(9, 5, -1)
    image.getexif()[0x0112] = orientation
    monkeypatch.setattr("zcolor.readers._STRIP_PIXELS", rows * 5)
    monkeypatch.setattr("zcolor.icc._CHUNK_PIXELS", rows * 5)
    pixels = from_pil(image).pixels
    assert np.array_equal(pixels, UPRIGHT[orientation](whole))
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


MEMORY = """
import resource, sys
from zcolor.files import read_image, write_image
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
before = peak()
decoded = read_image(sys.argv[1])
write_image(sys.argv[2], decoded.pixels, metadata=decoded.metadata)
print((peak() - before) / decoded.pixels.shape[0] / decoded.pixels.shape[1])
"""


@pytest.mark.parametrize("kind", ["PNG", "turned JPEG", "JPEG with a profile"])
def test_memory_of_a_large_picture(kind: str, tmp_path: Path) -> None:
    """Pillow's 4 bytes a pixel and ours of 3, and no further copy; 12 million pixels."""
    path = tmp_path / ("in.png" if kind == "PNG" else "in.jpg")
    options: dict[str, Any] = {"compress_level": 1} if kind == "PNG" else {}
    if kind == "turned JPEG":
        options["exif"] = oriented(6)
    if kind == "JPEG with a profile":  # red and green change places
        options["icc_profile"] = b"rXYZ".join(
            part.replace(b"rXYZ", b"gXYZ") for part in srgb_profile().split(b"gXYZ")
        )
    Image.new("RGB", (4000, 3000), (90, 80, 70)).save(path, **options)
    bytes_a_pixel = float(run_alone(MEMORY, path, tmp_path / "out.jpg"))
    assert 6 < bytes_a_pixel < 9.5


# ------------------------------------------------------------------------------------- metadata


def test_metadata_is_kept_without_thumbnail_and_storage_tags() -> None:
    exif = oriented(6)
    exif[0x8769] = {0x9003: "1931:05:01 10:00:00", 0xA001: 65535, 0xA002: 40, 0xA003: 24}
    exif[0x8825] = {1: "N"}
    exif[0x0100] = 40  # a storage tag: ImageWidth
    block = exif.tobytes()
    # A second directory with a thumbnail, appended by hand: Pillow does not write one.
    thumbnail = b"\xff\xd8thumbnail\xff\xd9"
    tiff = bytearray(block[6:])
    endian = "<" if tiff[:2] == b"II" else ">"
    (n_entries,) = struct.unpack_from(endian + "H", tiff, 8)
    struct.pack_into(endian + "I", tiff, 10 + 12 * n_entries, len(tiff))
    offset = len(tiff) + 2 + 2 * 12 + 4
    tiff += struct.pack(endian + "H", 2)
    tiff += struct.pack(endian + "HHII", 0x0201, 4, 1, offset)
    tiff += struct.pack(endian + "HHII", 0x0202, 4, 1, len(thumbnail))
    tiff += struct.pack(endian + "I", 0) + thumbnail
    data = encoded(Image.new("L", (40, 24)), "JPEG", exif=b"Exif\0\0" + tiff, dpi=(300, 150))
    assert thumbnail in data
    assert Image.open(io.BytesIO(data)).getexif().get_ifd(ExifTags.IFD.IFD1)

    metadata = read_image(data).metadata
    assert metadata.dpi == (300, 150)
    assert metadata.exif is not None
    assert thumbnail not in metadata.exif
    kept = Image.Exif()
    kept.load(metadata.exif)
    assert not kept.get_ifd(ExifTags.IFD.IFD1)
    assert {tag: kept[tag] for tag in kept if tag not in (0x8769, 0x8825)} == {
        0x0112: 1,
        0x0131: "a scanner",
    }
    # The picture now stands upright and is sRGB (colour space 1).
    assert kept.get_ifd(0x8769) == {
        0x9003: "1931:05:01 10:00:00", 0xA001: 1, 0xA002: 24, 0xA003: 40
    }  # fmt: skip
    assert kept.get_ifd(0x8825) == {1: "N"}


def test_no_metadata_is_none() -> None:
    metadata = read_image(encoded(Image.new("L", (4, 4)), "PNG")).metadata
    assert metadata.exif is None
    assert metadata.dpi is None


def test_broken_exif_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = encoded(Image.new("L", (4, 4), 9), "PNG", exif=b"Exif\0\0nonsense")
    decoded = read_image(data)
    assert decoded.pixels.max() == 9
    assert decoded.metadata.exif is None
    assert "EXIF is damaged, it is dropped" in caplog.text


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_resolution(file_format: str) -> None:
    image = Image.new("L", (4, 4))
    assert read_image(encoded(image, file_format)).metadata.dpi is None
    x, y = read_image(encoded(image, file_format, dpi=(300, 150))).metadata.dpi or (0, 0)
    assert (round(x), round(y)) == (300, 150)


# --------------------------------------------------------------------------------------- limits


def huge_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no data."""
    stream = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    stream.seek(8)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        PngImagePlugin.putchunk(stream, name, data)
    return stream.getvalue()


def test_size_is_read_from_the_header(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(noise(9, 5, 3)), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (tmp_path / "a.png", data, data[:60], io.BytesIO(data)):
        assert image_size(source) == (5, 9)
    with pytest.raises(ImageReadError, match="no image that can be read"):
        image_size(b"not a picture")
    with pytest.raises(ImageReadError, match="truncated or damaged"):
        image_size(data[:20])
    with pytest.raises(FileNotFoundError):
        image_size(tmp_path / "b.png")


def test_pixel_limit_is_judged_by_the_header() -> None:
    with pytest.raises(
        ImageReadError, match=r"20000 x 20000 = 400000000 pixels, more than the limit of 300000000"
    ):
        read_image(huge_png(20000, 20000))
    data = encoded(Image.new("L", (10, 10)), "PNG")
    assert read_image(data, max_pixels=100).pixels.shape == (10, 10, 1)
    with pytest.raises(ImageReadError, match="limit of 99; make it smaller or raise max_pixels"):
        read_image(data, max_pixels=99)


def test_the_limit_of_pillow_neither_warns_nor_refuses_nor_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    data = encoded(Image.new("L", (20, 20), 3), "PNG")  # more than twice that limit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(data).pixels.shape == (20, 20, 1)
    assert Image.MAX_IMAGE_PIXELS == 50


# -------------------------------------------------------------------------------------- refusals


def animation(file_format: str) -> bytes:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_and_pages(file_format: str) -> None:
    data = animation(file_format)
    with pytest.raises(ImageReadError, match=r"animated or has several pages \(2 of them\).*frame"):
        read_image(data)
    with pytest.raises(ImageReadError, match="animated"):
        from_pil(Image.open(io.BytesIO(data)))
    # The cure that the message names.
    assert from_pil(Image.open(io.BytesIO(data)).copy()).pixels.shape[:2] == (4, 4)


def test_the_first_picture_of_a_camera_file_with_previews() -> None:
    data = animation("MPO")
    decoded = read_image(data)
    assert decoded.format == "JPEG"
    assert decoded.pixels[0, 0, 0] > 200


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "TGA"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@ignore_corrupt_exif
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
def test_truncated_files(file_format: str, share: float) -> None:
    data = encoded(Image.fromarray(noise(64, 48, 3)), file_format)
    with pytest.raises(ImageReadError, match=r"the given bytes is .*(truncated|no image)"):
        read_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("encode", [deep_png, deep_tiff])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@ignore_corrupt_exif
def test_truncated_16_bit_files(encode: Any, share: float) -> None:
    data = encode(noise(64, 48, 3, dtype="uint16"))
    with pytest.raises(ImageReadError, match=r"the given bytes is .*(truncated|no image)"):
        read_image(data[: int(len(data) * share)])


def test_damaged_data() -> None:
    data = bytearray(encoded(Image.fromarray(noise(64, 48, 3)), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageReadError, match="truncated or damaged"):
        read_image(bytes(data))


@pytest.mark.parametrize("data", [b"hello, this is text", b"%PDF-1.7", bytes(100), b"\x89HDF\r\n"])
def test_foreign_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=r"photo.jpg is no image .* JPEG, PNG, .*convert it"):
        read_image(path)


def test_pixels_of_32_bits() -> None:
    data = encoded(Image.new("F", (3, 3)), "TIFF")
    with pytest.raises(ImageReadError, match=r"mode F; accepted are 8 and 16 bits per channel"):
        read_image(data)


def test_empty_missing_and_folders(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(ImageReadError, match=r"empty.png is empty \(0 bytes\)"):
        read_image(empty)
    with pytest.raises(ImageReadError, match=r"the given bytes is empty"):
        read_image(b"")
    with pytest.raises(ImageReadError, match=r"may need \.seek\(0\)"):
        read_image(io.BytesIO())
    with pytest.raises(FileNotFoundError, match=r"there is no file .*missing.png"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError, match="is a folder; give the path of an image"):
        read_image(tmp_path)


def test_other_sources() -> None:
    with pytest.raises(TypeError, match="gave str, not bytes; open it with mode 'rb'"):
        read_image(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a path, bytes or a binary file object .* int"):
        read_image(5)  # type: ignore[arg-type]


def test_a_pil_image_whose_file_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("L", (4, 4)).save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(ImageReadError, match=r"cannot be loaded .* call image\.load\(\)"):
        from_pil(image)


@pytest.mark.parametrize(
    ("least_side", "reduction"), [(0, 1), (199, 1), (200, 1), (100, 2), (51, 2), (50, 4), (9, 8)]
)
def test_a_jpeg_that_will_be_shrunk_is_decoded_smaller(least_side: int, reduction: int) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    pixels = cv2.resize(coarse, (280, 200), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = encoded(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0, exif=exif)
    decoded = read_image(data, least_side=least_side)
    assert decoded.reduction == reduction
    size = (200 // reduction, 280 // reduction)
    mean = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    upright = np.rot90(mean, -1)
    assert decoded.pixels.shape == upright.shape
    assert np.abs(decoded.pixels.astype(int) - upright).mean() < 2
    assert min(decoded.pixels.shape[:2]) >= min(least_side, 200)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_whole(file_format: str) -> None:
    data = encoded(Image.new("RGB", (64, 64), (9, 90, 200)), file_format)
    decoded = read_image(data, least_side=8)
    assert decoded.pixels.shape == (64, 64, 3)
    assert decoded.reduction == 1
