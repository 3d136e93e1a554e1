"""One file on its way from the network: resumed, bounded in time, and verified before it counts.

The bytes wait in ``<name>.part`` until their hash is right, from where the next try, or the next run, goes on.
An address that only a user knows has no hash: there the stated length and the ETag decide.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shlex
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnet_cli.errors import NetworkError
from resnet_cli.network.addresses import ADD_HASH, HttpsStaysHttps, is_private, redact, request
from resnet_cli.network.retry import GONE_STATUSES, TRANSIENT_STATUSES, back_off
from resnet_cli.system.paths import check_space

OnProgress = Callable[[int, int | None], None]

_CHUNK_BYTES = 256 * 1024
#: So many new bytes make the count of failures start again: a bad line may cut a large file often.
_PIECE_BYTES = 1_000_000
#: A server that sends less than this is as good as stalled.
_MIN_BYTES_PER_S = 1_000
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
            # Not for security: a machine that forbids MD5 (FIPS) still checks what others publish.
            digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        return None if digest.startswith(expected) else f"expected {self.checksum}, got {digest}"


def by_hand(file: RemoteFile, folder: Path) -> str:
    """How to get the file without this tool, as a command to type."""
    target = shlex.quote(str(folder / file.name))
    known = [f"{file.num_bytes} bytes" if file.num_bytes is not None else "", file.checksum]
    about = ", ".join(filter(None, known))
    command = f"curl -L --create-dirs -o {target} {shlex.quote(redact(file.url))}"
    return f"put it there by hand: {command}" + (f" ({about})" if about else "")


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
        timeout_s: The longest wait for a connection or for the next bytes, and the time in which a slow server
            must have sent something worth waiting for.
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

    @property
    def num_kept(self) -> int:
        """Bytes that have come so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, retries: int) -> None:
        """Leaves the whole, verified file in ``part``.

        Args:
            retries: How often in a row to try again after a failure that may pass.

        Raises:
            NetworkError: It could not be had, or its bytes are not the expected ones.
            DiskError: The folder has no room.
        """
        num_failures, farthest = 0, self.num_kept
        while True:
            try:
                return self._try()
            except _TransientError as error:
                num_failures += 1
                if self.num_kept >= farthest + _PIECE_BYTES:
                    num_failures, farthest = 1, self.num_kept
                if num_failures > retries:
                    times = f"{num_failures} times" if num_failures > 1 else "once"
                    raise NetworkError(
                        f"cannot download {redact(self.url)}: {error} (tried {times})",
                        hint=f"run it again to go on where it stopped, or {self.by_hand}",
                    ) from error
            back_off(num_failures)

    def _try(self) -> None:
        start = self.num_kept
        if self.file.num_bytes is None or start < self.file.num_bytes:
            start = self._receive(start)
        mismatch = self.file.mismatch(self.part)
        if mismatch is None:
            return
        self._discard()
        if start:
            raise _TransientError("the bytes of an earlier try do not fit")
        raise NetworkError(
            f"{redact(self.url)} has the wrong bytes: {mismatch}",
            hint="a proxy or mirror may alter it: unset RESNET_CLI_MIRROR or try another network",
        )

    def _receive(self, start: int) -> int:
        """Brings the bytes from ``start`` on; returns where the server really began."""
        etag = self._etag()
        if not etag and not self.file.checksum:
            # Nothing would tell whether the halves belong together.
            start = 0
        check_space(self.folder, (self.file.num_bytes or 0) - start, self.file.name)
        asked = request(self.url)
        if start:
            asked.add_header("Range", f"bytes={start}-")
            if etag:
                asked.add_header("If-Range", etag)
        with self._open(asked) as response:
            if response.status == 206:
                self._check_range(response, start, etag)
            elif response.status == 200:
                start = 0
            else:
                raise NetworkError(f"{redact(self.url)} answers HTTP {response.status}", hint=self.by_hand)
            total = self.file.num_bytes if response.length is None else start + response.length
            if self.file.num_bytes not in (None, total):
                raise NetworkError(
                    f"{redact(self.url)} offers {total} bytes, expected {self.file.num_bytes}", hint=self.by_hand
                )
            if not self.file.checksum:
                self._check_unknown(response, total)
            check_space(self.folder, (total or 0) - start, self.file.name)
            self._save(response, start, total)
        return start

    def _open(self, asked: urllib.request.Request) -> http.client.HTTPResponse:
        opener = urllib.request.build_opener(HttpsStaysHttps)
        try:
            response: http.client.HTTPResponse = opener.open(asked, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    self._discard()
                    raise _TransientError("the server has no more bytes than the unfinished file") from error
                if error.code >= 500 or error.code in TRANSIENT_STATUSES:
                    raise _TransientError(f"HTTP {error.code} {error.reason}") from error
                message = f"{redact(self.url)} answers HTTP {error.code} {error.reason}"
                # The same address by hand would not be there either.
                is_gone = error.code in GONE_STATUSES
                raise NetworkError(message, hint="check the address" if is_gone else self.by_hand) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise NetworkError(
                    f"{redact(self.url)}: the certificate is not trusted: {reason.verify_message}",
                    hint="behind a company proxy, set SSL_CERT_FILE to its certificate bundle",
                ) from error
            raise _TransientError(_reason(reason)) from error
        except ValueError as error:
            raise NetworkError(f"{redact(self.url)} leads to an address that is none: {error}") from error
        return response

    def _check_range(self, response: http.client.HTTPResponse, start: int, etag: str) -> None:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        totals = ("*", str(self.file.num_bytes or (found and found[2])))
        if not found or int(found[1]) != start or found[2] not in totals:
            self._discard()
            raise _TransientError("the server sent another range than the one asked for")
        if etag and response.headers.get("ETag", etag) != etag:
            self._discard()
            raise _TransientError("the file has changed on the server")

    def _check_unknown(self, response: http.client.HTTPResponse, total: int | None) -> None:
        """Refuses what a hash would find out later: an altered, a cut or another file."""
        if not is_private(response.url):
            raise NetworkError(
                f"{redact(self.url)} leads to {redact(response.url)}, which is not encrypted; refused", hint=ADD_HASH
            )
        # A body in chunks says itself where it ends.
        if total is None and not response.chunked:
            raise NetworkError(f"{redact(self.url)} does not say how long the file is; refused", hint=ADD_HASH)
        if response.headers.get_content_type() == "text/html":
            raise NetworkError(
                f"{redact(self.url)} is a web page, not a file",
                hint="open it in a browser and copy the address of its download link",
            )

    def _save(self, response: http.client.HTTPResponse, start: int, total: int | None) -> None:
        with self.part.open("ab" if start else "wb") as sink:
            if not start:
                self._remember(response.headers.get("ETag", ""))
            num_done = start
            pace = _Pace(num_done, self.timeout_s)
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
                pace.check(num_done)
            sink.flush()
            os.fsync(sink.fileno())
        if total is not None and num_done < total:
            raise _TransientError(f"the connection ended after {num_done} of {total} bytes")

    def _etag(self) -> str:
        """What the bytes in ``part`` are a version of; empty if that is not known for certain."""
        etag = self.validator.read_text("latin-1") if self.validator.exists() else ""
        return etag if _STRONG_ETAG.fullmatch(etag) else ""

    def _remember(self, etag: str) -> None:
        if _STRONG_ETAG.fullmatch(etag):
            self.validator.write_text(etag, "latin-1")
        else:
            # Without a validator only a hash can say whether the halves fit.
            self.validator.unlink(missing_ok=True)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


class _Pace:
    """Tells a server that trickles from one that is only slow."""

    def __init__(self, num_done: int, window_s: float) -> None:
        self._window_s = window_s
        self._began_at, self._num_before = time.monotonic(), num_done

    def check(self, num_done: int) -> None:
        """Looks back once a window.

        Raises:
            _TransientError: Too little has come in it.
        """
        now = time.monotonic()
        if now - self._began_at < self._window_s:
            return
        if num_done - self._num_before < _MIN_BYTES_PER_S * self._window_s:
            raise _TransientError(f"the server sends less than {_MIN_BYTES_PER_S:,} bytes a second")
        self._began_at, self._num_before = now, num_done


def _reason(error: object) -> str:
    return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
