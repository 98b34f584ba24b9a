"""Small whole files of every kind that is read: what the mutations start from."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from zcolor.icc import srgb_profile

HEIGHT, WIDTH = 12, 16
JOURNAL_KEY = "fuzz"
"""The key of the journal's work."""


def encoded(image: Image.Image | npt.NDArray[np.generic], file_format: str, **how: object) -> bytes:
    """Encode a Pillow image or an array in one of Pillow's formats."""
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, file_format, **how)
    return stream.getvalue()


def grey(height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    """Make a picture with shapes in it, (h, w)."""
    y, x = np.mgrid[:height, :width]
    levels: npt.NDArray[np.uint8] = ((x * 13 + y * 7) % 251 + (x > width // 2) * (y % 5)).astype(
        np.uint8
    )
    return levels


def rgb() -> npt.NDArray[np.uint8]:
    """Make the same with some colour, (h, w, 3)."""
    return np.stack([grey(), grey()[::-1], grey()[:, ::-1]], axis=-1)


def deep(ending: str, channels: int = 3) -> bytes:
    """Make a 16-bit picture, encoded by OpenCV."""
    pixels = np.dstack([grey().astype(np.uint16) * 257 + i for i in range(channels)])
    return cv2.imencode(ending, pixels)[1].tobytes()


@functools.cache
def pictures() -> dict[str, bytes]:
    """Give a picture of every format that is read, by name."""
    picture, grid = Image.fromarray(rgb()), Image.fromarray(grey())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "1950:01:01 00:00:00"
    both = {"exif": exif, "icc_profile": srgb_profile()}
    return {
        "jpeg": encoded(picture, "JPEG", quality=80),
        "jpeg-grey": encoded(grid, "JPEG", quality=80),
        "jpeg-progressive": encoded(picture, "JPEG", progressive=True),
        "jpeg-metadata": encoded(picture, "JPEG", **both),
        "jpeg-cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "png": encoded(picture, "PNG"),
        "png-grey": encoded(grid, "PNG"),
        "png-palette": encoded(picture.quantize(16), "PNG"),
        "png-metadata": encoded(picture, "PNG", **both),
        "png16": deep(".png"),
        "tiff": encoded(picture, "TIFF"),
        "tiff-lzw": encoded(picture, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encoded(grid, "TIFF", compression="tiff_adobe_deflate"),
        "tiff16": deep(".tiff"),
        "webp": encoded(picture, "WEBP"),
        "webp-lossless": encoded(picture, "WEBP", lossless=True),
        "webp-metadata": encoded(picture, "WEBP", **both),
        "gif": encoded(picture.quantize(16), "GIF"),
        "bmp": encoded(picture, "BMP"),
        "jp2": encoded(picture, "JPEG2000"),
        "avif": encoded(picture, "AVIF", speed=10),
        "ppm": encoded(picture, "PPM"),
        "pgm16": b"P5 4 3 65535\n" + bytes(range(24)),
        "pcx": encoded(picture, "PCX"),
        "xbm": encoded(grid.convert("1"), "XBM"),
        "tga": encoded(picture, "TGA", compression="tga_rle"),
    }


@functools.cache
def checkpoints() -> dict[str, bytes]:
    """Give the checkpoint of a small network."""
    import torch

    from zcolor.models.zhang import Zhang
    from zcolor.quantizer import AbGrid
    from zcolor.registry import save_model

    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        path = Path(folder) / "model"
        save_model(path, Zhang(AbGrid(4), width=1 / 64, working_size=16), {"steps": 7})
        return {"network": path.read_bytes()}


@functools.cache
def packs() -> dict[str, bytes]:
    """Give a pack of three photographs in two splits."""
    from zcolor.training.packfile import PackedPhoto, write_pack

    payloads = [encoded(rgb(), "WEBP"), encoded(grey(), "PNG"), encoded(rgb(), "JPEG")]
    photos = [
        PackedPhoto(len(data), HEIGHT, WIDTH, i % 2, f"label{i % 2}", bytes(16), f"photo{i}.jpg")
        for i, data in enumerate(payloads)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pack.h5"
        write_pack(path, photos, payloads)
        return {"pack": path.read_bytes()}


@functools.cache
def priors() -> dict[str, bytes]:
    """Give the priors of a regular grid, and of a list of centres."""
    import torch

    from zcolor.quantizer import AbGrid
    from zcolor.training.priors import Priors, write_priors

    found = {}
    free = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [30.0, 5.0], [-20.0, 9.0]]))
    with tempfile.TemporaryDirectory() as folder:
        for name, grid in (("regular", AbGrid(4)), ("free", free)):
            counts = np.arange(1, grid.n_bins + 1)
            path = Path(folder) / f"{name}.h5"
            write_priors(path, Priors(grid, counts, grid.centers.numpy(), counts, 9))
            found[name] = path.read_bytes()
    return found


@functools.cache
def archives() -> dict[str, bytes]:
    """Give zip archives of photographs, stored and compressed."""
    found = {}
    for name, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", how) as archive:
            for i, ending in enumerate(("jpg", "png")):
                member = zipfile.ZipInfo(f"album/{i}.{ending}")  # the same time in every archive
                archive.writestr(member, pictures()[("jpeg", "png")[i]], how)
        found[name] = stream.getvalue()
    return found


@functools.cache
def journals() -> dict[str, bytes]:
    """Give the journal of a pack that was interrupted."""
    from zcolor.training.journal import Journal, Record

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pack.part"
        journal = Journal(path, JOURNAL_KEY)
        for data in (b"first", b"second photo"):
            record = Record("kept", digest="ab" * 16, size=len(data), crc=zlib.crc32(data))
            journal.add(record, data)
        journal.add(Record("tiny", "too small"))
        journal.close()
        return {"journal": path.read_bytes()}


def with_header(data: bytes, header: bytes) -> bytes:
    """Put another header into a safetensors file, of the right length."""
    return len(header).to_bytes(8, "little") + header + data[8 + header_size(data) :]


def header_size(data: bytes) -> int:
    """Read how long the header of a safetensors file is."""
    return int.from_bytes(data[:8], "little")


def header_text(data: bytes) -> str:
    """Read zcolor's own part of the header of a safetensors file."""
    top = json.loads(data[8 : 8 + header_size(data)])
    return str(top["__metadata__"]["zcolor"])
