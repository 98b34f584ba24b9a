"""What the faces study measures, and the tables and sheets that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from studies.faces_runs import PUBLISHED_SCALE
from studies.report import SAMPLES, Rgb8, save_sheet, table
from zcolor.colorizer import Colorizer
from zcolor.metrics import mse_ab
from zcolor.metrics_image import psnr_ab, ssim_ab
from zcolor.photo import Photo, read_photo
from zcolor.settings import Device
from zcolor.training.dataset import Photos, open_photos
from zcolor.training.validate import rgb8_to_lab

Predict = Callable[[Photo], Tensor]
"""Gives (1, 2, h', w') ab of a photo."""
_MEASURES = (
    "MSE of the mean a", "MSE of the mean b", "MSE a", "MSE b", "PSNR a", "PSNR b", "SSIM a",
    "SSIM b",
)  # fmt: skip
_FORMATS = ("{:.2e}",) * 4 + ("{:.1f}",) * 2 + ("{:.3f}",) * 2
# What is published for networks of these kinds at 128 px. How the photos were split and how PSNR
# was averaged is not known, so that these figures are for orientation alone.
_PUBLISHED: Mapping[str, Sequence[tuple[str, ...]]] = {
    "faces": (
        ("*published: mean chroma*", "4.4e-05", "1.29e-04", "", "", "", "", "", ""),
        ("*published: colorizer*", "", "", "", "", "36.5", "34.2", "", ""),
    ),
    "ncd": (("*published: colorizer*", "", "", "", "", "24.8", "25.2", "0.803", "0.837"),),
}
_SHEET_PHOTOS = 6


def mean_color(photos: Photos) -> Tensor:
    """Average the colour of photographs, each counting the same: (1, 2, 1, 1) ab."""
    means = [rgb8_to_lab(photos.read(i))[:, 1:].mean((2, 3)) for i in range(len(photos))]
    return torch.cat(means).mean(0).view(1, 2, 1, 1)


def measure(predict: Predict, photos: Photos) -> tuple[float, ...]:
    """Colour photographs and measure the results, as people see them.

    Parameters
    ----------
    predict
        What colours.
    photos
        What is coloured, and the truth.

    Returns
    -------
    Means over the photos of what `_MEASURES` names. The MSE are of a / 255 and b / 255; those of
    the mean compare the mean colour of a photo with that of the answer, before it becomes 8-bit
    RGB, the others pixel by pixel after that.
    """
    rows = []
    for index in range(len(photos)):
        rgb = photos.read(index)
        photo, truth = read_photo(rgb), rgb8_to_lab(rgb)[:, 1:]
        ab = predict(photo).cpu()
        result = rgb8_to_lab(_picture(photo, ab))[:, 1:]
        off = (ab.mean((2, 3)) - truth.mean((2, 3))) / PUBLISHED_SCALE
        pixels = mse_ab(result, truth) / PUBLISHED_SCALE**2
        rows.append(
            [
                *off.square().flatten().tolist(),
                *pixels.tolist(),
                *psnr_ab(result, truth),
                *ssim_ab(result, truth),
            ]
        )
    return tuple(np.mean(rows, axis=0).tolist())


def _picture(photo: Photo, ab: Tensor) -> Rgb8:
    return np.asarray(photo.with_ab(ab), dtype=np.uint8)


def predictor(best: Path, device: Device) -> Predict:
    """Colour with a trained network."""
    return Colorizer(best, device=device).predict_ab


def constant(data: Mapping[str, Path]) -> Predict:
    """Give every photo the mean colour of the training photos."""
    color = mean_color(open_photos([data["train"]]))
    return lambda _photo: color


def error_table(set_name: str, methods: Mapping[str, Predict], data: Mapping[str, Path]) -> str:
    """Measure the methods on the test photos, as a table with what is published."""
    photos = open_photos([data["test"]])
    rows: list[Sequence[object]] = []
    for name, predict in methods.items():
        values = measure(predict, photos)
        rows.append([name, *(f.format(v) for f, v in zip(_FORMATS, values, strict=True))])
    return table(["", *_MEASURES], [*rows, *_PUBLISHED[set_name]])


def some_test_photos(data: Mapping[str, Path]) -> list[Rgb8]:
    """Read some test photos, evenly spread."""
    photos = open_photos([data["test"]])
    n = min(_SHEET_PHOTOS, len(photos))
    return [photos.read(int(i)) for i in np.linspace(0, len(photos) - 1, n).astype(int)]


def public_faces() -> list[Rgb8]:
    """Cut two portraits in the public domain to the face: Collins (NASA), Hopper (U.S. Navy)."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    boxes = {SAMPLES / "astronaut.jpg": (165, 60, 295, 190), hopper: (160, 130, 365, 335)}
    faces = [Image.open(path).convert("RGB").crop(box) for path, box in boxes.items()]
    return [np.asarray(face, dtype=np.uint8) for face in faces]


def picture_sheet(path: Path, methods: Mapping[str, Predict], photos: Sequence[Rgb8]) -> str:
    """Draw grey | each method | truth for photos."""
    rows = []
    for rgb in photos:
        photo = read_photo(rgb)
        grey = _picture(photo, torch.zeros(1, 2, 1, 1))
        colored = [_picture(photo, predict(photo).cpu()) for predict in methods.values()]
        rows.append([grey, *colored, rgb])
    return save_sheet(["grey", *methods, "truth"], rows, path)
