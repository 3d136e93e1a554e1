"""Inputs become images: an iterator in a stable order, with errors before anything is computed."""

from __future__ import annotations

import glob
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.file_server import BODY, Server, cut, status
from support.mean_colours import COLOURS, paint

from resnet_cli.data.inputs.file_walk import images_below, matching
from resnet_cli.data.inputs.opening import InputOptions, find_images, listed_images
from resnet_cli.data.inputs.path_lists import read_paths
from resnet_cli.data.inputs.web import downloaded, web_item
from resnet_cli.errors import ConfigError, DataError, ImageError, NetworkError

pytest_plugins = ["support.server_fixtures"]

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
NAMES = ["b.png", "a.JPG", "c/2.png", "c/1.png", "c/d/3.png", "e f/[x].png", "readme.md", ".hidden.png", ".git/x.png"]
IMAGES = ["a.JPG", "b.png", "c/1.png", "c/2.png", "c/d/3.png", "e f/[x].png"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes to a folder with images in subfolders and other files."""
    for name in NAMES:
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    paint(tmp_path / "here" / "b.png", COLOURS["red"])
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def names(*specs: str, stdin: bytes = b"", **options: object) -> list[str]:
    found = find_images(specs, stdin=io.BytesIO(stdin), options=InputOptions(**options))  # type: ignore[arg-type]
    return [item.name.replace(os.sep, "/") for item in found.items]


def test_a_folder_stands_for_the_images_below_it(here: Path) -> None:
    assert names(".") == [f"./{name}" for name in IMAGES]
    assert names("c", ".", recursive=False) == ["c/1.png", "c/2.png", "./a.JPG", "./b.png"]


def test_the_images_of_a_folder_come_one_after_the_other(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    scandir = os.scandir

    def counted(path: str) -> object:
        opened.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    next(images_below("."))
    assert opened == ["."]


@pytest.mark.parametrize(
    "pattern", ["*.png", "**/*.png", "c/*", "**", "**/d/*.png", "*/*.png", "c/**", "?.png", "[ab].*", "c/1.png", ".*"]
)
def test_a_pattern_names_what_a_shell_would(here: Path, pattern: str) -> None:
    expected = {path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    found = list(matching(pattern))
    assert set(found) == expected and len(found) == len(expected)
    assert list(matching(str(here / pattern))) == [str(here / path) for path in found]


def test_a_file_that_looks_like_a_pattern_or_an_address_is_a_file(here: Path) -> None:
    assert names("e f/[x].png") == ["e f/[x].png"]
    assert names("e f/[[]x[]].png") == ["e f/[x].png"]
    odd = paint(here / "hf:x.png", COLOURS["red"])
    assert names(odd.name) == ["hf:x.png"]


@links
def test_links_out_of_a_folder_are_not_followed_but_those_to_nothing_are_reported(here: Path, tmp_path: Path) -> None:
    paint(tmp_path / "elsewhere" / "x.png", COLOURS["red"])
    for name, target in {
        "out.png": tmp_path / "elsewhere" / "x.png",
        "in.png": here / "b.png",
        "dead.png": Path("nowhere"),
        "dir": tmp_path / "elsewhere",
        "loop": here,
    }.items():
        (here / name).symlink_to(target)
    assert set(names(".")) == {f"./{name}" for name in [*IMAGES, "in.png", "dead.png"]}
    assert list(matching("**/x.png")) == []
    assert list(matching("dir/*.png")) == ["dir/x.png"]


def test_files_and_stdin_are_counted_beforehand(here: Path) -> None:
    found = find_images(["b.png", "-", "gone.png"], stdin=io.BytesIO(b"data"))
    assert found.total == 3 and not found.has_folder
    assert [(item.name, item.source) for item in found.items][1] == ("-", b"data")
    assert find_images(["b.png", "."], stdin=io.BytesIO()).total is None


@pytest.mark.parametrize("spec", ["empty", "*.tif", "none/*.png", "list.txt", "a.zip", ""])
def test_an_input_without_images_is_reported_at_once(here: Path, spec: str) -> None:
    (here / "empty").mkdir()
    (here / "list.txt").write_text("# nothing\n")
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("notes.md", "")
    with pytest.raises(DataError):
        find_images(["b.png", spec], stdin=io.BytesIO())


TABLES = {
    "t.csv": "id,Path\n1,c/1.png\n2,b.png\n",
    "t.tsv": "path\tlabel\nc/1.png\tcat\nb.png\t\n",
    "t.jsonl": '{"image": "c/1.png", "n": 1}\n{"image": "b.png", "n": 2}\n',
    "only.csv": "whatever\nc/1.png\nb.png\n",
    "t.txt": "# a list\nc/1.png\nb.png\n\n",
    "t.lst": "c/1.png cat\nb.png\tdog house\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_images_relative_to_itself(here: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / name).write_text(TABLES[name])
    monkeypatch.chdir(here.parent)
    assert names(f"here/{name}") == ["here/c/1.png", "here/b.png"]


def test_a_parquet_table_may_hold_the_images_themselves(here: Path) -> None:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    data = (here / "b.png").read_bytes()
    parquet.write_table(arrow.table({"image": [{"bytes": data, "path": "x.png"}]}), "t.parquet")
    (item,) = find_images(["t.parquet"], stdin=io.BytesIO()).items
    assert (item.name, item.source) == ("t.parquet/x.png", data)


def test_the_column_can_be_named(here: Path) -> None:
    (here / "t.csv").write_text("path,thumb\nc/1.png,b.png\n")
    assert names("t.csv") == ["c/1.png"]
    assert names("t.csv", image_column="Thumb") == ["b.png"]
    with pytest.raises(ConfigError, match=r"--image-column x: t\.csv has no such column"):
        names("t.csv", image_column="x")
    with pytest.raises(ConfigError, match="no input is a table"):
        names("b.png", image_column="path")
    (here / "two.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="no column is called 'image'"):
        names("two.csv")


def test_an_archive_is_unpacked_once_and_named_as_the_user_did(here: Path) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        for name in IMAGES:
            archive.write(name)
    assert names("a.zip") == names("a.zip") == [f"a.zip/{name}" for name in IMAGES]
    (first, *_) = find_images(["a.zip"], stdin=io.BytesIO()).items
    assert isinstance(first.source, Path) and first.source.is_file()


# Lists


@pytest.mark.parametrize("null", [False, True])
def test_lists_end_each_path_with_a_line_or_a_nul(null: bool) -> None:
    end = b"\0" if null else b"\n"
    paths = [b"a b.jpg", b"caf\xe9.jpg", "\N{FOX FACE}".encode(), b"#1.jpg", *([b"new\nline"] if null else [])]
    for data in (end.join(paths), end.join(paths) + end, end.join([b"", *paths, b""]) + end):
        assert list(read_paths(io.BytesIO(data), "list", null=null)) == [os.fsdecode(path) for path in paths]
    if not null:
        assert list(read_paths(io.BytesIO(b"a.jpg\r\nb.jpg\r\n"), "list")) == ["a.jpg", "b.jpg"]


def test_a_list_of_something_else_is_refused() -> None:
    with pytest.raises(DataError, match="contains NUL"):
        list(read_paths(io.BytesIO(b"a\0b\0"), "list"))
    for null in (False, True):
        with pytest.raises(DataError, match="longer than"):
            list(read_paths(io.BytesIO(b"x" * 2_000_001), "list", null=null))


def test_a_list_is_read_only_as_far_as_it_is_asked_for(tmp_path: Path) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a.jpg"

    found = listed_images(endless(), options=InputOptions())
    assert next(found).name == "a.jpg"


# Addresses


@pytest.fixture
def image(server: Server, tmp_path: Path) -> bytes:
    server.body = paint(tmp_path / "web.png", COLOURS["blue"]).read_bytes()
    return server.body


@pytest.mark.usefixtures("quick_and_direct")
def test_an_address_is_an_image_that_is_fetched_once_and_not_before_its_turn(server: Server, image: bytes) -> None:
    (item,) = find_images([f"{server.url}/a/b.png?size=2"], stdin=io.BytesIO()).items
    assert server.requests == []
    assert item.open().getpixel((0, 0)) == COLOURS["blue"]
    assert downloaded(item).source == image
    assert item.name == f"{server.url}/a/b.png?size=2" and [path for path, _ in server.requests] == ["/a/b.png?size=2"]


@pytest.mark.usefixtures("quick_and_direct")
def test_addresses_may_stand_in_lists_and_tables(server: Server, image: bytes, here: Path) -> None:
    (here / "t.csv").write_text(f"image\n{server.url}/x.png\n")
    (item,) = find_images(["t.csv"], stdin=io.BytesIO()).items
    assert item.open().size == (12, 10)
    (item,) = listed_images([f"{server.url}/y.png"], options=InputOptions())
    assert item.open().size == (12, 10)


@pytest.mark.usefixtures("quick_and_direct")
def test_what_goes_wrong_on_the_network_is_the_error_of_one_image(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [status(404)]
    with pytest.raises(ImageError, match="404"):
        web_item(f"{server.url}/gone.png", max_pixels=100).open()
    server.script = [cut] * 9
    with pytest.raises(ImageError, match="cannot download"):
        web_item(f"{server.url}/cut.png", max_pixels=100).open()
    server.script = []
    with pytest.raises(ImageError, match="not an image in a known format"):
        web_item(f"{server.url}/text.png", max_pixels=100).open()
    monkeypatch.setattr("resnet_cli.data.inputs.web.MAX_BYTES", len(BODY) - 1)
    with pytest.raises(ImageError, match=r"more than \d+ kB"):
        web_item(f"{server.url}/large.png", max_pixels=100).open()
    with pytest.raises(ImageError, match="not encrypted"):
        web_item("http://example.invalid/a.png", max_pixels=100).open()


def test_passwords_in_an_address_are_not_shown(server: Server) -> None:
    item = web_item("https://user:secret@host.invalid/a.png?token=x", max_pixels=100, offline=True)
    with pytest.raises(ImageError) as caught:
        item.open()
    assert "secret" not in item.name + str(caught.value) and "token" not in str(caught.value)
    assert item.name == "https://host.invalid/a.png?token=x"
    assert "offline" in str(caught.value)


def test_offline_a_named_address_is_refused_at_once(server: Server) -> None:
    with pytest.raises(NetworkError, match="offline"):
        find_images([f"{server.url}/a.png"], stdin=io.BytesIO(), options=InputOptions(offline=True))
    assert server.requests == []


def test_a_table_of_strangers_does_not_lead_out(here: Path) -> None:
    from resnet_cli.data.inputs.opening import _table_items

    (here / "t.jsonl").write_text(json.dumps({"image": "../secret.png"}) + "\n")
    with pytest.raises(DataError, match="is outside"):
        list(_table_items(here / "t.jsonl", InputOptions(), here))


@pytest.mark.parametrize("prefix", ["C:\\photos\\new\\", "new/", ""])
def test_the_images_of_a_table_are_found_as_those_of_a_data_set(tmp_path: Path, prefix: str) -> None:
    for folder in ("new", "old"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / folder / "7.png")
    table = tmp_path / "t.csv"
    table.write_text(f"image_id\n{prefix}7\n")
    if prefix:
        (item,) = find_images([str(table)], stdin=io.BytesIO()).items
        assert item.source == tmp_path / "new" / "7.png"
    else:
        with pytest.raises(DataError, match="fit several images") as caught:
            find_images([str(table)], stdin=io.BytesIO())
        assert "--image-folder new" in (caught.value.hint or "")
    (item,) = find_images(
        [str(table)], stdin=io.BytesIO(), options=InputOptions(image_folder="old" if not prefix else "new")
    ).items
    assert item.open().size == (4, 4)
