"""On an accelerator: throughput, where the time goes, compiling, agreement with the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.bench import GIGA, Bench, Row
from benchmarks.limits import matmul_rate, network_macs
from benchmarks.photographs import photograph
from benchmarks.timing import Pair, Spread, compare, interleave, timed
from zcolor import Colorizer
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo
from zcolor.precision import fast_precision
from zcolor.settings import ColorizeSettings

Forward = Callable[[Tensor], object]
"""A forward pass."""
Compiler = Callable[..., Forward]
"""Makes a faster forward pass of a network."""
# Photos whose colours are compared with those of the CPU.
_COMPARED = 8
_SIDES = (4096, 8192)
_TOP_SHARE = 99.9


def cuda(bench: Bench) -> list[Row]:
    """Everything on CUDA."""
    limit = max(matmul_rate(dtype, _SIDES, "cuda") for dtype in (torch.float32, torch.bfloat16))
    return device_rows(bench, torch.device("cuda"), compiler=torch.compile, arithmetic=limit)


def device_rows(
    bench: Bench,
    device: torch.device,
    *,
    compiler: Compiler,
    arithmetic: float,
) -> list[Row]:
    """Measure a device.

    Parameters
    ----------
    bench
        Sizes and number of runs.
    device
        Which.
    compiler
        Makes a faster network of a network.
    arithmetic
        Floating-point operations a second that the device can do at best.
    """
    sizes = bench.sizes
    pictures = np.stack(
        [photograph(sizes.batch_side, sizes.batch_side, index=i) for i in range(sizes.batch_photos)]
    )
    colorizer = Colorizer(device=device)
    lightness = read_photo(pictures).lightness(sizes.batch_side, "cpu")
    if device.type == "cuda":
        lightness = lightness.pin_memory()
    return [
        *_part_rows(bench, colorizer, lightness, arithmetic),
        _compile_row(bench, colorizer, lightness, compiler),
        *_agreement_rows(colorizer, pictures[:_COMPARED]),
    ]


def _finished(device: torch.device, work: Callable[[], object]) -> Callable[[], None]:
    """Do some work, in the precision of colouring, and wait until the device has done it."""

    def wait() -> None:
        with torch.inference_mode(), fast_precision(device):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return wait


def _part_rows(
    bench: Bench, colorizer: Colorizer, lightness: Tensor, arithmetic: float
) -> list[Row]:
    """Photos a second from L in host memory to ab in host memory, and the share of each part."""
    net, device = colorizer.net, colorizer.device
    assert isinstance(net, Zhang)
    decode = ColorizeSettings().decode_settings(net.presets)
    n, side = lightness.shape[0], lightness.shape[-1]
    on_device = lightness.to(device)
    with torch.inference_mode(), fast_precision(device):
        logits = net(on_device)
        ab = net.to_ab(logits, on_device, decode)
    parts: dict[str, Callable[[], object]] = {
        "whole": lambda: net.predict_ab(lightness.to(device, non_blocking=True), decode).cpu(),
        "transfer": lambda: (lightness.to(device), ab.cpu()),
        "forward": lambda: net(on_device),
        "decode": lambda: net.to_ab(logits, on_device, decode),
    }
    tasks = {name: timed(_finished(device, work)) for name, work in parts.items()}
    seconds = interleave(tasks, runs=3 * bench.runs, warm_up=3)
    medians = {name: Spread.of(values).median for name, values in seconds.items()}
    rate = Spread.of([n / value for value in seconds["whole"]])
    macs = network_macs(net.width, side, side)
    rows = [
        Row(
            "cuda",
            f"L to ab, batch of {n} at {side} x {side}, from and to host memory",
            "photos/s",
            rate.median,
            spread=rate,
            limit=arithmetic / (2 * macs),
            limit_is=f"2 x {macs / GIGA:.2f} GMAC over the device's matmul rate, "
            f"{arithmetic / GIGA:.0f} GFLOP/s",
        )
    ]
    rows += [
        Row("cuda", f"share of {name} in that", "%", 100 * medians[name] / medians["whole"])
        for name in ("transfer", "forward", "decode")
    ]
    return rows


def _compile_row(
    bench: Bench,
    colorizer: Colorizer,
    lightness: Tensor,
    compiler: Compiler,
) -> Row:
    """The forward pass compiled, against as it is."""
    net, device = colorizer.net, colorizer.device
    compiled = compiler(net)
    on_device = lightness.to(device)
    pair: Pair = compare(
        _finished(device, lambda: compiled(on_device)),
        _finished(device, lambda: net(on_device)),
        runs=3 * bench.runs,
        warm_up=3,
    )
    spread = Spread.of([1000 * seconds for seconds in pair.ours])
    return Row(
        "cuda",
        f"forward pass with torch.compile, batch of {lightness.shape[0]}",
        "ms",
        spread.median,
        spread=spread,
        reference=1000 * pair.reference_seconds.median,
        reference_is="without",
        ratio=pair.speedup,
    )


def _agreement_rows(colorizer: Colorizer, pictures: npt.NDArray[np.uint8]) -> list[Row]:
    """Largest and 99.9 % difference of ab and of 8-bit levels to the CPU."""
    photo = read_photo(pictures)
    both = (Colorizer(device="cpu"), colorizer)
    abs_ = [each.predict_ab(photo).float().cpu().numpy() for each in both]
    levels = [np.asarray(photo.with_ab(each.predict_ab(photo))).astype(int) for each in both]
    rows = []
    for what, unit, (a, b) in (("ab", "ab units", abs_), ("levels", "levels of 255", levels)):
        difference = np.abs(a - b)
        top = float(np.percentile(difference, _TOP_SHARE))
        rows.append(
            Row(
                "cuda",
                f"largest difference of {what} to the CPU",
                unit,
                float(difference.max()),
                note=f"{_TOP_SHARE:g} % are within {top:.3g}",
            )
        )
    return rows
