"""A studio in this process, on a real port, whose commands run in processes with narrow networks."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from resnet_cli.preprocess import Preprocess
from resnet_cli.serving.access import Access
from resnet_cli.serving.server import listen
from resnet_cli.studio.actions import Studio
from resnet_cli.studio.app import OPEN_PATHS, make_app
from resnet_cli.studio.calls import Settings
from support.live_server import BOUNDARY, Reply
from support.narrow_network import narrow_model
from support.running import IGNORING_SIGINT, NARROW

TOKEN = "correct-horse-battery"
#: As in the background of a script, where SIGINT is ignored.
WORKER = (*IGNORING_SIGINT, sys.executable, "-c", NARROW + "\nfrom resnet_cli.studio.worker import main\nmain()")

#: Ends when it is given a command: for tests that are about something else.
NO_WORKER = (sys.executable, "-c", "input()")


class LiveStudio(NamedTuple):
    """A running studio."""

    studio: Studio
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Sends one request with the token, unless ``headers`` say otherwise; a dict is sent as JSON."""
        sent = {"Authorization": f"Bearer {TOKEN}"}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name: value for name, value in sent.items() if value})
            response = connection.getresponse()
            return Reply(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())

    def upload(self, project: str, label: str, *files: tuple[str, bytes]) -> Reply:
        """Adds images to a class, as the page does."""
        parts = b"".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
            + data
            + b"\r\n"
            for name, data in files
        )
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        body = parts + f"--{BOUNDARY}--\r\n".encode()
        return self.ask("POST", f"/api/projects/{project}/classes/{label}", body, Content_Type=kind)

    def job(self) -> dict[str, Any]:
        """The current command."""
        found: dict[str, Any] = self.ask("GET", "/api/state").json["job"]
        return found

    def wait(self) -> dict[str, Any]:
        """The current command once it is over."""
        until = time.monotonic() + 300
        while (job := self.job())["state"] in {"running", "stopping"}:
            assert time.monotonic() < until, f"it does not end: {job}"
            time.sleep(0.05)
        return job


@contextlib.contextmanager
def running_studio(root: Path, weights: str = "none", worker: Sequence[str] = WORKER) -> Iterator[LiveStudio]:
    """Runs a studio until the block ends; networks are narrow in its processes."""
    studio = Studio(root, Settings(weights), Access(TOKEN, OPEN_PATHS, is_local=True), worker)
    address = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(make_app(studio), log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.listening]})
    thread.start()
    try:
        yield LiveStudio(studio, address.listening.getsockname()[1])
    finally:
        studio.jobs.tell(None)
        server.should_exit = True
        thread.join()
        address.listening.close()


def narrow_weights(folder: Path) -> Path:
    """A file of narrow weights for small images; the test must make networks narrow."""
    path = folder / "narrow.safetensors"
    narrow_model(("a", "b"), Preprocess(resize_size=36, crop_size=32)).save(path)
    return path
