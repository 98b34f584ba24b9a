"""The main job: `Colorizer`, a loaded model that colours one picture or many.

A photograph's walk: `read_photo`, its lightness at working size, the network's ab, and the two
joined at full size. Nothing here asks which family of networks it holds.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from torch import Tensor

from zcolor.averaging import averaged_ab
from zcolor.models.classifier import Classifier
from zcolor.onnx_graph import make_onnx
from zcolor.onnx_net import read_onnx
from zcolor.photo import Colored, ImageLike, Photo, read_photo
from zcolor.precision import fast_precision
from zcolor.reference import read_reference
from zcolor.registry import Runtime, find_weights, is_onnx, load_model, pick_device
from zcolor.settings import (
    Average,
    ColorizeSettings,
    Colors,
    DecodeMethod,
    Frame,
    Preset,
    Upsample,
)
from zcolor.two_scales import with_coarse_colors

if TYPE_CHECKING:
    from zcolor.distribution import ColorDistribution
    from zcolor.models.base import ColorNet

logger = logging.getLogger(__name__)

# Pixels of the working size that go through the network at once: 64 photos at 128 x 128. The
# probabilities of 324 cells at a quarter of the side take 85 MB for them.
_PIXELS_AT_ONCE = 1 << 20
# References that are kept, at the size of a network.
_KEPT = 4


class Colorizer:
    """A loaded model that colours pictures, one or many.

    Safe to use from several threads at once: a call changes nothing in it.

    Parameters
    ----------
    model
        A name of `zcolor.list_models()`, or the path of a checkpoint or of an ONNX model that
        `zcolor export` wrote.
    device
        `auto` takes CUDA, then MPS, then the CPU; or `cpu`, `cuda`, `cuda:N`, `mps`.
    runtime
        What runs the layers: `torch`, `onnx` (onnxruntime, for which another model is exported
        first, in memory), or `auto`: onnxruntime for ONNX models, torch for all else.

    Attributes
    ----------
    device : torch.device
        Where the network runs, the decoding, the upsampling and the conversion to RGB too (in
        onnxruntime the layers are on the CPU, if it has no CUDA).
    net : ColorNet
        The network, in evaluation mode.

    Raises
    ------
    ValueError
        For an unknown model, a file that is no checkpoint, a device that is not there, or a model
        that the runtime cannot run.
    FileNotFoundError
        If there is no such file.
    ImportError
        If onnxruntime is needed and not installed, or what exports to ONNX.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "zhang",
        *,
        device: str | torch.device = "auto",
        runtime: Runtime = "auto",
    ) -> None:
        self.device = pick_device(device)
        self.net = _load(model, self.device, runtime)
        logger.debug("loaded %s on %s", model, self.device)

    def __call__(
        self,
        image: ImageLike,
        *,
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
    ) -> Colored:
        """Colour a picture; see `colorize` for the parameters, what comes out and the errors."""
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
        return self.batch([image], settings, reference=reference)[0]

    def batch(
        self,
        images: Iterable[ImageLike],
        settings: ColorizeSettings = ColorizeSettings(),
        *,
        reference: ImageLike | None = None,
    ) -> list[Colored]:
        """Colour many pictures, those of one working shape together.

        Every picture stays in memory until the end; for a long row of files take one at a time.

        Parameters
        ----------
        images
            Pictures of any kind, kinds mixed as you like.
        settings
            How; the fields are the parameters of `colorize`.
        reference
            A picture of any kind in place of the file that the settings name.

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
        if _is_single(images):
            raise TypeError(
                f"batch takes a list of pictures, got a single {type(images).__name__}; put it "
                "into a list, or call the colorizer itself (a stack of grey pictures: list(stack))"
            )
        photos = [read_photo(image, find_frame=settings.frame == "leave") for image in images]
        abs_ = self._predict_many(photos, settings, reference)
        return [
            photo.with_ab(
                ab, upsample=settings.upsample, saturation=settings.saturation, in_place=True
            )
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
        uses with the same settings, up to the model's own size (above it `colorize` takes the
        coarse colours from there) and `frame="color"`: of the whole picture, its frame too.

        Raises
        ------
        TypeError
            If the model does not classify, and as for `colorize`.
        ValueError
            As for `colorize`.
        """
        if not isinstance(self.net, Classifier):
            raise TypeError(
                f"{type(self.net).__name__} predicts a colour, not the probabilities of many; "
                "use a model that classifies, such as 'zhang'"
            )
        working_size = self._size(ColorizeSettings(size=size))
        # Not in inference mode: what comes out may be changed in place, and trained with.
        with torch.no_grad(), fast_precision(self.device):
            lightness = read_photo(image).lightness(working_size, self.device)
            return self.net.distribution(lightness)

    def predict_ab(self, photo: Photo, settings: ColorizeSettings = ColorizeSettings()) -> Tensor:
        """Predict the colour of a photo, for `Photo.with_ab` or `Photo.render`.

        Parameters
        ----------
        photo
            What `zcolor.photo.read_photo` gave.
        settings
            How; `upsample` and `saturation` are left to `Photo.with_ab`, and `frame` to
            `zcolor.photo.read_photo`.

        Returns
        -------
        (n, 2, h', w') ab, unscaled, at the network's resolution, on its device.
        """
        return self._predict_many([photo], settings)[0]

    def _predict_many(
        self,
        photos: Sequence[Photo],
        settings: ColorizeSettings,
        reference: ImageLike | None = None,
    ) -> list[Tensor]:
        """Predict (n, 2, h', w') ab for each photo; equal working shapes share forward passes."""
        size = self._size(settings)
        net = self._leaning(settings, reference)
        found = self._predict_at(size, photos, settings, net)
        own = self.net.working_size
        larger = [i for i in range(len(photos)) if self._looks_larger(photos[i], size, own)]
        # Objects are known by what surrounds them, which a network sees at its own size.
        coarse = self._predict_at(own, [photos[i] for i in larger], settings, net)
        for i, ab in zip(larger, coarse, strict=True):
            found[i] = with_coarse_colors(found[i], ab)
        return found

    def _predict_at(
        self, size: int, photos: Sequence[Photo], settings: ColorizeSettings, net: ColorNet
    ) -> list[Tensor]:
        """Predict ab as the network sees the photos at one working size."""
        decode = net.decoding(settings)
        groups: dict[tuple[int, int], list[int]] = {}
        for i, photo in enumerate(photos):
            groups.setdefault(photo.working_shape(size), []).append(i)
        found: dict[int, Tensor] = {}
        for (height, width), members in groups.items():
            at_once = max(1, _PIXELS_AT_ONCE // (height * width))
            with torch.inference_mode(), fast_precision(self.device):
                lightness = torch.cat(
                    [photos[i].lightness(size, self.device) for i in members]
                )  # (all pictures of the group, 1, height, width)
                predict = functools.partial(net.predict_ab, decode=decode)
                ab = torch.cat(
                    [
                        averaged_ab(predict, part, settings.average)
                        for part in lightness.split(at_once)
                    ]
                )
            # A copy, made out here, may be changed in place.
            parts = ab.clone().split([photos[i].n for i in members])
            found.update(zip(members, parts, strict=True))
        return [found[i] for i in range(len(photos))]

    @staticmethod
    def _looks_larger(photo: Photo, size: int, own: int) -> bool:
        """Whether the network sees more pixels of a photo at `size` than at its own."""
        return size > own and photo.working_shape(size) != photo.working_shape(own)

    def _leaning(self, settings: ColorizeSettings, reference: ImageLike | None) -> ColorNet:
        """The network, or one that leans towards the colours of a reference."""
        if reference is None and settings.reference is None:
            return self.net
        size = self.net.working_size
        if reference is not None:
            rgb = read_reference(reference, size=size)
        else:
            path = Path(str(settings.reference))
            if not path.is_file():
                raise FileNotFoundError(f"there is no reference {path}; name a colour photo")
            state = path.stat()
            rgb = _kept_reference(path, size, (state.st_mtime_ns, state.st_size))
        return self.net.leaning(rgb, settings.lend)

    def _size(self, settings: ColorizeSettings) -> int:
        return self.net.working_size if settings.size is None else int(settings.size)


def _load(model: str | os.PathLike[str], device: torch.device, runtime: Runtime) -> ColorNet:
    """Load a network for the runtime that is to run it."""
    if runtime not in get_args(Runtime):
        raise ValueError(f"unknown runtime {runtime!r}; choose auto, torch or onnx")
    path = find_weights(model)
    if is_onnx(path):
        if runtime == "torch":
            raise ValueError(
                f"{path} is an ONNX model, which onnxruntime alone runs; leave the runtime out, "
                "or give the checkpoint that it was exported from (.safetensors)"
            )
        return read_onnx(path, device)
    if runtime == "onnx":
        return read_onnx(make_onnx(model).data, device)
    return load_model(model, device=device)


def _is_single(images: object) -> bool:
    """Tell one picture from several: rows of an array, and lines of a file, are no pictures."""
    if isinstance(images, np.ndarray):
        return images.ndim in (2, 3)
    single = (str, bytes, bytearray, memoryview, os.PathLike, Tensor)
    return isinstance(images, single) or hasattr(images, "read") or not isinstance(images, Iterable)


@functools.lru_cache(maxsize=_KEPT)
def _kept_reference(path: Path, size: int, _stamp: tuple[int, int]) -> Tensor:
    """Read a reference once for all the pictures of a folder or frames of a film."""
    return read_reference(path, size=size)
