"""The page: drop photographs, compare, choose colours, ask a point, download.

Imported by the web door alone, which says what to install if Gradio is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from zcolor.apps import web_style as style
from zcolor.apps.web_desk import POINT_HELP, Desk
from zcolor.apps.web_studio import Studio
from zcolor.apps.web_work import WebLimits, WorkQueue
from zcolor.settings import ColorizeSettings

_CLEAN_SECONDS, _KEEP_SECONDS = 600, 4 * 3600  # how often files are cleaned away, and how old
_SIZE_FACTORS = (1, 1.5, 2, 3)  # of the model's own working size
_LARGEST_SATURATION = 2.0  # of the slider; beyond it colours look painted
_TALL, _FLAT = 300, 60  # pixels: the drop area without photos, and with some
_VIEW_HEIGHT = 540  # pixels
# Presses the hidden link once the browser has its address.
_SAVE = """() => { const link = () => {
  const found = document.querySelector('#zc-file');
  (found.querySelector('a') || found).click(); };
  setTimeout(link, 60); }"""


@dataclass(frozen=True)
class _Parts:
    """The components that events read and write."""

    photos: gr.State
    chosen: gr.State
    spot: gr.State
    drop: gr.File
    note: gr.HTML
    welcome: gr.HTML
    views: gr.Column
    compare: gr.ImageSlider
    point: gr.Image
    palette: gr.HTML
    sure: gr.Image
    scale: gr.HTML
    gallery: gr.Gallery
    side: gr.Column
    preset: gr.Radio
    temperature: gr.Slider
    saturation: gr.Slider
    size: gr.Radio
    save: gr.Button
    save_all: gr.Button
    file: gr.DownloadButton
    restart: gr.Button

    @property
    def controls(self) -> list[Any]:
        """How the photo is coloured."""
        return [self.preset, self.temperature, self.saturation, self.size]

    @property
    def seen(self) -> list[Any]:
        """What `Desk.show` fills."""
        return [self.compare, self.point, self.palette, self.sure, self.scale]


def build_page(
    studio: Studio, work: WorkQueue, limits: WebLimits, *, folder: Path, model: str
) -> gr.Blocks:
    """Build the page.

    Parameters
    ----------
    studio
        What colours.
    work
        Where it is done.
    limits
        What is refused.
    folder
        The server's private folder.
    model
        Name of the model.

    Returns
    -------
    The page, to be mounted; its looks are `zcolor.apps.web_style`.
    """
    page: gr.Blocks
    with gr.Blocks(
        title="zcolor",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(_CLEAN_SECONDS, _KEEP_SECONDS),
    ) as page:
        gr.HTML(style.header(model, str(studio.colorizer.device)))
        parts = _lay_out(studio, limits)
        _wire(parts, Desk(studio, work, folder))
    return page


def _lay_out(studio: Studio, limits: WebLimits) -> _Parts:
    """Set the components."""
    photos, chosen, spot = gr.State([]), gr.State(0), gr.State(None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320, elem_id="zc-stage"):
            drop = gr.File(
                show_label=False,
                file_count="multiple",
                height=_TALL,
                elem_id="zc-drop",
            )
            welcome = gr.HTML(style.welcome(limits.max_upload_mb))
            note = gr.HTML(visible=False, elem_id="zc-note")
            with gr.Column(visible=False) as views:
                compare, point, palette, sure, scale = _views()
            gallery = gr.Gallery(
                visible=False,
                columns=6,
                height="auto",
                allow_preview=False,
                show_label=False,
                buttons=[],
                elem_id="zc-gallery",
            )
        with gr.Column(scale=3, min_width=280, visible=False, elem_id="zc-side") as side:
            preset, temperature, saturation, size = _controls(studio)
            save = gr.Button("Download in full size", variant="primary", elem_id="zc-save")
            save_all = gr.Button(
                "Download all (zip)", visible=False, size="md", elem_id="zc-save-all"
            )
            file = gr.DownloadButton("file", visible="hidden", elem_id="zc-file")
            restart = gr.Button("Start over", variant="secondary", size="sm", elem_id="zc-restart")
    return _Parts(
        photos, chosen, spot, drop, note, welcome, views, compare, point, palette, sure, scale,
        gallery, side, preset, temperature, saturation, size, save, save_all, file, restart,
    )  # fmt: skip


def _views() -> tuple[gr.ImageSlider, gr.Image, gr.HTML, gr.Image, gr.HTML]:
    """Set the three ways to look at a photo."""
    with gr.Tabs(elem_id="zc-views", overflow_behavior="wrap"):
        with gr.Tab("Before / after"):
            compare = gr.ImageSlider(
                show_label=False,
                buttons=["fullscreen"],
                interactive=False,
                max_height=_VIEW_HEIGHT,
                elem_id="zc-compare",
            )
        with gr.Tab("Ask a point", render_children=True):
            point = gr.Image(
                show_label=False,
                buttons=[],
                interactive=False,
                elem_id="zc-point",
            )
            palette = gr.HTML(style.hint(POINT_HELP), elem_id="zc-palette")
        with gr.Tab("Confidence", render_children=True):
            sure = gr.Image(
                show_label=False,
                buttons=[],
                interactive=False,
                elem_id="zc-sure",
            )
            scale = gr.HTML("")
    return compare, point, palette, sure, scale


def _controls(studio: Studio) -> tuple[gr.Radio, gr.Slider, gr.Slider, gr.Radio]:
    """Set what the colours are chosen with."""
    usual, net = ColorizeSettings(), studio.colorizer.net
    preset = gr.Radio(
        [("Vivid", "vivid"), ("Accurate", "accurate")],
        value=usual.preset,
        label="Preset",
        info="More colour, or less risk of wrong colour",
        elem_id="zc-preset",
    )
    temperature = gr.Slider(
        0.0,
        1.0,
        net.presets[usual.preset].effective_temperature,
        step=0.01,
        label="Temperature",
        info="0 bold and patchy, 1 calm",
        buttons=[],
        elem_id="zc-temperature",
    )
    saturation = gr.Slider(
        0.0,
        _LARGEST_SATURATION,
        1.0,
        step=0.05,
        label="Saturation",
        info="How strong the colours are",
        buttons=[],
        elem_id="zc-saturation",
    )
    sizes = [round(net.working_size * factor / 8) * 8 for factor in _SIZE_FACTORS]
    size = gr.Radio(
        [(f"{side}", side) for side in sizes],
        value=net.working_size,
        label="Working size",
        info=f"Pixels the network sees; it was trained at {net.working_size}",
        elem_id="zc-size",
    )
    return preset, temperature, saturation, size


def _wire(p: _Parts, desk: Desk) -> None:
    """Say which event calls what."""
    look = [p.photos, p.chosen, *p.controls]
    visible = [p.views, p.side, p.welcome, p.drop, p.save_all, p.spot]

    def show(after: Any) -> Any:
        """Colour the preview again, once an event is over."""
        return after.then(
            desk.show,
            [p.photos, p.chosen, p.spot, *p.controls],
            p.seen,
            show_progress="minimal",
            api_visibility="private",
        )

    def show_gallery(after: Any) -> None:
        after.then(desk.gallery, look, p.gallery, show_progress="hidden", api_visibility="private")

    dropped = p.drop.upload(
        desk.open,
        [p.drop, p.photos, p.size],
        [p.photos, p.chosen, p.drop, p.note],
        show_progress_on=p.drop,
        api_visibility="private",
    )
    restarted = p.restart.click(
        _nothing, None, [p.photos, p.chosen, p.note], api_visibility="private"
    )
    for event in (dropped, restarted):
        show_gallery(show(event.then(_arrange, p.photos, visible, api_visibility="private")))
    picked = p.gallery.select(_pick, None, [p.chosen, p.spot], api_visibility="private")
    show(picked)

    preset = p.preset.input(
        desk.temperature, p.preset, p.temperature, show_progress="hidden", api_visibility="private"
    )
    show_gallery(show(preset))
    gr.on(
        [p.temperature.input, p.saturation.input, p.size.input],
        desk.show,
        [p.photos, p.chosen, p.spot, *p.controls],
        p.seen,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    gr.on(
        [p.temperature.release, p.saturation.release, p.size.input],
        desk.gallery,
        look,
        p.gallery,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    p.point.select(
        desk.ask,
        look,
        [p.spot, p.point, p.palette],
        show_progress="hidden",
        api_visibility="private",
    )
    for button, work, inputs in (
        (p.save, desk.download, look),
        (p.save_all, desk.download_all, [p.photos, *p.controls]),
    ):
        button.click(
            work, inputs, p.file, show_progress_on=button, api_visibility="private"
        ).success(None, js=_SAVE, api_visibility="private")


def _arrange(photos: list[str]) -> tuple[Any, ...]:
    """Show what makes sense with these photos, and forget the point that was asked."""
    some = bool(photos)
    return (
        gr.Column(visible=some),
        gr.Column(visible=some),
        gr.HTML(visible=not some),
        gr.File(height=_FLAT if some else _TALL),
        gr.Button(visible=len(photos) > 1),
        None,
    )


def _nothing() -> tuple[list[str], int, Any]:
    return [], 0, gr.HTML(visible=False)


def _pick(event: gr.SelectData) -> tuple[int, None]:
    return int(event.index), None
