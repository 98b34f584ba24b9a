"""Parts alone: the network, the conversion to Lab and back, bringing ab to full size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from benchmarks.bench import (
    GIGA,
    Bench,
    Row,
    Target,
    pair_row,
    shape_text,
)
from benchmarks.limits import LAB_ROUND_TRIP_BYTES, UPSAMPLING_BYTES, network_macs
from benchmarks.photographs import photograph
from benchmarks.reference import SIDE
from benchmarks.timing import Pair, Spread, compare
from zcolor.lab import lab_to_rgb, rgb_to_lab, rgb_to_lightness
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo
from zcolor.precision import fast_precision
from zcolor.render import resized_lightness
from zcolor.upsample import guide_ab
from zcolor.working import working_shape


def forward(bench: Bench) -> list[Row]:
    """The network alone, at the size it works at and at that of the reference, one photo each.

    In the precision in which `zcolor.colorize` lets it compute.
    """
    net, reference = bench.colorizer.net, bench.reference
    assert isinstance(net, Zhang)
    photo = read_photo(photograph(*bench.sizes.small))
    usual = photo.lightness(SIDE, "cpu")
    rows = []
    for side in (net.working_size, SIDE):
        lightness = photo.lightness(side, "cpu")

        def ours(lightness: Tensor = lightness) -> None:
            with torch.inference_mode(), fast_precision(lightness.device):
                net(lightness)

        pair = compare(ours, lambda: reference.forward(usual), runs=3 * bench.runs)
        macs = network_macs(net.width, *lightness.shape[-2:])
        rows += _forward_rows(bench, side, pair, macs)
    return rows


def _forward_rows(bench: Bench, side: int, pair: Pair, macs: int) -> list[Row]:
    limits = bench.limits
    width = bench.reference.net.width
    time = pair_row(
        "forward",
        f"network alone at working size {side}, one photo, {macs / GIGA:.2f} GMAC",
        pair,
        reference_is=f"width {width:g} at {SIDE} x {SIDE}, float32",
        limit_seconds=limits.network_seconds(macs),
        limit_is="2 x GMAC over the matmul rate",
    )
    rates = [2 * macs / seconds / GIGA for seconds in pair.ours]
    rate = Spread.of(rates)
    share = 100 * rate.median * GIGA / limits.arithmetic
    return [
        time,
        Row(
            "forward",
            f"the same as a rate, at working size {side}",
            "GFLOP/s",
            rate.median,
            spread=rate,
            limit=limits.arithmetic / GIGA,
            limit_is="matmul in bfloat16 or float32, whichever is faster",
            target=Target(f"at least 50 % of the limit (has {share:.0f} %)", share >= 50),
        ),
    ]


def lab(bench: Bench) -> list[Row]:
    """From uint8 RGB to Lab and back to RGB in [0, 1], gamut mapping included in ours."""
    height, width = bench.sizes.medium
    pixels = photograph(height, width)

    def ours() -> None:
        with torch.inference_mode():
            rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            lab_to_rgb(rgb_to_lab(rgb))

    pair = compare(ours, lambda: lab2rgb(rgb2lab(pixels)), runs=bench.runs)
    row = pair_row(
        "lab",
        f"RGB to Lab and back, {shape_text((height, width))}",
        pair,
        reference_is="scikit-image",
        limit_seconds=height * width * LAB_ROUND_TRIP_BYTES / bench.limits.copy,
        limit_is=f"{LAB_ROUND_TRIP_BYTES} bytes a pixel at the copy rate",
    )
    return [row]


def upsampling(bench: Bench) -> list[Row]:
    """Guided against bilinear: ab brought to full size, and with all that makes a picture of it."""
    height, width = bench.sizes.medium
    pixels = photograph(height, width)
    photo = read_photo(pixels)
    # The network answers at a quarter of the working size.
    h, w = (side // 4 for side in working_shape(height, width, bench.colorizer.net.working_size))
    ab = torch.rand(1, 2, h, w, generator=torch.Generator().manual_seed(0)) * 40 - 20
    small = resized_lightness(photo.pixels, h, w, device="cpu")
    rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    full = rgb_to_lightness(rgb)
    alone = compare(
        lambda: guide_ab(small, ab).upsample(full, height),
        lambda: F.interpolate(ab, size=(height, width), mode="bilinear"),
        runs=bench.runs,
    )
    joined = compare(
        lambda: photo.with_ab(ab, upsample="guided"),
        lambda: photo.with_ab(ab, upsample="bilinear"),
        runs=bench.runs,
    )
    copied = height * width / bench.limits.copy
    return [
        pair_row(
            "upsampling",
            f"guided upsampling of ab to {shape_text((height, width))}",
            alone,
            reference_is="F.interpolate, bilinear",
            limit_seconds=UPSAMPLING_BYTES * copied,
            limit_is=f"{UPSAMPLING_BYTES} bytes a pixel at the copy rate",
        ),
        pair_row(
            "upsampling",
            f"joining ab to a picture of {shape_text((height, width))}, guided",
            joined,
            reference_is="the same, bilinear",
            limit_seconds=6 * copied,
            limit_is="uint8 RGB in and out at the copy rate",
        ),
    ]
