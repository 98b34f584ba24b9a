"""Where a photograph begins inside its frame: a print's white border, or the black of a slide.

A network that was taught on photographs without frames takes the paper for snow and the black for
night, and colours all that lies between accordingly. So it is shown what lies inside, and the
frame stays grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Lightness = npt.NDArray[np.float32]

# Long side, in pixels, at which frames are looked for.
SEARCH_SIDE = 384
# L of paper at least, of what is black at most.
_PAPER, _BLACK = 70.0, 20.0
# A line belongs to the frame if all but this share of it is within so many L of the frame's tone:
# room for grain, dust and the JPEG's ringing.
_STRAY, _TOLERANCE = 0.08, 10.0
# The frame ends where more than this share of a line has left its tone, within so many lines:
# edges are straight, and what stands before a bright sky is not.
_LEFT, _WITHIN = 0.4, 4
# Narrowest and widest frame, as a share of the short side: the colours of what is narrower hardly
# suffer, and nothing would be left inside of what is wider.
_NARROWEST, _WIDEST = 0.008, 0.35


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

    def scaled(self, vertical: float, horizontal: float) -> Inside:
        """Give the same place in a picture of another size, without any pixel of the frame."""
        return Inside(
            int(np.ceil(self.top * vertical)),
            int(self.bottom * vertical),
            int(np.ceil(self.left * horizontal)),
            int(self.right * horizontal),
        )


def may_be_framed(rims: Sequence[Lightness]) -> bool:
    """Tell cheaply whether a frame is worth a search: by the L of some lines at the border.

    Examples
    --------
    >>> may_be_framed([np.full(80, 95, np.float32)]), may_be_framed([np.full(80, 50, np.float32)])
    (True, False)
    """
    return not _BLACK < float(np.median(np.concatenate([rim.ravel() for rim in rims]))) < _PAPER


def find_inside(lightness: Lightness) -> Inside | None:
    """Find what lies inside a frame that goes around all of a picture.

    Parameters
    ----------
    lightness
        (h, w) L in [0, 100], of any size; a long side of `SEARCH_SIDE` is enough.

    Returns
    -------
    The inside, or None where no frame is: its four sides are of one tone, that of paper or black,
    and at least three of them end at a straight edge. A bright sky or a dark room that reaches the
    picture's border is none.

    Examples
    --------
    >>> print_ = np.full((60, 80), 95, np.float32)
    >>> print_[5:55, 6:74] = 40
    >>> find_inside(print_)
    Inside(top=5, bottom=55, left=6, right=74)
    >>> find_inside(np.full((60, 80), 95, np.float32)) is None
    True
    """
    rims = [lightness[0], lightness[-1], lightness[:, 0], lightness[:, -1]]
    if not may_be_framed(rims):
        return None
    tone = float(np.median(np.concatenate(rims)))
    strange = np.abs(lightness - tone) > _TOLERANCE
    widest = int(_WIDEST * min(lightness.shape))
    margins, straight = [], 0
    for turned in (strange, strange[::-1], strange.T, strange.T[::-1]):
        margin = _margin(turned, widest)
        if margin is None:
            return None
        margins.append(margin)
    top, bottom, left, right = margins
    found = Inside(top, lightness.shape[0] - bottom, left, lightness.shape[1] - right)
    within = strange[found.slices]
    for turned in (within, within[::-1], within.T, within.T[::-1]):
        straight += bool(turned[:_WITHIN].mean(axis=1).max() > _LEFT)
    narrowest = min(margins) >= max(1, round(_NARROWEST * min(lightness.shape)))
    return found if narrowest and straight >= len(margins) - 1 else None


def _margin(strange: npt.NDArray[np.bool_], widest: int) -> int | None:
    """Count the lines of the frame from the first row on; None if they do not end in time."""
    shares = strange[: widest + 1].mean(axis=1)
    outside = np.flatnonzero(shares > _STRAY)
    return int(outside[0]) if len(outside) else None
