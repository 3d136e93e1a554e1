"""The reports of all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.report_kind import ReportKind
from resnet_cli.reporting.single_label_report import SingleLabelReport

REPORTS: Mapping[str, ReportKind[Any]] = {"single-label": SingleLabelReport()}


def kind_of(evaluation: Evaluation) -> ReportKind[Any]:
    """The report of the task that was evaluated."""
    return REPORTS["single-label"]
