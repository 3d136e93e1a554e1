"""The tables of each task's scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from rich.console import RenderableType

from resnet_cli.cli.evaluation_tables import comparison_tables, evaluation_tables
from resnet_cli.cli.label_tables import label_comparison_tables, label_pairs_block, label_tables
from resnet_cli.cli.tables import confusion_block

if TYPE_CHECKING:
    from resnet_cli.evaluation.scoring import Scores
    from resnet_cli.task import TaskName


class ScoreTables(NamedTuple):
    """How the scores of a task are shown in a terminal.

    Attributes:
        evaluation: One model: scores, the target that was asked for, ``width``.
        comparison: Several models: pairs of a name and scores, comparisons.
        mistakes: What is predicted instead of what: scores, ``width``, and words on where it was, if any.
    """

    evaluation: Callable[..., list[RenderableType]]
    comparison: Callable[..., list[RenderableType]]
    mistakes: Callable[..., list[RenderableType]]


SCORE_TABLES: Mapping[TaskName, ScoreTables] = {
    "single-label": ScoreTables(evaluation_tables, comparison_tables, confusion_block),
    "multi-label": ScoreTables(label_tables, label_comparison_tables, label_pairs_block),
}


def tables_for(scores: Scores) -> ScoreTables:
    """The tables of the task of these scores."""
    return SCORE_TABLES[scores.task]
