"""LPIPS and FID through torchmetrics, where it and its weights are there; nothing is downloaded.

References
----------
LPIPS: Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018.
FID: Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update
Rule Converge to a Local Nash Equilibrium", NeurIPS 2017.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zcolor.extras import install_command
from zcolor.metrics_image import Rgb8

# Files that torchvision and torch-fidelity would download into torch's hub folder otherwise.
LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"
FID_WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
# FID compares two covariances of 2048 features; from few photos it says little.
_FEWEST_FOR_FID = 2


class Perceptual:
    """What there is of LPIPS and FID on this machine.

    Attributes
    ----------
    notes : list of str
        What is left out, and why.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        lpips = self._find(
            "LPIPS",
            "torchmetrics.image.lpip",
            "LearnedPerceptualImagePatchSimilarity",
            LPIPS_WEIGHTS,
            "torchvision",
        )
        self._lpips = None if lpips is None else lpips(net_type="alex", normalize=True)
        self._fid_class = self._find(
            "FID",
            "torchmetrics.image.fid",
            "FrechetInceptionDistance",
            FID_WEIGHTS,
            "torch_fidelity",
        )
        self._fids: dict[str, Any] = {}

    @property
    def available(self) -> bool:
        """Whether anything can be measured."""
        return self._lpips is not None or self._fid_class is not None

    @torch.inference_mode()
    def add(self, method: str, rgb: Rgb8, truth: Rgb8) -> float | None:
        """Add a result to the FID of its method, and measure its LPIPS.

        Parameters
        ----------
        method
            Whose result it is.
        rgb, truth
            (h, w, 3) uint8 result and truth.

        Returns
        -------
        LPIPS (0 for equal pictures), or None where it is not available.
        """
        result, true = _tensor(rgb), _tensor(truth)
        if self._fid_class is not None:
            if method not in self._fids:
                self._fids[method] = self._fid_class(feature=2048)
            self._fids[method].update(true, real=True)
            self._fids[method].update(result, real=False)
        if self._lpips is None:
            return None
        value = float(self._lpips(result / 255, true / 255))
        self._lpips.reset()  # the evaluation keeps the sums, in constant memory
        return value

    def fid(self, method: str, n_photos: int) -> float | None:
        """FID of the photos that were added, or None where it is not available."""
        if method not in self._fids or n_photos < _FEWEST_FOR_FID:
            return None
        return float(self._fids[method].compute())

    def _find(self, what: str, module: str, name: str, weights: str, needed: str) -> Any:
        """The class of a metric if everything that it needs is on this machine, or else None."""
        try:
            importlib.import_module(needed)  # which torchmetrics misses only when it is used
            metric = getattr(importlib.import_module(module), name)
        # An installation that does not fit to this torch raises RuntimeError as it is loaded.
        except (ImportError, AttributeError, RuntimeError) as error:
            self.notes.append(
                f"{what} was left out: torchmetrics cannot be loaded ({error}); "
                f"{install_command('perceptual')} brings it"
            )
            return None
        path = Path(torch.hub.get_dir()) / "checkpoints" / weights
        if not path.is_file():
            self.notes.append(f"{what} was left out: its weights are missing, {path.name}")
            return None
        return metric


def _tensor(rgb: Rgb8) -> Tensor:
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None]  # (1, 3, h, w)
