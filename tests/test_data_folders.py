"""Which folders are classes, which are splits, and which are neither: decided by names, and always noted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.folders.name_classes import NUMBERED
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.errors import ConfigError, DataError

CAT_DOG = ("cat", "dog")


def write(root: Path, *names: str) -> Path:
    """Files whose content does not matter: folders are read by names."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{name} {number}".encode())
    return root


def fill(root: Path, folders: dict[str, int], *, stem: str = "", extension: str = "jpg") -> Path:
    """The given number of images in each folder."""
    for folder, count in folders.items():
        write(root, *(f"{folder}/{stem}{index}.{extension}" for index in range(count)))
    return root


def counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Split -> class -> number of images."""
    per_split = {
        split: {name: n for name, n in zip(dataset.classes, per_class, strict=True) if n}
        for split, per_class in dataset.counts().items()
    }
    return {split: per_class for split, per_class in per_split.items() if per_class}


def read(root: Path, **options: object) -> Dataset:
    return open_dataset(str(root), DataConfig.model_validate(options))


def refused(root: Path, **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        read(root, **options)
    assert caught.value.hint
    return caught.value


def said(dataset: Dataset) -> str:
    return "\n".join(dataset.notes)


# Splits


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("train_data", "test_data", "test"),
        ("trainset", "testset", "test"),
        ("Training Data", "Testing Data", "test"),
        ("train1", "test1", "test"),
        ("train_256", "val_256", "val"),
        ("seg_train", "seg_test", "test"),
        ("cars_train", "cars_test", "test"),
        ("train", "eval", "val"),
        ("train", "holdout", "test"),
        ("training", "evaluation", "test"),
        ("train", "test_labeled", "test"),
        ("entrenamiento", "prueba", "test"),
        ("entraînement", "validation", "val"),
        ("treino", "validação", "val"),
        ("训练集", "测试集", "test"),
        ("1_train", "2_test", "test"),
        ("dataset_train", "dataset_test", "test"),
        ("Final_Training", "Final_Test", "test"),
        ("ISIC_2019_Training_Input", "ISIC_2019_Test_Input", "test"),
        ("TrainImages", "TestImages", "test"),
        ("trainval", "test", "test"),
    ],
)
def test_longer_names_of_splits_are_splits_and_that_is_noted(
    tmp_path: Path, train: str, other: str, split: str
) -> None:
    fill(tmp_path, {f"{train}/cat": 3, f"{train}/dog": 4, f"{other}/cat": 1, f"{other}/dog": 2})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 4}, split: {"cat": 1, "dog": 2}}
    said_of = {f"{train} (train)", f"{other} ({split})"}
    assert dataset.split_note.startswith("from the folders ")
    assert set(dataset.split_note.removeprefix("from the folders ").split(" and ")) == said_of


@pytest.mark.parametrize(
    "names",
    [
        ("airport", "train_station"),
        ("train_station", "test_tube"),
        ("train_station", "validator"),
        ("test_tube", "beaker"),
        ("latest", "greatest"),
        ("training_shoe", "dress_shoe", "test_card"),
        ("evaluation_board", "breadboard"),
        ("new_york", "old_york"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("inner", ["", "/2019", "/front"])
def test_a_class_whose_name_has_a_word_of_a_split_stays_a_class(
    tmp_path: Path, names: tuple[str, ...], inner: str
) -> None:
    dataset = read(fill(tmp_path, {f"{name}{inner}": 3 for name in names}))
    assert counts(dataset) == {"train": dict.fromkeys(sorted(names), 3)}


def test_a_doubled_split_folder_is_looked_through(tmp_path: Path) -> None:
    names = {
        f"seg_{split}/seg_{split}/{label}": count for split, count in (("train", 3), ("test", 2)) for label in CAT_DOG
    }
    dataset = read(fill(tmp_path, {**names, "seg_pred/seg_pred": 5}))
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}, "test": {"cat": 2, "dog": 2}}
    assert "seg_pred (5 images)" in said(dataset)
    assert dataset.split_note == "from the folders seg_test (test) and seg_train (train)"


def test_the_exact_name_of_a_split_wins_and_the_other_is_counted(tmp_path: Path) -> None:
    fill(tmp_path, {f"{name}/{label}": 2 for name in ("TRAIN", "TEST", "TEST_SIMPLE") for label in CAT_DOG})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}}
    assert "TEST_SIMPLE (4 images)" in said(dataset)


def test_two_longer_names_for_one_split_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, {f"{name}/{label}": 2 for name in ("train_a", "train_b", "test_a") for label in CAT_DOG})
    error = refused(tmp_path)
    assert "train_a, train_b both denote the train split" in error.message


@pytest.mark.parametrize("test", ["test", "test1", "test-multiple_fruits", "test_images"])
def test_images_of_a_test_split_without_labels_are_counted(tmp_path: Path, test: str) -> None:
    fill(tmp_path, {"train/cat": 2, "train/dog": 2, "valid/cat": 1, "valid/dog": 1, test: 7})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "dog": 1}}
    assert f"7 images in {test} have no labels and were not used" in said(dataset)


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("train", "val", "test"), ("train_images", "test_images"), ("Train",), ("images",)],
    ids=" ".join,
)
def test_flat_splits_and_folders_of_images_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    error = refused(fill(tmp_path, dict.fromkeys(names, 4)))
    assert names[0] in error.message and "4 images" in error.message
    assert "--label-regex" in (error.hint or "")


def test_classes_called_train_and_test_in_every_split_are_classes(tmp_path: Path) -> None:
    fill(tmp_path, {f"{split}/{name}": 2 for split in ("train", "test") for name in ("train", "test", "valve")})
    classes = {"train": 2, "test": 2, "valve": 2}
    assert counts(read(tmp_path)) == {"train": classes, "test": classes}


def test_parts_of_one_image_folder_are_no_classes(tmp_path: Path) -> None:
    error = refused(fill(tmp_path, {"HAM_images_part_1": 3, "HAM_images_part_2": 3}))
    assert "HAM_images_part_1 (3 images)" in error.message


def test_whoever_names_flat_folders_as_classes_gets_them(tmp_path: Path) -> None:
    fill(tmp_path, {"train": 3, "test": 3})
    assert counts(read(tmp_path, classes=("train", "test"))) == {"train": {"train": 3, "test": 3}}


# What does not count


def test_masks_beside_their_images_are_counted_and_not_used(tmp_path: Path) -> None:
    for label in CAT_DOG:
        write(tmp_path, *(f"{label}/{label} ({index}).png" for index in range(4)))
        write(
            tmp_path, *(f"{label}/{label} ({index})_mask.png" for index in range(4)), f"{label}/{label} (2)_mask_1.png"
        )
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 4, "dog": 4}}
    assert "10 images such as cat (0)_mask.png" in said(dataset)


@pytest.mark.parametrize("masks", ["masks", "mask", "Annotations", "ground truth", "segmentation"])
def test_a_folder_of_masks_is_no_class_and_belongs_to_none(tmp_path: Path, masks: str) -> None:
    fill(tmp_path, {f"{label}/{inner}": 3 for label in CAT_DOG for inner in ("images", masks)})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}}
    assert f"6 images in cat/{masks}, dog/{masks} were not used" in said(dataset)


@pytest.mark.parametrize(
    "names",
    [
        ("mask", "no_mask"),
        ("with_mask", "without_mask"),
        ("mask", "face"),
        ("masks", "nomasks"),
        ("labels", "stickers"),
    ],
    ids=" ".join,
)
def test_a_class_called_mask_is_a_class(tmp_path: Path, names: tuple[str, str]) -> None:
    assert counts(read(fill(tmp_path, dict.fromkeys(names, 3)))) == {"train": dict.fromkeys(sorted(names), 3)}


def test_runs_of_this_tool_are_no_class(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 2, "dog": 2, "runs/pets-1/plots": 3, "my run/plots": 2})
    write(tmp_path, "my run/config.yaml", "my run/metrics.json")
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}}
    assert "5 images in results of this tool (my run, runs) were not used" in said(dataset)


def test_the_split_of_a_run_in_the_data_labels_nothing(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 3, "dog": 3})
    write(tmp_path, "runs/pets-1/config.yaml", "runs/pets-1/metrics.json")
    (tmp_path / "runs/pets-1/split.csv").write_text("path,label,split\ncat/0.jpg,dog,train\ndog/0.jpg,cat,test\n")
    assert counts(read(tmp_path)) == {"train": {"cat": 3, "dog": 3}}


def test_a_class_called_runs_is_a_class(tmp_path: Path) -> None:
    assert counts(read(fill(tmp_path, {"runs": 2, "walks": 2}))) == {"train": {"runs": 2, "walks": 2}}


@pytest.mark.parametrize("beside", ["annotations/a.xml", "meta/train.txt", "labels/1.txt", "README.md"])
def test_images_beside_files_about_them_are_looked_through(tmp_path: Path, beside: str) -> None:
    write(fill(tmp_path, {"images/cat": 2, "images/dog": 2}), beside)
    assert counts(read(tmp_path)) == {"train": {"cat": 2, "dog": 2}}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("labels_val", "val"),
        ("TestImages", "test"),
        ("train_val", None),
        ("latest", None),
        ("", None),
    ],
)
def test_a_split_is_found_inside_a_name(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize("name", ["no_label", "_unlabeled", "unlabelled", "unsup", "_unclassified", "Unlabeled Images"])
def test_images_that_a_tool_left_without_a_label_are_no_class(tmp_path: Path, name: str) -> None:
    fill(tmp_path, {"cat": 2, "dog": 2, name: 5})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}}
    assert f"5 images in {name} have no labels" in said(dataset)
    kept = read(tmp_path, classes=("cat", "dog", name))
    assert counts(kept)["train"][name] == 5


def test_one_image_without_a_label_is_counted_in_the_singular(tmp_path: Path) -> None:
    dataset = read(fill(tmp_path, {"cat": 2, "dog": 2, "unsup": 1}))
    assert "1 image in unsup has no label and was not used" in said(dataset)


@pytest.mark.parametrize("name", ["test1", "test_images", "Testset"])
def test_a_flat_folder_of_test_images_beside_classes_is_no_class(tmp_path: Path, name: str) -> None:
    dataset = read(fill(tmp_path, {"cat": 2, "dog": 2, name: 5}))
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}}
    assert f"5 images in {name} have no labels" in said(dataset)


@pytest.mark.parametrize(
    "names",
    [("control", "test1"), ("cat", "dog", "test"), ("a", "test1", "test2"), ("cup", "jar", "test_tube")],
    ids=" ".join,
)
def test_a_class_called_test_stays_a_class(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert counts(read(fill(tmp_path, dict.fromkeys(names, 3)))) == {"train": dict.fromkeys(sorted(names), 3)}


def test_images_without_labels_beside_the_data_set_are_counted(tmp_path: Path) -> None:
    dataset = read(fill(tmp_path, {"data/cat": 2, "data/dog": 2, "unlabeled": 5}))
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}}
    assert "5 images in unlabeled have no labels and were not used" in said(dataset)


# Copies and versions


def copy_into(root: Path, name: str, *folders: str) -> None:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.jpg")):
            target = root / name / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def test_a_copy_inside_the_data_set_is_counted_and_not_used(tmp_path: Path) -> None:
    root = fill(tmp_path / "cells", {"healthy": 3, "sick": 4})
    copy_into(root, "cells", "healthy", "sick")
    dataset = read(root)
    assert counts(dataset) == {"train": {"healthy": 3, "sick": 4}}
    assert dataset.notes == ("cells is a copy of the folders beside it and was not used (7 images)",)
    # The same one level above.
    assert counts(read(tmp_path)) == counts(dataset)


def test_a_copy_of_all_splits_is_not_used(tmp_path: Path) -> None:
    names = {f"{split}/{label}": 2 for split in ("train", "val", "test") for label in CAT_DOG}
    root = fill(tmp_path / "xray", names)
    copy_into(root, "xray", "train", "val", "test")
    dataset = read(root)
    assert counts(dataset) == {split: {"cat": 2, "dog": 2} for split in ("train", "val", "test")}
    assert "xray is a copy" in said(dataset)


def test_folders_of_the_same_names_with_other_images_are_no_copy(tmp_path: Path) -> None:
    root = fill(tmp_path, {"healthy": 3, "sick": 4, "more/healthy": 2, "more/sick": 2})
    error = refused(root)
    assert "more contains folders with the same names as those beside it (healthy, sick)" in error.message
    assert f"as DATA: {root}/more" in (error.hint or "")
    assert counts(read(root / "more")) == {"train": {"healthy": 2, "sick": 2}}
    assert counts(read(root, classes=("healthy", "sick"))) == {"train": {"healthy": 3, "sick": 4}}


def test_a_copy_beside_the_data_set_is_not_used(tmp_path: Path) -> None:
    names = {f"Set/{split}/{label}": 2 for split in ("train", "valid") for label in CAT_DOG}
    root = fill(tmp_path, names)
    for path in sorted((root / "Set").rglob("*.jpg")):
        target = root / "set (1)" / path.relative_to(root / "Set")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    dataset = read(root)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}, "val": {"cat": 2, "dog": 2}}
    assert "set (1) is a copy of Set and was not used (8 images)" in said(dataset)


def test_the_version_with_splits_is_read_and_the_other_is_counted(tmp_path: Path) -> None:
    fill(tmp_path, {f"v1/v1/{split}/{label}": 2 for split in ("train", "test") for label in CAT_DOG})
    fill(tmp_path, {f"v1_512/{label}": 3 for label in CAT_DOG})
    fill(tmp_path, {"other/JPEGImages": 5})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}}
    assert "v1 was read, since it has splits; not used: other (5 images), v1_512 (6 images)" in said(dataset)


def test_two_versions_with_splits_are_refused_with_the_commands(tmp_path: Path) -> None:
    fill(tmp_path, {f"{v}/{split}/{c}": 2 for v in ("v1", "v2") for split in ("train", "test") for c in CAT_DOG})
    # Not a copy: one of them has an image more.
    write(tmp_path, "v2/train/cat/more.jpg")
    error = refused(tmp_path)
    assert "v1 (8 images), v2 (9 images)" in error.message
    assert f"as DATA: {tmp_path}/v1 or " in (error.hint or "") and "--classes v1,v2" in (error.hint or "")
    assert counts(read(tmp_path, classes=("v1", "v2"))) == {"train": {"v1": 8, "v2": 9}}


def test_images_as_they_were_taken_are_read_and_not_what_was_made_of_them(tmp_path: Path) -> None:
    fill(tmp_path, {f"{kind}/{label}": 2 for kind in ("color", "grayscale", "segmented") for label in CAT_DOG})
    write(tmp_path, "segmented/cat/more.jpg", "grayscale/dog/more.jpg")
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}}
    assert "color was read" in said(dataset) and "grayscale (5 images)" in said(dataset)


def test_versions_with_the_same_names_of_images_are_refused(tmp_path: Path) -> None:
    names = [f"{label}/scan {index} of leaf.jpg" for label in CAT_DOG for index in range(3)]
    write(tmp_path, *(f"{version}/{name}" for version in ("night", "noon") for name in names))
    assert "night (6 images), noon (6 images)" in refused(tmp_path).message


def test_the_same_folders_in_each_class_are_no_versions(tmp_path: Path) -> None:
    fill(tmp_path, {f"{label}/{place}": 3 for label in CAT_DOG for place in ("indoor", "outdoor")})
    assert counts(read(tmp_path)) == {"train": {"cat": 6, "dog": 6}}


# Levels of folders


def test_folders_that_only_group_classes_are_looked_through_and_that_is_noted(tmp_path: Path) -> None:
    fill(tmp_path, {"mammal/cat": 3, "mammal/dog": 3, "bird/robin": 3, "bird/crow": 3})
    leaf = {"train": dict.fromkeys(("cat", "crow", "dog", "robin"), 3)}
    dataset = read(tmp_path)
    assert counts(dataset) == leaf
    assert "--classes-at 1 takes bird, mammal instead" in said(dataset)
    assert counts(read(tmp_path, classes_at="2")) == counts(read(tmp_path, classes_at="leaf")) == leaf
    for options in ({"classes_at": "1"}, {"classes": ("mammal", "bird")}):
        assert counts(read(tmp_path, **options))["train"] == {"mammal": 6, "bird": 6}


def test_groups_of_classes_are_looked_through_in_splits_too(tmp_path: Path) -> None:
    names = ("lung/lung_aca", "lung/lung_n", "colon/colon_aca", "colon/colon_n")
    dataset = read(fill(tmp_path, {f"{split}/{name}": 2 for split in ("train", "val") for name in names}))
    expected = dict.fromkeys(sorted(name.partition("/")[2] for name in names), 2)
    assert counts(dataset) == {"train": expected, "val": expected}


@pytest.mark.parametrize(
    "inner",
    [
        ("patient1", "patient2", "patient3", "patient4"),
        ("2024-05-01", "2024-05-02", "2024-06-01", "2024-06-02"),
        ("scene a1", "scene b2", "scene c3", "scene d4"),
        ("1001", "1002", "1003", "1004"),
        ("0a1b2c", "1a1b2c", "2a1b2c", "3a1b2c"),
        ("indoor", "outdoor", "indoor", "outdoor"),
        ("images_a", "images_b", "images_c", "images_d"),
    ],
    ids=" ".join,
)
def test_what_divides_a_class_is_no_class_and_the_flag_is_named(tmp_path: Path, inner: tuple[str, ...]) -> None:
    fill(tmp_path, {f"cat/{inner[0]}": 3, f"cat/{inner[1]}": 3, f"dog/{inner[2]}": 3, f"dog/{inner[3]}": 3})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 6, "dog": 6}}
    assert "--classes-at 2" in said(dataset)
    deeper = counts(read(tmp_path, classes_at="2"))["train"]
    assert len(deeper) == 4 and sum(deeper.values()) == 12


def test_images_beside_deeper_folders_keep_the_class_at_the_first_level(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 1, "cat/siamese": 2, "dog/poodle": 2, "dog/terrier": 2})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 4}} and dataset.notes == ()
    deeper = read(tmp_path, classes_at="2")
    assert counts(deeper) == {"train": {"siamese": 2, "poodle": 2, "terrier": 2}}
    assert "images without a class were ignored: 1" in said(deeper)


def test_an_index_of_letters_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path, {"a/abbey": 2, "a/airfield": 2, "b/bakery/shop": 2, "b/balcony/exterior": 2})
    expected = {"abbey": 2, "airfield": 2, "bakery/shop": 2, "balcony/exterior": 2}
    assert counts(read(tmp_path)) == {"train": expected}
    assert counts(read(tmp_path, classes_at="1")) == {"train": {"a": 4, "b": 4}}


def test_folders_in_the_images_of_class_folders_are_said(tmp_path: Path) -> None:
    fill(tmp_path, {f"{place}/images/{name}": 2 for place in ("amazon", "webcam") for name in ("bike", "mug")})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"amazon": 4, "webcam": 4}}
    assert "--classes-at leaf takes the innermost folders instead (2: bike, mug)" in said(dataset)
    assert set(counts(read(tmp_path, classes_at="leaf"))["train"]) == {
        f"{place}/images/{name}" for place in ("amazon", "webcam") for name in ("bike", "mug")
    }


def test_letters_are_classes_where_they_are_no_index(tmp_path: Path) -> None:
    fill(tmp_path, {"a/writer1": 2, "a/writer2": 2, "b/writer1": 2, "b/writer2": 2})
    assert counts(read(tmp_path)) == {"train": {"a": 4, "b": 4}}


def test_names_that_occur_under_several_parents_keep_them(tmp_path: Path) -> None:
    fill(tmp_path, {"apple/healthy": 2, "apple/rust": 2, "corn/healthy": 2})
    assert counts(read(tmp_path, classes_at="leaf")) == {
        "train": {"apple/healthy": 2, "apple/rust": 2, "corn/healthy": 2}
    }


def test_numbered_species_of_inaturalist_are_the_classes(tmp_path: Path) -> None:
    fill(tmp_path, {"Birds/202": 2, "Birds/207": 2, "Plants/600": 2})
    assert counts(read(tmp_path)) == {"train": {"202": 2, "207": 2, "600": 2}}


def test_splits_inside_the_class_folders_are_the_splits(tmp_path: Path) -> None:
    fill(tmp_path, {f"{label}/{split}": n for label in CAT_DOG for split, n in (("train", 4), ("test", 2))})
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 4, "dog": 4}, "test": {"cat": 2, "dog": 2}}
    assert dataset.split_note == "from the folders"


def test_levels_and_file_names_are_not_both_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--classes-at has no effect: --label-regex"):
        read(fill(tmp_path, {"cat": 2, "dog": 2}), label_regex="^(.)", classes_at="1")


# Classes in file names


def named(root: Path, folder: str, *labels: str, count: int = 4, separator: str = ".") -> Path:
    return write(root, *(f"{folder}{label}{separator}{index}.jpg" for label in labels for index in range(count)))


@pytest.mark.parametrize("separator", [".", "_", "-", " ", "__"])
@pytest.mark.parametrize("labels", [("cat", "dog"), ("Abyssinian", "american_bulldog", "Egyptian Mau")], ids=" ".join)
def test_classes_in_numbered_file_names_are_read_and_the_flag_is_named(
    tmp_path: Path, separator: str, labels: tuple[str, ...]
) -> None:
    dataset = read(named(tmp_path, "", *labels, separator=separator))
    assert counts(dataset) == {"train": dict.fromkeys(sorted(labels), 4)}
    flag = said(dataset).partition("--label-regex '")[2].partition("'")[0]
    assert counts(read(tmp_path, label_regex=flag)) == counts(dataset)


def test_a_flat_train_split_with_classes_in_its_names_is_read_and_the_test_images_are_counted(tmp_path: Path) -> None:
    named(tmp_path, "train/", "cat", "dog")
    dataset = read(fill(tmp_path, {"test": 6}))
    assert counts(dataset) == {"train": {"cat": 4, "dog": 4}}
    assert "6 images in test have no labels and were not used" in said(dataset)
    assert "taken for classes" not in said(dataset)


def test_flat_splits_with_classes_in_their_names_are_splits(tmp_path: Path) -> None:
    named(tmp_path, "train/", "cat", "dog")
    named(tmp_path, "test/", "cat", "dog", count=2)
    dataset = read(tmp_path)
    assert counts(dataset) == {"train": {"cat": 4, "dog": 4}, "test": {"cat": 2, "dog": 2}}
    assert dataset.split_note == "from the folders"


@pytest.mark.parametrize(
    "labels",
    [
        ("IMG", "DSC"),
        ("DSCN", "PXL"),
        ("photo", "image"),
        ("frame", "frames"),
        ("Screenshot", "scan"),
        ("train", "test"),
        ("ILSVRC2012_val", "ILSVRC2012_test"),
        ("left", "right"),
        ("cam1", "cam2"),
        ("cat",),
        ("1", "2"),
        ("a", "b"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("folder", ["", "train/"])
def test_names_of_cameras_and_parts_are_no_classes(tmp_path: Path, labels: tuple[str, ...], folder: str) -> None:
    error = refused(named(tmp_path, folder, *labels, separator="_"))
    assert "--label-regex" in (error.hint or "")


def test_names_that_are_not_all_numbered_are_left_to_the_user(tmp_path: Path) -> None:
    refused(write(named(tmp_path, "", "cat", "dog"), "cover.jpg"))
    refused(write(named(tmp_path / "2", "", "cat", "dog"), "owl.1.jpg"))


def test_a_regular_expression_with_a_slash_is_matched_against_the_path(tmp_path: Path) -> None:
    fill(tmp_path, {"s1/cat/x": 2, "s2/dog/x": 2, "s2/cat/y": 1})
    assert counts(read(tmp_path, label_regex="^[^/]+/([^/]+)/")) == {"train": {"cat": 3, "dog": 2}}


@pytest.mark.parametrize(
    ("names", "expression"),
    [
        (("cat1", "cat2", "dog1", "dog2"), "^([A-Za-z]+)"),
        (("1_left", "2_left", "1_right", "2_right"), r"[ ._-]([A-Za-z]+)\.[^.]+$"),
        (("IMG_1", "IMG_2", "DSC_1", "DSC_2"), NUMBERED),
        (("0001", "0002"), "^([a-z]+)"),
    ],
    ids=str,
)
def test_the_hint_has_an_expression_that_fits_the_names(
    tmp_path: Path, names: tuple[str, ...], expression: str
) -> None:
    error = refused(write(tmp_path, *(f"{name}.jpg" for name in names)))
    assert f"--label-regex '{expression}'" in (error.hint or "")


def test_an_expression_that_fits_no_name_is_only_an_example(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "0001.jpg", "0002.jpg"))
    assert "a table with the columns image,label, or names that begin with the class" in (error.hint or "")


# Images about a data set


def test_flat_splits_beside_another_folder_are_refused(tmp_path: Path) -> None:
    error = refused(fill(tmp_path, {"train": 3, "val": 3, "bus": 3}))
    assert "train (3 images), val (3 images)" in error.message and "--classes bus,train,val" in (error.hint or "")


def test_flat_folders_called_val_and_test_are_classes_and_that_is_noted(tmp_path: Path) -> None:
    dataset = read(fill(tmp_path, {"val": 3, "test": 3}))
    assert counts(dataset) == {"train": {"test": 3, "val": 3}}
    assert "test (3 images), val (3 images) were taken for classes" in said(dataset)


@pytest.mark.parametrize(("top", "beside"), [("data", "docs"), ("dataset", "at the stall"), ("pets", "figures")])
def test_images_about_the_data_set_are_counted_and_no_class(tmp_path: Path, top: str, beside: str) -> None:
    fill(tmp_path, {f"{top}/cat": 2, f"{top}/dog": 2, beside: 3})
    dataset = read(write(tmp_path, "banner.png"))
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}}
    assert f"{beside} (3 images)" in said(dataset)
    assert "images without a class were ignored: 1" in said(dataset)


def test_images_beside_splits_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, {f"{split}/{label}": 2 for split in ("train", "val") for label in CAT_DOG})
    assert read(write(tmp_path, "x.png", "y.png")).notes == ("images without a class were ignored: 2",)


def test_a_class_with_folders_beside_a_flat_one_is_a_class(tmp_path: Path) -> None:
    fill(tmp_path, {"cat/indoor": 2, "cat/outdoor": 2, "dog": 3})
    assert counts(read(tmp_path)) == {"train": {"cat": 4, "dog": 3}}


def test_masks_of_a_split_are_no_class(tmp_path: Path) -> None:
    fill(tmp_path, {f"train_{kind}/{label}": 3 for kind in ("images", "masks") for label in CAT_DOG})
    assert counts(read(tmp_path)) == {"train": {"cat": 3, "dog": 3}}


# Any folders


PARTS = st.sampled_from(
    "train test val cat dog images masks annotations no_label runs train_data test1 a b 2024 patient1 color".split()
)
PATHS = st.lists(st.lists(PARTS, min_size=1, max_size=5), min_size=1, max_size=12)


@given(
    st.lists(st.lists(PARTS, min_size=1, max_size=5), min_size=1, max_size=12),
    st.sampled_from(["1", "2", "leaf", None]),
)
def test_any_folders_are_read_or_refused_and_no_image_is_lost_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], level: str | None
) -> None:
    root = tmp_path_factory.mktemp("any")
    write(root, *("/".join([*path, f"image {index}.jpg"]) for index, path in enumerate(paths)))
    try:
        dataset = read(root, classes_at=level)
    except DataError as error:
        assert error.hint
        return
    assert len({item.name for item in dataset.items}) == len(dataset.items)
    assert all((root / item.name).is_file() for item in dataset.items)
    assert len(dataset.items) == len(paths) or dataset.notes
