"""The HTTP app: routes, access, and errors that say what to do and reveal nothing about the machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resnet_cli.images import readable_extensions
from resnet_cli.reporting import live_page
from resnet_cli.serving import messages
from resnet_cli.serving.access import HEADERS, OPEN_PATHS, Access, show_bug, show_refusal, to_response
from resnet_cli.serving.limits import read_images
from resnet_cli.serving.metrics import Metrics
from resnet_cli.serving.service import Full, Service

#: Paths that metrics are kept for.
_KNOWN = OPEN_PATHS | {"/predict", "/classes", "/metrics", "/openapi.json"}
#: Seconds after which a client may try again if the server is busy.
RETRY_AFTER_S = 1
_TOPK = 5


def make_app(service: Service, model: messages.ModelInfo, access: Access) -> Starlette:
    """Creates the app; it predicts while its lifespan lasts.

    Args:
        service: Predicts images.
        model: Describes the model to clients.
        access: Which requests are allowed.
    """

    async def predict(request: Request) -> Response:
        access.require(request)
        options = _options(request)
        try:
            with service.admitted():
                uploads = await read_images(request, service.limits)
                replies = await service.predict(uploads, **options)
        except Full:
            headers = {"retry-after": str(RETRY_AFTER_S), "connection": "close"}
            raise HTTPException(503, "too many requests are waiting", headers) from None
        found = [reply.prediction for reply in replies]
        failed = [f"{one.path}: {one.error.reason}" for one in found if one.error is not None]
        if len(failed) == len(found):
            raise HTTPException(422, "; ".join(failed))
        all_probs = service.classes if options["all_probs"] else ()
        text = messages.to_json(model, service.task, replies, all_probs=all_probs)
        return Response(text, media_type="application/json")

    async def classes(request: Request) -> Response:
        access.require(request)
        names, thresholds = list(service.classes), service.thresholds
        return to_response(messages.Classes(model=model, classes=names, task=service.task, thresholds=thresholds))

    async def healthz(request: Request) -> Response:
        return to_response(messages.Health())

    async def metrics(request: Request) -> Response:
        access.require(request)
        return Response(service.metrics.to_text(), media_type="text/plain; version=0.0.4")

    async def openapi(request: Request) -> Response:
        access.require(request)
        needs_token = access.token is not None
        described = messages.openapi(service.task, needs_token=needs_token, max_files=service.limits.max_files)
        return JSONResponse(described)

    async def page(request: Request) -> Response:
        access.require(request)
        return files[request.url.path]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    files = _page_files()
    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/classes", classes),
            Route("/healthz", healthz),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
            *(Route(path, page) for path in files),
        ],
        middleware=[Middleware(_Watched, metrics=service.metrics)],
        exception_handlers={HTTPException: show_refusal, Exception: show_bug},
        lifespan=lifespan,
    )


class _Watched:
    """Counts and times requests, and adds the headers that every response has."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Other paths, which clients choose freely, must not become metric labels.
        path = scope["path"] if scope["path"] in _KNOWN else "other"
        began, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.request_seconds.labels(path).observe(time.monotonic() - began)


def _options(request: Request) -> dict[str, Any]:
    """``topk``, ``explain`` and ``all_probs`` from the query string."""
    given = dict(request.query_params)
    topk, flags = given.pop("topk", str(_TOPK)), {name: given.pop(name, "0") for name in ("explain", "all_probs")}
    if given or not topk.isdecimal() or not 1 <= int(topk[:9]) or not set(flags.values()) <= _BOOLEANS.keys():
        message = "the parameters are ?topk=N, 1 or more, ?explain=true and ?all_probs=true"
        raise HTTPException(400, message, {"connection": "close"})
    return {"topk": int(topk[:9])} | {name: _BOOLEANS[value] for name, value in flags.items()}


_BOOLEANS = {"0": False, "false": False, "": True, "1": True, "true": True}


def _page_files() -> dict[str, Response]:
    html = live_page.html(
        # A phone converts an image to a type of this list: to JPEG where HEIC cannot be read.
        readable=readable_extensions(),
        before=_page_file("token.html"),
        no_script="This page needs JavaScript. Without it: curl -F file=@photo.jpg ADDRESS/predict",
    )
    scripts = {name: live_page.file(name) for name in live_page.SCRIPTS} | {"page.js": _page_file("page.js")}
    return {
        "/": Response(html, media_type="text/html"),
        "/page.css": Response(live_page.css(), media_type="text/css"),
        **{f"/{name}": Response(text, media_type="text/javascript") for name, text in scripts.items()},
    }


def _page_file(name: str) -> str:
    """A file of the page that only the server has."""
    return (resources.files("resnet_cli") / "serving" / "page" / name).read_text("utf-8")
