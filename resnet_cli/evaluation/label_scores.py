"""Metrics of a multi-label model on labeled images, as scikit-learn defines them, over known values alone.

A value is one class of one image: 1 yes, 0 no, -1 unknown. Unknown values count nowhere: not as positives or negatives,
not in the loss, and the classes of an image are ranked among its known ones. An image without any known value counts in
no metric.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.class_scores import ClassScores
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_calibration import LabelCalibration, cross_entropies, label_calibration, unscaled
from resnet_cli.evaluation.label_class_scores import LabelScores, average_scores, count_labels, score_labels
from resnet_cli.evaluation.label_dict import evaluation_dict
from resnet_cli.evaluation.label_figures import Ratios, figure_intervals, image_ratios
from resnet_cli.evaluation.label_intervals import class_intervals, sample_ranking
from resnet_cli.evaluation.label_mistakes import Cooccurrence, Mistakes, cooccurrence, worst_mistakes
from resnet_cli.evaluation.label_ranking import ImageRanking, rank_labels
from resnet_cli.evaluation.label_resampling import MAX_CELLS, Sampled
from resnet_cli.evaluation.label_slices import LabelSlice, score_label_slices
from resnet_cli.evaluation.ranking import Ranking, mean_known, rank_known_classes
from resnet_cli.evaluation.scores import Tta
from resnet_cli.heads.average_precision import rank_class
from resnet_cli.task import TaskName
from resnet_cli.text import Summarized, percent, percent_range

if TYPE_CHECKING:
    from resnet_cli.evaluation.seen_images import SeenImages


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class LabelEvaluation(Summarized):
    """A multi-label model's predictions for n labeled images, and their metrics, each computed on first access.

    Attributes:
        classes: Class names in index order.
        names: Names of the images, [n].
        targets: 1 yes, 0 no, -1 unknown, int8 [n x k].
        probs: Predicted probabilities of each class, float32 [n x k].
        thresholds: The probability from which on each label is predicted, float64 [k]; infinite for a label that is
            never predicted.
        tta: Test-time augmentation that the probabilities were computed with.
        novelty: How unlike the training images each image is, float32 [n]; None if the model cannot tell.
        scaling: Scale and shift of each class's logit that calibrated the model, each [k]; None without calibration.
        is_unfamiliar: Whether each image is unlike the training images, bool [n]; None if the model cannot tell.
        groups: Group of each image, [n]; None without grouping.
        seen: Images of the data that the model has seen in its training; None if this was not asked.
    """

    task: ClassVar[TaskName] = "multi-label"
    #: The calibration of a multi-label model is part of its head.
    temperature: ClassVar[float] = 1.0

    classes: tuple[str, ...]
    names: tuple[str, ...]
    targets: NDArray[np.int8]
    probs: NDArray[np.float32]
    thresholds: NDArray[np.float64]
    tta: Tta = "none"
    novelty: NDArray[np.float32] | None = None
    scaling: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    is_unfamiliar: NDArray[np.bool_] | None = None
    groups: tuple[str, ...] | None = None
    seen: SeenImages | None = None

    def summary(self) -> dict[str, str]:
        """The main metrics."""
        value = self.main[1]
        shown = "-" if self.map is None else f"{percent(value.value)} ({percent_range(value.low, value.high)})"
        return {
            "images": f"{self.num_images:,}",
            "classes": f"{len(self.classes):,}",
            "mAP": shown,
            "macro F1": percent(self.macro.f1),
            "exact match": percent(self.exact_match),
            "loss": f"{self.loss:.3f}",
        }

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.targets)

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each value is known, [n x k]."""
        return self.targets >= 0

    @cached_property
    def is_scored(self) -> NDArray[np.bool_]:
        """Whether each image has a known value, and so counts, [n]."""
        return np.asarray(self.is_known.any(axis=1))

    @property
    def num_scored(self) -> int:
        """Number of images that have a known value."""
        return int(self.is_scored.sum())

    @property
    def num_unknown(self) -> int:
        """Number of values that are not known."""
        return int(self.targets.size - self.is_known.sum())

    @property
    def num_negatives(self) -> int:
        """Number of images with known values that have none of the labels."""
        return int((self.is_scored & ~(self.targets == 1).any(axis=1)).sum())

    @cached_property
    def predicted(self) -> NDArray[np.bool_]:
        """Whether each label is predicted: its probability reaches the threshold of its class, [n x k]."""
        # As float32, in which `predict` and exported files compare too.
        return np.asarray(self.probs >= self.thresholds.astype(np.float32))

    @cached_property
    def is_wrong(self) -> NDArray[np.bool_]:
        """Whether each value is known and predicted wrong, [n x k]."""
        return np.asarray(self.is_known & (self.predicted != (self.targets == 1)))

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether all known values of each image are predicted correctly, [n]; False without known values."""
        return np.asarray(self.is_scored & ~self.is_wrong.any(axis=1))

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Mean binary cross-entropy of each image's known values in nats, [n]; 0 without known values."""
        sums = cross_entropies(self.probs, self.targets)
        return np.asarray(sums / np.maximum(self.is_known.sum(axis=1), 1))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """How sure the least certain decision for each image is, [n]: the smallest probability of being right."""
        certainty = np.where(self.predicted, self.probs, 1 - self.probs).astype(np.float64)
        return np.asarray(np.where(self.is_known, certainty, 1.0).min(axis=1))

    @property
    def main(self) -> tuple[str, Interval]:
        """Name and value of the main metric, with its 95 % interval; NaN, from 0 to 1, if there is no mAP."""
        return "mAP", self.intervals.get("map", Interval(math.nan if self.map is None else self.map, 0.0, 1.0))

    @property
    def score(self) -> float | None:
        """The main metric, in [0, 1]: :attr:`map`."""
        return self.map

    @cached_property
    def ranking(self) -> Ranking:
        """ROC-AUC and average precision of each class; NaN without a known positive or a known negative."""
        return rank_known_classes(self.probs, self.targets)

    @property
    def map(self) -> float | None:
        """Macro mAP: mean average precision of the classes that have one; None if no class has one."""
        return mean_known(self.ranking.average_precision)

    @property
    def weighted_map(self) -> float | None:
        """The same mean, weighted by the positives of each class."""
        return mean_known(self.ranking.average_precision, (self.targets == 1).sum(axis=0))

    @cached_property
    def micro_map(self) -> float | None:
        """Average precision of all known values together; None if they are all the same."""
        scores, is_own = self.probs[self.is_known], self.targets[self.is_known] == 1
        is_mixed = 0 < is_own.sum() < len(is_own)
        return float(rank_class(scores, scores[is_own]).average_precision) if is_mixed else None

    @property
    def roc_auc(self) -> float | None:
        """Mean ROC-AUC of the classes that have one; None if no class has one."""
        return mean_known(self.ranking.roc_auc)

    @cached_property
    def per_class(self) -> tuple[LabelScores, ...]:
        """Metrics of each class, in index order."""
        ece = np.array(self.calibration.per_class)
        return score_labels(self.targets, self.predicted, self.ranking, ece=ece, thresholds=self.thresholds)

    @cached_property
    def _averages(self) -> dict[str, ClassScores]:
        return average_scores(count_labels(self.targets, self.predicted))

    @property
    def macro(self) -> ClassScores:
        """Mean over the classes that have positives or are predicted."""
        return self._averages["macro"]

    @property
    def micro(self) -> ClassScores:
        """Precision, recall and F1 of all known values together."""
        return self._averages["micro"]

    @property
    def weighted(self) -> ClassScores:
        """The mean of the macro average, weighted by the positives of each class."""
        return self._averages["weighted"]

    @property
    def exact_match(self) -> float:
        """Share of the images whose known values are all predicted correctly (subset accuracy)."""
        return float(self.is_right.sum() / self.num_scored)

    @property
    def mean_labels(self) -> tuple[float, float]:
        """Number of labels per image among the known values: true and predicted."""
        true, predicted = (self.targets == 1).sum(), (self.is_known & self.predicted).sum()
        return float(true / self.num_scored), float(predicted / self.num_scored)

    @cached_property
    def image_ranking(self) -> ImageRanking:
        """How well the labels of each image are ranked above the other classes."""
        return rank_labels(self.probs, self.targets)

    @cached_property
    def figures(self) -> dict[str, float | None]:
        """Every metric that is one number, by its name in JSON."""
        found = {"map": self.map, "micro_map": self.micro_map, "weighted_map": self.weighted_map}
        ratios = {name: float(top.sum() / bottom.sum()) for name, (top, bottom) in self.ratios.items() if bottom.any()}
        rest = {"roc_auc": self.roc_auc, "exact_match": self.exact_match, **dict.fromkeys(self.ratios)}
        return {**found, **rest, **ratios, "ece": self.ece}

    @cached_property
    def ratios(self) -> Ratios:
        """Metrics that are a sum over images, divided by another one."""
        return image_ratios(self)

    @property
    def loss(self) -> float:
        """Mean binary cross-entropy in nats over the known values."""
        return self.calibration.loss

    @property
    def ece(self) -> float:
        """Expected calibration error, mean over the classes with known values, in [0, 1]."""
        return self.calibration.ece

    @property
    def brier(self) -> float:
        """Squared error of the probabilities, mean over the known values, in [0, 1]."""
        return self.calibration.brier

    @cached_property
    def calibration(self) -> LabelCalibration:
        """Calibration of the probabilities."""
        return label_calibration(self.probs, self.targets)

    @cached_property
    def uncalibrated(self) -> LabelCalibration | None:
        """Calibration before the scaling of the logits; None without it, and with test-time augmentation."""
        if self.scaling is None or self.tta != "none":
            return None
        return label_calibration(unscaled(self.probs, *self.scaling), self.targets)

    @cached_property
    def sampled(self) -> dict[str, Sampled]:
        """Metrics of the ranking over resamples of the images; empty for more than four million values."""
        return {} if self.targets.size > MAX_CELLS else sample_ranking(self.probs, self.targets)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Every metric that has an interval, by its name in JSON; ``macro_f1`` and the like for the averages."""
        return figure_intervals(self)

    @cached_property
    def average_precision_intervals(self) -> tuple[Interval | None, ...]:
        """Average precision of each class with its interval; None without one, and for too many values."""
        supports = (self.targets == 1).sum(axis=0).tolist()
        if not self.sampled:
            return (None,) * len(self.classes)
        return class_intervals(self.sampled["average_precision"], supports)

    @cached_property
    def pairs(self) -> Cooccurrence:
        """Which labels are predicted with which, rightly or not."""
        return cooccurrence(self.targets, self.predicted)

    @property
    def cooccurrence(self) -> NDArray[np.int64]:
        """Images that have one label and are predicted to have another, [k x k]; true classes in rows."""
        return self.pairs.both

    def worst_mistakes(self, label: int, limit: int = 5) -> Mistakes:
        """The images of the worst mistakes of a class, at most ``limit`` missed ones and as many false alarms."""
        return worst_mistakes(self.probs, self.targets, self.predicted, label, limit)

    def labels_of(self, image: int) -> tuple[str, ...]:
        """Names of the labels of an image, in index order."""
        return tuple(self.classes[label] for label in np.flatnonzero(self.targets[image] == 1))

    def predicted_of(self, image: int) -> tuple[str, ...]:
        """Names of the labels predicted for an image, the most probable first."""
        chosen = np.flatnonzero(self.predicted[image])
        order = np.argsort(-self.probs[image, chosen], kind="stable")
        return tuple(self.classes[label] for label in chosen[order])

    @property
    def unfamiliar_interval(self) -> Interval | None:
        """The share of images that are unlike the training images; None if the model cannot tell."""
        return None if self.is_unfamiliar is None else wilson(int(self.is_unfamiliar.sum()), self.num_images)

    @cached_property
    def slices(self) -> tuple[LabelSlice, ...]:
        """Metrics of each group, worst first; empty without groups."""
        return score_label_slices(self)

    def to_dict(self) -> dict[str, Any]:
        """All metrics as plain JSON values, without the predictions for each image."""
        return evaluation_dict(self)
