"""The data sets of the registry: tiny originals (``named_originals.py``), served by HTTP, fetched, unpacked, read."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torchvision
from support.named_originals import ORIGINALS, Original, zipped
from torchvision import datasets as tv

from resnet_cli.data.sources.fetching import archives
from resnet_cli.data.sources.named import registered as named
from resnet_cli.data.sources.named import torchvision_sets
from resnet_cli.errors import DataError, NetworkError, SetupError
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.remote_file import RemoteFile

TORCHVISION_SETS = [name for name in DATASETS if name not in ("cifar10", "cifar100", "digits")]
#: torchvision fetches these without encryption too; their full SHA-256 protects them.
HTTP_ONLY = {
    "ai.stanford.edu",
    "data.vision.ee.ethz.ch",
    "fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "ufldl.stanford.edu",
}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, bytes]
    requests: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        body = self.server.files.get(self.path.lstrip("/"))
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests = {}, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.delenv("RESNET_CLI_OFFLINE")
        monkeypatch.setenv("RESNET_CLI_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("no_proxy", "*")
        yield server
        server.shutdown()
        thread.join()


Publish = Callable[[str], Original]


@pytest.fixture
def publish(server: Server, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Serves a tiny original, and gives the registry and torchvision its hashes."""

    def pin(file: RemoteFile) -> RemoteFile:
        data = server.files[file.name]
        return dataclasses.replace(file, num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def do(name: str) -> Original:
        original = ORIGINALS[name]()
        server.files.update(original.files)
        known = DATASETS[name]
        assert {file.name for file in known.files} == set(original.files)
        files = tuple(pin(file) for file in known.files)
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(known, files=files))
        md5 = {file: hashlib.md5(data).hexdigest() for file, data in original.files.items()}
        if name == "flowers102":
            pinned = {key: (file, md5[file]) for key, (file, _) in tv.Flowers102._file_dict.items()}
            monkeypatch.setattr(tv.Flowers102, "_file_dict", pinned)
        if name == "svhn":
            lists = {s: [url, file, md5.get(file, "")] for s, (url, file, _) in tv.SVHN.split_list.items()}
            monkeypatch.setattr(tv.SVHN, "split_list", lists)
        return original

    return do


def contents(name: str, source: Any) -> bytes:
    if isinstance(source, Path):
        where = named.local_path(name)
        assert where is not None and source.is_relative_to(where)
        return source.read_bytes()
    assert source.dtype == np.uint8 and source.shape[-1] == 3
    return bytes(source.tobytes())


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_a_set_is_fetched_unpacked_and_read_as_published(name: str, publish: Publish, server: Server) -> None:
    original = publish(name)
    assert not named.is_here(name)
    dataset = named.open_named(name)
    found = [(i.split, dataset.classes[i.label], i.name, contents(name, i.source)) for i in dataset.items]
    assert sorted(found) == sorted(original.items)
    assert dataset.spec == dataset.name == name
    assert dataset.mirror_safe == (name != "svhn")
    assert sorted(server.requests) == sorted(f"/{file}" for file in original.files)


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_the_second_open_needs_no_network_and_unpacks_nothing(
    name: str, publish: Publish, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(name)
    seen: list[tuple[int, int | None]] = []
    named.fetch_named(name, on_download=lambda done, total: seen.append((done, total)))
    assert seen and named.is_here(name)
    server.shutdown()
    server.server_close()

    def refuse(*args: Any, **kwargs: Any) -> int:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(archives, "unpack", refuse)
    num_seen = len(seen)
    first = named.open_named(name, on_download=lambda done, total: seen.append((done, total)))
    again = named.open_named(name, offline=True)
    assert [(i.name, i.label, i.split) for i in first.items] == [(i.name, i.label, i.split) for i in again.items]
    assert len(seen) == num_seen


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_torchvision_finds_the_set_under_the_same_root(
    name: str, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = publish(name)
    dataset = named.open_named(name)
    layout = torchvision_sets._LAYOUTS[name]
    reader = getattr(tv, layout.reader)
    if name == "stl10":
        # It hashes the files in the archive.
        where = named.local_path(name)
        assert where is not None
        for attribute in ("train_list", "test_list"):
            pinned = [
                [file, hashlib.md5((where / "stl10_binary" / file).read_bytes()).hexdigest()]
                for file, _ in getattr(reader, attribute)
            ]
            monkeypatch.setattr(reader, attribute, pinned)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("torchvision downloads")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    for split, arguments in layout.splits.items():
        theirs = reader(named.local_path(name), download=True, **arguments)
        assert len(theirs) == len(dataset.split(split)) == sum(item[0] == split for item in original.items)
        assert not layout.labels or list(getattr(theirs, layout.labels)) == [i.label for i in dataset.split(split)]


def test_classes_are_the_names_that_people_use(publish: Publish) -> None:
    for name in TORCHVISION_SETS:
        publish(name)
    classes = {name: named.open_named(name).classes for name in TORCHVISION_SETS}
    assert len(classes["flowers102"]) == 102 and classes["flowers102"][10] == "snapdragon"
    assert classes["oxford-pets"] == ("Abyssinian", "American Bulldog")
    assert classes["svhn"] == tuple("0123456789")
    assert classes["imagenette"][:2] == ("tench", "English springer")
    assert len(classes["stl10"]) == len(classes["fashion-mnist"]) == len(classes["imagenette"]) == 10


@pytest.mark.parametrize("name", ["eurosat", "dtd", "fashion-mnist"])
def test_an_unpacking_that_dies_leaves_nothing_half(
    name: str, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = publish(name)
    where = named.local_path(name)
    assert where is not None
    folder = where / torchvision_sets._LAYOUTS[name].folder

    def die(source: Any, target: Any, **kwargs: Any) -> None:
        """Writes half, as far as a killed process gets."""
        if isinstance(target, Path):
            (target / "2750" / "Forest").mkdir(parents=True)
            (target / "dtd" / "images").mkdir(parents=True)
        else:
            target.write(source.read(3))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archives, "unpack", die)
        patch.setattr(shutil, "copyfileobj", die)
        with pytest.raises(KeyboardInterrupt):
            named.open_named(name)
    made = set(torchvision_sets._LAYOUTS[name].becomes.values())
    assert not named.is_here(name) and not made & {path.name for path in folder.iterdir()}
    assert len(named.open_named(name, offline=name != "fashion-mnist").items) == len(original.items)
    assert not [path for path in folder.iterdir() if path.name.endswith((".unpacked", ".tmp"))]


def test_a_missing_file_offline_says_what_to_type(publish: Publish) -> None:
    publish("dtd")
    with pytest.raises(NetworkError, match=r"offline, and .*dtd-r1\.0\.1\.tar\.gz is missing") as caught:
        named.open_named("dtd", offline=True)
    where = named.local_path("dtd")
    assert caught.value.hint is not None
    url = shlex.quote(DATASETS["dtd"].files[0].url)
    assert f"curl -L --create-dirs -o {where}/dtd/dtd-r1.0.1.tar.gz {url}" in caught.value.hint


def test_a_file_put_there_by_hand_is_unpacked_without_the_network(publish: Publish) -> None:
    original = publish("food101")
    where = named.local_path("food101")
    assert where is not None
    where.mkdir(parents=True)
    (where / "food-101.tar.gz").write_bytes(original.files["food-101.tar.gz"])
    assert len(named.open_named("food101", offline=True).items) == len(original.items)


def test_an_archive_of_something_else_is_refused(publish: Publish, server: Server) -> None:
    server.files["EuroSAT.zip"] = zipped({"other/a.jpg": b"a"})
    known, data = DATASETS["eurosat"], server.files["EuroSAT.zip"]
    file = dataclasses.replace(known.files[0], num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "eurosat", dataclasses.replace(known, files=(file,)))
        with pytest.raises(DataError, match="no folder 2750"):
            named.open_named("eurosat")
        assert not named.is_here("eurosat")


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("dtd", "dtd/dtd/labels/val1.txt"),
        ("food101", "food-101/meta/train.json"),
        ("flowers102", "flowers-102/setid.mat"),
        ("stl10", "stl10_binary/test_y.bin"),
        ("svhn", "test_32x32.mat"),
        ("fashion-mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "altered", "a folder"])
def test_what_was_damaged_later_is_said_and_never_read(name: str, damaged: str, damage: str, publish: Publish) -> None:
    publish(name)
    named.open_named(name)
    where = named.local_path(name)
    assert where is not None
    path = where / damaged
    data = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes(data[: len(data) // 3] if damage == "cut" else b"x" + data[1:])
    # A file of a different length counts as missing.
    with pytest.raises(DataError if named.is_here(name) else NetworkError) as caught:
        named.open_named(name, offline=True)
    assert caught.value.hint and str(where) in caught.value.hint


def test_a_torchvision_that_renamed_something_is_named(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("dtd")
    layout = torchvision_sets._LAYOUTS["dtd"]
    version = re.escape(torchvision.__version__)
    monkeypatch.setitem(torchvision_sets._LAYOUTS, "dtd", dataclasses.replace(layout, images="_gone"))
    with pytest.raises(SetupError, match=rf"torchvision {version} has no DTD\._gone"):
        named.open_named("dtd")
    monkeypatch.delattr(tv, "DTD")
    with pytest.raises(SetupError, match=r"has no torchvision\.datasets\.DTD"):
        named.open_named("dtd")


def test_the_registry_is_the_only_list_of_names() -> None:
    assert set(torchvision_sets._LAYOUTS) == set(TORCHVISION_SETS) == set(ORIGINALS)
    assert [name for name in DATASETS if named.is_here(name)] == ["digits"]
    places = [named.local_path(name) for name in DATASETS]
    assert places.count(None) == 1 and len(set(places)) == len(places)
    named.fetch_named("digits", offline=True)
    assert len(named.open_named("digits", offline=True).items) == 1797


def test_a_cifar_archive_is_here_once_it_has_its_length() -> None:
    where = named.local_path("cifar10")
    assert where is not None and where.name == "cifar-10-binary.tar.gz"
    where.parent.mkdir(parents=True)
    where.write_bytes(b"cut")
    assert not named.is_here("cifar10")
    with where.open("r+b") as file:
        file.truncate(DATASETS["cifar10"].files[0].num_bytes)
    assert named.is_here("cifar10")


@pytest.mark.parametrize(
    "file", [file for known in DATASETS.values() for file in known.files], ids=lambda file: file.name
)
def test_every_file_is_fully_pinned_and_comes_encrypted_where_it_can(file: RemoteFile) -> None:
    url = urlsplit(file.url)
    assert url.scheme == ("http" if url.hostname in HTTP_ONLY else "https")
    assert url.path.endswith(f"/{file.name}")
    assert file.num_bytes and file.sha256 and re.fullmatch("[0-9a-f]{64}", file.sha256)


def test_every_set_says_what_it_is_and_under_which_terms() -> None:
    for known in DATASETS.values():
        assert known.licence and known.description
        assert len({file.name for file in known.files}) == len(known.files)
