"""The fetch against a real server on the loopback that misbehaves as servers and networks do."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resnet_cli import transfer
from resnet_cli.download import fetch, find_cached
from resnet_cli.errors import DiskError, NetworkError
from resnet_cli.registry import DATASETS, WEIGHTS
from resnet_cli.transfer import RemoteFile

# Larger than the socket buffers' first fill and no multiple of a chunk, so that a cut falls inside one.
BODY = bytes(i * i % 251 for i in range(700_001))
HALF = 300_007
PACKAGE_ROOT = Path(transfer.__file__).parents[1]


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next behaviour of the script, else as a good server does."""

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
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.etag = '"one"'
        self.script: list[Behaviour] = []
        self.requests: list[tuple[str, Message]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""

    def ranges(self) -> list[str | None]:
        return [headers["Range"] for _, headers in self.requests]


def serve(handler: Handler) -> None:
    """Honours Range and If-Range as RFC 9110 says."""
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
    """Promises everything and hangs up in the middle."""
    handler.head(200, len(handler.server.body))
    handler.wfile.write(handler.server.body[:HALF])


def reset(handler: Handler) -> None:
    """Breaks the connection with a RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def stall(handler: Handler) -> None:
    """Sends half and then nothing, with the connection open."""
    cut(handler)
    handler.wfile.flush()
    handler.server.released.wait(3)


def whole(handler: Handler) -> None:
    """Knows no Range: the whole body, always."""
    handler.head(200, len(handler.server.body))
    handler.wfile.write(handler.server.body)


def unbounded(handler: Handler) -> None:
    """Does not say how long the body is."""
    handler.head(200, None)
    handler.wfile.write(handler.server.body)


def other_range(handler: Handler) -> None:
    handler.head(206, 10, Content_Range=f"bytes 0-9/{len(BODY)}")
    handler.wfile.write(BODY[:10])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    for name in ("RESNET_CLI_MIRROR", "RESNET_CLI_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


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


def leave_part(folder: Path, data: bytes, etag: str | None = '"one"') -> None:
    (folder / "weights.pth.part").write_bytes(data)
    if etag:
        (folder / "weights.pth.part.etag").write_text(etag)


def assert_complete(path: Path) -> None:
    assert path.read_bytes() == BODY
    assert sorted(p.name for p in path.parent.iterdir()) == ["weights.pth", "weights.pth.lock"]


def test_a_file_arrives_whole_and_the_second_fetch_needs_no_network(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    folder = tmp_path / "new" / "folder"
    path = fetch(remote(server), folder, on_progress=lambda done, total: seen.append((done, total)))
    assert path == folder / "weights.pth"
    assert_complete(path)
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)
    assert fetch(remote(server), folder) == path
    assert server.ranges() == [None]


def test_a_prefix_of_the_hash_is_enough_where_no_more_is_known(server: Server, tmp_path: Path) -> None:
    prefix = hashlib.sha256(BODY).hexdigest()[:8]
    file = remote(server, sha256=None, sha256_prefix=prefix, num_bytes=None)
    server.script = [unbounded]
    assert_complete(fetch(file, tmp_path))


def test_a_file_without_any_hash_cannot_be_declared(server: Server) -> None:
    with pytest.raises(ValueError, match="hash"):
        remote(server, sha256=None)


def test_a_cut_body_is_resumed_from_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.script = [cut]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, f"bytes={HALF}-"]
    assert server.requests[1][1]["If-Range"] == '"one"'


def test_the_part_of_an_earlier_run_is_finished(server: Server, tmp_path: Path) -> None:
    seen: list[int] = []
    leave_part(tmp_path, BODY[:HALF])
    assert_complete(fetch(remote(server), tmp_path, on_progress=lambda done, total: seen.append(done)))
    assert server.ranges() == [f"bytes={HALF}-"]
    assert seen[0] == HALF


def test_a_complete_part_is_verified_without_the_network(tmp_path: Path, server: Server) -> None:
    leave_part(tmp_path, BODY)
    assert_complete(fetch(remote(server), tmp_path))
    assert server.requests == []


@pytest.mark.parametrize("etag", [None, 'W/"weak"', "\0torn"])
def test_a_part_without_a_strong_etag_is_resumed_and_the_hash_decides(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    leave_part(tmp_path, BODY[:HALF], etag)
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={HALF}-"]
    assert server.requests[0][1]["If-Range"] is None


@pytest.mark.parametrize("part", [b"x" * HALF, b"x" * len(BODY), BODY + b"x"])
def test_a_damaged_part_is_thrown_away_and_the_file_fetched_anew(server: Server, tmp_path: Path, part: bytes) -> None:
    leave_part(tmp_path, part)
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges()[-1] is None


def test_a_new_etag_in_the_middle_starts_again(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, b"old" * 1000, '"old"')
    assert_complete(fetch(remote(server), tmp_path))
    assert len(server.requests) == 1


def test_a_server_that_ignores_the_range_starts_again(server: Server, tmp_path: Path) -> None:
    server.script = [cut, whole]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, f"bytes={HALF}-"]


def test_a_server_without_etag_is_resumed_too(server: Server, tmp_path: Path) -> None:
    server.etag = ""
    server.script = [cut]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.requests[1][1]["If-Range"] is None


def test_a_range_that_cannot_be_satisfied_starts_again(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, BODY + b"too long")
    assert_complete(fetch(remote(server, num_bytes=None), tmp_path))
    assert server.ranges() == [f"bytes={len(BODY) + 8}-", None]


def test_an_answer_with_another_range_starts_again(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, BODY[:HALF])
    server.script = [other_range]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("failure", [status(503), status(429), reset, stall], ids=["503", "429", "reset", "stall"])
def test_a_passing_failure_is_tried_again(server: Server, tmp_path: Path, failure: Behaviour) -> None:
    server.script = [failure]
    assert_complete(fetch(remote(server), tmp_path, timeout_s=0.3))
    assert len(server.requests) == 2


def test_a_stall_keeps_what_came_and_is_named(server: Server, tmp_path: Path) -> None:
    server.script = [stall]
    with pytest.raises(NetworkError, match="timed out") as caught:
        fetch(remote(server), tmp_path, timeout_s=0.2, retries=0)
    assert (tmp_path / "weights.pth.part").read_bytes() == BODY[:HALF]
    assert caught.value.hint is not None and "run it again" in caught.value.hint


def test_the_tries_are_bounded(server: Server, tmp_path: Path) -> None:
    server.script = [status(500)] * 9
    with pytest.raises(NetworkError, match=r"HTTP 500.*tried 3 times"):
        fetch(remote(server), tmp_path, retries=2)
    assert len(server.requests) == 3


def test_no_server_is_a_network_error(tmp_path: Path, server: Server) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(NetworkError, match="refused"):
            fetch(remote(server, url=url), tmp_path, retries=1)


@pytest.mark.parametrize("code", [403, 404])
def test_a_refusal_is_final_and_leaves_nothing(server: Server, tmp_path: Path, code: int) -> None:
    server.script = [status(code)]
    with pytest.raises(NetworkError, match=f"HTTP {code}"):
        fetch(remote(server), tmp_path)
    assert len(server.requests) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth.lock"]


def test_wrong_bytes_are_deleted_and_both_hashes_named(server: Server, tmp_path: Path) -> None:
    server.body = bytes(len(BODY))
    file = remote(server)
    with pytest.raises(NetworkError) as caught:
        fetch(file, tmp_path)
    assert str(file.sha256) in caught.value.message
    assert hashlib.sha256(server.body).hexdigest() in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth.lock"]
    assert len(server.requests) == 1


def test_a_body_of_another_length_is_refused_before_it_is_read(server: Server, tmp_path: Path) -> None:
    server.body = b"<html>please log in</html>"
    with pytest.raises(NetworkError, match=f"offers 26 bytes, expected {len(BODY)}"):
        fetch(remote(server), tmp_path)
    assert not (tmp_path / "weights.pth.part").exists()


def test_a_short_body_of_undeclared_length_is_never_accepted(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:HALF]
    server.script = [unbounded]
    with pytest.raises(NetworkError, match="wrong bytes"):
        fetch(remote(server, num_bytes=None), tmp_path)
    assert not (tmp_path / "weights.pth").exists()


def test_a_present_file_with_the_wrong_hash_is_not_found_and_stays_until_replaced(
    server: Server, tmp_path: Path
) -> None:
    mine = tmp_path / "weights.pth"
    mine.write_bytes(bytes(len(BODY)))
    assert find_cached(remote(server), tmp_path) is None
    server.script = [status(404)]
    with pytest.raises(NetworkError):
        fetch(remote(server), tmp_path)
    assert mine.read_bytes() == bytes(len(BODY))
    assert_complete(fetch(remote(server), tmp_path))
    assert find_cached(remote(server), tmp_path) == mine


def test_offline_says_what_is_missing_and_how_to_put_it_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, target = remote(server), tmp_path / "weights.pth"
    with pytest.raises(NetworkError) as by_argument:
        fetch(file, tmp_path, offline=True)
    monkeypatch.setenv("RESNET_CLI_OFFLINE", "1")
    with pytest.raises(NetworkError) as by_environment:
        fetch(file, tmp_path)
    for caught in (by_argument, by_environment):
        assert f"{target} is missing" in caught.value.message
        assert caught.value.hint is not None
        for needed in (str(target), file.url, str(file.sha256), str(len(BODY))):
            assert needed in caught.value.hint
    target.write_bytes(BODY)
    assert fetch(file, tmp_path) == target
    assert server.requests == []


def test_a_mirror_replaces_all_but_the_name_and_the_hash_still_decides(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_CLI_MIRROR", f"{server.url}/mirror/")
    file = remote(server, url="https://example.invalid/models/weights.pth")
    assert_complete(fetch(file, tmp_path))
    assert [path for path, _ in server.requests] == ["/mirror/weights.pth"]
    server.body = bytes(len(BODY))
    with pytest.raises(NetworkError, match="wrong bytes"):
        fetch(file, tmp_path / "other")


@pytest.mark.parametrize("mirror", ["file:///srv/files", "srv/files", "ftp://host/files"])
def test_a_mirror_that_is_no_web_address_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("RESNET_CLI_MIRROR", mirror)
    with pytest.raises(NetworkError, match="not an http"):
        fetch(remote(server), tmp_path)


def test_a_redirect_is_followed_and_keeps_the_range(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, BODY[:HALF])
    server.script = [status(302, Location=f"{server.url}/elsewhere")]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={HALF}-"] * 2


@pytest.mark.parametrize(
    ("source", "to", "allowed"),
    [
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x", "https://b.example/x", True),
        ("http://a.example/x", "https://a.example/x", True),
        ("http://a.example/x", "ftp://a.example/x", False),
        ("https://a.example/x", "file:///x", False),
    ],
)
def test_a_redirect_never_leaves_an_encrypted_connection(source: str, to: str, allowed: bool) -> None:
    answer = io.BytesIO()

    def redirect() -> urllib.request.Request | None:
        request, headers = urllib.request.Request(source), http.client.HTTPMessage()
        return transfer._HttpsStaysHttps().redirect_request(request, answer, 302, "", headers, to)

    if allowed:
        followed = redirect()
        assert followed is not None and followed.full_url == to
    else:
        with pytest.raises(NetworkError, match="refused"):
            redirect()
        assert answer.closed


def test_an_untrusted_certificate_is_final(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def open_untrusted(self: object, request: urllib.request.Request, timeout: float) -> None:
        tries.append(request.full_url)
        error = ssl.SSLCertVerificationError(1, "bad")
        error.verify_message = "self-signed certificate"
        raise urllib.error.URLError(error)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", open_untrusted)
    with pytest.raises(NetworkError, match="self-signed"):
        fetch(remote(server), tmp_path)
    assert len(tries) == 1


def test_a_full_disk_is_found_before_the_network_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=len(BODY) - HALF)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskError, match=r"0\.7 MB"):
        fetch(remote(server), tmp_path)
    assert server.requests == []
    # Only what is still missing has to fit.
    leave_part(tmp_path, BODY[:HALF])
    assert_complete(fetch(remote(server), tmp_path))


def test_a_length_that_only_the_server_knows_is_checked_against_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: NoRoom(free=10))
    with pytest.raises(DiskError):
        fetch(remote(server, num_bytes=None), tmp_path)


class NoRoom(NamedTuple):
    free: int


def test_a_folder_that_cannot_be_is_a_disk_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError):
        fetch(remote(server), tmp_path / "file" / "folder")
    (tmp_path / "weights.pth.part").mkdir()
    with pytest.raises(DiskError, match="cannot write"):
        fetch(remote(server), tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from resnet_cli.download import fetch
from resnet_cli.transfer import RemoteFile
url, sha256, num_bytes, folder = sys.argv[1:]
file = RemoteFile(name="weights.pth", url=url, num_bytes=int(num_bytes), sha256=sha256, licence="", description="")
fetch(file, Path(folder))
"""


def start_fetch(file: RemoteFile, folder: Path) -> subprocess.Popen[bytes]:
    arguments = [file.url, str(file.sha256), str(file.num_bytes), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=environment)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_two_processes_at_once_download_it_once(server: Server, tmp_path: Path) -> None:
    def slowly(handler: Handler) -> None:
        handler.server.released.wait(3)
        serve(handler)

    server.script = [slowly]
    processes = [start_fetch(remote(server), tmp_path) for _ in range(2)]
    wait_until(lambda: bool(server.requests))
    time.sleep(0.3)  # The other one gets to the lock while the first holds it.
    server.released.set()
    assert [process.wait(20) for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert_complete(tmp_path / "weights.pth")


def test_a_process_killed_in_mid_download_is_resumed_by_the_next(server: Server, tmp_path: Path) -> None:
    server.script = [stall]
    part = tmp_path / "weights.pth.part"
    process = start_fetch(remote(server), tmp_path)
    # The last chunk may still be in the buffer of the process that dies.
    wait_until(lambda: part.exists() and part.stat().st_size > HALF // 2)
    process.kill()
    process.wait(20)
    num_kept = part.stat().st_size
    assert not (tmp_path / "weights.pth").exists()
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, f"bytes={num_kept}-"]


@pytest.mark.parametrize(
    "file",
    [*WEIGHTS.values(), *(file for known in DATASETS.values() for file in known.files)],
    ids=lambda file: file.name,
)
def test_every_known_file_is_encrypted_on_its_way_and_fully_pinned(file: RemoteFile) -> None:
    assert file.url.startswith("https://") and file.url.endswith(f"/{file.name}")
    assert file.num_bytes is not None and file.num_bytes > 100_000_000
    assert file.sha256 is not None and re.fullmatch("[0-9a-f]{64}", file.sha256)
    digits = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
    assert digits is None or file.sha256.startswith(digits[1])
