"""Pack a folder of photographs, go on training the shipped model with them, and colour one.

    python docs/examples/train_your_own.py Pictures runs/first grandmother.jpg

It needs the extra `train`. After Ctrl-C the same line goes on where it stood.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from zcolor import Colorizer
from zcolor.training.loop import train
from zcolor.training.pack import pack_photos
from zcolor.training.settings import PackSettings, TrainSettings

# Few photographs: move the shipped model a little. For tens of thousands: TrainSettings() and
# init=None.
SETTINGS = TrainSettings(
    photos=640, lr=2e-4, crops=(96,), shares=(1.0,), epoch_photos=160, cache=True
)


def main(album: str, out: str, photo: str, settings: TrainSettings = SETTINGS) -> Path:
    """Train on `album` into the folder `out`, and colour `photo` beside itself."""
    run = Path(out)
    pack = run.with_suffix(".h5")
    if not pack.exists():
        report = pack_photos([album], pack, PackSettings())
        print(report.summary())
    began = (run / "last.safetensors").exists()
    result = train(settings, [pack], run, init="zhang", resume=began)
    print(f"{result.reason}: {result.seen:,} photos seen, best {result.best}")

    picture = Colorizer(result.best)(photo)
    assert isinstance(picture, Image.Image)  # since a path went in
    target = Path(photo).with_name(f"{Path(photo).stem}-mine.png")
    picture.save(target)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    print(main(sys.argv[1], sys.argv[2], sys.argv[3]))
