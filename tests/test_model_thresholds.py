"""Thresholds per class are the best ones there are, and what they promise is kept, said to be missing, or refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import binom, norm

from resnet_cli.model.thresholds import (
    DEFAULT_THRESHOLD,
    ClassThreshold,
    best_f1_thresholds,
    match_thresholds,
    num_needed_for_precision,
    num_needed_for_recall,
    precision_thresholds,
    recall_thresholds,
)

Choice = Callable[[NDArray[np.float32], NDArray[np.int8], float], tuple[ClassThreshold, ...]]

#: Few different probabilities, so that many are equal, and some that are neighbors among float32 numbers.
PROBS = st.sampled_from([0, 0.1, 0.5, float(np.nextafter(np.float32(0.5), 1)), 0.75, 1]) | st.floats(0, 1, width=32)
CASES = st.integers(1, 12).flatmap(
    lambda num: st.tuples(
        arrays(np.float32, (num, 2), elements=PROBS), arrays(np.int8, (num, 2), elements=st.integers(-1, 1))
    )
)


def known_cells(
    probs: NDArray[np.float32], targets: NDArray[np.int8], label: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    known = targets[:, label] >= 0
    return probs[known, label], targets[known, label] == 1


def f1(positive: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> float:
    return float(2 * (positive & chosen).sum() / (positive.sum() + chosen.sum()))


@given(CASES)
def test_no_threshold_has_a_better_f1(case: tuple[NDArray[np.float32], NDArray[np.int8]]) -> None:
    for label, found in enumerate(best_f1_thresholds(*case)):
        probs, positive = known_cells(*case, label)
        assert (found.num_positives, found.num_known) == (positive.sum(), len(probs))
        if not positive.any():
            assert found.threshold == DEFAULT_THRESHOLD and found.recall is None
            continue
        assert found.threshold is not None and found.threshold == np.float32(found.threshold)
        chosen = probs >= found.threshold
        assert f1(positive, chosen) == max(f1(positive, probs >= cut) for cut in np.unique(probs))
        assert found.precision == pytest.approx(positive[chosen].mean())
        assert found.recall == pytest.approx(chosen[positive].mean())


def test_a_threshold_is_halfway_so_that_rounding_moves_no_image() -> None:
    probs = np.array([[0.9], [0.7], [0.3], [0.1]], dtype=np.float32)
    (found,) = best_f1_thresholds(probs, np.array([[1], [1], [0], [0]], dtype=np.int8))
    assert found.threshold == pytest.approx(0.5) and found.precision == found.recall == 1


def test_a_class_that_every_validation_image_has_is_predicted_from_50_percent_on() -> None:
    probs = np.array([[0.98, 0.4], [0.95, 0.3]], dtype=np.float32)
    sure, unsure = best_f1_thresholds(probs, np.ones((2, 2), dtype=np.int8))
    assert sure.threshold == DEFAULT_THRESHOLD and unsure.threshold == np.float32(0.3)
    assert sure.recall == unsure.recall == 1


@given(CASES, st.sampled_from([0.3, 0.5]))
def test_no_higher_threshold_holds_the_recall(
    case: tuple[NDArray[np.float32], NDArray[np.int8]], target: float
) -> None:
    for label, found in enumerate(recall_thresholds(*case, target)):
        probs, positive = known_cells(*case, label)

        def holds(cut: float, probs: NDArray[np.float32] = probs[positive]) -> bool:
            # The chance to miss so few or fewer, if the recall were the target.
            return bool(binom.cdf(int((probs < cut).sum()), len(probs), 1 - target) <= 0.05)

        cuts = [float(cut) for cut in np.unique(probs) if holds(float(cut))]
        if not cuts:
            assert (found.threshold, found.bound) == (0, None)
            continue
        assert found.threshold is not None and found.bound is not None and found.bound >= target
        assert (probs >= found.threshold).tolist() == (probs >= max(cuts)).tolist()


@pytest.mark.parametrize(
    ("choose", "needed"), [(precision_thresholds, num_needed_for_precision), (recall_thresholds, num_needed_for_recall)]
)
@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_it_asks_for_no_more_positives_than_it_must(
    choose: Choice, needed: Callable[[float], int], target: float
) -> None:
    enough = needed(target)
    for num, is_enough in ((enough, True), (enough - 1, False)):
        probs = np.linspace(0, 1, 2 * num, dtype=np.float32)[:, None]
        (found,) = choose(probs, (np.arange(2 * num) >= num).astype(np.int8)[:, None], target)
        assert (found.bound is not None) is is_enough
        if is_enough:
            assert found.precision == found.recall == 1 and found.threshold == pytest.approx(0.5, abs=0.01)
        else:
            # What cannot be promised precisely is never predicted; what must not be missed always is.
            assert found.threshold == (None if choose is precision_thresholds else 0)


@pytest.mark.parametrize("choose", [precision_thresholds, recall_thresholds])
@pytest.mark.parametrize(
    ("num", "share", "distance", "digits"),
    [(400, 0.5, 2.5, 1), (400, 0.5, 2.5, 6), (2000, 0.05, 3.5, 6)],
    ids=["ties", "no ties", "rare"],
)
def test_a_promise_about_a_class_is_broken_at_most_5_times_of_100(
    choose: Choice, num: int, share: float, distance: float, digits: int
) -> None:
    rng, target, num_trials, num_kept, num_broken = np.random.default_rng(0), 0.8, 100, 0, 0
    for _ in range(num_trials):
        positive = rng.random(num) < share
        scores = np.round(rng.normal(size=num) + distance * positive, digits)
        (found,) = choose(norm.cdf(scores - 1).astype(np.float32)[:, None], positive.astype(np.int8)[:, None], target)
        if found.bound is None:
            continue
        num_kept += 1
        # The exact shares above the cut, where scores are rounded to the nearest.
        step = 10.0**-digits
        cut = np.ceil((norm.ppf(found.threshold) + 1) / step - 1e-6) * step - step / 2
        recall, false_alarms = norm.sf(cut - distance), norm.sf(cut)
        precision = share * recall / (share * recall + (1 - share) * false_alarms)
        num_broken += (precision if choose is precision_thresholds else recall) < target
    assert num_kept > 0.9 * num_trials
    assert num_broken <= 0.05 * num_trials + 3


def test_a_file_with_other_probabilities_predicts_a_class_for_as_many_images() -> None:
    rng = np.random.default_rng(0)
    expected = rng.random((50, 4), dtype=np.float32)
    thresholds = (0.3, 0.5, 2.0**-20, 1.0)
    found = (expected**2 * np.float32(0.9)).astype(np.float32)
    matched = match_thresholds(expected, found, thresholds)
    assert all(0 <= least <= 1 for least in matched)
    for label, (old, new) in enumerate(zip(thresholds, matched, strict=True)):
        assert ((found[:, label] >= np.float32(new)) == (expected[:, label] >= np.float32(old))).all()
    assert match_thresholds(expected, expected, thresholds) == thresholds
    # The model predicts it for no image, and the file's probabilities are higher.
    assert match_thresholds(np.zeros((2, 1), np.float32), np.full((2, 1), 0.7, np.float32), (0.5,))[0] > 0.7


def test_unknown_cells_change_nothing() -> None:
    rng = np.random.default_rng(0)
    probs = rng.random((300, 1), dtype=np.float32)
    targets = (rng.random((300, 1)) < probs).astype(np.int8)
    more = np.concatenate([probs, rng.random((200, 1), dtype=np.float32)])
    unknown = np.concatenate([targets, np.full((200, 1), -1, dtype=np.int8)])
    assert best_f1_thresholds(probs, targets) == best_f1_thresholds(more, unknown)
    assert precision_thresholds(probs, targets, 0.6) == precision_thresholds(more, unknown, 0.6)
    assert recall_thresholds(probs, targets, 0.6) == recall_thresholds(more, unknown, 0.6)


def test_a_class_that_is_known_for_no_image_gets_no_promise() -> None:
    probs, targets = np.full((5, 1), 0.5, dtype=np.float32), np.full((5, 1), -1, dtype=np.int8)
    (never,) = precision_thresholds(probs, targets, 0.9)
    (always,) = recall_thresholds(probs, targets, 0.9)
    (best,) = best_f1_thresholds(probs, targets)
    assert (never.threshold, always.threshold, best.threshold) == (None, 0, DEFAULT_THRESHOLD)
    assert never.num_known == never.num_positives == 0
