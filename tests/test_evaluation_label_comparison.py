"""Two multi-label models on the same images: which has the higher mAP, or how many images it would take to tell."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.comparing import compare
from resnet_cli.evaluation.label_comparison import LabelComparison, compare_label_evaluations
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.scoring import score, score_labels

CLASSES = ("a", "b", "c")


def model(noise: float, *, num: int = 300, seed: int = 0, truth: int = 0) -> LabelEvaluation:
    """Predictions for the same images that are the worse, the more noise they have."""
    targets = (np.random.default_rng(truth).random((num, 3)) < 0.3).astype(np.int8)
    logits = 2 * targets - 1 + noise * np.random.default_rng(1000 + seed).normal(size=targets.shape)
    probs = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return score_labels(probs, targets, CLASSES, [str(index) for index in range(num)], thresholds=(0.5,) * 3)


def test_a_clear_difference_is_distinguished_and_a_model_is_not_better_than_itself() -> None:
    good, bad = model(0.7), model(1.5, seed=1)
    found = compare_label_evaluations(bad, good)
    assert good.map is not None and bad.map is not None
    assert found.difference == pytest.approx(good.map - bad.map) and found.is_distinguishable
    assert found.difference_interval is not None and found.difference_interval.low > 0
    back = compare_label_evaluations(good, bad)
    assert back.difference_interval is not None and back.difference_interval.high < 0
    assert back.p_value == pytest.approx(found.p_value)
    assert found.num_needed is not None and found.num_needed <= found.num_images
    same = compare_label_evaluations(good, good)
    assert (same.difference, same.p_value, same.num_needed, same.is_distinguishable) == (0, 1, None, False)
    assert same.exact_match.only_first == same.exact_match.only_second == 0
    # Resamples without any difference say nothing: the positives of the classes limit what others may show.
    assert same.difference_interval is not None and -0.15 < same.difference_interval.low < -0.01


def test_equally_good_models_are_told_apart_in_about_one_of_twenty_cases() -> None:
    found = [
        compare_label_evaluations(model(1, num=80, seed=2 * i, truth=i), model(1, num=80, seed=2 * i + 1, truth=i))
        for i in range(20)
    ]
    assert sum(one.is_distinguishable for one in found) <= 4
    assert all(one.num_needed is not None and one.num_needed > 80 for one in found if not one.is_distinguishable)


def test_classes_are_matched_by_name() -> None:
    first, second = model(0.7), model(1)
    order: NDArray[np.int64] = np.array([2, 0, 1])
    shuffled = dataclasses.replace(
        second,
        classes=tuple(CLASSES[label] for label in order),
        targets=second.targets[:, order],
        probs=second.probs[:, order],
    )
    assert compare(first, shuffled).to_dict() == compare(first, second).to_dict()


def test_a_correction_for_several_comparisons_needs_more_images() -> None:
    one, six = (compare_label_evaluations(model(1), model(1.05, seed=1), num_compared=num) for num in (1, 6))
    assert isinstance(one, LabelComparison) and one.num_needed is not None and six.num_needed is not None
    assert one.num_needed < six.num_needed


def test_models_of_different_tasks_or_without_a_common_class_are_refused() -> None:
    labels = model(1, num=4)
    single = score(np.full((4, 2), 0.5, dtype=np.float32), np.zeros(4, dtype=np.int64), ("a", "b"), labels.names)
    with pytest.raises(ConfigError, match="cannot be compared"):
        compare(labels, single)
    with pytest.raises(ConfigError, match="no class in common"):
        compare(labels, dataclasses.replace(labels, classes=("x", "y", "z")))
