"""The contract of kinds: what `read_photo` takes and `Photo.with_ab` gives back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zcolor.files import encode_image, read_image
from zcolor.icc import srgb_profile
from zcolor.photo import Photo, read_photo

SIZES = [(1, 1), (1, 9), (9, 1), (7, 5), (16, 24), (33, 31)]
NUMPY_DTYPES = ["uint8", "uint16", "float16", "float32", "float64", "bool"]
TORCH_DTYPES = [getattr(torch, name) for name in NUMPY_DTYPES]
AB = (25.0, -20.0)


def ab_for(n: int = 1) -> torch.Tensor:
    return torch.tensor(AB).view(1, 2, 1, 1).repeat(n, 1, 1, 1)


def random_array(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith("float"):
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


# ------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_numpy(size: tuple[int, int], channels: int | None, dtype: str) -> None:
    array = random_array(size if channels is None else (*size, channels), dtype)
    before = array.copy()
    array.flags.writeable = False
    photo = read_photo(array)
    assert (photo.n, photo.height, photo.width) == (1, *size)
    result = photo.with_ab(ab_for())
    assert isinstance(result, np.ndarray)
    assert result.dtype == ("uint8" if dtype == "bool" else dtype)
    assert result.shape == (*size, 4 if channels == 4 else 3)
    assert np.array_equal(array, before)
    if channels == 4:
        alpha = before[..., 3] * np.uint8(255) if dtype == "bool" else before[..., 3]
        assert np.array_equal(result[..., 3], alpha)
    assert np.array_equal(photo.render(ab_for()), result)


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_torch(size: tuple[int, int], channels: int | None, dtype: torch.dtype) -> None:
    shape = size if channels is None else (channels, *size)
    tensor = torch.from_numpy(random_array(shape, str(dtype).removeprefix("torch.")))
    before = tensor.clone()
    photo = read_photo(tensor)
    assert (photo.n, photo.height, photo.width) == (1, *size)
    result = photo.with_ab(ab_for())
    assert isinstance(result, torch.Tensor)
    assert result.dtype == (torch.uint8 if dtype == torch.bool else dtype)
    assert result.device == tensor.device
    assert result.shape == (4 if channels == 4 else 3, *size)
    assert torch.equal(tensor, before)
    if channels == 4:
        alpha = before[3].to(torch.uint8) * 255 if dtype == torch.bool else before[3]
        assert torch.equal(result[3], alpha)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_batches_equal_their_pictures_one_by_one(channels: int, dtype: str) -> None:
    batch = random_array((3, 10, 13, channels), dtype)
    ab = torch.rand(3, 2, 4, 5) * 80 - 40
    photo = read_photo(batch)
    result = photo.with_ab(ab)
    lightness = photo.lightness(16, "cpu")
    assert isinstance(result, np.ndarray)
    assert photo.n == 3
    assert result.shape == (3, 10, 13, max(channels, 3))
    for i in range(3):
        single = read_photo(batch[i])
        colored = single.with_ab(ab[i : i + 1])
        # Powers of floats differ in the last bit with their place in a vector register.
        tolerance = {"float32": 1e-6, "uint16": 1}.get(dtype, 0)
        np.testing.assert_allclose(colored, result[i], rtol=0, atol=tolerance)
        torch.testing.assert_close(single.lightness(16, "cpu")[0], lightness[i], rtol=0, atol=1e-4)
    from_torch = read_photo(torch.from_numpy(batch).permute(0, 3, 1, 2)).with_ab(ab)
    assert isinstance(from_torch, torch.Tensor)
    np.testing.assert_allclose(from_torch.permute(0, 2, 3, 1), result, rtol=0, atol=tolerance)
    with pytest.raises(ValueError, match="a batch of 3"):
        photo.render(ab)


def test_a_batch_of_one_stays_a_batch() -> None:
    result = read_photo(np.zeros((1, 4, 5, 3), np.uint8)).with_ab(ab_for())
    assert isinstance(result, np.ndarray)
    assert result.shape == (1, 4, 5, 3)
    tensor = read_photo(torch.zeros(1, 1, 4, 5)).with_ab(ab_for())
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (1, 3, 4, 5)


VIEWS = {
    "reversed": lambda a: a[::-1, ::-1],
    "BGR": lambda a: a[..., ::-1],
    "transposed": lambda a: a.transpose(1, 0, 2),
    "every second": lambda a: a[::2, 1::3],
    "Fortran order": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float64"])
@pytest.mark.parametrize("view", VIEWS, ids=list(VIEWS))
def test_memory_layout_does_not_matter(view: str, dtype: str) -> None:
    array = VIEWS[view](random_array((12, 15, 3), dtype))
    plain = np.ascontiguousarray(array, dtype=dtype)
    photo, reference = read_photo(array), read_photo(plain)
    result = photo.with_ab(ab_for())
    assert isinstance(result, np.ndarray)
    assert result.dtype == array.dtype
    assert np.array_equal(result, reference.with_ab(ab_for()))
    assert torch.equal(photo.lightness(8, "cpu"), reference.lightness(8, "cpu"))


def test_a_strided_tensor_that_requires_grad() -> None:
    tensor = torch.rand(14, 10, 3, requires_grad=True)
    result = read_photo(tensor.permute(2, 0, 1)).with_ab(ab_for())
    assert isinstance(result, torch.Tensor)
    assert result.shape == (3, 14, 10)
    assert not result.requires_grad


# ------------------------------------------------------------------------- files, bytes and PIL


def test_path_pathlike_file_object_and_bytes(tmp_path: Path) -> None:
    data = png(random_array((6, 9, 3), "uint8"))
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with path.open("rb") as stream:
        results = [read_photo(kind).with_ab(ab_for()) for kind in (str(path), path, stream)]
    for result in results:
        assert isinstance(result, Image.Image)
        assert (result.mode, result.size) == ("RGB", (9, 6))
        assert np.array_equal(result, results[0])
    encoded = read_photo(data).with_ab(ab_for())
    assert isinstance(encoded, bytes)
    decoded = Image.open(io.BytesIO(encoded))
    assert decoded.format == "PNG"
    assert np.array_equal(decoded, results[0])
    assert path.read_bytes() == data


PIL_KINDS: dict[str, tuple[Image.Image, str]] = {
    "1": (Image.new("1", (9, 6), 1), "RGB"),
    "L": (Image.new("L", (9, 6), 77), "RGB"),
    "P": (Image.new("RGB", (9, 6), (200, 30, 60)).convert("P"), "RGB"),
    "RGB": (Image.new("RGB", (9, 6), (1, 2, 3)), "RGB"),
    "CMYK": (Image.new("CMYK", (9, 6), (10, 20, 30, 40)), "RGB"),
    "YCbCr": (Image.new("YCbCr", (9, 6), (90, 128, 128)), "RGB"),
    "LA": (Image.new("LA", (9, 6), (77, 50)), "RGBA"),
    "RGBA": (Image.new("RGBA", (9, 6), (1, 2, 3, 50)), "RGBA"),
    "PA": (Image.new("PA", (9, 6), (77, 50)), "RGBA"),
}


@pytest.mark.parametrize("kind", PIL_KINDS)
def test_pil(kind: str) -> None:
    image, mode = PIL_KINDS[kind]
    before = image.copy()
    result = read_photo(image).with_ab(ab_for())
    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == (mode, (9, 6))
    assert image == before
    if mode == "RGBA":
        assert set(np.asarray(result)[..., 3].ravel()) == {50}


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_pil_with_a_transparent_colour(mode: str) -> None:
    image = Image.new(mode, (4, 3))
    image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    result = read_photo(image).with_ab(ab_for())
    assert isinstance(result, Image.Image)
    assert result.mode == "RGBA"
    assert not np.asarray(result)[..., 3].any()


def test_pil_carries_profile_and_metadata() -> None:
    image = Image.new("L", (8, 4), 100)
    image.info["dpi"] = (300, 300)
    exif = image.getexif()
    exif[0x0112], exif[0x013B] = 6, "A. Nonymous"
    result = read_photo(image).with_ab(ab_for())
    assert isinstance(result, Image.Image)
    assert result.size == (4, 8)
    assert result.info["icc_profile"] == srgb_profile()
    assert result.info["dpi"] == (300, 300)
    kept = Image.Exif()
    kept.load(result.info["exif"])
    assert dict(kept) == {0x0112: 1, 0x013B: "A. Nonymous"}


BYTES_FORMATS = {
    "JPEG": "JPEG", "PNG": "PNG", "TIFF": "TIFF", "WEBP": "WEBP", "BMP": "BMP", "GIF": "GIF",
    "PPM": "PNG", "PCX": "PNG", "JPEG2000": "JPEG2000", "TGA": "TGA",
}  # fmt: skip


@pytest.mark.parametrize("source", BYTES_FORMATS)
def test_bytes_keep_their_format_where_it_holds_colour(source: str) -> None:
    stream = io.BytesIO()
    Image.new("L", (17, 11), 120).save(stream, source)
    result = read_photo(stream.getvalue()).with_ab(ab_for())
    assert isinstance(result, bytes)
    assert (read_image(result).format, read_image(result).pixels.shape) == (
        BYTES_FORMATS[source],
        (11, 17, 3),
    )


def test_bitmap_bytes_give_png() -> None:
    result = read_photo(b"P1 2 1 0 1").with_ab(ab_for())
    assert isinstance(result, bytes)
    assert read_image(result).format == "PNG"
    assert read_photo(b"P6 1 1 255 abc").format == "PPM"


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_stay_where_the_kind_holds_them(file_format: str, channels: int) -> None:
    pixels = random_array((6, 7, channels), "uint16")
    data = encode_image(pixels, file_format)
    photo = read_photo(data)
    assert np.array_equal(photo.pixels[0], pixels)
    rendered = photo.render(ab_for())
    assert (rendered.dtype, rendered.shape) == (np.uint16, pixels.shape)
    again = photo.with_ab(ab_for())
    assert isinstance(again, bytes)
    assert np.array_equal(read_image(again).pixels, rendered)
    # A file object gives a PIL image, which holds 8 bits: the same colours, rounded once.
    image = read_photo(io.BytesIO(data)).with_ab(ab_for())
    assert isinstance(image, Image.Image)
    assert image.mode == ("RGB" if channels == 3 else "RGBA")
    assert np.abs(np.asarray(image) - rendered / 257).max() <= 0.51


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pil_of_more_than_8_bits_names_the_numpy_way(mode: str) -> None:
    with pytest.raises(TypeError, match=rf"mode {mode} .*numpy\.asarray\(image\)\.astype"):
        read_photo(Image.new(mode, (4, 4)))


def test_pil_of_another_colour_space() -> None:
    with pytest.raises(TypeError, match=r"mode LAB is not accepted.*image\.convert\('RGB'\)"):
        read_photo(Image.new("LAB", (4, 4)))


def test_empty_pil() -> None:
    with pytest.raises(ValueError, match=r"is empty \(0 x 4\)"):
        read_photo(Image.new("L", (0, 4)))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3), (0, 4, 4, 3)])
@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_empty_arrays(make: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the image is empty, its shape is"):
        read_photo(make(shape))


@pytest.mark.parametrize("shape", [(), (4,), (1, 1, 4, 4, 3)])
@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_wrong_ranks(make: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"2, 3 or 4 dimensions.*has {len(shape)}"):
        read_photo(make(shape))


def test_channels_in_the_wrong_place() -> None:
    with pytest.raises(ValueError, match=r"\(h, w, c\) .*c = 8 in .*transpose\(1, 2, 0\)"):
        read_photo(np.zeros((3, 8, 8)))
    with pytest.raises(ValueError, match=r"\(c, h, w\) .*c = 8 in .*permute\(2, 0, 1\)"):
        read_photo(torch.zeros(8, 8, 3))
    with pytest.raises(ValueError, match=r"\(n, h, w, c\) .*c = 2"):
        read_photo(np.zeros((1, 8, 8, 2)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_not_finite(bad: float, dtype: str) -> None:
    array = np.full((3, 3), 0.5, dtype)
    array[1, 1] = bad
    for image in (array, torch.from_numpy(array)):
        with pytest.raises(ValueError, match="NaN or inf; replace them"):
            read_photo(image)


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-0.5, 1.0)])
def test_floats_outside(low: float, high: float) -> None:
    array = np.array([[low, high]], np.float32)
    for image in (array, torch.from_numpy(array)):
        with pytest.raises(ValueError, match=rf"from {low:g} to {high:g}; divide"):
            read_photo(image)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "complex64"])
def test_other_dtypes(dtype: str) -> None:
    array = np.zeros((3, 3), dtype)
    with pytest.raises(TypeError, match=rf"NumPy array of dtype {dtype} .* uint8, uint16"):
        read_photo(array)
    with pytest.raises(TypeError, match=rf"torch tensor of dtype torch.{dtype} .* uint8, uint16"):
        read_photo(torch.from_numpy(array))
    with pytest.raises(TypeError, match=r"dtype torch\.bfloat16"):
        read_photo(torch.zeros(3, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("thing", [None, 5, [[1, 2]], object()])
def test_other_things(thing: Any) -> None:
    with pytest.raises(TypeError, match=rf"expected a path.*got {type(thing).__name__}"):
        read_photo(thing)


def test_the_pixel_limit_reaches_files_and_pil() -> None:
    data = png(np.zeros((5, 5), np.uint8))
    for image in (data, io.BytesIO(data), Image.open(io.BytesIO(data))):
        with pytest.raises(ValueError, match="5 x 5 = 25 pixels, more than the limit of 24"):
            read_photo(image, max_pixels=24)
    assert read_photo(data, max_pixels=25).width == 5


BAD_AB = {
    "rank": (torch.zeros(2, 4, 4), r"shape \(1, 2, h, w\).*got \(2, 4, 4\)"),
    "batch": (torch.zeros(2, 2, 4, 4), r"got \(2, 2, 4, 4\)"),
    "empty": (torch.zeros(1, 2, 0, 4), r"got \(1, 2, 0, 4\)"),
    "dtype": (torch.zeros(1, 2, 4, 4, dtype=torch.int32), "floating and finite, got torch.int32"),
    "NaN": (torch.full((1, 2, 4, 4), float("nan")), "with NaN or inf"),
}


@pytest.mark.parametrize("case", BAD_AB)
def test_bad_ab(case: str) -> None:
    ab, message = BAD_AB[case]
    with pytest.raises(ValueError, match=message):
        read_photo(np.zeros((8, 8), np.uint8)).with_ab(ab)


def test_bad_options() -> None:
    photo: Photo = read_photo(np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="unknown upsample method 'cubic'"):
        photo.with_ab(ab_for(), upsample="cubic")
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="saturation must be 0 or more"):
            photo.with_ab(ab_for(), saturation=bad)
    with pytest.raises(ValueError, match="size must be at least 8 pixels, got 4"):
        photo.lightness(4, "cpu")
