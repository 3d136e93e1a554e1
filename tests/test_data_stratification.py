"""Splits and limits of multi-label data: each label keeps its frequency, blocks stay whole, and nothing is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from support.label_sets import from_targets, labeled

from resnet_cli.data.dataset import Dataset, Split, targets_of
from resnet_cli.data.splits import complete_splits, fewest_train, limit_train
from resnet_cli.data.stratification import proportional_places, strata_of, stratify
from resnet_cli.errors import DataError

Targets = NDArray[np.int8]
#: Labels of up to 60 images; a value is unknown in one of five.
TARGETS = st.tuples(st.integers(4, 60), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 0, 1, 1]))
)


def random_targets(num: int, num_classes: int, *, seed: int = 0) -> Targets:
    """Labels from frequent to rare, each drawn on its own."""
    share = 0.6 / np.arange(1, num_classes + 1)
    return (np.random.default_rng(seed).random((num, num_classes)) < share).astype(np.int8)


def splits_of(dataset: Dataset) -> list[Split]:
    return [item.split for item in dataset.items]


def deviation(targets: Targets, rows: NDArray[np.bool_]) -> float:
    """Mean difference between the frequency of a label among some images and among all, in percentage points."""
    return float(100 * np.abs((targets[rows] == 1).mean(axis=0) - (targets == 1).mean(axis=0)).mean())


@given(targets=TARGETS, seed=st.integers(0, 9))
def test_any_labels_are_split_and_any_class_is_trained_and_validated_where_that_is_possible(
    targets: Targets, seed: int
) -> None:
    before = from_targets(targets)
    try:
        after = complete_splits(before, val_fraction=0.2, seed=seed)
    except DataError as error:
        small = [min(np.sum(column == 1), np.sum(column == 0)) < 2 for column in targets.T]
        assert any(small) and error.hint
        return
    assert [dataclasses.replace(item, split="train") for item in after.items] == list(before.items)
    assert min(after.counts()["train"]) >= 1 and min(after.counts_without()["train"]) >= 1
    missing = [name for name, count in zip(after.classes, after.counts()["val"], strict=True) if not count]
    assert bool(missing) == ("no image for validation" in after.split_note)


@pytest.mark.parametrize("seed", range(3))
def test_every_label_is_as_frequent_in_each_split_as_in_all_images(seed: int) -> None:
    targets = random_targets(600, 12, seed=seed)
    splits = np.array(splits_of(complete_splits(from_targets(targets), val_fraction=0.1, seed=seed)))
    at_random = np.random.default_rng(seed).permutation(splits)
    for split in ("val", "test"):
        assert np.sum(splits == split) == pytest.approx(60, abs=2)
        # Whole images: of 60, one more or less is 1.7 points.
        assert deviation(targets, splits == split) < 0.6 < deviation(targets, at_random == split)


def test_images_without_a_label_are_split_in_proportion_too() -> None:
    after = complete_splits(labeled(*["a"] * 50, *["b"] * 50, *[""] * 100), val_fraction=0.1, seed=0)
    assert after.counts() == {"train": [40, 40], "val": [5, 5], "test": [5, 5]}
    without = [item.split for item in after.items if not item.labels]
    assert [without.count(split) for split in ("train", "val", "test")] == [80, 10, 10]


def test_the_few_images_that_lack_a_common_label_are_in_training_and_in_validation() -> None:
    after = complete_splits(labeled(*["ab"] * 40, *["a"] * 40, "b", "b"), val_fraction=0.1, seed=0)
    assert after.counts_without()["train"][0] == after.counts_without()["val"][0] == 1


def test_a_value_that_is_unknown_is_neither_an_image_with_the_label_nor_one_without() -> None:
    known = complete_splits(labeled(*["a"] * 20, *[""] * 20), val_fraction=0.1, seed=0)
    assert (known.counts()["val"], known.counts_without()["val"]) == ([2], [2])
    unknown = [""] * 40 + ["a"] * 60
    both = complete_splits(labeled(*["a"] * 20, *[""] * 80, unknown=unknown), val_fraction=0.1, seed=0)
    assert (both.counts()["val"], both.counts_without()["val"]) == ([2], [2])


@given(seed=st.integers(0, 9), num_groups=st.integers(10, 40))
def test_groups_and_copies_are_in_one_split(seed: int, num_groups: int) -> None:
    targets = random_targets(80, 3, seed=seed)
    groups = [f"g{number}" if number else "" for number in np.random.default_rng(seed).integers(0, num_groups, 80)]
    items = tuple(
        dataclasses.replace(item, group=group) for item, group in zip(from_targets(targets).items, groups, strict=True)
    )
    before = dataclasses.replace(from_targets(targets), items=items)
    after = complete_splits(before, val_fraction=0.2, seed=seed, together=[(0, 1), (5, 70)])
    splits = splits_of(after)
    assert splits[0] == splits[1] and splits[5] == splits[70]
    assert len({(item.group, item.split) for item in after.items if item.group}) == len(set(groups) - {""})
    assert splits.count("val") <= 2 * 16 and min(after.counts()["val"]) >= 1


def test_a_class_whose_images_are_all_in_one_group_is_refused() -> None:
    groups = ["x", "x", *map(str, range(20))]
    with pytest.raises(DataError, match="class 'b' are all in one group") as caught:
        complete_splits(labeled("ab", "b", *["a", ""] * 10, groups=groups), val_fraction=0.1, seed=0)
    assert caught.value.hint


def test_a_label_that_cannot_be_in_every_split_is_named() -> None:
    # Each two of three classes share one of the three images, so one class is missing in one of two splits.
    after = complete_splits(labeled("ab", "bc", "ac", *[""] * 9), val_fraction=0.3, seed=0)
    assert min(after.counts()["train"]) == 1 and after.counts()["val"].count(0) >= 1
    assert "no image for validation has the label" in after.split_note


def test_the_split_is_a_function_of_seed_and_names_and_of_no_order() -> None:
    dataset = from_targets(random_targets(120, 5))
    backwards = dataclasses.replace(dataset, items=dataset.items[::-1])
    forth, back, other = (
        complete_splits(data, val_fraction=0.2, seed=seed)
        for data, seed in ((dataset, 3), (backwards, 3), (dataset, 4))
    )
    assert splits_of(forth) == splits_of(back)[::-1] != splits_of(other)


def test_the_splits_of_the_source_are_kept() -> None:
    own: Sequence[Split] = ("train",) * 40 + ("test",) * 10
    after = complete_splits(labeled(*["a", "b", "ab", "", "a"] * 10, splits=own), val_fraction=0.1, seed=0)
    assert splits_of(after)[40:] == list(own[40:]) and splits_of(after).count("val") == pytest.approx(4, abs=1)
    whole = labeled(*["a", "b", "ab", "", "a"] * 10, splits=(*own[:45], *["val"] * 5))  # type: ignore[arg-type]
    assert complete_splits(whole, val_fraction=0.1, seed=0) == whole


@given(targets=TARGETS, seed=st.integers(0, 9), data=st.data())
def test_a_smaller_limit_keeps_a_subset_in_which_each_class_occurs_and_is_lacked(
    targets: Targets, seed: int, data: st.DataObject
) -> None:
    dataset = from_targets(targets)
    fewest = fewest_train(dataset, seed=seed)
    limits = (
        sorted(data.draw(st.integers(fewest, len(targets) + 3)) for _ in range(2)) if fewest <= len(targets) else []
    )
    kept = [limit_train(dataset, limit, seed=seed) for limit in limits]
    for limit, limited in zip(limits, kept, strict=True):
        assert len(limited.items) == min(limit, len(targets))
        for all_counts, counts in (
            (dataset.counts(), limited.counts()),
            (dataset.counts_without(), limited.counts_without()),
        ):
            assert [count > 0 for count in counts["train"]] == [count > 0 for count in all_counts["train"]]
    if kept:
        assert set(kept[0].items) <= set(kept[1].items)


def test_a_limit_keeps_the_proportions_of_the_labels() -> None:
    targets = random_targets(900, 8)
    dataset = from_targets(targets)
    limited = limit_train(dataset, 300, seed=0)
    kept = targets_of(limited.items, "multi-label", 8)
    assert np.allclose(kept.mean(axis=0), targets.mean(axis=0), atol=0.015)
    assert np.mean(~kept.any(axis=1)) == pytest.approx(np.mean(~targets.any(axis=1)), abs=0.01)


def test_one_more_image_changes_hardly_anything_about_a_limit() -> None:
    dataset = from_targets(random_targets(200, 4))
    more = labeled("a", splits=["train"]).items[0]
    grown = dataclasses.replace(dataset, items=(*dataset.items, dataclasses.replace(more, name="new.jpg")))
    before, after = ({item.name for item in limit_train(data, 80, seed=0).items} for data in (dataset, grown))
    assert len(before - after) <= 2


def test_a_limit_that_cannot_show_and_lack_each_class_is_refused() -> None:
    dataset = labeled("a", "a", "", "")
    assert fewest_train(dataset, seed=0) == 2
    with pytest.raises(DataError, match="--limit 1: it takes 2 images to have one with and one without each class"):
        limit_train(dataset, 1, seed=0)


def test_the_stratum_of_an_image_is_its_rarest_label() -> None:
    targets = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, -1], [0, 1, 0]], dtype=np.int8)
    assert strata_of(targets).tolist() == [1, 0, 2, 3, 1]
    labels = np.array([3, 0, 3])
    assert strata_of(labels).tolist() == [3, 0, 3]


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_one_label_per_image_has_the_same_places_in_both_forms(labels: list[int]) -> None:
    one_hot = np.eye(5, dtype=np.int8)[labels]
    as_labels, as_sets = proportional_places(np.array(labels)), proportional_places(one_hot)
    # Where every image has the same label, none is without it; otherwise the first images of two classes show both.
    assert as_labels.tolist() == as_sets.tolist()


def test_images_with_one_label_are_stratified_exactly() -> None:
    one_hot = np.eye(4, dtype=np.int8)[np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 20, 100, 10]))]
    parts = np.array(stratify(one_hot, [[row] for row in range(180)], fraction=0.1, num_parts=3))
    for part in (1, 2):
        assert one_hot[parts == part].sum(axis=0).tolist() == [5, 2, 10, 1]
