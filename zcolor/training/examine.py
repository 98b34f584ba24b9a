"""Examine a network in the middle of its training: measure it, and draw what it makes."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import torch

from zcolor.models.base import ColorNet
from zcolor.settings import DecodeSettings
from zcolor.training.dataset import Photos, read_named
from zcolor.training.logbook import Logbook
from zcolor.training.settings import TrainSettings
from zcolor.training.validate import picture_sheet, validate

logger = logging.getLogger(__name__)

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
    indices = _readable(photos, [i * len(photos) // n for i in range(n)])
    measured = validate(net, photos, indices, DecodeSettings(), device=device, bf16=s.bf16)
    values = {f"val_{name}": value for name, value in dataclasses.asdict(measured).items()}
    if math.isnan(measured.top1):  # of a family that does not classify; JSON knows no NaN
        del values["val_top1"]
    logbook.write(seen, values)
    shown = indices[:: max(1, n // _SHEET_PHOTOS)][:_SHEET_PHOTOS]
    logbook.save_sheet(seen, picture_sheet(net, photos, shown, device=device, bf16=s.bf16))
    return values


def _readable(photos: Photos, indices: Sequence[int]) -> list[int]:
    """Leave out, with a warning, what cannot be read: no reason to end a training."""
    found = []
    for index in indices:
        try:
            read_named(photos, index)
        except ValueError as error:
            logger.warning("left out of the validation: %s", error)
        else:
            found.append(index)
    if not found:
        raise ValueError("none of the validation photos can be read")
    return found
