"""Where a picture begins inside its frame: a print's border, the black of a slide, a film's bars.

A network that was taught on photographs without frames takes the paper for snow and the black for
night, and colours all that lies between accordingly. So it is shown what lies inside, and the
frame stays grey.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from zcolor.arrays import AnyArray
from zcolor.render import resized_lightness

Lightness = npt.NDArray[np.float32]

# Long side, in pixels, at which frames are looked for.
SEARCH_SIDE = 384
# L of paper at least, of what is black at most.
_PAPER, _BLACK = 70.0, 20.0
# A line belongs to the frame if all but this share of it is within so many L of the frame's tone:
# room for grain, dust and the JPEG's ringing.
_STRAY, _TOLERANCE = 0.08, 10.0
# The frame ends where more than this share of a line has left its tone, within so many lines:
# edges are straight, and what stands before a bright sky is not. Of bars, which are two, more.
_LEFT, _LEFT_BARS, _WITHIN = 0.4, 0.6, 4
# Narrowest and widest frame, as a share of the short side: the colours of what is narrower hardly
# suffer, and nothing would be left inside of what is wider.
_NARROWEST, _WIDEST = 0.008, 0.35
# L of the black bars of a film at most, with the noise of its compression.
_BLACK_BAR = 8.0


class Inside(NamedTuple):
    """What lies inside a frame, in pixels: rows `top` to `bottom`, columns `left` to `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index a picture with.

        Examples
        --------
        >>> np.arange(12).reshape(3, 4)[Inside(1, 3, 1, 3).slices].tolist()
        [[5, 6], [9, 10]]
        """
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, old: tuple[int, int], new: tuple[int, int]) -> Inside | None:
        """Give the same place in a picture of another size, without any pixel of the frame.

        Parameters
        ----------
        old, new
            Height and width in pixels of the picture that this belongs to, and of the other.

        Returns
        -------
        The place; None where no whole pixel of the other picture lies inside.

        Examples
        --------
        >>> Inside(1, 3, 0, 4).scaled((4, 4), (10, 12))
        Inside(top=3, bottom=7, left=0, right=12)
        """
        # Whole numbers: what ends at an edge shall end there, which is an ulp too early in floats.
        (height, width), (rows, columns) = old, new
        top, left = -(-self.top * rows // height), -(-self.left * columns // width)
        bottom, right = self.bottom * rows // height, self.right * columns // width
        return Inside(top, bottom, left, right) if top < bottom and left < right else None


def find_inside(lightness: Lightness) -> Inside | None:
    """Find what lies inside a frame that goes around all of a picture, or between two black bars.

    Parameters
    ----------
    lightness
        (h, w) L in [0, 100], of any size; a long side of `SEARCH_SIDE` is enough.

    Returns
    -------
    The inside, or None where no frame is: its four sides are of one tone, that of paper or black,
    and at least three of them end at a straight edge. Bars are two opposite sides in black, as wide
    as each other, that end at straight edges. A bright sky or a dark room that reaches the
    picture's border is neither.

    Examples
    --------
    >>> print_ = np.full((60, 80), 95, np.float32)
    >>> print_[5:55, 6:74] = 40
    >>> find_inside(print_)
    Inside(top=5, bottom=55, left=6, right=74)
    >>> find_inside(np.full((60, 80), 95, np.float32)) is None
    True
    """
    return _framed(lightness) or _between_bars(lightness)


def _framed(lightness: Lightness) -> Inside | None:
    rim = np.concatenate((lightness[0], lightness[-1], lightness[:, 0], lightness[:, -1]))
    if not _may_frame(rim):
        return None
    tone = float(np.median(rim))
    strange = np.abs(lightness - tone) > _TOLERANCE
    widest = int(_WIDEST * min(lightness.shape))
    margins = []
    for turned in (strange, strange[::-1], strange.T, strange.T[::-1]):
        margin = _margin(turned, widest)
        if margin is None:
            return None
        margins.append(margin)
    top, bottom, left, right = margins
    found = Inside(top, lightness.shape[0] - bottom, left, lightness.shape[1] - right)
    straight = sum(share > _LEFT for share in _edges(strange[found.slices]))
    narrowest = min(margins) >= max(1, round(_NARROWEST * min(lightness.shape)))
    return found if narrowest and straight >= len(margins) - 1 else None


def _between_bars(lightness: Lightness) -> Inside | None:
    found = FilmBars().inside(lightness)
    if found is None:
        return None
    top, bottom, left, right = _edges((lightness > _BLACK_BAR)[found.slices])
    edges = [top, bottom] if found.top > 0 else []
    edges += [left, right] if found.left > 0 else []
    return found if min(edges) > _LEFT_BARS else None


def _edges(strange: npt.NDArray[np.bool_]) -> list[float]:
    """Tell how much of a line has another tone just inside the top, bottom, left and right edge."""
    turned = (strange, strange[::-1], strange.T, strange.T[::-1])
    return [float(lines[:_WITHIN].mean(axis=1).max()) for lines in turned]


class FilmBars:
    """The black bars beside, or above and below, the picture of a film: those of all its frames.

    A dark scene has bars of its own, and a title may lie in them: so the bars are what every frame
    so far has had, and only become narrower.

    Examples
    --------
    >>> frame = np.zeros((60, 100), np.float32)
    >>> frame[:, 20:80] = 50
    >>> bars = FilmBars()
    >>> bars.inside(frame), bars.inside(np.zeros_like(frame)), bars.inside(frame + 20)
    (Inside(top=0, bottom=60, left=19, right=81), Inside(top=0, bottom=60, left=19, right=81), None)
    """

    def __init__(self) -> None:
        self._margins: tuple[int, int] | None = None

    @property
    def gone(self) -> bool:
        """Whether some frame had no bars, so that the rest need not be looked at."""
        return self._margins is not None and max(self._margins) <= 0

    def inside(self, lightness: Lightness) -> Inside | None:
        """Look at the next frame and tell what lies between the bars.

        Parameters
        ----------
        lightness
            (h, w) L in [0, 100] of the frame; all frames are of one size.

        Returns
        -------
        What lies between them, and a line of each; None if there are none (any more).
        """
        bright = lightness > _BLACK_BAR
        height, width = bright.shape
        tops = _margin(bright, height), _margin(bright[::-1], height)
        sides = _margin(bright.T, width), _margin(bright.T[::-1], width)
        if None not in tops + sides:  # a black frame tells nothing
            vertical, horizontal = (min(m for m in pair if m is not None) for pair in (tops, sides))
            # An edge is soft: bars that are one line narrower now are the same bars.
            known = self._margins or (vertical - 1, horizontal - 1)
            self._margins = (
                known[0] if vertical >= known[0] else vertical - 1,
                known[1] if horizontal >= known[1] else horizontal - 1,
            )
        top, left = (max(0, margin) for margin in self._margins or (0, 0))
        narrowest = _NARROWEST * min(height, width)
        if max(top, left) < max(1, narrowest):
            return None
        return Inside(top, height - top, left, width - left)


def inside_frame(pixels: AnyArray | Tensor) -> Inside | None:
    """Find what lies inside the frame of a picture: `find_inside`, on any pixels.

    Parameters
    ----------
    pixels
        As at the top of `zcolor.render`, of one picture.

    Returns
    -------
    The inside in pixels, or None where no frame is.

    Examples
    --------
    >>> print_ = np.full((1, 60, 80, 1), 240, np.uint8)
    >>> print_[:, 5:55, 6:74] = 90
    >>> inside_frame(print_)
    Inside(top=5, bottom=55, left=6, right=74)
    """
    every, ends = slice(None), (slice(0, 1), slice(-1, None))
    for area in [(end, every) for end in ends] + [(every, end) for end in ends]:
        side = pixels[:, :, *area] if isinstance(pixels, Tensor) else pixels[:, *area]
        if _may_frame(_small(side, *_size(side))):
            return _search(pixels, find_inside)
    return None  # where most photographs end


def inside_bars(pixels: AnyArray | Tensor, bars: FilmBars) -> Inside | None:
    """Find what lies between the black bars of a film: `FilmBars`, on any pixels.

    Parameters
    ----------
    pixels
        As at the top of `zcolor.render`, of the film's next frame.
    bars
        What is known from the frames before; it learns of this one.

    Returns
    -------
    What lies between them in pixels, or None where there are none.

    Examples
    --------
    >>> frame = np.zeros((1, 60, 100, 1), np.uint8)
    >>> frame[:, :, 20:80] = 120
    >>> inside_bars(frame, FilmBars())
    Inside(top=0, bottom=60, left=19, right=81)
    """
    return None if bars.gone else _search(pixels, bars.inside)


def _search(pixels: AnyArray | Tensor, find: Callable[[Lightness], Inside | None]) -> Inside | None:
    """Find an inside on a small copy of one picture."""
    height, width = _size(pixels)
    scale = min(1.0, SEARCH_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    found = find(_small(pixels, rows, columns))
    return None if found is None else found.scaled((rows, columns), (height, width))


def _small(pixels: AnyArray | Tensor, height: int, width: int) -> Lightness:
    """Give the L of one picture at another size."""
    lightness: Lightness = resized_lightness(pixels, height, width, device="cpu")[0, 0].numpy()
    return lightness


def _size(pixels: AnyArray | Tensor) -> tuple[int, int]:
    height, width = pixels.shape[-2:] if isinstance(pixels, Tensor) else pixels.shape[1:3]
    return height, width


def _may_frame(rim: Lightness) -> bool:
    """Tell the tone of paper or black from others, by what lies at a picture's border."""
    return not _BLACK < float(np.median(rim)) < _PAPER


def _margin(strange: npt.NDArray[np.bool_], widest: int) -> int | None:
    """Count the lines of the frame from the first row on; None if they do not end in time."""
    shares = strange[: widest + 1].mean(axis=1)
    outside = np.flatnonzero(shares > _STRAY)
    return int(outside[0]) if len(outside) else None
