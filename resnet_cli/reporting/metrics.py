"""The metrics of an evaluation as people read them: name, value, interval and meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from resnet_cli.evaluation.calibration import Calibration
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.text import percent, percent_range

#: A temperature this close to 1 changes nothing visible.
NO_CHANGE = 0.005
#: Attribute of an evaluation -> name, whether it is a share (shown as %), meaning.
_METRICS: dict[str, tuple[str, bool, str]] = {
    "top1": ("Top-1 accuracy", True, "the most probable class is correct"),
    "top5": ("Top-5 accuracy", True, "the correct class is among the five most probable"),
    "balanced_accuracy": ("Balanced accuracy", True, "recall, averaged over the classes that have images"),
    "macro_precision": (
        "Macro precision",
        True,
        "share of correct predictions per class, averaged over classes that occur",
    ),
    "macro_f1": ("Macro F1", True, "harmonic mean of precision and recall, averaged over classes that occur"),
    "roc_auc": ("ROC-AUC", False, "one class against the rest, averaged over the classes; 0.5 is chance"),
    "average_precision": (
        "Average precision",
        False,
        "area under the precision-recall curve, averaged over the classes",
    ),
    "kappa": ("Cohen's kappa", False, "agreement beyond chance; 0 is chance, 1 is perfect"),
    "mcc": ("Matthews correlation", False, "correlation of true and predicted classes; 0 is chance, 1 is perfect"),
    "loss": ("Loss", False, "mean nats per image; lower is better"),
    "brier": ("Brier score", False, "squared error of the probabilities; lower is better"),
    "ece": ("Calibration error (ECE)", True, "mean difference of confidence and accuracy"),
}


class Metric(NamedTuple):
    """One metric.

    Attributes:
        key: A key of ``_METRICS``.
        name: Its usual name.
        text: The value as it is shown.
        interval: The 95 % interval, such as ``91.7 to 98.2 %``; empty if there is none.
        note: The interval in a few words, or what else helps to read the value.
        meaning: What it measures.
    """

    key: str
    name: str
    text: str
    interval: str
    note: str
    meaning: str


def metrics(evaluation: Evaluation) -> list[Metric]:
    """All metrics of a model, the most important first."""
    values = {key: _value(evaluation, key) for key in _METRICS}
    return described(_METRICS, values, evaluation.intervals, chance_ece=evaluation.chance_ece)


def described(
    meanings: Mapping[str, tuple[str, bool, str]],
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval],
    *,
    chance_ece: float,
) -> list[Metric]:
    """Metrics in the order of ``meanings``; those that have no value are omitted.

    Args:
        meanings: Key -> name, whether it is a share (shown as %), meaning.
        values: Key -> value.
        intervals: Key -> 95 % interval, for those that have one.
        chance_ece: Calibration error that chance alone accounts for.
    """
    found = []
    for key, (name, is_share, meaning) in meanings.items():
        value, interval = values[key], intervals.get(key)
        if value is None:
            continue
        # Numbers of classes need fewer digits.
        show = percent if is_share else "{:.2f}".format if key == "coverage_error" else "{:.3f}".format
        low, high = (interval.low, interval.high) if interval else (value, value)
        has_interval = low < high < math.inf
        span = "" if not has_interval else percent_range(low, high) if is_share else f"{show(low)} to {show(high)}"
        note = f"95 %: {span}" if span else meaning
        if key == "ece":
            chance = percent(chance_ece)
            note = f"chance alone: up to {chance}"
            meaning += f"; with this many images, chance alone accounts for up to {chance}"
        found.append(Metric(key, name, show(value), span, note, meaning))
    return found


def _value(evaluation: Evaluation, key: str) -> float | None:
    average, _, part = key.partition("_")
    value: float | None = getattr(evaluation.macro, part) if average == "macro" else getattr(evaluation, key)
    return value


class ClassMetrics(NamedTuple):
    """One row of the table of classes; a metric is None if it is not defined for the class.

    Recall needs images of the class, precision images that are predicted as it, F1 either.
    """

    name: str
    support: int
    recall: Interval | None
    precision: float | None
    f1: float | None
    roc_auc: float | None
    average_precision: float | None
    mistaken_for: str
    num_mistaken: int


def class_metrics(evaluation: Evaluation) -> list[ClassMetrics]:
    """The metrics of each class, in index order."""
    mistakes = evaluation.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    named, ranking = evaluation.confusion.sum(axis=0), evaluation.ranking
    rows = []
    for label, (name, scores) in enumerate(zip(evaluation.classes, evaluation.per_class, strict=True)):
        other = int(mistakes[label].argmax())
        num_mistaken = int(mistakes[label, other])
        rows.append(
            ClassMetrics(
                name=name,
                support=scores.support,
                recall=evaluation.recall_interval(label),
                precision=scores.precision if named[label] else None,
                f1=scores.f1 if scores.support or named[label] else None,
                roc_auc=_known(ranking.roc_auc[label]),
                average_precision=_known(ranking.average_precision[label]),
                mistaken_for=evaluation.classes[other] if num_mistaken else "",
                num_mistaken=num_mistaken,
            )
        )
    return rows


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def before_temperature(evaluation: Evaluation) -> Calibration | None:
    """The calibration before temperature scaling; None if the temperature changes nothing visible."""
    return None if abs(evaluation.temperature - 1) < NO_CHANGE else evaluation.uncalibrated
