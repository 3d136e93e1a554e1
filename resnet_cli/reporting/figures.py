"""The figures of an evaluation as people read them: a name, a value, its interval, and what it means."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from resnet_cli.evaluation.calibration import Calibration
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.text import percent, percent_range

#: A temperature so near to 1 changes nothing that could be seen.
NO_CHANGE = 0.005
#: Attribute of an evaluation -> name, whether it is a share (shown as %), what it means.
_FIGURES: dict[str, tuple[str, bool, str]] = {
    "top1": ("Top-1 accuracy", True, "the most probable class is right"),
    "top5": ("Top-5 accuracy", True, "the right class is among the five most probable"),
    "balanced_accuracy": (
        "Balanced accuracy",
        True,
        "mean recall of the classes: small ones count as much as large ones",
    ),
    "macro_precision": ("Macro precision", True, "how often a named class is right, mean of the classes"),
    "macro_f1": ("Macro F1", True, "harmonic mean of precision and recall, mean of the classes"),
    "roc_auc": ("ROC-AUC", False, "one class against the rest, mean of the classes; 0.5 is chance"),
    "average_precision": ("Average precision", False, "area under precision and recall, mean of the classes"),
    "kappa": ("Cohen's kappa", False, "agreement beyond chance; 0 is chance, 1 is perfect"),
    "mcc": ("Matthews correlation", False, "of true and named classes; 0 is chance, 1 is perfect"),
    "loss": ("Loss", False, "mean nats per image; lower is better"),
    "brier": ("Brier score", False, "squared distance of the probabilities to the truth; lower is better"),
    "ece": ("Calibration error (ECE)", True, "how far probabilities are off the share of right answers"),
}


class Figure(NamedTuple):
    """One figure.

    Attributes:
        key: Of ``_FIGURES``.
        name: As people call it.
        text: The value as it is shown.
        interval: ``91.7 to 98.2 %``: its 95 % interval; empty where there is none.
        note: The interval in a few words, or what else is needed to judge the value.
        about: What it means.
    """

    key: str
    name: str
    text: str
    interval: str
    note: str
    about: str


def figures(evaluation: Evaluation) -> list[Figure]:
    """All that is known about a model's answers, the most telling first."""
    found = []
    for key, (name, is_share, about) in _FIGURES.items():
        value, interval = _value(evaluation, key), evaluation.intervals.get(key)
        if value is None:
            continue
        low, high = (interval.low, interval.high) if interval else (value, value)
        has_interval = low < high < math.inf
        span = "" if not has_interval else percent_range(low, high) if is_share else f"{low:.3f} to {high:.3f}"
        note = f"95 %: {span}" if span else about
        if key == "ece":
            note = f"chance alone: up to {percent(evaluation.chance_ece)}"
            about += f"; chance alone makes up to {percent(evaluation.chance_ece)} of it with so many images"
        found.append(Figure(key, name, percent(value) if is_share else f"{value:.3f}", span, note, about))
    return found


def _value(evaluation: Evaluation, key: str) -> float | None:
    average, _, part = key.partition("_")
    value: float | None = getattr(evaluation.macro, part) if average == "macro" else getattr(evaluation, key)
    return value


class ClassFigures(NamedTuple):
    """One class in the table of classes; figures are None where no image is of the class or is answered with it."""

    name: str
    support: int
    recall: Interval | None
    precision: float | None
    f1: float | None
    roc_auc: float | None
    average_precision: float | None
    mistaken_for: str
    num_mistaken: int


def class_figures(evaluation: Evaluation) -> list[ClassFigures]:
    """The figures of each class, in index order."""
    mistakes = evaluation.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    named, ranking = evaluation.confusion.sum(axis=0), evaluation.ranking
    rows = []
    for label, (name, scores) in enumerate(zip(evaluation.classes, evaluation.per_class, strict=True)):
        other = int(mistakes[label].argmax())
        num_mistaken = int(mistakes[label, other])
        rows.append(
            ClassFigures(
                name=name,
                support=scores.support,
                recall=evaluation.recall_interval(label),
                precision=scores.precision if named[label] else None,
                f1=scores.f1 if scores.support else None,
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
    """How far probabilities could be trusted before the temperature; None where it changes nothing to be seen."""
    return None if abs(evaluation.temperature - 1) < NO_CHANGE else evaluation.uncalibrated
