"""Computes the metrics of predicted probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.calibration import losses
from resnet_cli.evaluation.scores import ClassScores, Evaluation

#: Fewest classes for which top-5 is reported.
MIN_CLASSES_TOP5 = 5


def score(
    probs: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], names: Sequence[str]
) -> Evaluation:
    """Computes the metrics of predicted probabilities.

    Args:
        probs: Probabilities [n x k], each row with the sum 1; n at least 1.
        labels: True class indices [n] in [0, k).
        classes: Names of the k classes.
        names: Names of the n images.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    num_classes = len(classes)
    predicted = probs.argmax(axis=1)
    every = np.arange(num_classes)
    table = np.stack(precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0))
    support = table[3]
    occurs = support > 0
    top5 = None
    if num_classes >= MIN_CLASSES_TOP5:
        # The rank is the number of more probable classes, which is exact also with ties.
        true_probs = probs[np.arange(len(labels)), labels]
        top5 = float(np.mean((probs > true_probs[:, None]).sum(axis=1) < 5))
    return Evaluation(
        classes=tuple(classes),
        names=tuple(names),
        labels=labels,
        probs=probs,
        loss=float(losses(probs, labels).mean()),
        top1=float(np.mean(predicted == labels)),
        top5=top5,
        per_class=tuple(ClassScores(float(p), float(r), float(f), int(n)) for p, r, f, n in table.T),
        macro=_average(table[:3, occurs], np.ones(occurs.sum()), len(labels)),
        weighted=_average(table[:3, occurs], support[occurs], len(labels)),
        confusion=confusion_matrix(labels, predicted, labels=every).astype(np.int64),
    )


def _average(table: NDArray[np.float64], weights: NDArray[np.float64], num_images: int) -> ClassScores:
    precision, recall, f1 = np.average(table, axis=1, weights=weights)
    return ClassScores(float(precision), float(recall), float(f1), num_images)
