"""The file of labels and splits of a run with several labels per image; single-label files are in test_data_splits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.label_sets import labeled

from resnet_cli.data.dataset import Dataset
from resnet_cli.data.split_files import apply_split_csv, read_split_csv, split_csv
from resnet_cli.errors import DataError
from resnet_cli.system.paths import write_text

SOME = labeled("ab", "", "b", splits=["train", "val", "test"])


def renamed(dataset: Dataset, *classes: str) -> Dataset:
    return dataclasses.replace(dataset, classes=classes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "split.csv"


def test_the_columns_say_that_an_image_may_have_several_labels() -> None:
    assert split_csv(SOME) == "path,labels,split\n0.jpg,a;b,train\n1.jpg,,val\n2.jpg,b,test\n"
    unknown = labeled("a", "", unknown=["b", ""])
    assert split_csv(unknown) == "path,labels,split,unknown\n0.jpg,a,train,b\n1.jpg,,train,\n"


@pytest.mark.parametrize("names", [("a;b", "[c"), ("hot, dog", 'say "x"'), ("two\nlines", "猫")])
@pytest.mark.parametrize("unknown", [(), ("", "a", "")])
def test_a_split_comes_back_from_its_file_whatever_the_names(
    path: Path, names: tuple[str, str], unknown: tuple[str, ...]
) -> None:
    written = renamed(labeled("ab", "", "b", unknown=unknown, splits=["train", "val", "test"]), *names)
    write_text(path, split_csv(written))
    source = tuple(dataclasses.replace(item, split="train") for item in written.items)
    assert apply_split_csv(dataclasses.replace(written, items=source), path).items == written.items


def test_an_order_of_the_classes_does_not_matter(path: Path) -> None:
    write_text(path, split_csv(SOME))
    assert apply_split_csv(SOME.select(["b", "a"]), path).counts() == {"train": [1, 1], "val": [0, 0], "test": [1, 0]}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (labeled("a", "b", "b"), r"'0.jpg' was a, b \(train\), now it is a$"),
        (labeled("ab", "b", "b"), r"'1.jpg' was no label \(val\), now it is b$"),
        (labeled("ab", "", "b", unknown=["", "a", ""]), r"'1.jpg' was no label \(val\), now .* unknown: a$"),
    ],
    ids=["one fewer", "one more", "unknown"],
)
def test_labels_that_have_changed_are_an_error(path: Path, now: Dataset, said: str) -> None:
    write_text(path, split_csv(SOME))
    with pytest.raises(DataError, match=said):
        apply_split_csv(now, path)


@pytest.mark.parametrize("text", ["path,labels,split\n0.jpg\n", 'path,labels,split\n0.jpg,"[1]",train\n'])
def test_a_damaged_file_is_an_error(path: Path, text: str) -> None:
    write_text(path, text)
    with pytest.raises(DataError, match="not a split file"):
        read_split_csv(path)
