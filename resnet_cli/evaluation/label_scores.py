"""Metrics of a multi-label model on labeled images, as scikit-learn defines them, over known values alone."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.class_scores import ClassScores
from resnet_cli.evaluation.intervals import Interval, ends, wilson
from resnet_cli.evaluation.label_calibration import LabelCalibration, label_calibration, unscaled
from resnet_cli.evaluation.label_class_scores import LabelScores, average_scores, count_labels, score_labels
from resnet_cli.evaluation.label_figures import Ratios, figure_intervals, image_ratios
from resnet_cli.evaluation.label_intervals import class_intervals, sample_ranking
from resnet_cli.evaluation.label_mistakes import Cooccurrence, cooccurrence
from resnet_cli.evaluation.label_predictions import LabelPredictions
from resnet_cli.evaluation.label_ranking import ImageRanking, rank_labels
from resnet_cli.evaluation.label_resampling import MAX_CELLS, Sampled
from resnet_cli.evaluation.label_slices import LabelSlice, score_label_slices
from resnet_cli.evaluation.ranking import Ranking, mean_known, rank_known_classes
from resnet_cli.heads.average_precision import rank_class
from resnet_cli.text import Summarized, percent, percent_range


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class LabelEvaluation(LabelPredictions, Summarized):
    """A multi-label model's predictions for n labeled images, and their metrics, each computed on first access."""

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
        return image_ratios(self, self.image_ranking)

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
        return figure_intervals(self, self.sampled, self.ratios)

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

    @cached_property
    def slices(self) -> tuple[LabelSlice, ...]:
        """Metrics of each group, worst first; empty without groups."""
        return score_label_slices(self)

    def to_dict(self) -> dict[str, Any]:
        """All metrics as plain JSON values, without the predictions for each image."""
        raw, unfamiliar = self.uncalibrated, self.unfamiliar_interval
        true, predicted = self.mean_labels
        return {
            "task": self.task,
            "num_images": self.num_images,
            "num_negatives": self.num_negatives,
            "num_unscored": self.num_images - self.num_scored,
            "num_unknown_values": self.num_unknown,
            "mean_labels": {"true": true, "predicted": predicted},
            "tta": self.tta,
            **self.figures,
            "intervals": {name: ends(one) for name, one in self.intervals.items()},
            "macro": dataclasses.asdict(self.macro),
            "micro": dataclasses.asdict(self.micro),
            "weighted": dataclasses.asdict(self.weighted),
            "per_class": {name: self._class_dict(label) for label, name in enumerate(self.classes)},
            "cooccurrence": self.cooccurrence.tolist(),
            "wrong_in_addition": self.pairs.in_addition.tolist(),
            "wrong_instead": self.pairs.instead.tolist(),
            "calibration": {
                "chance_ece": self.calibration.chance_ece,
                "before": raw.to_dict() if raw else None,
                "after": self.calibration.to_dict(),
            },
            "unfamiliar": None if unfamiliar is None else {"share": unfamiliar.value, "interval": ends(unfamiliar)},
            "slices": None if self.groups is None else [one.to_dict() for one in self.slices],
        }

    def _class_dict(self, label: int) -> dict[str, Any]:
        row, found = self.per_class[label], int(self.cooccurrence[label, label])
        spans = {
            "average_precision_interval": self.average_precision_intervals[label],
            "recall_interval": wilson(found, row.support) if row.support else None,
            "precision_interval": wilson(found, row.num_predicted) if row.num_predicted else None,
        }
        worst = self.worst_mistakes(label)._asdict()
        return {
            **dataclasses.asdict(row),
            "threshold": row.threshold if math.isfinite(row.threshold) else None,
            **{name: None if span is None else ends(span) for name, span in spans.items()},
            **{
                name: [{"path": self.names[image], "prob": float(self.probs[image, label])} for image in images]
                for name, images in worst.items()
            },
        }
