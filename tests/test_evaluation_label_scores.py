"""Every metric of a multi-label model is scikit-learn's over the known values, and finite or said to be missing."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    coverage_error,
    hamming_loss,
    label_ranking_average_precision_score,
    label_ranking_loss,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from resnet_cli.errors import DataError
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.scoring import score_labels
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.task import UNKNOWN

Cells = tuple[NDArray[np.float32], NDArray[np.int8]]


def scored(probs: NDArray[np.float32], targets: NDArray[np.int8], threshold: float = 0.5) -> LabelEvaluation:
    num, num_classes = targets.shape
    classes = [f"class {label}" for label in range(num_classes)]
    return score_labels(probs, targets, classes, [f"{i}.jpg" for i in range(num)], thresholds=[threshold] * num_classes)


@st.composite
def cells(draw: st.DrawFn, *, unknown: bool = True) -> Cells:
    """Probabilities with ties, and targets; classes and images can be all yes, all no, or (mostly) unknown."""
    num, num_classes = draw(st.integers(1, 14)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probs = (rng.integers(0, draw(st.sampled_from((3, 20, 1000))) + 1, (num, num_classes)) / 1000).astype(np.float32)
    probs /= max(probs.max(), np.float32(1e-3))
    shares = rng.choice([0, 0.1, 0.5, 1], size=num_classes)
    targets = (rng.random((num, num_classes)) < shares).astype(np.int8)
    if unknown:
        targets[rng.random((num, num_classes)) < draw(st.sampled_from((0, 0.2, 0.7)))] = UNKNOWN
    if (targets == UNKNOWN).all():
        targets[0, 0] = 1
    return probs, targets


@given(cells())
@settings(max_examples=40)
def test_metrics_of_classes_and_their_averages_are_scikit_learns(case: Cells) -> None:
    probs, targets = case
    found = scored(probs, targets)
    predicted = probs >= 0.5
    for label, row in enumerate(found.per_class):
        known = targets[:, label] >= 0
        true, chosen = targets[known, label], predicted[known, label]
        if len(true):
            expected = precision_recall_fscore_support(true, chosen, average="binary", zero_division=0.0)[:3]
            assert (row.precision, row.recall, row.f1) == pytest.approx(expected)
        assert (row.support, row.negatives) == ((true == 1).sum(), (true == 0).sum())
        assert row.unknown == len(targets) - len(true)
        if set(true.tolist()) == {0, 1}:
            assert row.average_precision == pytest.approx(average_precision_score(true, probs[known, label]))
            assert row.roc_auc == pytest.approx(roc_auc_score(true, probs[known, label]))
        else:
            assert row.average_precision is None and row.roc_auc is None
    known = targets >= 0
    micro = precision_recall_fscore_support(targets[known], predicted[known], average="binary", zero_division=0.0)
    assert (found.micro.precision, found.micro.recall, found.micro.f1) == pytest.approx(micro[:3])
    if 0 < (targets[known] == 1).sum() < known.sum():
        assert found.micro_map == pytest.approx(average_precision_score(targets[known], probs[known]))


@given(cells(unknown=False))
@settings(max_examples=40)
def test_metrics_of_whole_rows_are_scikit_learns(case: Cells) -> None:
    probs, targets = case
    found, predicted = scored(probs, targets), probs >= 0.5
    figures = found.figures
    assert found.exact_match == pytest.approx(accuracy_score(targets, predicted))
    assert figures["hamming_loss"] == pytest.approx(hamming_loss(targets, predicted))
    # scikit-learn takes one column for a single label per image.
    if targets.shape[1] > 1:
        assert figures["coverage_error"] == pytest.approx(coverage_error(targets, probs))
        assert figures["ranking_loss"] == pytest.approx(label_ranking_loss(targets, probs))
        expected = label_ranking_average_precision_score(targets, probs)
        assert figures["ranking_average_precision"] == pytest.approx(expected)
        counted = [label for label, row in enumerate(found.per_class) if row.counts]
        for average in ("macro", "weighted"):
            if not counted:
                continue
            expected = precision_recall_fscore_support(
                targets, predicted, labels=counted, average=average, zero_division=0.0
            )[:3]
            row = getattr(found, average)
            assert (row.precision, row.recall, row.f1) == pytest.approx(expected)
    # scikit-learn clips more probabilities of 0 and 1 than float32 makes necessary.
    inner = np.clip(probs, 0.01, 0.99)
    assert scored(inner, targets).loss == pytest.approx(log_loss(targets.ravel(), inner.ravel(), labels=[0, 1]))
    assert found.brier == pytest.approx(brier_score_loss(targets.ravel(), probs.ravel(), pos_label=1), abs=1e-6)


@given(cells())
@settings(max_examples=40)
def test_unknown_values_change_nothing(case: Cells) -> None:
    """Other probabilities where the truth is unknown, and images without any known value, change no metric."""
    probs, targets = case
    rng = np.random.default_rng(0)
    noise = rng.random(probs.shape).astype(np.float32)
    other = np.where(targets == UNKNOWN, noise, probs)
    more = np.concatenate([other, noise[:1]]), np.concatenate([targets, np.full_like(targets[:1], UNKNOWN)])
    plain, masked, longer = scored(probs, targets), scored(other, targets), scored(*more)
    assert plain.per_class == masked.per_class
    assert plain.figures == pytest.approx(masked.figures, nan_ok=True)
    assert plain.figures == pytest.approx(longer.figures, nan_ok=True)
    assert plain.is_right.tolist() == masked.is_right.tolist() == longer.is_right[:-1].tolist()
    assert plain.losses == pytest.approx(masked.losses)
    assert (plain.pairs.both == longer.pairs.both).all()


@given(cells())
@settings(max_examples=20)
def test_every_interval_contains_its_value_and_everything_is_json(case: Cells) -> None:
    found = scored(*case)
    values = found.figures | {
        f"{a}_{n}": getattr(getattr(found, a), n)
        for a in ("macro", "micro", "weighted")
        for n in ("precision", "recall", "f1")
    }
    for name, one in found.intervals.items():
        assert one.value == pytest.approx(values[name], abs=1e-5), name
        assert one.low <= one.value <= one.high and one.low >= 0
    assert set(found.intervals) >= {name for name in ("map", "micro_map", "roc_auc") if values[name] is not None}
    assert all(
        (one is None) == (row.average_precision is None)
        for one, row in zip(found.average_precision_intervals, found.per_class, strict=True)
    )
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["task"] == "multi-label"
    assert found.main[0] == "mAP" and (found.map is None) == math.isnan(found.main[1].value)
    assert "mAP" in repr(found)


def mosaic(num: int = 400, num_classes: int = 5, seed: int = 3) -> Cells:
    """Correlated labels and probabilities that are right more often than not."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num, num_classes)) < np.linspace(0.05, 0.4, num_classes)).astype(np.int8)
    logits = 2.5 * targets - 1.5 + rng.normal(size=targets.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def test_intervals_of_map_are_as_wide_as_the_spread_between_samples() -> None:
    values = [scored(*mosaic(seed=seed)).map for seed in range(100, 160)]
    one = scored(*mosaic()).intervals["map"]
    assert (one.high - one.low) / 3.92 == pytest.approx(np.std(np.array(values, dtype=float)), rel=0.3)


def test_perfect_predictions_are_not_certain() -> None:
    _, targets = mosaic(num=60)
    spans = scored(np.where(targets == 1, 0.9, 0.1).astype(np.float32), targets).intervals
    for name in ("map", "micro_map", "macro_f1", "micro_f1", "exact_match", "ranking_average_precision"):
        assert spans[name].high == 1 and spans[name].low < 1, name
    assert spans["hamming_loss"].low == 0 < spans["hamming_loss"].high
    # Some resamples of so few images have no label at all: they have no F1 score, which is not a score of 0.
    few = np.array([[1, 0], [0, 0], [1, 1], [0, 0], [0, 1], [1, 1]], np.int8)
    spans = scored(np.where(few == 1, 0.9, 0.1).astype(np.float32), few).intervals
    assert spans["macro_f1"].low < 0.7 and spans["micro_f1"].low < 0.7


def test_a_class_with_an_infinite_threshold_is_never_predicted() -> None:
    probs, targets = mosaic()
    found = dataclasses.replace(scored(probs, targets), thresholds=np.array([np.inf, 0, 0.5, 0.5, 0.5]))
    assert not found.predicted[:, 0].any() and found.predicted[:, 1].all()
    assert found.to_dict()["per_class"]["class 0"]["threshold"] is None


def test_pairs_tell_apart_what_is_predicted_with_and_instead_of_a_label() -> None:
    # Image 0: both predicted, b is wrong. Image 1: b instead of a. Image 2: b is unknown. Image 3: right.
    targets = np.array([[1, 0], [1, 0], [1, UNKNOWN], [1, 1]], dtype=np.int8)
    probs = np.array([[0.9, 0.8], [0.2, 0.7], [0.9, 0.9], [0.9, 0.9]], dtype=np.float32)
    found = scored(probs, targets)
    assert found.cooccurrence.tolist() == [[3, 3], [1, 1]]
    assert found.pairs.in_addition.tolist() == [[0, 1], [0, 0]]
    assert found.pairs.instead.tolist() == [[0, 1], [0, 0]]
    assert found.worst_mistakes(1) == ((), (0, 1)) and found.worst_mistakes(0) == ((1,), ())
    assert found.labels_of(3) == ("class 0", "class 1") and found.predicted_of(1) == ("class 1",)


def test_calibration_before_scaling_is_undone_and_chance_explains_calibrated_probabilities() -> None:
    rng = np.random.default_rng(0)
    probs = rng.beta(1, 4, size=(800, 3)).astype(np.float32)
    targets = (rng.random(probs.shape) < probs).astype(np.int8)
    found = dataclasses.replace(scored(probs, targets), scaling=LabelScaling((0.5,) * 3, (1.0,) * 3))
    assert found.ece <= found.calibration.chance_ece
    assert found.uncalibrated is not None and found.uncalibrated.ece > found.uncalibrated.chance_ece
    assert sum(one.num for one in found.calibration.bins) == targets.size


def test_groups_are_scored_worst_first_and_without_map_last() -> None:
    probs, targets = mosaic(num=90)
    groups = tuple(np.repeat(["good", "bad", "alone"], [60, 29, 1]))
    worse = np.where(np.array(groups)[:, None] == "bad", probs[::-1], probs)
    bad, good, alone = dataclasses.replace(scored(worse, targets), groups=groups).slices
    assert (bad.group, good.group, alone.group) == ("bad", "good", "alone")
    assert alone.map is None and alone.map_interval is None and good.map_interval is not None
    expected = scored(worse[:60], targets[:60])
    assert (good.map, good.loss) == pytest.approx((expected.map, expected.loss))


def test_labels_that_are_all_unknown_are_an_error() -> None:
    with pytest.raises(DataError, match="unknown"):
        scored(np.zeros((2, 2), dtype=np.float32), np.full((2, 2), UNKNOWN, dtype=np.int8))
