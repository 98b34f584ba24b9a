"""How the page looks: its theme and style sheet, and the pieces of HTML it is made of.

Fonts are those of the visitor's system: nothing is fetched from anywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import gradio as gr
import torch

from zcolor.lab import rgb_to_lab
from zcolor.palette import Suggestion

_FONTS = (
    "ui-sans-serif",
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Liberation Sans",
    "sans-serif",
)

CSS = """
.gradio-container { width: 100% !important; max-width: 1320px !important;
  margin: 0 auto !important; padding: 20px 24px 32px !important; }
.gradio-container > .main { padding: 0 !important; }
.zc-head { display: flex; align-items: center; gap: 14px; flex-wrap: wrap; }
.zc-mark { width: 38px; height: 38px; border-radius: 50%; flex: none;
  background: radial-gradient(circle, #b9b4ab 8%, #b9b4ab00 68%),
  conic-gradient(from 90deg, #d3547f, #9c6ad0, #4a83d6, #22a0a8, #4ea363, #b59a2b, #dd7646,
  #d3547f); }
.zc-head h1 { font-size: 22px; line-height: 1.15; margin: 0; font-weight: 650;
  letter-spacing: -0.015em; }
.zc-head p { margin: 2px 0 0; color: var(--body-text-color-subdued); font-size: 14px; }
.zc-state { margin-left: auto; font-size: 12.5px; color: var(--body-text-color-subdued);
  display: flex; align-items: center; gap: 7px; padding: 5px 12px; border-radius: 99px;
  border: 1px solid var(--border-color-primary); white-space: nowrap; }
.zc-state i { width: 8px; height: 8px; border-radius: 50%; background: #4ea363; }
.zc-note { font-size: 14px; line-height: 1.45; color: #a2382b; background: #a2382b14;
  padding: 9px 13px; border-radius: 8px; overflow-wrap: anywhere; }
.dark { --color-accent: #3a7b82; }
.dark #zc-views button[role=tab].selected { color: #86b6ba; }
.dark .zc-note { color: #f2a297; }
.zc-hint { font-size: 13.5px; color: var(--body-text-color-subdued); line-height: 1.5; }
.zc-welcome { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr));
  gap: 18px 36px; padding: 14px 4px; }
.zc-welcome h2 { font-size: 14.5px; font-weight: 600; margin: 0 0 4px;
  color: var(--body-text-color); }
#zc-drop { border-style: dashed; border-width: 1.5px; }
#zc-drop:hover { border-color: var(--color-accent); }
#zc-drop .wrap { padding: 0; min-height: 0; font-size: 0; line-height: 0; color: transparent; }
#zc-drop .wrap > *:not(.icon-wrap) { display: none; }
#zc-drop .icon-wrap { width: 26px; margin: 0 0 8px; color: var(--body-text-color-subdued); }
#zc-drop .wrap::after { content: "Drop photographs here, or click to choose"; font-size: 15px;
  line-height: 1.3; color: var(--body-text-color-subdued); }
#zc-stage:has(#zc-views) #zc-drop .icon-wrap { display: none; }
.zc-palette { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr));
  gap: 12px 24px; }
.zc-swatch { display: grid; grid-template-columns: 38px 1fr; gap: 0 11px; align-items: center;
  font-size: 13.5px; }
.zc-swatch b { width: 38px; height: 38px; border-radius: 9px; grid-row: span 2;
  box-shadow: inset 0 0 0 1px #00000022; }
.zc-swatch span { display: flex; justify-content: space-between; gap: 8px; }
.zc-swatch em { font-style: normal; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.zc-swatch u { display: block; height: 4px; border-radius: 2px; text-decoration: none;
  background: var(--border-color-primary); overflow: hidden; }
.zc-swatch u::before { content: ""; display: block; height: 100%; width: var(--share);
  background: var(--color-accent); }
.zc-scale { height: 8px; border-radius: 4px; margin: 2px 0 5px;
  background: linear-gradient(90deg, #440154, #3b528b, #21918c, #5ec962, #fde725); }
.zc-ends { display: flex; justify-content: space-between; }
#zc-stage, #zc-side { gap: 14px; }
#zc-views { gap: 0; }
#zc-views .tabitem { padding: 12px 0 0; border: 0; }
#zc-point, #zc-sure, #zc-compare { background: transparent; border: 0; }
#zc-point :is(.image-container, button, .image-frame),
#zc-sure :is(.image-container, button, .image-frame) { width: 100%; }
#zc-point img, #zc-sure img { width: 100%; height: auto; max-height: 540px;
  object-fit: contain; }
#zc-gallery { background: transparent; border: 0; height: auto; min-height: 0; }
#zc-gallery .grid-wrap { height: auto; min-height: 0; max-height: 340px; padding: 0; }
#zc-compare img { background: transparent !important; }
.gradio-container .html-container { padding: 0; }
#zc-point img { cursor: crosshair; }
#zc-preset .wrap, #zc-size .wrap { display: flex; flex-wrap: nowrap; gap: 6px; }
#zc-preset label, #zc-size label { flex: 1; justify-content: center; padding: 7px 4px; }
#zc-preset label input, #zc-size label input { display: none; }
#zc-preset label span, #zc-size label span { margin: 0; }
#zc-preset label.selected, #zc-size label.selected { background: var(--color-accent);
  border-color: var(--color-accent); color: white; }
#zc-preset label:focus-within, #zc-size label:focus-within { outline: 2px solid
  var(--color-accent); outline-offset: 1px; }
footer { display: none !important; }
@media (max-width: 640px) {
  .gradio-container { padding: 14px 10px 24px !important; }
  .zc-head > div:nth-child(2) { flex: 1 1 220px; }
  .zc-state { margin-left: 0; }
  #zc-views button[role=tab] { padding: 8px 9px; }
}
"""


def theme() -> gr.themes.Base:
    """Give the page's theme: paper, ink and one quiet accent."""
    paper = gr.themes.Color(
        "#fbfaf8", "#f5f3ef", "#e9e6df", "#d8d3ca", "#b9b4ab", "#8f897f",
        "#6b665d", "#4b4740", "#33302b", "#211f1c", "#161513", name="paper",
    )  # fmt: skip
    accent = gr.themes.Color(
        "#eef5f5", "#d9e9ea", "#b5d3d5", "#86b6ba", "#5a979d", "#3a7b82",
        "#2c666d", "#265359", "#224449", "#1f393d", "#0f2225", name="accent",
    )  # fmt: skip
    made = gr.themes.Base(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue=paper,
        radius_size=gr.themes.sizes.radius_md,
        font=_FONTS,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    return made.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        slider_color="*primary_500",
    )


def header(model: str, device: str) -> str:
    """Say what this is, and how the model is."""
    return (
        '<div class="zc-head"><div class="zc-mark"></div><div><h1>zcolor</h1>'
        "<p>Colour for black-and-white photographs. Nothing is sent to the internet.</p></div>"
        f'<div class="zc-state"><i></i>ready: {html.escape(model)} on {html.escape(device)}</div>'
        "</div>"
    )


def note(text: str) -> str:
    """Say what went wrong."""
    return f'<div class="zc-note" role="alert">{html.escape(text)}</div>'


def welcome(max_upload_mb: float) -> str:
    """Say what the page can do, while it is empty."""
    pieces = (
        (
            "Bring photographs",
            f"One or several, up to {max_upload_mb:g} MB each; colour that they have is ignored.",
        ),
        (
            "Choose the colours",
            "Compare, move the controls, and click a point to see what else it could be.",
        ),
        (
            "Take them home",
            "In full size and the format that came. Colours are plausible, not proven.",
        ),
    )
    shown = "".join(f"<div><h2>{title}</h2>{text}</div>" for title, text in pieces)
    return f'<div class="zc-hint zc-welcome">{shown}</div>'


def hint(text: str) -> str:
    """Show a line of help."""
    return f'<div class="zc-hint">{html.escape(text)}</div>'


def palette(suggestions: Sequence[Suggestion]) -> str:
    """Show suggested colours with their names and how probable they are."""
    swatches = [
        f'<div class="zc-swatch"><b style="background:rgb{rgb}"></b>'
        f"<span>{color_name(rgb)}<em>{probability:.0%}</em></span>"
        f'<u style="--share:{probability:.0%}"></u></div>'
        for rgb, probability in ((s.rgb or (128, 128, 128), s.probability) for s in suggestions)
    ]
    return f'<div class="zc-palette">{"".join(swatches)}</div>'


def confidence_scale(mean: float, radius: float) -> str:
    """Explain the colours of the confidence map."""
    return (
        '<div class="zc-hint"><div class="zc-scale"></div><div class="zc-ends">'
        "<span>a guess</span><span>sure</span></div>"
        f"How probable it is that the true colour is near the one shown (within {radius:g} units "
        f"of a and b). Over the whole photo: {mean:.0%}.</div>"
    )


# Hues of CIELAB in degrees, up to which a name holds.
_HUES = (
    (20, "pink"), (50, "red"), (82, "orange"), (105, "yellow"), (165, "green"), (215, "teal"),
    (312, "blue"), (335, "purple"), (360, "pink"),
)  # fmt: skip
# Chroma below which a colour is called grey, and below which greyish.
_GREY_CHROMA, _GREYISH_CHROMA = 6.0, 16.0
# Lightness below which a colour is dark, and above which it is light.
_DARK, _LIGHT = 38.0, 72.0


def color_name(rgb: tuple[int, int, int]) -> str:
    """Name a colour in everyday words.

    Parameters
    ----------
    rgb
        8-bit sRGB.

    Returns
    -------
    A few words.

    Examples
    --------
    >>> color_name((128, 128, 128)), color_name((90, 50, 20)), color_name((150, 190, 240))
    ('grey', 'dark brown', 'light blue')
    """
    lab = rgb_to_lab(torch.tensor(rgb).view(1, 3, 1, 1) / 255).flatten().tolist()
    lightness, chroma, hue = lab[0], math.hypot(*lab[1:]), math.degrees(math.atan2(lab[2], lab[1]))
    shade = "dark " if lightness < _DARK else "light " if lightness > _LIGHT else ""
    if chroma < _GREY_CHROMA:
        return "white" if lightness > 94 else "black" if lightness < 8 else f"{shade}grey"
    name = next(name for limit, name in _HUES if hue % 360 <= limit)
    if name in ("orange", "yellow"):
        name = _warm_name(name, lightness, chroma)
    if name == "beige":
        return name
    return f"{shade}{'greyish ' if chroma < _GREYISH_CHROMA else ''}{name}"


def _warm_name(name: str, lightness: float, chroma: float) -> str:
    """Tell brown and beige, which are dark and pale orange and yellow."""
    if lightness > _LIGHT and chroma < 2 * _GREYISH_CHROMA:
        return "beige"
    if lightness < 55 and (name == "orange" or chroma < 40):
        return "brown" if name == "orange" else "olive"
    return name
