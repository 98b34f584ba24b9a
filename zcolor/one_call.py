"""`colorize`: a picture by one call, with models that stay loaded."""

from __future__ import annotations

import functools
import os
import threading

import torch

from zcolor.colorizer import Colorizer
from zcolor.photo import Colored, ImageLike
from zcolor.registry import find_weights, pick_device
from zcolor.settings import (
    Average,
    ColorizeSettings,
    Colors,
    DecodeMethod,
    Frame,
    Preset,
    Upsample,
)

# Models that are kept loaded.
_KEPT = 4


def colorize(
    image: ImageLike,
    *,
    model: str | os.PathLike[str] = "zhang",
    preset: Preset = "vivid",
    decode: DecodeMethod | None = None,
    temperature: float | None = None,
    colors: Colors | None = None,
    rebalance: float | None = None,
    neutral: tuple[float, float] | None = None,
    size: int | None = None,
    upsample: Upsample = "guided",
    saturation: float = 1.0,
    average: Average = "none",
    reference: ImageLike | None = None,
    lend: float = 0.7,
    frame: Frame = "leave",
    device: str | torch.device = "auto",
) -> Colored:
    """Colour a black-and-white photograph.

    The network reads the lightness at a small working size (`zcolor.photo.working_shape`: the
    proportions are kept) and predicts ab; the full-size lightness is that of the input.
    The model is loaded at the first call and kept.

    Parameters
    ----------
    image
        Path, binary file object, bytes of an image file, PIL image, or sRGB array: NumPy (h, w),
        (h, w, 1 | 3 | 4) or a batch of these, torch (h, w), (1 | 3 | 4, h, w) or a batch; uint8,
        uint16, or floating in [0, 1]. Colour that it has is ignored.
    model
        A name of `zcolor.list_models()`, or the path of a checkpoint or of an ONNX model that
        `zcolor export` wrote.
    preset
        `vivid` (more colour) or `accurate` (less error on the average pixel, so paler): the
        model's own settings for what is None below.
    decode
        `annealed` (the annealed mean), `argmax` (the most probable cell) or `mean`; None takes the
        preset's. Zhang et al. 2016, section 2.3.
    temperature
        Of the annealed mean, in [0, 1]: 0 is argmax, 1 the mean; None takes the preset's.
    colors
        The colour of a cell: `means` of its training pixels, or `centers`; None takes the
        preset's.
    rebalance
        Power of the rebalancing weights of training in the probabilities, in [0, 4]: 0 is how
        often colours really occur, 1 is as trained, more favours rare colours; None takes the
        preset's.
    neutral
        The (a, b) that are shown as neutral, to take a cast away: (0, 5) for a yellowish one; None
        takes the preset's.
    size
        Working size: the side of the square of equal area, 8 to 4096 pixels; None takes the
        model's own. A larger one shows the network more detail and costs time in proportion to its
        area; the coarse colours still come from the model's own (`zcolor.two_scales`).
    upsample
        How ab comes to full size: `guided` by the lightness, so that colour stops at its edges, or
        `bilinear`, which is a little faster.
    saturation
        Factor on ab, in [0, 4], on top of what the preset has; 0 gives a grey picture.
    average
        `none`, `flip` (also the mirror image: twice the work) or `crops` (ten crops: about eight
        times the work); see `zcolor.averaging`.
    reference
        A colour picture, of any kind, that lends its colours: those that are more frequent in it
        than in photographs become more probable (`zcolor.reference`). For models that classify.
    lend
        How far colours lean towards the reference's, in [0, 2]: 0 not at all, 1 by Bayes' rule.
    frame
        A white or black frame all around a single photograph (`zcolor.frame`): `leave` it grey and
        colour what lies inside, or `color` the picture as a whole.
    device
        `auto` takes CUDA, then MPS, then the CPU; or `cpu`, `cuda`, `cuda:N`, `mps`.

    Returns
    -------
    A picture of the kind that came in and of its size, in sRGB; see `zcolor.photo`.

    Raises
    ------
    ValueError
        For pictures that cannot be read, options that make no sense, an unknown model, a device
        that is not there, or one of `decode`, `temperature`, `colors`, `rebalance` and `neutral`
        for a model that answers with a colour and not with the probabilities of many.
    TypeError
        For another kind of object, dtype or PIL mode.
    FileNotFoundError, IsADirectoryError
        If a path leads to no file.
    """
    settings = ColorizeSettings(
        preset=preset,
        decode=decode,
        temperature=temperature,
        colors=colors,
        rebalance=rebalance,
        neutral=neutral,
        size=size,
        upsample=upsample,
        saturation=saturation,
        average=average,
        lend=lend,
        frame=frame,
    )
    colorizer = kept_colorizer(model, pick_device(device))
    return colorizer.batch([image], settings, reference=reference)[0]


_loading = threading.Lock()


def kept_colorizer(model: str | os.PathLike[str], device: torch.device) -> Colorizer:
    """Load a model once per device; a file that has changed is loaded again."""
    path = find_weights(model)
    state = path.stat()
    with _loading:  # two threads that ask at once shall not both load
        return _load_colorizer(str(path.resolve()), device, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=_KEPT)
def _load_colorizer(path: str, device: torch.device, _stamp: tuple[int, int]) -> Colorizer:
    return Colorizer(path, device=device)
