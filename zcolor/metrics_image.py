"""Measures of 8-bit pictures, one function each, with the paper it comes from."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity
from torch import Tensor

Rgb8 = npt.NDArray[np.uint8]  # (h, w, 3)

# The peak of RGB in 8 bits.
PEAK_RGB = 255.0
# The range that a and b are taken to have, in ab units: that of an 8-bit channel.
PEAK_AB = 255.0
# dB: PSNR ends here, so that a mean over photos exists where one result equals its truth.
MAX_PSNR = 100.0
# Wang et al. 2004, section III-C: sigma, in pixels, of the Gaussian window of 11 x 11.
_SSIM_SIGMA = 1.5
_SSIM_WINDOW = 11


def psnr(rgb: Rgb8, truth: Rgb8) -> float:
    """Peak signal-to-noise ratio of RGB: 10 log10(255^2 / MSE), MSE over pixels and channels.

    Parameters
    ----------
    rgb, truth
        (h, w, 3) uint8 result and truth.

    Returns
    -------
    dB, at most `MAX_PSNR`, which equal pictures get.

    Raises
    ------
    ValueError
        If the shapes differ or are others, or the dtype is not uint8.

    Notes
    -----
    Huynh-Thu and Ghanbari, "Scope of validity of PSNR in image/video quality assessment",
    Electronics Letters 44(13), 2008.

    Examples
    --------
    >>> round(psnr(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)), 6)
    0.0
    """
    _check_rgb(rgb, truth)
    error = np.square(rgb.astype(np.float64) - truth).mean()
    return _decibels(float(error), PEAK_RGB)


def psnr_ab(ab: Tensor, truth: Tensor) -> tuple[float, float]:
    """Peak signal-to-noise ratio of a and of b, with a peak of 255 ab units.

    Parameters
    ----------
    ab, truth
        (1, 2, h, w) result and true ab, unscaled.

    Returns
    -------
    a, b
        dB, at most `MAX_PSNR`.

    Raises
    ------
    ValueError
        If the shapes differ or are others.

    Notes
    -----
    As `psnr`.

    Examples
    --------
    >>> import torch
    >>> ab = torch.tensor([2.55, 0.0]).view(1, 2, 1, 1)
    >>> [round(value, 3) for value in psnr_ab(ab, torch.zeros_like(ab))]
    [40.0, 100.0]
    """
    _check_ab(ab, truth)
    errors = (ab.double() - truth.double()).square().mean(dim=(0, 2, 3)).tolist()
    return _decibels(errors[0], PEAK_AB), _decibels(errors[1], PEAK_AB)


def ssim(rgb: Rgb8, truth: Rgb8) -> float:
    """Structural similarity of RGB: the mean over the three channels.

    Parameters
    ----------
    rgb, truth
        (h, w, 3) uint8 result and truth, no side below 11.

    Returns
    -------
    At most 1, which equal pictures get.

    Raises
    ------
    ValueError
        If the shapes differ or are others, or the dtype is not uint8.

    Notes
    -----
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE Transactions on Image Processing 13(4), 2004; with its Gaussian window,
    computed by `skimage.metrics.structural_similarity`.

    Examples
    --------
    >>> picture = np.arange(363, dtype=np.uint16).astype(np.uint8).reshape(11, 11, 3)
    >>> ssim(picture, picture)
    1.0
    """
    _check_rgb(rgb, truth)
    _check_window(*rgb.shape[:2])
    return sum(_ssim_plane(rgb[:, :, i], truth[:, :, i], PEAK_RGB) for i in range(3)) / 3


def ssim_ab(ab: Tensor, truth: Tensor) -> tuple[float, float]:
    """Structural similarity of a and of b, with a range of 255 ab units.

    Parameters
    ----------
    ab, truth
        (1, 2, h, w) result and true ab, unscaled; no side below 11.

    Returns
    -------
    a, b
        At most 1.

    Raises
    ------
    ValueError
        If the shapes differ or are others.

    Notes
    -----
    As `ssim`.

    Examples
    --------
    >>> import torch
    >>> ssim_ab(torch.zeros(1, 2, 11, 11), torch.zeros(1, 2, 11, 11))
    (1.0, 1.0)
    """
    _check_ab(ab, truth)
    _check_window(*ab.shape[2:])
    planes = [pixels[0].double().cpu().numpy() for pixels in (ab, truth)]
    a, b = (_ssim_plane(planes[0][i], planes[1][i], PEAK_AB) for i in range(2))
    return a, b


def colorfulness(rgb: Rgb8) -> float:
    """How colourful people find a picture.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8.

    Returns
    -------
    0 for grey; 15 is called slightly, 33 moderately, 59 quite, 109 extremely colourful.

    Raises
    ------
    ValueError
        If the shape or dtype is another.

    Notes
    -----
    M^(3) of Hasler and Suesstrunk, "Measuring colourfulness in natural images", Human Vision and
    Electronic Imaging VIII, 2003.

    Examples
    --------
    >>> colorfulness(np.full((2, 2, 3), 77, np.uint8))
    0.0
    """
    _check_rgb(rgb, rgb)
    red, green, blue = np.moveaxis(rgb.astype(np.float64), 2, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    spread = math.hypot(rg.std(), yb.std())
    return spread + 0.3 * math.hypot(rg.mean(), yb.mean())


def _decibels(error: float, peak: float) -> float:
    """PSNR of a mean squared error."""
    smallest = peak**2 * 10 ** (-MAX_PSNR / 10)
    return 10 * math.log10(peak**2 / max(error, smallest))


def _ssim_plane(
    result: npt.NDArray[np.generic], truth: npt.NDArray[np.generic], peak: float
) -> float:
    value = structural_similarity(  # type: ignore[no-untyped-call]
        result,
        truth,
        data_range=peak,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA,
        use_sample_covariance=False,
    )
    return float(value)


def _check_rgb(rgb: Rgb8, truth: Rgb8) -> None:
    bytes_ = rgb.dtype == np.uint8 and truth.dtype == np.uint8
    if not bytes_ or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape != truth.shape or not rgb.size:
        raise ValueError(
            "pictures must be uint8 of one shape (h, w, 3), got "
            f"{rgb.dtype} {rgb.shape} and {truth.dtype} {truth.shape}"
        )


def _check_ab(ab: Tensor, truth: Tensor) -> None:
    if ab.ndim != 4 or ab.shape[:2] != (1, 2) or ab.shape != truth.shape or not ab.numel():
        raise ValueError(
            "one photo at a time, result and truth of one shape (1, 2, h, w); got "
            f"{tuple(ab.shape)} and {tuple(truth.shape)}"
        )


def _check_window(height: int, width: int) -> None:
    if min(height, width) < _SSIM_WINDOW:
        raise ValueError(
            f"SSIM looks through a window of {_SSIM_WINDOW} x {_SSIM_WINDOW} pixels, the picture "
            f"has {height} x {width}; enlarge both pictures first"
        )
