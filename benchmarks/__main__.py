"""Time the main job against the usual parts: `make bench`.

Each case and its reference run in turn (A B A B ...), so that a machine that changes its pace
changes both; the median of the ratios is what counts.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from skimage import data
from skimage.color import lab2rgb, rgb2lab

from zcolor import Colorizer
from zcolor.lab import lab_to_rgb, rgb_to_lab
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo

_RUNS = 7


def seconds(task: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], object], reference: Callable[[], object]) -> None:
    """Print medians and the median ratio of interleaved pairs."""
    ours(), reference()  # warm up
    pairs = [(seconds(ours), seconds(reference)) for _ in range(_RUNS)]
    ratios = sorted(b / a for a, b in pairs)
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name:42s} {1000 * a:8.1f} ms   reference {1000 * b:8.1f} ms   "
        f"{statistics.median(ratios):5.2f}x ({ratios[0]:.2f} - {ratios[-1]:.2f})"
    )


def main() -> None:
    """Run every case."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {_RUNS} pairs a case")
    photo = Image.fromarray(data.astronaut())  # 512 x 512
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    jpeg = file.getvalue()
    colorizer = Colorizer()

    pixels = np.asarray(photo)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    wide = Zhang(width=1.0).eval()
    lightness = read_photo(photo).lightness(256, "cpu")

    def usual() -> None:
        """The usual path: scikit-image's conversions, a width-1 network at 256 x 256."""
        with torch.inference_mode():
            lab = rgb2lab(np.asarray(Image.open(io.BytesIO(jpeg))))
            ab = wide.predict_ab(lightness, wide.presets["vivid"])
            full = torch.nn.functional.interpolate(ab, size=lab.shape[:2], mode="bilinear")
            lab[..., 1:] = full[0].permute(1, 2, 0).numpy()
            lab2rgb(lab)

    def forward(net: Zhang) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                net(lightness)

        return run

    net = colorizer.net
    assert isinstance(net, Zhang)
    compare("512 x 512 JPEG to picture (usual path)", lambda: colorizer(jpeg), usual)
    compare("forward at 256 x 256, width 0.5 (width 1)", forward(net), forward(wide))
    compare(
        "Lab there and back (scikit-image)",
        lambda: lab_to_rgb(rgb_to_lab(tensor)),
        lambda: lab2rgb(rgb2lab(pixels)),
    )


if __name__ == "__main__":
    main()
