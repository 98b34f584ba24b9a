"""What the machine can do at best: arithmetic, copying, JPEG; measured in the same run."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.photographs import jpeg_bytes, photograph
from benchmarks.reference import encode_jpeg
from benchmarks.timing import best_seconds, n_cores
from zcolor.models.zhang import Zhang

_RUNS = 5
# What it must take at least, whatever the machine: reading uint8 RGB, writing float32 Lab, reading
# it, writing float32 RGB; and reading L, writing ab.
LAB_ROUND_TRIP_BYTES = 3 + 12 + 12 + 12
"""Bytes a pixel that a conversion from uint8 RGB to float32 Lab and back moves at least."""
UPSAMPLING_BYTES = 4 + 8
"""Bytes a pixel that guided upsampling moves at least: float32 L in, ab out."""


@dataclass(frozen=True)
class Limits:
    """Rates that nothing on this machine can pass; JPEG on one core, the rest on all."""

    float32: float
    """Matrix product of float32, floating-point operations a second."""
    bfloat16: float
    """The same of bfloat16."""
    copy: float
    """Copying memory, bytes read and written a second."""
    jpeg_decode: float
    """Decoding JPEG by Pillow on one core, pixels a second."""
    jpeg_encode: float
    """Encoding JPEG as the benchmarks write it, pixels a second."""

    @property
    def arithmetic(self) -> float:
        """The faster of the two kinds of matrix product, floating-point operations a second."""
        return max(self.float32, self.bfloat16)

    def network_seconds(self, n_macs: float) -> float:
        """Seconds that so many multiplications with addition take at least."""
        return 2 * n_macs / self.arithmetic

    def picture_seconds(self, n_pixels: float, n_macs: float, *, overlapped: bool = False) -> float:
        """Seconds to decode, run through the network and encode at least.

        Parameters
        ----------
        n_pixels
            Of the pictures.
        n_macs
            Of the network for all of them.
        overlapped
            Many pictures, so that decoding and encoding fill all cores too.
        """
        jpeg = n_pixels / self.jpeg_decode + n_pixels / self.jpeg_encode
        return jpeg / (n_cores() if overlapped else 1) + self.network_seconds(n_macs)


def matmul_rate(dtype: torch.dtype, sides: tuple[int, ...], device: str = "cpu") -> float:
    """Floating-point operations a second of the best of several square matrix products."""

    def rate(side: int) -> float:
        a, b = torch.randn(2, side, side, device=device).to(dtype)

        def work() -> None:
            torch.mm(a, b)
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize()

        return 2 * side**3 / best_seconds(work, runs=_RUNS)

    return max(rate(side) for side in sides)


def copy_rate(n_bytes: int) -> float:
    """Bytes read and written a second when memory is copied, the better of torch and NumPy."""
    source = torch.ones(n_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    copies: tuple[Callable[[], object], ...] = (
        lambda: target.copy_(source),
        lambda: np.copyto(target.numpy(), source.numpy()),
    )
    return 2 * n_bytes / min(best_seconds(copy, runs=_RUNS) for copy in copies)


def measure_limits(
    *,
    sides: tuple[int, ...] = (1024, 2048, 3072),
    copied: int = 256_000_000,
    picture: tuple[int, int] = (1536, 2048),
) -> Limits:
    """Measure the limits of this machine, in some ten seconds.

    Parameters
    ----------
    sides
        Of the square matrices.
    copied
        Bytes that are copied at once.
    picture
        (h, w) of the JPEG.
    """
    pixels = photograph(*picture)
    jpeg = jpeg_bytes(pixels)
    n_pixels = picture[0] * picture[1]
    decode = best_seconds(lambda: np.asarray(Image.open(io.BytesIO(jpeg))), runs=_RUNS)
    encode = best_seconds(lambda: encode_jpeg(pixels), runs=_RUNS)
    return Limits(
        float32=matmul_rate(torch.float32, sides),
        bfloat16=matmul_rate(torch.bfloat16, sides),
        copy=copy_rate(copied),
        jpeg_decode=n_pixels / decode,
        jpeg_encode=n_pixels / encode,
    )


def network_macs(width: float, rows: int, columns: int) -> int:
    """Multiplications with addition of a new network for one photo; nothing is computed.

    Parameters
    ----------
    width
        Channels as a share of the paper's.
    rows, columns
        Size of the L that the network reads, in pixels.

    Examples
    --------
    >>> round(network_macs(0.5, 256, 256) / 1e9, 2)
    10.54
    """
    net = Zhang(width=width).eval().to("meta")
    return count_macs(net, torch.empty(1, 1, rows, columns, device="meta"))


def count_macs(net: nn.Module, lightness: Tensor) -> int:
    """Count the multiplications with addition of the convolutions of a network.

    Parameters
    ----------
    net
        The network.
    lightness
        An input of the size in question.

    Returns
    -------
    Their number for the whole batch.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        # Every output of a convolution takes weight[0] products; every input of a transposed one.
        places = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        total += places.numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    try:
        with torch.inference_mode():
            net(lightness)
    finally:
        for hook in hooks:
            hook.remove()
    return total
