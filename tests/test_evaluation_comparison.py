"""Two models: what chance can explain is not called a difference, and the images that are named are enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from resnet_cli.evaluation.comparison import Comparison, compare_evaluations
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import score

PROBS = np.eye(2, dtype=np.float32)


def from_counts(both: int, first: int, second: int, neither: int) -> tuple[Evaluation, Evaluation]:
    kinds = np.repeat(np.arange(4), (both, first, second, neither))
    names = [str(index) for index in range(len(kinds))]
    labels = np.zeros(len(kinds), dtype=np.int64)
    right = np.isin(kinds, (0, 1)), np.isin(kinds, (0, 2))
    one, other = (score(PROBS[np.where(each, 0, 1)], labels, ["a", "b"], names) for each in right)
    return one, other


def compared(both: int, first: int, second: int, neither: int) -> Comparison:
    return compare_evaluations(*from_counts(both, first, second, neither))


@given(st.integers(0, 50), st.integers(0, 30), st.integers(0, 30), st.integers(1, 50))
def test_counts_differences_and_p_values_are_the_definitions(both: int, first: int, second: int, neither: int) -> None:
    found = compared(both, first, second, neither)
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (both, first, second, neither)
    assert found.difference.value == pytest.approx((second - first) / found.num_images)
    assert found.difference.low <= found.difference.value <= found.difference.high
    expected = binomtest(first, first + second).pvalue if first + second else 1
    assert found.p_value == pytest.approx(expected)


def test_a_large_difference_is_told_and_a_small_one_is_not() -> None:
    assert compared(70, 2, 25, 3).is_distinguishable
    assert not compared(90, 2, 5, 3).is_distinguishable
    # The same images say less where many models are compared.
    one, other = from_counts(85, 2, 12, 1)
    assert compare_evaluations(one, other).is_distinguishable
    assert not compare_evaluations(one, other, num_compared=10).is_distinguishable


def test_equal_models_have_a_difference_of_some_width_and_no_number_of_images() -> None:
    found = compared(50, 0, 0, 10)
    assert (found.p_value, found.num_needed) == (1, None)
    assert found.difference.low < 0 < found.difference.high


def test_the_number_of_images_that_is_named_finds_the_difference_about_80_times_of_100() -> None:
    found = compared(160, 10, 16, 14)
    needed = found.num_needed
    assert needed is not None and needed > found.num_images
    rng = np.random.default_rng(0)
    counts = rng.multinomial(needed, np.array([160, 10, 16, 14]) / 200, size=1000)
    power = np.mean([binomtest(int(c[1]), int(c[1] + c[2])).pvalue < 0.05 for c in counts])
    assert 0.74 <= power <= 0.86


def test_other_images_are_refused() -> None:
    one, _ = from_counts(3, 1, 1, 1)
    other, _ = from_counts(2, 1, 1, 1)
    with pytest.raises(ValueError, match="different images"):
        compare_evaluations(one, other)
