"""The server's calls: POST /colorize and GET /health.

Imported by the web door alone, which says what to install if FastAPI is missing. Annotations are
not postponed here, as FastAPI reads them.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zcolor.apps.web_studio import ColoredFile, RefusedError, Studio, TooManyPixelsError
from zcolor.apps.web_work import QueueFullError, WebLimits, WorkQueue
from zcolor.readers import ImageReadError
from zcolor.settings import MAX_SATURATION, ColorizeSettings, DecodeMethod, Frame, Preset, Upsample

logger = logging.getLogger(__name__)

Format = Literal["jpeg", "png", "tiff", "webp", "avif", "jpeg2000", "bmp", "gif", "ppm", "tga"]
"""Formats to ask for: `zcolor.formats.COLOR_FORMATS` in small letters."""
LARGEST_SIZE = 1024
"""Largest working size, in pixels: the network's time and memory grow with its square."""
UPLOAD_SECONDS = 120
"""A body that takes longer to arrive gives its place in the queue to others."""
RETRY_SECONDS = 2
"""When to come again if the queue is full."""
_DRAIN_SECONDS = 5  # how long the rest of a refused body is read, so that the answer is heard
_ANONYMOUS = "photo"  # the name of a picture that came without one


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: what came, what was expected, what to do.")


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok"] = "ok"
    version: str = Field(description="Of zcolor.")
    model: str = Field(description="What colours.")
    device: str = Field(description="Where the network runs.")
    queue_length: int = Field(description="Requests that wait now.")
    queue_limit: int = Field(description="Requests that may wait.")


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The upload holds no file, or its form is broken."},
    408: {"model": Problem, "description": f"It took longer than {UPLOAD_SECONDS} s to arrive."},
    413: {"model": Problem, "description": "Too many bytes or pixels."},
    415: {"model": Problem, "description": "What came is no image that can be read."},
    422: {"model": Problem, "description": "A parameter makes no sense, or the image is damaged."},
    503: {"model": Problem, "description": "The queue is full; see Retry-After."},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "description": "A form with the picture in `file` (or `image`), or the bytes themselves.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": _BINARY["schema"], "image": _BINARY["schema"]},
                }
            },
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
        },
    }
}


class _InMemory(MultiPartParser):
    """Keeps files in memory, whose size the stream bounds; 0 means never to a disk."""

    spool_max_size = 0


class _TooManyBytesError(Exception):
    """The body is larger than may be."""


def add_api(
    app: FastAPI, studio: Studio, work: WorkQueue, limits: WebLimits, *, model: str, version: str
) -> None:
    """Add the calls to an application.

    Parameters
    ----------
    app
        The application.
    studio
        What colours.
    work
        Where it is done.
    limits
        What is refused.
    model, version
        What /health names.
    """

    @app.get("/health")
    async def health() -> Health:
        """Tell that the server lives, and how long its queue is."""
        return Health(
            version=version,
            model=model,
            device=str(studio.colorizer.device),
            queue_length=work.waiting,
            queue_limit=limits.queue,
        )

    @app.post(
        "/colorize",
        response_class=Response,
        responses={
            200: {"description": "The coloured picture.", "content": {"image/*": _BINARY}},
            **_PROBLEMS,
        },
        openapi_extra=_UPLOAD,
    )
    async def colorize(
        request: Request,
        preset: Annotated[Preset, Query(description="More colour, or less error.")] = "vivid",
        temperature: Annotated[
            float | None, Query(ge=0, le=1, description="0 bold .. 1 pale; else the preset's.")
        ] = None,
        saturation: Annotated[
            float, Query(ge=0, le=MAX_SATURATION, description="Factor on the colour.")
        ] = 1.0,
        size: Annotated[
            int | None, Query(ge=8, le=LARGEST_SIZE, description="Working size in pixels.")
        ] = None,
        decode: Annotated[
            DecodeMethod | None, Query(description="How probabilities become colour.")
        ] = None,
        upsample: Annotated[
            Upsample, Query(description="How colour comes to full size.")
        ] = "guided",
        frame: Annotated[
            Frame, Query(description="A frame all around: left grey, or coloured too.")
        ] = "leave",
        format: Annotated[  # noqa: A002 (the name of the parameter)
            Format | None, Query(description="Of the answer; else that of the upload.")
        ] = None,
    ) -> Response:
        """Colour a photograph; size, format, 16 bits, transparency, and EXIF are kept."""
        try:
            settings = ColorizeSettings(
                preset,
                decode,
                temperature,
                None,
                None,
                None,
                size,
                upsample,
                saturation,
                frame=frame,
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        try:
            with work.place():
                async with asyncio.timeout(UPLOAD_SECONDS):
                    data, name = await _read_upload(request, limits.max_upload_bytes)
                file_format = None if format is None else format.upper()
                job = partial(studio.color_file, data, settings, file_format)
                return _answer(await work.run(job), name)
        except _REFUSALS as error:
            raise _refusal(error, limits) from error

    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(ReadToTheEnd)


_REFUSALS = (
    QueueFullError, _TooManyBytesError, TimeoutError, MultiPartException, ClientDisconnect,
    RefusedError, ImageReadError,
)  # fmt: skip


def _refusal(error: Exception, limits: WebLimits) -> HTTPException:
    """Find the status and the sentence for one of `_REFUSALS`."""
    headers = None
    match error:
        case QueueFullError():
            status, text = 503, "the queue is full; try again in a moment"
            headers = {"Retry-After": str(RETRY_SECONDS)}
        case _TooManyBytesError():
            largest = f"{limits.max_upload_mb:g} MB"
            status, text = 413, f"the upload is larger than {largest}, the most that is taken here"
        case TimeoutError():
            status, text = 408, f"the upload took longer than {UPLOAD_SECONDS} s; send it again"
        case MultiPartException():
            status, text = 400, f"the form is broken ({error.message}); send one file in 'file'"
        case ClientDisconnect():
            status, text = 400, "the upload ended early; send it again"
        case ImageReadError():
            status, text = 415, str(error)
        case _:
            status, text = 413 if isinstance(error, TooManyPixelsError) else 422, str(error)
    return HTTPException(status, " ".join(text.split()), headers)


async def _read_upload(request: Request, max_bytes: int) -> tuple[bytes, str]:
    """Give the bytes of the one picture that came, and the name it came with."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _TooManyBytesError
    stream = _bounded(request.stream(), max_bytes)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return b"".join([chunk async for chunk in stream]), _ANONYMOUS
    parser = _InMemory(request.headers, stream, max_files=1, max_fields=8)
    form = await parser.parse()
    try:
        for field in ("file", "image"):
            upload = form.get(field)
            if isinstance(upload, UploadFile):
                return await upload.read(), upload.filename or _ANONYMOUS
    finally:
        await form.close()
    raise HTTPException(400, "the form holds no file; put the picture into its field 'file'")


async def _bounded(
    stream: AsyncGenerator[bytes, None], max_bytes: int
) -> AsyncGenerator[bytes, None]:
    """Pass a body on until it grows too large."""
    n_bytes = 0
    async for chunk in stream:
        n_bytes += len(chunk)
        if n_bytes > max_bytes:
            raise _TooManyBytesError
        yield chunk


def _answer(file: ColoredFile, original: str) -> Response:
    name = file.name(original)
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    disposition = f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    return Response(
        file.data, media_type=file.media_type, headers={"Content-Disposition": disposition}
    )


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Put the first thing that is wrong with the parameters into one sentence."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    message = str(first["msg"])
    text = f"{first['loc'][-1]}: {message[:1].lower()}{message[1:]}, got {first.get('input')!r}"
    return JSONResponse({"detail": text}, 422)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    """Answer in the same form where the fault is ours; the trace goes to the log."""
    text = f"the server failed ({type(error).__name__}); its log says more"
    # The server drops the connection after an error of ours: nobody shall send on it.
    return JSONResponse({"detail": text}, 500, {"Connection": "close"})


class ReadToTheEnd:
    """Reads what is left of a body before a refusal is sent.

    A connection that is closed while its client still writes is reset, and the client never sees
    the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] != "/colorize":
            await self.app(scope, receive, send)
            return
        more = True

        async def watched() -> Message:
            nonlocal more
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await _drain(watched, lambda: more)
            await send(message)

        await self.app(scope, watched, after_body)


async def _drain(receive: Receive, more: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while more():
                await receive()
    except TimeoutError:
        logger.debug("gave up reading a refused upload")
