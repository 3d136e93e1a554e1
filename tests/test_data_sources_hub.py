"""Data sets on the Hub, with a server that implements as much of its API as a download needs."""

from __future__ import annotations

import csv
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.remote_data import allow_network, contents, leftovers, serving

from resnet_cli.data.sources.fetching import remote
from resnet_cli.data.sources.fetching.hub_files import split_of
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError, NetworkError, ResnetCliError
from resnet_cli.system.paths import data_dir

MakeFolder = Callable[..., Path]
PETS = {"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "dog": 1}}


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_network(monkeypatch)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubHandler(http.server.BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        if hub.error:
            code, name = hub.error
            return self.answer(code, b"", **{"X-Error-Code": name})
        api, files = "/api/datasets/owner/pets", f"/datasets/owner/pets/resolve/{hub.commit}/"
        if path in {f"{api}/revision/main", f"{api}/revision/v2"}:
            about = {"_id": "1", "id": "owner/pets", "sha": hub.commit, "private": False, "tags": [], "siblings": []}
            return self.answer(200, json.dumps(about).encode())
        if path.startswith(f"{api}/revision/"):
            return self.answer(404, b"", **{"X-Error-Code": "RevisionNotFound"})
        if path in {f"{api}/tree/main", f"{api}/tree/v2", f"{api}/tree/{hub.commit}"}:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": f"{index:040x}"}
                for index, (name, data) in enumerate(hub.files.items())
            ]
            return self.answer(200, json.dumps([{"type": "directory", "path": "x", "oid": "0" * 40}, *tree]).encode())
        if path.startswith(f"{api}/tree/"):
            return self.answer(404, b"", **{"X-Error-Code": "RevisionNotFound"})
        data = hub.files.get(path.removeprefix(files)) if path.startswith(files) else None
        if data is None:
            return self.answer(404, b"", **{"X-Error-Code": "RepoNotFound"})
        etag = f'"{hash(data) & 0xFFFFFFFFFFFF:040x}"'
        self.answer(200, data, **{"ETag": etag, "X-Repo-Commit": hub.commit})

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class HubServer(http.server.ThreadingHTTPServer):
    """One data set, ``owner/pets``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, bytes] = {}
        self.commit = COMMIT
        self.error: tuple[int, str] | None = None
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def sent(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.requests if path.startswith("GET /datasets/")]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = HubServer()
    # Both are read from the environment when the package is imported.
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    yield from serving(server)


def images_of(folder: Path) -> dict[str, bytes]:
    return dict(sorted(contents(folder).items()))


def shard(images: list[bytes | None], labels: list[int], *, names: tuple[str, str] = ("image", "label")) -> bytes:
    """A Parquet file as the `datasets` library writes it."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    image, label = names
    features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pyarrow.table(
        {image: [{"bytes": data, "path": None} for data in images], label: labels}
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_image_folder_on_the_hub_is_real_files_in_our_cache(hub: HubServer, make_folder: MakeFolder) -> None:
    local = make_folder(PETS)
    hub.files = {**contents(local), "README.md": b"x", "pets.py": b"raise SystemExit", "notes.txt": b"x"}
    reports: list[tuple[int, int | None]] = []
    folder = remote.localize("hf:owner/pets", on_progress=lambda *report: reports.append(report))
    assert folder.name == "pets"
    assert contents(folder) == contents(local)
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert not {"README.md", "pets.py", "notes.txt"} & set(hub.sent())
    total = sum(map(len, contents(local).values()))
    assert reports[-1] == (total, total)
    assert open_dataset("hf:owner/pets").classes == ("cat", "dog")


def test_a_hub_download_goes_on_where_it_stopped_and_ends_offline(hub: HubServer, make_folder: MakeFolder) -> None:
    local = make_folder({"cat": 3, "dog": 3})
    whole = contents(local)
    hub.files = dict(whole)
    with pytest.raises(NetworkError, match="cache"):
        remote.localize("hf:owner/pets", offline=True)
    assert hub.requests == []
    folder = remote.localize("hf:owner/pets")
    hub.requests.clear()
    assert remote.localize("hf:owner/pets") == folder
    assert hub.sent() == []
    hub.requests.clear()
    assert remote.localize("hf:owner/pets", offline=True) == folder
    assert hub.requests == []
    hub.commit, hub.files = "f" * 40, {**whole, "dog/new.jpg": b"new"}
    newer = remote.localize("hf:owner/pets")
    assert newer != folder
    assert contents(newer) == hub.files and contents(folder) == whole


def test_parquet_shards_become_images_and_one_table(hub: HubServer, make_folder: MakeFolder) -> None:
    local = make_folder({"cat": 3, "dog": 3})
    cats, dogs = (list(images_of(local / name).values()) for name in ("cat", "dog"))
    hub.files = {
        "data/train-00000-of-00002.parquet": shard([cats[0], dogs[0]], [0, 1]),
        "data/train-00001-of-00002.parquet": shard([cats[1]], [0]),
        "data/validation-00000-of-00001.parquet": shard([dogs[1]], [1]),
        "data/test-00000-of-00001.parquet": shard([cats[2], b"\x89PNG\r\n\x1a\nbroken", b""], [0, 1, 1]),
        "data/extra-00000-of-00001.parquet": shard([dogs[2]], [1]),
    }
    table = remote.localize("hf:owner/pets")
    assert (table.name, table.parent.name) == ("images.csv", "pets")
    found = [(row["image"], row["label"], row["split"]) for row in rows(table)]
    assert found == [
        ("test/0000000.jpg", "cat", "test"),
        ("test/0000001.png", "dog", "test"),
        ("test/0000002.jpg", "dog", "test"),
        ("train/0000000.jpg", "cat", "train"),
        ("train/0000001.jpg", "dog", "train"),
        ("train/0000002.jpg", "cat", "train"),
        ("val/0000000.jpg", "dog", "val"),
    ]
    assert [(table.parent / name).read_bytes() for name, _, _ in found[3:]] == [cats[0], dogs[0], cats[1], dogs[1]]
    assert (table.parent / "test/0000002.jpg").read_bytes() == b""
    dataset = open_dataset("hf:owner/pets")
    assert dataset.classes == ("cat", "dog")
    assert [len(dataset.split(split)) for split in ("train", "val", "test")] == [3, 1, 3]
    assert remote.localize("hf:owner/pets", offline=True) == table


def test_lists_of_labels_in_shards_stay_lists(hub: HubServer, make_folder: MakeFolder) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    data = list(images_of(make_folder({"cat": 3})).values())
    images = [{"bytes": image, "path": None} for image in data]
    table = pyarrow.table({"image": images, "label": [["a cat", "dog"], ["a cat"], []]})
    parquet.write_table(table, sink := io.BytesIO())
    hub.files = {"train.parquet": sink.getvalue()}
    dataset = open_dataset("hf:owner/pets")
    assert dataset.task == "multi-label" and dataset.classes == ("a cat", "dog")
    assert [item.labels for item in sorted(dataset.items, key=lambda item: item.name)] == [(0, 1), (0,), ()]


def test_the_columns_of_shards_may_have_any_name(hub: HubServer, make_folder: MakeFolder) -> None:
    images = list(images_of(make_folder({"cat": 2})).values())
    hub.files = {"train.parquet": shard([*images], [0, 1], names=("pixels", "fine_label"))}
    with pytest.raises(DataError, match="column"):
        remote.localize("hf:owner/pets")
    columns = {"image_column": "pixels", "label_column": "fine_label", "split_column": None}
    table = remote.localize("hf:owner/pets", columns=columns)
    assert [row["fine_label"] for row in rows(table)] == ["cat", "dog"]
    assert rows(table)[0]["pixels"] == "train/0000000.jpg"


def test_a_damaged_shard_leaves_nothing_behind(hub: HubServer, make_folder: MakeFolder) -> None:
    images = list(images_of(make_folder({"cat": 2})).values())
    hub.files = {"a-train.parquet": shard([*images], [0, 1]), "b-train.parquet": b"PAR1 and no more"}
    with pytest.raises(DataError, match="b-train"):
        remote.localize("hf:owner/pets")
    assert not list(data_dir().rglob("*.jpg")) and leftovers() == []


def test_an_interrupted_unpacking_leaves_nothing_behind(
    hub: HubServer, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list(images_of(make_folder({"cat": 2})).values())
    hub.files = {"train.parquet": shard([*images], [0, 1])}
    written: list[Path] = []
    original = Path.write_bytes

    def interrupted(self: Path, data: bytes) -> int:
        if self.name == "0000001.jpg":
            raise KeyboardInterrupt
        written.append(self)
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remote.localize("hf:owner/pets")
    assert written and not list(data_dir().rglob("*.jpg"))
    monkeypatch.setattr(Path, "write_bytes", original)
    assert len(rows(remote.localize("hf:owner/pets"))) == 2


def test_one_of_several_configurations_has_to_be_chosen(hub: HubServer, make_folder: MakeFolder) -> None:
    images = list(images_of(make_folder({"cat": 3})).values())
    hub.files = {
        f"{name}/{split}/0000.parquet": shard([images[index]] * count, [index] * count)
        for index, name in enumerate(["full", "small"])
        for count, split in enumerate(["train", "test"], start=1)
    }
    with pytest.raises(DataError, match="2 configurations: full, small") as caught:
        remote.localize("hf:owner/pets")
    assert "hf:owner/pets/full" in (caught.value.hint or "")
    assert hub.sent() == [], "nothing is downloaded before the choice"
    table = remote.localize("hf:owner/pets/small")
    assert [(row["label"], row["split"]) for row in rows(table)] == [("dog", "test"), ("dog", "test"), ("dog", "train")]
    assert len(hub.sent()) == 2
    assert remote.localize("hf:owner/pets/small", offline=True) == table
    with pytest.raises(NetworkError):
        remote.localize("hf:owner/pets/full", offline=True)
    hub.commit = "e" * 40
    hub.files["default/train/0000.parquet"] = shard([images[2]], [0])
    table = remote.localize("hf:owner/pets")
    assert [row["label"] for row in rows(table)] == ["cat"]
    assert remote.localize("hf:owner/pets", offline=True) == table


def test_a_revision_can_be_asked_for(hub: HubServer, make_folder: MakeFolder) -> None:
    hub.files = contents(make_folder({"cat": 1, "dog": 1}))
    for revision in ("v2", COMMIT):
        assert contents(remote.localize(f"hf:owner/pets@{revision}")) == hub.files
    with pytest.raises(DataError, match="no such revision"):
        remote.localize("hf:owner/pets@v3")


def test_the_one_archive_of_a_data_set_is_handed_on(hub: HubServer, tmp_path: Path, make_folder: MakeFolder) -> None:
    local = make_folder({"cat": 1, "dog": 1})
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", local))
    hub.files = {"data/images.zip": archive.read_bytes(), "README.md": b"x"}
    found = remote.localize("hf:owner/pets")
    assert found.name == "images.zip"
    assert found.read_bytes() == archive.read_bytes() and not found.is_symlink()
    assert open_dataset("hf:owner/pets").classes == ("cat", "dog")
    hub.commit, hub.files = "e" * 40, {**hub.files, "data/more.zip": b"x"}
    with pytest.raises(DataError, match="2 archives") as caught:
        remote.localize("hf:owner/pets")
    assert caught.value.hint == "choose one: hf:owner/pets/data/images.zip"
    assert remote.localize("hf:owner/pets/data/images.zip").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ((404, "RepoNotFound"), DataError, "no such data set"),
        ((401, ""), DataError, "no such data set"),
        ((403, "GatedRepo"), NetworkError, "accept"),
        ((418, ""), NetworkError, "HTTP 418"),
    ],
)
def test_the_hubs_errors_become_ours(
    hub: HubServer, error: tuple[int, str], kind: type[ResnetCliError], words: str
) -> None:
    hub.error = error
    with pytest.raises(kind, match=words):
        remote.localize("hf:owner/pets")


@pytest.mark.parametrize("part", ["", "/nowhere"])
def test_a_data_set_without_data_is_refused(hub: HubServer, part: str) -> None:
    hub.files = {"README.md": b"x", "script.py": b"x", **({"a/1.jpg": b"x"} if part else {})}
    with pytest.raises(DataError, match="no images"):
        remote.localize(f"hf:owner/pets{part}")


def test_files_are_copied_where_the_disk_knows_no_links(
    hub: HubServer, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise OSError("no links here")

    hub.files = contents(make_folder({"cat": 1, "dog": 1}))
    monkeypatch.setattr(os, "link", refuse)
    assert contents(remote.localize("hf:owner/pets")) == hub.files


def test_the_hubs_own_environment_is_honoured_and_nothing_is_printed(
    hub: HubServer, tmp_path: Path, make_folder: MakeFolder
) -> None:
    hub.files = contents(make_folder({"cat": 1, "dog": 1}))
    code = "import sys; from resnet_cli.data.sources.fetching.remote import localize; localize('hf:owner/pets')"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (tmp_path / "home" / "hub" / "datasets--owner--pets").is_dir()
    assert done.stdout == "" and "%" not in done.stderr


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("validation.parquet", "val"),
        ("x/Valid_01.parquet", "val"),
        ("default/test/0000.parquet", "test"),
        ("default/train/part.parquet", "train"),
        ("data/0000.parquet", ""),
        ("trainer-0.parquet", ""),
    ],
)
def test_a_shard_says_its_split_by_its_name_or_folder(name: str, split: str) -> None:
    assert split_of(name) == split
