from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.split_files import apply_split_csv, split_csv
from resnet_cli.data.splits import complete_splits, limit_train
from resnet_cli.errors import DataError
from resnet_cli.system.paths import write_text
from resnet_cli.training.prepare import prepare_data

MakeFolder = Callable[..., Path]
Counts = dict[str, int]


def images(train: Counts, **others: Counts) -> Dataset:
    """A data set of names only; there are no files, since splitting opens none."""
    layout = {"train": train, **others}
    classes = tuple(sorted({name for counts in layout.values() for name in counts}))
    items = tuple(
        Item(f"{split}/{name}/{index}.jpg", Path("nowhere"), (classes.index(name),), split)  # type: ignore[arg-type]
        for split, counts in layout.items()
        for name, count in counts.items()
        for index in range(count)
    )
    return Dataset("photos", "photos", classes, items)


def split_of(dataset: Dataset) -> dict[str, Split]:
    return {item.name: item.split for item in dataset.items}


CLASS_SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(2, 60), min_size=2)


@given(counts=CLASS_SIZES, val_fraction=st.floats(0.01, 0.49), seed=st.integers(0, 9))
def test_every_class_gives_the_same_share_and_keeps_some_to_train_on(
    counts: Counts, val_fraction: float, seed: int
) -> None:
    before = images(counts)
    after = complete_splits(before, val_fraction=val_fraction, seed=seed)
    # No image is lost, added, renamed or moved; each has one split, so the splits are disjoint.
    assert [dataclasses.replace(item, split="train") for item in after.items] == list(before.items)
    per_split = after.counts()
    for label, name in enumerate(after.classes):
        num_train, num_val, num_test = (per_split[split][label] for split in ("train", "val", "test"))
        assert num_train >= 1 and num_val >= 1
        for num_held_out in (num_val, num_test):
            assert abs(num_held_out - val_fraction * counts[name]) <= 1


@given(counts=CLASS_SIZES, seed=st.integers(0, 9))
def test_the_split_is_a_function_of_seed_and_names(counts: Counts, seed: int) -> None:
    dataset = images(counts)
    backwards = dataclasses.replace(dataset, items=dataset.items[::-1])
    split = split_of(complete_splits(dataset, val_fraction=0.2, seed=seed))
    assert split == split_of(complete_splits(dataset, val_fraction=0.2, seed=seed))
    assert split == split_of(complete_splits(backwards, val_fraction=0.2, seed=seed))


def test_another_seed_chooses_other_images() -> None:
    dataset = images({"cat": 50, "dog": 50})
    splits = [split_of(complete_splits(dataset, val_fraction=0.2, seed=seed)) for seed in range(2)]
    assert splits[0] != splits[1]
    assert Counter(splits[0].values()) == Counter(splits[1].values())


@given(counts=CLASS_SIZES, val_fraction=st.floats(0.05, 0.45))
def test_one_more_image_moves_hardly_any_other(counts: Counts, val_fraction: float) -> None:
    before = split_of(complete_splits(images(counts), val_fraction=val_fraction, seed=0))
    grown = {**counts, "a": counts.get("a", 2) + 1}
    after = split_of(complete_splits(images(grown), val_fraction=val_fraction, seed=0))
    moved = [name for name in before if after[name] != before[name]]
    # One image may cross the border of each held-out split, and a second if that split grows by one.
    assert len(moved) <= 3 and all(name.startswith("train/a/") for name in moved)


def test_a_test_split_that_is_there_is_never_touched() -> None:
    dataset = images({"cat": 20, "dog": 20}, test={"cat": 5, "dog": 5})
    after = complete_splits(dataset, val_fraction=0.1, seed=0)
    assert after.counts() == {"train": [18, 18], "val": [2, 2], "test": [5, 5]}
    assert [item.name for item in after.split("test")] == [item.name for item in dataset.split("test")]
    assert "taken from train" in after.split_note


@pytest.mark.parametrize("others", [["val"], ["val", "test"]])
def test_a_validation_split_that_is_there_is_all_it_takes(others: list[str]) -> None:
    dataset = images({"cat": 20, "dog": 20}, **{split: {"cat": 5, "dog": 5} for split in others})
    assert complete_splits(dataset, val_fraction=0.1, seed=0) == dataset


def test_the_note_says_how_the_split_came_about() -> None:
    note = complete_splits(images({"cat": 9, "dog": 9}), val_fraction=0.15, seed=7).split_note
    assert "15 %" in note and "seed 7" in note


@pytest.mark.parametrize("num_images", [2, 3])
def test_the_smallest_classes_train_and_validate_first(num_images: int) -> None:
    after = complete_splits(images({"cat": num_images, "dog": 50}), val_fraction=0.1, seed=0)
    assert [after.counts()[split][0] for split in ("train", "val", "test")] == [1, 1, num_images - 2]


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (images({"cat": 9}), "only one class, 'cat'"),
        (images({"cat": 9, "dog": 1}), "'dog' has 1 training image"),
        (images({"cat": 9}, val={"cat": 2, "dog": 2}), "'dog' has no training image"),
        (images({"cat": 9}, test={"cat": 2, "dog": 2}), "'dog' has no training image"),
    ],
    ids=["one class", "one image", "only in val", "only in test"],
)
def test_what_cannot_be_trained_on_is_named(dataset: Dataset, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        complete_splits(dataset, val_fraction=0.1, seed=0)
    assert caught.value.hint


@given(counts=CLASS_SIZES, seed=st.integers(0, 9), data=st.data())
def test_a_smaller_limit_keeps_a_subset_with_every_class(counts: Counts, seed: int, data: st.DataObject) -> None:
    dataset = images(counts, val=dict.fromkeys(counts, 2), test=dict.fromkeys(counts, 3))
    total = sum(counts.values())
    limits = sorted(data.draw(st.integers(len(counts), total + 5)) for _ in range(2))
    small, large = (limit_train(dataset, limit, seed=seed) for limit in limits)
    for limit, limited in zip(limits, (small, large), strict=True):
        per_class = limited.counts()["train"]
        assert sum(per_class) == min(limit, total)
        for name, kept in zip(limited.classes, per_class, strict=True):
            assert kept >= 1
            # In proportion, except for the first image of every class.
            assert abs(kept - limit * counts[name] / total) <= len(counts) or limit >= total
        assert limited.split("val") + limited.split("test") == dataset.split("val") + dataset.split("test")
    assert set(split_of(small)) <= set(split_of(large)) <= set(split_of(dataset))


def test_a_limit_below_one_image_a_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"--limit 1: .* 2 classes"):
        limit_train(images({"cat": 5, "dog": 5}), 1, seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_fraction_keeps_a_subset_of_each_class(make_folder: MakeFolder, seed: int) -> None:
    folder = make_folder({"cat": 30, "dog": 15})
    kept: list[Dataset] = []
    for fraction in (0.25, 0.5, 1.0):
        flags = {"data": str(folder), "fraction": fraction, "split_seed": seed, "val_fraction": 0.2}
        kept.append(prepare_data(resolve(FinetuneConfig, flags), lambda *_: None).dataset)
    assert [dataset.counts()["train"] for dataset in kept] == [[5, 2], [9, 5], [18, 9]]
    names = [{item.name for item in dataset.split("train")} for dataset in kept]
    assert names[0] < names[1] < names[2]
    assert kept[0].split("val") == kept[2].split("val") and kept[0].split("test") == kept[2].split("test")


def test_a_fraction_leaves_no_class_empty(make_folder: MakeFolder) -> None:
    flags = {"data": str(make_folder({"cat": 40, "dog": 3})), "fraction": 0.01}
    dataset = prepare_data(resolve(FinetuneConfig, flags), lambda *_: None).dataset
    assert dataset.counts()["train"] == [1, 1]


def test_a_split_survives_its_csv_file(make_folder: MakeFolder, tmp_path: Path) -> None:
    names = ("cat", "hot, dog", 'say "x"', os.fsdecode(b"caf\xe9"), "猫", "CON", "a:b", "dot.", "two\nlines")
    dataset = read_folder(make_folder(dict.fromkeys(names, 4)))
    written = complete_splits(dataset, val_fraction=0.25, seed=3)
    path = tmp_path / "split.csv"
    write_text(path, split_csv(written))
    assert path.read_bytes().splitlines()[0] == b"path,label,split"
    read = apply_split_csv(dataset, path)
    assert read.items == written.items
    assert str(path) in read.split_note


def test_an_image_that_the_run_never_saw_is_left_out(tmp_path: Path) -> None:
    seen = complete_splits(images({"cat": 4, "dog": 4}), val_fraction=0.25, seed=0)
    write_text(tmp_path / "split.csv", split_csv(seen))
    assert apply_split_csv(images({"cat": 6, "dog": 5}), tmp_path / "split.csv").items == seen.items


def test_an_image_that_is_gone_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "split.csv", split_csv(images({"cat": 4, "dog": 4})))
    with pytest.raises(DataError, match=r"missing in .*: 2, such as"):
        apply_split_csv(images({"cat": 4, "dog": 2}), tmp_path / "split.csv")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "path,label\ntrain/cat/0.jpg,cat\n",
        "train/cat/0.jpg,cat,train\n",
        "path,label,split\ntrain/cat/0.jpg,dog,train\n",
        "path,label,split\ntrain/cat/0.jpg,cat,dev\n",
        "path,label,split\ntrain/cat/0.jpg,cat\n",
        "path,label,split\ntrain/cat/0.jpg\n",
        "path,label,split\n\xff",
        "path,label,split\n",
        "path,label,split\n" + '"' * 3 + "x" * 200_000,
    ],
    ids=[
        "empty",
        "no split",
        "no header",
        "other label",
        "unknown split",
        "short",
        "shorter",
        "latin",
        "no rows",
        "endless field",
    ],
)
def test_a_damaged_split_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError):
        apply_split_csv(images({"cat": 4, "dog": 4}), tmp_path / "split.csv")


def test_a_missing_split_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a split file"):
        apply_split_csv(images({"cat": 4, "dog": 4}), tmp_path / "split.csv")
