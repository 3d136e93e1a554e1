"""The target that a user asks for: thresholds from a model's validation images, checked on the evaluated images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from resnet_cli.evaluation.coverage import Target, check_threshold, operating_point
from resnet_cli.evaluation.label_targets import LabelTarget, check_label_target, label_target
from resnet_cli.model.rules import Model, check_targets
from resnet_cli.task import TaskName

#: The target of a model of either task, and how it is met on the evaluated images.
AnyTarget: TypeAlias = Target | LabelTarget
Check: TypeAlias = Callable[[Any], AnyTarget]
#: ``target_error``, ``target_precision`` or ``target_recall`` -> the share.
Wanted: TypeAlias = Mapping[str, float]


def choose_target(wanted: Wanted, model: Model) -> Check | None:
    """Chooses the thresholds for a target on the model's validation images alone, before anything is computed.

    Args:
        wanted: At most one target, by its name.
        model: The model.

    Returns:
        A function that checks the thresholds on other images; None if there is no target.

    Raises:
        ModelError: The model has no validation metrics.
        ConfigError: The target is for the other task.
        UnreachableTarget: No threshold meets it.
    """
    check_targets(model.task, wanted)
    return _CHOOSE[model.task](wanted, model) if wanted else None


def _single_label(wanted: Wanted, model: Model) -> Check:
    share = wanted["target_error"]
    operating_point(share, model.reliability)
    return lambda scores: check_threshold(share, model.reliability, scores.confidence, scores.is_right)


def _multi_label(wanted: Wanted, model: Model) -> Check:
    chosen = label_target(
        model.reliability,
        model.classes,
        target_precision=wanted.get("target_precision"),
        target_recall=wanted.get("target_recall"),
    )
    return lambda scores: check_label_target(scores, chosen)


_CHOOSE: Mapping[TaskName, Callable[[Wanted, Model], Check]] = {
    "single-label": _single_label,
    "multi-label": _multi_label,
}
