"""Downloads from a real server on the loopback interface that misbehaves as servers and networks do."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.file_server import (
    BODY,
    CUT,
    Behaviour,
    Handler,
    Server,
    cut,
    other_range,
    remote,
    reset,
    serve,
    stall,
    status,
    trickle,
    unbounded,
    whole,
)

from resnet_cli.errors import ConfigError, DiskError, NetworkError
from resnet_cli.network import transfer
from resnet_cli.network.download import fetch, find_cached, forget
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.registry import WEIGHTS
from resnet_cli.network.remote_file import RemoteFile
from resnet_cli.system.caches import CacheWarning

pytest_plugins = ["support.server_fixtures"]

PACKAGE_ROOT = Path(transfer.__file__).parents[2]


pytestmark = pytest.mark.usefixtures("quick_and_direct")


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
    file = remote(server, sha256=prefix, num_bytes=None)
    server.script = [unbounded]
    assert_complete(fetch(file, tmp_path))


def test_a_cut_body_is_resumed_from_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.script = [cut]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, f"bytes={CUT}-"]
    assert server.requests[1][1]["If-Range"] == '"one"'


def test_the_part_of_an_earlier_run_is_finished(server: Server, tmp_path: Path) -> None:
    seen: list[int] = []
    leave_part(tmp_path, BODY[:CUT])
    assert_complete(fetch(remote(server), tmp_path, on_progress=lambda done, total: seen.append(done)))
    assert server.ranges() == [f"bytes={CUT}-"]
    assert seen[0] == CUT


def test_a_complete_part_is_verified_without_the_network(tmp_path: Path, server: Server) -> None:
    leave_part(tmp_path, BODY)
    assert_complete(fetch(remote(server), tmp_path))
    assert server.requests == []


@pytest.mark.parametrize("etag", [None, 'W/"weak"', "\0torn"])
def test_a_part_without_a_strong_etag_is_resumed_and_the_hash_decides(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    leave_part(tmp_path, BODY[:CUT], etag)
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={CUT}-"]
    assert server.requests[0][1]["If-Range"] is None


@pytest.mark.parametrize("part", [b"x" * CUT, b"x" * len(BODY), BODY + b"x"])
def test_a_damaged_part_is_thrown_away_and_the_file_fetched_anew(server: Server, tmp_path: Path, part: bytes) -> None:
    leave_part(tmp_path, part)
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges()[-1] is None


def test_a_new_etag_in_the_middle_starts_again(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, b"old" * 1000, '"old"')
    assert_complete(fetch(remote(server), tmp_path))
    assert len(server.requests) == 1


def test_another_etag_on_a_range_starts_again(server: Server, tmp_path: Path) -> None:
    def rest_of_another(handler: Handler) -> None:
        handler.server.etag = '"two"'
        handler.headers.replace_header("If-Range", '"two"')
        serve(handler)

    leave_part(tmp_path, BODY[:CUT])
    server.script = [rest_of_another]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={CUT}-", None]


def test_a_server_that_ignores_the_range_starts_again(server: Server, tmp_path: Path) -> None:
    server.script = [cut, whole]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, f"bytes={CUT}-"]


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
    leave_part(tmp_path, BODY[:CUT])
    server.script = [other_range]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={CUT}-", None]


@pytest.mark.parametrize(
    "failure", [status(503), status(429), reset, stall, trickle], ids=["503", "429", "reset", "stall", "trickle"]
)
def test_a_passing_failure_is_tried_again(server: Server, tmp_path: Path, failure: Behaviour) -> None:
    server.script = [failure]
    assert_complete(fetch(remote(server), tmp_path, timeout_s=0.3))
    assert len(server.requests) == 2


def test_a_stall_keeps_what_came_and_is_named(server: Server, tmp_path: Path) -> None:
    server.script = [stall]
    with pytest.raises(NetworkError, match="timed out") as caught:
        fetch(remote(server), tmp_path, timeout_s=0.2, retries=0)
    assert (tmp_path / "weights.pth.part").read_bytes() == BODY[:CUT]
    assert caught.value.hint is not None and "run this again" in caught.value.hint


def test_a_trickle_is_named_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.script = [trickle]
    with pytest.raises(NetworkError, match="less than 1,000 bytes per second"):
        fetch(remote(server), tmp_path, timeout_s=0.3, retries=0)
    assert (tmp_path / "weights.pth.part").read_bytes()[:CUT] == BODY[:CUT]


def test_a_bad_line_may_cut_a_large_file_more_often_than_the_tries(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_again(handler: Handler) -> None:
        start = int(re.sub(r"\D", "", handler.headers["Range"] or "0"))
        handler.head(
            206 if start else 200, len(BODY) - start, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        )
        handler.wfile.write(BODY[start : start + 100_000])

    monkeypatch.setattr(transfer, "_PIECE_BYTES", 100_000)
    server.script = [cut_again] * 7
    assert_complete(fetch(remote(server), tmp_path, retries=1))
    assert len(server.requests) == 8


def test_the_same_piece_again_and_again_is_no_progress(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_PIECE_BYTES", 100_000)
    server.script = [cut] * 9
    with pytest.raises(NetworkError, match="tried 3 times"):
        fetch(remote(server), tmp_path, retries=2)
    assert len(server.requests) == 3


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
    server.body = BODY[:CUT]
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


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    hashed: list[Path] = []
    mismatch = RemoteFile.mismatch

    def counted(self: RemoteFile, path: Path) -> str | None:
        hashed.append(path)
        return mismatch(self, path)

    monkeypatch.setattr(RemoteFile, "mismatch", counted)
    return hashed


def test_a_verified_file_is_not_read_again_until_it_changes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(remote(server), tmp_path)
    hashed = count_hashed(monkeypatch)
    assert find_cached(remote(server), tmp_path) == path
    assert hashed == []
    before = path.stat()
    path.write_bytes(bytes(len(BODY)))
    # Resetting the modification time does not hide the change.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_cached(remote(server), tmp_path) is None
    assert hashed == [path]


def test_a_file_that_others_brought_is_read_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.pth").write_bytes(BODY)
    hashed = count_hashed(monkeypatch)
    for _ in range(3):
        assert find_cached(remote(server), tmp_path)
    assert len(hashed) == 1
    assert find_cached(remote(server, sha256="0" * 64), tmp_path) is None
    forget(remote(server))
    assert find_cached(remote(server), tmp_path)
    assert len(hashed) == 3


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match=r"cache folder .*file cannot be written .* set RESNET_CLI_CACHE"):
        assert find_cached(remote(server), fetch(remote(server), tmp_path / "weights").parent)


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
    with pytest.raises(ConfigError, match="not an http"):
        fetch(remote(server), tmp_path)


def test_a_proxy_is_asked_where_the_environment_names_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    assert_complete(fetch(remote(server, url="http://files.invalid/weights.pth"), tmp_path))
    assert [path for path, _ in server.requests] == ["http://files.invalid/weights.pth"]


def test_a_redirect_is_followed_and_keeps_the_range(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, BODY[:CUT])
    server.script = [status(302, Location=f"{server.url}/elsewhere")]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [f"bytes={CUT}-"] * 2


def test_a_full_disk_is_found_before_the_network_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=len(BODY) - CUT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskError, match=r"needs \d+ kB"):
        fetch(remote(server), tmp_path)
    assert server.requests == []
    # Only the missing bytes have to fit.
    leave_part(tmp_path, BODY[:CUT])
    assert_complete(fetch(remote(server), tmp_path))


def test_a_length_that_only_the_server_knows_is_checked_against_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: NoRoom(free=10))
    with pytest.raises(DiskError):
        fetch(remote(server, num_bytes=None), tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_in_the_middle_is_a_disk_error_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    process = start_fetch(remote(server), tmp_path, first=limit)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and b"DiskError: cannot write" in stderr
    assert (tmp_path / "weights.pth.part").read_bytes() == BODY[:300_000]
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, "bytes=300000-"]


class NoRoom(NamedTuple):
    free: int


def test_a_folder_that_cannot_be_is_a_disk_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError):
        fetch(remote(server), tmp_path / "file" / "folder", keep=True)
    (tmp_path / "weights.pth.part").mkdir()
    with pytest.raises(DiskError, match="cannot write"):
        fetch(remote(server), tmp_path)


def test_without_a_folder_that_can_be_written_a_copy_is_made_for_this_process(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(CacheWarning, match=r"cache folder .*file.folder cannot be written .* set TORCH_HOME"):
        copy = fetch(remote(server), tmp_path / "file" / "folder")
    assert copy.read_bytes() == BODY
    # The same one again, without another download or warning.
    assert fetch(remote(server), tmp_path / "file" / "folder") == copy
    assert server.ranges() == [None]


SCRIPT = """
import sys
from pathlib import Path
from resnet_cli.network.download import fetch
from resnet_cli.network.remote_file import RemoteFile
url, sha256, num_bytes, folder = sys.argv[1:]
file = RemoteFile(name="weights.pth", url=url, num_bytes=int(num_bytes), sha256=sha256, licence="", description="")
fetch(file, Path(folder))
"""


def start_fetch(file: RemoteFile, folder: Path, *, first: str = "") -> subprocess.Popen[bytes]:
    arguments = [file.url, str(file.sha256), str(file.num_bytes), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    stderr = subprocess.PIPE if first else None
    return subprocess.Popen([sys.executable, "-c", first + SCRIPT, *arguments], env=environment, stderr=stderr)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
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
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert_complete(tmp_path / "weights.pth")


def test_a_process_killed_in_mid_download_is_resumed_by_the_next(server: Server, tmp_path: Path) -> None:
    server.script = [stall]
    part = tmp_path / "weights.pth.part"
    process = start_fetch(remote(server), tmp_path)
    # All 60 % arrived, but the last chunk may still be in the buffer of the process that dies.
    wait_until(lambda: part.exists() and part.stat().st_size > CUT // 2)
    process.kill()
    process.wait(60)
    num_kept = part.stat().st_size
    assert not (tmp_path / "weights.pth").exists()
    assert_complete(fetch(remote(server), tmp_path))
    assert server.ranges() == [None, f"bytes={num_kept}-"]


@pytest.mark.parametrize(
    "file",
    [*WEIGHTS.values(), *(file for known in DATASETS.values() for file in known.files)],
    ids=lambda file: file.name,
)
def test_every_known_file_is_fully_pinned(file: RemoteFile) -> None:
    assert re.match("https?://", file.url) and file.num_bytes
    assert file.sha256 is not None and re.fullmatch("[0-9a-f]{64}", file.sha256)
    digits = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
    assert digits is None or file.sha256.startswith(digits[1])
