"""Metrics of each class, and their averages over classes, as scikit-learn defines them.

Three averages, which agree where every predicted class also has images:

* macro: the plain mean over every class that has images or is predicted. A class that is predicted but has no images
  counts with a recall, a precision and an F1 of 0: each of its predictions is wrong. A class with neither has no
  metrics and does not count.
* weighted: the mean over the same classes, weighted by their images.
* balanced accuracy: the mean recall of the classes that have images.

Source: ``classification_report`` and ``balanced_accuracy_score`` of scikit-learn with their default labels and
``zero_division=0``, https://scikit-learn.org/stable/modules/model_evaluation.html.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Metrics of one class, or an average over classes.

    Attributes:
        precision: Share of the images predicted as the class that belong to it; 0 if no image is predicted as it.
        recall: Share of the images of the class that are predicted as it; 0 if the class has no images.
        f1: Harmonic mean of precision and recall; 0 if both are 0.
        support: Number of images of the class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclasses.dataclass(frozen=True, eq=False)
class ClassTable:
    """The metrics of all classes.

    Attributes:
        per_class: Metrics of each class, in index order.
        macro: Mean over the classes that have images or are predicted.
        weighted: Mean over these classes, weighted by their images.
        confusion: Confusion matrix, int64 [k x k]; true classes in rows, predicted ones in columns.
    """

    per_class: tuple[ClassScores, ...]
    macro: ClassScores
    weighted: ClassScores
    confusion: NDArray[np.int64]


def score_classes(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> ClassTable:
    """Computes the metrics of each class and their averages.

    Args:
        labels: True class indices [n] in [0, k), n at least 1.
        predicted: Predicted class indices [n] in [0, k).
        num_classes: Number of classes, k.
    """
    from sklearn.metrics import precision_recall_fscore_support

    every = np.arange(num_classes)
    table = np.stack(precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0))
    confusion = np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, -1)
    support, counts = table[3], occurs(confusion)
    return ClassTable(
        per_class=tuple(ClassScores(float(p), float(r), float(f), int(n)) for p, r, f, n in table.T),
        macro=_average(table[:3, counts], np.ones(counts.sum()), len(labels)),
        weighted=_average(table[:3, counts], support[counts], len(labels)),
        confusion=confusion,
    )


def occurs(confusion: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each class has images or is predicted, so that it counts in a macro average, [k]."""
    counts: NDArray[np.bool_] = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return counts


def _average(table: NDArray[np.float64], weights: NDArray[np.float64], num_images: int) -> ClassScores:
    precision, recall, f1 = np.average(table, axis=1, weights=weights)
    return ClassScores(float(precision), float(recall), float(f1), num_images)
