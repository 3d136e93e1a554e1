"""Network addresses: parsing, redaction for messages, and trust."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from resnet_cli.errors import ConfigError

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
