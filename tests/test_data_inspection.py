"""Planted faults are found, and nothing is found in correct data."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.planted_faults import cut, one_bit_png, photo, write_folder

from resnet_cli.config.data import DataConfig
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.data.inspection.compact import Groups, NearPairs
from resnet_cli.data.inspection.findings import find_problems, to_report
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.inspection.training_splits import VAL_FRACTION, split_for_training
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.labeled import group_items
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.splits import complete_splits, connected
from resnet_cli.errors import DataError

POSIX = pytest.mark.skipif(os.name == "nt", reason="names that Windows refuses")
LAYOUT = {"train/cat": 14, "train/dog": 14, "val/cat": 4, "val/dog": 4, "test/cat": 4, "test/dog": 4}
KEYS = {"schema_version", "num_images", "classes", "unreadable", "exact_duplicates", "near_duplicates", "leaks",
        "label_conflicts", "warnings"}  # fmt: skip


def inspect_data(data: Path | Dataset, **options: Any) -> Inspection:
    dataset = data if isinstance(data, Dataset) else open_dataset(str(data), DataConfig(**options))
    return inspect_images(dataset, scan(dataset.items))


def codes(inspection: Inspection) -> list[str]:
    return [finding.code for finding in find_problems(inspection)]


def message(inspection: Inspection, code: str) -> str:
    """The only finding with a code."""
    (found,) = [finding for finding in find_problems(inspection) if finding.code == code]
    assert found.fix
    return found.message


def names(inspection: Inspection, groups: Sequence[Sequence[int]]) -> list[list[str]]:
    return [[inspection.dataset.items[position].name for position in group] for group in groups]


def changed(seed: int, path: Path) -> None:
    """A near copy: cropped, smaller, re-encoded."""
    image = photo(seed)
    image = image.crop((2, 2, image.width - 1, image.height - 2)).resize((52, 40))
    image.save(path, quality=60) if path.suffix == ".jpg" else image.save(path)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", LAYOUT)


@pytest.fixture
def faulty(clean: Path) -> Path:
    cat, dog = clean / "train" / "cat", clean / "train" / "dog"
    shutil.copy(cat / "000.jpg", clean / "test" / "cat" / "leak.jpg")
    shutil.copy(cat / "001.jpg", cat / "copy.jpg")
    shutil.copy(cat / "002.jpg", dog / "conflict.jpg")
    # The seeds of train/dog begin at 14.
    changed(14, dog / "near.jpg")
    changed(15, clean / "val" / "dog" / "near.jpg")
    changed(3, dog / "alike.png")
    cut(cat / "004.jpg", cat / "004.jpg")
    (cat / "empty.jpg").touch()
    (dog / "text.jpg").write_text("hello")
    (dog / "bomb.png").write_bytes(one_bit_png(10_000, 6_000))
    return clean


def test_every_planted_fault_is_found_and_nothing_else(faulty: Path) -> None:
    report = to_report(inspect_data(faulty))
    assert report["num_images"] == 53
    reasons = {row["path"]: row["reason"] for row in report["unreadable"]}
    assert set(reasons) == {"train/cat/004.jpg", "train/cat/empty.jpg", "train/dog/text.jpg", "train/dog/bomb.png"}
    assert "limit of 50,000,000" in reasons["train/dog/bomb.png"] and "truncated" in reasons["train/cat/004.jpg"]
    leak = ["test/cat/leak.jpg", "train/cat/000.jpg"]
    conflict = ["train/cat/002.jpg", "train/dog/conflict.jpg"]
    assert sorted(report["exact_duplicates"]) == [leak, ["train/cat/001.jpg", "train/cat/copy.jpg"], conflict]
    near = {tuple(row["paths"]): row["score"] for row in report["near_duplicates"]}
    alike = ("train/cat/003.jpg", "train/dog/alike.png")
    assert set(near) == {
        alike,
        ("train/dog/000.jpg", "train/dog/near.jpg"),
        ("train/dog/001.jpg", "val/dog/near.jpg"),
    }
    assert all(0.9 < score <= 1 for score in near.values())
    assert report["leaks"] == [
        {"paths": leak, "exact": True, "splits": ["test", "train"]},
        {"paths": ["train/dog/001.jpg", "val/dog/near.jpg"], "exact": False, "splits": ["train", "val"]},
    ]
    assert report["label_conflicts"] == [
        {"paths": conflict, "exact": True, "labels": ["cat", "dog"]},
        {"paths": [*alike], "exact": False, "labels": ["cat", "dog"]},
    ]
    assert [row["code"] for row in report["warnings"]] == [
        "unreadable", "label_conflicts", "label_conflicts", "leaks", "leaks", "exact_duplicates", "near_duplicates"
    ]  # fmt: skip


def test_the_report_has_the_promised_keys_and_shapes_and_is_json(faulty: Path) -> None:
    report = json.loads(json.dumps(to_report(inspect_data(faulty)), allow_nan=False))
    assert set(report) >= KEYS
    assert report["schema_version"] == 1
    assert [row["name"] for row in report["classes"]] == ["cat", "dog"]
    assert report["classes"][0]["num_images"] == {"train": 16, "val": 4, "test": 5}
    size = sum(path.stat().st_size for path in (faulty / "val" / "cat").iterdir())
    assert report["classes"][0]["num_bytes"]["val"] == size
    assert all(set(row) == {"path", "reason"} for row in report["unreadable"])
    assert all(set(row) >= {"paths", "splits"} for row in report["leaks"])
    assert all(len(row["paths"]) == len(row["splits"]) for row in report["leaks"])
    assert all(set(row) == {"paths", "score"} for row in report["near_duplicates"])
    assert all(set(row) == {"code", "message", "fix"} and all(row.values()) for row in report["warnings"])


def test_a_clean_folder_gives_no_warning(clean: Path) -> None:
    report = to_report(inspect_data(clean))
    assert report["num_images"] == 44
    for key in ("unreadable", "exact_duplicates", "near_duplicates", "leaks", "label_conflicts", "warnings"):
        assert report[key] == []
    assert not any(report["modes"].values())


def test_a_second_inspection_says_the_same(faulty: Path) -> None:
    assert to_report(inspect_data(faulty)) == to_report(inspect_data(faulty))


def test_the_fingerprint_is_that_of_the_images(clean: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(clean, tmp_path / "twin")
    prints = [to_report(inspect_data(folder))["fingerprint"] for folder in (clean, twin)]
    assert prints[0] == prints[1]
    shutil.copy(twin / "train" / "dog" / "000.jpg", twin / "train" / "cat" / "000.jpg")
    assert to_report(inspect_data(twin))["fingerprint"] != prints[0]


# What decoding changes.


def save_mode(name: str, path: Path) -> None:
    image = photo(99)
    if name.startswith("orientation"):
        exif = Image.Exif()
        exif[0x0112] = int(name[-1])
        image.save(path.with_suffix(".jpg"), exif=exif)
    elif name == "palette":
        image.quantize(16).save(path.with_suffix(".gif"), transparency=3)
    elif name == "16 bits":
        wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(wide).save(path.with_suffix(".png"))
    elif name == "16 bits tiff":
        wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(wide).save(path.with_suffix(".tiff"))
    else:
        image.convert(name).save(path.with_suffix(".tif" if name == "CMYK" else ".png"))


MODES = {f"orientation {number}": {"rotated"} for number in range(2, 9)} | {
    "L": {"gray"},
    "1": {"gray"},
    "LA": {"gray", "transparent"},
    "RGBA": {"transparent"},
    "palette": {"transparent"},
    "CMYK": {"cmyk"},
    "16 bits": {"gray", "sixteen_bit"},
    "16 bits tiff": {"gray", "sixteen_bit"},
    "orientation 1": set(),
    "RGB": set(),
    "P": set(),
}


@pytest.mark.parametrize("name", MODES)
def test_what_decoding_changes_is_found(clean: Path, name: str) -> None:
    save_mode(name, clean / "train" / "dog" / "odd")
    report = to_report(inspect_data(clean))
    found = {kind for kind, paths in report["modes"].items() if paths}
    assert report["unreadable"] == []
    assert found == MODES[name]
    assert all(Path(path).stem == "odd" for paths in report["modes"].values() for path in paths)


def test_sizes_are_those_of_the_upright_image(tmp_path: Path) -> None:
    root = tmp_path / "sizes"
    for number, (size, orientation) in enumerate([((40, 20), 1), ((20, 40), 6), ((100, 10), 1)]):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = root / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number, size).save(path, exif=exif)
    inspection = inspect_data(root)
    sizes = inspection.sizes()
    assert sizes["shorter_side_px"] == {"min": 10, "median": 20, "max": 20}
    assert sizes["longer_side_px"] == {"min": 40, "median": 40, "max": 100}
    assert sizes["aspect"] == {"min": 2, "median": 2, "max": 10}
    assert sizes["cut_by_centre_square"] == {"median": 0.5, "max": 0.9, "num_over_half": 1}
    assert message(inspection, "long").startswith("1 image loses more than half")


def test_nothing_readable_is_still_a_report(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / "1.jpg").touch()
    report = to_report(inspect_data(tmp_path / "x"))
    assert report["sizes"] == {}
    assert [row["path"] for row in report["unreadable"]] == ["a/1.jpg", "b/1.jpg"]
    first = report["warnings"][0]
    assert first["message"].startswith("all 2 images cannot be read, such as a/1.jpg")
    assert "--on-bad-image" not in first["fix"]
    # The same empty file in two classes is not an image in two classes.
    assert report["exact_duplicates"] == report["label_conflicts"] == []


# Copies.


def test_near_copies_of_exact_copies_are_said_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "x", {"a": 12, "b": 12})
    for number in range(3):
        shutil.copy(root / "a" / "000.jpg", root / "a" / f"copy{number}.jpg")
    changed(0, root / "a" / "near.jpg")
    inspection = inspect_data(root)
    assert names(inspection, inspection.exact) == [["a/000.jpg", *(f"a/copy{number}.jpg" for number in range(3))]]
    assert names(inspection, [pair[:2] for pair in inspection.near]) == [["a/000.jpg", "a/near.jpg"]]
    assert message(inspection, "exact_duplicates").startswith("3 images are copies")


@pytest.mark.parametrize("place", ["test", "val"])
def test_a_leak_through_a_copy_of_a_near_copy_is_found(clean: Path, place: str) -> None:
    changed(5, clean / "train" / "cat" / "near.jpg")
    shutil.copy(clean / "train" / "cat" / "near.jpg", clean / place / "cat" / "z.jpg")
    inspection = inspect_data(clean)
    leaks = {frozenset(group) for group in names(inspection, [leak.positions for leak in inspection.leaks])}
    assert leaks == {
        frozenset({"train/cat/near.jpg", f"{place}/cat/z.jpg"}),
        frozenset({"train/cat/005.jpg", f"{place}/cat/z.jpg"}),
    }


def test_the_example_of_a_leak_names_two_splits(clean: Path) -> None:
    for name in ("train/cat/0-a.jpg", "train/cat/0-b.jpg", "val/cat/z.jpg"):
        shutil.copy(clean / "train" / "cat" / "000.jpg", clean / name)
    text = message(inspect_data(clean), "leaks")
    assert text.startswith("1 image is in several splits") and text.endswith("and val/cat/z.jpg")


def test_the_example_of_a_conflict_names_two_classes(clean: Path) -> None:
    for name in ("train/cat/0-a.jpg", "train/dog/z.jpg"):
        shutil.copy(clean / "train" / "cat" / "000.jpg", clean / name)
    assert message(inspect_data(clean), "label_conflicts").endswith("and train/dog/z.jpg")


def test_near_copies_are_not_looked_for_unless_asked(faulty: Path) -> None:
    dataset = read_folder(faulty)
    inspection = inspect_images(dataset, scan(dataset.items), near=False)
    assert (list(inspection.near), inspection.near_by) == ([], "")
    assert all(leak.is_exact for leak in inspection.leaks)


def test_features_add_what_the_look_does_not_show(clean: Path) -> None:
    dataset = read_folder(clean)
    changed(5, clean / "train" / "cat" / "near.jpg")
    (clean / "train" / "cat" / "zz.jpg").touch()
    dataset = read_folder(clean)
    photos = scan(dataset.items)
    features = np.random.default_rng(0).normal(size=(len(photos), 64)).astype(np.float32)
    # An unreadable image has no features; an image of each class that a network takes for the same.
    position = {item.name: number for number, item in enumerate(dataset.items)}
    features[position["train/cat/zz.jpg"]] = features[position["train/cat/000.jpg"]]
    features[position["train/dog/000.jpg"]] = features[position["train/cat/001.jpg"]]
    inspection = inspect_images(dataset, photos, features=features)
    assert {frozenset(pair) for pair in names(inspection, [pair[:2] for pair in inspection.near])} == {
        frozenset({"train/cat/005.jpg", "train/cat/near.jpg"}),
        frozenset({"train/cat/001.jpg", "train/dog/000.jpg"}),
    }


@pytest.mark.parametrize(
    ("blocks", "joined"),
    [
        ([], []),
        ([(3,)], [[3]]),
        ([(0, 1), (2, 3)], [[0, 1], [2, 3]]),
        ([(0, 1), (2, 3), (1, 2)], [[0, 1, 2, 3]]),
        ([(5, 1, 9), (9, 2), (7, 8), (7, 7)], [[1, 2, 5, 9], [7, 8]]),
    ],
)
def test_blocks_that_share_a_position_are_joined(blocks: list[Sequence[int]], joined: list[list[int]]) -> None:
    assert sorted(connected(blocks)) == joined


def test_a_long_chain_is_joined_quickly() -> None:
    count = 50_000
    assert connected((number, number + 1) for number in range(count)) == [list(range(count + 1))]


# Classes.


def labelled(counts: dict[str, dict[Split, int]], groups: Callable[[Item], str] = lambda _: "") -> Inspection:
    """Readable images without files, each with unique content; signatures are not compared."""
    classes = tuple(sorted(counts))
    items = [
        Item(f"{split}/{name}/{number}.jpg", b"", (classes.index(name),), split)
        for name, per_split in counts.items()
        for split, count in per_split.items()
        for number in range(count)
    ]
    items = [dataclasses.replace(item, group=groups(item)) for item in items]
    photos = [ScannedImage(item.name.encode(), 1, 10, 10, "JPEG", "RGB") for item in items]
    return inspect_images(Dataset("x", "x", classes, tuple(items)), photos, near=False)


def test_a_class_that_is_spelt_otherwise_in_another_split_is_named_with_its_like(tmp_path: Path) -> None:
    layout = {"train/Cat": 12, "train/dog": 12, "val/cat": 3, "val/dog": 3}
    inspection = inspect_data(write_folder(tmp_path / "x", layout))
    found = [finding.message for finding in find_problems(inspection)]
    assert found[0].startswith("finetune refuses this data: x: the class 'cat' has no training image")
    assert found[1:] == [
        "the class 'Cat' (the same as 'cat'?) has no images in val",
        "the class 'cat' (the same as 'Cat'?) has no images in train",
    ]


@POSIX
@pytest.mark.parametrize("name", ["cat ", " cat"])
def test_blanks_around_a_name_make_no_other_class(tmp_path: Path, name: str) -> None:
    layout = {"train/cat": 12, "train/dog": 12, f"val/{name}": 3, "val/dog": 3}
    assert codes(inspect_data(write_folder(tmp_path / "x", layout))) == []


@POSIX
@pytest.mark.parametrize("name", ["CAT", "c_at", "c-a t"])
def test_case_blanks_and_dashes_in_a_name_make_no_other_class_unnoticed(tmp_path: Path, name: str) -> None:
    layout = {"train/cat": 12, "train/dog": 12, f"val/{name}": 3, "val/dog": 3}
    inspection = inspect_data(write_folder(tmp_path / "x", layout))
    found = " ".join(finding.message for finding in find_problems(inspection))
    assert f"'cat' (the same as '{name}'?)" in found and f"'{name}' (the same as 'cat'?)" in found


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Cat", "cat"),
        ("golden retriever", "golden_retriever"),
        ("K\u00e4fer", "Kafer"),
        ("cat", "cat."),
        ("1", "1.0"),
        ("cat", "cats"),
        ("\uff23\uff21\uff34", "cat"),
    ],
)
def test_names_that_differ_only_in_spelling_are_named_with_their_counts(name: str, other: str) -> None:
    inspection = labelled({name: {"train": 20}, other: {"train": 12}, "dog": {"train": 15}})
    assert codes(inspection) == ["spelling"]
    text = message(inspection, "spelling")
    assert f"'{name}' (20)" in text and f"'{other}' (12)" in text and "dog" not in text
    # They stay different classes.
    assert len(inspection.dataset.classes) == 3


@pytest.mark.parametrize(
    "names", [("-1", "1"), ("A", "A+", "A-"), ("C", "C#", "C++"), ("1.5", "15"), ("bus", "bu"), ("\u304c", "\u304b")]
)
def test_names_with_another_meaning_are_no_spellings_of_one(names: tuple[str, ...]) -> None:
    assert codes(labelled({name: {"train": 20} for name in names})) == []


def test_many_spellings_are_one_finding() -> None:
    counts: dict[str, dict[Split, int]] = {f"Class {n:04d}": {"train": 12} for n in range(500)}
    counts |= {f"class_{n:04d}": {"train": 12} for n in range(500)}
    text = message(labelled(counts), "spelling")
    assert text.endswith("; and 495 more")


REFUSED = {
    "one class": {"a": {"train": 12}},
    "one image": {"a": {"train": 12}, "b": {"train": 1}},
    "none in train": {"a": {"train": 12}, "b": {"val": 12}},
    "only test": {"a": {"test": 12}, "b": {"test": 12}},
}  # type: dict[str, dict[str, dict[Split, int]]]


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_training_would_refuse_comes_first_in_the_same_words(name: str) -> None:
    inspection = labelled(REFUSED[name])
    first = find_problems(inspection)[0]
    with pytest.raises(DataError) as caught:
        complete_splits(inspection.dataset, val_fraction=0.1, seed=0)
    assert first == ("refused", f"finetune refuses this data: {caught.value.message}", caught.value.hint)


TIED = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["train", "train", "train", "val", "test"]), st.sampled_from("  abcd")
    ),
    min_size=2,
    max_size=14,
)


@given(TIED, st.lists(st.sets(st.integers(0, 13), min_size=2, max_size=5), max_size=4))
def test_inspect_refuses_exactly_what_a_training_refuses(
    members: list[tuple[int, Split, str]], copies: list[set[int]]
) -> None:
    items = tuple(
        Item(f"{n}.jpg", b"", (label,), split, group.strip()) for n, (label, split, group) in enumerate(members)
    )
    blocks = [tuple(sorted(at for at in block if at < len(items))) for block in copies]
    photos = ScannedImages.of(ScannedImage(bytes([n]), 1, 10, 10, "JPEG", "RGB") for n in range(len(items)))
    exact = tuple(tuple(block) for block in connected(block for block in blocks if len(block) > 1))
    inspection = Inspection(Dataset("x", "x", ("a", "b", "c"), items), photos, Groups.of(exact), NearPairs.of(()), "")
    try:
        split_for_training(inspection, val_fraction=VAL_FRACTION, seed=0)
    except DataError as error:
        assert message(inspection, "refused") == f"finetune refuses this data: {error.message}"
    else:
        assert "refused" not in codes(inspection)


def test_the_check_takes_the_default_of_a_training() -> None:
    assert FinetuneConfig.model_fields["val_fraction"].default == VAL_FRACTION


def test_groups_that_cannot_be_kept_whole_are_refused_too(clean: Path) -> None:
    separated = inspect_data(group_items(read_folder(clean), "([0-9]+)[.]jpg"))
    assert "the group '000' is in" in message(separated, "refused")
    whole = labelled({"a": {"train": 12}, "b": {"train": 12}}, lambda item: item.name.split("/")[1])
    assert "the images of the class 'a' are all in one group" in message(whole, "refused")


def test_what_is_left_without_unreadable_images_decides(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "x", {"cat": 12, "dog": 3})
    shutil.copy(root / "cat" / "001.jpg", root / "cat" / "copy.jpg")
    for number in (0, 2):
        (root / "dog" / f"{number:03d}.jpg").write_bytes(b"")
    (root / "cat" / "000.jpg").write_bytes(b"")
    inspection = inspect_data(root)
    assert "the class 'dog' has 1 training image" in message(inspection, "refused")
    assert message(inspection, "unreadable").startswith("3 images cannot be read")


def test_a_class_that_only_one_split_has_is_named() -> None:
    inspection = labelled({"a": {"train": 12, "val": 2, "test": 2}, "b": {"train": 12}, "c": {"train": 12, "test": 1}})
    found = [finding.message for finding in find_problems(inspection)]
    assert found == ["the class 'b' has no images in val and test", "the class 'c' has no images in val"]


def test_a_thousand_classes_without_images_are_one_finding_and_the_misspelt_come_first() -> None:
    counts: dict[str, dict[Split, int]] = {f"class {number:04d}": {"train": 12} for number in range(2000)}
    counts |= {"zebra": {"train": 12}, "Zebra": {"val": 12}}
    inspection = labelled(counts)
    found = [finding.message for finding in find_problems(inspection)]
    refused, *found = found
    assert "the class 'Zebra' has no training image" in refused
    assert len(found) == 2
    assert found[0].startswith("the class 'Zebra' (the same as 'zebra'?) has no images in train")
    assert found[1].startswith("2,001 classes have no images in val: 'zebra' (the same as 'Zebra'?), 'class 0000'")
    assert found[1].endswith("and 1,996 more")


def test_uneven_and_tiny_classes_are_found() -> None:
    assert codes(labelled({"a": {"train": 60}, "b": {"train": 12}})) == []
    uneven = labelled({"a": {"train": 61}, "b": {"train": 12}})
    assert message(uneven, "imbalance") == "classes are imbalanced: 12 training images of 'b', 61 of 'a'"
    tiny = labelled({"a": {"train": 12}, "b": {"train": 9}})
    assert codes(tiny) == ["tiny_classes"]
    assert message(tiny, "tiny_classes").endswith(" 1, such as b")


def test_an_absent_class_does_not_hide_that_others_are_uneven() -> None:
    inspection = labelled({"a": {"train": 100}, "b": {"train": 2}, "c": {"test": 1}})
    assert "imbalance" in codes(inspection) and "tiny_classes" in codes(inspection)


def test_a_set_that_only_tests_is_only_refused_for_training() -> None:
    inspection = labelled({"a": {"test": 3}, "b": {"test": 30}})
    assert codes(inspection) == ["refused"]
    assert message(inspection, "refused").endswith("no image is for training; all 33 are in val or test")


def test_groups_in_several_splits_are_found(clean: Path) -> None:
    dataset = group_items(read_folder(clean), "([0-9]+)[.]jpg")
    inspection = inspect_data(dataset)
    torn = {row["group"]: row["splits"] for row in to_report(inspection)["torn_groups"]}
    assert torn == {f"{number:03d}": ["train", "val", "test"] for number in range(4)}
    assert message(inspection, "torn_groups").startswith("groups in several splits: 4, such as '000' in train and val")


def test_whole_groups_are_no_finding() -> None:
    inspection = labelled({"a": {"train": 12, "val": 3}, "b": {"train": 12, "val": 3}}, lambda item: item.split)
    assert codes(inspection) == []


def test_what_was_passed_over_comes_last(faulty: Path) -> None:
    (faulty / "train" / "cat" / "notes.txt").touch()
    inspection = inspect_data(faulty)
    assert codes(inspection)[-1] == "note"
    assert to_report(inspection)["passed_over"] == {"others": 1}


# Real photos.


def test_faults_among_real_photos_are_found(assets: Path, tmp_path: Path) -> None:
    root = tmp_path / "ants_bees"
    for path in sorted((assets / "photos" / "ants_bees").rglob("*.jpg"))[::3]:
        target = root / path.relative_to(assets / "photos" / "ants_bees")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    assert codes(inspect_data(root)) == []
    photos = sorted((root / "train" / "bees").iterdir())
    shutil.copy(photos[0], root / "val" / "bees" / "leak.jpg")
    image = Image.open(photos[1])
    image.resize((image.width // 2, image.height // 2)).save(root / "val" / "bees" / "near.jpg", quality=50)
    cut(photos[2], photos[2])
    report = to_report(inspect_data(root))
    assert [row["path"] for row in report["unreadable"]] == [photos[2].relative_to(root).as_posix()]
    assert [(set(row["splits"]), row["exact"]) for row in report["leaks"]] == [
        ({"train", "val"}, True),
        ({"train", "val"}, False),
    ]
    assert len(report["exact_duplicates"]) == len(report["near_duplicates"]) == 1


def test_the_records_of_a_set_in_memory_are_inspected_too() -> None:
    pixels = [np.asarray(photo(seed)) for seed in range(24)]
    splits: tuple[Split, ...] = ("train", "test")
    items = [Item(f"{n}", pixels[n % 23], (n % 2,), splits[n == 23]) for n in range(24)]
    report = to_report(inspect_data(Dataset("x", "x", ("a", "b"), tuple(items))))
    assert report["leaks"] == [{"paths": ["0", "23"], "exact": True, "splits": ["train", "test"]}]
    assert report["label_conflicts"][0]["labels"] == ["a", "b"]
