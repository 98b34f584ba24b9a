"""The mean colour of a photograph: `mean_chroma`, by the smallest of the networks."""

from __future__ import annotations

import torch

from zcolor.one_call import kept_colorizer
from zcolor.photo import ImageLike, read_photo
from zcolor.registry import pick_device
from zcolor.settings import DecodeSettings


def mean_chroma(image: ImageLike, *, device: str | torch.device = "auto") -> tuple[float, float]:
    """Predict the mean colour that a photograph most likely has, from its lightness alone.

    A network of 2 MB (`zcolor.models.mean_chroma`) that ships with zcolor and is loaded at the
    first call. `colorize(image, model="mean-chroma")` tints the photo in this colour. Where a frame
    goes around the photo, it is the mean of what lies inside (`zcolor.frame`).

    Parameters
    ----------
    image
        A single picture of any kind that `colorize` takes. Colour that it has is ignored.
    device
        `auto` takes CUDA, then MPS, then the CPU; or `cpu`, `cuda`, `cuda:N`, `mps`.

    Returns
    -------
    a, b
        Means over the pixels, in CIELAB units (D65), unscaled: a from green to red, b from blue to
        yellow. Of 100 photographs, 95 have a mean a within -12 to 19, and 95 a mean b within -15 to
        29.

    Raises
    ------
    ValueError
        For a batch of pictures, and as for `colorize`.
    TypeError, FileNotFoundError, IsADirectoryError
        As for `colorize`.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = mean_chroma(np.full((64, 64), 128, np.uint8), device="cpu")
    >>> abs(a) < 40 and abs(b) < 40
    True
    """
    photo = read_photo(image, find_frame=True)
    if photo.n != 1:
        raise ValueError(
            f"mean_chroma takes a single picture, got a batch of {photo.n}; call it for each of "
            "them"
        )
    colorizer = kept_colorizer("mean-chroma", pick_device(device))
    net = colorizer.net
    with torch.inference_mode():  # at full precision: two numbers are soon computed
        lightness = photo.lightness(net.working_size, colorizer.device)
        a, b = net.predict_ab(lightness, DecodeSettings()).flatten().tolist()
    return a, b
