"""How good a model is on labelled images. Metrics are scikit-learn's; probabilities are the model's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.agreement import confusion_intervals
from resnet_cli.evaluation.calibration import (
    Calibration,
    answers,
    calibration,
    chance_ece,
    losses,
    rescale,
    squared_errors,
)
from resnet_cli.evaluation.coverage import CoverageRow, risk_coverage
from resnet_cli.evaluation.intervals import Interval, bootstrap, wilson
from resnet_cli.evaluation.ranking import MAX_CELLS, Ranking, macro_roc_auc, rank_classes
from resnet_cli.evaluation.slices import SliceScores, score_slices

#: Test-time augmentation: ``flip`` takes the mean of the probabilities of an image and of its mirror image.
Tta: TypeAlias = Literal["none", "flip"]

#: Top-5 says nothing where there are fewer classes.
MIN_CLASSES_TOP5 = 5


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """One class's figures, or an average over classes; all fractions in [0, 1].

    Attributes:
        support: Images that truly are of the class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's answers on n labelled images, and what they add up to.

    What takes longer than a moment is computed when it is first asked for.

    Attributes:
        classes: In index order.
        names: The images, [n].
        labels: True class indices, int64 [n].
        probs: float32 [n x k].
        loss: Mean of -ln(probability of the true class), nats.
        top1: Share whose most probable class is right.
        top5: Share whose true class is among the five most probable; None below five classes.
        per_class: In index order.
        macro: Mean over the classes that occur.
        weighted: Mean weighted by support.
        confusion: int64 [k x k], rows true, columns predicted.
        tta: How the probabilities were made.
        novelty: How unlike the training images each image is, float32 [n]; None if the model remembers none.
        temperature: The model's.
        is_unfamiliar: Whether an image is unlike what the model was trained on, bool [n]; None if it cannot tell.
        groups: The group of each image, [n]; None where nobody asked for groups.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]
    loss: float
    top1: float
    top5: float | None
    per_class: tuple[ClassScores, ...]
    macro: ClassScores
    weighted: ClassScores
    confusion: NDArray[np.int64]
    tta: Tta = "none"
    novelty: NDArray[np.float32] | None = None
    temperature: float = 1.0
    is_unfamiliar: NDArray[np.bool_] | None = None
    groups: tuple[str, ...] | None = None

    @property
    def num_images(self) -> int:
        """How many images were answered."""
        return len(self.labels)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, [n]."""
        return np.asarray(self.probs.argmax(axis=1))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Its probability, [n]."""
        return answers(self.probs, self.labels)[0]

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether it is the true class, [n]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Nats of each image, [n]: the highest are the worst mistakes."""
        return losses(self.probs, self.labels)

    @cached_property
    def top1_interval(self) -> Interval:
        """Top-1 and its 95 % interval."""
        return wilson(int(self.is_right.sum()), self.num_images)

    @cached_property
    def top5_interval(self) -> Interval | None:
        """Likewise top-5."""
        return None if self.top5 is None else wilson(round(self.top5 * self.num_images), self.num_images)

    @cached_property
    def loss_interval(self) -> Interval:
        """Likewise the loss."""
        return bootstrap(lambda rows: rows.mean(axis=1), self.losses)

    @cached_property
    def _of_confusion(self) -> dict[str, Interval]:
        return confusion_intervals(self.confusion)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that occur."""
        return self.macro.recall

    @property
    def balanced_accuracy_interval(self) -> Interval:
        """Its 95 % interval."""
        return self._of_confusion["balanced_accuracy"]

    @property
    def macro_f1_interval(self) -> Interval:
        """``macro.f1`` and its 95 % interval."""
        return self._of_confusion["macro_f1"]

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance, in [-1, 1]."""
        return self.kappa_interval.value

    @property
    def kappa_interval(self) -> Interval:
        """Its 95 % interval."""
        return self._of_confusion["kappa"]

    @property
    def mcc(self) -> float:
        """Matthews' correlation coefficient, in [-1, 1]."""
        return self.mcc_interval.value

    @property
    def mcc_interval(self) -> Interval:
        """Its 95 % interval."""
        return self._of_confusion["mcc"]

    @cached_property
    def ranking(self) -> Ranking:
        """ROC-AUC and average precision of each class against the rest; NaN where a class has none."""
        return rank_classes(self.probs, self.labels)

    @property
    def roc_auc(self) -> float | None:
        """Mean ROC-AUC of the classes that have one; None if none has."""
        return _mean_known(self.ranking.roc_auc)

    @cached_property
    def roc_auc_interval(self) -> Interval | None:
        """Its 95 % interval; None without ROC-AUC, and for more than ten million probabilities."""
        if self.roc_auc is None or self.probs.size > MAX_CELLS:
            return None
        return macro_roc_auc(self.probs, self.labels, self.ranking.roc_auc)

    @property
    def average_precision(self) -> float | None:
        """Mean average precision of the classes that have one; None if none has."""
        return _mean_known(self.ranking.average_precision)

    @cached_property
    def calibration(self) -> Calibration:
        """How far the probabilities can be taken at their word."""
        return calibration(self.probs, self.labels)

    @cached_property
    def uncalibrated(self) -> Calibration | None:
        """The same before the temperature; None without one, and for the mean of two answers."""
        if self.temperature == 1 or self.tta != "none":
            return None
        return calibration(rescale(self.probs, self.temperature), self.labels)

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]."""
        return self.calibration.ece

    @cached_property
    def chance_ece(self) -> float:
        """The ECE that a perfectly calibrated model stays below, 95 times of 100."""
        return chance_ece(self.confidence)

    @property
    def brier(self) -> float:
        """Brier score summed over the classes, in [0, 2]."""
        return self.calibration.brier

    @cached_property
    def brier_interval(self) -> Interval:
        """Its 95 % interval."""
        return bootstrap(lambda rows: rows.mean(axis=1), squared_errors(self.probs, self.labels), most=2.0)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Every figure that has an interval, by its name in JSON."""
        found = {
            "top1": self.top1_interval,
            "top5": self.top5_interval,
            "balanced_accuracy": self.balanced_accuracy_interval,
            "macro_f1": self.macro_f1_interval,
            "loss": self.loss_interval,
            "kappa": self.kappa_interval,
            "mcc": self.mcc_interval,
            "roc_auc": self.roc_auc_interval,
            "brier": self.brier_interval,
        }
        return {name: interval for name, interval in found.items() if interval is not None}

    @cached_property
    def risk_coverage(self) -> tuple[CoverageRow, ...]:
        """How many answers are wrong if only the most probable ones are given."""
        return risk_coverage(self.confidence, self.is_right)

    @property
    def unfamiliar_interval(self) -> Interval | None:
        """The share of images that are unlike the training images; None if the model cannot tell."""
        return None if self.is_unfamiliar is None else wilson(int(self.is_unfamiliar.sum()), self.num_images)

    @cached_property
    def slices(self) -> tuple[SliceScores, ...]:
        """The figures of each group, worst first; empty without groups."""
        return score_slices(self.groups or (), self.is_right, self.losses)

    def recall_interval(self, label: int) -> Interval | None:
        """The recall of a class; None for a class without images."""
        support = self.per_class[label].support
        return wilson(int(self.confusion[label, label]), support) if support else None

    def to_dict(self) -> dict[str, Any]:
        """Figures as plain JSON values (without the answers to each image)."""
        raw = self.uncalibrated
        unfamiliar = self.unfamiliar_interval
        return {
            "num_images": self.num_images,
            "tta": self.tta,
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "balanced_accuracy": self.balanced_accuracy,
            "kappa": self.kappa,
            "mcc": self.mcc,
            "roc_auc": self.roc_auc,
            "average_precision": self.average_precision,
            "brier": self.brier,
            "ece": self.ece,
            "intervals": {name: _ends(interval) for name, interval in self.intervals.items()},
            "macro": dataclasses.asdict(self.macro),
            "weighted": dataclasses.asdict(self.weighted),
            "per_class": {name: self._class_dict(label) for label, name in enumerate(self.classes)},
            "confusion": self.confusion.tolist(),
            "calibration": {
                "temperature": self.temperature,
                "chance_ece": self.chance_ece,
                "before": raw.to_dict() if raw else None,
                "after": self.calibration.to_dict(),
            },
            "risk_coverage": [row.to_dict() for row in self.risk_coverage],
            "unfamiliar": None if unfamiliar is None else {"share": unfamiliar.value, "interval": _ends(unfamiliar)},
            "slices": None if self.groups is None else [one.to_dict() for one in self.slices],
        }

    def _class_dict(self, label: int) -> dict[str, Any]:
        recall = self.recall_interval(label)
        return dataclasses.asdict(self.per_class[label]) | {
            "recall_interval": None if recall is None else _ends(recall),
            "roc_auc": _known(self.ranking.roc_auc[label]),
            "average_precision": _known(self.ranking.average_precision[label]),
        }


def score(
    probs: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], names: Sequence[str]
) -> Evaluation:
    """Scores probabilities against labels.

    Args:
        probs: [n x k], rows adding up to 1; n at least 1.
        labels: [n] in [0, k).
        classes: k names.
        names: n names of images.
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
        # Rank by how many classes are more probable: exact, also with ties.
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


def _mean_known(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _ends(interval: Interval) -> list[float | None]:
    """The ends as JSON has them: of one image's loss nobody knows the upper one."""
    return [interval.low, interval.high if math.isfinite(interval.high) else None]
