"""A real server, and functions that send requests to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from support.running import spawn

BOUNDARY = "a-line-between-parts"


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@contextlib.contextmanager
def serving(*arguments: object, cwd: Path, within: Sequence[str] = ()) -> Iterator[Server]:
    """Runs the installed command, from its first response until the block ends."""
    with spawn(["serve", *arguments, "--port", "0"], cwd, within=within) as process:
        try:
            assert process.stdout and process.stderr
            url = process.stdout.readline().strip()
            assert url, process.stderr.read()
            server = Server(process, int(url.rpartition(":")[2]))
            assert ask(server, "GET", "/healthz").status == 200
            yield server
        finally:
            process.terminate()
            process.communicate(timeout=60)


def ask(
    server: Server, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Reply:
    """Sends one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Reply(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())


def post(server: Server, *files: bytes, query: str = "", token: str | None = None) -> Reply:
    """Requests predictions: one image as the body, several as a form."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if len(files) == 1:
        return ask(server, "POST", f"/predict{query}", files[0], headers | {"Content-Type": "image/png"})
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return ask(server, "POST", f"/predict{query}", form(files), headers | {"Content-Type": kind})


def form(files: Sequence[bytes]) -> bytes:
    """Files as a browser sends them."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{number}.png"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for number, data in enumerate(files)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
