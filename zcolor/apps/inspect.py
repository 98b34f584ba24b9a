"""Look into a network: its layers, filters, maps, and what excites its units: `zcolor inspect`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zcolor.apps.inspect_page import (
    InspectReport,
    Rgb8,
    figure_html,
    grey_of,
    is_ours,
    save_png,
    shade_filter,
    shade_map,
    tables_html,
    tile_sheet,
    write_index,
)
from zcolor.excitation import ExciteSettings, check_units, excite, noise_lightness
from zcolor.inspection import (
    Group,
    find_group,
    first_filters,
    list_groups,
    list_layers,
    record,
    strongest_units,
)
from zcolor.models.base import ColorNet
from zcolor.photo import ImageLike, read_photo
from zcolor.receptive import Patch, measure_field, strongest_patches
from zcolor.registry import load_model, pick_device
from zcolor.training.dataset import Photos, name_of, open_photos, read_named
from zcolor.training.sources import UNREADABLE

logger = logging.getLogger(__name__)

_MAPS_PER_GROUP = 16
_PATCHES = 8  # for each unit
# What is written into the folder.
_NAMES = re.compile(r"index\.html|(input|filters|(activations|excite|patches)-\d+)\.png")


def inspect_model(
    photo: ImageLike | None,
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] = "zhang",
    group: str | None = None,
    units: Sequence[int] = (),
    strongest: int = 8,
    photos: Sequence[str | os.PathLike[str]] = (),
    max_photos: int = 300,
    settings: ExciteSettings | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> InspectReport:
    """Look into a network and write pictures and a page of what is there.

    Parameters
    ----------
    photo
        The photograph that it is shown; None shows it noise with the spectrum of photographs.
    out
        The folder to write to; it is made, and the files of an earlier look are replaced.
    model
        A name of `zcolor.list_models`, or a checkpoint.
    group
        The number, from 1, or the name of the group to look at; None takes all of them.
    units
        Units of that group; without them those that are strongest on the photograph.
    strongest
        How many these are.
    photos
        Packs, folders or images in which to look for what excites the units; those that cannot
        be read are named in the log and left out.
    max_photos
        No more of them than this, evenly spread.
    settings
        How the inputs that excite a unit are looked for.
    device
        `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    progress
        Show progress bars on a terminal.

    Returns
    -------
    What was found; its `page` shows it.

    Raises
    ------
    ValueError
        For groups and units that are not there, units without a group, or if none of the photos
        can be read.
    FileExistsError
        If the folder holds files of others that have the names of ours.
    """
    if units and group is None:
        raise ValueError("units belong to a group; name it too: --group 5 --unit 17")
    if strongest < 1 or max_photos < 1:
        raise ValueError(
            f"strongest and max_photos must be at least 1, got {strongest} and {max_photos}"
        )
    folder = _folder(Path(out))
    net = load_model(model, device=pick_device(device))
    look = _Look(net, photo, folder, settings or ExciteSettings(), progress=progress)
    chosen = look.groups if group is None else [find_group(look.groups, group)]
    for one in chosen:
        if units:
            check_units(one, units)
        look.units[one.name] = tuple(units) or look.strongest(one, strongest)
    pool = open_photos(photos) if photos else None
    look.draw(chosen, pool, max_photos)
    report = InspectReport(
        folder / "index.html",
        tuple(look.layers),
        tuple(look.groups),
        tuple(look.fields[one.name] for one in look.groups),
        look.units,
    )
    write_index(report.page, f"Inside {model}", [*tables_html(report), *look.parts])
    return report


class _Look:
    """One look into a network: what is known of it, and the parts of the page so far."""

    def __init__(
        self,
        net: ColorNet,
        photo: ImageLike | None,
        folder: Path,
        settings: ExciteSettings,
        *,
        progress: bool,
    ) -> None:
        self.net, self.folder, self.settings, self.progress = net, folder, settings, progress
        self.device = next(net.parameters()).device
        if photo is None:
            self.lightness = noise_lightness(net.working_size // 8 * 8).to(self.device)
        else:
            self.lightness = read_photo(photo).lightness(net.working_size, self.device)[:1]
        self.shown = "the photo" if photo is not None else "noise like a photo"
        self.layers = list_layers(net, self.lightness)
        self.groups = list_groups(net, self.layers)
        self.fields = {group.name: measure_field(net, group) for group in self.groups}
        with torch.no_grad():
            self.maps = record(net, self.lightness, [group.layer for group in self.groups])
        self.units: dict[str, tuple[int, ...]] = {}
        self.parts: list[str] = []

    def strongest(self, group: Group, n: int) -> tuple[int, ...]:
        return tuple(strongest_units(self.maps[group.layer], n))

    def draw(self, chosen: Sequence[Group], pool: Photos | None, max_photos: int) -> None:
        """Draw everything into the folder, group by group."""
        self._filters()
        self._show("input.png", [("lightness", grey_of(self.lightness[0]))], "The input.", side=256)
        patches = self._patches(chosen, pool, max_photos)
        bar = tqdm(chosen, desc="inspect", unit="group", disable=None if self.progress else True)
        for group in bar:
            number = self.groups.index(group) + 1
            self.parts.append(f"<h2>Group {number}: {group.name}</h2>")
            self._activations(group, number)
            self._excited(group, number)
            if pool is not None:
                self._excited_by(group, number, pool, patches)

    def _show(
        self,
        name: str,
        tiles: Sequence[tuple[str, Rgb8]],
        caption: str,
        *,
        side: int = 128,
        per_row: int = 8,
    ) -> None:
        save_png(tile_sheet(tiles, side=side, per_row=per_row), self.folder / name)
        self.parts.append(figure_html(name, caption))

    def _filters(self) -> None:
        filters = first_filters(self.net, self.layers)
        if filters is None:
            self.parts.append("<p>The first layer is no convolution: it has no filters.</p>")
            return
        tiles = [(f"{unit}", shade_filter(weights)) for unit, weights in enumerate(filters)]
        caption = (
            "The filters of the first layer: what each adds up over a pixel and its neighbours. "
            "Red counts for, blue against, white not at all; each is scaled by itself."
        )
        self._show("filters.png", tiles, caption, side=48, per_row=16)

    def _activations(self, group: Group, number: int) -> None:
        maps = self.maps[group.layer][0]
        units = self.strongest(group, _MAPS_PER_GROUP)
        tiles = [(f"unit {unit}", shade_map(maps[unit])) for unit in units]
        caption = (
            f"Where units of this group answer to {self.shown}: the maps that differ most, black "
            f"for no answer, each scaled by itself; {maps.shape[2]} x {maps.shape[1]} places."
        )
        self._show(f"activations-{number}.png", tiles, caption)

    def _excited(self, group: Group, number: int) -> None:
        units = self.units[group.name]
        found = excite(
            self.net, group, units, self.settings,
            field=self.fields[group.name], progress=self.progress,
        )  # fmt: skip
        tiles = [(f"unit {unit}", grey_of(one)) for unit, one in zip(units, found)]
        caption = (
            "The inputs that most excite units of this group: no photographs, but what noise "
            "becomes when it is changed step by step until the unit answers as strongly as it can."
        )
        self._show(f"excite-{number}.png", tiles, caption, side=160, per_row=6)

    def _patches(
        self, chosen: Sequence[Group], pool: Photos | None, max_photos: int
    ) -> dict[tuple[str, int], list[Patch]]:
        if pool is None:
            return {}
        wanted = [(group, unit) for group in chosen for unit in self.units[group.name]]
        numbers = np.unique(np.linspace(0, len(pool) - 1, min(len(pool), max_photos)).round())
        photos = self._read(pool, numbers.astype(int).tolist())
        found = strongest_patches(self.net, wanted, photos, n=_PATCHES)
        return {
            (group.name, unit): patches
            for (group, unit), patches in zip(wanted, found, strict=True)
        }

    def _read(self, pool: Photos, numbers: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        bar = tqdm(numbers, desc="photos", unit="photo", disable=None if self.progress else True)
        failed = []
        for number in bar:
            try:
                photo = read_photo(pool.read(number))
            except UNREADABLE as error:
                failed.append(f"{name_of(pool, number)}: {' '.join(str(error).split())}")
                logger.warning("left out: %s", failed[-1])
                continue
            yield number, photo.lightness(self.net.working_size, self.device)
        if len(failed) == len(numbers):
            raise ValueError(f"none of the {len(failed)} photos can be read; {failed[0]}")

    def _excited_by(
        self,
        group: Group,
        number: int,
        pool: Photos,
        patches: dict[tuple[str, int], list[Patch]],
    ) -> None:
        tiles = []
        for unit in self.units[group.name]:
            for patch in patches[group.name, unit]:
                field = self.fields[group.name]
                box = field.box(*patch.place, patch.shape, maps=patch.maps)
                top, left, bottom, right = box
                photo = read_photo(read_named(pool, patch.photo))
                pixels = grey_of(photo.lightness(self.net.working_size, "cpu")[0])
                tiles.append((f"unit {unit}: {patch.value:.3g}", pixels[top:bottom, left:right]))
        caption = (
            "What excites these units most in the photographs given, a row for each: the square "
            "that has 90 % of the influence on the answer, as the network sees it; one of a photo."
        )
        n_columns = min(_PATCHES, len(tiles) // len(self.units[group.name]))
        self._show(f"patches-{number}.png", tiles, caption, per_row=n_columns)


def _folder(out: Path) -> Path:
    """Make the folder; refuse one with files of others that have our names."""
    page = out / "index.html"
    known = page.exists() and is_ours(page)  # pictures had no mark once
    for path in sorted(out.iterdir()) if out.is_dir() and not known else []:
        if _NAMES.fullmatch(path.name) and not is_ours(path):
            raise FileExistsError(
                f"{path} was not written by zcolor inspect and would be replaced; "
                "name another folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    return out
