"""The yardstick: the usual way of colouring with the network of Zhang et al. 2016 in PyTorch.

Pillow reads, scikit-image converts to Lab and back in float64, the picture is squashed to 256 x
256 for a network of the paper's full width in float32 (channels first, random weights), the ab are
the annealed mean over the cells' centres, and come to full size bilinearly.

Also a command, for its peak memory: `python -m benchmarks.reference IN OUT`.
"""

from __future__ import annotations

import io
import os
import sys
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from zcolor.models.zhang import Zhang
from zcolor.training.dataset import Rgb8

SIDE = 256
"""Side in pixels to which every picture is squashed (Zhang et al. 2016)."""
TEMPERATURE = 0.38
"""Of the annealed mean (Zhang et al. 2016, section 2.3)."""
JPEG_QUALITY = 95
"""Of the files that are written, with full colour sampling: as zcolor writes them, so that both
do the same work there."""


class Reference:
    """The usual way, with its network loaded.

    Parameters
    ----------
    width
        Channels of the network as a share of the paper's.
    """

    def __init__(self, width: float = 1.0) -> None:
        net = Zhang(width=width).eval()
        self.net = net.float().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, lightness: Tensor) -> Tensor:
        """Answer to (n, 1, h, w) L in [0, 100] with (n, q, h / 4, w / 4) logits.

        The plain layers one after the other, so that nothing that `Zhang.forward` may do to be
        faster reaches the reference.
        """
        with torch.inference_mode(), torch.autocast(lightness.device.type, enabled=False):
            logits: Tensor = self.net.classifier(self.net.groups((lightness - 50) / 50))
            return logits

    def decode(self, logits: Tensor) -> Tensor:
        """Annealed mean of the centres: (n, 2, h, w) ab of (n, q, h, w) logits."""
        with torch.inference_mode():
            p = torch.softmax(logits / TEMPERATURE, dim=1)
            return torch.einsum("nqhw,qc->nchw", p, self.net.grid.centers)

    def color(self, image: Image.Image) -> Rgb8:
        """Colour a picture; (h, w, 3) uint8 RGB."""
        rgb = np.asarray(image.convert("RGB"))
        small = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        lab = rgb2lab(rgb)
        lightness = torch.from_numpy(rgb2lab(small)[..., 0]).float()[None, None]
        ab = self.decode(self.forward(lightness))
        full = F.interpolate(ab, size=rgb.shape[:2], mode="bilinear")
        lab[..., 1:] = full[0].permute(1, 2, 0).numpy()
        with warnings.catch_warnings():
            # Colours outside the gamut, which scikit-image clips, are no news here.
            warnings.filterwarnings("ignore", message=".*negative Z values")
            colored = lab2rgb(lab)
        levels: Rgb8 = np.rint(colored * 255).astype(np.uint8)
        return levels

    def color_bytes(self, data: bytes) -> bytes:
        """Colour an image file, bytes to the bytes of a JPEG."""
        with Image.open(io.BytesIO(data)) as image:
            colored = self.color(image)
        return encode_jpeg(colored)

    def color_file(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        """Colour an image file into a JPEG file."""
        with Image.open(source) as image:
            colored = self.color(image)
        with open(target, "wb") as file:
            file.write(encode_jpeg(colored))


def encode_jpeg(pixels: Rgb8) -> bytes:
    """Encode (h, w, 3) RGB by Pillow at `JPEG_QUALITY` with full colour sampling."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


if __name__ == "__main__":
    Reference().color_file(*sys.argv[1:])
