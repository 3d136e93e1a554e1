"""Which requests a server of this machine accepts, and what every response has: headers, and errors as JSON."""

from __future__ import annotations

import dataclasses
import hmac
from urllib.parse import urlsplit

import pydantic
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from resnet_cli.config.serve import is_loopback
from resnet_cli.serving import messages

#: Paths that need no token: the page is the same for everybody, and asks for the token itself.
OPEN_PATHS = frozenset({"/", "/page.css", "/page.js", "/answers.js", "/camera.js", "/drop.js", "/healthz"})
#: Headers of every response.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclasses.dataclass(frozen=True)
class Access:
    """Which requests are allowed.

    Attributes:
        token: The token that requests to guarded paths must send; None: requests to this machine need none.
        open_paths: Paths that need no token.
        is_local: Whether requests must come from this machine and from a page of this server, also with the token.
    """

    token: str | None = None
    open_paths: frozenset[str] = OPEN_PATHS
    is_local: bool = False

    def require(self, request: Request) -> None:
        """Refuses a request that is not allowed.

        Raises:
            HTTPException: 401 without the token; 403 from a page of another server; 421 for a host name that is not
                this machine's.
        """
        if self.token is None or self.is_local:
            # Without a token the server listens on this machine only. A foreign web page could still reach it under a
            # host name of its own (DNS rebinding).
            if not is_loopback(request.url.hostname or ""):
                raise HTTPException(421, "use localhost as the host, or start the server with a token")
        if self.is_local:
            origin = request.headers.get("origin")
            if origin is not None and _host_of(origin) != request.url.netloc:
                raise HTTPException(403, "the request comes from a page of another server", {"connection": "close"})
        if self.token is None or request.url.path in self.open_paths:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not is_same(given, self.token):
            headers = {"www-authenticate": "Bearer", "connection": "close"}
            raise HTTPException(401, "the token is missing or wrong: Authorization: Bearer TOKEN", headers)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def is_same(given: str, secret: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode(), secret.encode())


def to_response(message: pydantic.BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A message as JSON."""
    return Response(message.model_dump_json(), status, headers, "application/json")


async def show_refusal(request: Request, error: Exception) -> Response:
    """The response to a request that is refused."""
    assert isinstance(error, HTTPException)
    code = messages.PROBLEMS.get(error.status_code, ("error", ""))[0]
    failure = messages.Failure(error=messages.Problem(code=code, message=error.detail))
    return to_response(failure, error.status_code, dict(error.headers or {}))


async def show_bug(request: Request, error: Exception) -> Response:
    """The response after a bug; the traceback goes to the log only."""
    return await show_refusal(request, HTTPException(500, "a bug in the server: its log says more"))
