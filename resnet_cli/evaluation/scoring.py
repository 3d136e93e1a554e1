"""Computes the metrics of predicted probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.packed_text import TextView
from resnet_cli.errors import DataError
from resnet_cli.evaluation.calibration import losses
from resnet_cli.evaluation.class_scores import score_classes
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.task import TaskName

#: The scores of a model of either task: :class:`Evaluation` or :class:`LabelEvaluation`. ``Any`` stands for the second:
#: code that knows its task need not check it. Source: "The Any trick", CONTRIBUTING.md of typeshed.
Scores: TypeAlias = Evaluation | Any
#: Fewest classes for which top-5 is reported: among five, the correct class is always found.
MIN_CLASSES_TOP5 = 6


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
    predicted = probs.argmax(axis=1)
    table = score_classes(labels, predicted, len(classes))
    return Evaluation(
        classes=tuple(classes),
        names=names if isinstance(names, TextView) else tuple(names),
        labels=labels,
        probs=probs,
        loss=float(losses(probs, labels).mean()),
        top1=float(np.mean(predicted == labels)),
        top5=_top5(probs, labels) if len(classes) >= MIN_CLASSES_TOP5 else None,
        per_class=table.per_class,
        macro=table.macro,
        weighted=table.weighted,
        confusion=table.confusion,
    )


def score_labels(
    probs: NDArray[np.float32],
    targets: NDArray[np.int8],
    classes: Sequence[str],
    names: Sequence[str],
    *,
    thresholds: Sequence[float],
) -> LabelEvaluation:
    """Prepares the metrics of the predicted probabilities of several labels per image.

    Args:
        probs: Probabilities [n x k], each in [0, 1]; n at least 1.
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        classes: Names of the k classes.
        names: Names of the n images.
        thresholds: The lowest probability at which each label is predicted, [k].

    Raises:
        DataError: No value is known.
    """
    if not (targets >= 0).any():
        raise DataError(
            f"the labels of all {len(names):,} images are unknown: there is nothing to compare predictions with",
            hint="give images whose labels are known",
        )
    return LabelEvaluation(
        classes=tuple(classes),
        names=names if isinstance(names, TextView) else tuple(names),
        targets=targets,
        probs=probs,
        thresholds=np.array(thresholds, dtype=np.float64),
    )


def at_threshold(scores: Scores, threshold: float) -> Scores:
    """The scores of the same predictions of a multi-label model with one threshold for all classes."""
    return dataclasses.replace(scores, thresholds=np.full(len(scores.classes), threshold))


class Calibrated(Protocol):
    """A model, as far as its scores depend on its calibration."""

    @property
    def temperature(self) -> float:
        """Divisor of the logits; 1 for a multi-label model."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The least probability at which each class is predicted, [k]; multi-label only."""

    @property
    def scaling(self) -> LabelScaling | None:
        """Scale and shift of each class's logits that calibrated the model; multi-label only."""


def score_task(
    task: TaskName,
    probs: NDArray[np.float32],
    targets: NDArray[np.integer[Any]],
    classes: Sequence[str],
    *,
    names: Sequence[str],
    calibrated: Calibrated,
) -> Scores:
    """Computes the metrics of a model of any task.

    Args:
        task: Whether an image has one label or any number.
        probs: Probabilities [n x k].
        targets: The labels as :func:`~resnet_cli.data.dataset.targets_of` returns them.
        classes: Names of the k classes.
        names: Names of the n images.
        calibrated: The model.

    Raises:
        DataError: No value of a multi-label data set is known.
    """
    if task == "single-label":
        scores = score(probs, targets.astype(np.int64), classes, names)
        return dataclasses.replace(scores, temperature=calibrated.temperature)
    found = score_labels(probs, targets.astype(np.int8), classes, names, thresholds=calibrated.thresholds)
    return dataclasses.replace(found, scaling=calibrated.scaling)


def _top5(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of images whose true class is among the first five, in the order in which ``predict`` lists classes."""
    true_probs = probs[np.arange(len(labels)), labels][:, None]
    # Of equally probable classes, the one with the lower index is first, as in the top-1 prediction.
    is_before = np.arange(probs.shape[1]) < labels[:, None]
    ranks = ((probs > true_probs) | ((probs == true_probs) & is_before)).sum(axis=1)
    return float(np.mean(ranks < 5))
