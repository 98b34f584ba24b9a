"""`ColorDistribution`: the answer of a classifier as an object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zcolor.decode import cell_colors, decode_answer, strips
from zcolor.palette import Suggestion, distinct_colors, srgb_at
from zcolor.quantizer import AbGrid
from zcolor.sampling import sample_ab
from zcolor.settings import DecodeSettings


@dataclass(frozen=True, eq=False)
class ColorDistribution:
    """A probability for every cell of the ab grid, at every pixel of a photo.

    Decoding it again with another temperature costs no forward pass.

    A network that was trained with rebalancing weights answers with probabilities that are tilted
    towards the colours with large weights, which makes its pictures vivid: `probabilities` and
    `decode` are of that kind. Where a probability has to hold (`confidence`, `suggest`, `sample`)
    the tilt is undone first, as `natural` does.

    Parameters
    ----------
    logits
        (n, q, h, w), at the working resolution of the network.
    grid
        The q cells.
    means
        (q, 2) mean ab of the training pixels of each cell, or None where unknown.
    defaults
        How the model decodes unless told otherwise.
    class_weights
        (q,) rebalancing weights that the network was trained with, all above 0; None if none.
    lightness
        (n, 1, h, w), L in [0, 100] at the resolution of the logits, or None where unknown.

    Raises
    ------
    ValueError
        If a shape does not fit the others or a weight is not above 0.

    Examples
    --------
    >>> grid = AbGrid()
    >>> distribution = ColorDistribution(torch.zeros(1, 324, 2, 2), grid)
    >>> distribution.decode(method="mean").abs().max().item() < 1e-3
    True
    """

    logits: Tensor
    grid: AbGrid
    means: Tensor | None = None
    defaults: DecodeSettings = DecodeSettings(colors="centers")
    class_weights: Tensor | None = None
    lightness: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what does not belong to the grid or to the logits."""
        q, weights, lightness = self.grid.n_bins, self.class_weights, self.lightness
        if self.logits.ndim != 4 or self.logits.shape[1] != q:
            raise ValueError(
                f"logits must be (n, {q}, h, w) for this grid, got {tuple(self.logits.shape)}"
            )
        if weights is not None and (weights.shape != (q,) or not bool((weights > 0).all())):
            raise ValueError(
                f"class_weights must be ({q},) for this grid, all above 0, got "
                f"{tuple(weights.shape)} down to {weights.min().item():g}"
            )
        expected = self.logits[:, :1].shape
        if lightness is not None and lightness.shape != expected:
            raise ValueError(
                f"lightness must be {tuple(expected)} as the logits are, "
                f"got {tuple(lightness.shape)}"
            )

    @property
    def probabilities(self) -> Tensor:
        """(n, q, h, w) float32 in [0, 1], summing to 1 over q; computed anew at each call."""
        return torch.softmax(self.logits.float(), dim=1)

    def natural(self) -> ColorDistribution:
        """Undo the tilt of the rebalancing weights.

        Returns
        -------
        The distribution whose colours are as frequent as in photographs; this one if it was
        trained without weights. Its logits are a new float32 tensor.

        Notes
        -----
        The loss weighs a pixel by w(q) of its true cell q, so what minimises it is proportional
        to w(q) p(q); dividing by w(q) and normalising again gives p(q). Zhang et al. 2016,
        equations 2 and 3.
        """
        if self.class_weights is None:
            return self
        return replace(self, logits=self.logits.float() - self._tilt, class_weights=None)

    def decode(
        self,
        *,
        method: str | None = None,
        temperature: float | None = None,
        colors: str | None = None,
        rebalance: float | None = None,
        neutral: tuple[float, float] | None = None,
        gain: float | None = None,
        contrast: float | None = None,
    ) -> Tensor:
        """Decode to ab; what is None is taken from the model's own settings.

        Parameters
        ----------
        method
            `annealed`, `argmax` or `mean`.
        temperature
            T of the annealed mean in [0, 1].
        colors
            `means` or `centers` of the cells.
        rebalance
            Power of the rebalancing weights, in [0, 4]: 0 decodes `natural()`, 1 the
            probabilities as they are, more favours rare colours.
        neutral
            The a and b that are shown as neutral; (0, 0) shifts nothing.
        gain
            Factor on ab after that, in [0, 4]; 1 scales nothing.
        contrast
            How much more colours are strengthened that differ from the photo's mean, in [0, 4];
            0 treats all alike.

        Returns
        -------
        (n, 2, h, w) float32 ab at the distribution's resolution.

        Raises
        ------
        ValueError
            If an option is unknown or out of range, or a temperature is given to a method that
            has none.
        """
        settings = self.defaults.changed(
            method=method,
            temperature=temperature,
            colors=colors,
            rebalance=rebalance,
            neutral=neutral,
            gain=gain,
            contrast=contrast,
        )
        return decode_answer(self.logits, self.grid, self.means, self.class_weights, settings)

    def confidence(self, *, radius: float = 20.0, ab: Tensor | None = None) -> Tensor:
        """Tell how probable it is that the true colour lies near the answer.

        It is the mass of the natural distribution (`natural`) within `radius`; a cell that the
        circle cuts counts in part. No constant is fitted to make it hold.

        Parameters
        ----------
        radius
            What is near, in ab units, above 0. Below the width of a cell (12) it is guesswork.
        ab
            (n, 2, h, w) the answer that is judged; None judges `decode()`.

        Returns
        -------
        (n, 1, h, w) float32 probability in [0, 1], of the true ab averaged over the pixel.

        Raises
        ------
        ValueError
            If the shape of `ab` is another or `radius` is not above 0.
        """
        if not radius > 0:
            raise ValueError(f"radius must be above 0 ab units, got {radius!r}")
        answer = self.decode() if ab is None else ab
        if answer.shape != (len(self.logits), 2, *self.logits.shape[2:]):
            raise ValueError(
                f"ab must be (n, 2, h, w) with the sizes of the logits "
                f"{tuple(self.logits.shape)}, got {tuple(answer.shape)}"
            )
        colors = self._true_colors.float()
        confidence = torch.empty_like(self.logits[:, :1], dtype=torch.float32)
        for photo, rows, part in strips(self.logits):
            p = torch.softmax(part.float() - self._tilt, dim=0)
            a, b = answer[photo, :, rows].to(colors).unbind()
            apart = torch.hypot(a - colors[:, 0, None, None], b - colors[:, 1, None, None])
            # The circle's edge crosses a cell within about the cell's width.
            share = ((radius - apart) / self.grid.width + 0.5).clamp(0, 1)
            confidence[photo, 0, rows] = (p * share).sum(dim=0)
        return confidence.clamp(0, 1)

    def suggest(
        self, x: float, y: float, k: int = 5, *, distance: float = 20.0, photo: int = 0
    ) -> list[Suggestion]:
        """Suggest distinct colours for a point of a photo, the most probable first.

        The most probable cell takes the cells around it with it and stands for their mass; the
        most probable of the rest is the next, until none is left.

        Parameters
        ----------
        x, y
            The point in fractions of the photo's width and height: 0, 0 is its top left corner,
            1, 1 its bottom right.
        k
            How many colours at most, at least 1.
        distance
            Two suggestions differ by more than this, in ab units.
        photo
            Which of the n.

        Returns
        -------
        `k` suggestions or fewer. Their probabilities are those of the natural distribution
        (`natural`), fall along the list and sum to 1 at most. RGB is known where `lightness` is;
        a colour that sRGB cannot show at that lightness is shown with less chroma.

        Raises
        ------
        ValueError
            If the point lies outside the photo, `k` is below 1 or `distance` is negative.
        IndexError
            If there is no such photo.
        """
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(
                f"x and y must be fractions of width and height in [0, 1], got {x!r} and {y!r}; "
                "divide pixels by the photo's width and height"
            )
        if k < 1 or not distance >= 0:
            raise ValueError(
                f"k must be at least 1 and distance at least 0, got {k!r} and {distance!r}"
            )
        h, w = self.logits.shape[2:]
        row, column = min(int(y * h), h - 1), min(int(x * w), w - 1)
        logits = self.logits[photo, :, row, column].float() - self._tilt[:, 0, 0]
        lightness = None if self.lightness is None else self.lightness[photo, 0, row, column]
        colors = self._true_colors.float().cpu()
        found = distinct_colors(torch.softmax(logits, dim=0).cpu(), colors, distance)
        return [
            Suggestion((a, b), mass, srgb_at(lightness, a, b))
            for mass, (a, b) in ((mass, colors[q].tolist()) for mass, q in found[:k])
        ]

    def sample(
        self, n: int, *, seed: int = 0, temperature: float = 0.85, coherence: float = 2.0
    ) -> Tensor:
        """Draw different plausible colourings, each coherent over the photo.

        Parameters
        ----------
        n
            Number of colourings, at least 1.
        seed
            The same seed gives the same colourings, whatever photos share the batch, and the
            first of many are the few.
        temperature
            In (0, 1]: 1 draws from the natural distribution (`natural`) as it is, less keeps to
            its more probable colours.
        coherence
            How far neighbours share their dice, in sides of the photo, at least 0.1.

        Returns
        -------
        (n, photos, 2, h, w) float32 ab; `photo.with_ab(ab)` of each `ab` is a coloured picture.

        Raises
        ------
        ValueError
            If an option is out of range.

        Notes
        -----
        `zcolor.sampling` says how.
        """
        return sample_ab(
            self.logits,
            self._true_colors,
            n,
            seed=seed,
            temperature=temperature,
            coherence=coherence,
            log_weights=self._tilt.flatten(),
        )

    @property
    def _tilt(self) -> Tensor:
        """(q, 1, 1) what the rebalancing weights add to the logits."""
        weights = self.class_weights
        if weights is None:
            return self.logits.new_zeros(self.grid.n_bins, 1, 1, dtype=torch.float32)
        return weights.to(self.logits.device, torch.float32).log().view(-1, 1, 1)

    @property
    def _true_colors(self) -> Tensor:
        """(q, 2) where the true colours of each cell lie, as far as is known."""
        colors = cell_colors(self.grid, self.means, "centers" if self.means is None else "means")
        return colors.to(self.logits.device)
