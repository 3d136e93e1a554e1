"""Links: none is followed out of the data unless requested, and loops of links end."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inputs.opening import find_images
from resnet_cli.data.inspection.scan import leave_out_unreadable, scan
from resnet_cli.data.sources import survey
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.tree import Tree
from resnet_cli.errors import DataError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")

MakeFolder = Callable[..., Path]
FOLLOW = DataConfig(follow_links=True)


def names(dataset: Dataset) -> list[str]:
    return [item.name for item in dataset.items]


def link(path: Path, target: str | Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


@pytest.fixture
def pets(make_folder: MakeFolder) -> Path:
    return make_folder({"cat": 2, "dog": 2}, name="pets")


@pytest.fixture
def elsewhere(make_folder: MakeFolder) -> Path:
    """Images outside the data set."""
    return make_folder({"secret": 3}, name="elsewhere") / "secret"


PETS = ["cat/000.jpg", "cat/001.jpg", "dog/000.jpg", "dog/001.jpg"]


# Loops


def _self(pets: Path) -> None:
    link(pets / "cat" / "self", ".")


def _itself_by_name(pets: Path) -> None:
    link(pets / "cat" / "again", pets / "cat")


def _parent(pets: Path) -> None:
    link(pets / "cat" / "up", "..")


def _root(pets: Path) -> None:
    link(pets / "dog" / "deep" / "er" / "root", "/")


def _top(pets: Path) -> None:
    link(pets / "top", pets)


def _through_a_link(pets: Path) -> None:
    # The loop is only visible if both are followed.
    link(pets.parent / "outside", pets)
    link(pets / "cat" / "out", pets.parent / "outside")


def _nowhere(pets: Path) -> None:
    link(pets / "cat" / "loop", "loop")
    link(pets / "dog" / "a", "b")
    link(pets / "dog" / "b", "a")


CIRCLES = [_self, _itself_by_name, _parent, _root, _top, _through_a_link, _nowhere]


@pytest.mark.parametrize("make", CIRCLES)
@pytest.mark.parametrize("options", [DataConfig(), FOLLOW], ids=["as usual", "followed"])
def test_a_circle_adds_no_image(pets: Path, make: Callable[[Path], None], options: DataConfig) -> None:
    make(pets)
    dataset = read_folder(pets, options)
    assert names(dataset) == PETS
    assert dataset.classes == ("cat", "dog")


@pytest.mark.parametrize("make", CIRCLES[:-1])
def test_a_circle_is_counted_and_noted_and_nobody_is_told_to_follow_it(
    pets: Path, make: Callable[[Path], None]
) -> None:
    make(pets)
    dataset = read_folder(pets)
    assert dataset.passed_over["links"] == 1
    assert dataset.notes == ("links were not followed: 1 (--follow-links follows them)",)
    followed = read_folder(pets, FOLLOW)
    assert followed.passed_over["links"] == 1
    assert followed.notes == ("links were not followed: 1 (they lead to an enclosing folder)",)


@pytest.mark.parametrize("num_folders", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_folders_that_all_link_to_each_other_are_each_read_once(
    pets: Path, make_folder: MakeFolder, num_folders: int
) -> None:
    """Twelve of them can be visited in 12! orders."""
    web = make_folder({f"f{index}": 1 for index in range(num_folders)}, name="web")
    for first in range(num_folders):
        for second in range(num_folders):
            if first != second:
                link(web / f"f{first}" / f"to{second}", web / f"f{second}")
    link(pets / "cat" / "web", web / "f0")
    dataset = read_folder(pets, FOLLOW)
    assert len(dataset.items) == len(PETS) + num_folders
    assert len({os.path.realpath(item.location) for item in dataset.items}) == len(dataset.items)
    assert names(read_folder(pets)) == PETS


def test_two_classes_that_link_to_each_other_end(pets: Path) -> None:
    link(pets / "cat" / "dogs", pets / "dog")
    link(pets / "dog" / "cats", pets / "cat")
    dataset = read_folder(pets, FOLLOW)
    # Because of the links, one image is in both classes; inspect reports it.
    assert dataset.counts()["train"] == [4, 4]
    assert len(set(names(dataset))) == 8


def test_a_folder_that_two_links_of_a_class_reach_is_read_once(pets: Path, elsewhere: Path) -> None:
    for name in ("a", "b", "c"):
        link(pets / "cat" / name, elsewhere)
    dataset = read_folder(pets, FOLLOW)
    assert [name for name in names(dataset) if name.count("/") == 2] == [f"cat/a/{index:03d}.jpg" for index in range(3)]


def test_a_chain_of_links_is_followed_to_its_end(pets: Path, elsewhere: Path) -> None:
    target = elsewhere
    for index in range(20):
        target = link(pets.parent / f"chain{index}", target)
    link(pets / "owl", target)
    assert read_folder(pets, FOLLOW).counts()["train"] == [2, 2, 3]
    assert read_folder(pets).classes == ("cat", "dog")


def test_a_chain_without_end_is_no_folder_and_no_image(pets: Path) -> None:
    # Source: Linux refuses a path with more than 40 links, path_resolution(7).
    target: Path = pets / "dog"
    for index in range(60):
        target = link(pets.parent / f"chain{index}", target)
    link(pets / "owl", target)
    for options in (DataConfig(), FOLLOW):
        assert names(read_folder(pets, options)) == PETS


def test_folders_in_each_other_without_end_are_refused(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_DEPTH", 6)
    (pets / "cat" / "1/2/3/4/5/6").mkdir(parents=True)
    assert names(read_folder(pets)) == PETS
    (pets / "cat" / "1/2/3/4/5/6/7").mkdir()
    with pytest.raises(DataError, match="more than 6 deep") as caught:
        read_folder(pets)
    assert caught.value.hint


# Links to the outside


def _folder_as_class(pets: Path, elsewhere: Path) -> None:
    link(pets / "secret", elsewhere)


def _folder_in_class(pets: Path, elsewhere: Path) -> None:
    link(pets / "cat" / "more", elsewhere)


def _relative_folder_in_class(pets: Path, elsewhere: Path) -> None:
    link(pets / "cat" / "more", os.path.relpath(elsewhere, pets / "cat"))


def _file(pets: Path, elsewhere: Path) -> None:
    link(pets / "cat" / "leak.jpg", elsewhere / "000.jpg")


def _file_through_a_link_within(pets: Path, elsewhere: Path) -> None:
    link(pets / ".pool" / "leak.jpg", elsewhere / "000.jpg")
    link(pets / "cat" / "leak.jpg", "../.pool/leak.jpg")


def _file_of_the_system(pets: Path, elsewhere: Path) -> None:
    link(pets / "cat" / "passwd.jpg", "/etc/passwd")


def _folder_beside_with_the_same_beginning(pets: Path, elsewhere: Path) -> None:
    (pets.parent / "pets2").mkdir()
    link(pets / "cat" / "leak.jpg", (elsewhere / "000.jpg").rename(pets.parent / "pets2" / "000.jpg"))


WAYS_OUT = [
    _folder_as_class,
    _folder_in_class,
    _relative_folder_in_class,
    _file,
    _file_through_a_link_within,
    _file_of_the_system,
    _folder_beside_with_the_same_beginning,
]


@pytest.mark.parametrize("make", WAYS_OUT)
def test_a_way_out_is_not_taken_but_counted_and_noted(
    pets: Path, elsewhere: Path, make: Callable[[Path, Path], None]
) -> None:
    make(pets, elsewhere)
    dataset = read_folder(pets)
    assert names(dataset) == PETS
    assert dataset.passed_over["links"] == 1
    assert dataset.notes == ("links were not followed: 1 (--follow-links follows them)",)


@pytest.mark.parametrize("make", WAYS_OUT)
def test_a_way_out_is_taken_where_that_is_asked_for(
    pets: Path, elsewhere: Path, make: Callable[[Path, Path], None]
) -> None:
    make(pets, elsewhere)
    dataset = read_folder(pets, FOLLOW)
    assert len(dataset.items) > len(PETS)
    assert "links" not in dataset.passed_over and not any("links" in note for note in dataset.notes)


def test_a_split_that_is_a_way_out_is_not_taken(make_folder: MakeFolder) -> None:
    pets = make_folder({"train": {"cat": 2, "dog": 2}}, name="pets")
    val = make_folder({"cat": 1, "dog": 1}, name="other")
    link(pets / "val", val)
    assert read_folder(pets).counts()["val"] == [0, 0]
    assert read_folder(pets).passed_over["links"] == 1
    assert read_folder(pets, FOLLOW).counts()["val"] == [1, 1]


def test_a_link_to_a_file_that_is_no_image_is_no_image(pets: Path) -> None:
    link(pets / "cat" / "notes.txt", "/etc/passwd")
    assert names(read_folder(pets)) == PETS
    assert "links" not in read_folder(pets).passed_over


def test_each_link_is_counted_once(pets: Path, elsewhere: Path) -> None:
    for index in range(3):
        link(pets / "cat" / f"leak{index}.jpg", elsewhere / f"{index:03d}.jpg")
    link(pets / "dog" / "more", elsewhere)
    assert read_folder(pets).passed_over["links"] == 4


def test_a_folder_of_nothing_but_ways_out_says_how_to_take_them(tmp_path: Path, pets: Path) -> None:
    for name in ("cat", "dog"):
        link(tmp_path / "links" / name, pets / name)
    with pytest.raises(DataError, match=r"only links \(2\) that point outside") as caught:
        open_dataset(str(tmp_path / "links"))
    assert caught.value.hint is not None and "--follow-links" in caught.value.hint
    assert names(open_dataset(str(tmp_path / "links"), FOLLOW)) == PETS


def test_nobody_is_told_to_follow_links_who_does(tmp_path: Path) -> None:
    link(tmp_path / "links" / "cat" / "up", "..")
    with pytest.raises(DataError, match="no images") as caught:
        open_dataset(str(tmp_path / "links"), FOLLOW)
    assert "--follow-links" not in (caught.value.hint or "")


def test_a_link_that_is_data_itself_is_no_way_out(tmp_path: Path, pets: Path) -> None:
    """A link that the user names is followed."""
    assert names(open_dataset(str(link(tmp_path / "data", pets)))) == PETS


def test_links_within_the_data_are_images_like_others(pets: Path) -> None:
    link(pets / "owl" / "1.jpg", "../cat/000.jpg")
    link(pets / "owl" / "2.jpg", pets / "cat" / "001.jpg")
    dataset = read_folder(pets)
    assert dataset.counts()["train"] == [2, 2, 2]
    assert "links" not in dataset.passed_over


def test_images_to_predict_are_not_looked_for_behind_ways_out(pets: Path, elsewhere: Path) -> None:
    link(pets / "cat" / "more", elsewhere)
    link(pets / "cat" / "leak.jpg", elsewhere / "000.jpg")
    link(pets / "cat" / "up", "..")
    with open(os.devnull, "rb") as stdin:
        found = find_images([str(pets)], stdin=stdin).items
        # But a link that the user names is followed.
        named = find_images([str(pets / "cat" / "leak.jpg"), str(pets / "cat" / "more")], stdin=stdin).items
    assert [os.path.relpath(item.location, pets) for item in found] == PETS
    assert len(list(named)) == 4


# Broken links


@pytest.mark.parametrize("target", ["gone.jpg", "/nowhere/gone.jpg", "dangling.jpg"])
@pytest.mark.parametrize("options", [DataConfig(), FOLLOW], ids=["as usual", "followed"])
def test_a_link_to_nothing_is_an_image_that_cannot_be_read(pets: Path, target: str, options: DataConfig) -> None:
    path = link(pets / "cat" / "dangling.jpg", target)
    dataset = read_folder(pets, options)
    assert names(dataset) == sorted([*PETS, "cat/dangling.jpg"])
    looked_at = scan(dataset.items)
    with pytest.raises(DataError, match="1 of 5 images cannot be read") as caught:
        leave_out_unreadable(dataset.items, looked_at, "error")
    assert str(path) in caught.value.message
    kept, _, errors = leave_out_unreadable(dataset.items, looked_at, "skip")
    assert [item.name for item in kept] == PETS
    assert [error.path for error in errors] == [str(path)]


def test_a_link_to_nothing_without_an_images_name_is_nothing(pets: Path) -> None:
    link(pets / "cat" / "gone", "nowhere")
    link(pets / "owl", "nowhere")
    dataset = read_folder(pets)
    assert names(dataset) == PETS and dataset.notes == ()


# Paths in tables


OUTSIDE = ["../elsewhere/secret/000.jpg", "/etc/passwd", "../../etc/passwd", "cat/../../elsewhere/secret/001.jpg"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_table_of_ones_own_may_name_what_lies_elsewhere(pets: Path, elsewhere: Path, name: str) -> None:
    (pets / "labels.csv").write_text(f"image,label\n{PETS[0]},cat\n{name},dog\n")
    for spec in (pets, pets / "labels.csv"):
        dataset = open_dataset(str(spec))
        outside = os.path.realpath(pets / name)
        assert [(item.name, item.location) for item in dataset.items if item.label == 1] == [(outside, outside)]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", [*OUTSIDE, "..\\elsewhere\\secret\\000.jpg", "/", "..", "."])
def test_a_strangers_table_may_not(pets: Path, elsewhere: Path, tmp_path: Path, suffix: str, name: str) -> None:
    (pets / "labels.csv").write_text(f"image,label\n{PETS[0]},cat\n{name},dog\n")
    archive = tmp_path / f"pets.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(pets.rglob("*")):
                file.write(path, path.relative_to(pets))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(pets, arcname=".")
    if name == ".":
        # The folder itself: it is not outside, and not an image.
        dataset = open_dataset(str(archive))
        assert [bool(image.error) for image in scan(dataset.items)] == [False, True]
        return
    with pytest.raises(DataError, match=r"line 3: .* is outside pets") as caught:
        open_dataset(str(archive))
    assert repr(name)[1:-1].replace("\\\\", "\\") in caught.value.message and caught.value.hint


@pytest.mark.parametrize("name", [*OUTSIDE, "..\\x.jpg"])
def test_a_table_elsewhere_may_not_either(monkeypatch: pytest.MonkeyPatch, pets: Path, name: str) -> None:
    pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.delenv("RESNET_CLI_OFFLINE")
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    bucket = MemoryFileSystem()
    bucket.pipe_file("/pets/cat/000.jpg", (pets / "cat" / "000.jpg").read_bytes())
    bucket.pipe_file("/pets/labels.csv", f"image,label\n{PETS[0]},cat\n{name},dog\n".encode())
    for spec in ("memory://pets/labels.csv", "memory://pets"):
        with pytest.raises(DataError, match=r"refused|is outside") as caught:
            open_dataset(spec)
        assert caught.value.hint


def test_a_link_in_the_cache_is_no_way_out_for_a_strangers_table(pets: Path, elsewhere: Path, tmp_path: Path) -> None:
    """The readers do not rely on unpacked archives being free of links."""
    from resnet_cli.data.sources.readers import read
    from resnet_cli.data.sources.survey import Survey

    link(pets / "cat" / "leak.jpg", elsewhere / "000.jpg")
    link(pets / "more", elsewhere)
    for name in ("cat/leak.jpg", "more/001.jpg"):
        table = pets / "labels.csv"
        table.write_text(f"image,label\n{PETS[0]},cat\n{name},dog\n")
        with pytest.raises(DataError, match="is outside pets"):
            read(Survey(pets, spec="pets.zip", within=pets), DataConfig())
        assert len(read(Survey(pets, spec="pets"), DataConfig()).images) == 2


def test_listing_a_folder_that_cannot_be_read_is_an_error_that_names_it(pets: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (pets / "cat").chmod(0)
    try:
        with pytest.raises(DataError, match="cat: Permission denied"):
            read_folder(pets)
    finally:
        (pets / "cat").chmod(0o755)


def test_a_folder_that_goes_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: No such file"):
        Tree(tmp_path, follow_links=False).files_in(tmp_path / "gone")


def test_pipes_and_sockets_are_no_images(pets: Path) -> None:
    os.mkfifo(pets / "cat" / "pipe.jpg")
    assert names(read_folder(pets)) == PETS
    link(pets / "cat" / "link.jpg", "pipe.jpg")
    for options in (DataConfig(), FOLLOW):
        assert names(read_folder(pets, options)) == PETS


def test_a_table_that_names_a_pipe_is_not_waited_for(pets: Path) -> None:
    os.mkfifo(pets / "pipe.jpg")
    (pets / "labels.csv").write_text(f"image,label\n{PETS[0]},cat\n{PETS[2]},dog\n")
    assert len(open_dataset(str(pets)).items) == 2
    (pets / "labels.csv").write_text(f"image,label\npipe.jpg,cat\n{PETS[2]},dog\n")
    # Not the table that labels the folder: its first row names no file.
    assert names(open_dataset(str(pets))) == PETS
