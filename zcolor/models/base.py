"""`ColorNet`: the one interface of every family of colorizers, and `Options`, what differs."""

from __future__ import annotations

import dataclasses
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from zcolor.settings import DECODING, PRESETS, ColorizeSettings, DecodeSettings, Preset

MAX_WORKING_SIZE = 8192
"""In pixels: the side of a photograph of 67 megapixels."""
# The side of the smallest square that photos are brought to (`zcolor.working`).
_SMALLEST_SIZE = 8

# What a network answers and what it is trained towards: a tensor, or several by name.
Output = Tensor | tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Options:
    """What one family alone knows of its networks; families derive theirs from it.

    Fields are `bool`, `int`, `float`, `str` or `Literal` of strings, each with a default and a
    docstring. They stand in the checkpoint's header.

    Attributes
    ----------
    of_the_beginning : tuple of str
        Class attribute: fields that say what a new network begins with, and nothing of its build.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Mine(Options):
    ...     depth: int = 5
    ...     activation: Literal["relu", "tanh"] = "relu"
    >>> Mine.parse(["activation=tanh"])
    Mine(depth=5, activation='tanh')
    """

    of_the_beginning: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read `name=value` words, as they are typed on the command line.

        Raises
        ------
        ValueError
            For a name that the family does not know, or a value of another type.
        """
        hints = {f.name: get_type_hints(cls)[f.name] for f in dataclasses.fields(cls)}
        found: dict[str, Any] = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals or name not in hints:
                known = ", ".join(f"{f.name} ({f.default!r})" for f in dataclasses.fields(cls))
                raise ValueError(
                    f"unknown option {word!r}; this model takes NAME=VALUE with "
                    f"{known or 'no options at all'}"
                )
            found[name] = _read(name, text, hints[name])
        return cls(**found)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take values from a checkpoint's header.

        Raises
        ------
        ValueError
            For a name that the family does not know, or a value of another type.
        """
        return cls.parse([f"{name}={value}" for name, value in values.items()])

    def build(self) -> dict[str, Any]:
        """Give the fields that decide how the network is built, by name."""
        values = dataclasses.asdict(self)
        return {name: values[name] for name in values if name not in self.of_the_beginning}


def _read(name: str, text: str, kind: Any) -> object:
    """Turn a word into a value of a field's type."""
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {text!r}")
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ValueError(f"{name} must be true or false, got {text!r}")
    try:
        value: object = kind(text)
    except ValueError as error:
        raise ValueError(f"{name} must be of type {kind.__name__}, got {text!r}") from error
    return value


class ColorNet(nn.Module, ABC):
    """A network that reads lightness and answers with colour.

    The hall (`zcolor.colorizer`), the training loop and the evaluation know this interface alone;
    they never ask which family they hold.

    Parameters
    ----------
    working_size
        Side in pixels of the square whose area photos are brought to, 8 to 8192.
    options
        What the family alone knows, an `options_type`; None takes the defaults.

    Raises
    ------
    ValueError
        If `working_size` makes no sense.

    Attributes
    ----------
    working_size : int
        As given.
    options : Options
        As given.
    presets : Mapping
        How the model decodes under each of the named presets; changes nothing in families that do
        not decode.
    clip_length : int
        Frames of a clip that training gives at once: 1 for families that know photographs alone,
        another number for families of films, which set it for each network.
    """

    working_size: int
    presets: Mapping[Preset, DecodeSettings] = PRESETS
    clip_length: int = 1
    # The class of the family's options.
    options_type: ClassVar[type[Options]] = Options

    def __init__(self, *, working_size: int = 128, options: Options | None = None) -> None:
        super().__init__()
        # Headers of checkpoints come through here too: anything that JSON holds.
        whole = isinstance(working_size, numbers.Integral)
        if not (whole and _SMALLEST_SIZE <= working_size <= MAX_WORKING_SIZE):
            raise ValueError(
                f"working_size must be at least {_SMALLEST_SIZE}, got {working_size!r}; "
                f"a whole number of at most {MAX_WORKING_SIZE}"
            )
        self.working_size = int(working_size)
        self.options = self.options_type() if options is None else options

    @abstractmethod
    def forward(self, lightness: Tensor) -> Output:
        """Answer to (n, 1, h, w) lightness, L in [0, 100], in the family's own terms.

        A family of films (`clip_length` above 1) also takes clips, (n, t, 1, h, w) with any number
        of frames t, and answers for n * t frames one after the other, clip by clip: what `target`
        and `loss` see then has n * t in the first place. To it (n, 1, h, w) are photographs, each
        a clip of one frame.
        """

    @abstractmethod
    def target(self, ab: Tensor, lightness: Tensor, labels: Tensor | None) -> Output:
        """Make of the true ab (n, 2, h, w) what `loss` compares the output with."""

    @abstractmethod
    def loss(self, output: Output, target: Output) -> dict[str, Tensor]:
        """Return scalar losses by name; `total` is what is minimised."""

    @abstractmethod
    def to_ab(self, output: Output, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Turn an output into (n, 2, h', w') ab, unscaled; h' = w' = 1 for one colour a photo."""

    def predict_ab(self, lightness: Tensor, decode: DecodeSettings) -> Tensor:
        """Colour (n, 1, h, w) lightness: `to_ab(forward(lightness))`, as (n, 2, h', w') ab."""
        return self.to_ab(self(lightness), lightness, decode)

    def decoding(self, settings: ColorizeSettings) -> DecodeSettings:
        """Tell how `to_ab` shall decode what this network answers, under some settings.

        Families that answer with probabilities of colours take what the settings state, and the
        rest from the model's own presets.

        Parameters
        ----------
        settings
            How pictures are coloured.

        Raises
        ------
        ValueError
            If the settings state how to decode and the family has nothing to decode; a preset
            alone says nothing of it.
        """
        stated = [name for name in DECODING if getattr(settings, name) is not None]
        if stated:
            raise ValueError(
                f"{type(self).__name__} answers with a colour, not with the probabilities of many, "
                f"so that there is nothing to decode; leave {' and '.join(stated)} out, or use a "
                "model that classifies, such as 'zhang'"
            )
        return settings.decode_settings(self.presets)

    def leaning(self, reference: Tensor, lend: float) -> Self:
        """Return this network with its colours leaning towards those of a reference photo.

        Families that answer with probabilities of colours can; it shares their layers and changes
        nothing in this one.

        Parameters
        ----------
        reference
            (n, 3, h, w) sRGB in [0, 1], at working size.
        lend
            How far: 0 not at all, 1 by Bayes' rule.

        Raises
        ------
        ValueError
            If the family answers with a colour, not with the probabilities of many.
        """
        raise ValueError(
            f"{type(self).__name__} answers with a colour, not with the probabilities of many, so "
            "that a reference cannot lend it its own; leave the reference out, or use a model that "
            "classifies, such as 'zhang'"
        )

    def filming(self) -> Self:
        """Return this network for the frames of one film, which it is given one after the other.

        Families of films (`clip_length` above 1) remember there what the frames before have shown;
        they share their layers with this one and change nothing in it. To all others a frame is a
        photograph, and they return themselves.
        """
        return self

    def begin_frame(self, *, new_scene: bool) -> None:
        """Go on to the next frame of the film that `filming` began.

        A frame may be looked at several times (at two sizes, mirrored), in every frame in the same
        order.

        Parameters
        ----------
        new_scene
            Forget what the frames before have shown.
        """

    def begin(self) -> None:
        """Fetch what a new network starts its training with, such as pretrained weights.

        Called once for a network that is about to be trained from the beginning, never for one
        whose weights come from a checkpoint. Most families have nothing to fetch.

        Raises
        ------
        OSError, ValueError
            If it cannot be had; the message names the cure.
        """

    def header(self) -> dict[str, Any]:
        """Return what a checkpoint's header must say to build this network again."""
        return {"working_size": self.working_size, "options": dataclasses.asdict(self.options)}

    @classmethod
    @abstractmethod
    def from_header(cls, header: Mapping[str, Any]) -> ColorNet:
        """Build the network, without its weights, that `header` described.

        A new network is built by it too: `header` then has all that training knows (`grid`,
        `width`, `targets`, `working_size`, `options`), of which a family takes what it needs.
        """

    @classmethod
    def options_of(cls, header: Mapping[str, Any]) -> Options:
        """Read the family's options from a header; the defaults where it has none."""
        return cls.options_type.from_dict(header.get("options", {}))
