"""What `zcolor evaluate` measures: true photos, and results of others that belong to them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zcolor.files import read_image
from zcolor.training.dataset import (
    JoinedPhotos,
    LoosePhotos,
    PackedPhotos,
    Photos,
    Rgb8,
    Split,
    open_photos,
)
from zcolor.training.sources import UNREADABLE, PhotoEntry, find_photos, to_rgb8
from zcolor.training.validate import measured_photo

Source = str | os.PathLike[str]

# Pixels of the true photos that are held at once, whatever the batch: 50 MB.
_PIXELS_AT_ONCE = 1 << 24


@dataclass(frozen=True, eq=False)
class TruePhoto:
    """A photo to measure on, at the size at which it is measured."""

    index: int
    """Its number in the set."""
    name: str
    """For people."""
    rgb: Rgb8
    """(h, w, 3) uint8."""
    results: dict[str, Rgb8]
    """Colourings of it that were given, by the name of their set; each of the same size."""


class Inputs:
    """True photos by index, with given results where there are any; see `open_inputs`."""

    def __init__(self, photos: Photos, names: Sequence[str], data: dict[str, object]) -> None:
        self.photos = photos
        self.names = names
        self.data = data
        """What the set is, for the JSON."""
        self.result_names: tuple[str, ...] = ()
        self.failed: list[tuple[str, str]] = []
        """Names and reasons of what could not be measured."""

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.photos)

    def read(self, index: int) -> TruePhoto:
        """Read a photo; one whose short side is below 128 px is brought to it."""
        rgb = measured_photo(self.photos.read(index))
        return TruePhoto(index, self.names[index], rgb, {})

    def batches(self, indices: Iterable[int], size: int) -> Iterator[list[TruePhoto]]:
        """Read photos, `size` at a time or fewer where they are large.

        What cannot be read is noted in `failed` and left out.
        """
        batch: list[TruePhoto] = []
        n_pixels = 0
        for index in indices:
            try:
                photo = self.read(index)
            except UNREADABLE as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                self.failed.append((self.names[index], reason))
                continue
            batch.append(photo)
            n_pixels += photo.rgb.shape[0] * photo.rgb.shape[1]
            if len(batch) == size or n_pixels >= _PIXELS_AT_ONCE:
                yield batch
                batch, n_pixels = [], 0
        if batch:
            yield batch


class PairedInputs(Inputs):
    """True photos and the results that have the same path below their folders.

    Parameters
    ----------
    truth
        A folder or zip archive.
    results
        Folders or archives by name.

    Raises
    ------
    ValueError
        If no photo has a result in every set.
    """

    def __init__(self, truth: Source, results: dict[str, Source]) -> None:
        failed: list[tuple[str, str]] = []
        true_entries = _by_stem(Path(truth), failed)
        sets = {name: _by_stem(Path(source), failed) for name, source in results.items()}
        keys = []
        for key, entry in true_entries.items():
            missing = [str(results[name]) for name, entries in sets.items() if key not in entries]
            if missing:
                failed.append((entry.name, f"no result {key}.* in {', '.join(missing)}"))
            else:
                keys.append(key)
        for entries in sets.values():
            failed += [
                (entry.name, f"no true photo {key}.* in {truth}")
                for key, entry in entries.items()
                if key not in true_entries
            ]
        if not keys:
            raise ValueError(
                f"no photo of {truth} has a result in {', '.join(map(str, results.values()))}; "
                "results must have the same paths as the true photos, whatever their endings"
            )
        photos = LoosePhotos([true_entries[key] for key in keys])
        data: dict[str, object] = {"truth": str(truth), "hash": photos.data_hash}
        super().__init__(photos, [entry.name for entry in photos.entries], data)
        self.result_names = tuple(sets)
        self._entries = [{name: sets[name][key] for name in sets} for key in keys]
        self.data["results"] = {
            name: {
                "source": str(source),
                "hash": LoosePhotos([entries[name] for entries in self._entries]).data_hash,
            }
            for name, source in results.items()
        }
        self.failed = failed

    def read(self, index: int) -> TruePhoto:
        """Read a photo and its results; small ones are brought to 128 px together.

        Raises
        ------
        ValueError
            If a result has another size than its truth.
        """
        truth = self.photos.read(index)
        found = {}
        for name, entry in self._entries[index].items():
            rgb = to_rgb8(read_image(entry.read_bytes()).pixels)
            if rgb.shape != truth.shape:
                raise ValueError(
                    f"the result {entry.name} has {rgb.shape[1]} x {rgb.shape[0]} pixels, its "
                    f"truth {truth.shape[1]} x {truth.shape[0]}; colour it at full size"
                )
            found[name] = measured_photo(rgb)
        return TruePhoto(index, self.names[index], measured_photo(truth), found)


def open_inputs(
    inputs: Sequence[Source], results: Sequence[Source] = (), *, split: Split | None = None
) -> Inputs:
    """Open what is to be measured.

    Parameters
    ----------
    inputs
        Packs and whatever `zcolor.training.sources.find_photos` takes; with `results` a single
        folder or zip archive of true photos.
    results
        Folders or zip archives of colourings, matched by their paths below them without endings.
    split
        Of packs; None takes the val split where there is one, or else the whole pack.

    Returns
    -------
    The photos; what has no partner is noted in its `failed`.

    Raises
    ------
    FileNotFoundError
        If a source does not exist.
    ValueError
        If nothing can be measured, or `inputs` do not fit to `results`.
    """
    if not inputs:
        raise ValueError("nothing to measure on; name packs (.h5), folders, images or archives")
    if results:
        if len(inputs) != 1:
            raise ValueError(
                f"results are compared with one folder or archive of true photos, got {len(inputs)}"
            )
        if split is not None:
            raise ValueError(f"folders and archives have no splits; leave out split {split!r}")
        names = [Path(source).stem or str(source) for source in results]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(
                f"two sets of results are called {repeated[0]!r}; give their folders other names"
            )
        return PairedInputs(inputs[0], dict(zip(names, results, strict=True)))
    photos = open_photos(inputs, split or "val or all")
    data: dict[str, object] = {
        "sources": [str(source) for source in inputs],
        "split": split or "val, or all where there is none",
        "hash": photos.data_hash,
    }
    return Inputs(photos, photo_names(photos), data)


def photo_names(photos: Photos) -> list[str]:
    """Name every photo of a set, by its file where that is known."""
    if isinstance(photos, LoosePhotos):
        return [entry.name for entry in photos.entries]
    if isinstance(photos, JoinedPhotos):
        return [name for part in photos.parts for name in photo_names(part)]
    if isinstance(photos, PackedPhotos):
        return photos.names
    return [f"photo #{i}" for i in range(len(photos))]


def _by_stem(root: Path, failed: list[tuple[str, str]]) -> dict[str, PhotoEntry]:
    """The pictures of a folder or archive by their path in it, without the ending."""
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {root}; check the name")
    if not root.is_dir() and root.suffix.lower() != ".zip":
        raise ValueError(
            f"{root} is no folder and no zip archive; results and truth are compared "
            "folder by folder"
        )
    entries: dict[str, PhotoEntry] = {}
    doubles = set()
    for entry in find_photos([root]):
        if entry.member is None:
            path = PurePosixPath(entry.path.relative_to(root).as_posix())
        else:
            path = PurePosixPath(entry.member)
        key = str(path.with_suffix(""))
        if key in entries:
            doubles.add(key)
        entries[key] = entry
    for key in sorted(doubles):
        failed.append((f"{root}/{key}.*", "several pictures have this name but for the ending"))
        del entries[key]
    return entries
