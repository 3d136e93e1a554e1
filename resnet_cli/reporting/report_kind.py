"""What a report consists of, for one task: its page, its other files, and what its model card says."""

from __future__ import annotations

import abc
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.findings import ranked
from resnet_cli.evaluation.coverage import Target
from resnet_cli.history import has_penalties, kept_text
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.model.thresholds import ClassThreshold
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.label_targets import PrecisionTarget
from resnet_cli.reporting.matrix_plots import Matrix
from resnet_cli.reporting.metrics import Metric
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.sections import Headline, Section, optional_section, section
from resnet_cli.system.device import Compute
from resnet_cli.text import split_word

EvaluationT = TypeVar("EvaluationT")


class PageParts(NamedTuple):
    """The parts of a page.

    Attributes:
        headline: The top of the page.
        metrics: All metrics, the main one first.
        tiles: Those that are shown beside the main one.
        sections: The sections, in order.
        data: Plain JSON values for the page's script.
    """

    headline: Headline
    metrics: Sequence[Metric]
    tiles: Sequence[Metric]
    sections: Sequence[Section]
    data: Mapping[str, Any]


class CardParts(NamedTuple):
    """What a model card says about one model.

    Attributes:
        about: What the model does, in one sentence.
        use: What it is meant for, in one sentence.
        other_images: What it does with other images.
        evaluation: The section on its evaluation, in Markdown.
        notes: Sentences on how far the metrics can be trusted.
        limits: Sentences about its limitations, in Markdown, after those about the data.
        contents: What the model file contains, and what other programs need to know about it, in Markdown.
        tags: Further tags.
        results: The Hub's name of a metric -> (name, value).
    """

    about: str
    use: str
    other_images: str
    evaluation: str
    notes: Sequence[str]
    limits: Sequence[str]
    contents: str
    tags: Sequence[str]
    results: Mapping[str, tuple[str, float]]


class Decisions(NamedTuple):
    """How predictions are decided, and how well on the validation split.

    Attributes:
        selections: Thresholds for a share of wrong predictions, found on validation and checked on these images.
        thresholds: Results of the thresholds of a multi-label model on its validation split, [k]; () if not known.
        threshold_note: How its thresholds were chosen, in a sentence.
        precision_targets: What thresholds for a given precision would reach.
    """

    selections: Sequence[Target] = ()
    thresholds: Sequence[ClassThreshold] = ()
    threshold_note: str = ""
    precision_targets: Sequence[PrecisionTarget] = ()


class ReportKind(abc.ABC, Generic[EvaluationT]):
    """The report of one task.

    Attributes:
        scripts: The files that make up the page's script.
        styles: Style sheets besides those of every report.
        fitted: What the validation split chooses besides the epoch, in words that continue a sentence.
    """

    scripts: ClassVar[tuple[str, ...]]
    styles: ClassVar[tuple[str, ...]] = ()
    fitted: ClassVar[str]

    @abc.abstractmethod
    def heat_maps(
        self, model: Model, items: Sequence[Item], evaluation: EvaluationT, compute: Compute
    ) -> dict[int, Image.Image]:
        """The heat maps of the mistakes that a page shows: only for mistakes, since each takes a forward pass."""

    @abc.abstractmethod
    def page(self, content: ReportContent, evaluation: EvaluationT) -> PageParts:
        """The parts of the page; images are read again."""

    @abc.abstractmethod
    def write_files(self, folder: Path, content: ReportContent, evaluation: EvaluationT) -> None:
        """Writes the tables and plots; ``plots/`` exists.

        Raises:
            DiskError: They cannot be written.
        """

    @abc.abstractmethod
    def matrix(self, evaluation: EvaluationT) -> Matrix:
        """The matrix of classes: true ones in rows, predicted ones in columns."""

    @abc.abstractmethod
    def slide_charts(self, evaluation: EvaluationT) -> list[Chart]:
        """Two charts for a slide of results without a training."""

    @abc.abstractmethod
    def decisions(self, reliability: ValidationResults | None, evaluation: EvaluationT) -> Decisions:
        """How predictions are decided.

        Args:
            reliability: The model's results on validation; None if it has none.
            evaluation: The evaluation.
        """

    @abc.abstractmethod
    def calibration(self, evaluation: EvaluationT) -> tuple[str, str]:
        """The name of what calibrates the probabilities, and its value."""

    @abc.abstractmethod
    def captions(self, evaluation: EvaluationT, position: int) -> tuple[str, str, float | None]:
        """What an image shows, what was predicted, and with which probability, if that is one number."""

    @abc.abstractmethod
    def card(self, content: ReportContent, evaluation: EvaluationT) -> CardParts:
        """What the model card says."""


def first_section(
    content: ReportContent,
    metrics: Sequence[Metric],
    others: Sequence[Metric],
    notes: Sequence[str],
    *,
    num_images: int,
) -> Section:
    """The section with all metrics, beside those of the other split."""
    values = {
        "content": content,
        "split": split_word(content.split),
        "n": num_images,
        "metrics": metrics,
        "other_metrics": {metric.key: metric for metric in others},
        "notes": notes,
    }
    return section("metrics", "Metrics", values)


def last_sections(content: ReportContent, score_name: str, loss_unit: str) -> list[Section]:
    """The sections about the training, the data and the command."""
    values = {
        "content": content,
        "score_name": score_name,
        "loss_unit": loss_unit,
        "curves": curve_charts(content.history, content.best_epoch) if content.history else [],
        "kept": kept_text([one for one in content.history if one.epoch == content.best_epoch] or content.history)
        if content.history
        else "",
        "is_path": has_penalties(content.history),
    }
    findings = ranked(content.findings)
    return [
        section("training", "Training", values),
        optional_section("findings", "Data findings", findings, {"findings": findings}),
        section("again", "Reproduce", {"content": content}),
    ]


def counts_csv(counts: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Counts [k x k] as CSV: one row per true class, one column per predicted class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true / predicted", *classes])
    for name, row in zip(classes, counts.tolist(), strict=True):
        writer.writerow([name, *row])
    return text.getvalue()
