"""POST /colorize and GET /health, through a real server and its sockets."""

import contextlib
import io
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from zcolor.apps import web_api
from zcolor.apps.web_api import Format, add_api
from zcolor.apps.web_studio import ColoredFile, Studio
from zcolor.apps.web_work import QueueFullError, WebLimits, WorkQueue
from zcolor.colorizer import Colorizer
from zcolor.formats import COLOR_FORMATS

LIMITS = WebLimits(max_upload_mb=0.3, max_pixels=100_000)
MINUTE = 60.0  # generous: a busy machine is no failure


@contextlib.contextmanager
def running(app):
    """Serve an application on a free port, in a thread; give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(MINUTE)
        listener.close()


@contextlib.contextmanager
def served(colorizer, limits=LIMITS):
    """Serve the calls alone, without the page; give a client and the queue."""
    app, work = FastAPI(), WorkQueue(workers=limits.workers, queue=limits.queue)
    studio = Studio(colorizer, max_pixels=limits.max_pixels)
    add_api(app, studio, work, limits, model="tiny", version="1.2.3")
    with running(app) as address, httpx.Client(base_url=address, timeout=MINUTE) as client:
        yield client, work
    work.close()


@pytest.fixture(scope="module")
def colorizer(weights):
    return Colorizer(weights, device="cpu")


@pytest.fixture(scope="module")
def client(colorizer):
    with served(colorizer) as (client, _):
        yield client


def grey(height=48, width=64):
    camera = Image.fromarray(data.camera()).resize((width, height))
    return np.asarray(camera)


def encoded(file_format, pixels=None, **options):
    stream = io.BytesIO()
    Image.fromarray(grey() if pixels is None else pixels).save(stream, file_format, **options)
    return stream.getvalue()


def opened(response):
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def refused(response, status, words):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    detail = response.json()["detail"]
    assert words in detail
    assert "\n" not in detail
    assert list(response.json()) == ["detail"]


# ---- kinds in and out ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "media_type", "ending"),
    [
        ("JPEG", "image/jpeg", "jpg"),
        ("PNG", "image/png", "png"),
        ("TIFF", "image/tiff", "tif"),
        ("WEBP", "image/webp", "webp"),
        ("GIF", "image/gif", "gif"),
        ("BMP", "image/bmp", "bmp"),
    ],
)
def test_bytes_come_back_as_the_library_colours_them(
    client, colorizer, file_format, media_type, ending
):
    sent = encoded(file_format)
    answer = client.post("/colorize", content=sent)
    assert opened(answer).format == file_format
    assert answer.content == colorizer(sent)
    assert answer.headers["content-type"] == media_type
    assert f'filename="photo-color.{ending}"' in answer.headers["content-disposition"]


@pytest.mark.parametrize("field", ["file", "image"])
def test_a_form(client, colorizer, field):
    sent = encoded("PNG")
    answer = client.post("/colorize", files={field: ("../../été 1950.PNG", sent, "text/plain")})
    assert answer.content == colorizer(sent)
    disposition = answer.headers["content-disposition"]
    assert unquote(disposition.partition("UTF-8''")[2]) == "été 1950-color.PNG"
    assert "/" not in disposition.partition("UTF-8")[0]


def test_every_parameter_arrives(client, colorizer):
    sent = encoded("PNG")
    options = {"preset": "accurate", "saturation": 1.5, "size": 48, "upsample": "bilinear"}
    for decoding in ({"temperature": 0.2}, {"decode": "argmax"}):
        answer = client.post("/colorize", content=sent, params={**options, **decoding})
        assert answer.content == colorizer(sent, **options, **decoding)
        assert answer.content != colorizer(sent)


def test_a_frame_is_left_or_coloured(client, colorizer):
    sent = encoded("PNG", np.pad(grey(), 6, constant_values=245))
    left, colored = (
        client.post("/colorize", content=sent, params=params).content
        for params in ({}, {"frame": "color"})
    )
    assert left == colorizer(sent)
    assert colored == colorizer(sent, frame="color")
    assert left != colored


def test_sixteen_bits_stay(client):
    wide = (grey().astype(np.uint16) * 257) + 3
    stream = cv2.imencode(".png", wide)[1].tobytes()
    answer = client.post("/colorize", content=stream)
    back = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert back.dtype == np.uint16
    assert back.shape == (48, 64, 3)
    assert len(np.unique(back)) > 300


def test_metadata_and_orientation(client):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "grandmother", 6
    answer = opened(client.post("/colorize", content=encoded("JPEG", exif=exif, dpi=(300, 300))))
    assert answer.size == (48, 64)  # upright
    assert answer.getexif()[0x010E] == "grandmother"
    assert answer.getexif().get(0x0112, 1) == 1
    assert answer.info["dpi"] == (300, 300)


def test_transparency(client):
    pixels = np.dstack([grey(), np.arange(64, dtype=np.uint8) * np.ones((48, 1), np.uint8)])
    sent = encoded("PNG", pixels)
    assert opened(client.post("/colorize", content=sent)).mode == "RGBA"
    answer = client.post("/colorize", content=sent, params={"format": "jpeg"})
    refused(answer, 422, "JPEG cannot hold the transparency of this picture; ask for PNG")


@pytest.mark.parametrize("file_format", Format.__args__)
def test_the_format_can_be_chosen(client, file_format):
    answer = client.post("/colorize", content=encoded("PNG"), params={"format": file_format})
    assert opened(answer).format == file_format.upper()
    assert answer.headers["content-type"] == Image.MIME[file_format.upper()]


def test_every_format_can_be_chosen():
    assert sorted(name.upper() for name in Format.__args__) == sorted(COLOR_FORMATS)


def test_a_grey_format_becomes_png(client):
    assert opened(client.post("/colorize", content=encoded("PPM"))).format == "PNG"


# ---- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"preset": "loud"}, "preset: input should be 'vivid' or 'accurate', got 'loud'"),
        ({"temperature": 2}, "temperature: input should be less than or equal to 1, got '2'"),
        ({"temperature": "nan"}, "temperature"),
        ({"saturation": -1}, "saturation: input should be greater than or equal to 0, got '-1'"),
        ({"size": 5000}, "size: input should be less than or equal to 1024, got '5000'"),
        ({"size": "large"}, "size: input should be a valid integer"),
        ({"decode": "best"}, "decode: input should be"),
        ({"upsample": "nearest"}, "upsample: input should be"),
        ({"frame": "crop"}, "frame: input should be"),
        ({"format": "psd"}, "format: input should be"),
        ({"decode": "argmax", "temperature": 0.5}, "decode='argmax' has no temperature"),
    ],
)
def test_parameters_that_make_no_sense(client, params, words):
    refused(client.post("/colorize", content=encoded("PNG"), params=params), 422, words)


@pytest.mark.parametrize("sent", [b"", b"hello", b"<html></html>" * 100])
def test_no_image(client, sent):
    refused(client.post("/colorize", content=sent), 415, "the file is")


def test_half_an_image(client):
    sent = encoded("JPEG")
    refused(client.post("/colorize", content=sent[: len(sent) // 2]), 422, "truncated or damaged")


def test_too_many_pixels_are_not_decoded(client):
    bomb = encoded("PNG", np.zeros((4000, 4000), np.uint8))
    assert len(bomb) < LIMITS.max_upload_bytes
    refused(
        client.post("/colorize", content=bomb), 413, "4000 x 4000 pixels, more than the 100,000"
    )


@pytest.mark.parametrize("how", ["declared", "chunked", "form"])
def test_too_many_bytes(client, how):
    """The refusal is heard even by a client that is still writing."""
    large = os.urandom(8 * LIMITS.max_upload_bytes)
    pieces = (large[i : i + 9999] for i in range(0, len(large), 9999))
    body = {"files": {"file": large}} if how == "form" else {}
    body = body or {"content": large if how == "declared" else pieces}
    refused(client.post("/colorize", **body), 413, "the upload is larger than 0.3 MB")


def test_a_form_without_a_file(client):
    refused(client.post("/colorize", data={"file": "x"}, files={"other": b"x"}), 400, "'file'")
    two = [("file", b"a"), ("file", b"b")]
    refused(client.post("/colorize", files=two), 400, "Too many files")
    headers = {"content-type": "multipart/form-data"}
    refused(client.post("/colorize", content=b"x", headers=headers), 400, "the form is broken")


def test_a_slow_upload_gives_its_place_away(client, monkeypatch):
    monkeypatch.setattr(web_api, "UPLOAD_SECONDS", 0.3)
    monkeypatch.setattr(web_api, "_DRAIN_SECONDS", 0.1)
    waited = threading.Event()

    def slowly():
        yield b"a"
        waited.wait(2)
        yield b"b"

    with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
        refused(client.post("/colorize", content=slowly()), 408, "the upload took longer")
    assert client.get("/health").json()["queue_length"] == 0


def test_our_own_fault(colorizer, monkeypatch, caplog):
    def broken(*_):
        raise ArithmeticError("secret")

    monkeypatch.setattr(Studio, "color_file", broken)
    with served(colorizer) as (client, _):
        answer = client.post("/colorize", content=encoded("PNG"))
        refused(answer, 500, "the server failed (ArithmeticError); its log says more")
        assert client.get("/health").status_code == 200
    assert "secret" not in answer.text
    assert "secret" in caplog.text


# ---- the queue -----------------------------------------------------------------------------


def test_the_queue(colorizer, monkeypatch):
    """One is worked on, one waits, the third is told to come again; the server stays awake."""
    begun, may_end = threading.Event(), threading.Event()
    color_file = Studio.color_file

    def slow(*arguments):
        begun.set()
        assert may_end.wait(MINUTE)
        return color_file(*arguments)

    monkeypatch.setattr(Studio, "color_file", slow)
    limits, sent = WebLimits(queue=1, workers=1), encoded("PNG")
    with served(colorizer, limits) as (client, work), ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(client.post, "/colorize", content=sent)
            assert begun.wait(MINUTE)
            second = pool.submit(client.post, "/colorize", content=sent)
            tick = threading.Event()
            while work.waiting < 1:
                assert not second.done()
                tick.wait(0.01)
            health = client.get("/health").json()
            assert (health["queue_length"], health["queue_limit"]) == (1, 1)
            third = client.post("/colorize", content=sent)
            refused(third, 503, "the queue is full; try again in a moment")
            assert int(third.headers["retry-after"]) >= 1
        finally:
            may_end.set()
        assert first.result().content == second.result().content == colorizer(sent)
        assert client.get("/health").json()["queue_length"] == 0


def test_places_are_given_back():
    work = WorkQueue(workers=1, queue=1)
    with work.place(), work.place():
        assert work.waiting == 1
        with pytest.raises(QueueFullError), work.place():
            pass
    with pytest.raises(ZeroDivisionError), work.place():
        _ = 1 / 0
    with work.place():
        assert work.waiting == 0
    work.close()


def memory():
    """Resident memory of this process in MB, or 0 where the system does not tell."""
    pages = Path("/proc/self/statm")
    return (
        int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        if pages.exists()
        else 0
    )


def test_load(client, colorizer):
    """200 requests from 8 clients, bad ones among them: each gets its own answer."""
    photos = [encoded("PNG", grey(40 + i, 60)) for i in range(5)]
    photos += [encoded("JPEG", np.asarray(Image.fromarray(data.chelsea()).resize((50, 40))))]
    good = [(photo, {}, 200, colorizer(photo)) for photo in photos]
    half, huge = photos[-1][:-400], encoded("PNG", np.zeros((2000, 2000), np.uint8))
    bad = [
        (b"nothing", {}, 415, None),
        (half, {}, 422, None),
        (huge, {}, 413, None),
        (photos[0], {"temperature": 7}, 422, None),
    ]
    cases = [*good, *bad]

    def ask(i):
        content, params, status, expected = cases[i % len(cases)]
        answer = client.post("/colorize", content=content, params=params)
        assert answer.status_code == status, answer.text
        assert answer.content == expected if expected else "detail" in answer.json()

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(ask, range(60)))) == 60  # warm-up
        before = memory()
        assert len(list(pool.map(ask, range(200)))) == 200
    assert memory() - before < 60
    assert client.get("/health").json()["queue_length"] == 0


# ---- what is told --------------------------------------------------------------------------


def test_health(client):
    assert client.get("/health").json() == {
        "status": "ok",
        "version": "1.2.3",
        "model": "tiny",
        "device": "cpu",
        "queue_length": 0,
        "queue_limit": LIMITS.queue,
    }


def test_the_calls_are_described(client):
    described = client.get("/openapi.json").json()
    call = described["paths"]["/colorize"]["post"]
    names = {parameter["name"] for parameter in call["parameters"]}
    expected = {
        "preset",
        "temperature",
        "saturation",
        "size",
        "decode",
        "upsample",
        "frame",
        "format",
    }
    assert names == expected
    assert set(call["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    assert set(call["requestBody"]["content"]) >= {"multipart/form-data", "image/*"}
    assert "HTTPValidationError" not in json.dumps(call)


@given(st.text())
def test_a_name_is_never_a_path(name):
    made = ColoredFile(b"", "JPEG").name(name)
    assert PurePosixPath(made).name == PureWindowsPath(made).name == made
    assert made.isprintable()
    assert not made.startswith((".", "~"))
    assert Path(made).suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")


@given(st.text())
def test_a_name_fits_into_a_header(name):
    answer = web_api._answer(ColoredFile(b"", "PNG"), name)
    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.isprintable()
    assert disposition.count('"') == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_upload_mb": 0},
        {"max_upload_mb": float("nan")},
        {"max_pixels": 0},
        {"queue": -1},
        {"workers": 0},
    ],
)
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WebLimits(**wrong)
