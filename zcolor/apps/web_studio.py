"""What the web server does with photographs: previews that answer fast, and whole files.

A preview keeps the network's answer and a small copy of the photo, so that another preset,
temperature or saturation costs neither decoding the file nor a forward pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from zcolor.colorizer import Colorizer
from zcolor.distribution import ColorDistribution
from zcolor.files import encode_image, image_size
from zcolor.formats import color_format
from zcolor.frame import Inside
from zcolor.palette import Suggestion
from zcolor.photo import Photo, read_photo
from zcolor.readers import ImageReadError
from zcolor.settings import ColorizeSettings
from zcolor.two_scales import with_coarse_colors
from zcolor.working import resize_area

Rgb = npt.NDArray[np.uint8]

PREVIEW_PIXELS = 800_000
"""Pixels of a preview: sharp on a large screen, and coloured in a fraction of a second."""
KEPT_PHOTOS = 24
"""Photos that may be open on a page."""
KEPT_LOOKS = 2 * KEPT_PHOTOS
"""Looks that stay in memory, preview and probabilities: at most 12 MB each at size 384. A photo at
a size above the model's own takes two."""
_MARK = "-color"  # what the names of coloured pictures end in
_MAP_SHARE = 0.7  # of the confidence map's colours; the rest is the photo

_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",), "AVIF": (".avif",), "JPEG2000": (".jp2",), "BMP": (".bmp",),
    "GIF": (".gif",), "PPM": (".ppm", ".pnm"), "TGA": (".tga",),
}  # fmt: skip


class RefusedError(ValueError):
    """What came is an image, but cannot be coloured; the message says why and what to do."""


class TooManyPixelsError(RefusedError):
    """A picture above the server's limit."""


class DamagedImageError(RefusedError):
    """A picture whose header is whole, but not the rest."""


class UnfitFormatError(RefusedError):
    """The format asked for cannot hold the picture."""


@dataclass(frozen=True)
class ColoredFile:
    """A coloured picture as a file."""

    data: bytes
    """The bytes of the file."""
    format: str
    """One of `zcolor.formats.COLOR_FORMATS`."""

    @property
    def media_type(self) -> str:
        """The content type, such as image/jpeg."""
        return Image.MIME[self.format]

    def name(self, original: str) -> str:
        """Name the file after the original; nothing of its folders or control codes is kept.

        Examples
        --------
        >>> ColoredFile(b"", "JPEG").name("../../photo.JPEG")
        'photo-color.JPEG'
        >>> ColoredFile(b"", "PNG").name("scan.pgm")
        'scan-color.png'
        """
        path = PurePosixPath(original.replace("\\", "/"))
        stem = re.sub(r"[^\w .()+-]+", "_", path.stem).strip(" .")[:100] or "photo"
        endings = _ENDINGS[self.format]
        ending = path.suffix if path.suffix.lower() in endings else endings[0]
        return f"{stem}{_MARK}{ending}"


@dataclass(frozen=True, eq=False)
class Look:
    """What is kept of a photo while people choose its colours."""

    distribution: ColorDistribution
    """The network's answer for what lies inside the photo's frame, or all of it."""
    small: Photo
    """The photo at preview size, without transparency: an 8-bit array."""

    @property
    def inside(self) -> Inside:
        """Where the network's answer belongs, in pixels of the preview."""
        return self.small.inside or Inside(0, self.small.height, 0, self.small.width)


class Studio:
    """Colours photographs for people who look on; safe to use from several threads.

    Parameters
    ----------
    colorizer
        The loaded model; it must classify.
    max_pixels
        Larger pictures are refused.

    Raises
    ------
    ValueError
        If the model predicts a colour and not the probabilities of many.
    """

    def __init__(self, colorizer: Colorizer, *, max_pixels: int) -> None:
        if not hasattr(colorizer.net, "distribution"):
            raise ValueError(
                f"{type(colorizer.net).__name__} predicts a colour, not the probabilities of "
                "many, which the page shows; serve a model that classifies, such as 'zhang'"
            )
        self.colorizer, self.max_pixels = colorizer, max_pixels
        self.look = lru_cache(maxsize=KEPT_LOOKS)(self._look)

    def color_file(
        self, data: bytes, settings: ColorizeSettings, file_format: str | None = None
    ) -> ColoredFile:
        """Colour the bytes of an image file in full size, metadata kept.

        Parameters
        ----------
        data
            A whole image file.
        settings
            How.
        file_format
            One of `zcolor.formats.COLOR_FORMATS`; None keeps the photo's own where that can hold
            colour, PNG otherwise.

        Returns
        -------
        The coloured file.

        Raises
        ------
        ImageReadError
            If this is no image.
        TooManyPixelsError
            If it has more pixels than the server takes.
        DamagedImageError
            If it cannot be decoded.
        UnfitFormatError
            If the format cannot hold the picture's transparency.
        """
        photo = self._read(data, find_frame=settings.frame == "leave")
        chosen = color_format(file_format or photo.format, alpha=photo.has_alpha)
        if file_format is not None and chosen != file_format:
            raise UnfitFormatError(
                f"{file_format} cannot hold the transparency of this picture; ask for PNG"
            )
        ab = self.colorizer.predict_ab(photo, settings)
        pixels = photo.render(
            ab, upsample=settings.upsample, saturation=settings.saturation, in_place=True
        )
        return ColoredFile(encode_image(pixels, chosen, photo.metadata), chosen)

    def before(self, path: Path, settings: ColorizeSettings) -> Rgb:
        """Give the preview without colour, (h, w, 3)."""
        small = self.look(path, settings.size).small
        return _array(small.with_ab(torch.zeros(1, 2, 1, 1), upsample="bilinear"))

    def preview(self, path: Path, settings: ColorizeSettings) -> Rgb:
        """Colour the preview: (h, w, 3); errors as in `color_file`."""
        small = self.look(path, settings.size).small
        ab = self._decode(path, settings)
        return _array(small.with_ab(ab, upsample=settings.upsample, saturation=settings.saturation))

    def confidence(
        self, path: Path, settings: ColorizeSettings, *, radius: float
    ) -> tuple[Rgb, float]:
        """Draw how sure the network is of the colours shown.

        Parameters
        ----------
        path
            Of a photo.
        settings
            How it is coloured.
        radius
            How near the true colour has to be, in ab units.

        Returns
        -------
        The preview, (h, w, 3), under OpenCV's viridis (dark 0, yellow 1), but for its frame, and
        the mean over the photo, in [0, 1].
        """
        look = self.look(path, settings.size)
        ab = self._decode(path, settings)
        sure = look.distribution.confidence(radius=radius, ab=ab)[0, 0].float().cpu()
        drawn = self.before(path, settings).copy()
        grey = drawn[look.inside.slices]
        height, width = grey.shape[:2]
        large = cv2.resize((sure.numpy() * 255).astype(np.uint8), (width, height))
        colors = cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS)[..., ::-1]
        grey[:] = cv2.addWeighted(colors, _MAP_SHARE, grey, 1 - _MAP_SHARE, 0)
        return drawn, sure.mean().item()

    def suggest(
        self, path: Path, settings: ColorizeSettings, x: float, y: float
    ) -> list[Suggestion]:
        """Suggest colours for a point, given as fractions of width and height.

        A point of the frame gets the suggestions of the nearest one inside.
        """
        look = self.look(path, settings.size)
        top, bottom, left, right = look.inside
        across = (x * look.small.width - left) / (right - left)
        down = (y * look.small.height - top) / (bottom - top)
        return look.distribution.suggest(min(max(across, 0), 1), min(max(down, 0), 1))

    def _decode(self, path: Path, settings: ColorizeSettings) -> Tensor:
        net = self.colorizer.net
        how = net.decoding(settings)
        ab = replace(self.look(path, settings.size).distribution, defaults=how).decode()
        if settings.size is None or settings.size <= net.working_size:
            return ab
        coarse = self.look(path, net.working_size).distribution
        return with_coarse_colors(ab, replace(coarse, defaults=how).decode())

    def _look(self, path: Path, size: int | None) -> Look:
        photo = self._read(path.read_bytes(), find_frame=True)
        pixels = _opaque(np.asarray(photo.pixels)[0])
        small = read_photo(shrink(pixels))
        if photo.inside is not None:
            pixels = pixels[photo.inside.slices]
            sizes = (photo.height, photo.width), (small.height, small.width)
            small = replace(small, inside=photo.inside.scaled(*sizes))
        return Look(self.colorizer.distribution(pixels, size=size), small)

    def _read(self, data: bytes, *, find_frame: bool) -> Photo:
        try:
            width, height = image_size(data)
        except ImageReadError as error:
            raise ImageReadError(_told(error)) from error
        if width * height > self.max_pixels:
            raise TooManyPixelsError(
                f"the picture has {width} x {height} pixels, more than the {self.max_pixels:,} "
                "that this server takes; make it smaller, or use the zcolor command"
            )
        try:
            return read_photo(data, max_pixels=self.max_pixels, find_frame=find_frame)
        except ImageReadError as error:
            raise DamagedImageError(_told(error)) from error


def shrink(pixels: npt.NDArray[np.uint8 | np.uint16]) -> Rgb:
    """Make a preview of decoded pixels.

    Parameters
    ----------
    pixels
        (h, w, 1 or 3), uint8 or uint16.

    Returns
    -------
    (h', w', 1 or 3) uint8 of at most `PREVIEW_PIXELS`.

    Examples
    --------
    >>> shrink(np.full((2000, 1000, 1), 65535, np.uint16)).shape
    (1264, 632, 1)
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, (PREVIEW_PIXELS / (height * width)) ** 0.5)
    small = resize_area(pixels, max(1, int(height * scale)), max(1, int(width * scale)))
    if small.dtype == np.uint16:
        small = (small.astype(np.float32) * (255 / 65535)).round()
    return np.ascontiguousarray(small, np.uint8)


def _opaque(pixels: npt.NDArray[np.uint8 | np.uint16]) -> npt.NDArray[np.uint8 | np.uint16]:
    """Leave the alpha of (h, w, c) out."""
    return np.ascontiguousarray(pixels[..., : 1 if pixels.shape[2] == 2 else 3])


def _array(colored: object) -> Rgb:
    assert isinstance(colored, np.ndarray)
    return colored


def _told(error: ImageReadError) -> str:
    """Speak of the file: people uploaded it, they gave no bytes."""
    return str(error).replace("the given bytes", "the file", 1)
