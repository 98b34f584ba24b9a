"""`zcolor stylize`: a photo drawn in the style of another, and textures; heavy imports are late."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from zcolor.photo import ImageLike
    from zcolor.style_energy import Energies
    from zcolor.style_features import FeatureNet

Features = Literal["zhang", "vgg19"]
MAX_SIZE = 1024
"""Largest working size: the time grows with its square."""


@dataclass(frozen=True)
class StyleSettings:
    """How a picture is drawn in the style of another."""

    alpha: float = 1.0
    """How much the content counts."""
    beta: float = 2.0
    """How much the style counts: more of it leaves less of the photo."""
    steps: int = 60
    """Steps at each size; a picture is drawn small first, then at twice the size, and so on."""
    size: int = 256
    """Side in pixels of the square whose area the picture is drawn at, 16 to 1024."""
    features: Features = "zhang"
    """The network that looks: `zhang` ships with zcolor and reads lightness alone, so that the
    photo keeps its colours; `vgg19` sees colour, and its weights have to be had."""
    weights: str = ""
    """Of that network: a checkpoint of zhang, a file for vgg19, or `hub` to fetch those of timm;
    left out, the shipped ones and `hub`."""
    from_noise: bool = False
    """Begin with noise, as the papers do, in place of the photo: needs many more steps."""
    optimizer: Literal["adam", "lbfgs"] = "adam"
    """`lbfgs` is that of the papers: fewer steps, more time for each."""
    seed: int = 0
    """Of the noise."""
    full: bool = False
    """Bring the result to the photo's own size, keeping its detail."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not (0 <= self.alpha < math.inf and 0 < self.beta < math.inf):
            raise ValueError(
                "alpha must be at least 0 and beta above it, and both finite, got "
                f"{self.alpha} and {self.beta}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 16 <= self.size <= MAX_SIZE:
            raise ValueError(f"size must lie in 16..{MAX_SIZE} pixels, got {self.size}")


@dataclass(frozen=True)
class StyleReport:
    """What `stylize_file` did."""

    path: Path
    """The picture that was written."""
    energies: Energies
    """E_content and E_style before the last step."""
    seconds: float
    """Time that drawing took."""


def stylize(
    content: ImageLike | None,
    style: ImageLike,
    settings: StyleSettings = StyleSettings(),
    *,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> tuple[npt.NDArray[np.uint8], Energies]:
    """Draw a photo in the style of another, or a texture like a picture.

    Parameters
    ----------
    content
        The photo, of any kind that `zcolor.colorize` takes; None synthesises a texture.
    style
        The picture whose style is taken.
    settings
        How.
    device
        `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    progress
        Show a progress bar with the energies on a terminal.

    Returns
    -------
    picture, energies
        (h, w, 3) uint8 sRGB of the content's working size (the style's, for a texture), or of its
        own size with `full`; transparency is left out. With `zhang` it has the photo's own colours,
        and a texture is grey. And the energies before the last step.

    Raises
    ------
    ValueError
        For options that make no sense, batches, and pictures that cannot be read; and where `alpha`
        or `beta` are so large that drawing fails.
    OSError, ImportError
        If the weights cannot be had.

    Notes
    -----
    Gatys et al. 2016; textures: Gatys et al. 2015. `zhang` transfers lightness only, as "Preserving
    Color in Neural Artistic Style Transfer" (Gatys et al. 2016) does.
    """
    import torch

    from zcolor.photo import read_photo
    from zcolor.reference import small_rgb
    from zcolor.registry import pick_device

    if content is None and settings.full:
        raise ValueError("full is for photos; a texture has the size of its style: use size")
    features = _features(settings, pick_device(device))
    photo = None if content is None else read_photo(content)
    rgb = None if photo is None else small_rgb(photo, settings.size)
    drawn, base, energies = _draw(
        features, small_rgb(read_photo(style), settings.size), rgb, settings, progress=progress
    )
    if photo is not None and settings.full:
        from zcolor.style import enlarged

        rgb = small_rgb(photo, None)
        full = rgb if features.n_channels == 3 else _lab(rgb)[:, :1]
        drawn = enlarged(drawn, full, base, full)
    result = _joined(drawn, rgb)
    with torch.inference_mode():
        pixels = (result[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    picture: npt.NDArray[np.uint8] = pixels.numpy()
    return picture, energies


def stylize_file(
    content: Path | None,
    style: Path,
    out: Path,
    settings: StyleSettings = StyleSettings(),
    *,
    overwrite: bool = False,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> StyleReport:
    """Draw a picture and write it, whole or not at all.

    Parameters
    ----------
    content, style, settings, device, progress
        As for `stylize`, as files.
    out
        The picture to write; its ending names the format. Its folder is made if needed.
    overwrite
        Replace it if it exists; the originals are never replaced.

    Raises
    ------
    FileExistsError
        If `out` exists and `overwrite` is not set.
    IsADirectoryError, NotADirectoryError
        If `out` is a folder, or lies below a file.
    ValueError
        As for `stylize`, if `out` is one of the originals, or its ending names no format.
    """
    from zcolor.atomic import check_place
    from zcolor.files import write_image
    from zcolor.formats import format_for

    file_format = format_for(out)
    check_place(out, "the picture")
    for original in (content, style):
        if original is None:
            continue
        if not original.is_file():
            raise FileNotFoundError(f"there is no picture {original}; name an image file")
        if out.exists() and out.samefile(original):
            raise ValueError(f"{out} is an original, which is never replaced; choose another name")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another name, or --overwrite it")
    begin = time.perf_counter()
    picture, energies = stylize(content, style, settings, device=device, progress=progress)
    seconds = time.perf_counter() - begin
    out.parent.mkdir(parents=True, exist_ok=True)
    write_image(out, picture, file_format=file_format)
    return StyleReport(out, energies, seconds)


def _features(settings: StyleSettings, device: torch.device) -> FeatureNet:
    from zcolor.style_features import vgg19_features, zhang_features

    if settings.features == "zhang":
        return zhang_features(settings.weights or "zhang", device=device)
    return vgg19_features(settings.weights or "hub", device=device)


def _draw(
    features: FeatureNet,
    style: torch.Tensor,
    content: torch.Tensor | None,
    settings: StyleSettings,
    *,
    progress: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, Energies]:
    """The picture in the channels of the network, what it was drawn over, and its energies."""
    from tqdm import tqdm

    from zcolor.style import draw, match_lightness, n_scales

    if features.n_channels == 1:
        style = _lab(style)[:, :1]
        if content is not None:
            content = _lab(content)[:, :1]
            style = match_lightness(style, content)
    goal = style if content is None else content
    device = features.mean.device
    walk = draw(
        features,
        style.to(device),
        None if content is None else content.to(device),
        alpha=settings.alpha,
        beta=settings.beta,
        from_noise=settings.from_noise,
        steps=settings.steps,
        optimizer=settings.optimizer,
        seed=settings.seed,
    )
    total = settings.steps * n_scales(*goal.shape[2:])
    bar = tqdm(walk, "stylize", total, unit="step", disable=None if progress else True)
    for step in bar:
        values = step.energies
        bar.set_postfix_str(f"content {values.content:.4f}, style {values.style:.4f}")
        numbers = step.picture.sum().item(), values.content, values.style
        if not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"alpha {settings.alpha:g} and beta {settings.beta:g} are too large to draw with: "
                "only how large one is beside the other counts, so take both smaller"
            )
    return step.picture.cpu(), content, step.energies


def _lab(rgb: torch.Tensor) -> torch.Tensor:
    from zcolor.lab import rgb_to_lab

    return rgb_to_lab(rgb)


def _joined(drawn: torch.Tensor, rgb: torch.Tensor | None) -> torch.Tensor:
    """Make sRGB of what was drawn: lightness takes the colours of `rgb`, or none."""
    import torch

    from zcolor.lab import lab_to_rgb

    if drawn.shape[1] == 3:
        return drawn.clamp(0, 1)
    grey = drawn.new_zeros(1, 2, *drawn.shape[2:])
    ab = grey if rgb is None else _lab(rgb)[:, 1:]
    return lab_to_rgb(torch.cat((drawn.clamp(0, 100), ab), dim=1))
