"""What an inspection says about images with any number of labels."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.html_page import Page, assert_self_contained
from support.planted_faults import photo, write

from resnet_cli.data.dataset import Dataset, Item, Split, targets_of
from resnet_cli.data.inspection.cleaning import clean_table
from resnet_cli.data.inspection.findings import find_problems, to_report
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.label_sets import MIN_IMPLIED, LabelSets, contradict
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.own_tables import own_kind
from resnet_cli.reporting.inspection_page import inspection_page
from resnet_cli.text import split_labels

CLASSES = ("beach", "dog", "rare;odd", "sky")
Labels = tuple[int, ...]


def items_of(sets: Sequence[Labels], unknown: Sequence[Labels] | None = None, split: Split = "train") -> list[Item]:
    """One image in memory for each set of labels; no two are alike."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(sets), 24, 24, 3), dtype=np.uint8)
    return [
        Item(f"{split}{number}.jpg", pixels[number], labels, split, unknown=unknown[number] if unknown else ())
        for number, labels in enumerate(sets)
    ]


def dataset_of(items: Sequence[Item], classes: tuple[str, ...] = CLASSES) -> Dataset:
    return Dataset("holidays", "holidays", classes, tuple(items), task="multi-label")


def inspected(dataset: Dataset) -> Inspection:
    return inspect_images(dataset, scan(dataset.items), near=False)


def found(dataset: Dataset) -> dict[str, str]:
    return {finding.code: finding.message for finding in find_problems(inspected(dataset), training=())}


@given(st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=8), st.data())
def test_label_sets_count_what_the_targets_say(sets: list[set[int]], data: st.DataObject) -> None:
    unknown = [data.draw(st.sets(st.integers(0, 3))) - one for one in sets]
    items = [
        Item(str(number), b"", tuple(sorted(yes)), unknown=tuple(sorted(no)))
        for number, (yes, no) in enumerate(zip(sets, unknown, strict=True))
    ]
    found = LabelSets.of(dataset_of(items))
    targets = targets_of(items, "multi-label", 4)
    assert found.positives == tuple((targets == 1).sum(axis=0)) and found.unknown == tuple((targets == -1).sum(axis=0))
    yes = (targets == 1).astype(int)
    together = yes.T @ yes
    assert {(one, other): count for one, other, count in found.together} == {
        (one, other): together[one, other] for one in range(4) for other in range(one + 1, 4) if together[one, other]
    }
    assert found.per_image == {num: list(yes.sum(axis=1)).count(num) for num in sorted(set(yes.sum(axis=1)))}
    assert found.never == [label for label in range(4) if not (targets[:, label] == 1).any()]
    assert found.always == [
        label for label in range(4) if (targets[:, label] != 0).all() and (targets[:, label] == 1).any()
    ]


def test_copies_contradict_each_other_only_where_both_are_known() -> None:
    dog, both, unsure = Item("a", b"", (1,)), Item("b", b"", (0, 1)), Item("c", b"", (1,), unknown=(0,))
    assert contradict(dog, both) and contradict(both, dog)
    assert not contradict(unsure, dog) and not contradict(both, unsure) and not contradict(dog, dog)


def test_patterns_of_labels_are_reported_by_name() -> None:
    sets: list[Labels] = [(0, 3)] * MIN_IMPLIED + [(1, 3), (3,), (3,), (1, 3)]
    problems = found(dataset_of(items_of(sets)))
    assert "'rare;odd'" in problems["never_set"] and "no image" in problems["never_set"]
    assert "'sky'" in problems["always_set"] and "every image" in problems["always_set"]
    # Every image has sky, so that it follows from nothing.
    assert "implied" not in problems
    problems = found(dataset_of(items_of([*sets, (1,), (2,)])))
    assert problems["implied"] == f"every image with 'beach' also has 'sky' ({MIN_IMPLIED} images)"
    assert not problems.keys() & {"never_set", "always_set"}


def test_single_label_data_have_no_patterns_of_labels() -> None:
    dataset = Dataset("pets", "pets", ("cat", "dog"), tuple(items_of([(0,)] * 12 + [(1,)] * 12)))
    assert not found(dataset).keys() & {"never_set", "always_set", "implied"}
    report = to_report(inspected(dataset))
    assert report["task"] == "single-label" and report["labels_per_image"] == {"1": 24}
    assert report["classes_together"] == report["classes_implied"] == []


def test_the_report_counts_labels_negatives_and_unknown_values() -> None:
    dataset = dataset_of(items_of([(0, 3), (3,), (), (1, 3)], [(), (0, 1), (), ()]))
    report = to_report(inspected(dataset))
    assert report["task"] == "multi-label"
    assert report["labels_per_image"] == {"0": 1, "1": 1, "2": 2}
    assert report["classes_together"] == [
        {"classes": ["beach", "sky"], "num_images": 1},
        {"classes": ["dog", "sky"], "num_images": 1},
    ]
    assert [(one["num_images"]["train"], one["num_unknown"]) for one in report["classes"]] == [
        (1, 1), (1, 1), (0, 0), (3, 0),
    ]  # fmt: skip


def copies(*items: Item) -> Dataset:
    """One image under several names, and a few others."""
    return dataset_of([*items, *items_of([(0,), (1,), (2,), (3,)])])


def test_copies_with_different_labels_are_conflicts() -> None:
    pixels = np.asarray(photo(1))
    dataset = copies(Item("one.jpg", pixels, (0,)), Item("two.jpg", pixels, (0,)), Item("three.jpg", pixels, (0, 1)))
    assert "one.jpg and three.jpg" in found(dataset)["label_conflicts"]
    report = to_report(inspected(dataset))
    assert [conflict["labels"] for conflict in report["label_conflicts"]] == [["beach", "beach", "beach + dog"]]
    sure, unsure = Item("one.jpg", pixels, (0, 1)), Item("two.jpg", pixels, (0,), unknown=(1,))
    assert "label_conflicts" not in found(copies(sure, unsure))


@pytest.fixture
def files(tmp_path: Path) -> Dataset:
    """Images in files, two of them copies: of one of these, less is known."""
    root = tmp_path / "data"
    paths = [write(root / f"{number}.jpg", number) for number in range(6)]
    paths.append(root / "copy.jpg")
    paths[-1].write_bytes(paths[0].read_bytes())
    sets: list[tuple[Labels, Labels]] = [
        ((0, 3), (1,)), ((), ()), ((2,), (3,)), ((0, 1, 2), ()), ((3,), ()), ((1,), ()), ((0, 3), ())
    ]  # fmt: skip
    items = [
        Item(path.name, path, labels, "val" if path.stem == "4" else "train", unknown=unknown)
        for path, (labels, unknown) in zip(paths, sets, strict=True)
    ]
    return dataset_of(items)


class About(NamedTuple):
    """What a cleaned table must keep of an image."""

    name: str
    labels: Labels
    unknown: Labels
    split: str


def about(item: Item) -> About:
    return About(item.name, item.labels, item.unknown, item.split)


def cells_of(text: str) -> list[list[str]]:

    return list(csv.reader(text.splitlines()))


def test_a_cleaned_table_has_the_labels_in_one_cell(files: Dataset, tmp_path: Path) -> None:
    dropped = clean_table(inspected(files), tmp_path / "clean.csv")
    header, *rows = cells_of((tmp_path / "clean.csv").read_text(encoding="utf-8"))
    assert header == ["image", "labels", "unknown", "split", "group", "cleaned_by"]
    assert [(item.name, reason) for item, reason in dropped] == [("0.jpg", "a copy of copy.jpg")]
    found = {Path(row[0]).name: (split_labels(row[1]), split_labels(row[2])) for row in rows}
    names = [tuple(CLASSES[label] for label in labels) for labels in ((), (2,), (0, 1, 2), (3,), (1,), (0, 3))]
    assert [found[name][0] for name in ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "copy.jpg")] == names
    assert found["2.jpg"][1] == ("sky",) and found["3.jpg"][1] == ()
    again = open_dataset(str(tmp_path / "clean.csv"))
    kept = [item for item in files.items if item.name != "0.jpg"]
    assert again.task == "multi-label" and again.classes == CLASSES
    assert {Path(item.name).name: item[1:] for item in map(about, again.items)} == {
        item.name: item[1:] for item in map(about, kept)
    }
    assert "inspect --fix" in own_kind(tmp_path / "clean.csv")


def test_a_cleaned_table_in_which_each_image_has_one_label_stays_multi_label(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}.jpg", number) for number in range(4)]
    items = [Item(path.name, path, (number % 2,)) for number, path in enumerate(paths)]
    clean_table(inspected(dataset_of(items, ("a b;c", "hot, dog"))), tmp_path / "clean.csv")
    again = open_dataset(str(tmp_path / "clean.csv"))
    assert again.task == "multi-label" and again.classes == ("a b;c", "hot, dog")


def test_a_cleaned_table_omits_copies_with_different_labels(files: Dataset, tmp_path: Path) -> None:

    *others, last = files.items
    items = (*others, dataclasses.replace(last, labels=(2,)))
    dropped = clean_table(inspected(dataclasses.replace(files, items=items)), tmp_path / "clean.csv")
    assert {item.name: reason for item, reason in dropped} == dict.fromkeys(
        ("0.jpg", "copy.jpg"), "the same image has different labels"
    )
    assert len(cells_of((tmp_path / "clean.csv").read_text(encoding="utf-8"))) == 6


def test_the_page_shows_how_many_labels_images_have(files: Dataset) -> None:
    inspection = inspected(files)
    page = Page(inspection_page(inspection))
    assert_self_contained(page)
    assert "Labels per image" in page.text and "1.43 labels per image on average" in page.text
    assert "images without a label: 1" in page.text and "unknown values: 2 of 28" in page.text
    assert "Classes that images have together" in page.text
    assert any(alt.startswith("no label: ") for alt in page.values("img", "alt"))
    # Seven images, although they have ten labels in all.
    assert "7 images" in page.text and [num for num, _ in inspection.totals().values()] == [6, 1, 0]


def test_the_page_of_single_label_data_has_no_section_about_labels(make_folder: Any) -> None:
    from resnet_cli.data.sources.folders.reader import read_folder

    dataset = read_folder(make_folder({"train": {"ants": 4, "bees": 4}}))
    assert "Labels per image" not in Page(inspection_page(inspected(dataset))).text
