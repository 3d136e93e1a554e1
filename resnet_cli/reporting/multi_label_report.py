"""The report of a model that predicts any number of labels per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.engines.explain import overlays
from resnet_cli.evaluation.label_mistakes import most_common_pairs
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.model.label_reliability import LabelReliability
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.model.thresholds import best_f1_thresholds, thresholds_on
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.confusion_page import shades
from resnet_cli.reporting.embedding_map import embedding_map
from resnet_cli.reporting.gallery import most_unfamiliar, novelty_section
from resnet_cli.reporting.label_charts import label_calibration_charts, precision_recall_charts
from resnet_cli.reporting.label_gallery import class_galleries, heat_map_key, shown_images, shown_mistakes
from resnet_cli.reporting.label_metrics import TILES, label_metrics, label_notes
from resnet_cli.reporting.label_targets import precision_targets
from resnet_cli.reporting.map_section import images_of_page, map_section, map_values, ranking_section
from resnet_cli.reporting.matrix_plots import Matrix, cooccurrence_matrix, plot_matrix
from resnet_cli.reporting.multi_label_card import MultiLabelCard
from resnet_cli.reporting.plot_headings import heading
from resnet_cli.reporting.plots import draw_charts
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kind import Decisions, PageParts, ReportKind, counts_csv, first_section, last_sections
from resnet_cli.reporting.sections import Headline, Section, fill, macro, optional_section, section
from resnet_cli.system.device import Compute
from resnet_cli.system.paths import write_text
from resnet_cli.text import split_word

#: A matrix of more classes is drawn as shades instead of a table.
MAX_WRITTEN_CLASSES = 32
_BEST_F1 = "On the validation images, each threshold has the highest F1 of its class."
_OTHERS = "These thresholds are not those of the highest F1 on the validation images."
_NO_VALIDATION = "The model has no validation results, which would show how well its thresholds work."
#: Charts in a row of the plot.
_COLUMNS = 4


class MultiLabelReport(MultiLabelCard, ReportKind[LabelEvaluation]):
    """A report with the co-occurrence of labels, a curve and a threshold per class, and the mistakes of each class."""

    scripts = ("page_top.js", "page_tables.js", "page_map.js", "page_end.js")
    styles = ("labels.css",)
    fitted = ", the calibration and the thresholds"

    def heat_maps(
        self, model: Model, items: Sequence[Item], evaluation: LabelEvaluation, compute: Compute
    ) -> dict[int, Image.Image]:
        """The heat maps of the mistakes, each explained by its own class."""
        wanted = shown_mistakes(evaluation)
        shown = [items[one.position] for one in wanted]
        found = overlays(model, shown, range(len(wanted)), compute, targets=[one.label for one in wanted])
        return {heat_map_key(wanted[at], len(evaluation.classes)): image for at, image in found.items()}

    def page(self, content: ReportContent, evaluation: LabelEvaluation) -> PageParts:
        """Metrics, co-occurrence, classes, curves, thresholds, mistakes, calibration and novelty."""
        all_metrics = label_metrics(evaluation)
        share = evaluation.main[1] if evaluation.map is not None else evaluation.intervals["exact_match"]
        main = all_metrics[0] if evaluation.map is not None else next(m for m in all_metrics if m.key == "exact_match")
        values = {
            "content": content,
            "split": split_word(content.split),
            "evaluation": evaluation,
            "classes": evaluation.classes,
            "num_classes": len(evaluation.classes),
            "n": evaluation.num_images,
        }
        notes = [*content.warnings, *label_notes(evaluation)]
        others = label_metrics(content.other) if isinstance(content.other, LabelEvaluation) else []
        sections, data = _results(content, evaluation, values)
        return PageParts(
            Headline(
                "Report of a multi-label image classifier",
                fill("label_lead", **values),
                main.name,
                share,
                "cooccurrence",
            ),
            [main, *(metric for metric in all_metrics if metric is not main)],
            [metric for metric in all_metrics if metric.key in TILES and metric is not main],
            [
                first_section(content, all_metrics, others, notes, num_images=evaluation.num_images),
                *sections,
                *last_sections(content, "mAP", "value (one per image and class)"),
            ],
            {"classes": [], "cells": []} | data,
        )

    def write_files(self, folder: Path, content: ReportContent, evaluation: LabelEvaluation) -> None:
        """Writes ``cooccurrence.csv``, and the plots of co-occurrence, calibration, and precision against recall."""
        plots = folder / "plots"
        write_text(folder / "cooccurrence.csv", counts_csv(evaluation.cooccurrence, evaluation.classes))
        matrix = self.matrix(evaluation)
        plot_matrix(matrix, plots / "cooccurrence.png", heading(content, matrix.words.title))
        charts = label_calibration_charts(evaluation)
        draw_charts(charts, plots / "reliability.png", heading(content, "Calibration of the probabilities"))
        if curves := precision_recall_charts(evaluation):
            about = heading(content, "Precision against recall of each class", "a dot is at the threshold of the class")
            draw_charts(curves, plots / "precision_recall.png", about, columns=_COLUMNS)

    def matrix(self, evaluation: LabelEvaluation) -> Matrix:
        """Which labels are predicted for images with which labels."""
        return cooccurrence_matrix(evaluation.cooccurrence, _positives(evaluation), evaluation.classes)

    def slide_charts(self, evaluation: LabelEvaluation) -> list[Chart]:
        """The calibration, and precision against recall of the class with the lowest average precision."""
        return [label_calibration_charts(evaluation)[-1], *precision_recall_charts(evaluation)[:1]]

    def decisions(self, reliability: ValidationResults | None, evaluation: LabelEvaluation) -> Decisions:
        """The thresholds of the classes, with their results on the validation split."""
        if not isinstance(reliability, LabelReliability):
            return Decisions(threshold_note=_NO_VALIDATION)
        found = thresholds_on(reliability.probs, reliability.targets, evaluation.thresholds.tolist())
        best = best_f1_thresholds(reliability.probs, reliability.targets)
        is_best = np.allclose([one.threshold or 0.0 for one in best], evaluation.thresholds)
        # A sample may have another best F1 than all validation images.
        note = _BEST_F1 if is_best else "" if reliability.may_be_sample else _OTHERS
        return Decisions((), found, note, precision_targets(reliability, evaluation))

    def calibration(self, evaluation: LabelEvaluation) -> tuple[str, str]:
        """The scale and the shift of each class."""
        is_scaled = evaluation.scaling is not None
        return "calibration", "a scale and a shift per class, in the head" if is_scaled else ""

    def captions(self, evaluation: LabelEvaluation, position: int) -> tuple[str, str, float | None]:
        """The known labels and, of the known classes, those that are predicted, in the same order."""
        known = evaluation.is_known[position]
        chosen = np.flatnonzero(known & evaluation.predicted[position])
        predicted = [evaluation.classes[label] for label in chosen]
        return ", ".join(evaluation.labels_of(position)) or "none", ", ".join(predicted) or "none", None


def _positives(evaluation: LabelEvaluation) -> Any:
    return np.array([row.support for row in evaluation.per_class])


def _results(
    content: ReportContent, evaluation: LabelEvaluation, values: dict[str, Any]
) -> tuple[list[Section], dict[str, Any]]:
    """The sections between the metrics and the training, and the data of the map for the page's script."""
    mistakes = shown_mistakes(evaluation)
    shown = [one.position for one in mistakes]
    unknown = most_unfamiliar(evaluation, shown)
    found = embedding_map(evaluation.features)
    images = images_of_page(content, [*shown, *unknown], found)
    galleries = class_galleries(evaluation, mistakes, images)
    curves = precision_recall_charts(evaluation)
    every = values | {"galleries": galleries, "curves": curves}
    sections = [
        section("cooccurrence", "Co-occurrence", every | _matrix(evaluation)),
        map_section(evaluation, found, every),
        section("labels", "Classes", every),
        ranking_section(evaluation, every),
        optional_section("precision_recall", "Precision and recall of classes", curves, every),
        section("thresholds", "Thresholds", every | {"rows": _thresholds(content, evaluation)}),
        optional_section("label_groups", "Groups", evaluation.slices, every),
        optional_section("label_mistakes", "Worst mistakes", galleries, every),
        section("negatives", "Without labels", every | _negatives(evaluation)),
        section("label_trust", "Reliability", every | {"calibration": label_calibration_charts(evaluation)}),
        novelty_section(
            content,
            evaluation,
            macro("label_cards.html.j2", "label_cards", shown_images(evaluation, unknown, images)),
            wrong="No exact match",
            about="These images are like those that the model was made for.",
        ),
    ]
    return sections, map_values(evaluation, found, images)


def _matrix(evaluation: LabelEvaluation) -> dict[str, Any]:
    """The co-occurrence as a table, or as shades if there are many classes, and the most common wrong labels."""
    pairs, totals = evaluation.pairs, _positives(evaluation)
    is_written = len(evaluation.classes) <= MAX_WRITTEN_CLASSES
    return {
        "wrong": pairs.in_addition + pairs.instead,
        "shares": pairs.both / np.maximum(totals, 1)[:, None] if is_written else None,
        "shades": None if is_written else shades(pairs.both, totals),
        "positives": totals,
        "confused": most_common_pairs(pairs),
    }


def _thresholds(content: ReportContent, evaluation: LabelEvaluation) -> list[dict[str, Any]]:
    """Each class with its threshold, and its results on the validation split, where they are known, and here."""
    chosen = content.thresholds or (None,) * len(evaluation.classes)
    rows = zip(evaluation.classes, evaluation.per_class, chosen, strict=True)
    return [{"name": name, "here": row, "validation": one} for name, row, one in rows]


def _negatives(evaluation: LabelEvaluation) -> dict[str, Any]:
    """How many images have no label, how many get none, and which labels are predicted for images without any."""
    scored = evaluation.is_scored
    is_negative = scored & ~(evaluation.targets == 1).any(axis=1)
    gets_none = ~(evaluation.predicted & evaluation.is_known).any(axis=1)
    alarms = (evaluation.predicted & evaluation.is_known)[is_negative].sum(axis=0)
    order = [int(label) for label in np.argsort(-alarms, kind="stable")[:5] if alarms[label]]
    return {
        "num_negatives": int(is_negative.sum()),
        "num_found": int((is_negative & gets_none).sum()),
        "num_positives": int((scored & ~is_negative).sum()),
        "num_empty": int((scored & ~is_negative & gets_none).sum()),
        "alarms": [(evaluation.classes[label], int(alarms[label])) for label in order],
    }
