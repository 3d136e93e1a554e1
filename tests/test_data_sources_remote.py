"""Remote data: buckets in memory, and web folders and archives on a real server on the loopback interface."""

from __future__ import annotations

import functools
import http.server
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support.remote_data import allow_network, contents, leftovers, serving

from resnet_cli.data.sources.fetching import remote, remote_cache
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError, DiskError, NetworkError, ResnetCliError, SetupError
from resnet_cli.installation import install_command
from resnet_cli.network import retry
from resnet_cli.system.paths import data_dir

fsspec = pytest.importorskip("fsspec")

MakeFolder = Callable[..., Path]
PETS = {"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "dog": 1}}


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_network(monkeypatch)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf:owner/name", True),
        ("s3://bucket/pets", True),
        ("https://host/pets.zip", True),
        ("MEMORY://pets", True),
        ("pets", False),
        ("/data/pets", False),
        ("C:/pets", False),
        ("C://pets", False),
        ("cifar10", False),
        ("a folder://pets", False),
    ],
)
def test_an_address_is_remote_and_a_path_or_name_is_not(spec: str, expected: bool) -> None:
    assert remote.is_remote(spec) is expected


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("file:///data/pets", DataError),
        ("hf://datasets/owner/name", DataError),
        ("zip://pets.zip", DataError),
        ("nonsense://pets", DataError),
        ("reference://pets", ResnetCliError),
        ("http://example.com/pets/", NetworkError),
        ("http://example.com/pets.csv", NetworkError),
        ("https://[/pets/", ConfigError),
        ("https:///pets/", ConfigError),
        ("https://example.com/pets/?page=2", DataError),
        ("hf:name", DataError),
        ("hf:", DataError),
        ("hf:owner/name/../../x", DataError),
        ("hf:owner/..", DataError),
        ("hf:owner/name@a b", DataError),
    ],
)
def test_what_cannot_be_data_elsewhere_is_refused_before_anything_is_asked(
    spec: str, kind: type[ResnetCliError]
) -> None:
    with pytest.raises(kind) as caught:
        remote.localize(spec)
    assert caught.value.hint or kind is not DataError
    assert not list(data_dir().rglob("*.json"))


# Buckets: fsspec's filesystem in memory.


@pytest.fixture
def bucket() -> Iterator[Any]:
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


def upload(bucket: Any, files: Mapping[str, bytes], root: str = "/photos/pets") -> None:
    for name, data in files.items():
        bucket.pipe_file(f"{root}/{name}", data)


@pytest.fixture
def asked(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are copied, in any order."""
    names: list[str] = []
    original = type(bucket).get_file

    def get_file(self: Any, address: str, target: str, **options: Any) -> None:
        names.append(address.rpartition("/")[2])
        original(self, address, target, **options)

    monkeypatch.setattr(type(bucket), "get_file", get_file)
    return names


def test_a_bucket_folder_is_the_same_data_set_as_the_folder(bucket: Any, make_folder: MakeFolder) -> None:
    local = make_folder(PETS, name="pets")
    upload(bucket, contents(local))
    upload(bucket, {"cat/notes.pdf": b"x", ".hidden/1.jpg": b"x", "train/cat/.2.jpg": b"x", "train/README.txt": b"x"})
    reports: list[tuple[int, int | None]] = []
    copy = remote.localize("memory://photos/pets", on_progress=lambda *report: reports.append(report))
    assert contents(copy) == contents(local)
    total = sum(map(len, contents(local).values()))
    assert reports[-1] == (total, total)
    assert leftovers() == []
    ours, theirs = open_dataset("memory://photos/pets"), open_dataset(str(local))
    assert (ours.name, ours.classes) == ("pets", theirs.classes)
    assert [item.content_hash() for item in ours.items] == [item.content_hash() for item in theirs.items]
    assert [(item.name, item.label, item.split) for item in ours.items] == [
        (item.name, item.label, item.split) for item in theirs.items
    ]


def test_a_second_call_brings_what_has_changed_and_drops_what_is_gone(bucket: Any, asked: list[str]) -> None:
    upload(bucket, {"a/1.jpg": b"one", "a/2.jpg": b"two", "b/3.jpg": b"three"})
    copy = remote.localize("memory://photos/pets")
    assert sorted(asked) == ["1.jpg", "2.jpg", "3.jpg"]
    asked.clear()
    assert remote.localize("memory://photos/pets/") == remote.localize("memory://photos/pets") == copy
    assert asked == []
    upload(bucket, {"a/1.jpg": b"new", "b/4.jpg": b"four"})
    bucket.rm("/photos/pets/a/2.jpg")
    remote.localize("memory://photos/pets")
    assert sorted(asked) == ["1.jpg", "4.jpg"]
    assert contents(copy) == {"a/1.jpg": b"new", "b/3.jpg": b"three", "b/4.jpg": b"four"}


def test_an_interrupted_copy_goes_on_where_it_stopped(
    bucket: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"a/{index:02d}.jpg": bytes([index] * 99) for index in range(40)}
    upload(bucket, files)
    whole = type(bucket).get_file

    def broken(self: Any, address: str, target: str, **options: Any) -> None:
        if address.endswith("/20.jpg"):
            Path(target).write_bytes(b"half")
            raise ConnectionResetError("the line is cut")
        whole(self, address, target, **options)

    monkeypatch.setattr(type(bucket), "get_file", broken)
    with pytest.raises(NetworkError, match=r"20\.jpg.*the line is cut"):
        remote.localize("memory://photos/pets")
    with pytest.raises(NetworkError, match="no complete copy"):
        remote.localize("memory://photos/pets", offline=True)
    assert leftovers() == []
    monkeypatch.setattr(type(bucket), "get_file", whole)
    asked_before = set(asked)
    asked.clear()
    copy = remote.localize("memory://photos/pets")
    assert contents(copy) == files
    assert "20.jpg" in asked and not asked_before & set(asked)


def test_a_failure_that_passes_is_tried_again(bucket: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    upload(bucket, {"a/1.jpg": b"one"})
    whole = type(bucket).get_file
    failures = [TimeoutError(), "short"]

    def flaky(self: Any, address: str, target: str, **options: Any) -> None:
        if failures:
            failure = failures.pop()
            if isinstance(failure, OSError):
                raise failure
            Path(target).write_bytes(b"o")
            return
        whole(self, address, target, **options)

    monkeypatch.setattr(type(bucket), "get_file", flaky)
    assert contents(remote.localize("memory://photos/pets")) == {"a/1.jpg": b"one"}
    assert not failures


@pytest.mark.parametrize(
    ("error", "kind", "num_calls"),
    [
        (PermissionError("Access Denied"), NetworkError, 1),
        (RuntimeError("a fault of the driver"), NetworkError, 3),
        (OSError(28, "No space left on device"), DiskError, 1),
    ],
    ids=["forbidden", "driver", "disk"],
)
def test_other_peoples_errors_become_ours(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[ResnetCliError], num_calls: int
) -> None:
    upload(bucket, {"a/1.jpg": b"one"})
    calls = []

    def get_file(self: Any, address: str, target: str) -> None:
        calls.append(address)
        raise error

    monkeypatch.setattr(type(bucket), "get_file", get_file)
    with pytest.raises(kind, match=r"Access Denied|a fault of the driver|No space left"):
        remote.localize("memory://photos/pets")
    assert len(calls) == num_calls


def test_a_copy_that_cannot_fit_is_refused_before_it_begins(
    bucket: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bucket, {"a/1.jpg": bytes(1000)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10_000, 9_001, 999))
    with pytest.raises(DiskError, match="needs"):
        remote.localize("memory://photos/pets")
    assert asked == []


def test_offline_uses_a_whole_copy_and_only_that(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(bucket, {"a/1.jpg": b"one"})
    with pytest.raises(NetworkError, match="offline"):
        remote.localize("memory://photos/pets", offline=True)
    copy = remote.localize("memory://photos/pets")
    bucket.rm("/photos", recursive=True)
    monkeypatch.setenv("RESNET_CLI_OFFLINE", "1")
    assert remote.localize("memory://photos/pets") == copy
    assert contents(copy) == {"a/1.jpg": b"one"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"complete": true, "files": {"a": 1}}', "[" * 10_000])
def test_a_damaged_index_costs_nothing_but_time(bucket: Any, text: str) -> None:
    upload(bucket, {"a/1.jpg": b"one"})
    copy = remote.localize("memory://photos/pets")
    copy.parent.with_name(f"{copy.parent.name}.json").write_text(text)
    with pytest.raises(NetworkError):
        remote.localize("memory://photos/pets", offline=True)
    assert remote.localize("memory://photos/pets") == copy
    assert remote.localize("memory://photos/pets", offline=True) == copy


@pytest.mark.parametrize("spec", ["memory://nowhere", "memory://photos/pets", "memory://photos/pets.csv"])
def test_a_place_without_data_is_a_data_error(bucket: Any, spec: str) -> None:
    upload(bucket, {"notes.pdf": b"x"})
    with pytest.raises(DataError, match=r"does not exist|no images or tables"):
        remote.localize(spec)


@pytest.mark.parametrize(
    "name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "a\\..\\x.jpg", "C:/x.jpg", "a//x.jpg", "..", "s3://b/x.jpg"]
)
def test_a_name_that_would_leave_its_folder_is_refused(bucket: Any, name: str) -> None:
    with pytest.raises(DataError, match="refused"):
        remote_cache.check_path(name, "x")
    upload(bucket, {"pets.csv": f"image,label\n{name},cat\n".encode(), "x.jpg": b"x"})
    with pytest.raises(DataError, match="refused"):
        remote.localize("memory://photos/pets/pets.csv")


def test_a_bucket_with_a_name_that_would_leave_is_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = [{"name": "/photos/pets/../../x.jpg", "size": 1, "type": "file"}]
    monkeypatch.setattr(type(bucket), "ls", lambda self, path, detail: evil)
    with pytest.raises(DataError, match="refused"):
        remote.localize("memory://photos/pets")


def test_folders_without_end_are_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        type(bucket), "ls", lambda self, path, detail: [{"name": f"{path}/a", "size": 0, "type": "directory"}]
    )
    with pytest.raises(DataError, match="folders are nested"):
        remote.localize("memory://photos/pets")


def test_too_many_files_are_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(bucket, {f"a/{index}.jpg": b"x" for index in range(5)})
    monkeypatch.setattr(remote, "MAX_FILES", 5)
    with pytest.raises(DataError, match="more than 5"):
        remote.localize("memory://photos/pets")


TABLE = b"image,label,split\ncat/1.jpg,cat,train\n./dog/2.jpg,dog,val\ncat/1.jpg,cat,train\n"


def test_a_table_brings_the_images_that_it_names_and_no_others(bucket: Any, asked: list[str]) -> None:
    upload(bucket, {"pets.csv": TABLE, "cat/1.jpg": b"one", "dog/2.jpg": b"two", "dog/3.jpg": b"three"})
    table = remote.localize("memory://photos/pets/pets.csv")
    assert table.name == "pets.csv"
    assert contents(table.parent) == {"pets.csv": TABLE, "cat/1.jpg": b"one", "dog/2.jpg": b"two"}
    asked.clear()
    assert remote.localize("memory://photos/pets/pets.csv") == table
    assert asked == []
    upload(bucket, {"pets.csv": b"image,label\ndog/3.jpg,dog\n"})
    remote.localize("memory://photos/pets/pets.csv")
    assert set(contents(table.parent)) == {"pets.csv", "dog/3.jpg"}


def test_a_tables_columns_may_have_any_name(bucket: Any) -> None:
    upload(bucket, {"pets.csv": b"foto,what\ncat.jpg,cat\n", "cat.jpg": b"one"})
    with pytest.raises(DataError, match="column"):
        remote.localize("memory://photos/pets/pets.csv")
    columns = {"image_column": "foto", "label_column": "what", "split_column": None}
    assert "cat.jpg" in contents(remote.localize("memory://photos/pets/pets.csv", columns=columns).parent)


def test_a_remote_table_may_have_a_column_per_class_and_images_without_labels(bucket: Any) -> None:
    tables = {"a.csv": b"image,cat,dog\n1.jpg,1,1\n2.jpg,0,0\n", "b.csv": b"image,labels\n1.jpg,cat;dog\n2.jpg,\n"}
    upload(bucket, {**tables, "1.jpg": b"one", "2.jpg": b"two"})
    for name, content in tables.items():
        assert contents(remote.localize(f"memory://photos/pets/{name}").parent) == {
            **{name: content, "1.jpg": b"one", "2.jpg": b"two"}
        }


def test_an_image_that_only_the_table_knows_is_left_to_the_reader(bucket: Any) -> None:
    upload(bucket, {"pets.csv": TABLE, "cat/1.jpg": b"one"})
    table = remote.localize("memory://photos/pets/pets.csv")
    assert set(contents(table.parent)) == {"pets.csv", "cat/1.jpg"}
    bucket.rm("/photos/pets/cat/1.jpg")
    upload(bucket, {"others.csv": TABLE})
    with pytest.raises(DataError, match=r"no image that it lists exists \(2 images\)"):
        remote.localize("memory://photos/pets/others.csv")


def test_an_archive_in_a_bucket_is_brought_as_it_is(bucket: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        file.writestr("cat/1.jpg", b"one")
    upload(bucket, {"pets.zip": (tmp_path / "pets.zip").read_bytes()})
    archive = remote.localize("memory://photos/pets/pets.zip")
    assert archive.name == "pets.zip"
    assert archive.read_bytes() == (tmp_path / "pets.zip").read_bytes()


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("memory://photos", "fsspec", "cloud"),
        ("s3://bucket/photos", "s3fs", "cloud"),
        ("gs://bucket/photos", "gcsfs", "cloud"),
        ("hf:owner/name", "huggingface_hub", "hub"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, spec: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SetupError, match="not installed") as caught:
        remote.localize(spec)
    assert caught.value.hint == install_command(extra)


# The web: a folder on a real server.


class WebHandler(http.server.SimpleHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.requests.append(unquote(self.path))
        behaviour = self.server.behaviours.get(unquote(self.path))
        if not behaviour or not behaviour(self):
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


class WebServer(http.server.ThreadingHTTPServer):
    """A behavior sends a response and returns True, or lets the folder respond."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(WebHandler, directory=str(folder)))
        self.requests: list[str] = []
        self.behaviours: dict[str, Callable[[WebHandler], bool]] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that hang up, which some tests are about."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    pytest.importorskip("aiohttp")
    (tmp_path / "web").mkdir()
    yield from serving(WebServer(tmp_path / "web"))


def status(code: int, **headers: str) -> Callable[[WebHandler], bool]:
    def answer(handler: WebHandler) -> bool:
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        return True

    return answer


def page(*links: str) -> Callable[[WebHandler], bool]:
    body = "".join(f'<a href="{link}">x</a>' for link in links).encode()

    def answer(handler: WebHandler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def cut(times: int) -> Callable[[WebHandler], bool]:
    """Announces more bytes than it sends, this many times."""
    left = [times]

    def answer(handler: WebHandler) -> bool:
        if not left[0]:
            return False
        left[0] -= 1
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"only this")
        handler.close_connection = True
        return True

    return answer


def test_a_web_folder_is_the_same_data_set_as_the_folder(
    web: WebServer, tmp_path: Path, make_folder: MakeFolder
) -> None:
    local = make_folder({"cat": 3, "dog & co": 2}, name="web/pets")
    for name in ("a b.jpg", "50%.jpg", "50%41.jpg", "#1.jpg", "why?.jpg", "süß.jpg", "it's.jpg"):
        shutil.copyfile(local / "cat" / "000.jpg", local / "cat" / name)
    for spec in (f"{web.url}/pets/", f"{web.url}/pets"):
        assert contents(remote.localize(spec)) == contents(local)
    assert open_dataset(f"{web.url}/pets/").classes == ("cat", "dog & co")
    assert leftovers() == []


def test_files_of_a_web_folder_that_are_here_are_not_asked_for_again(
    web: WebServer, tmp_path: Path, make_folder: MakeFolder
) -> None:
    local = make_folder({"cat": 3, "dog": 3}, name="web/pets")
    web.behaviours["/pets/dog/001.jpg"] = cut(99)
    with pytest.raises(NetworkError, match=r"dog/001\.jpg"):
        remote.localize(f"{web.url}/pets/")
    here = {f"/pets/{path}" for path in contents(data_dir() / "remote") for path in [path.split("/pets/")[-1]]}
    here &= {f"/pets/{path}" for path in contents(local)}
    assert here and "/pets/dog/001.jpg" not in here
    assert leftovers() == []
    web.behaviours.clear()
    web.requests.clear()
    assert contents(remote.localize(f"{web.url}/pets/")) == contents(local)
    assert not here & set(web.requests)


def test_a_connection_that_breaks_is_tried_again(web: WebServer, make_folder: MakeFolder) -> None:
    local = make_folder({"cat": 1}, name="web/pets")
    web.behaviours["/pets/cat/000.jpg"] = cut(2)
    assert contents(remote.localize(f"{web.url}/pets/")) == contents(local)


def test_a_listed_image_that_is_not_there_is_named(web: WebServer, make_folder: MakeFolder) -> None:
    make_folder({"cat": 2}, name="web/pets")
    web.behaviours["/pets/cat/001.jpg"] = status(404)
    with pytest.raises(DataError, match=r"1 files are listed but do not exist, such as pets/cat/001\.jpg"):
        remote.localize(f"{web.url}/pets/")
    assert web.requests.count("/pets/cat/001.jpg") == 1


@pytest.mark.parametrize(("code", "times"), [(401, 1), (403, 1), (400, 1), (429, 3), (503, 3)])
def test_what_a_server_refuses_is_asked_again_only_if_that_may_help(
    web: WebServer, make_folder: MakeFolder, code: int, times: int
) -> None:
    make_folder({"cat": 1}, name="web/pets")
    web.behaviours["/pets/cat/000.jpg"] = status(code)
    with pytest.raises(NetworkError, match=f"HTTP {code}"):
        remote.localize(f"{web.url}/pets/")
    assert web.requests.count("/pets/cat/000.jpg") == times


def test_a_web_folder_that_is_not_there_is_a_data_error(web: WebServer) -> None:
    with pytest.raises(DataError, match="does not exist"):
        remote.localize(f"{web.url}/pets/")
    web.behaviours["/pets/"] = status(403)
    with pytest.raises(NetworkError, match="no permission"):
        remote.localize(f"{web.url}/pets/")


def test_links_that_lead_out_of_a_web_folder_are_not_followed(web: WebServer) -> None:
    web.behaviours["/pets/"] = page(
        "?C=N;O=D", "/", "./", "../", "..", "../others/", "/others/1.jpg", "https://example.com/1.jpg", "#top",
        "javascript:x()", "./cat/", "cat/?sort=size",
    )  # fmt: skip
    web.behaviours["/pets/cat/"] = web.behaviours["/pets/./cat/"] = page("1.jpg", "1.jpg?download=1", "./", "../")
    web.behaviours["/pets/cat/1.jpg"] = web.behaviours["/pets/./cat/1.jpg"] = page("the image")
    assert set(contents(remote.localize(f"{web.url}/pets/"))) == {"cat/1.jpg"}
    assert not [path for path in web.requests if "others" in path]


@pytest.mark.parametrize("link", ["../1.jpg", "cat/..%2f..%2f1.jpg", "%5c..%5c1.jpg", "%2fetc%2f1.jpg", "1%00.jpg"])
def test_an_image_of_a_web_page_that_would_leave_is_refused(web: WebServer, link: str) -> None:
    web.behaviours["/pets/"] = page(link)
    with pytest.raises(DataError, match="refused"):
        remote.localize(f"{web.url}/pets/")
    assert not list(data_dir().rglob("*.jpg"))


def test_no_redirect_leads_to_an_open_connection(web: WebServer, make_folder: MakeFolder) -> None:
    make_folder({"cat": 1}, name="web/pets")
    web.behaviours["/pets/cat/000.jpg"] = status(302, Location="http://example.com/login?token=secret")
    with pytest.raises(NetworkError, match="not encrypted") as caught:
        remote.localize(f"{web.url}/pets/")
    assert "secret" not in caught.value.message


def test_a_web_table_brings_its_images(web: WebServer, tmp_path: Path, make_folder: MakeFolder) -> None:
    local = make_folder({"cat": 2, "dog": 2}, name="web/pets")
    names = [*sorted(contents(local)), "50%25 #1.jpg"]
    shutil.copyfile(local / names[0], local / names[-1])
    lines = ["image,label", *(f"{name},{name.split('/')[0]}" for name in names), "cat/gone.jpg,cat"]
    (local / "pets.csv").write_text("\n".join(lines))
    table = remote.localize(f"{web.url}/pets/pets.csv")
    assert contents(table.parent) == contents(local)
    web.requests.clear()
    assert remote.localize(f"{web.url}/pets/pets.csv") == table
    assert [path for path in web.requests if path.endswith(".jpg")] == ["/pets/cat/gone.jpg"]
    (local / "pets.csv").write_text("\n".join(lines[:2]))
    remote.localize(f"{web.url}/pets/pets.csv")
    assert set(contents(table.parent)) == {"pets.csv", names[0]}


def test_an_archive_behind_http_needs_no_extra(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "web" / "pets.zip", "w") as file:
        file.writestr("cat/1.jpg", b"one")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    archive = remote.localize(f"{web.url}/pets.zip?download=1")
    assert archive.name == "pets.zip"
    assert archive.read_bytes() == (tmp_path / "web" / "pets.zip").read_bytes()


def test_no_password_gets_into_a_message(web: WebServer) -> None:
    port = web.url.rpartition(":")[2]
    web.behaviours["/pets/"] = status(403)
    for spec in (f"http://user:hunter2@127.0.0.1:{port}/pets/", f"http://user:hunter2@127.0.0.1:{port}/pets.csv"):
        for offline in (False, True):
            with pytest.raises(ResnetCliError) as caught:
                remote.localize(spec, offline=offline)
            assert "hunter2" not in caught.value.message + str(caught.value.hint)
    assert not [path for path in data_dir().rglob("*") if "hunter2" in path.name]
    assert retry.redact("s3://a/b?x=1 'https://u:p@h/x?sig=s'") == "s3://a/b 'https://h/x'"
