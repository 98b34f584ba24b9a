"""Photographs with the name of their folder as a label, parted for learning and measuring."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zcolor.training.dataset import JoinedPhotos, LoosePhotos, PackedPhotos, Photos, Rgb8


@dataclass(frozen=True)
class LabelledPhotos:
    """Some photographs of a set, each with the number of its class; they are `Photos` themselves.

    Parameters
    ----------
    photos
        The set.
    indices
        Which of its photographs.
    classes
        The class of each of them.
    """

    photos: Photos
    indices: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.indices)

    def read(self, index: int) -> Rgb8:
        """Return photograph `index` as (h, w, 3) uint8 RGB."""
        return self.photos.read(int(self.indices[index]))

    def place_of(self, index: int) -> tuple[Photos, int]:
        """Tell which set a photograph belongs to, and its index there."""
        return self.photos, int(self.indices[index])

    @property
    def data_hash(self) -> str:
        """That of the whole set."""
        return self.photos.data_hash

    @property
    def stamp(self) -> str:
        """That of the whole set."""
        return self.photos.stamp


def labels_of(photos: Photos) -> list[str]:
    """Name the folder that each photograph came from.

    Parameters
    ----------
    photos
        Packs, files and archives, or several of them joined.

    Raises
    ------
    TypeError
        For photographs of another kind, which have no labels.
    """
    match photos:
        case PackedPhotos():
            return [photos.labels[i] for i in photos.label]
        case LoosePhotos():
            return [entry.label for entry in photos.entries]
        case JoinedPhotos():
            return [label for part in photos.parts for label in labels_of(part)]
        case LabelledPhotos():
            every = labels_of(photos.photos)
            return [every[i] for i in photos.indices]
    raise TypeError(
        f"{type(photos).__name__} knows no labels; give packs, folders or archives as they are"
    )


def part_by_label(
    photos: Photos, *, held_out: float, min_photos: int, seed: int
) -> tuple[list[str], LabelledPhotos, LabelledPhotos]:
    """Part photographs into those to learn from and those to measure on, each label alike.

    Parameters
    ----------
    photos
        What `labels_of` takes.
    held_out
        Share of every label's photographs to measure on, at least one of each.
    min_photos
        Labels with fewer photographs are left out.
    seed
        Decides which photographs are held out.

    Returns
    -------
    labels, learnt, held : list of str, LabelledPhotos, LabelledPhotos
        The names of the classes in alphabetical order, and the two parts.

    Raises
    ------
    ValueError
        If fewer than two labels have enough photographs.
    """
    names = np.array(labels_of(photos))
    counts = Counter(names.tolist())
    labels = sorted(name for name, n in counts.items() if n >= min_photos)
    if len(labels) < 2:
        most = ", ".join(f"{name!r} ({n})" for name, n in counts.most_common(5))
        raise ValueError(
            f"a classifier needs at least two labels with {min_photos} photographs each; the "
            f"folders that hold photographs are {most}; sort them into folders by what they show, "
            "or lower min_photos"
        )
    rng = np.random.default_rng(seed)
    learnt, held = [], []
    for label in labels:
        mine = rng.permutation(np.flatnonzero(names == label))
        n_held = min(len(mine) - 1, max(1, round(held_out * len(mine))))
        held.append(mine[:n_held])
        learnt.append(mine[n_held:])
    return labels, _joined(photos, learnt), _joined(photos, held)


def _joined(photos: Photos, groups: list[npt.NDArray[np.int64]]) -> LabelledPhotos:
    classes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return LabelledPhotos(photos, np.concatenate(groups), classes)
