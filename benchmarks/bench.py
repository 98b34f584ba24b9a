"""What every case gets and what it gives: `Bench`, and a `Row` for each figure."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.limits import Limits, measure_limits, network_macs
from benchmarks.photographs import make_folder
from benchmarks.reference import Reference
from benchmarks.timing import Pair, Spread
from zcolor import Colorizer
from zcolor.models.zhang import Zhang
from zcolor.settings import ColorizeSettings
from zcolor.working import working_shape

MILLION = 1e6
GIGA = 1e9


@dataclass(frozen=True)
class Target:
    """What a figure has to reach."""

    text: str
    """In words."""
    holds: bool
    """Whether it does."""

    @classmethod
    def at_least(cls, value: float, bound: float, unit: str) -> Target:
        """A value that must not be below a bound.

        Examples
        --------
        >>> Target.at_least(5.5, 5, "x")
        Target(text='at least 5x', holds=True)
        """
        return cls(f"at least {bound:g}{unit}", value >= bound)

    @classmethod
    def at_most(cls, value: float, bound: float, unit: str) -> Target:
        """A value that must not be above a bound."""
        return cls(f"at most {bound:g}{unit}", value <= bound)


@dataclass(frozen=True)
class Row:
    """One figure, and what stands beside it."""

    case: str
    """The case that measured it."""
    what: str
    """What was measured."""
    unit: str
    """Of `ours`, `reference` and `limit`; where it ends in "/s", more is better."""
    ours: float
    """The figure: the median, where there are several runs."""
    spread: Spread | None = None
    """Of the runs, in the unit of `ours`."""
    reference: float | None = None
    """The same of the reference."""
    reference_is: str = ""
    """What the reference is."""
    ratio: Spread | None = None
    """How many times faster ours is, pair by pair."""
    limit: float | None = None
    """What could be reached at best."""
    limit_is: str = ""
    """What the limit is made of."""
    target: Target | None = None
    """What `ours`, `ratio` or `share_of_limit` has to reach."""
    note: str = ""
    """What else there is to say."""

    @property
    def share_of_limit(self) -> float | None:
        """How near to the limit the figure is: 1 has reached it."""
        if self.limit is None or not self.ours:
            return None
        return self.ours / self.limit if self.unit.endswith("/s") else self.limit / self.ours


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the tests shrink it."""

    small: tuple[int, int] = (512, 512)
    """(h, w) of the small picture, in pixels."""
    medium: tuple[int, int] = (1536, 2048)
    """(h, w) of the medium one."""
    large: tuple[int, int] = (3000, 4000)
    """(h, w) of the large one."""
    reference_width: float = 1.0
    """Channels of the reference's network as a share of the paper's."""
    n_files: int = 64
    """Files of the mixed folder."""
    megapixels: tuple[float, float] = (0.3, 4.0)
    """Smallest and largest of them, in millions of pixels."""
    n_training: int = 1600
    """Photographs to count and to train on."""
    training_megapixels: tuple[float, float] = (0.03, 0.3)
    """Smallest and largest of them."""
    batch: int = 64
    """Photographs a training step."""
    crop: int = 64
    """Side of the training crops, in pixels."""
    steps: int = 40
    """Training steps a run; those up to the first entry of the log do not count."""
    training_width: float = 0.5
    """Channels of the trained network as a share of the paper's."""
    giant_jpeg: tuple[int, int] = (10_000, 10_000)
    """(h, w) of the JPEG whose peak memory is measured."""
    giant_png: tuple[int, int] = (15_000, 20_000)
    """(h, w) of the PNG."""
    growth: tuple[float, ...] = (1, 3, 10, 30, 100)
    """Sizes at which the cost is measured, in millions of pixels."""
    n_small_files: tuple[int, int] = (100, 1000)
    """Files of the short and the long folder whose peak memory is compared."""
    batch_photos: int = 64
    """Photos in a batch on an accelerator."""
    batch_side: int = 256
    """Side of these photos, in pixels."""


@dataclass
class Bench:
    """What the cases share."""

    folder: Path
    """For files that are made on the way."""
    out: Path
    """For what is kept: the report and plots."""
    runs: int = 7
    """Pairs of a case; those that take long make about half as many."""
    sizes: Sizes = field(default_factory=Sizes)
    """How much is measured."""

    @property
    def few_runs(self) -> int:
        """Pairs of a case that takes long."""
        return (self.runs + 1) // 2

    @functools.cached_property
    def limits(self) -> Limits:
        """What the machine can do at best."""
        return measure_limits()

    @functools.cached_property
    def colorizer(self) -> Colorizer:
        """The shipped model on the CPU."""
        return Colorizer(device="cpu")

    @functools.cached_property
    def reference(self) -> Reference:
        """The usual way."""
        return Reference(self.sizes.reference_width)

    @functools.cached_property
    def training_files(self) -> list[Path]:
        """Photographs to count and to train on, in a folder of their own."""
        sizes = self.sizes
        return make_folder(
            self.folder / "training", sizes.n_training, megapixels=sizes.training_megapixels
        )

    def photo_macs(self, height: int, width: int) -> int:
        """Multiplications with addition of the shipped network for a photo of a size."""
        net = self.colorizer.net
        assert isinstance(net, Zhang)
        return network_macs(net.width, *working_shape(height, width, net.working_size))


def pair_row(
    case: str,
    what: str,
    pair: Pair,
    *,
    reference_is: str = "the usual path",
    limit_seconds: float | None = None,
    limit_is: str = "",
    least_ratio: float | None = None,
    note: str = "",
) -> Row:
    """Make a row in milliseconds of interleaved runs.

    Parameters
    ----------
    case, what, reference_is, limit_is, note
        As in `Row`.
    pair
        The seconds.
    limit_seconds
        Seconds at best.
    least_ratio
        How many times faster than the reference ours has to be; None asks for nothing.
    """
    scaled = Spread.of([1000 * seconds for seconds in pair.ours])
    target = None
    if least_ratio is not None:
        target = Target.at_least(pair.speedup.median, least_ratio, "x")
    return Row(
        case,
        what,
        "ms",
        scaled.median,
        spread=scaled,
        reference=1000 * pair.reference_seconds.median,
        reference_is=reference_is,
        ratio=pair.speedup,
        limit=None if limit_seconds is None else 1000 * limit_seconds,
        limit_is=limit_is,
        target=target,
        note=note,
    )


def setting(bench: Bench) -> str:
    """Say with which settings pictures were coloured."""
    default = ColorizeSettings()
    net = bench.colorizer.net
    decode = default.decode_settings(net.presets)
    return (
        f"model zhang, working size {net.working_size}, preset {default.preset} ({decode}), "
        f"upsample {default.upsample}, average {default.average}"
    )


def shape_text(shape: tuple[int, int]) -> str:
    """Write (h, w) the way people do.

    Examples
    --------
    >>> shape_text((1536, 2048))
    '2048 x 1536'
    """
    return f"{shape[1]} x {shape[0]}"
