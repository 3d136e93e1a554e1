"""What thresholds that guarantee a precision of each class reach, for a report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.model.label_reliability import LabelReliability, is_predicted
from resnet_cli.model.thresholds import precision_thresholds
from resnet_cli.task import YES

#: Precisions, from the easiest to the hardest.
TARGETS = (0.8, 0.9, 0.95)


class PrecisionTarget(NamedTuple):
    """The thresholds for one precision.

    Attributes:
        target: The precision that each class is to have.
        num_classes: Number of classes that have such a threshold on validation.
        precision: Share of correct labels among those predicted for the evaluated images; None if there are none.
        interval: Its 95 % interval; None without predictions.
        recall: Share of the labels of these classes that are predicted; None if there are none.
    """

    target: float
    num_classes: int
    precision: float | None
    interval: Interval | None
    recall: float | None


def precision_targets(reliability: LabelReliability, evaluation: LabelEvaluation) -> list[PrecisionTarget]:
    """The targets that at least one class can reach, each checked on the evaluated images.

    Args:
        reliability: The model's results on validation.
        evaluation: The evaluation; with test-time augmentation there are no targets.
    """
    if evaluation.tta != "none":
        return []
    found = []
    for target in TARGETS:
        chosen = precision_thresholds(reliability.probs, reliability.targets, target)
        reached = np.array([one.threshold is not None for one in chosen])
        if not reached.any():
            break  # Harder targets cannot be reached either.
        predicted = is_predicted(evaluation.probs, [one.threshold for one in chosen]) & evaluation.is_known
        is_true = evaluation.targets == YES
        num_right, num, num_true = (int(x.sum()) for x in (predicted & is_true, predicted, is_true[:, reached]))
        share = wilson(num_right, num) if num else None
        recall = num_right / num_true if num_true else None
        found.append(PrecisionTarget(target, int(reached.sum()), share.value if share else None, share, recall))
    return found
