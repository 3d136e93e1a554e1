"""Data sets with several labels per image: what is counted, chosen, aligned with a model, and refused."""

from __future__ import annotations

import dataclasses

import pytest
from support.label_sets import labeled

from resnet_cli.data.dataset import Dataset, targets_of
from resnet_cli.data.trainable import refuse_untrainable
from resnet_cli.errors import DataError

SOME = labeled("ab", "", "b", "abc", unknown=["", "c", "", ""], splits=["train", "train", "val", "train"])


def targets(dataset: Dataset) -> list[list[int]]:
    return targets_of(dataset.items, dataset.task, len(dataset.classes)).tolist()  # type: ignore[no-any-return]


def test_an_image_counts_for_each_label_and_an_unknown_value_for_nothing() -> None:
    assert SOME.sizes() == {"train": 3, "val": 1, "test": 0}
    assert SOME.counts() == {"train": [2, 2, 1], "val": [0, 1, 0], "test": [0, 0, 0]}
    assert SOME.counts_without() == {"train": [1, 1, 1], "val": [1, 0, 1], "test": [0, 0, 0]}
    assert SOME.describe() == (
        "3 classes, 4 images (3 train, 1 val), multi-label, 1.5 labels per image, 1 image without a label, "
        "1 unknown value"
    )


def test_chosen_classes_keep_all_images_and_only_their_labels() -> None:
    chosen = SOME.select(["c", "a"])
    assert chosen.classes == ("c", "a") and len(chosen.items) == 4
    assert targets(chosen) == [[0, 1], [-1, 0], [0, 0], [1, 1]]
    assert chosen.notes == ("images without any of the chosen labels, which count as negatives: 1",)
    assert SOME.select(["b"]).classes == ("b",) and not SOME.select(["b"]).notes
    for wrong in ([], ["a", "a"], ["a", "z"]):
        with pytest.raises(DataError, match="--classes"):
            SOME.select(wrong)


def test_classes_of_the_model_that_the_data_do_not_have_are_unknown() -> None:
    aligned = SOME.select(["a", "b"]).relabel(["b", "x", "a"])
    assert targets(aligned) == [[1, -1, 1], [0, -1, 0], [1, -1, 0], [1, -1, 1]]
    assert aligned.counts_without()["train"] == [1, 0, 1]
    with pytest.raises(DataError, match="has a class that the model does not have: c"):
        SOME.relabel(["a", "b"])


def test_labels_and_unknown_values_are_part_of_the_fingerprint() -> None:
    hashes = [bytes([index]) for index in range(4)]
    others = [
        SOME,
        labeled("ab", "", "b", "abc", splits=[item.split for item in SOME.items]),
        labeled("ab", "c", "b", "abc", splits=[item.split for item in SOME.items]),
        dataclasses.replace(SOME, classes=("a", "b", "d")),
    ]
    assert len({dataset.fingerprint(hashes) for dataset in others}) == 4


@pytest.mark.parametrize(
    ("dataset", "reason", "hint"),
    [
        (labeled("a", "a", "b", ""), "class 'b' has 1 training image", "or omit it: --classes a"),
        (labeled("ab", "ab", "a"), "no training image is without the class 'a'.*other classes", "add images without"),
        (labeled("ab", "ab", "a", "a", ""), "only one training image is without the class 'a'", "--classes b"),
        (labeled("a", "a", "", "", unknown=["", "", "a", "a"]), "no training image is without the class 'a'", "add"),
        (labeled("", ""), "no image has a label", "label at least two"),
        (labeled("a", "", splits=["val", "test"]), "no image is for training", "train folder"),
    ],
)
def test_data_without_two_images_with_and_two_without_each_class_are_refused(
    dataset: Dataset, reason: str, hint: str
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        refuse_untrainable(dataset)
    assert hint in (caught.value.hint or "")


def test_one_class_is_enough() -> None:
    refuse_untrainable(labeled("a", "a", "", ""))
