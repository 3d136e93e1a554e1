from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.errors import DataError

MakeFolder = Callable[..., Path]


def counts(dataset: Dataset) -> dict[str, list[int]]:
    """Split -> images of each class, without the empty splits."""
    return {split: per_class for split, per_class in dataset.counts().items() if any(per_class)}


def test_a_folder_of_classes_is_all_train(make_folder: MakeFolder) -> None:
    folder = make_folder({"dog": 2, "cat": 3}, name="pets")
    dataset = open_dataset(str(folder))
    assert dataset.classes == ("cat", "dog")
    assert counts(dataset) == {"train": [3, 2]}
    assert (dataset.name, dataset.spec, dataset.split_note) == ("pets", str(folder), "")
    assert dataset.items[0].name == "cat/000.jpg"
    assert [item.name for item in dataset.items] == sorted(item.name for item in dataset.items)


def test_every_item_opens_the_file_that_it_names(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat": 2, "dog": 2})
    dataset = open_dataset(str(folder))
    assert {item.source for item in dataset.items} == set(folder.rglob("*.jpg"))
    assert {np.asarray(item.open()).shape for item in dataset.items} == {(40, 48, 3)}
    assert len({item.content_hash() for item in dataset.items}) == 4


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val"),
        ("train", "test"),
        ("train", "val", "test"),
        ("train", "valid", "test"),
        ("training_set", "test_set"),
        ("Train", "Validation", "TEST"),
        ("training", "validation_set", "testing"),
    ],
    ids=" ".join,
)
def test_folders_named_after_splits_are_the_splits(make_folder: MakeFolder, names: tuple[str, ...]) -> None:
    folder = make_folder({name: {"cat": 2, "dog": 3} for name in names})
    dataset = read_folder(folder)
    assert dataset.classes == ("cat", "dog")
    assert counts(dataset) == {SPLIT_NAMES[name.lower()]: [2, 3] for name in names}
    assert dataset.split_note == "from the folders"


def test_labels_follow_the_name_where_the_splits_hold_different_classes(make_folder: MakeFolder) -> None:
    folder = make_folder({"train": {"cat": 2, "dog": 2}, "val": {"ant": 1, "dog": 1}, "test": {"cat": 1, "dog": 1}})
    dataset = read_folder(folder)
    assert dataset.classes == ("ant", "cat", "dog")
    assert counts(dataset) == {"train": [0, 2, 2], "val": [1, 0, 1], "test": [0, 1, 1]}
    assert all(dataset.classes[item.label] == item.name.split("/")[1] for item in dataset.items)


def test_split_names_without_train_are_classes(make_folder: MakeFolder) -> None:
    assert read_folder(make_folder({"test": 2, "val": 2})).classes == ("test", "val")


def test_images_in_folders_below_a_class_belong_to_it(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat": 1, "dog": 1, "cat/indoors/night": 2, "cat/.trash": 1})
    dataset = read_folder(folder)
    assert dataset.classes == ("cat", "dog")
    assert counts(dataset) == {"train": [3, 1]}
    assert "cat/indoors/night/001.jpg" in [item.name for item in dataset.items]


def test_what_systems_leave_behind_is_no_image_and_no_class(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat": 2, "dog": 2, ".git": 1, "__MACOSX": 1, "@eaDir": 1, "__pycache__": 1})
    for name in (".DS_Store", "._000.jpg", ".hidden.jpg"):
        (folder / "cat" / name).write_bytes(b"x")
    dataset = read_folder(folder)
    assert dataset.classes == ("cat", "dog")
    assert counts(dataset) == {"train": [2, 2]}
    assert dataset.notes == ()


@pytest.mark.parametrize("num_files", [1, 3])
def test_other_files_are_passed_over_and_counted(make_folder: MakeFolder, num_files: int) -> None:
    folder = make_folder({"cat": 2, "dog": 2})
    for index in range(num_files):
        (folder / "cat" / f"notes{index}.txt").write_text("x")
    dataset = read_folder(folder)
    assert len(dataset.items) == 4
    assert dataset.notes == (f"files that are not images were ignored: {num_files}",)


def test_a_folder_without_images_is_noted_and_no_class(make_folder: MakeFolder) -> None:
    dataset = read_folder(make_folder({"train": {"cat": 2, "dog": 2, "owl": 0}, "val": {"cat": 1}}))
    assert dataset.classes == ("cat", "dog")
    assert dataset.notes == ("the folder train/owl contains no images",)


@pytest.mark.parametrize("names", [("hot dog", "Gänse"), ("猫", "🐝"), ("[red]", "a,b"), ("10", "9")])
def test_class_names_are_folder_names_as_they_are(make_folder: MakeFolder, names: tuple[str, str]) -> None:
    dataset = open_dataset(str(make_folder(dict.fromkeys(names, 2), name="photos of Ünïcode 📷")))
    assert dataset.classes == tuple(sorted(names))
    assert dataset.name == "photos of Ünïcode 📷"
    assert dataset.items[0].open().size == (48, 40)


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system itself knows one form")
def test_two_ways_to_write_an_accent_are_one_class(make_folder: MakeFolder) -> None:
    dataset = open_dataset(str(make_folder({"train": {"e\u0301": 2, "b": 2}, "val": {"\u00e9": 1, "b": 1}})))
    assert dataset.classes == ("b", "\u00e9")
    assert counts(dataset) == {"train": [2, 2], "val": [1, 1]}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_names_that_are_not_utf8_can_be_used(make_folder: MakeFolder) -> None:
    latin = os.fsdecode("Gänse".encode("latin-1"))
    dataset = open_dataset(str(make_folder({latin: 2, "Enten": 2})))
    assert dataset.classes == ("Enten", latin)
    assert all(item.content_hash() for item in dataset.items)


def test_two_folders_for_one_split_are_refused(make_folder: MakeFolder) -> None:
    folder = make_folder({"train": {"cat": 1}, "val": {"cat": 1}, "valid": {"cat": 1}})
    with pytest.raises(DataError, match="val, valid both denote the val split"):
        read_folder(folder)


@pytest.mark.parametrize("layout", [{}, {"cat": 0, "dog": 0}, {"train": {"cat": 0}, "val": {}}], ids=str)
def test_a_folder_without_any_image_is_refused(make_folder: MakeFolder, layout: dict[str, int]) -> None:
    with pytest.raises(DataError, match="no images") as caught:
        read_folder(make_folder(layout))
    assert caught.value.hint is not None and "DATA/cat/1.jpg" in caught.value.hint


def test_loose_images_are_counted_and_refused(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="3 images but no class folders"):
        read_folder(make_folder({"photos": 3}) / "photos")


def test_a_missing_folder_is_named_with_what_could_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder") as caught:
        open_dataset(str(tmp_path / "gone"))
    assert caught.value.hint is not None and "cifar10" in caught.value.hint
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="not a folder, a table or an archive"):
        open_dataset(str(tmp_path / "file"))


def test_a_set_with_a_name_needs_no_folder() -> None:
    dataset = open_dataset("digits")
    assert dataset.classes == tuple("0123456789")
    assert len(dataset.items) == 1797 and not dataset.mirror_safe
    assert dataset.items[0].open().size == (8, 8)


def test_a_folder_wins_over_a_set_of_the_same_name(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_folder({"cat": 1, "dog": 1}, name="digits").parent)
    assert open_dataset("digits").classes == ("cat", "dog")


def test_a_link_to_a_folder_is_a_folder_where_that_is_asked_for(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder({"cat": 1, "dog": 1})
    try:
        (folder / "owl").symlink_to(folder / "cat", target_is_directory=True)
        # A loop below a class is not followed.
        (folder / "dog" / "loop").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("this system allows no links")
    assert counts(read_folder(folder, DataConfig(follow_links=True))) == {"train": [1, 1, 1]}
    dataset = read_folder(folder)
    assert counts(dataset) == {"train": [1, 1]}


def test_select_keeps_the_named_classes_in_the_order_given(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 1, "bee": 2, "cat": 3})
    dataset = open_dataset(str(folder), DataConfig(classes=("cat", "ant")))
    assert dataset.classes == ("cat", "ant")
    assert counts(dataset) == {"train": [3, 1]}
    assert all(item.name.startswith(dataset.classes[item.label]) for item in dataset.items)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [(["cat", "owl"], "'owl' is not a class of photos"), (["cat"], "at least two"), (["cat", "cat"], "two different")],
)
def test_select_refuses_what_is_no_choice(make_folder: MakeFolder, classes: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_dataset(str(make_folder({"cat": 1, "dog": 1})), DataConfig(classes=tuple(classes)))


def test_relabel_aligns_labels_with_a_model_by_name(make_folder: MakeFolder) -> None:
    dataset = read_folder(make_folder({"cat": 1, "dog": 2})).relabel(("dog", "owl", "cat"))
    assert dataset.classes == ("dog", "owl", "cat")
    assert counts(dataset) == {"train": [2, 0, 1]}
    assert all(item.name.startswith(dataset.classes[item.label]) for item in dataset.items)


def test_relabel_names_the_classes_that_the_model_does_not_know(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="a class that the model does not have: dog") as caught:
        read_folder(make_folder({"cat": 1, "dog": 2})).relabel(("cat", "cow"))
    assert caught.value.hint is not None and "cat, cow" in caught.value.hint


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    assert read_folder(make_folder({"bus": 2, "train": 2})).classes == ("bus", "train")


def test_what_lies_beside_the_splits_or_the_classes_is_noted(make_folder: MakeFolder) -> None:
    split = make_folder({"train": {"cat": 2, "dog": 2}, "vall": {"cat": 1}}, name="split")
    assert read_folder(split).notes == ("folders beside train were ignored: vall (1 image)",)
    flat = make_folder({"cat": 2, "dog": 2}, name="flat")
    shutil.copy(flat / "cat" / "000.jpg", flat / "loose.jpg")
    assert read_folder(flat).notes == ("images without a class were ignored: 1",)


def test_folders_that_only_wrap_a_data_set_are_looked_through(make_folder: MakeFolder) -> None:
    bare = read_folder(make_folder({"cat": 2, "dog": 2}, name="bare"))
    wrapped = read_folder(make_folder({"archive/pets/cat": 2, "archive/pets/dog": 2}, name="wrapped"))
    assert wrapped.classes == bare.classes and len(wrapped.items) == 4
    train, test = {"training_set/cat": 2, "training_set/dog": 2}, {"test_set/cat": 1, "test_set/dog": 1}
    twice = make_folder({"training_set": train, "test_set": test}, name="twice")
    assert counts(read_folder(twice)) == {"train": [2, 2], "test": [1, 1]}
