"""What reads files, and which errors each reader promises."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuzz import seeds
from fuzz.mutate import mutated, with_other_values

MAX_PIXELS = 1_000_000
"""Pictures with more pixels are refused, so that a file takes milliseconds."""
_VALUES_SHARE = 0.4  # of the checkpoints: other values in a header whose frame is whole


@dataclass(frozen=True)
class Reader:
    """A way to read files of one kind."""

    seeds: Callable[[], Mapping[str, bytes]]
    """Whole files to start from."""
    read: Callable[[Path], object]
    """Reads a file with all that is in it."""
    errors: tuple[type[Exception], ...]
    """What it may raise, in words that name the file."""
    share: float
    """How many of all files it gets; shares need not sum to 1."""
    ending: str
    """Of the files' names."""
    damaged: Callable[[bytes, list[bytes], random.Random], bytes] = mutated
    """How a file is damaged."""
    names_file: bool = True
    """Whether the errors themselves name the file; otherwise those who call the reader do."""


def _read_picture(path: Path) -> None:
    from zcolor.files import image_size, read_image

    read_image(path, max_pixels=MAX_PIXELS)
    image_size(path)


def _read_checkpoint(path: Path) -> None:
    from zcolor.checkpoint import read_checkpoint, read_header
    from zcolor.registry import load_model

    read_header(path)
    read_checkpoint(path)
    load_model(path)


def _read_pack(path: Path) -> None:
    from zcolor.training.packfile import PackedPhotos

    for split in ("all", "train"):
        photos = PackedPhotos(path, split)
        _ = photos.names, photos.data_hash, [photos.labels[i] for i in photos.label]
        for index in range(len(photos)):
            photos.read(index)


def _read_priors(path: Path) -> None:
    from zcolor.training.priors import read_priors, rebalancing_weights, summary

    found = read_priors(path)
    rebalancing_weights(found, "zhang")
    summary(found)


def _read_archive(path: Path) -> None:
    from zcolor.training.dataset import LoosePhotos
    from zcolor.training.sources import find_photos

    photos = LoosePhotos(find_photos([path]))
    for index in range(len(photos)):
        photos.read(index)


def _read_journal(path: Path) -> None:
    from zcolor.training.journal import Journal

    journal = Journal(path, seeds.JOURNAL_KEY)
    try:
        list(journal.payloads())
    finally:
        journal.close()


def _damaged_checkpoint(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < _VALUES_SHARE:
        return with_other_values(data, rng)
    return mutated(data, others, rng)


def _readers() -> dict[str, Reader]:
    from zcolor.checkpoint import CheckpointError
    from zcolor.readers import ImageReadError
    from zcolor.training.sources import UNREADABLE

    return {
        "picture": Reader(seeds.pictures, _read_picture, (ImageReadError,), 0.60, ".img"),
        "checkpoint": Reader(
            seeds.checkpoints,
            _read_checkpoint,
            (CheckpointError,),
            0.12,
            ".safetensors",
            _damaged_checkpoint,
        ),
        "pack": Reader(seeds.packs, _read_pack, (ValueError,), 0.12, ".h5"),
        "priors": Reader(seeds.priors, _read_priors, (ValueError,), 0.08, ".h5"),
        "archive": Reader(
            seeds.archives, _read_archive, UNREADABLE, 0.04, ".zip", names_file=False
        ),
        "journal": Reader(seeds.journals, _read_journal, (ValueError,), 0.04, ".part"),
    }


READERS: Callable[[], dict[str, Reader]] = _readers
"""All of them, by name; a function, since the readers' libraries load slowly."""


def make_file(readers: Mapping[str, Reader], seed: int, number: int) -> tuple[str, bytes]:
    """Make damaged file `number` of a run: always the same for the same seed.

    Parameters
    ----------
    readers
        The readers that take part.
    seed
        Of the run.
    number
        Of the file.

    Returns
    -------
    The name of the reader, and the file.
    """
    rng = random.Random(f"{seed}/{number}")  # nosec B311 - no secret
    names = list(readers)
    name = rng.choices(names, [readers[each].share for each in names])[0]
    whole = list(readers[name].seeds().values())
    return name, readers[name].damaged(rng.choice(whole), whole, rng)
