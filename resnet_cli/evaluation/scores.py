"""Metrics of a model on labeled images, as scikit-learn defines them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.agreement import confusion_intervals
from resnet_cli.evaluation.calibration import (
    Calibration,
    calibration,
    chance_ece,
    losses,
    rescale,
    squared_errors,
    top_predictions,
)
from resnet_cli.evaluation.class_scores import ClassScores, occurs
from resnet_cli.evaluation.coverage import CoverageRow, risk_coverage
from resnet_cli.evaluation.intervals import Interval, bootstrap, ends, wilson
from resnet_cli.evaluation.ranking import MAX_CELLS, Ranking, macro_roc_auc, mean_known, rank_classes
from resnet_cli.evaluation.slices import SliceScores, score_slices
from resnet_cli.task import TaskName
from resnet_cli.text import Summarized, percent, percent_range

if TYPE_CHECKING:
    from resnet_cli.engines.feature_rows import AnyFeatures
    from resnet_cli.evaluation.seen_images import SeenImages

#: Test-time augmentation: ``flip`` averages the probabilities of an image and its mirror image.
Tta: TypeAlias = Literal["none", "flip"]

#: Metrics in JSON, and those of them that have an interval.
_FIGURES = tuple(
    "num_images tta top1 top5 loss balanced_accuracy kappa mcc roc_auc average_precision brier ece".split()
)
_WITH_INTERVAL = ("top1", "top5", "balanced_accuracy", "macro_f1", "loss", "kappa", "mcc", "roc_auc", "brier")


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation(Summarized):
    """A model's predictions for n labeled images, and their metrics.

    Slow metrics are computed on first access.

    Attributes:
        classes: Class names in index order.
        names: Names of the images, [n].
        labels: True class indices, int64 [n].
        probs: Predicted probabilities, float32 [n x k].
        loss: Mean cross-entropy in nats.
        top1: Top-1 accuracy in [0, 1].
        top5: Top-5 accuracy in [0, 1]; of equally probable classes, those with lower indices come first. None for
            fewer than six classes.
        per_class: Metrics of each class, in index order.
        macro: Mean over the classes that have images or are predicted; see
            :mod:`~resnet_cli.evaluation.class_scores`.
        weighted: Mean over the classes, weighted by their images.
        confusion: Confusion matrix, int64 [k x k]; true classes in rows, predicted ones in columns.
        tta: Test-time augmentation that the probabilities were computed with.
        novelty: How unlike the training images each image is, float32 [n]; None if the model cannot tell.
        temperature: Temperature of the model.
        is_unfamiliar: Whether each image is unlike the training images, bool [n]; None if the model cannot tell.
        groups: Group of each image, [n]; None without grouping.
        seen: Images of the data that the model has seen in its training; None if this was not asked.
        features: The backbone's features of the images, [n x 2048]; None if they are not known.
    """

    task: ClassVar[TaskName] = "single-label"

    classes: tuple[str, ...]
    names: Sequence[str]
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
    seen: SeenImages | None = None
    features: AnyFeatures | None = None

    def summary(self) -> dict[str, str]:
        """The main metrics."""
        top1 = self.top1_interval
        top5 = {} if self.top5 is None else {"top-5": percent(self.top5)}
        return {
            "images": f"{self.num_images:,}",
            "classes": f"{len(self.classes):,}",
            "top-1": f"{percent(top1.value)} ({percent_range(top1.low, top1.high)})",
            **top5,
            "macro F1": percent(self.macro.f1),
            "loss": f"{self.loss:.3f}",
        }

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def main(self) -> tuple[str, Interval]:
        """Name and value of the main metric, with its 95 % interval."""
        return "top-1", self.top1_interval

    @property
    def score(self) -> float:
        """The main metric, in [0, 1]."""
        return self.top1

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted class of each image, [n]."""
        return np.asarray(self.probs.argmax(axis=1))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the predicted class of each image, [n]."""
        return top_predictions(self.probs, self.labels)[0]

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, [n]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Cross-entropy of each image in nats, [n]; the worst mistakes have the highest."""
        return losses(self.probs, self.labels)

    @cached_property
    def occurs(self) -> NDArray[np.bool_]:
        """Whether each class has images or is predicted, so that it counts in the macro average, [k]."""
        return occurs(self.confusion)

    @cached_property
    def top1_interval(self) -> Interval:
        """Top-1 and its 95 % interval."""
        return wilson(int(self.is_right.sum()), self.num_images)

    @cached_property
    def top5_interval(self) -> Interval | None:
        """Top-5 and its 95 % interval."""
        return None if self.top5 is None else wilson(round(self.top5 * self.num_images), self.num_images)

    @cached_property
    def loss_interval(self) -> Interval:
        """The loss and its 95 % interval."""
        return bootstrap(lambda rows: rows.mean(axis=1), self.losses)

    @cached_property
    def _of_confusion(self) -> dict[str, Interval]:
        return confusion_intervals(self.confusion)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        return float(np.mean([scores.recall for scores in self.per_class if scores.support]))

    @property
    def balanced_accuracy_interval(self) -> Interval:
        """Balanced accuracy and its 95 % interval."""
        return self._of_confusion["balanced_accuracy"]

    @property
    def macro_f1_interval(self) -> Interval:
        """``macro.f1`` and its 95 % interval."""
        return self._of_confusion["macro_f1"]

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance, in [-1, 1]; 0 if chance alone gives full agreement."""
        return self.kappa_interval.value

    @property
    def kappa_interval(self) -> Interval:
        """Cohen's kappa and its 95 % interval."""
        return self._of_confusion["kappa"]

    @property
    def mcc(self) -> float:
        """Matthews correlation coefficient, in [-1, 1]."""
        return self.mcc_interval.value

    @property
    def mcc_interval(self) -> Interval:
        """MCC and its 95 % interval."""
        return self._of_confusion["mcc"]

    @cached_property
    def ranking(self) -> Ranking:
        """ROC-AUC and average precision of each class against the rest."""
        return rank_classes(self.probs, self.labels)

    @property
    def roc_auc(self) -> float | None:
        """Mean ROC-AUC of the classes that have both images and images of others; None if there is no such class."""
        return mean_known(self.ranking.roc_auc)

    @cached_property
    def roc_auc_interval(self) -> Interval | None:
        """ROC-AUC and its 95 % interval; None without ROC-AUC, and for more than ten million probabilities."""
        if self.roc_auc is None or self.probs.size > MAX_CELLS:
            return None
        return macro_roc_auc(self.probs, self.labels, self.ranking.roc_auc)

    @property
    def average_precision(self) -> float | None:
        """Mean average precision of the classes that have a ROC-AUC; None if there is no such class."""
        return mean_known(self.ranking.average_precision)

    @cached_property
    def calibration(self) -> Calibration:
        """Calibration of the probabilities."""
        return calibration(self.probs, self.labels)

    @cached_property
    def uncalibrated(self) -> Calibration | None:
        """Calibration before temperature scaling; None without a temperature, and with test-time augmentation."""
        if self.temperature == 1 or self.tta != "none":
            return None
        return calibration(rescale(self.probs, self.temperature), self.labels)

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]."""
        return self.calibration.ece

    @cached_property
    def chance_ece(self) -> float:
        """The ECE below which a perfectly calibrated model stays in 95 of 100 samples of this size."""
        return chance_ece(self.confidence)

    @property
    def brier(self) -> float:
        """Brier score summed over the classes, in [0, 2], also for two classes."""
        return self.calibration.brier

    @cached_property
    def brier_interval(self) -> Interval:
        """Brier score and its 95 % interval."""
        return bootstrap(lambda rows: rows.mean(axis=1), squared_errors(self.probs, self.labels), most=2.0)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Every metric that has an interval, by its name in JSON."""
        found = {name: getattr(self, f"{name}_interval") for name in _WITH_INTERVAL}
        return {name: interval for name, interval in found.items() if interval is not None}

    @cached_property
    def risk_coverage(self) -> tuple[CoverageRow, ...]:
        """The share of wrong predictions among the most confident ones, for several coverages."""
        return risk_coverage(self.confidence, self.is_right)

    @property
    def unfamiliar_interval(self) -> Interval | None:
        """The share of images that are unlike the training images; None if the model cannot tell."""
        return None if self.is_unfamiliar is None else wilson(int(self.is_unfamiliar.sum()), self.num_images)

    @cached_property
    def slices(self) -> tuple[SliceScores, ...]:
        """Metrics of each group, worst first; empty without groups."""
        return score_slices(self.groups or (), self.is_right, self.losses)

    def recall_interval(self, label: int) -> Interval | None:
        """Recall of a class with its 95 % interval; None for a class without images."""
        support = self.per_class[label].support
        return wilson(int(self.confusion[label, label]), support) if support else None

    def to_dict(self) -> dict[str, Any]:
        """All metrics as plain JSON values, without the predictions for each image."""
        raw = self.uncalibrated
        unfamiliar = self.unfamiliar_interval
        return {
            **{name: getattr(self, name) for name in _FIGURES},
            "intervals": {name: ends(interval) for name, interval in self.intervals.items()},
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
            "unfamiliar": None if unfamiliar is None else {"share": unfamiliar.value, "interval": ends(unfamiliar)},
            "slices": None if self.groups is None else [one.to_dict() for one in self.slices],
        }

    def _class_dict(self, label: int) -> dict[str, Any]:
        recall = self.recall_interval(label)
        return dataclasses.asdict(self.per_class[label]) | {
            "recall_interval": None if recall is None else ends(recall),
            "roc_auc": _known(self.ranking.roc_auc[label]),
            "average_precision": _known(self.ranking.average_precision[label]),
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
