"""Measure a network on validation photographs, as people will see its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from zcolor.lab import rgb_to_lab
from zcolor.metrics import AucMeter, mean_chroma
from zcolor.models.base import ColorNet
from zcolor.photo import read_photo
from zcolor.precision import fast_precision
from zcolor.settings import DecodeSettings
from zcolor.training.dataset import Photos, Rgb8

# Photos with a shorter short side are brought to it (bicubic) before they are measured.
MEASURED_SHORT_SIDE = 128


@dataclass(frozen=True)
class Validation:
    """Measures over a set of photographs; AuC in percent."""

    loss: float
    """The training loss (`total`) at the working size."""
    cross_entropy: float
    """The same without rebalancing."""
    top1: float
    """Share of the pixels whose most probable cell is the true one."""
    auc_raw: float
    auc_rebalanced: float
    chroma: float
    """Mean chroma of the results."""


def rgb8_to_lab(rgb: Rgb8) -> Tensor:
    """Convert (h, w, 3) uint8 RGB to (1, 3, h, w) Lab."""
    return rgb_to_lab(rgb8_to_tensor(rgb))


def rgb8_to_tensor(rgb: Rgb8) -> Tensor:
    """Convert (h, w, 3) uint8 RGB to (1, 3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1).unsqueeze(0)


def measured_photo(rgb: Rgb8) -> Rgb8:
    """Bring a photo whose short side is below 128 px to 128 (bicubic); others stay as they are."""
    height, width = rgb.shape[:2]
    scale = MEASURED_SHORT_SIDE / min(height, width)
    if scale <= 1:
        return rgb
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@torch.inference_mode()
def validate(
    net: ColorNet,
    photos: Photos,
    indices: Iterable[int],
    decode: DecodeSettings,
    *,
    device: torch.device,
    bf16: bool = False,
    degrade: Callable[[Rgb8, int], Rgb8] | None = None,
) -> Validation:
    """Colour photographs through the ordinary door and measure the 8-bit results.

    Parameters
    ----------
    net
        In evaluation mode.
    photos, indices
        Which photographs.
    decode
        How the output becomes colour.
    device
        Where the network stands.
    bf16
        Run the network in bfloat16 where the device computes in it.
    degrade
        Gives what the network sees of a photo and its index (as `zcolor.training.film.degraded`
        does); the results keep the lightness of the clean photo.

    Returns
    -------
    The measures, means over pixels (AuC) or photos (the rest).
    """
    meter = AucMeter()
    sums = torch.zeros(4, dtype=torch.float64)
    n = 0
    for index in indices:
        rgb = measured_photo(photos.read(index))
        photo = read_photo(rgb)
        seen = photo if degrade is None else read_photo(degrade(rgb, index))
        lightness = seen.lightness(net.working_size, device)
        with fast_precision(device, bf16=bf16):
            output = net(lightness)
        truth = rgb8_to_lab(rgb)[:, 1:]
        # The targets are averages over the pixels that the working size merges.
        working = F.interpolate(truth, lightness.shape[-2:], mode="area").to(device)
        losses = net.loss(output, net.target(working, lightness, None))
        ab = net.to_ab(output, lightness, decode)
        result = rgb8_to_lab(np.asarray(photo.with_ab(ab), dtype=np.uint8))[:, 1:]
        meter.add(result, truth)
        sums += torch.tensor(
            [
                losses["total"].item(),
                losses.get("cross_entropy", losses["total"]).item(),
                losses["top1"].item() if "top1" in losses else float("nan"),
                mean_chroma(result).item(),
            ]
        )
        n += 1
    loss, cross_entropy, top1, chroma = (sums / n).tolist()
    return Validation(loss, cross_entropy, top1, meter.raw(), meter.rebalanced(), chroma)


@torch.inference_mode()
def picture_sheet(
    net: ColorNet, photos: Photos, indices: Iterable[int], *, device: torch.device, bf16: bool
) -> npt.NDArray[np.uint8]:
    """Draw grey | argmax | annealed mean | truth, a photo a row.

    Returns
    -------
    (height, width, 3) uint8 RGB.
    """
    side = MEASURED_SHORT_SIDE
    rows = []
    for index in indices:
        rgb = measured_photo(photos.read(index))
        photo = read_photo(rgb)
        lightness = photo.lightness(net.working_size, device)
        with fast_precision(device, bf16=bf16):
            output = net(lightness)
        grey = photo.with_ab(torch.zeros(1, 2, 1, 1, device=device))
        colored = [
            photo.with_ab(net.to_ab(output, lightness, DecodeSettings(method=method)))
            for method in ("argmax", "annealed")
        ]
        pictures = [np.asarray(picture, dtype=np.uint8) for picture in (grey, *colored, rgb)]
        rows.append(
            np.concatenate(
                [cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA) for p in pictures],
                axis=1,
            )
        )
    return np.concatenate(rows).astype(np.uint8)
