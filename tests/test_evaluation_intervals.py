"""95 % intervals hold the truth 93 to 97 times of 100, keep their figure, and are never without width by chance."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    matthews_corrcoef,
    recall_score,
    roc_auc_score,
)

from resnet_cli.evaluation.agreement import confusion_intervals
from resnet_cli.evaluation.calibration import chance_ece
from resnet_cli.evaluation.comparison import compare_evaluations
from resnet_cli.evaluation.intervals import Interval, bootstrap, wilson
from resnet_cli.evaluation.ranking import macro_roc_auc, rank_classes
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import score
from resnet_cli.task import softmax

Answers = tuple[NDArray[np.float32], NDArray[np.int64]]
#: The band that is promised, widened by two standard deviations of so few trials.
NUM_TRIALS = 400
SLACK = 2 * np.sqrt(0.05 * 0.95 / NUM_TRIALS)


def draw(rng: np.random.Generator, num: int, num_classes: int, skill: float) -> Answers:
    """Probabilities of a model that is right the more often, the more skill it has; classes are not equally common."""
    shares = np.arange(1, num_classes + 1) / np.arange(1, num_classes + 1).sum()
    labels = rng.choice(num_classes, size=num, p=shares)
    logits = rng.normal(size=(num, num_classes))
    logits[np.arange(num), labels] += skill
    return softmax(logits).astype(np.float32), labels.astype(np.int64)


def scored(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> Evaluation:
    return score(probs, labels, [str(x) for x in range(probs.shape[1])], [str(x) for x in range(len(labels))])


def coverage(trial: Callable[[np.random.Generator], bool], num_trials: int = NUM_TRIALS) -> float:
    rng = np.random.default_rng(7)
    return float(np.mean([trial(rng) for _ in range(num_trials)]))


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize(
    ("num", "num_classes", "skill"), [(120, 2, 1.5), (250, 4, 2.5), pytest.param(400, 10, 2.0, marks=pytest.mark.slow)]
)
def test_intervals_of_shares_and_of_the_confusion_matrix_cover_the_truth(
    num: int, num_classes: int, skill: float
) -> None:
    truth = scored(*draw(np.random.default_rng(1), 200_000, num_classes, skill))
    exact = {
        "top1": truth.top1,
        "balanced_accuracy": truth.macro.recall,
        "macro_f1": truth.macro.f1,
        "kappa": cohen_kappa_score(truth.labels, truth.predicted),
        "mcc": matthews_corrcoef(truth.labels, truth.predicted),
    }
    rng = np.random.default_rng(2)
    held = dict.fromkeys(exact, 0)
    for _ in range(NUM_TRIALS):
        probs, labels = draw(rng, num, num_classes, skill)
        confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
        np.add.at(confusion, (labels, probs.argmax(axis=1)), 1)
        found = confusion_intervals(confusion) | {"top1": wilson(int(confusion.trace()), num)}
        for name, true in exact.items():
            held[name] += holds(found[name], true)
    for name, count in held.items():
        assert 0.93 - SLACK <= count / NUM_TRIALS <= 0.97 + SLACK, (name, count / NUM_TRIALS)


def test_the_bootstrap_of_a_skewed_mean_covers_the_truth() -> None:
    # Losses look like this: many near zero, few large.
    def trial(rng: np.random.Generator) -> bool:
        return holds(bootstrap(lambda rows: rows.mean(axis=1), rng.gamma(0.4, 1, 300)), 0.4)

    assert 0.93 - SLACK <= coverage(trial, 250) <= 0.97 + SLACK


def test_the_interval_of_roc_auc_covers_the_truth() -> None:
    truth = np.nanmean(rank_classes(*draw(np.random.default_rng(1), 200_000, 4, 1.2)).roc_auc)

    def trial(rng: np.random.Generator) -> bool:
        probs, labels = draw(rng, 200, 4, 1.2)
        return holds(macro_roc_auc(probs, labels, rank_classes(probs, labels).roc_auc), float(truth))

    assert 0.93 - SLACK <= coverage(trial) <= 0.97 + SLACK


def test_the_interval_of_a_paired_difference_covers_the_truth() -> None:
    shares = np.array([0.7, 0.12, 0.06, 0.12])
    probs = np.eye(2, dtype=np.float32)

    def trial(rng: np.random.Generator) -> bool:
        kinds = rng.choice(4, size=200, p=shares)
        right = np.isin(kinds, (0, 1)), np.isin(kinds, (0, 2))
        one, other = (scored(probs[np.where(is_right, 0, 1)], np.zeros(200, dtype=np.int64)) for is_right in right)
        return holds(compare_evaluations(one, other).difference, shares[2] - shares[1])

    assert 0.93 - SLACK <= coverage(trial, 200) <= 0.97 + SLACK


def test_perfectly_calibrated_answers_stay_below_what_chance_makes_of_them() -> None:
    def trial(rng: np.random.Generator) -> bool:
        confidence = rng.beta(4, 1, 300)
        probs = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
        swapped = np.where(probs[:, :1] >= 0.5, probs, probs[:, ::-1])
        labels = (rng.random(300) >= swapped[:, 0]).astype(np.int64)
        found = scored(swapped, labels)
        return found.ece <= chance_ece(found.confidence)

    assert 0.93 - SLACK <= coverage(trial, 150) <= 0.97 + SLACK


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_is_scipys(num: int, data: st.DataObject) -> None:
    num_right = data.draw(st.integers(0, num))
    expected = binomtest(num_right, num).proportion_ci(method="wilson")
    found = wilson(num_right, num)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.low <= found.value <= found.high


@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_values_of_the_confusion_matrix_are_scikit_learns(num_classes: int, num: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(num_classes, size=(2, num))
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    found = confusion_intervals(confusion)
    occurs = np.unique(labels)
    expected = {
        "balanced_accuracy": recall_score(labels, predicted, labels=occurs, average="macro", zero_division=0.0),
        "macro_f1": f1_score(labels, predicted, average="macro", zero_division=0.0),
    }
    if len(np.unique(np.concatenate([labels, predicted]))) > 1:
        # Elsewhere scikit-learn warns.
        assert expected["balanced_accuracy"] == pytest.approx(quiet_balanced_accuracy(labels, predicted))
        expected["kappa"] = cohen_kappa_score(labels, predicted)
        expected["mcc"] = matthews_corrcoef(labels, predicted)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
        assert found[name].low <= found[name].value <= found[name].high


def quiet_balanced_accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    with warnings.catch_warnings():
        # Of predicted classes that do not occur.
        warnings.simplefilter("ignore")
        return float(balanced_accuracy_score(labels, predicted))


def test_all_right_is_not_certainty() -> None:
    confusion = np.diag([20, 20, 10])
    for name, found in confusion_intervals(confusion).items():
        assert found.value == 1 and 0.8 < found.low < 0.97, name
    assert 0.92 < wilson(50, 50).low < 0.94
    probs = np.eye(2, dtype=np.float32)[[0, 1] * 20]
    labels = np.array([0, 1] * 20)
    auc = macro_roc_auc(probs, labels, rank_classes(probs, labels).roc_auc)
    assert auc.value == auc.high == 1 and 0.85 < auc.low < 1


def test_the_same_answers_have_the_same_intervals() -> None:
    probs, labels = draw(np.random.default_rng(0), 100, 3, 1)
    assert scored(probs, labels).intervals == scored(probs.copy(), labels.copy()).intervals


def test_one_image_is_answered_without_complaint() -> None:
    found = scored(np.array([[0.7, 0.3]], dtype=np.float32), np.array([0]))
    assert found.top1_interval.low < 0.3
    assert found.loss_interval.high == np.inf
    assert found.roc_auc is None and found.roc_auc_interval is None


@given(st.integers(2, 5), st.integers(2, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_roc_auc_is_scikit_learns_also_with_ties(num_classes: int, num: int, seed: int, rounded: bool) -> None:
    probs, labels = draw(np.random.default_rng(seed), num, num_classes, 1)
    probs = np.round(probs, 1) if rounded else probs
    found = rank_classes(probs, labels)
    for label in range(num_classes):
        is_own = labels == label
        if 0 < is_own.sum() < num:
            assert found.roc_auc[label] == pytest.approx(roc_auc_score(is_own, probs[:, label]), abs=1e-9)
        else:
            assert np.isnan(found.roc_auc[label]) and np.isnan(found.average_precision[label])
