"""The charts of a multi-label evaluation: precision against recall of each class, and calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.reporting.charts import Chart, Dot, Line, Tick, chart_line
from resnet_cli.reporting.trust_charts import MAX_PLACES, Words, reliability_chart
from resnet_cli.text import percent, shorten

#: Curves that are drawn; of more classes, those with the lowest and some with the highest average precision.
MAX_CURVES, NUM_BEST = 12, 3
#: A scaling that changes the loss by less changes nothing visible.
NO_CHANGE_NATS = 5e-4
#: Labels beside the name "images": what the points of a reliability diagram consist of.
LABEL_WORDS = Words("probability", "values", "are labels", "predicted probability", "share of labels")


def label_calibration_charts(evaluation: LabelEvaluation) -> list[Chart]:
    """The share of labels against their probability, before and after the scaling; one chart if it changes nothing."""
    before, after = evaluation.uncalibrated, evaluation.calibration
    if before is None or abs(before.loss - after.loss) < NO_CHANGE_NATS:
        return [reliability_chart("Calibration", after, LABEL_WORDS)]
    return [
        reliability_chart("Before scaling", before, LABEL_WORDS),
        reliability_chart("After scaling", after, LABEL_WORDS),
    ]


def drawn_classes(evaluation: LabelEvaluation) -> list[int]:
    """The classes whose curves are drawn, those with the lowest average precision first."""
    values = evaluation.ranking.average_precision
    order = [int(label) for label in np.argsort(values, kind="stable") if not math.isnan(values[label])]
    if len(order) <= MAX_CURVES:
        return order
    return order[: MAX_CURVES - NUM_BEST] + order[-NUM_BEST:]


def precision_recall_charts(evaluation: LabelEvaluation) -> list[Chart]:
    """Precision against recall of some classes; a dot is at the threshold."""
    return [_precision_recall(evaluation, label) for label in drawn_classes(evaluation)]


def _precision_recall(evaluation: LabelEvaluation, label: int) -> Chart:
    known = evaluation.is_known[:, label]
    recall, precision, probs = precision_recall(evaluation.probs[known, label], evaluation.targets[known, label] == 1)
    labels = [
        f"threshold {percent(prob)}: precision {percent(height)}, recall {percent(share)}"
        for share, height, prob in zip(recall, precision, probs, strict=True)
    ]
    row = evaluation.per_class[label]
    share = row.support / (row.support + row.negatives)
    lines = [
        Line("ideal", "", [[(0.0, share), (1.0, share)]], []),
        chart_line("val", "", recall, precision, labels)._replace(dots=[]),
    ]
    said = "the label is never predicted"
    if row.num_predicted:
        said = f"threshold {percent(row.threshold)}: precision {percent(row.precision)}, recall {percent(row.recall)}"
        lines.append(Line("train", "", [], [Dot(row.recall, row.precision, said)]))
    # Small charts have room for few texts.
    ticks = [Tick(percents / 100, f"{percents} %") for percents in (0, 25, 50, 75, 100)]
    name, area = evaluation.classes[label], percent(row.average_precision or 0.0)
    return Chart(
        title=shorten(name, 40),
        summary=f"Precision against recall of {name}: average precision {area}; {said}",
        x_title="recall",
        x_ticks=ticks,
        y_ticks=ticks,
        lines=lines,
        figures=[("AP", area), ("Positives", f"{row.support:,}")],
    )


def precision_recall(
    probs: NDArray[np.float32], is_positive: NDArray[np.bool_]
) -> tuple[list[float], list[float], list[float]]:
    """Recall, precision and threshold at each distinct probability, from the highest; of very many, some.

    Args:
        probs: Probabilities of one class, [m].
        is_positive: Whether each image has the label, [m]; at least one has.

    Source: as ``sklearn.metrics.precision_recall_curve``.
    """
    order = np.argsort(-probs, kind="stable")
    ranked = probs[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, MAX_PLACES).round().astype(np.intp))]
    found = np.cumsum(is_positive[order])[ends]
    return (found / is_positive.sum()).tolist(), (found / (ends + 1)).tolist(), ranked[ends].tolist()


def worst_classes(evaluation: LabelEvaluation, most: int) -> Sequence[int]:
    """The classes with the lowest F1 at their thresholds among those that have positives or are predicted."""
    rows = evaluation.per_class
    return sorted((label for label, row in enumerate(rows) if row.counts), key=lambda label: rows[label].f1)[:most]
