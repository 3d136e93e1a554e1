"""The Hub's other half: as much of it as ``create_repo`` and ``create_commit`` need, with large files over Git LFS.

Source: huggingface_hub 2.4, hf_api.py (create_repo, create_commit), _commit_api.py and lfs.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from support.hub_server import COMMIT, HubServer, _Handler

TOKEN = "hf_secret4711"


class UploadServer(HubServer):
    """Also takes commits, from whoever has the right token; what is committed can be fetched.

    ``failing`` maps the beginning of ``METHOD PATH`` to a status and a text of the server's; ``private`` has the
    repositories that are there, and whether nobody else may see them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _UploadHandler
        self.failing: dict[str, tuple[int, str]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[dict[str, bytes]] = []
        self.summaries: list[str] = []
        self.blobs: dict[str, bytes] = {}


class _UploadHandler(_Handler):
    server: UploadServer

    def do_GET(self) -> None:
        if not self.path.startswith("/api/models/"):
            return super().do_GET()
        # Some versions ask for a revision, and for more than others.
        repo = "/".join(self.path.partition("?")[0].split("/")[3:5])
        if self._is_allowed():
            self._say({"id": repo, "modelId": repo, "sha": COMMIT, "private": self.server.private[repo]})

    def do_PUT(self) -> None:
        # As in the real one, the address alone gives the right to write.
        body = self._body()
        if self._is_allowed(needs_token=False):
            self.server.blobs[hashlib.sha256(body).hexdigest()] = body
            self._say({})

    def do_POST(self) -> None:
        body = self._body()
        if not self._is_allowed():
            return
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            is_bad = json.loads(body)["content"].count("license:") != 1
            errors = [{"message": '"license" is required'}] if is_bad else []
            self._say({"errors": errors, "warnings": [{"message": "an empty field"}]}, 400 if is_bad else 200)
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "regular" if path.endswith((".json", ".md")) else "lfs" for path in files}
            self._say({"files": [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in files]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._say({"objects": [self._place(item) for item in json.loads(body)["objects"]], "transfer": "basic"})
        elif self.path.startswith("/verify/"):
            self._say({}, 200 if json.loads(body)["oid"] in self.server.blobs else 404)
        else:
            self._commit([json.loads(line) for line in body.splitlines()])

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        is_there = repo in self.server.private
        self.server.private.setdefault(repo, asked.get("visibility") == "private" or bool(asked.get("private")))
        self._say({"url": f"{self.server.url}/{repo}"}, 409 if is_there else 200)

    def _place(self, item: dict[str, Any]) -> dict[str, Any]:
        names = {"upload": "blobs", "verify": "verify"}
        actions = {action: {"href": f"{self.server.url}/{name}/{item['oid']}"} for action, name in names.items()}
        return {**item, "actions": actions}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        files: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            else:
                self.server.summaries.append(value["summary"])
        self.server.commits.append(files)
        self.server.files.setdefault(repo, {}).update(files)
        self._say({"commitUrl": f"{self.server.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})

    def _is_allowed(self, *, needs_token: bool = True) -> bool:
        line = f"{self.command} {self.path}"
        self.server.requests.append(line)
        for start, (code, text) in self.server.failing.items():
            if line.startswith(start):
                self._say({"error": text}, code)
                return False
        if needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say({"error": f"Invalid credentials: {self.headers.get('Authorization')}"}, 401)
            return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _say(self, value: dict[str, Any], code: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
