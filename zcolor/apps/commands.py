"""What can be typed after `zcolor`: one dataclass a command, from which tyro makes the parser.

The commands that make a model stand in `commands_training`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zcolor.apps.command_parts import Engine, Format, Sources, check_engine
from zcolor.apps.commands_training import Pack, Pretrain, Priors, Train
from zcolor.apps.evaluate_ways import Ways
from zcolor.apps.stylize import StyleSettings
from zcolor.registry import Runtime
from zcolor.settings import ColorizeSettings, Device, EvaluateSettings


@dataclass(frozen=True)
class Colorize:
    """Colour image files, and all pictures in folders; - reads a picture from a pipe.

    example: zcolor colorize album/ -o album-color/
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files and folders, or - for a single picture from standard input."""
    out: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="PATH")] = None
    """A folder, or the name for a single picture, or - for standard output; without it
    NAME-color.EXT beside each picture, and standard output for one from standard input. With
    --engine ray also a URL, such as s3://bucket/album."""
    model: str = "zhang"
    """A name that `zcolor models` lists, a checkpoint, or what `zcolor export` wrote."""
    runtime: Runtime = "auto"
    """What runs the network: torch, onnx (onnxruntime; another model is exported first, which takes
    some seconds), or auto: onnxruntime for models that end in .onnx."""
    settings: Annotated[ColorizeSettings, tyro.conf.arg(name="")] = field(
        default_factory=ColorizeSettings
    )
    """How the pictures are coloured."""
    format: Format | None = None
    """Of all results; without it the format of each picture, or png where that holds no colour."""
    quality: int = 95
    """Of JPEG, WebP and AVIF files, 1 to 100."""
    max_pixels: int = 300_000_000
    """Larger pictures are refused."""
    overwrite: bool = False
    """Replace results that exist; originals are never replaced."""
    resume: bool = False
    """Skip pictures that have a result already: goes on after an interrupt."""
    dry_run: bool = False
    """Only list what would be written."""
    summary: Path | None = None
    """A JSON file for what became of every picture."""
    compare: Path | None = None
    """A picture file for a sheet of the first 100 photos, before and after."""
    jobs: int = 0
    """Photos at a time; 0 takes one per core, and with --engine ray one per GPU if there are
    some."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    engine: Engine = "local"
    """`local`, or `ray`: the machines of a Ray cluster, with the same results."""
    address: str | None = None
    """Of the cluster, HOST:PORT; without it --engine ray takes the cores of this computer."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        check_engine(self.engine, self.address)


@dataclass(frozen=True)
class Video:
    """Colour a film without flicker, its sound copied.

    example: zcolor video film.mp4 -o film-color.mp4
    """

    input: Annotated[Path, tyro.conf.Positional]
    """The film."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The new film (.mp4, .m4v, .mov, .mkv); without it NAME-color.EXT beside the original."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    settings: Annotated[ColorizeSettings, tyro.conf.arg(name="")] = field(
        default_factory=ColorizeSettings
    )
    """How the frames are coloured."""
    smooth: float = 0.9
    """How much colours are held still along the motion, 0 (every frame by itself) to 1."""
    crf: int = 18
    """Quality of the H.264 picture: 0 (lossless) to 51 (small and ugly)."""
    overwrite: bool = False
    """Replace the new film if it exists; the original is never replaced."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


@dataclass(frozen=True)
class Serve:
    """Colour photographs on a page in the browser, and by POST /colorize; all on this computer.

    example: zcolor serve --open-browser
    """

    host: str = "127.0.0.1"
    """Address to listen at; any other than the default lets other machines in, without a
    password."""
    port: int = 7860
    """Port to listen at; 0 takes a free one."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    max_upload_mb: float = 100.0
    """Largest upload, in megabytes."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused."""
    queue: int = 8
    """Requests that may wait; more are told to come again."""
    open_browser: bool = False
    """Show the page in the web browser."""
    allow_host: tuple[str, ...] = ()
    """Names that a proxy in front of the server passes on, without port. At a loopback address
    other names than this machine's own are refused."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a model, or anybody's results, beside the baselines: grey, mean colour, the ceiling.

    example: zcolor evaluate photos.h5 --page evaluation.html

    example: zcolor evaluate truth/ --results theirs/ ours/
    """

    inputs: Sources
    """True photos: packs (.h5), folders, images, globs, zip archives, .txt lists."""
    results: tuple[Path, ...] = ()
    """Folders of colourings of these photos, matched by name; then no model is measured."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    split: Literal["train", "val", "test", "all"] | None = None
    """Of packs; the val split if there is one, or else the whole pack."""
    json: Path | None = None
    """A file for all figures."""
    page: Path | None = None
    """An HTML file with the table, plots, and the best, median and worst photos."""
    ways: Annotated[Ways, tyro.conf.arg(name="")] = field(default_factory=Ways)
    """How the model is decoded."""
    evaluation: Annotated[EvaluateSettings, tyro.conf.arg(name="")] = field(
        default_factory=EvaluateSettings
    )
    """How it is measured."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


@dataclass(frozen=True)
class Inspect:
    """Look into a network: layers, filters, what its units answer to, what excites them.

    example: zcolor inspect photo.jpg -o look --group 5 --unit 17
    """

    photo: Annotated[Path | None, tyro.conf.Positional] = None
    """The photograph that it is shown; noise without one."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("zcolor-inspect")
    """The folder for the pictures and index.html."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    group: str | None = None
    """Number, from 1, or name of the group to look at; without it all of them."""
    unit: tuple[int, ...] = ()
    """Units of that group; without them those that are strongest on the photograph."""
    strongest: int = 8
    """How many these are."""
    photos: tuple[str, ...] = ()
    """Packs, folders or images in which to look for what excites the units."""
    max_photos: int = 300
    """No more of them than this, evenly spread."""
    side: int = 96
    """Side of the inputs that excite units, in pixels."""
    steps: int = 96
    """Steps in which each of them is made."""
    seed: int = 0
    """Of their noise."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


@dataclass(frozen=True)
class Export:
    """Write a model as ONNX, checked against torch.

    example: zcolor export zhang --out zhang.onnx
    """

    model: Annotated[str, tyro.conf.Positional] = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("zcolor.onnx")
    """The file to write (.onnx)."""
    overwrite: bool = False
    """Replace the file if it exists."""


@dataclass(frozen=True)
class Models:
    """List the models that come with zcolor.

    example: zcolor models
    """


@dataclass(frozen=True)
class Stylize:
    """Draw a photo in the style of another, or a texture like a picture.

    example: zcolor stylize cat.jpg --style bricks.jpg -o cat-bricks.jpg

    example: zcolor stylize --texture bricks.jpg -o more-bricks.png
    """

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The picture to write; its ending names the format."""
    content: Annotated[Path | None, tyro.conf.Positional] = None
    """The photo."""
    style: Path | None = None
    """The picture whose style the photo gets."""
    texture: Path | None = None
    """A picture whose texture is to be made anew, in place of a photo and its style."""
    settings: Annotated[StyleSettings, tyro.conf.arg(name="")] = field(
        default_factory=StyleSettings
    )
    """How it is drawn."""
    overwrite: bool = False
    """Replace the picture if it exists; the originals are never replaced."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


@dataclass(frozen=True)
class Demo:
    """Colour the sample photographs and write before/after sheets.

    example: zcolor demo -o sheets/
    """

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("zcolor-demo")
    """The folder to write to."""
    samples: Path | None = None
    """A folder of photographs in place of the samples."""
    model: str = "zhang"
    """A name that `zcolor models` lists, or a checkpoint."""
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


Command = (
    Colorize
    | Video
    | Stylize
    | Serve
    | Evaluate
    | Inspect
    | Train
    | Pretrain
    | Pack
    | Priors
    | Export
    | Models
    | Demo
)


@dataclass(frozen=True)
class Zcolor:
    """Colour black-and-white photographs, and train the network that does it."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]
    """What to do."""
    debug: bool = False
    """Show the whole trace of an error, and what happens in between."""
    version: bool = False
    """Print the version and end."""
