"""Network addresses: parsing, redaction for messages, trust, and requests."""

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

#: Hint if nothing else can verify the bytes.
ADD_HASH = "use an https:// URL, or add the file's hash to this one: #sha256=HEX"

#: File systems allow 255; suffixes of a download (`.part.etag`) need some of them.
_MAX_NAME_BYTES = 120
#: Characters that are not quoted in the path and query of a request; `%` because they may be quoted already.
_SAFE = "/%:@!$&'()*+,;=~?[]"


def redact(url: str) -> str:
    """An address without its parts that may be secret: user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_private(url: str) -> bool:
    """Whether nobody on the network can alter the response: the address is encrypted, or on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return parts.scheme == "https" or is_here


def parse(url: str) -> tuple[SplitResult, str | None]:
    """Splits an address that a user typed into the address and the hash after its ``#``.

    Returns:
        The address, quoted as a request needs it, and the SHA-256 in lower-case hex.

    Raises:
        ConfigError: It is not an http(s) URL, or something other than ``sha256=HEX`` follows the ``#``.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{url.partition('?')[0].rpartition('@')[2]}: not an http(s) URL")
    sha256 = parts.fragment.removeprefix("sha256=").lower()
    if parts.fragment and not (parts.fragment.startswith("sha256=") and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise ConfigError(f"{redact(url)}#{parts.fragment[:80]}: only #sha256= and 64 hex digits may follow an address")
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
    return parts._replace(path=path, query=query, fragment=""), sha256 or None


def file_name(parts: SplitResult) -> str:
    """The last part of an address as a file name that is valid on every system."""
    name = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]', "_", unquote(parts.path.rpartition("/")[2]))
    # Cut at the front: the extension gives the kind of file.
    name = name.encode("utf-8", "replace")[-_MAX_NAME_BYTES:].decode("utf-8", "ignore")
    return name.lstrip(". ").rstrip(". ") or "download"


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
