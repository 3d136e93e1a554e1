"""Metrics of each class of a multi-label model, and their averages over classes, over known values alone.

Each class is a yes/no question of its own. A value that is not known (-1) counts nowhere: it is neither a positive nor
a negative, and a prediction for it is neither right nor wrong.

* macro: the plain mean over every class that has positives or is predicted; a class that is predicted but has no
  positives counts as 0.
* micro: precision, recall and F1 of all values together.
* weighted: the mean over the classes of the macro average, weighted by their positives.

Source: ``precision_recall_fscore_support`` of scikit-learn with ``zero_division=0``,
https://scikit-learn.org/stable/modules/model_evaluation.html.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.class_scores import ClassScores
from resnet_cli.evaluation.ranking import Ranking


@dataclasses.dataclass(frozen=True)
class LabelScores:
    """Metrics of one class.

    Attributes:
        average_precision: Area under the precision-recall curve; None without a known positive or a known negative.
        roc_auc: Area under the ROC curve; None in the same cases.
        precision: Share of the images predicted to have the label that have it; 0 if it is never predicted.
        recall: Share of the positives that are predicted; 0 without positives.
        f1: Harmonic mean of precision and recall; 0 if both are 0.
        threshold: The lowest probability at which the label is predicted; infinite if it is never predicted.
        support: Number of positives: images known to have the label.
        negatives: Number of images known not to have it.
        unknown: Number of images whose value is not known; they count in no metric.
        num_predicted: Number of predictions of the label, on images whose value is known.
        ece: Expected calibration error of the probability of the label; None if no value is known.
    """

    average_precision: float | None
    roc_auc: float | None
    precision: float
    recall: float
    f1: float
    threshold: float
    support: int
    negatives: int
    unknown: int
    num_predicted: int
    ece: float | None

    @property
    def counts(self) -> bool:
        """Whether the class counts in the macro average: it has positives or is predicted."""
        return self.support + self.num_predicted > 0


class LabelCounts(NamedTuple):
    """Numbers of images of each class in b samples, all [b x k].

    Attributes:
        right: Positives that are predicted.
        predicted: Predictions where the value is known.
        true: Positives.
    """

    right: NDArray[np.float64]
    predicted: NDArray[np.float64]
    true: NDArray[np.float64]


def count_labels(targets: NDArray[np.int8], predicted: NDArray[np.bool_]) -> LabelCounts:
    """The counts of one sample, each [1 x k].

    Args:
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        predicted: Whether each label is predicted, [n x k].
    """
    is_true, is_known = targets == 1, targets >= 0
    parts = (is_true & predicted, is_known & predicted, is_true)
    return LabelCounts(*(part.sum(axis=0, dtype=np.float64)[None] for part in parts))


def by_class(counts: LabelCounts) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 of each class, each [b x k]; 0 where the denominator is 0."""
    return (
        _ratio(counts.right, counts.predicted),
        _ratio(counts.right, counts.true),
        _ratio(2 * counts.right, counts.predicted + counts.true),
    )


def averages(counts: LabelCounts) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 by each average: ``macro``, ``micro`` and ``weighted``, each [b x 3]."""
    table = np.stack(by_class(counts), axis=2)
    is_counted = ((counts.true + counts.predicted) > 0).astype(np.float64)
    total = LabelCounts(*(part.sum(axis=1, keepdims=True) for part in counts))
    return {
        "macro": _weighted_mean(table, is_counted),
        "micro": np.concatenate(by_class(total), axis=1),
        "weighted": _weighted_mean(table, counts.true),
    }


def average_scores(counts: LabelCounts) -> dict[str, ClassScores]:
    """The averages of one sample, by name; the support is the number of positives of all classes."""
    num = int(counts.true.sum())
    rows = ((name, values[0].tolist()) for name, values in averages(counts).items())
    return {name: ClassScores(precision, recall, f1, num) for name, (precision, recall, f1) in rows}


def score_labels(
    targets: NDArray[np.int8],
    predicted: NDArray[np.bool_],
    ranking: Ranking,
    *,
    ece: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> tuple[LabelScores, ...]:
    """The metrics of each class.

    Args:
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        predicted: Whether each label is predicted, [n x k].
        ranking: ROC-AUC and average precision of each class.
        ece: Calibration error of each class, [k]; NaN if it has none.
        thresholds: Threshold of each class, [k].
    """
    counts = count_labels(targets, predicted)
    precision, recall, f1 = (values[0] for values in by_class(counts))
    return tuple(
        LabelScores(
            average_precision=_known(ranking.average_precision[label]),
            roc_auc=_known(ranking.roc_auc[label]),
            precision=float(precision[label]),
            recall=float(recall[label]),
            f1=float(f1[label]),
            threshold=float(thresholds[label]),
            support=int(counts.true[0, label]),
            negatives=int((targets[:, label] == 0).sum()),
            unknown=int((targets[:, label] < 0).sum()),
            num_predicted=int(counts.predicted[0, label]),
            ece=_known(ece[label]),
        )
        for label in range(targets.shape[1])
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _weighted_mean(table: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[b x k x 3] and [b x k] -> [b x 3]; 0 if no class counts."""
    sums = np.einsum("bkm,bk->bm", table, weights)
    return _ratio(sums, np.broadcast_to(weights.sum(axis=1, keepdims=True), sums.shape))
