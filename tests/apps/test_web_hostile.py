"""Requests that mean no good, to the calls and to the page."""

import asyncio
import contextlib
import os
import socket
import threading

import pytest
from starlette.testclient import TestClient

from tests.apps.test_web_api import LIMITS, encoded, refused, served
from tests.hostile.pictures import nasty
from zcolor.apps import web, web_api
from zcolor.apps.web_work import WebLimits
from zcolor.colorizer import Colorizer


@pytest.fixture(scope="module")
def colorizer(weights):
    return Colorizer(weights, device="cpu")


@pytest.fixture(scope="module")
def client(colorizer):
    with served(colorizer) as (client, _):
        yield client


def raw(client, request, *, wait=60.0):
    """Send bytes that no client would send, and give the first line of the answer."""
    address = client.base_url
    with socket.create_connection((address.host, address.port), timeout=wait) as connection:
        connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            return connection.recv(4096).split(b"\r\n")[0].decode()
    return ""


def alive(client):
    answer = client.get("/health").json()
    return answer["status"] == "ok" and answer["queue_length"] == 0


# ---- the calls -------------------------------------------------------------------------------


@pytest.mark.slow
def test_nasty_pictures(client):
    """Bombs and broken files: a picture or one of the documented refusals, never our own fault."""
    answers = {}
    for name, (data, _) in nasty().items():
        kind = name.split("-")[0]
        fits = len(data) <= LIMITS.max_upload_bytes
        if fits and kind in ("bombs", "broken", "foreign", "pages"):
            answers[name] = client.post("/colorize", content=data)
    assert len(answers) > 130
    wrong = {
        name: (answer.status_code, answer.text[:200])
        for name, answer in answers.items()
        if answer.status_code not in (200, 413, 415, 422)
    }
    assert wrong == {}
    bombs = [n for n in answers if n.startswith("bombs-") and "65535x65535" in n]
    assert [answers[name].status_code for name in bombs] == [413] * len(bombs)
    assert len(bombs) >= 5
    assert alive(client)


@pytest.mark.parametrize(
    "kind",
    ["text/html", "application/json", "application/x-www-form-urlencoded", "image/../..", "é"],
)
def test_the_content_type_is_not_believed(client, colorizer, kind):
    """What came is judged by its bytes alone."""
    headers = {"content-type": kind.encode("latin-1")}
    sent = encoded("PNG")
    assert client.post("/colorize", content=sent, headers=headers).content == colorizer(sent)
    refused(client.post("/colorize", content=b"{}", headers=headers), 415, "the file is")


def test_forms_of_many_parts(client):
    picture = encoded("PNG")
    many = [("file", ("a.png", picture))] + [("file", ("b.png", b"x"))] * 500
    refused(client.post("/colorize", files=many), 400, "Too many files")
    fields = {f"field{i}": "x" for i in range(500)}
    refused(client.post("/colorize", data=fields, files={"file": picture}), 400, "Too many fields")
    large = {"field": "x" * 250_000}
    answer = client.post("/colorize", data=large, files={"other": b"x"})
    assert answer.status_code in (400, 413)
    assert alive(client)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--",
        b"--x",
        b"--x\r\n",
        b"--x\r\n\r\n" * 100,
        b"--x\r\nContent-Disposition: form-data\r\n\r\na",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
        + b"H: 1\r\n" * 9999,
        b'--x\r\nContent-Disposition: form-data; name="' + b"n" * 100_000 + b'"\r\n\r\na\r\n--x--',
        bytes(1000),
    ],
)
def test_broken_forms(client, body):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/colorize", content=body, headers=headers)
    assert answer.status_code in (400, 413, 415), answer.text
    assert alive(client)


@pytest.mark.parametrize(
    "name",
    [
        "../../x.png",
        "/etc/passwd.png",
        "C:\\Windows\\x.png",
        "..\\..\\x.png",
        "a\0b.png",
        "%2e%2e%2fx.png",
        "x" * 5000 + ".png",
        "\u202egnp.x",
        "a\r\nSet-Cookie: b=1.png",
        "-rf.png",
        "~/.ssh/x.png",
    ],
)
def test_names_of_uploads_lead_nowhere(client, name):
    boundary = b"x"
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + encoded("PNG") + b"\r\n--" + boundary + b"--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/colorize", content=body, headers=headers)
    if answer.status_code == 400:  # a header with a line break, or longer than any, is no form
        assert "\n" in name or "\0" in name or len(name) > 4000
        return
    disposition = answer.headers["content-disposition"]
    given = disposition.split('filename="')[1].split('"')[0]
    assert answer.status_code == 200
    assert not set(given) & set("/\\\0\r\n")
    assert not given.startswith((".", "~"))
    assert len(disposition) < 1000
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "length", [b"-1", b"99999999999999999999", b"abc", b"1e3", b"0x10", b"5, 6"]
)
def test_lengths_that_lie(client, length, monkeypatch):
    monkeypatch.setattr(web_api, "_DRAIN_SECONDS", 0.1)
    request = b"POST /colorize HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\nabcde"
    status = raw(client, request, wait=20)
    assert status.split(" ")[1] in ("400", "413"), status
    assert alive(client)


def test_a_client_that_goes_away(client):
    address = client.base_url
    for _ in range(20):
        with socket.create_connection((address.host, address.port)) as connection:
            connection.sendall(
                b"POST /colorize HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc"
            )
    for _ in range(200):
        if alive(client):
            break
        threading.Event().wait(0.05)
    assert alive(client)


def test_headers_without_end(client):
    status = raw(client, b"POST /colorize HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000)
    assert status.split(" ")[1:2] in (["400"], ["431"], []), status
    assert alive(client)


def test_slow_bodies_cannot_keep_the_queue(colorizer, monkeypatch):
    """All places taken by bodies that never end: others are told so, and get in when time is up."""
    monkeypatch.setattr(web_api, "UPLOAD_SECONDS", 1.0)
    monkeypatch.setattr(web_api, "_DRAIN_SECONDS", 0.1)
    limits = WebLimits(queue=1, workers=1)
    with served(colorizer, limits) as (client, work), contextlib.ExitStack() as stack:
        address = client.base_url
        for _ in range(2):
            connection = stack.enter_context(socket.create_connection((address.host, address.port)))
            connection.sendall(
                b"POST /colorize HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nabc"
            )
        for _ in range(400):
            answer = client.post("/colorize", content=encoded("PNG"))
            if answer.status_code == 503:
                break
        assert answer.status_code == 503
        for _ in range(400):
            answer = client.post("/colorize", content=encoded("PNG"))
            if answer.status_code == 200:
                break
            threading.Event().wait(0.05)
        assert answer.status_code == 200
        assert work.waiting == 0


def test_a_size_that_would_fill_the_memory_is_refused(client):
    for params in ({"size": 10**9}, {"size": -8}, {"saturation": 1e308}, {"temperature": "inf"}):
        assert client.post("/colorize", content=encoded("PNG"), params=params).status_code == 422


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "GET"])
def test_other_methods(client, method):
    assert client.request(method, "/colorize").status_code == 405


# ---- the page --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(weights, tmp_path_factory):
    secret = tmp_path_factory.mktemp("home") / "secret.txt"
    secret.write_text("secret words")
    with web.private_folder() as folder:

        async def make():  # without a loop that runs, Gradio makes some and never closes them
            return web.create_app(folder=folder, model=weights, device="cpu", limits=WebLimits())

        with TestClient(asyncio.run(make())) as client:
            yield client, folder, secret


@pytest.mark.slow
def test_the_page_gives_no_files_of_the_machine(page):
    client, _, secret = page
    for path in ("/etc/passwd", str(secret), "../../../../etc/passwd", "setup.cfg", web.__file__):
        for route in (
            "/gradio_api/file=",
            "/file=",
            "/gradio_api/file/",
            "/static/",
            "/assets/",
            "/",
        ):
            answer = client.get(f"{route}{path}")
            assert "root:" not in answer.text
            assert "secret words" not in answer.text
            assert "zcolor.colorizer" not in answer.text
            assert answer.status_code in (200, 400, 403, 404, 405), (
                route,
                path,
                answer.status_code,
            )
    for address in ("http://127.0.0.1:1/", "file:///etc/passwd"):
        answer = client.get(f"/gradio_api/proxy={address}")
        assert answer.status_code in (400, 403, 404)


def events_of(client):
    """The page's calls that take something, in the order of the page."""
    return [call for call in client.get("/config").json()["dependencies"] if call["inputs"]]


def outcome(client, call, value):
    """Make a call of the page with `value` for everything it takes."""
    session = f"session-{call['id']}"
    asked = {"data": [value] * len(call["inputs"]), "fn_index": call["id"], "session_hash": session}
    assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
    answer = client.get(f"/gradio_api/queue/data?session_hash={session}").text
    return next(line for line in answer.splitlines() if "process_completed" in line)


@pytest.mark.parametrize(
    ("path", "said"),
    [("the secret", "it was not uploaded by a user"), ("http://a.example/x", "nothing is fetched")],
)
def test_no_call_of_the_page_takes_files_of_the_machine(page, path, said):
    client, folder, secret = page
    path = str(secret) if path == "the secret" else path
    before = sorted(folder.rglob("*"))
    value = {"path": path, "meta": {"_type": "gradio.FileData"}}
    told = [outcome(client, call, value) for call in events_of(client)]
    assert sum(said in line for line in told) >= 6  # the others take what the page keeps alone
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_uploads_stay_in_the_private_folder(page, tmp_path):
    client, folder, _ = page
    for name in ("../../../x.png", "/tmp/zcolor-hostile.png", "..\\..\\x.png", "a/../../x.png"):
        answer = client.post("/gradio_api/upload", files={"files": (name, b"data")})
        assert answer.status_code in (200, 400)
        for path in answer.json() if answer.status_code == 200 else []:
            assert os.path.realpath(path).startswith(str(folder) + os.sep)
    assert not os.path.exists("/tmp/zcolor-hostile.png")
