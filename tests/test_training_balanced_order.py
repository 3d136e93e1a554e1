from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_cli.training.balanced_order import balanced_order

labels_lists = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@given(labels=labels_lists, num=st.integers(0, 120), seed=st.integers(0, 99))
def test_a_balanced_epoch_shows_each_class_equally_often(labels: list[int], num: int, seed: int) -> None:
    order = balanced_order(labels, num, np.random.default_rng(seed))
    assert len(order) == num
    times = [sum(labels[index] == label for index in order) for label in set(labels)]
    assert max(times) - min(times) <= 1


@given(labels=labels_lists, num=st.integers(0, 120), seed=st.integers(0, 99))
def test_no_image_comes_again_before_all_others_of_its_class(labels: list[int], num: int, seed: int) -> None:
    order = balanced_order(labels, num, np.random.default_rng(seed))
    for label in set(labels):
        shown = [index for index in order if labels[index] == label]
        for start in range(0, len(shown), size := labels.count(label)):
            cycle = shown[start : start + size]
            assert len(set(cycle)) == len(cycle)


def test_a_balanced_epoch_is_a_function_of_its_generator() -> None:
    labels = [0] * 30 + [1] * 3
    first, second, other = (balanced_order(labels, 33, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second != other


@given(labels=labels_lists, num=st.integers(0, 120), seed=st.integers(0, 99))
def test_images_with_one_label_have_the_same_order_in_both_forms(labels: list[int], num: int, seed: int) -> None:
    one_hot = np.eye(7, dtype=np.int8)[labels]
    orders = [balanced_order(targets, num, np.random.default_rng(seed)) for targets in (labels, one_hot)]
    assert orders[0] == orders[1]


def test_the_order_is_the_one_of_earlier_versions() -> None:
    # A run of an earlier version is resumed with the same images.
    assert balanced_order([2, 2, 2, 2, 0, 5, 0], 9, np.random.default_rng(7)) == [5, 4, 0, 6, 5, 4, 3, 5, 1]


def test_images_are_drawn_for_every_class_and_for_no_class_equally_often() -> None:
    targets = np.zeros((100, 3), dtype=np.int8)
    targets[:60, 0] = 1
    targets[50:60, 1] = 1
    targets[60:64, 2] = 1
    # A value that is not known does not make an image one of the class.
    targets[64:80, 2] = -1
    shown = frequencies(targets, balanced_order(targets, 400, np.random.default_rng(0)))
    # A quarter of the draws each; one in six of those for the first class shows the second class too.
    assert shown["none"] == 0.25 and shown[2] == 0.25 and shown[1] == pytest.approx(0.25 + 0.25 / 6, abs=0.02)
    assert shown[0] == 0.5


def frequencies(targets: NDArray[np.int8], order: list[int]) -> dict[object, float]:
    """The share of the images of an epoch with each label, and of those without any."""
    drawn = targets[order] == 1
    shares: dict[object, float] = dict(enumerate(drawn.mean(axis=0).tolist()))
    return shares | {"none": float((~drawn.any(axis=1)).mean())}
