"""The rule by which a model's probabilities become labels or "unknown", from what the user asks for. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.model.label_reliability import LabelRule, is_predicted, select_label_thresholds
from resnet_cli.model.reliability import Abstention, ValidationResults, abstention, cannot_abstain
from resnet_cli.task import TaskName

Rule: TypeAlias = Abstention | LabelRule


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What :func:`abstention_rule` is asked for."""

    abstain: bool = False
    threshold: float | None = None
    target_error: float | None = None
    target_precision: float | None = None
    target_recall: float | None = None


#: Field -> the task that it is for.
_TARGETS: Mapping[str, TaskName] = {
    "target_error": "single-label",
    "target_precision": "multi-label",
    "target_recall": "multi-label",
}
#: Task of the model -> what is said about a target for the other one, and what to use instead.
_FOR_OTHERS: Mapping[TaskName, str] = {
    "single-label": "is for multi-label models; this model gives each image exactly one label",
    "multi-label": "is for single-label models; this model gives each image any number of labels",
}
_INSTEAD: Mapping[TaskName, str] = {
    "single-label": "use --target-error",
    "multi-label": "use --target-precision or --target-recall",
}


class Model(Protocol):
    """What a rule depends on: a model in torch or an exported one."""

    @property
    def task(self) -> TaskName:
        """Whether an image has one label or any number."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The model's own thresholds, one per class; multi-label only."""

    @property
    def reliability(self) -> ValidationResults | None:
        """Its results on its validation split; None if it has none."""

    @property
    def has_novelty(self) -> bool:
        """Whether it tells how unlike the training images an image is."""


def abstention_rule(
    model: Model,
    *,
    abstain: bool = False,
    threshold: float | None = None,
    target_error: float | None = None,
    target_precision: float | None = None,
    target_recall: float | None = None,
) -> Rule | None:
    """The rule that a user asks for; None if nothing is requested, so that the model's own labels hold.

    Args:
        model: The model.
        abstain: Label images "unknown" that are unlike all training images.
        threshold: Single-label: label images "unknown" whose most probable class is less probable than this, in [0, 1].
            Multi-label: predict the classes with at least this probability, instead of the model's own thresholds.
        target_error: Single-label: label as many images "unknown" as needed to keep the share of wrong predictions
            among the others below this, in (0, 1); implies ``abstain``.
        target_precision: Multi-label: choose the threshold of each class so that at least this share of its predictions
            is right, in (0, 1).
        target_recall: Multi-label: the same for the share of a class's images for which it is predicted.

    Raises:
        ModelError: The model has nothing to decide by.
        ConfigError: A value is out of range or for the other task, or the validation split cannot guarantee it.
    """
    wanted = _Wanted(abstain, threshold, target_error, target_precision, target_recall)
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold}: must be a share between 0 and 1")
    targets = {name: value for name in _TARGETS if (value := getattr(wanted, name)) is not None}
    check_targets(model.task, targets)
    if model.task == "multi-label" and targets and threshold is not None:
        raise ConfigError(f"--threshold and {_flag(next(iter(targets)))}: choose one")
    if abstain and model.reliability is not None and not model.has_novelty:
        raise ModelError(
            "the model cannot tell which images are unlike its training images: it has no exemplars of them",
            hint="remove --abstain, or use the run that it came from",
        )
    return _RULES[model.task](model, wanted)


def check_targets(task: TaskName, targets: Mapping[str, float]) -> None:
    """Checks that targets are for a task, in range, and at most one.

    Args:
        task: The task of the model.
        targets: Values by their names: ``target_error``, ``target_precision``, ``target_recall``.

    Raises:
        ConfigError: They are not.
    """
    for name, value in targets.items():
        if not 0 < value < 1:
            raise ConfigError(f"{name} {value}: must be a share between 0 and 1")
        if _TARGETS[name] != task:
            raise ConfigError(f"{_flag(name)} {_FOR_OTHERS[task]}", hint=_INSTEAD[task])
    if len(targets) > 1:
        raise ConfigError(f"{' and '.join(map(_flag, targets))}: choose one")


def choose_labels(model: Model, probs: NDArray[np.float32], rule: Rule | None) -> NDArray[np.bool_] | None:
    """Which classes a multi-label model predicts, bool [n x k]; None for a single-label model.

    Args:
        model: The model.
        probs: Its probabilities [n x k].
        rule: From :func:`abstention_rule`.
    """
    return None if model.task == "single-label" else is_predicted(probs, label_thresholds(model, rule))


def may_abstain(rule: Rule | None) -> bool:
    """Whether images may be labeled "unknown"."""
    return isinstance(rule, Abstention) or (rule is not None and rule.unfamiliar)


def caveat_of(rule: Rule | None) -> str | None:
    """What a rule does not guarantee for some classes, as a sentence."""
    return rule.caveat if isinstance(rule, LabelRule) else None


def label_thresholds(model: Model, rule: Rule | None) -> tuple[float | None, ...]:
    """The least probability at which each class is predicted, [k], None for never; empty for a single-label model."""
    return rule.thresholds if isinstance(rule, LabelRule) else model.thresholds


def _single_label(model: Model, wanted: _Wanted) -> Rule | None:
    threshold = wanted.threshold or 0.0
    if wanted.abstain or wanted.target_error is not None:
        return abstention(model.reliability, threshold=threshold, target_error=wanted.target_error)
    return Abstention(threshold) if threshold > 0 else None


def _multi_label(model: Model, wanted: _Wanted) -> Rule | None:
    if wanted == _Wanted():
        return None
    if wanted.abstain and model.reliability is None:
        raise cannot_abstain()
    if wanted.target_precision is None and wanted.target_recall is None:
        is_default = wanted.threshold is None
        thresholds = model.thresholds if is_default else (wanted.threshold,) * len(model.classes)
        return LabelRule(thresholds, wanted.abstain)
    chosen, caveat = select_label_thresholds(
        model.reliability,
        model.classes,
        target_precision=wanted.target_precision,
        target_recall=wanted.target_recall,
    )
    return LabelRule(tuple(one.threshold for one in chosen), wanted.abstain, caveat)


_RULES: Mapping[TaskName, Callable[[Model, _Wanted], Rule | None]] = {
    "single-label": _single_label,
    "multi-label": _multi_label,
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
