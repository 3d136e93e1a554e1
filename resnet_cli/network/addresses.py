"""Addresses on the network: what may be shown of them, which can be trusted, and how one is asked."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import urllib.request
from typing import IO
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from resnet_cli.errors import ConfigError, NetworkError
from resnet_cli.version import __version__

#: The way out where nothing else says whether the bytes are right.
ADD_HASH = "use an https:// address, or add the file's hash to this one: #sha256=HEX"

#: File systems allow 255; the names around a download (`.part.etag`) need some of them.
_MAX_NAME_BYTES = 120
#: What may stand in the path and query of a request as it is; `%` since it may be quoted already.
_SAFE = "/%:@!$&'()*+,;=~?[]"


def redact(url: str) -> str:
    """An address without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_private(url: str) -> bool:
    """Whether nobody on the way can alter what comes: encrypted, or from this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return parts.scheme == "https" or is_here


def parse(url: str) -> tuple[SplitResult, str | None]:
    """Splits an address that a user typed from the hash after its ``#``.

    Returns:
        The address, quoted as a request needs it, and the SHA-256 in lower-case hex.

    Raises:
        ConfigError: No http(s) address, or something else than ``sha256=HEX`` after the ``#``.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{url.partition('?')[0].rpartition('@')[2]}: not an http(s) address")
    sha256 = parts.fragment.removeprefix("sha256=").lower()
    if parts.fragment and not (parts.fragment.startswith("sha256=") and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise ConfigError(f"{redact(url)}#{parts.fragment[:80]}: only #sha256= and 64 hex digits may stand after the #")
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
    return parts._replace(path=path, query=query, fragment=""), sha256 or None


def file_name(parts: SplitResult) -> str:
    """The last part of an address as a file name that is harmless on every system."""
    name = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]', "_", unquote(parts.path.rpartition("/")[2]))
    # Cut at the front: the end says what kind of file it is.
    name = name.encode("utf-8", "replace")[-_MAX_NAME_BYTES:].decode("utf-8", "ignore")
    return name.lstrip(". ").rstrip(". ") or "download"


def request(url: str) -> urllib.request.Request:
    """A request; a user and a password in the address go to that host and to no other."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    address = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    made = urllib.request.Request(address, headers={"User-Agent": f"resnet-cli/{__version__}"})
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        # Unredirected: a server that sends us elsewhere does not send the password along.
        made.add_unredirected_header("Authorization", f"Basic {token}")
    return made


class HttpsStaysHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted connection to an open one."""

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
                hint="a login page of the network may be in the way: open the address in a browser",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
