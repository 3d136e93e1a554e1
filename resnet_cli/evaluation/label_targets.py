"""Thresholds that keep the precision or the recall of each class, and whether they do on other images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_predictions import LabelPredictions
from resnet_cli.model.label_reliability import is_predicted, select_label_thresholds
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.model.thresholds import ClassThreshold

Metric: TypeAlias = Literal["precision", "recall"]


@dataclasses.dataclass(frozen=True)
class TargetRow:
    """One class under a target.

    Attributes:
        validation: The threshold, with its results on the model's validation images.
        observed: Precision or recall at the threshold on the evaluated images, with its 95 % interval; None if the
            class is never predicted there, or has no positives.
        num_predicted: Number of evaluated images with a known value for which the class is predicted.
        held: Whether ``observed`` reaches the target; None if nothing is observed.
        is_refuted: Whether even the upper end of its interval is below the target, which chance hardly explains.
    """

    validation: ClassThreshold
    observed: Interval | None
    num_predicted: int
    held: bool | None
    is_refuted: bool

    @property
    def threshold(self) -> float | None:
        """The lowest probability at which the class is predicted; None if it is never predicted."""
        return self.validation.threshold

    @property
    def bound(self) -> float | None:
        """What the validation images guarantee at a confidence level of 95 %; None for no guarantee."""
        return self.validation.bound

    @property
    def verdict(self) -> str:
        """Whether the target is reached, in a word or two."""
        if self.bound is None:
            return "no guarantee"
        if self.held is None:
            return "-"
        return "yes" if self.held else "no" if self.is_refuted else "within chance"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "validation": dataclasses.asdict(self.validation),
            "observed": self.observed.value if self.observed else None,
            "observed_interval": [self.observed.low, self.observed.high] if self.observed else None,
            "num_predicted": self.num_predicted,
            "held": self.held,
            "is_refuted": self.is_refuted,
        }


@dataclasses.dataclass(frozen=True)
class LabelTarget:
    """A target for each class, the thresholds that validation images chose for it, and their results on other images.

    Attributes:
        metric: What the target is about.
        target: Least precision or recall of each class.
        classes: Names of the classes.
        rows: The classes, in index order.
        caveat: A sentence about the classes for which no threshold holds; None if there are none.
    """

    metric: Metric
    target: float
    classes: tuple[str, ...]
    rows: tuple[TargetRow, ...]
    caveat: str | None

    @property
    def flag(self) -> str:
        """The flag that asks for it."""
        return f"--target-{self.metric}"

    @property
    def in_words(self) -> str:
        """For how many classes the target is reached on the evaluated images."""
        promised = [row for row in self.rows if row.bound is not None and row.held is not None]
        num_held, num_refuted = sum(bool(row.held) for row in promised), sum(row.is_refuted for row in promised)
        text = f"reached by {num_held} of {len(promised)} classes with a guarantee and predictions here"
        return text + (f"; {num_refuted} below it by more than chance explains" if num_refuted else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = zip(self.classes, self.rows, strict=True)
        return {
            f"target_{self.metric}": self.target,
            "caveat": self.caveat,
            "per_class": {name: row.to_dict() for name, row in rows},
        }


def label_target(
    reliability: ValidationResults | None,
    classes: Sequence[str],
    *,
    target_precision: float | None,
    target_recall: float | None,
) -> tuple[Metric, float, tuple[ClassThreshold, ...], str | None]:
    """Chooses the thresholds for a target on the model's validation images.

    Raises:
        ModelError: The model has no validation results.
        ConfigError: No threshold of any class holds.
    """
    found, caveat = select_label_thresholds(
        reliability, classes, target_precision=target_precision, target_recall=target_recall
    )
    if target_precision is not None:
        return "precision", target_precision, found, caveat
    assert target_recall is not None
    return "recall", target_recall, found, caveat


def check_label_target(
    scores: LabelPredictions,
    chosen: tuple[Metric, float, tuple[ClassThreshold, ...], str | None],
) -> LabelTarget:
    """Checks the thresholds for a target on other images.

    Args:
        scores: Predictions for the other images.
        chosen: The result of :func:`label_target`.
    """
    metric, target, thresholds, caveat = chosen
    predicted = is_predicted(scores.probs, [one.threshold for one in thresholds]) & scores.is_known
    is_true = scores.targets == 1
    num_right = (predicted & is_true).sum(axis=0)
    nums = predicted.sum(axis=0) if metric == "precision" else is_true.sum(axis=0)
    rows = []
    for one, right, num, given in zip(thresholds, num_right, nums, predicted.sum(axis=0), strict=True):
        observed = wilson(int(right), int(num)) if num else None
        rows.append(
            TargetRow(
                one,
                observed,
                int(given),
                None if observed is None else bool(observed.value >= target),
                observed is not None and observed.high < target,
            )
        )
    return LabelTarget(metric, target, scores.classes, tuple(rows), caveat)
