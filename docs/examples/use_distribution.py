"""Ask the network how sure it is, what else a point could be, and for other colourings.

    python docs/examples/use_distribution.py photo.jpg

Writes NAME-confidence.png (bright: sure) and NAME-sample-0.png to NAME-sample-3.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

from zcolor import Colorizer
from zcolor.photo import read_photo


def main(path: str) -> None:
    """Draw the confidence in the colours of a photograph, and four other colourings of it."""
    source = Path(path)
    photo = read_photo(source)
    distribution = Colorizer().distribution(source)

    # (1, 1, h, w) in [0, 1]: how probable the true colour is within 20 ab units of the answer.
    confidence = distribution.confidence()
    print(f"mean confidence {confidence.mean():.0%}")
    grey = (confidence[0, 0] * 255).to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(grey).resize((photo.width, photo.height))
    picture.save(source.with_name(f"{source.stem}-confidence.png"))

    print("in the middle of the photograph:")
    for suggestion in distribution.suggest(0.5, 0.5, 5):
        print(f"  {suggestion.probability:4.0%}  rgb {suggestion.rgb}")

    for number, ab in enumerate(distribution.sample(4, seed=0)):  # each (1, 2, h, w)
        colored = photo.with_ab(ab)
        assert isinstance(colored, Image.Image)
        colored.save(source.with_name(f"{source.stem}-sample-{number}.png"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
