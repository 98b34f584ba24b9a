"""Colour many photographs together: on a GPU if there is one, or else on the CPU.

    python docs/examples/batch_on_gpu.py album album-color

Photographs of one shape share a pass through the network.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from PIL import Image

from zcolor import Colorizer
from zcolor.settings import ColorizeSettings

BATCH = 32  # photographs in memory at once
SUFFIXES = (".jpg", ".jpeg", ".png")


def main(album: str, out: str) -> int:
    """Colour the pictures of the folder `album` into `out`, and return how many they were."""
    paths = sorted(path for path in Path(album).iterdir() if path.suffix.lower() in SUFFIXES)
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    colorizer = Colorizer(device="auto")
    start = time.perf_counter()
    for first in range(0, len(paths), BATCH):
        batch = paths[first : first + BATCH]
        for path, picture in zip(batch, colorizer.batch(batch, ColorizeSettings())):
            assert isinstance(picture, Image.Image)  # since paths went in
            picture.save(target / f"{path.stem}.png")
    rate = len(paths) / (time.perf_counter() - start)
    print(
        f"{len(paths)} photos on {colorizer.device}, {rate:.1f} a second with reading and writing"
    )
    return len(paths)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
