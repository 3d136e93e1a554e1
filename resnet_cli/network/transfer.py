"""The download of one file: it can resume, is limited in time, and is verified before it is used.

The bytes are stored in ``<name>.part`` until their hash has been verified; the next attempt, or the next run, resumes
from there. The URL of a user has no known hash: then the stated length and the ETag decide.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from resnet_cli.errors import NetworkError
from resnet_cli.network.addresses import ADD_HASH, is_private, redact
from resnet_cli.network.remote_file import OnProgress, RemoteFile, by_hand
from resnet_cli.network.requests import HttpsStaysHttps, request
from resnet_cli.network.retry import GONE_STATUSES, TRANSIENT_STATUSES, back_off
from resnet_cli.system.paths import check_space

_CHUNK_BYTES = 256 * 1024
#: Number of new bytes that resets the count of failures: a bad connection may interrupt a large file often.
_PIECE_BYTES = 1_000_000
#: A slower server counts as stalled.
_MIN_BYTES_PER_S = 1_000
# Source: RFC 9110, 8.8.3 and 13.1.5: a weak ETag (W/"...") must not be used in If-Range.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


class _TransientError(Exception):
    """A failure that the next attempt may not have."""


@dataclass(frozen=True)
class Transfer:
    """The download of one file into ``<name>.part``. Any ``OSError`` that it raises comes from the disk.

    Attributes:
        file: The file to download, and how to verify it.
        url: Address to download from, possibly that of a mirror.
        folder: An existing folder for ``part``.
        on_progress: Called with the bytes received so far and the total, None if the server does not state it.
        timeout_s: Longest wait for a connection or for the next bytes, and the period over which the speed of a slow
            server is measured, in seconds.
    """

    file: RemoteFile
    url: str
    folder: Path
    on_progress: OnProgress
    timeout_s: float

    @property
    def part(self) -> Path:
        """File with the bytes received so far."""
        return self.folder / f"{self.file.name}.part"

    @property
    def validator(self) -> Path:
        """File with the ETag of the bytes in ``part``."""
        return self.folder / f"{self.file.name}.part.etag"

    @property
    def by_hand(self) -> str:
        """A hint how to download the file without this tool."""
        return by_hand(self.file, self.folder)

    @property
    def num_kept(self) -> int:
        """Number of bytes received so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, retries: int) -> None:
        """Downloads the complete, verified file into ``part``.

        Args:
            retries: Number of consecutive retries after temporary failures.

        Raises:
            NetworkError: The file cannot be downloaded, or has the wrong bytes.
            DiskError: The disk is full.
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
                        hint=f"run this again to resume, or {self.by_hand}",
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
            raise _TransientError("the bytes of an earlier attempt do not match")
        raise NetworkError(
            f"{redact(self.url)} has the wrong bytes: {mismatch}",
            hint="a proxy or mirror may alter it: unset RESNET_CLI_MIRROR, or try another network",
        )

    def _receive(self, start: int) -> int:
        """Downloads the bytes from ``start`` on; returns where the server actually began."""
        etag = self._etag()
        if not etag and not self.file.checksum:
            # Nothing would reveal whether the two parts belong together.
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
                raise NetworkError(f"{redact(self.url)} returned HTTP {response.status}", hint=self.by_hand)
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
                    raise _TransientError("the server has no more bytes than the incomplete file") from error
                if error.code >= 500 or error.code in TRANSIENT_STATUSES:
                    raise _TransientError(f"HTTP {error.code} {error.reason}") from error
                message = f"{redact(self.url)} returned HTTP {error.code} {error.reason}"
                # Downloading the same URL by hand would fail too.
                is_gone = error.code in GONE_STATUSES
                raise NetworkError(message, hint="check the URL" if is_gone else self.by_hand) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise NetworkError(
                    f"{redact(self.url)}: the certificate is not trusted: {reason.verify_message}",
                    hint="behind a company proxy, set SSL_CERT_FILE to its certificate bundle",
                ) from error
            raise _TransientError(_reason(reason)) from error
        except ValueError as error:
            raise NetworkError(f"{redact(self.url)} redirects to an invalid URL: {error}") from error
        return response

    def _check_range(self, response: http.client.HTTPResponse, start: int, etag: str) -> None:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        totals = ("*", str(self.file.num_bytes or (found and found[2])))
        if not found or int(found[1]) != start or found[2] not in totals:
            self._discard()
            raise _TransientError("the server sent a different range than requested")
        if etag and response.headers.get("ETag", etag) != etag:
            self._discard()
            raise _TransientError("the file has changed on the server")

    def _check_unknown(self, response: http.client.HTTPResponse, total: int | None) -> None:
        """Without a hash, rejects responses that may be altered, truncated or a different file."""
        if not is_private(response.url):
            raise NetworkError(
                f"{redact(self.url)} redirects to {redact(response.url)}, which is not encrypted; refused",
                hint=ADD_HASH,
            )
        # A chunked body states where it ends.
        if total is None and not response.chunked:
            raise NetworkError(f"{redact(self.url)} does not state the length of the file; refused", hint=ADD_HASH)
        if response.headers.get_content_type() == "text/html":
            raise NetworkError(
                f"{redact(self.url)} is a web page, not a file",
                hint="open it in a browser and copy the URL of its download link",
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
                    # read1: bytes received are kept even if no more arrive.
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
        """The ETag of the version of the bytes in ``part``; empty if it is not known for certain."""
        etag = self.validator.read_text("latin-1") if self.validator.exists() else ""
        return etag if _STRONG_ETAG.fullmatch(etag) else ""

    def _remember(self, etag: str) -> None:
        if _STRONG_ETAG.fullmatch(etag):
            self.validator.write_text(etag, "latin-1")
        else:
            # Without a validator, only a hash can reveal whether the parts match.
            self.validator.unlink(missing_ok=True)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


class _Pace:
    """Detects a server that is stalled rather than slow."""

    def __init__(self, num_done: int, window_s: float) -> None:
        self._window_s = window_s
        self._began_at, self._num_before = time.monotonic(), num_done

    def check(self, num_done: int) -> None:
        """Measures the speed once per window.

        Raises:
            _TransientError: Too few bytes were received in the window.
        """
        now = time.monotonic()
        if now - self._began_at < self._window_s:
            return
        if num_done - self._num_before < _MIN_BYTES_PER_S * self._window_s:
            raise _TransientError(f"the server sends less than {_MIN_BYTES_PER_S:,} bytes per second")
        self._began_at, self._num_before = now, num_done


def _reason(error: object) -> str:
    return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
