"""As much of the Hugging Face Hub as ``hf_hub_download`` needs: one commit of some model repositories.

Source: huggingface_hub 2.4, file_download.py (get_hf_file_metadata, http_get) and utils/_http.py
(hf_raise_for_status).
"""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves ``files[repo][name]`` as ``main`` and as :data:`COMMIT`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.is_down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that hang up."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> bytes:
        self.server.requests.append(f"{self.command} {self.path}")
        repo, _, rest = unquote(self.path).lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        files = self.server.files.get(repo)
        if self.server.is_down:
            return self._refuse(403, "")
        if files is None:
            # Like the real Hub, it does not reveal whether a private repository exists.
            return self._refuse(401, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        body = files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        # Small files have Git's hash, large ones their SHA-256.
        kind = hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1
        self.send_header("ETag", f'"{kind(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def _refuse(self, code: int, reason: str) -> bytes:
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return b""
