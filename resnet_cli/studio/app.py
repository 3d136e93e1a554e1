"""The HTTP app of the studio: the page, and what its clicks do."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resnet_cli.errors import ConfigError, DiskError, ResnetCliError
from resnet_cli.images import readable_extensions
from resnet_cli.reporting import live_page
from resnet_cli.serving.access import HEADERS, Access, is_same, show_bug, show_refusal
from resnet_cli.serving.service import Full
from resnet_cli.studio.actions import Studio
from resnet_cli.studio.view import Answer
from resnet_cli.system.paths import disk_errors

#: Scripts of the page that are shared with the page of ``serve``, and the studio's own.
_SHARED = ("answers.js", "camera.js")
_OWN = ("studio.js", "server.js", "images.js", "training.js", "results.js", "trying.js", "files.js")
#: Paths that need no token.
OPEN_PATHS = frozenset({"/", "/studio.css", *(f"/{name}" for name in (*_SHARED, *_OWN))})
_CSP = "content-security-policy"
_STUDIO_HEADERS = HEADERS | {_CSP: HEADERS[_CSP].replace("img-src", "img-src 'self'")}

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def make_app(studio: Studio) -> Starlette:
    """Creates the app."""

    def guarded(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def handle(request: Request) -> Response:
            studio.access.require(request)
            return await handler(request)

        return handle

    def viewed(handler: Handler) -> Handler:
        local = Access(None, is_local=True)

        async def handle(request: Request) -> Response:
            local.require(request)
            if not is_same(request.query_params.get("key", ""), studio.view_key):
                raise HTTPException(401, "open it from the page of the studio")
            return await handler(request)

        return handle

    async def static(request: Request) -> Response:
        studio.access.require(request)
        return files[request.url.path]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await studio.jobs.close()
            await studio.trial.close()

    files = _page_files()
    one = "/api/projects/{project}"
    return Starlette(
        routes=[
            Route("/api/state", guarded(studio.state)),
            Route("/api/events", guarded(studio.events)),
            Route("/api/projects", guarded(studio.create), methods=["POST"]),
            Route("/api/cancel", guarded(studio.cancel), methods=["POST"]),
            Route(one, guarded(studio.show)),
            Route(f"{one}/change", guarded(studio.change), methods=["POST"]),
            Route(f"{one}/classes/{{label}}", guarded(studio.upload), methods=["POST"]),
            Route(f"{one}/archive", guarded(studio.archive), methods=["POST"]),
            Route(f"{one}/jobs", guarded(studio.start), methods=["POST"]),
            Route(f"{one}/runs/{{run}}/predict", guarded(studio.predict), methods=["GET", "POST"]),
            Route("/view/{project}/images/{label}/{name}", viewed(studio.thumbnail)),
            Route("/view/{project}/pages/{name}", viewed(studio.page)),
            Route("/view/{project}/files/{name}", viewed(studio.download)),
            *(Route(path, static) for path in files),
        ],
        middleware=[Middleware(_WithHeaders)],
        exception_handlers={
            HTTPException: show_refusal,
            ResnetCliError: _show_error,
            OSError: _show_os_error,
            Full: _show_full,
            Exception: show_bug,
        },
        lifespan=lifespan,
    )


class _WithHeaders:
    """Adds the headers that every response has, unless it has its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                missing = [(name.encode(), value.encode()) for name, value in _STUDIO_HEADERS.items()]
                message["headers"] += [header for header in missing if header[0] not in own]
            await send(message)

        await self._app(scope, receive, watched)


def _page_files() -> dict[str, Response]:
    folder = resources.files("resnet_cli") / "studio" / "page"
    html = (folder / "index.html").read_text("utf-8").replace("READABLE", ",".join(readable_extensions()))
    css = live_page.css() + (folder / "studio.css").read_text("utf-8")
    scripts = {name: live_page.file(name) for name in _SHARED}
    scripts |= {name: (folder / name).read_text("utf-8") for name in _OWN}
    return {
        "/": Response(html, media_type="text/html"),
        "/studio.css": Response(css, media_type="text/css"),
        **{f"/{name}": Response(text, media_type="text/javascript") for name, text in scripts.items()},
    }


async def _show_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ResnetCliError)
    status = 409 if isinstance(error, ConfigError) else 422
    fields = {"code": error.code, "message": error.message, "hint": error.hint}
    return Answer({"error": fields}, status, {"connection": "close"})


async def _show_os_error(request: Request, error: Exception) -> Response:
    """A folder that may not be read, or a file that was removed in this moment."""
    assert isinstance(error, OSError)
    try:
        with disk_errors(Path(str(error.filename or "a file")), "read"):
            raise error
    except DiskError as shown:
        return await _show_error(request, shown)


async def _show_full(request: Request, error: Exception) -> Response:
    return await show_refusal(request, HTTPException(503, "too many requests are waiting", {"retry-after": "1"}))
