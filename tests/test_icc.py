"""Conversion through colour profiles, against LittleCMS and against the formulas."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import skimage.color
from PIL import Image, ImageCms

from zcolor.files import encode_image, read_image
from zcolor.icc import srgb_profile, to_srgb

P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
ADOBE = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}
D50 = (0.9642, 1.0, 0.8249)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def table(values: np.ndarray) -> bytes:
    data = b"curv\0\0\0\0" + struct.pack(">I", len(values))
    return data + np.rint(values * 65535).astype(">u2").tobytes()


def parametric(kind: int, *values: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*values)


LINEAR = b"curv\0\0\0\0" + struct.pack(">I", 0)
SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(space: bytes, tags: dict[bytes, bytes], *, pcs: bytes = b"XYZ ") -> bytes:
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4sI4s4s4s", 0, b"", 0x04300000, kind, space, pcs)
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50)
    header = header.ljust(128, b"\0")
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}
    directory, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        directory += struct.pack(">4sII", name, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    whole = header + directory + data
    return struct.pack(">I", len(whole)) + whole[4:]


def matrix_profile(colorants: dict[bytes, tuple[float, ...]], curve: bytes) -> bytes:
    tags = {name: b"XYZ \0\0\0\0" + fixed(*xyz) for name, xyz in colorants.items()}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def lookup_profile(space: bytes, n_channels: int) -> bytes:
    """A table of 2 nodes per channel (lut8Type) into Lab: white without ink, darker with each."""
    corners = np.indices((2,) * n_channels).reshape(n_channels, -1).T
    if space == b"RGB ":
        corners = 1 - corners
    ink = corners.mean(axis=1)
    lab = np.stack([255 * (1 - ink), 128 + 60 * corners[:, 0], 128 - 60 * corners[:, -1]], axis=1)
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    data = b"mft1\0\0\0\0" + struct.pack("4B", n_channels, 3, 2, 0)
    data += fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * n_channels
    data += np.rint(lab).astype(np.uint8).tobytes() + ramp * 3
    return profile(space, {b"A2B0": data}, pcs=b"Lab ")


def littlecms(pixels: np.ndarray, icc: bytes, mode: str) -> np.ndarray:
    image = Image.fromarray(pixels, mode) if mode == "CMYK" else Image.fromarray(pixels)
    converted = ImageCms.profileToProfile(
        image,
        io.BytesIO(icc),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert converted is not None
    return np.asarray(converted)


def colors(*, deep: bool = False) -> np.ndarray:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return pixels.astype(np.uint16) * 257 if deep else pixels


def piecewise(x: np.ndarray, knee: float, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(x >= knee, above, below)


X = np.linspace(0, 1, 256)
# Each curve as it is stored, and what it means at the 256 levels (ICC.1, table 68).
CURVES = {
    "gamma": (gamma(2.2), X ** (563 / 256)),
    "linear": (LINEAR, X),
    "table": (table(np.linspace(0, 1, 300) ** 1.8), X**1.8),
    "parametric 0": (parametric(0, 1.9), X**1.9),
    "parametric 1": (parametric(1, 2.0, 0.9, 0.1), (0.9 * X + 0.1) ** 2),
    "parametric 1, late": (
        parametric(1, 2.0, 1.25, -0.25),
        piecewise(X, 0.2, (1.25 * X - 0.25) ** 2, 0 * X),
    ),
    "parametric 2": (parametric(2, 2.0, 0.9, 0.05, 0.01), (0.9 * X + 0.05) ** 2 + 0.01),
    "parametric 3": (
        parametric(3, 2.0, 0.9, 0.1, 0.5, 0.1),
        piecewise(X, 0.1, (0.9 * X + 0.1) ** 2, 0.5 * X),
    ),
    "parametric 4": (
        parametric(4, 2.2, 0.93, 0.05, 0.1, 0.05, 0.005, 0.0),
        piecewise(X, 0.05, np.abs(0.93 * X + 0.05) ** 2.2 + 0.005, 0.1 * X),
    ),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("colorants", [P3, ADOBE], ids=["P3", "Adobe"])
def test_16_bit_rgb_agrees_with_littlecms(
    colorants: dict[bytes, tuple[float, ...]], curve: str
) -> None:
    icc = matrix_profile(colorants, CURVES[curve][0])
    deep = to_srgb(colors(deep=True), icc, space="RGB")
    assert deep.dtype == np.uint16
    difference = np.abs(deep / 257 - littlecms(colors(), icc, "RGB"))
    # LittleCMS rounds to 8 bits, in the dark also on the way there.
    assert np.quantile(difference, 0.99) <= 1.0
    assert difference.max() <= 2.5


def test_16_bit_rgb_keeps_more_than_8_bits_and_greys_neutral() -> None:
    icc = matrix_profile(ADOBE, gamma(2.2))
    ramp = np.repeat(np.arange(0, 65536, 13, dtype=np.uint16)[None, :, None], 3, axis=2)
    result = to_srgb(ramp, icc, space="RGB")
    assert (np.ptp(result.astype(int), axis=2) <= 1).all()
    assert (np.diff(result[0, :, 1].astype(int)) >= 0).all()
    assert len(np.unique(result)) > 4000
    linear = (ramp[0, :, 0] / 65535) ** (563 / 256)  # 2.2 as the profile stores it
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(result[0, :, 1] / 65535, expected, atol=2e-5)


def test_8_bit_rgb_goes_through_littlecms() -> None:
    icc = matrix_profile(P3, SRGB_CURVE)
    result = to_srgb(colors(), icc, space="RGB")
    assert np.array_equal(result, littlecms(colors(), icc, "RGB"))
    assert np.abs(result.astype(int) - colors()).max() > 20


@pytest.mark.parametrize("deep", [False, True])
def test_srgb_is_left_alone(deep: bool) -> None:
    for icc in (None, srgb_profile()):
        assert np.array_equal(to_srgb(colors(deep=deep), icc, space="RGB"), colors(deep=deep))
    grey = colors(deep=deep)[..., :1]
    for icc in (None, srgb_profile(), profile(b"GRAY", {b"kTRC": SRGB_CURVE})):
        assert (to_srgb(grey, icc, space="GRAY") == grey).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("curve", CURVES)
def test_grey(curve: str, deep: bool) -> None:
    stored, linear = CURVES[curve]
    icc = profile(b"GRAY", {b"kTRC": stored})
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    pixels = levels.astype(np.uint16) * 257 if deep else levels
    result = to_srgb(pixels, icc, space="GRAY")
    assert (result.shape, result.dtype) == (pixels.shape, pixels.dtype)
    white = 65535 if deep else 255
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    # Parameters are stored to 1/65536, which the steep start of the sRGB curve multiplies by 13.
    tolerance = 20 if deep else 0.6
    np.testing.assert_allclose(result.ravel(), expected * white, rtol=0, atol=tolerance)


def test_cmyk() -> None:
    icc = lookup_profile(b"CMYK", 4)
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [255, 255, 255, 255]]], np.uint8)
    result = to_srgb(inks, icc, space="CMYK")
    assert result.shape == (1, 3, 3)
    expected = skimage.color.lab2rgb(np.array([[[100.0, 0, 0], [75.0, 60, 0]]])) * 255
    np.testing.assert_allclose(result[:, :2], expected, atol=4)
    assert result[0, 2].max() < 120
    # Without a profile it is Pillow's own conversion.
    plain = to_srgb(inks, None, space="CMYK")
    assert plain.tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]


def test_16_bits_with_a_table_profile(caplog: pytest.LogCaptureFixture) -> None:
    icc = lookup_profile(b"RGB ", 3)
    result = to_srgb(colors(deep=True), icc, space="RGB")
    assert "at 8 bits to a 16-bit picture" in caplog.text
    assert result.dtype == np.uint16
    assert np.array_equal(result, to_srgb(colors(), icc, space="RGB").astype(np.uint16) * 257)


BROKEN = {
    "nonsense": b"nonsense",
    "cut": matrix_profile(P3, SRGB_CURVE)[:200],
    "another space": profile(b"GRAY", {b"kTRC": gamma(2.2)}),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("deep", [False, True])
def test_a_broken_profile_is_logged(
    case: str, deep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = colors(deep=deep)
    assert np.array_equal(to_srgb(pixels, BROKEN[case], space="RGB"), pixels)
    assert "colour profile not used, the picture is taken as sRGB" in caplog.text


@pytest.mark.parametrize(
    "curve", [parametric(9, 1.0), parametric(1, 2.0, 0.0, 0.1), b"what\0\0\0\0", b""]
)
def test_a_broken_curve_is_logged(curve: bytes, caplog: pytest.LogCaptureFixture) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    icc = profile(b"GRAY", {b"kTRC": curve})
    assert np.array_equal(to_srgb(grey, icc, space="GRAY"), grey)
    assert "colour profile not used" in caplog.text


def test_unknown_space() -> None:
    with pytest.raises(ValueError, match="space must be 'GRAY', 'RGB' or 'CMYK', got 'HSV'"):
        to_srgb(colors(), None, space="HSV")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_files_are_converted_and_leave_as_srgb(file_format: str) -> None:
    icc = matrix_profile(P3, SRGB_CURVE)
    pixels = np.full((16, 16, 3), (40, 200, 60), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, icc_profile=icc)
    decoded = read_image(stream.getvalue())
    expected = littlecms(pixels, icc, "RGB")
    assert np.abs(decoded.pixels.astype(int) - expected).max() <= 3
    assert np.abs(expected.astype(int) - pixels).max() > 10
    for dtype in ("uint8", "uint16"):
        again = encode_image(decoded.pixels.astype(dtype), file_format)
        assert Image.open(io.BytesIO(again)).info["icc_profile"] == srgb_profile()


def test_grey_and_cmyk_files_are_converted() -> None:
    grey = profile(b"GRAY", {b"kTRC": LINEAR})
    stream = io.BytesIO()
    Image.new("LA", (4, 4), (55, 9)).save(stream, "PNG", icc_profile=grey)
    assert read_image(stream.getvalue()).pixels[0, 0].tolist() == [128, 9]
    stream = io.BytesIO()
    Image.new("CMYK", (16, 16)).save(stream, "JPEG", icc_profile=lookup_profile(b"CMYK", 4))
    assert read_image(stream.getvalue()).pixels.min() > 250
