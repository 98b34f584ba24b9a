"""The web page and its calls, served from this computer: the door behind `zcolor serve`."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from zcolor.apps.web_guard import Guard, is_loopback, refuse_download
from zcolor.apps.web_work import WebLimits, WorkQueue
from zcolor.colorizer import Colorizer
from zcolor.extras import install_command

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

# No word about this server leaves the machine; read by Gradio and by what it imports.
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Gradio asks Matplotlib, where there is one, for its backend at each event; left to choose, it
    # lists the fonts of the machine and writes that list to the user's folder.
    "MPLBACKEND": "agg",
}
_USUAL = WebLimits()
_GRACE_SECONDS = 3  # that requests under way have when the server ends
_INSTALL = f"the web page needs Gradio: {install_command('web')}"


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    model: str | os.PathLike[str] = "zhang",
    device: str | torch.device = "auto",
    limits: WebLimits = _USUAL,
    open_browser: bool = False,
    names: Sequence[str] = (),
) -> None:
    """Serve the page and the calls until Ctrl-C.

    Everything stays on this machine: no telemetry, nothing from the internet, and files only in a
    private temporary folder, which is gone when the server ends.

    Parameters
    ----------
    host
        Address to listen at; other than the default, people elsewhere can use the server.
    port
        Port to listen at; 0 takes a free one. The log names the address.
    model, device
        As for `zcolor.colorize`.
    limits
        What is refused.
    open_browser
        Show the page in the web browser.
    names
        Further names that the server is reached under, as through a proxy.

    Raises
    ------
    ImportError
        If Gradio is not installed.
    OSError
        If the address cannot be listened at.
    ValueError
        For an unknown model or device, or a model that does not classify.
    FileNotFoundError
        If the model's file is not there.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    if not is_loopback(host):
        logger.warning(
            "%s can be reached by other machines; there is no password and no encryption, so "
            "whoever reaches this port can use it",
            host,
        )
    listener = _listen(host, port)
    try:
        with private_folder() as folder:
            app = create_app(
                model=model,
                device=device,
                limits=limits,
                folder=folder,
                local=is_loopback(host),
                names=names,
            )
            url = _url(host, listener.getsockname()[1])
            config = uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                ws="none",
            )
            # From here on whoever comes waits; uvicorn answers a moment later.
            listener.listen()
            logger.info("zcolor is at %s (Ctrl-C ends it)", url)
            if open_browser:
                threading.Timer(1.0, webbrowser.open, [url]).start()
            _end_cleanly()
            with suppress(KeyboardInterrupt):  # the usual end
                uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()


def create_app(
    *,
    folder: Path,
    model: str | os.PathLike[str] = "zhang",
    device: str | torch.device = "auto",
    limits: WebLimits = _USUAL,
    local: bool = False,
    names: Sequence[str] = (),
) -> FastAPI:
    """Make the application: the page at /, POST /colorize, GET /health, and /openapi.json.

    Parameters
    ----------
    folder
        From `private_folder`, which must stay open as long as the application is used.
    model, device
        As for `zcolor.colorize`.
    limits
        What is refused.
    local
        Refuse calls under another name than this machine's own (localhost, 127.0.0.1, ::1), as
        fits a server that listens there alone.
    names
        Further names that are answered.

    Returns
    -------
    An application for any ASGI server.

    Raises
    ------
    ImportError
        If Gradio is not installed.
    ValueError, FileNotFoundError
        As for `serve`.
    """
    os.environ.update(_QUIET)  # before Gradio is imported
    try:
        import gradio as gr
        from fastapi import FastAPI

        from zcolor.apps.web_api import add_api
        from zcolor.apps.web_page import build_page
        from zcolor.apps.web_studio import KEPT_PHOTOS, Studio
        from zcolor.apps.web_style import CSS, theme
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    colorizer = Colorizer(model, device=device)
    studio = Studio(colorizer, max_pixels=limits.max_pixels)
    work = WorkQueue(workers=limits.workers, queue=limits.queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        work.close()

    name = Path(model).stem
    app = FastAPI(
        title="zcolor",
        version=_version(),
        description="Colours black-and-white photographs.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    add_api(app, studio, work, limits, model=name, version=_version())
    app.add_middleware(
        Guard,
        local=local,
        most_upload_bytes=KEPT_PHOTOS * limits.max_upload_bytes,
        names=[name.lower() for name in names],
    )
    page = build_page(studio, work, limits, folder=folder, model=name)
    # Gradio looks where the files that a call names come from only in pages that were launched, and
    # mounting a page does not count: without this, calls read any file of the machine.
    page.has_launched = True
    gr.processing_utils.async_ssrf_protected_download = refuse_download
    page.queue(max_size=limits.queue + limits.workers, api_open=False)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=limits.max_upload_bytes,
        ssr_mode=False,
        mcp_server=False,
        theme=theme(),
        css=CSS,
    )
    return mounted


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a temporary folder that only this user can read, for all that the server writes.

    Gradio and `tempfile` write there as long as the context lasts; then it is removed.

    Yields
    ------
    The folder.
    """
    name, before = "GRADIO_TEMP_DIR", os.environ.get("GRADIO_TEMP_DIR")
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="zcolor-web-", ignore_cleanup_errors=True) as folder:
        os.environ[name] = tempfile.tempdir = str(Path(folder).resolve())
        try:
            yield Path(tempfile.tempdir)
        finally:
            tempfile.tempdir = usual
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def _listen(host: str, port: int) -> socket.socket:
    """Take the address now: a port in use is known before the model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # on Windows two servers could then share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise OSError(
            f"cannot listen at {host} port {port} ({error}); choose another --port (0 takes a "
            "free one) or --host"
        ) from error
    return listener


def _end_cleanly() -> None:
    """Let a request to end (SIGTERM) remove the private folder too, as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _version() -> str:
    try:
        return version("zcolor")
    except PackageNotFoundError:
        return "unknown"
