"""What stands before every call of the server: who may ask, for what, and what an answer may do.

Gradio is made for pages that are public. Here a page belongs to one person or one house, and none
of the websites that they have open beside it may use it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page may load nothing from elsewhere, whatever it says, nor be shown inside a foreign page.
_HEADERS = {
    b"content-security-policy": b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    b"frame-ancestors 'self'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
# With these an answer could be read by other websites.
_OPENING = b"access-control-"
# Gradio would fetch such an address, for whoever asks.
_FETCH = re.compile(r"file[=/]\\?https?:", re.IGNORECASE)
# Gradio's own calls; of these the page uses none, and they take uploads without bound.
_CALLS, _UPLOAD = "/gradio_api/", "/gradio_api/upload"
_UNUSED = ("/gradio_api/component_server", "/gradio_api/process_recording")
_MOST_CALL_BYTES = 1_000_000  # of a call that is no upload: names and settings
_SAFE_METHODS = ("GET", "HEAD")


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone.

    Parameters
    ----------
    host
        A name or an address.

    Returns
    -------
    Whether it is localhost, 127.x.y.z or ::1.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """An ASGI application around another, which refuses what no user of the page asks for.

    Refused are: calls to this machine alone under another name than its own, with which a website
    could pass for the page (DNS rebinding); posts that another website sends; addresses of the
    internet to be fetched; what is sent to the page in unknown or too large size. No answer can be
    read by other websites or shown inside them.

    Parameters
    ----------
    app
        The application.
    local
        Whether it is served to this machine alone, so that the `Host` must be that of it.
    most_upload_bytes
        Of one upload to the page, all its files together.
    names
        Further names that it is reached under, as through a proxy: without port, in small letters.
    """

    def __init__(
        self, app: ASGIApp, *, local: bool, most_upload_bytes: int, names: Collection[str] = ()
    ) -> None:
        self.app, self.local, self.most_upload_bytes = app, local, most_upload_bytes
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if not pair[0].startswith(_OPENING)]
                message = {**message, "headers": [*kept, *_HEADERS.items()]}
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self.app(scope, receive, sealed)
            return
        from starlette.responses import JSONResponse

        status, detail = refused
        await JSONResponse({"detail": detail}, status)(scope, receive, sealed)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Give the status and the reason of a refusal."""
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        host = headers.get("host", "")
        if self.local and not (is_loopback(_name_of(host)) or _name_of(host) in self.names):
            return 400, (
                f"this page is served to this machine alone, not as {host!r}; --allow-host names "
                "a proxy in front of it"
            )
        if _FETCH.search(scope["path"]) or scope["path"].startswith(_UNUSED):
            return 403, "nothing is fetched from the internet, and no such call is taken"
        if scope["method"] in _SAFE_METHODS:
            return None
        if self._is_foreign(headers, host):
            return 403, "another website may not use this page; open it in a tab of its own"
        if scope["path"].startswith(_CALLS):
            is_upload = scope["path"].rstrip("/") == _UPLOAD
            most = self.most_upload_bytes if is_upload else _MOST_CALL_BYTES
            length = headers.get("content-length", "")
            if not length.isdigit():
                return 411, "what is sent must say how long it is"
            if int(length) > most:
                return 413, f"this may have {most} bytes in all"
        return None

    def _is_foreign(self, headers: dict[str, str], host: str) -> bool:
        """Tell whether another website sends this; programs that are no browsers say nothing."""
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in ("cross-site", "same-site")
        origin = headers.get("origin")  # all that browsers say to http:// on another machine
        if origin is None:
            return False
        address = _address_of(origin)
        return address != host and _name_of(address) not in self.names


def _name_of(host: str) -> str:
    """Take the port off a `Host`, and the brackets off an address."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _address_of(origin: str) -> str:
    """Take the scheme off an `Origin`."""
    return origin.partition("://")[2]


async def refuse_download(url: str, *_: object, **__: object) -> str:
    """Stand in for Gradio's download of addresses that a call names in place of a file.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(f"nothing is fetched from the internet, so not {url} either")
