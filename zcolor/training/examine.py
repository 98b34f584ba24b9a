"""Examine a network in the middle of its training: measure it, and draw what it makes."""

from __future__ import annotations

import dataclasses

import torch

from zcolor.models.base import ColorNet
from zcolor.settings import DecodeSettings
from zcolor.training.dataset import Photos
from zcolor.training.logbook import Logbook
from zcolor.training.settings import TrainSettings
from zcolor.training.validate import picture_sheet, validate

# Photographs on every picture sheet.
_SHEET_PHOTOS = 8


def examine(
    net: ColorNet,
    photos: Photos,
    s: TrainSettings,
    device: torch.device,
    logbook: Logbook,
    seen: int,
) -> dict[str, float]:
    """Measure a network on validation photographs, log the measures and save a picture sheet.

    Parameters
    ----------
    net
        In evaluation mode.
    photos
        The validation photographs, of which `s.val_photos` are used, always the same.
    s
        The settings of the run.
    device
        Where the network stands.
    logbook, seen
        Where the measures and the sheet go, and under which number of photos seen.

    Returns
    -------
    The measures by name: `val_loss`, `val_auc_raw` and so on.
    """
    n = min(s.val_photos or len(photos), len(photos))
    # Spread over the whole set, which may be sorted by source.
    indices = [i * len(photos) // n for i in range(n)]
    measured = validate(net, photos, indices, DecodeSettings(), device=device, bf16=s.bf16)
    values = {f"val_{name}": value for name, value in dataclasses.asdict(measured).items()}
    logbook.write(seen, values)
    shown = indices[:: max(1, n // _SHEET_PHOTOS)][:_SHEET_PHOTOS]
    logbook.save_sheet(seen, picture_sheet(net, photos, shown, device=device, bf16=s.bf16))
    return values
