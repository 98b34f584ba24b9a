"""The page's events, the previews behind it, and what the server sends to a browser."""

import asyncio
import builtins
import io
import os
import re
import socket
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from zcolor.apps import web, web_style
from zcolor.apps.web_desk import Desk
from zcolor.apps.web_studio import KEPT_LOOKS, KEPT_PHOTOS, PREVIEW_PIXELS, Studio
from zcolor.apps.web_work import WebLimits, WorkQueue
from zcolor.colorizer import Colorizer
from zcolor.extras import install_command
from zcolor.palette import Suggestion
from zcolor.settings import ColorizeSettings

CONTROLS = ("vivid", 0.5, 1.2, 32)
SETTINGS = ColorizeSettings(preset="vivid", temperature=0.5, saturation=1.2, size=32)


@pytest.fixture(scope="module")
def colorizer(weights):
    return Colorizer(weights, device="cpu")


@pytest.fixture
def studio(colorizer):
    return Studio(colorizer, max_pixels=2_000_000)


@pytest.fixture
def desk(studio, tmp_path):
    work = WorkQueue()
    folder = tmp_path / "private"
    folder.mkdir()
    yield Desk(studio, work, folder)
    work.close()


@pytest.fixture
def photos(tmp_path):
    """A camera man as JPEG with EXIF, and a cat as 16-bit PNG."""
    exif = Image.Exif()
    exif[0x010E] = "on the lawn"
    camera, cat = tmp_path / "camera.jpg", tmp_path / "cat.png"
    Image.fromarray(data.camera()).resize((80, 60)).save(camera, exif=exif)
    wide = (
        np.asarray(Image.fromarray(data.chelsea()).convert("L").resize((70, 50)), np.uint16) * 257
    )
    Image.fromarray(wide).save(cat)
    return [str(camera), str(cat)]


def levels_apart(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).max()


def shown(path):
    with Image.open(path) as image:
        return np.asarray(image)


# ---- previews ------------------------------------------------------------------------------


def test_a_preview_is_the_photo_in_small(studio, colorizer, photos):
    """At this size the preview is the photo itself, coloured on the usual way."""
    path = Path(photos[0])
    usual = colorizer(shown(path), preset="vivid", temperature=0.5, saturation=1.2, size=32)
    assert levels_apart(studio.preview(path, SETTINGS), usual) <= 1
    grey = shown(path)
    assert levels_apart(studio.before(path, SETTINGS), grey[..., None]) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_every_kind_has_a_preview(studio, tmp_path, mode):
    path = tmp_path / "photo.png"
    if mode == "I;16":
        Image.fromarray(data.camera().astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(data.chelsea()).convert(mode).save(path)
    picture, before = studio.preview(path, SETTINGS), studio.before(path, SETTINGS)
    assert picture.dtype == before.dtype == np.uint8
    assert picture.shape == before.shape == (*shown(path).shape[:2], 3)
    assert not np.array_equal(picture, before)


def test_a_large_photo_has_a_small_preview(studio, tmp_path):
    path = tmp_path / "large.jpg"
    Image.fromarray(data.camera()).resize((1600, 1200)).save(path)
    height, width = studio.preview(path, SETTINGS).shape[:2]
    assert 0.99 * PREVIEW_PIXELS < height * width <= PREVIEW_PIXELS
    assert width / height == pytest.approx(4 / 3, rel=0.01)


def test_controls_cost_no_forward_pass(studio, colorizer, photos):
    path, seen = Path(photos[0]), []
    hook = colorizer.net.register_forward_pre_hook(lambda *_: seen.append(1))
    try:
        first = studio.preview(path, SETTINGS)
        assert len(seen) == 1
        for change in ({"temperature": 0.9}, {"saturation": 0.5}, {"preset": "accurate"}):
            other = replace(SETTINGS, **change)
            assert not np.array_equal(studio.preview(path, other), first)
            studio.confidence(path, other, radius=20)
            studio.suggest(path, other, 0.5, 0.5)
        assert len(seen) == 1
        studio.preview(path, replace(SETTINGS, size=48))
        assert len(seen) == 2
    finally:
        hook.remove()


@pytest.fixture
def scan(tmp_path):
    """A camera man in a white frame of another width on every side."""
    path = tmp_path / "scan.png"
    photo = np.asarray(Image.fromarray(data.camera()).resize((80, 60)))
    Image.fromarray(np.pad(photo, ((10, 8), (6, 14)), constant_values=245)).save(path)
    return path


def test_a_frame_has_neither_colours_nor_confidence(studio, colorizer, scan):
    inside = (slice(10, 70), slice(6, 86))
    usual = colorizer(shown(scan), preset="vivid", temperature=0.5, saturation=1.2, size=32)
    assert levels_apart(studio.preview(scan, SETTINGS), usual) <= 1
    assert np.asarray(usual)[inside].std(axis=2).max() > 1
    drawn, _ = studio.confidence(scan, SETTINGS, radius=20)
    outside = np.ones(drawn.shape[:2], bool)
    outside[inside] = False
    for picture in (drawn, usual):
        assert levels_apart(picture[outside], 245) == 0
    assert drawn[inside].std(axis=2).min() > 1
    colored = studio.color_file(scan.read_bytes(), SETTINGS)
    with Image.open(io.BytesIO(colored.data)) as image:
        assert levels_apart(image, usual) == 0
    whole = studio.color_file(scan.read_bytes(), replace(SETTINGS, frame="color"))
    assert whole.data != colored.data


def test_a_point_of_a_framed_photo_is_that_of_its_inside(studio, colorizer, scan):
    photo = np.ascontiguousarray(shown(scan)[10:70, 6:86])
    distribution = colorizer.distribution(photo, size=32)
    for x, y in ((0.0, 0.0), (0.3, 0.9), (1.0, 1.0)):
        in_scan = ((6 + 80 * x) / 100, (10 + 60 * y) / 78)
        assert studio.suggest(scan, SETTINGS, *in_scan) == distribution.suggest(x, y)
    corner = distribution.suggest(0, 1)
    assert studio.suggest(scan, SETTINGS, 0.01, 0.99) == corner  # the nearest point inside


def test_what_is_kept_is_bounded(studio):
    assert studio.look.cache_info().maxsize == KEPT_LOOKS


def test_all_that_may_be_open_stay_in_memory_at_any_size(studio, colorizer, photos, tmp_path):
    paths = []
    for i in range(KEPT_PHOTOS):
        paths.append(tmp_path / f"{i}.png")
        Image.new("L", (16, 16), 10 * i).save(paths[-1])
    larger = replace(SETTINGS, size=2 * colorizer.net.working_size)
    before = studio.look.cache_info().misses
    for _ in range(2):
        for path in paths:
            studio.preview(path, larger)
    assert studio.look.cache_info().misses - before == 2 * KEPT_PHOTOS


def test_confidence(studio, colorizer, photos):
    drawn, mean = studio.confidence(Path(photos[0]), SETTINGS, radius=20)
    distribution = colorizer.distribution(shown(photos[0]), size=32)
    ab = distribution.decode(temperature=0.5, **presets(colorizer))
    assert mean == pytest.approx(distribution.confidence(ab=ab).mean().item(), abs=1e-3)
    assert drawn.shape == (60, 80, 3)
    assert 0 <= mean <= 1


def presets(colorizer):
    vivid = colorizer.net.presets["vivid"]
    return {"rebalance": vivid.rebalance, "neutral": vivid.neutral, "gain": vivid.gain}


def test_a_model_without_probabilities_is_refused(colorizer):
    class Plain:
        net = torch.nn.Identity()

    with pytest.raises(ValueError, match="Identity predicts a colour, not the probabilities"):
        Studio(Plain(), max_pixels=1)


# ---- events --------------------------------------------------------------------------------


def test_photos_are_opened_and_bad_ones_named(desk, photos, tmp_path):
    bad, large = tmp_path / "notes.jpg", tmp_path / "large.png"
    bad.write_bytes(b"<b>no</b> picture")
    Image.fromarray(np.zeros((2000, 2000), np.uint8)).save(large)
    opened, chosen, drop, said = desk.open([photos[0], str(bad), str(large), photos[1]], [], 32)
    assert opened == photos
    assert chosen == 0
    assert drop is None
    text = said["value"] if isinstance(said, dict) else said.value
    assert "notes.jpg: the file is no image that can be read" in text
    assert "large.png: the picture has 2000 x 2000 pixels" in text
    assert "<b>" not in text
    # more are added to those that are there, and the first of the new ones is shown
    assert desk.open([photos[0]], opened, 32)[:2] == ([*photos, photos[0]], 2)
    assert desk.open([str(bad)], opened, 32)[:2] == (photos, 1)
    assert desk.open(None, [], 32)[:2] == ([], 0)


def test_there_are_only_so_many(desk, photos):
    opened, _, _, said = desk.open(photos, [photos[0]] * (KEPT_PHOTOS - 1), 32)
    assert len(opened) == KEPT_PHOTOS
    assert "cat.png was left out: 24 photos are open already" in said.value


def test_show(desk, photos):
    compare, point, palette, sure, scale = desk.show(photos, 0, None, *CONTROLS)
    assert shown(compare[0]).shape == shown(compare[1]).shape == shown(sure).shape == (60, 80, 3)
    assert point == compare[1]
    assert "Click the photo" in palette
    assert re.search(r"Over the whole photo: \d+%", scale)
    other = desk.show(photos, 0, (0.5, 0.5), "vivid", 0.5, 0.0, 32)
    assert levels_apart(shown(other[0][1]), shown(compare[0])) <= 12  # no saturation: grey (JPEG)
    assert other[1] != other[0][1]  # the point is marked
    assert "zc-swatch" in other[2]
    assert desk.show([], 0, None, *CONTROLS)[0] is None


def test_a_click(desk, photos, studio):
    event = gr.SelectData(None, {"index": [40, 15], "value": None})
    spot, marked, palette = desk.ask(event, photos, 0, *CONTROLS)
    assert spot == pytest.approx((40.5 / 80, 15.5 / 60))
    plain = studio.preview(Path(photos[0]), SETTINGS)
    changed = np.argwhere(np.abs(shown(marked).astype(int) - plain).max(axis=2) > 60)
    assert changed.mean(axis=0) == pytest.approx([15, 40], abs=3)  # a ring around the point
    suggested = studio.suggest(Path(photos[0]), SETTINGS, *spot)
    assert palette.count("zc-swatch") == len(suggested)
    assert f"{suggested[0].probability:.0%}" in palette


def test_the_gallery_is_for_several(desk, photos):
    assert desk.gallery(photos[:1], 0, *CONTROLS).visible is False
    gallery = desk.gallery(photos, 1, *CONTROLS)
    assert gallery.visible is True
    assert gallery.selected_index == 1


def test_the_download_is_the_library_s_file(desk, colorizer, photos):
    for i, name in enumerate(["camera-color.jpg", "cat-color.png"]):
        path = Path(desk.download(photos, i, *CONTROLS))
        assert path.name == name
        sent = Path(photos[i]).read_bytes()
        usual = colorizer(sent, preset="vivid", temperature=0.5, saturation=1.2, size=32)
        assert path.read_bytes() == usual
    with Image.open(desk.download(photos, 0, *CONTROLS)) as image:
        assert image.getexif()[0x010E] == "on the lawn"


def test_all_of_them(desk, photos):
    archive = desk.download_all([*photos, photos[0]], *CONTROLS)
    with zipfile.ZipFile(archive) as found:
        assert found.testzip() is None
        assert found.namelist() == ["camera-color.jpg", "cat-color.png", "3-camera-color.jpg"]
        assert Image.open(io.BytesIO(found.read("cat-color.png"))).size == (70, 50)
    assert [path.name for path in desk.folder.rglob("*") if path.is_file()] == ["zcolor-photos.zip"]


def test_everything_lies_in_the_private_folder(desk, photos):
    before = set(Path(photos[0]).parent.iterdir())
    desk.show(photos, 0, (0.1, 0.1), *CONTROLS)
    desk.download(photos, 0, *CONTROLS)
    assert set(Path(photos[0]).parent.iterdir()) == before
    written = [path for path in desk.folder.rglob("*") if path.is_file()]
    assert len(written) == 5
    assert len({path.parent for path in written}) == 5  # nobody can guess one from another


def test_a_photo_that_is_gone(desk, photos):
    desk.show(photos, 0, None, *CONTROLS)
    Path(photos[0]).unlink()
    with pytest.raises(gr.Error, match="is gone; drop it again"):
        desk.download(photos, 0, *CONTROLS)


def test_the_preset_has_a_temperature(desk, colorizer):
    for name, preset in colorizer.net.presets.items():
        assert desk.temperature(name) == preset.temperature


# ---- words and colours ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 255, 255), "white"),
        ((0, 0, 0), "black"),
        ((60, 60, 60), "dark grey"),
        ((200, 30, 40), "red"),
        ((90, 60, 30), "dark brown"),
        ((225, 205, 175), "beige"),
        ((240, 220, 40), "light yellow"),
        ((40, 120, 50), "green"),
        ((30, 60, 190), "dark blue"),
        ((130, 60, 160), "purple"),
        ((250, 150, 190), "light pink"),
        ((40, 140, 145), "teal"),
    ],
)
def test_color_names(rgb, name):
    assert web_style.color_name(rgb) == name


def test_html_is_escaped():
    assert "<b>" not in web_style.header("<b>", "<b>") + web_style.note("<b>")


def test_a_palette_without_lightness():
    assert "grey" in web_style.palette([Suggestion((0.0, 0.0), 0.7, None)])


# ---- the server ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(weights):
    limits = WebLimits(max_upload_mb=0.1)
    with web.private_folder() as folder:

        async def make():  # without a loop that runs, Gradio makes some and never closes them
            return web.create_app(folder=folder, model=weights, device="cpu", limits=limits)

        with TestClient(asyncio.run(make())) as client:
            yield client


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200
    loaded = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']([^\"']+)", page.text
    )
    assert loaded
    assert [address for address in loaded if "//" in address] == []
    assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", client.get("/theme.css").text)
    assert "fonts.g" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self' ")
    assert "http" not in policy


def test_telemetry_is_off(client):
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_the_page_offers_no_calls_of_its_own(client):
    described = client.get("/gradio_api/info").json()
    assert described == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_the_page_s_uploads_are_limited_too(client):
    answer = client.post("/gradio_api/upload", files={"files": os.urandom(200_000)})
    assert answer.status_code == 413
    assert client.post("/gradio_api/upload", files={"files": b"small"}).status_code == 200


def test_calls_and_page_live_together(client):
    assert client.get("/health").json()["version"] == web._version()
    stream = io.BytesIO()
    Image.fromarray(data.camera()).resize((40, 30)).save(stream, "PNG")
    assert client.post("/colorize", content=stream.getvalue()).status_code == 200
    assert client.get("/docs").status_code == 404  # its page would load scripts from elsewhere


def test_the_private_folder(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "as before")
    usual = tempfile.gettempdir()
    with web.private_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        assert Path(os.environ["GRADIO_TEMP_DIR"]) == Path(tempfile.gettempdir()) == folder
        (folder / "photo.jpg").write_bytes(b"x")
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "as before"
    assert tempfile.gettempdir() == usual


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "localhost.org"])
def test_other_addresses_are_not_loopback(host):
    assert not web.is_loopback(host)


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_the_server_knows_whether_it_is_for_this_machine_alone(monkeypatch, host, local):
    def no_further(**options):
        assert options["local"] is local
        assert options["names"] == ("a.example",)
        raise InterruptedError

    monkeypatch.setattr(web, "create_app", no_further)
    with pytest.raises(InterruptedError):
        web.serve(host=host, port=0, names=("a.example",))


def test_an_app_for_this_machine_alone_answers_to_no_other_name(weights, tmp_path):
    async def make():
        return web.create_app(
            folder=tmp_path, model=weights, device="cpu", local=True, names=["Photos.example.org"]
        )

    app = asyncio.run(make())
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        for host, status in (("127.0.0.1", 200), ("photos.example.org", 200), ("a.example", 400)):
            assert client.get("/health", headers={"host": host}).status_code == status


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OSError, match=f"cannot listen at 127.0.0.1 port {port}.*choose another"
        ):
            web.serve(port=port)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_warning_for_other_addresses(monkeypatch, caplog, host, warned):
    def no_further(**_):
        raise InterruptedError

    monkeypatch.setattr(web, "create_app", no_further)
    with pytest.raises(InterruptedError):
        web.serve(host=host, port=0)
    assert ("there is no password" in caplog.text) == warned


def test_without_gradio(monkeypatch, tmp_path, weights):
    usual = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "gradio":
            raise ImportError(name)
        return usual(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=re.escape(install_command("web"))):
        web.create_app(folder=tmp_path, model=weights)
