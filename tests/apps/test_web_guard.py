"""What the server refuses before anything is asked of it."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from zcolor.apps.web_guard import Guard, refuse_download

LIMIT = 1000
OPEN = {"access-control-allow-origin": "https://evil.example", "x-own": "kept"}


def answer(request):
    return PlainTextResponse("an answer", headers=OPEN)


def client(*, local, names=()):
    methods = ["GET", "POST", "OPTIONS"]
    inner = Starlette(routes=[Route("/{path:path}", answer, methods=methods)])
    return TestClient(
        Guard(inner, local=local, most_upload_bytes=LIMIT, names=names),
        base_url="http://127.0.0.1:7860",
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost", "localhost:80", "[::1]:7860", "127.0.0.2", "LOCALHOST"]
)
def test_own_names(host):
    assert client(local=True).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "localhost.evil.example", "", "[", "192.168.1.7"]
)
def test_a_website_cannot_pass_for_the_page(host):
    refused = client(local=True).get("/", headers={"host": host})
    assert refused.status_code == 400
    assert "served to this machine alone" in refused.json()["detail"]
    assert client(local=False).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # a program
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:7860"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://127.0.0.1:7860"}, True),  # an older browser
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_posts_of_other_websites(headers, allowed, local):
    guarded = client(local=local)
    assert guarded.post("/colorize", headers=headers).status_code == (200 if allowed else 403)
    assert guarded.get("/", headers=headers).status_code == 200  # a link to the page


def test_no_answer_can_be_read_elsewhere():
    for method in ("GET", "OPTIONS"):
        headers = client(local=True).request(method, "/").headers
        assert "access-control-allow-origin" not in headers
        assert headers["x-own"] == "kept"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
    refused = client(local=True).get("/", headers={"host": "evil.example"})
    assert refused.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://evil.example/x",
        "/gradio_api/file=HTTPS://evil.example/x",
        "/gradio_api/file%3Dhttps%3A//evil.example/x",
        "/file=http:/evil.example",
        "/gradio_api/file/https://evil.example/x",
        "/gradio_api/component_server",
        "/gradio_api/process_recording",
    ],
)
def test_nothing_is_fetched(path):
    assert client(local=False).get(path).status_code == 403
    with pytest.raises(ValueError, match="nothing is fetched"):
        asyncio.run(refuse_download("https://evil.example/x", cache_dir="folder"))


def test_uploads_to_the_page_are_bounded():
    guarded = client(local=False)
    assert guarded.post("/gradio_api/upload", content=b"x" * LIMIT).status_code == 200
    for path in ("/gradio_api/upload", "/gradio_api/upload/"):
        assert guarded.post(path, content=b"x" * (LIMIT + 1)).status_code == 413
        assert guarded.post(path, content=iter([b"x"])).status_code == 411
    assert guarded.post("/colorize", content=b"x" * (LIMIT + 1)).status_code == 200


def test_calls_of_the_page_are_bounded():
    guarded = client(local=False)
    assert guarded.post("/gradio_api/queue/join", content=b"x" * 10**6).status_code == 200
    assert guarded.post("/gradio_api/queue/join", content=b"x" * (10**6 + 1)).status_code == 413
    assert guarded.post("/gradio_api/queue/join", content=iter([b"x"])).status_code == 411


def test_a_proxy_in_front():
    """It passes its own name on, or its browser's page has that name."""
    named = client(local=True, names=["photos.example.org"])
    for headers in (
        {"host": "photos.example.org"},
        {"host": "Photos.Example.org:443", "sec-fetch-site": "same-origin"},
        {"origin": "http://photos.example.org"},
    ):
        assert named.post("/colorize", headers=headers).status_code == 200
    assert named.post("/", headers={"host": "other.example.org"}).status_code == 400
    assert named.post("/", headers={"origin": "http://other.example.org"}).status_code == 403
