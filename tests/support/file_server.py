"""A real HTTP or HTTPS server on the loopback interface that misbehaves as servers and networks do.

Its fixtures are in ``server_fixtures.py``.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from resnet_cli.network.remote_file import RemoteFile

# Larger than the socket buffers' first fill and no multiple of a chunk, so that a cut falls inside one.
BODY = bytes(i * i % 251 for i in range(700_001))
#: Where a body is cut: at 60 %.
CUT = 420_001


class Handler(BaseHTTPRequestHandler):
    """Handles each request with the next behavior of the script, else correctly."""

    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers))
        script = self.server.script
        (script.pop(0) if script else serve)(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in {"ETag": self.server.etag, **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()


Behaviour = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """With a folder that contains ``cert.pem`` and ``key.pem``, it uses TLS."""

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.body = BODY
        self.etag = '"one"'
        self.script: list[Behaviour] = []
        self.requests: list[tuple[str, Message]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that hang up, which some tests are about."""

    def ranges(self) -> list[str | None]:
        return [headers["Range"] for _, headers in self.requests]

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def serve(handler: Handler) -> None:
    """Respects Range and If-Range as in RFC 9110."""
    server = handler.server
    wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
    if wanted and handler.headers["If-Range"] in (None, server.etag):
        start, end = int(wanted[1]), len(server.body)
        if start >= end:
            return status(416)(handler)
        handler.head(206, end - start, Content_Range=f"bytes {start}-{end - 1}/{end}")
        handler.wfile.write(server.body[start:])
    else:
        handler.head(200, len(server.body))
        handler.wfile.write(server.body)


def status(code: int, **headers: str) -> Behaviour:
    return lambda handler: handler.head(code, 0, **headers)


def cut(handler: Handler) -> None:
    """Announces the whole body and hangs up in the middle."""
    handler.head(200, len(handler.server.body))
    handler.wfile.write(handler.server.body[:CUT])


def reset(handler: Handler) -> None:
    """Resets the connection instead of responding."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def stall(handler: Handler) -> None:
    """Sends 60 % and then nothing, with the connection open."""
    cut(handler)
    handler.wfile.flush()
    handler.server.released.wait(60)


def trickle(handler: Handler) -> None:
    """Sends a byte now and then: it neither times out nor ends."""
    cut(handler)
    for byte in handler.server.body[CUT : CUT + 100]:
        if handler.server.released.wait(0.03):
            return
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()


def whole(handler: Handler) -> None:
    """Ignores Range: always sends the whole body."""
    handler.head(200, len(handler.server.body))
    handler.wfile.write(handler.server.body)


def unbounded(handler: Handler) -> None:
    """Does not state the length of the body."""
    handler.head(200, None)
    handler.wfile.write(handler.server.body)


def chunked(handler: Handler) -> None:
    """Sends a chunked body, which states where it ends."""
    handler.protocol_version = "HTTP/1.1"
    handler.head(200, None, Transfer_Encoding="chunked", Connection="close")
    body = handler.server.body
    handler.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")


def chunked_and_cut(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.head(200, None, Transfer_Encoding="chunked", Connection="close")
    handler.wfile.write(f"{len(handler.server.body):x}\r\n".encode() + handler.server.body[:CUT])


def other_range(handler: Handler) -> None:
    handler.head(206, 10, Content_Range=f"bytes 0-9/{len(BODY)}")
    handler.wfile.write(BODY[:10])


def remote(server: Server, **changes: Any) -> RemoteFile:
    known = {
        "name": "weights.pth",
        "url": f"{server.url}/models/weights.pth",
        "num_bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "licence": "test",
        "description": "test",
    }
    return RemoteFile(**{**known, **changes})
