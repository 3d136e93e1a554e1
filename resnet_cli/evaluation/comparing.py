"""Compares two models of the same task on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.comparison import Comparison, compare_evaluations
from resnet_cli.evaluation.label_comparison import LabelComparison, compare_label_evaluations
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.task import TaskName

#: The comparison of two models of either task.
AnyComparison: TypeAlias = Comparison | LabelComparison
_COMPARE: Mapping[TaskName, Callable[..., AnyComparison]] = {
    "single-label": compare_evaluations,
    "multi-label": compare_label_evaluations,
}


def compare(first: Scores, second: Scores, *, num_compared: int = 1) -> AnyComparison:
    """Compares two models; see :func:`compare_evaluations` and :func:`compare_label_evaluations`.

    Args:
        first: Predictions of the first model.
        second: Predictions of the second model for the same images in the same order.
        num_compared: Number of comparisons made together.

    Raises:
        ConfigError: One model gives one label per image and the other any number, or they have no class in common.
        ValueError: The images are not the same.
    """
    if first.task != second.task:
        raise ConfigError(
            f"a {first.task} model cannot be compared with a {second.task} model",
            hint="name models of the same kind",
        )
    return _COMPARE[first.task](first, second, num_compared=num_compared)
