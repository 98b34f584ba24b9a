"""What was tried to be fast: the way that was kept, against each other way, in the same run."""

from __future__ import annotations

import copy
import io
import shutil
from collections.abc import Callable

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.bench import Bench, Row, pair_row, shape_text
from benchmarks.photographs import jpeg_bytes, photograph
from benchmarks.reference import SIDE
from benchmarks.timing import Pair, interleave, timed
from zcolor.files import read_image
from zcolor.lab import rgb_to_lab
from zcolor.lab8 import rgb8_to_lab
from zcolor.photo import read_photo
from zcolor.precision import computes_in_bfloat16, fast_precision

KEPT = "kept"
CPU = torch.device("cpu")


def means(bench: Bench) -> list[Row]:
    """Every means in turn; "ours" is the way that was kept."""
    return [*_network(bench), *_joining(bench), *_reading(bench)]


def _rows(what: str, bench: Bench, ways: dict[str, Callable[[], object]]) -> list[Row]:
    """A row for each other way; all are interleaved with the one that was kept."""
    seconds = interleave({name: timed(way) for name, way in ways.items()}, runs=bench.runs)
    return [
        pair_row("means", what, Pair(seconds[KEPT], seconds[name]), reference_is=name)
        for name in ways
        if name != KEPT
    ]


def _network(bench: Bench) -> list[Row]:
    """The network alone at the size of the reference, one photo."""
    lightness = read_photo(photograph(*bench.sizes.small)).lightness(SIDE, "cpu")
    net = bench.colorizer.net
    first = copy.deepcopy(net).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    half = copy.deepcopy(net).bfloat16()
    n_threads = torch.get_num_threads()

    def plain(net: Callable[[Tensor], object]) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                net(lightness)

        return run

    def fast(net: Callable[[Tensor], object]) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode(), fast_precision(CPU):
                net(lightness)

        return run

    def one_thread() -> None:
        torch.set_num_threads(1)
        try:
            fast(net)()
        finally:
            torch.set_num_threads(n_threads)

    def half_everywhere() -> None:
        with torch.inference_mode():
            half(lightness.bfloat16())

    def emulated() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            net(lightness)

    ways: dict[str, Callable[[], object]] = {KEPT: fast(net)}
    if computes_in_bfloat16(CPU):
        precision = "bfloat16 autocast"
        ways |= {
            "bfloat16, channels first": fast(first),
            "float32, channels last": plain(net),
            "float32, channels first": plain(first),
            "weights in bfloat16 too (rounds the norms)": half_everywhere,
        }
    else:
        precision = "float32"
        ways |= {
            "float32, channels first": plain(first),
            "bfloat16 autocast, emulated, channels last": emulated,
        }
    ways["one thread"] = one_thread
    if shutil.which("g++") is not None:  # which torch.compile calls
        ways["torch.compile"] = fast(torch.compile(net))
    return _rows(f"network at {SIDE} x {SIDE}, {precision}, channels last", bench, ways)


def _joining(bench: Bench) -> list[Row]:
    """Pixels of the full size: OpenCV in strips against torch in strips, and Lab alone."""
    shape = bench.sizes.medium
    pixels = photograph(*shape)
    photo, wide = read_photo(pixels), read_photo(pixels.astype(np.uint16) * 257)
    ab = torch.rand(1, 2, 28, 36, generator=torch.Generator().manual_seed(0)) * 40 - 20

    def torch_lab() -> None:
        with torch.inference_mode():
            rgb_to_lab(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)

    joined = _rows(
        f"joining {shape_text(shape)}, 8 bits by OpenCV",
        bench,
        {
            KEPT: lambda: photo.with_ab(ab),
            "16 bits by torch, strip by strip": lambda: wide.with_ab(ab),
        },
    )
    floats = pixels.astype(np.float32) / 255
    lab = _rows(
        f"8-bit RGB to Lab, {shape_text(shape)}, by tables and OpenCV",
        bench,
        {
            KEPT: lambda: rgb8_to_lab(pixels),
            "torch, in parts": torch_lab,
            "OpenCV's own, float32 (off by up to 0.2)": lambda: cv2.cvtColor(
                floats, cv2.COLOR_RGB2Lab
            ),
        },
    )
    return [*joined, *lab]


def _reading(bench: Bench) -> list[Row]:
    """A photo for packing or counting, decoded no larger than it has to be."""
    shape = bench.sizes.medium
    data = jpeg_bytes(photograph(*shape))

    def pillow() -> None:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    return _rows(
        f"JPEG of {shape_text(shape)}, decoded for a short side of 128",
        bench,
        {
            KEPT: lambda: read_image(data, least_side=128),
            "decoded whole": lambda: read_image(data),
            "decoded whole by Pillow alone": pillow,
        },
    )
