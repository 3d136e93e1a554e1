"""One file on its way from the network: resumed, bounded in time, and verified before it counts.

The bytes wait in ``<name>.part`` until their SHA-256 is right, from where the next try, or the next run,
goes on.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import re
import shlex
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from resnet_cli import __version__
from resnet_cli.errors import DiskError, NetworkError

OnProgress = Callable[[int, int | None], None]

#: The way out of a full disk.
MORE_ROOM = "free some space, or point RESNET_CLI_CACHE (data) or TORCH_HOME (weights) elsewhere"

_CHUNK_BYTES = 256 * 1024
_FIRST_PAUSE_S = 0.25
# Request timeout, too early, too many requests; and every 5xx.
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
# Source: RFC 9110, 8.8.3 and 13.1.5: a weak ETag (W/"...") must not be used in If-Range.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on the network that we know well enough to check.

    Attributes:
        name: The file name it gets on the disk.
        url: Where it is published.
        num_bytes: Its length, where it is known.
        sha256: Its full SHA-256 in lower-case hex, where it is known, else the first digits of it.
        md5: Its MD5, where that is all that is published.
        licence: Under which terms it is published.
        description: What it is, in one line.
    """

    name: str
    url: str
    num_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    licence: str = ""
    description: str = ""

    @property
    def checksum(self) -> str:
        """The digits that decide, with the name of their hash; empty for an address that only a user knows."""
        return f"sha256 {self.sha256}" if self.sha256 else f"md5 {self.md5}" if self.md5 else ""

    def mismatch(self, path: Path) -> str | None:
        """What is wrong with a file's bytes; None if nothing is.

        Raises:
            OSError: It cannot be read.
        """
        kind, _, expected = self.checksum.partition(" ")
        if not kind:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, kind).hexdigest()
        return None if digest.startswith(expected) else f"expected {self.checksum}, got {digest}"


def by_hand(file: RemoteFile, folder: Path) -> str:
    """How to get the file without this tool, as a command to type."""
    target = shlex.quote(str(folder / file.name))
    known = [f"{file.num_bytes} bytes" if file.num_bytes is not None else "", file.checksum]
    about = ", ".join(filter(None, known))
    return f"put it there by hand: curl -L --create-dirs -o {target} {file.url}" + (f" ({about})" if about else "")


class _TransientError(Exception):
    """A failure that the next try may not meet."""


@dataclass(frozen=True)
class Transfer:
    """One file on its way into ``<name>.part``. Any ``OSError`` that leaves it comes from the disk.

    Attributes:
        file: What is fetched, and how it is recognised.
        url: Where from; a mirror's address may stand here.
        folder: Where ``part`` lies; it exists.
        on_progress: Called with the bytes that are there and the total, None if the server does not say.
        timeout_s: The longest wait for a connection or for the next bytes.
    """

    file: RemoteFile
    url: str
    folder: Path
    on_progress: OnProgress
    timeout_s: float

    @property
    def part(self) -> Path:
        """Holds the bytes that have come so far."""
        return self.folder / f"{self.file.name}.part"

    @property
    def validator(self) -> Path:
        """Holds the ETag of the bytes in ``part``."""
        return self.folder / f"{self.file.name}.part.etag"

    @property
    def by_hand(self) -> str:
        """How to get the file without this tool."""
        return by_hand(self.file, self.folder)

    def run(self, retries: int) -> None:
        """Leaves the whole, verified file in ``part``.

        Args:
            retries: How often to try again after a failure that may pass.

        Raises:
            NetworkError: It could not be had, or its bytes are not the expected ones.
            DiskError: The folder has no room.
        """
        for num_failures in range(retries + 1):
            try:
                return self._try()
            except _TransientError as error:
                if num_failures == retries:
                    raise NetworkError(
                        f"cannot download {self.url}: {error} (tried {retries + 1} times)",
                        hint=f"run it again to go on where it stopped, or {self.by_hand}",
                    ) from error
            # The jitter keeps many machines that failed together from coming back together.
            time.sleep(_FIRST_PAUSE_S * 2**num_failures * random.uniform(0.5, 1.5))

    def _try(self) -> None:
        start = self.part.stat().st_size if self.part.exists() else 0
        if self.file.num_bytes is None or start < self.file.num_bytes:
            start = self._receive(start)
        mismatch = self.file.mismatch(self.part)
        if mismatch is None:
            return
        self._discard()
        if start:
            raise _TransientError("the bytes of an earlier try do not fit")
        raise NetworkError(
            f"{self.url} has the wrong bytes: {mismatch}",
            hint="a proxy or mirror may alter it: unset RESNET_CLI_MIRROR or try another network",
        )

    def _receive(self, start: int) -> int:
        """Brings the bytes from ``start`` on; returns where the server really began."""
        self._check_space((self.file.num_bytes or 0) - start)
        request = urllib.request.Request(self.url, headers={"User-Agent": f"resnet-cli/{__version__}"})
        if start:
            request.add_header("Range", f"bytes={start}-")
            etag = self.validator.read_text("latin-1") if self.validator.exists() else ""
            if _STRONG_ETAG.fullmatch(etag):
                request.add_header("If-Range", etag)
        with self._open(request) as response:
            if response.status == 206:
                self._check_range(response, start)
            elif response.status == 200:
                start = 0
            else:
                raise NetworkError(f"{self.url} answers HTTP {response.status}", hint=self.by_hand)
            total = self.file.num_bytes if response.length is None else start + response.length
            if self.file.num_bytes not in (None, total):
                raise NetworkError(
                    f"{self.url} offers {total} bytes, expected {self.file.num_bytes}", hint=self.by_hand
                )
            self._check_space((total or 0) - start)
            self._save(response, start, total)
        return start

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        opener = urllib.request.build_opener(_HttpsStaysHttps)
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    self._discard()
                    raise _TransientError("the server has no more bytes than the unfinished file") from error
                if error.code >= 500 or error.code in _TRANSIENT_STATUSES:
                    raise _TransientError(f"HTTP {error.code} {error.reason}") from error
                message = f"{self.url} answers HTTP {error.code} {error.reason}"
                raise NetworkError(message, hint=self.by_hand) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise NetworkError(
                    f"{self.url}: the certificate is not trusted: {reason.verify_message}",
                    hint="behind a company proxy, set SSL_CERT_FILE to its certificate bundle",
                ) from error
            raise _TransientError(_reason(reason)) from error
        return response

    def _check_range(self, response: http.client.HTTPResponse, start: int) -> None:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        totals = ("*", str(self.file.num_bytes or (found and found[2])))
        if not found or int(found[1]) != start or found[2] not in totals:
            self._discard()
            raise _TransientError("the server sent another range than the one asked for")

    def _save(self, response: http.client.HTTPResponse, start: int, total: int | None) -> None:
        with self.part.open("ab" if start else "wb") as sink:
            if not start:
                self._remember(response.headers.get("ETag", ""))
            num_done = start
            self.on_progress(num_done, total)
            while total is None or num_done < total:
                try:
                    # read1: what has come is kept even when the next bytes never do.
                    chunk = response.read1(min(_CHUNK_BYTES, (total or sys.maxsize) - num_done))
                except (OSError, http.client.HTTPException) as error:
                    raise _TransientError(_reason(error)) from error
                if not chunk:
                    break
                sink.write(chunk)
                num_done += len(chunk)
                self.on_progress(num_done, total)
            sink.flush()
            os.fsync(sink.fileno())
        if total is not None and num_done < total:
            raise _TransientError(f"the connection ended after {num_done} of {total} bytes")

    def _remember(self, etag: str) -> None:
        if _STRONG_ETAG.fullmatch(etag):
            self.validator.write_text(etag, "latin-1")
        else:
            # Without a validator the hash alone decides whether the halves fit.
            self.validator.unlink(missing_ok=True)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)

    def _check_space(self, num_bytes: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < num_bytes:
            raise DiskError(
                f"{self.folder} has {free / 1e6:.1f} MB free; {self.file.name} needs {num_bytes / 1e6:.1f} MB",
                hint=MORE_ROOM,
            )


class _HttpsStaysHttps(urllib.request.HTTPRedirectHandler):
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
        schemes = {"https"} if req.type == "https" else {"http", "https"}
        if urlsplit(newurl).scheme not in schemes:
            fp.close()
            raise NetworkError(
                f"{req.full_url} redirects to {newurl}, which is not encrypted; refused",
                hint="a login page of the network may be in the way: open the address in a browser",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _reason(error: object) -> str:
    return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
