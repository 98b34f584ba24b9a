"""A picture of any kind, with its working-size L; L and ab joined into a picture of that kind.

What comes in decides what goes out:

============================================  ==================================================
in                                            out
============================================  ==================================================
path, ``os.PathLike``, binary file object     PIL RGB, or RGBA where the input is transparent
``bytes`` of an image file                    ``bytes`` in the same format (PNG where that format
                                              cannot hold colour), 16-bit PNG and TIFF included
PIL 1, L, P, RGB, CMYK, YCbCr                 PIL RGB
PIL LA, RGBA, any mode with transparency      PIL RGBA
NumPy (h, w), (h, w, c), (n, h, w, c)         NumPy (h, w, 3), (n, h, w, 3), same dtype
torch (h, w), (c, h, w), (n, c, h, w)         torch (3, h, w), (n, 3, h, w), same dtype and device
============================================  ==================================================

Arrays have c = 1 (grey), 3 (RGB) or 4 (RGB and alpha, which is kept bit by bit and makes the
result have 4 channels) and hold uint8, uint16 or float16/32/64 in [0, 1]; bool gives uint8.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import IO, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zcolor.arrays import AnyArray, batch_of_array, batch_of_tensor
from zcolor.files import (
    MAX_PIXELS,
    DecodedImage,
    encode_image,
    from_pil,
    read_image,
)
from zcolor.formats import color_format
from zcolor.frame import Inside, inside_frame
from zcolor.icc import srgb_profile
from zcolor.metadata import Metadata
from zcolor.render import join_ab, resized_lightness
from zcolor.working import working_shape

ImageLike = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | AnyArray | Tensor
"""What `read_photo` takes."""
Colored = Image.Image | bytes | AnyArray | Tensor
"""What `Photo.with_ab` gives."""

_PIL_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture, or a batch of equal size, in the dtype in which it came; see `read_photo`."""

    pixels: AnyArray | Tensor
    """NumPy (n, h, w, c) or torch (n, c, h, w), sRGB; c = 1 grey, 2 grey and alpha, 3, 4."""
    kind: Literal["pil", "bytes", "numpy", "torch"]
    """What `with_ab` gives."""
    batched: bool = False
    """Whether the array came with a batch dimension."""
    format: str | None = None
    """Format of the file that was read; None if there was none."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF and resolution of the file or PIL image."""
    owned: bool = False
    """Whether the pixels were read for this photo alone, so that results may lie over them."""
    inside: Inside | None = None
    """What lies inside the photo's frame, which alone the network sees; None: all of it."""

    @property
    def n(self) -> int:
        """Number of pictures."""
        return int(self.pixels.shape[0])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[2 if isinstance(self.pixels, Tensor) else 1])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[3 if isinstance(self.pixels, Tensor) else 2])

    @property
    def has_alpha(self) -> bool:
        """Whether there is transparency."""
        return self._n_channels in (2, 4)

    @property
    def _area(self) -> tuple[slice, slice] | None:
        """Rows and columns that the network sees; None: all."""
        return None if self.inside is None else self.inside.slices

    @property
    def _within(self) -> AnyArray | Tensor:
        """The pixels that the network sees."""
        if self._area is None:
            return self.pixels
        if isinstance(self.pixels, Tensor):
            return self.pixels[:, :, *self._area]
        return self.pixels[:, *self._area]

    @property
    def _n_channels(self) -> int:
        return int(self.pixels.shape[1 if isinstance(self.pixels, Tensor) else 3])

    def working_shape(self, size: int) -> tuple[int, int]:
        """Size at which the network looks at this photo: `zcolor.working.working_shape`.

        Parameters
        ----------
        size
            Side of the square of equal area, in pixels.

        Returns
        -------
        (h, w), multiples of 8.

        Examples
        --------
        >>> read_photo(np.zeros((480, 640), np.uint8)).working_shape(128)
        (112, 144)
        """
        if self.inside is None:
            return working_shape(self.height, self.width, size)
        top, bottom, left, right = self.inside
        return working_shape(bottom - top, right - left, size)

    def lightness(self, size: int, device: torch.device | str) -> Tensor:
        """Give the L that the network reads.

        The pixels are brought to the working size in their own dtype (by area where they shrink,
        linearly where they grow) and only then become float.

        Parameters
        ----------
        size
            Side of the square of equal area, in pixels.
        device
            Where the result shall be.

        Returns
        -------
        (n, 1, h, w) float32 L in [0, 100], h and w from `working_shape`.

        Raises
        ------
        ValueError
            If `size` is below 8.

        Examples
        --------
        >>> read_photo(np.full((16, 16), 255, np.uint8)).lightness(16, "cpu").shape
        torch.Size([1, 1, 16, 16])
        """
        height, width = self.working_shape(size)
        return resized_lightness(self._within, height, width, device=device)

    def with_ab(
        self,
        ab: Tensor,
        *,
        upsample: str = "guided",
        saturation: float = 1.0,
        in_place: bool = False,
    ) -> Colored:
        """Join ab to the full-size L of the photo.

        Works strip by strip (`zcolor.render`) on the device of `ab`. Colours that sRGB cannot show
        lose chroma, not lightness: L is that of the photo, within 0.25 after rounding to 8 bits
        and 1e-3 for float32 and float64 (float16 rounds coarser by itself).

        Parameters
        ----------
        ab
            (n, 2, h', w') ab, unscaled, of any size; (n, 2, 1, 1) is one colour for the photo. It
            belongs to what lies `inside` the frame, where there is one; the frame gets no colour.
        upsample
            How ab comes to full size: `guided` by the lightness, so that colour stops at its edges
            (`zcolor.upsample`), or `bilinear`.
        saturation
            Factor on ab; 0 gives a grey picture.
        in_place
            Use the photo up: where its pixels are its own and have room, the result is written
            over them, which saves its size in memory.

        Returns
        -------
        A picture of the kind that came in (table at the top of this module): RGB in sRGB, with the
        alpha of the input. Paths, file objects and PIL images give 8 bits; `render` keeps 16.

        Raises
        ------
        ValueError
            For ab of another shape, or not finite, and options that make no sense.

        Examples
        --------
        >>> photo = read_photo(np.full((4, 6), 128, np.uint8))
        >>> photo.with_ab(torch.zeros(1, 2, 1, 1))[0, 0].tolist()
        [128, 128, 128]
        """
        if self.kind == "pil":
            colored = join_ab(
                self.pixels,
                ab,
                upsample=upsample,
                saturation=saturation,
                dtype=torch.uint8,
                in_place=in_place and self.owned,
                inside=self._area,
            )
            return self._to_pil(_channels_last(colored)[0])
        if self.kind == "bytes":
            pixels = self.render(ab, upsample=upsample, saturation=saturation, in_place=in_place)
            file_format = color_format(self.format, alpha=self.has_alpha)
            return encode_image(pixels, file_format, self.metadata)
        colored = join_ab(
            self.pixels, ab, upsample=upsample, saturation=saturation, inside=self._area
        )
        if isinstance(self.pixels, Tensor):
            return colored if self.batched else colored[0]
        array = _channels_last(colored).astype(self.pixels.dtype, copy=False)
        return array if self.batched else array[0]

    def render(
        self,
        ab: Tensor,
        *,
        upsample: str = "guided",
        saturation: float = 1.0,
        in_place: bool = False,
    ) -> AnyArray:
        """Join ab to the full-size L, as an array in the photo's own dtype, for `write_image`.

        Parameters
        ----------
        ab, upsample, saturation, in_place
            As in `with_ab`.

        Returns
        -------
        (h, w, 3) RGB or (h, w, 4) RGB and alpha: uint8, or uint16 where the photo has 16 bits.

        Raises
        ------
        ValueError
            As in `with_ab`, and for a batch.

        Examples
        --------
        >>> read_photo(np.zeros((4, 6), np.uint16)).render(torch.zeros(1, 2, 1, 1)).dtype
        dtype('uint16')
        """
        if self.n != 1:
            raise ValueError(f"render takes a single picture, this photo is a batch of {self.n}")
        colored = join_ab(
            self.pixels,
            ab,
            upsample=upsample,
            saturation=saturation,
            in_place=in_place and self.owned,
            inside=self._area,
        )
        rendered: AnyArray = _channels_last(colored)[0]
        return rendered

    def _to_pil(self, pixels: AnyArray) -> Image.Image:
        image = Image.fromarray(pixels)
        image.info["icc_profile"] = srgb_profile()
        if self.metadata.dpi is not None:
            image.info["dpi"] = self.metadata.dpi
        if self.metadata.exif is not None:
            image.info["exif"] = self.metadata.exif
        return image


def read_photo(
    image: ImageLike, *, max_pixels: int = MAX_PIXELS, find_frame: bool = False
) -> Photo:
    """Take a picture of any kind; the table at the top of this module lists them.

    Files, bytes and PIL images are turned upright and converted to sRGB. Arrays are sRGB, are
    neither copied (but bool) nor changed, and must not be changed while the photo is in use.

    Parameters
    ----------
    image
        The picture.
    max_pixels
        Refuse files and PIL images with more pixels than this before decoding them.
    find_frame
        Look for a frame around a single picture (`zcolor.frame`), and keep what lies inside.

    Returns
    -------
    The photo.

    Raises
    ------
    ImageReadError, FileNotFoundError, IsADirectoryError
        For files that cannot be read (see `zcolor.files.read_image`).
    ValueError
        For empty arrays, other ranks or numbers of channels, NaN, inf, and floats outside [0, 1].
    TypeError
        For another kind of object, dtype or PIL mode.

    Examples
    --------
    >>> photo = read_photo(np.zeros((480, 640, 3), np.float32))
    >>> photo.n, photo.height, photo.width
    (1, 480, 640)
    """
    photo = _read(image, max_pixels)
    if find_frame and photo.n == 1:
        return replace(photo, inside=inside_frame(photo.pixels))
    return photo


def _read(image: ImageLike, max_pixels: int) -> Photo:
    if isinstance(image, Tensor):
        return Photo(batch_of_tensor(image), kind="torch", batched=image.ndim == 4)
    if isinstance(image, np.ndarray):
        return Photo(batch_of_array(image), kind="numpy", batched=image.ndim == 4)
    if isinstance(image, Image.Image):
        _check_pil_mode(image)
        return _from_decoded(from_pil(image, max_pixels=max_pixels), "pil", owned=False)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _from_decoded(read_image(image, max_pixels=max_pixels), "bytes")
    if isinstance(image, (str, os.PathLike)) or hasattr(image, "read"):
        return _from_decoded(read_image(image, max_pixels=max_pixels), "pil")
    raise TypeError(
        "expected a path, a binary file object, bytes, a PIL image, a NumPy array or a torch "
        f"tensor, got {type(image).__name__}; numpy.asarray may convert it"
    )


def _from_decoded(
    decoded: DecodedImage, kind: Literal["pil", "bytes"], *, owned: bool = True
) -> Photo:
    return Photo(
        pixels=decoded.pixels[None],
        kind=kind,
        format=decoded.format,
        metadata=decoded.metadata,
        owned=owned,
    )


def _check_pil_mode(image: Image.Image) -> None:
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        raise TypeError(
            f"a PIL image of mode {mode} has no 8-bit range; accepted are {', '.join(_PIL_MODES)}: "
            "give a NumPy array instead, numpy.asarray(image).astype(numpy.uint16) for 16 bits"
        )
    if mode not in _PIL_MODES:
        raise TypeError(
            f"a PIL image of mode {mode} is not accepted, only {', '.join(_PIL_MODES)}; "
            "use image.convert('RGB')"
        )


def _channels_last(pixels: Tensor) -> AnyArray:
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
