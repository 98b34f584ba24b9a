"""Whole jobs: one picture, JPEG bytes to JPEG bytes, and a folder of files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from benchmarks.bench import MILLION, Bench, Row, Target, pair_row, shape_text
from benchmarks.photographs import jpeg_bytes, make_folder, photograph
from benchmarks.timing import Pair, compare, cpu_share, interleave, timed
from zcolor.apps.folder import color_files


def _one_picture(bench: Bench, case: str, shape: tuple[int, int], least_ratio: float) -> list[Row]:
    jpeg = jpeg_bytes(photograph(*shape))
    colorizer, reference = bench.colorizer, bench.reference
    pair = compare(
        lambda: colorizer(jpeg),
        lambda: reference.color_bytes(jpeg),
        runs=bench.runs if shape[0] * shape[1] < 4 * MILLION else bench.few_runs,
    )
    limit = bench.limits.picture_seconds(shape[0] * shape[1], bench.photo_macs(*shape))
    row = pair_row(
        case,
        f"{shape_text(shape)} JPEG, bytes to bytes",
        pair,
        limit_seconds=limit,
        limit_is="JPEG decoding and encoding on one core + network at the matmul rate",
        least_ratio=least_ratio,
    )
    return [row]


def small(bench: Bench) -> list[Row]:
    """Colour a small picture."""
    return _one_picture(bench, "small", bench.sizes.small, 5)


def medium(bench: Bench) -> list[Row]:
    """Colour a medium one."""
    return _one_picture(bench, "medium", bench.sizes.medium, 5)


def large(bench: Bench) -> list[Row]:
    """Colour one of 12 megapixels."""
    return _one_picture(bench, "large", bench.sizes.large, 6)


def folder(bench: Bench) -> list[Row]:
    """Colour a folder of mixed JPEG files, files in, files out; loading our model included."""
    sizes = bench.sizes
    paths = make_folder(bench.folder / "mixed", sizes.n_files, megapixels=sizes.megapixels)
    out = bench.folder / "mixed-out"
    out.mkdir(exist_ok=True)
    reference = bench.reference
    busy: list[float] = []
    reference_busy: list[float] = []

    def watched(work: Callable[[], object], shares: list[float]) -> Callable[[], object]:
        return lambda: shares.append(cpu_share(work))

    def ours(sources: Sequence[Path]) -> None:
        report = color_files(sources, out, overwrite=True, device="cpu", progress=False)
        assert not report.failed, report.failed

    def usual(sources: Sequence[Path]) -> None:
        for path in sources:
            reference.color_file(path, out / path.name)

    # The whole folder would be a long way to warm up.
    ours(paths[:1])
    usual(paths[:1])
    tasks = {
        "ours": timed(watched(lambda: ours([paths[0].parent]), busy)),
        "reference": timed(watched(lambda: usual(paths), reference_busy)),
    }
    seconds = interleave(tasks, runs=bench.few_runs, warm_up=0)
    assert len(list(out.iterdir())) == len(paths)
    pair = Pair(seconds["ours"], seconds["reference"])
    n_pixels, limit = _folder_limit(bench, paths)
    share = 100 * statistics.median(busy)
    return [
        pair_row(
            "folder",
            f"{len(paths)} mixed JPEG files, {n_pixels / MILLION:.0f} MP, files to files",
            pair,
            reference_is="the usual path, file by file",
            limit_seconds=limit,
            limit_is="JPEG decoding and encoding on all cores + network at the matmul rate",
            least_ratio=6,
        ),
        Row(
            "folder",
            "cores busy meanwhile",
            "%",
            share,
            reference=100 * statistics.median(reference_busy),
            reference_is="the usual path",
            target=Target.at_least(share, 90, " %"),
        ),
    ]


def _folder_limit(bench: Bench, paths: Sequence[Path]) -> tuple[int, float]:
    """Pixels of files in all, and the seconds that they take at least."""
    shapes = []
    for path in paths:
        with Image.open(path) as image:
            shapes.append((image.height, image.width))
    n_pixels = sum(height * width for height, width in shapes)
    n_macs = sum(bench.photo_macs(*shape) for shape in shapes)
    return n_pixels, bench.limits.picture_seconds(n_pixels, n_macs, overlapped=True)
