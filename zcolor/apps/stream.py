"""One picture from bytes to bytes, as `zcolor colorize -` reads and writes it in a pipe."""

from __future__ import annotations

from zcolor.colorizer import Colorizer
from zcolor.files import MAX_PIXELS, encode_image
from zcolor.formats import ALPHA_FORMATS, color_format
from zcolor.photo import read_photo
from zcolor.settings import ColorizeSettings


def color_bytes(
    data: bytes,
    colorizer: Colorizer,
    settings: ColorizeSettings = ColorizeSettings(),
    *,
    file_format: str | None = None,
    quality: int = 95,
    max_pixels: int = MAX_PIXELS,
) -> tuple[bytes, str]:
    """Colour the bytes of an image file.

    Parameters
    ----------
    data
        The file.
    colorizer
        The model.
    settings
        How; the fields are the parameters of `zcolor.colorize`.
    file_format
        One of `zcolor.formats.COLOR_FORMATS`; None keeps that of `data` where it can hold the
        result (`zcolor.formats.color_format`).
    quality
        Of JPEG, WebP and AVIF: 1 to 100.
    max_pixels
        Pictures with more pixels than this are refused.

    Returns
    -------
    data, file_format
        The coloured file, with 16 bits where `data` and its format have them, EXIF and resolution;
        and its format.

    Raises
    ------
    ImageReadError
        If `data` is no image that can be read.
    ValueError
        For options that make no sense, and a format that cannot hold the transparency.
    """
    photo = read_photo(data, max_pixels=max_pixels, find_frame=settings.frame == "leave")
    if file_format is None:
        file_format = color_format(photo.format, alpha=photo.has_alpha)
    elif photo.has_alpha and file_format not in ALPHA_FORMATS:
        raise ValueError(
            f"{file_format} cannot hold the transparency of this picture; choose one of "
            f"{', '.join(ALPHA_FORMATS)}"
        )
    ab = colorizer.predict_ab(photo, settings)
    pixels = photo.render(
        ab, upsample=settings.upsample, saturation=settings.saturation, in_place=True
    )
    return encode_image(pixels, file_format, photo.metadata, quality=quality), file_format
