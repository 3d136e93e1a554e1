"""Requests over HTTP. Importing urllib's part takes a tenth of the start-up time of a command that needs no network."""

from __future__ import annotations

import base64
import http.client
import urllib.request
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from resnet_cli.errors import NetworkError
from resnet_cli.network.addresses import redact
from resnet_cli.version import __version__


def request(url: str) -> urllib.request.Request:
    """A request; a user and a password in the address are sent to that host only."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    address = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    made = urllib.request.Request(address, headers={"User-Agent": f"resnet-cli/{__version__}"})
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        # Unredirected: a redirect does not forward the password to another host.
        made.add_unredirected_header("Authorization", f"Basic {token}")
    return made


class HttpsStaysHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted connection to an unencrypted one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Raises :class:`NetworkError` instead of leaving the encrypted connection."""
        schemes = {"https"} if req.type == "https" else {"http", "https"}
        if urlsplit(newurl).scheme not in schemes:
            fp.close()
            raise NetworkError(
                f"{redact(req.full_url)} redirects to {redact(newurl)}, which is not encrypted; refused",
                hint="the network may require a login: open the URL in a browser",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
