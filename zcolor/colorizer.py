"""The main job: `colorize` for one picture, `Colorizer` for many.

A photograph's walk: `read_photo`, its lightness at working size, the network's ab, and the two
joined at full size. Nothing here asks which family of networks it holds.
"""

from __future__ import annotations

import functools
import logging
import math
import numbers
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zcolor.photo import Colored, ImageLike, Photo, read_photo
from zcolor.registry import find_weights, load_model, pick_device
from zcolor.settings import DecodeSettings
from zcolor.upsample import check_method

if TYPE_CHECKING:
    from zcolor.distribution import ColorDistribution

logger = logging.getLogger(__name__)

SIZES = (8, 4096)
"""Smallest and largest working size, in pixels."""
MAX_SATURATION = 4.0
"""Largest factor on ab; beyond it every colour lies at the edge of the gamut."""

# Pixels of the working size that go through the network at once: 64 photos at 128 x 128. The
# probabilities of 324 cells at a quarter of the side take 85 MB for them.
_PIXELS_AT_ONCE = 1 << 20
# Networks that `colorize` keeps loaded.
_KEPT = 4


@dataclass(frozen=True)
class Options:
    """How pictures are coloured, complete and checked: what `Colorizer.options` gives."""

    decode: DecodeSettings
    """How probabilities become colour."""
    size: int
    """Working size: the side in pixels of the square of equal area."""
    upsample: str
    """How ab comes to full size."""
    saturation: float
    """Factor on ab."""


class Colorizer:
    """A loaded model that colours pictures, one or many.

    Safe to use from several threads at once: a call changes nothing in it.

    Parameters
    ----------
    model
        A name of `zcolor.list_models()`, or the path of a checkpoint.
    device
        `auto` takes CUDA, then MPS, then the CPU; or `cpu`, `cuda`, `cuda:N`, `mps`.

    Attributes
    ----------
    device : torch.device
        Where the network runs, the decoding, the upsampling and the conversion to RGB too.
    net : ColorNet
        The network, in evaluation mode.

    Raises
    ------
    ValueError
        For an unknown model, a file that is no checkpoint, or a device that is not there.
    FileNotFoundError
        If there is no such file.
    """

    def __init__(
        self, model: str | os.PathLike[str] = "zhang", *, device: str | torch.device = "auto"
    ) -> None:
        self.device = pick_device(device)
        self.net = load_model(model, device=self.device)
        logger.debug("loaded %s on %s", model, self.device)

    def __call__(
        self,
        image: ImageLike,
        *,
        decode: str | None = "annealed",
        temperature: float | None = None,
        colors: str | None = None,
        size: int | None = None,
        upsample: str = "bilinear",
        saturation: float = 1.0,
    ) -> Colored:
        """Colour a picture; see `colorize` for the parameters, what comes out and the errors."""
        return self.batch(
            [image],
            decode=decode,
            temperature=temperature,
            colors=colors,
            size=size,
            upsample=upsample,
            saturation=saturation,
        )[0]

    def batch(
        self,
        images: Iterable[ImageLike],
        *,
        decode: str | None = "annealed",
        temperature: float | None = None,
        colors: str | None = None,
        size: int | None = None,
        upsample: str = "bilinear",
        saturation: float = 1.0,
    ) -> list[Colored]:
        """Colour many pictures, those of one working shape together.

        Every picture stays in memory until the end; for a long row of files take one at a time.

        Parameters
        ----------
        images
            Pictures of any kind, kinds mixed as you like.
        decode, temperature, colors, size, upsample, saturation
            As for `colorize`.

        Returns
        -------
        The coloured pictures in the order of `images`, each of the kind that it came in. They
        equal those coloured alone up to rounding (1 level of 255).

        Raises
        ------
        TypeError
            For a single picture in place of several, and as for `colorize`.
        ValueError
            As for `colorize`.
        """
        if isinstance(images, (str, bytes, os.PathLike, Tensor)) or not isinstance(
            images, Iterable
        ):
            raise TypeError(
                f"batch takes a list of pictures, got a single {type(images).__name__}; put it "
                "into a list, or call the colorizer itself"
            )
        options = self.options(
            decode=decode,
            temperature=temperature,
            colors=colors,
            size=size,
            upsample=upsample,
            saturation=saturation,
        )
        photos = [read_photo(image) for image in images]
        abs_ = self._predict_many(photos, options)
        return [
            photo.with_ab(ab, upsample=options.upsample, saturation=options.saturation)
            for photo, ab in zip(photos, abs_, strict=True)
        ]

    def distribution(self, image: ImageLike, *, size: int | None = None) -> ColorDistribution:
        """Answer with the probability of every colour at every pixel.

        Decoding it again, with another temperature, costs no forward pass.

        Parameters
        ----------
        image
            A picture, as for `colorize`.
        size
            Working size; None takes the model's own.

        Returns
        -------
        The distribution at the network's resolution; its `decode()` gives the ab that `colorize`
        uses with the same settings.

        Raises
        ------
        TypeError
            If the model does not classify, and as for `colorize`.
        ValueError
            As for `colorize`.
        """
        answer = getattr(self.net, "distribution", None)
        if answer is None:
            raise TypeError(
                f"{type(self.net).__name__} predicts a colour, not the probabilities of many; "
                "use a model that classifies, such as 'zhang'"
            )
        with torch.inference_mode():
            lightness = read_photo(image).lightness(self._size(size), self.device)
            distribution: ColorDistribution = answer(lightness)
        return distribution

    def options(
        self,
        *,
        decode: str | None = "annealed",
        temperature: float | None = None,
        colors: str | None = None,
        size: int | None = None,
        upsample: str = "bilinear",
        saturation: float = 1.0,
    ) -> Options:
        """Check options and complete them from the model's own settings.

        Parameters
        ----------
        decode, temperature, colors, size, upsample, saturation
            As for `colorize`.

        Returns
        -------
        What `predict_ab` takes.

        Raises
        ------
        ValueError
            For options that make no sense.
        """
        if not (_is_number(saturation) and 0 <= saturation <= MAX_SATURATION):
            raise ValueError(
                f"saturation must lie in [0, {MAX_SATURATION:g}] (0 is grey, 1 leaves the colours "
                f"as they are), got {saturation!r}"
            )
        if temperature is not None and not _is_number(temperature):
            raise ValueError(f"temperature must be a number in [0, 1], got {temperature!r}")
        check_method(upsample)
        return Options(
            decode=self.net.decode.changed(method=decode, temperature=temperature, colors=colors),
            size=self._size(size),
            upsample=upsample,
            saturation=float(saturation),
        )

    def predict_ab(self, photo: Photo, options: Options) -> Tensor:
        """Predict the colour of a photo, for `Photo.with_ab` or `Photo.render`.

        Parameters
        ----------
        photo
            What `zcolor.photo.read_photo` gave.
        options
            What `options` gave.

        Returns
        -------
        (n, 2, h', w') ab, unscaled, at the network's resolution, on its device.
        """
        return self._predict_many([photo], options)[0]

    def _predict_many(self, photos: Sequence[Photo], options: Options) -> list[Tensor]:
        """Predict (n, 2, h', w') ab for each photo; equal working shapes share forward passes."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, photo in enumerate(photos):
            groups.setdefault(photo.working_shape(options.size), []).append(i)
        found: dict[int, Tensor] = {}
        for (height, width), members in groups.items():
            at_once = max(1, _PIXELS_AT_ONCE // (height * width))
            with torch.inference_mode():
                lightness = torch.cat(
                    [photos[i].lightness(options.size, self.device) for i in members]
                )  # (all pictures of the group, 1, height, width)
                ab = torch.cat(
                    [self.net.predict_ab(part, options.decode) for part in lightness.split(at_once)]
                )
            parts = ab.split([photos[i].n for i in members])
            found.update(zip(members, parts, strict=True))
        return [found[i] for i in range(len(photos))]

    def _size(self, size: int | None) -> int:
        if size is None:
            return self.net.working_size
        if not _is_number(size) or size != int(size):
            raise ValueError(f"size must be a whole number of pixels, got {size!r}")
        if not SIZES[0] <= size <= SIZES[1]:
            raise ValueError(
                f"size must lie in {SIZES[0]}..{SIZES[1]} pixels (this model's own is "
                f"{self.net.working_size}), got {size}"
            )
        return int(size)


def colorize(
    image: ImageLike,
    *,
    model: str | os.PathLike[str] = "zhang",
    decode: str | None = "annealed",
    temperature: float | None = None,
    colors: str | None = None,
    size: int | None = None,
    upsample: str = "bilinear",
    saturation: float = 1.0,
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
        A name of `zcolor.list_models()`, or the path of a checkpoint.
    decode
        `annealed` (the annealed mean), `argmax` (the most probable cell) or `mean`; None takes the
        model's own choice. Zhang et al. 2016, section 2.3.
    temperature
        Of the annealed mean, in [0, 1]: 0 is argmax, 1 the mean; None takes the model's own.
    colors
        The colour of a cell: `means` of its training pixels, or `centers`; None takes the model's
        own.
    size
        Working size: the side of the square of equal area, 8 to 4096 pixels; None takes the
        model's own.
    upsample
        How ab comes to full size: `bilinear`.
    saturation
        Factor on ab, in [0, 4]; 0 gives a grey picture.
    device
        `auto` takes CUDA, then MPS, then the CPU; or `cpu`, `cuda`, `cuda:N`, `mps`.

    Returns
    -------
    A picture of the kind that came in and of its size, in sRGB; see `zcolor.photo`.

    Raises
    ------
    ValueError
        For pictures that cannot be read, options that make no sense, an unknown model, or a
        device that is not there.
    TypeError
        For another kind of object, dtype or PIL mode.
    FileNotFoundError, IsADirectoryError
        If a path leads to no file.
    """
    return _kept_colorizer(model, pick_device(device))(
        image,
        decode=decode,
        temperature=temperature,
        colors=colors,
        size=size,
        upsample=upsample,
        saturation=saturation,
    )


_loading = threading.Lock()


def _kept_colorizer(model: str | os.PathLike[str], device: torch.device) -> Colorizer:
    """Load a model once per device; a file that has changed is loaded again."""
    path = find_weights(model)
    state = path.stat()
    with _loading:  # two threads that ask at once shall not both load
        return _load_colorizer(str(path.resolve()), device, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=_KEPT)
def _load_colorizer(path: str, device: torch.device, _stamp: tuple[int, int]) -> Colorizer:
    return Colorizer(path, device=device)


def _is_number(value: object) -> bool:
    """Tell a finite real number from everything else."""
    return isinstance(value, numbers.Real) and math.isfinite(value)
