"""What the events of the page call: open, show, ask, download.

Imported by the page alone. An event's inputs are the values of components, in their order; the
page's components are the only callers.
"""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
from PIL import Image

from zcolor.apps import web_style as style
from zcolor.apps.web_studio import (
    KEPT_PHOTOS,
    RefusedError,
    Rgb,
    Studio,
)
from zcolor.apps.web_work import WorkQueue
from zcolor.readers import ImageReadError
from zcolor.settings import ColorizeSettings, Preset
from zcolor.working import resize_area

POINT_HELP = "Click the photo to see the colours that the network thinks possible there."
_RADIUS = 20.0  # ab units: what "near" means for the confidence, as in docs/choosing-colours.md
_PREVIEW_QUALITY = 90  # of JPEG
_THUMBNAIL_SIDE = 320  # pixels, of the longer side

Spot = tuple[float, float]
"""A point in fractions of width and height."""


class Desk:
    """The page's events; keeps nothing of any visitor between two of them.

    Parameters
    ----------
    studio
        What colours.
    work
        Where it is done.
    folder
        The server's private folder, for the pictures that are shown and downloaded.
    """

    def __init__(self, studio: Studio, work: WorkQueue, folder: Path) -> None:
        self.studio, self.work, self.folder = studio, work, folder

    def open(
        self,
        dropped: Sequence[str] | None,
        photos: list[str],
        size: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is asked for it)
    ) -> tuple[list[str], int, None, Any]:
        """Read what was dropped; give all photos, the one to show, and what to say."""
        opened, problems = list(photos), []
        for path in progress.tqdm(dropped or (), desc="Reading", unit="photo"):
            name = Path(path).name
            if len(opened) >= KEPT_PHOTOS:
                problems.append(
                    f"{name} was left out: {KEPT_PHOTOS} photos are open already; start over, or "
                    "use the zcolor command for whole folders."
                )
                continue
            try:
                self.work.run_and_wait(partial(self.studio.look, Path(path), size))
            except (RefusedError, ImageReadError, FileNotFoundError) as error:
                problems.append(f"{name}: {error}.")
            else:
                opened.append(path)
        chosen = len(photos) if len(opened) > len(photos) else max(0, len(photos) - 1)
        said = gr.HTML(style.note(" ".join(problems)), visible=bool(problems))
        return opened, chosen, None, said

    def show(
        self, photos: list[str], chosen: int, spot: Spot | None, *controls: Any
    ) -> tuple[Any, ...]:
        """Colour the preview of the chosen photo, and all that is seen of it."""
        if not photos:
            return None, None, style.hint(POINT_HELP), None, ""
        path, settings, studio = Path(photos[chosen]), _settings(*controls), self.studio

        def pictures() -> tuple[Rgb, Rgb, Rgb, float]:
            return (
                studio.before(path, settings),
                studio.preview(path, settings),
                *studio.confidence(path, settings, radius=_RADIUS),
            )

        before, after, sure, mean = self._do(pictures)
        colored = self._saved(after)
        return (
            (self._saved(before), colored),
            colored if spot is None else self._saved(_marked(after, spot)),
            style.hint(POINT_HELP) if spot is None else self._palette(path, settings, spot),
            self._saved(sure),
            style.confidence_scale(mean, _RADIUS),
        )

    def ask(
        self, event: gr.SelectData, photos: list[str], chosen: int, *controls: Any
    ) -> tuple[Spot, str, str]:
        """Answer a click with the point, the picture that marks it, and its colours."""
        path, settings = Path(photos[chosen]), _settings(*controls)
        after = self._do(partial(self.studio.preview, path, settings))
        height, width = after.shape[:2]
        spot = (
            min(1.0, (event.index[0] + 0.5) / width),
            min(1.0, (event.index[1] + 0.5) / height),
        )
        return spot, self._saved(_marked(after, spot)), self._palette(path, settings, spot)

    def gallery(self, photos: list[str], chosen: int, *controls: Any) -> Any:
        """Colour small pictures of all photos, where there are several."""
        if len(photos) < 2:
            return gr.Gallery(value=[], visible=False)
        settings = _settings(*controls)
        small = [self._do(partial(self.studio.preview, Path(photo), settings)) for photo in photos]
        shown = [
            (self._saved(_thumbnail(picture)), Path(photo).name)
            for picture, photo in zip(small, photos, strict=True)
        ]
        return gr.Gallery(value=shown, visible=True, selected_index=chosen)

    def download(self, photos: list[str], chosen: int, *controls: Any) -> str:
        """Colour the chosen photo in full size; give the path of its file."""
        return str(self._file(photos[chosen], self._folder(), _settings(*controls)))

    def download_all(
        self,
        photos: list[str],
        preset: Preset,
        temperature: float,
        saturation: float,
        size: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is asked for it)
    ) -> str:
        """Colour all photos in full size into one zip archive; give its path."""
        settings = _settings(preset, temperature, saturation, size)
        archive = self._folder() / "zcolor-photos.zip"
        taken: set[str] = set()
        with zipfile.ZipFile(archive, "x") as target:
            for i, photo in enumerate(progress.tqdm(photos, desc="Colouring", unit="photo")):
                file = self._file(photo, self._folder(), settings)
                name = f"{i + 1}-{file.name}" if file.name in taken else file.name
                taken.add(name)
                target.write(file, name)
                file.unlink()
        return str(archive)

    def temperature(self, preset: Preset) -> float:
        """Give the temperature that a preset stands for."""
        return self.studio.colorizer.net.presets[preset].effective_temperature

    def _do(self, job: Any) -> Any:
        """Run a job in its turn; what goes wrong becomes a sentence on the page."""
        try:
            return self.work.run_and_wait(job)
        except FileNotFoundError as error:
            raise gr.Error("The photo was here too long and is gone; drop it again.") from error
        except (RefusedError, ImageReadError) as error:
            raise gr.Error(str(error)) from error

    def _file(self, photo: str, folder: Path, settings: ColorizeSettings) -> Path:
        path = Path(photo)
        colored = self._do(lambda: self.studio.color_file(path.read_bytes(), settings))
        target: Path = folder / colored.name(path.name)
        target.write_bytes(colored.data)
        return target

    def _palette(self, path: Path, settings: ColorizeSettings, spot: Spot) -> str:
        return style.palette(self._do(partial(self.studio.suggest, path, settings, *spot)))

    def _saved(self, pixels: Rgb) -> str:
        path = self._folder() / "preview.jpg"
        Image.fromarray(pixels).save(path, quality=_PREVIEW_QUALITY, subsampling=0)
        return str(path)

    def _folder(self) -> Path:
        """Make a new folder for one file, with a name that nobody can guess."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir()
        return folder


def _settings(preset: Preset, temperature: float, saturation: float, size: int) -> ColorizeSettings:
    return ColorizeSettings(
        preset=preset, temperature=temperature, saturation=saturation, size=size
    )


def _thumbnail(picture: Rgb) -> Rgb:
    height, width = picture.shape[:2]
    scale = min(1.0, _THUMBNAIL_SIDE / max(height, width))
    return resize_area(picture, max(1, round(height * scale)), max(1, round(width * scale)))


def _marked(picture: Rgb, spot: Spot) -> Rgb:
    """Draw a ring around a point."""
    height, width = picture.shape[:2]
    radius = max(6, min(height, width) // 50)
    center = (int(spot[0] * width), int(spot[1] * height))
    marked = picture.copy()
    for color, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.circle(marked, center, radius, color, thickness, cv2.LINE_AA)
    return marked
