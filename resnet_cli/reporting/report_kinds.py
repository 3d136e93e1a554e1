"""The reports of all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnet_cli.evaluation.scoring import Scores
from resnet_cli.reporting.multi_label_report import MultiLabelReport
from resnet_cli.reporting.report_kind import ReportKind
from resnet_cli.reporting.single_label_report import SingleLabelReport
from resnet_cli.task import TaskName

REPORTS: Mapping[TaskName, ReportKind[Any]] = {"single-label": SingleLabelReport(), "multi-label": MultiLabelReport()}


def kind_of(evaluation: Scores) -> ReportKind[Any]:
    """The report of the task that was evaluated."""
    return REPORTS[evaluation.task]
