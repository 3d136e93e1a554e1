"""The files of a report: the page, the model card, the confusion matrix, and plots as PNG."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.model_card import model_card
from resnet_cli.reporting.plots import draw_charts, plot_confusion, plot_predictions
from resnet_cli.reporting.report_page import ReportContent, report_page
from resnet_cli.reporting.trust_charts import calibration_charts, risk_chart
from resnet_cli.system.paths import make_dir, write_text

#: Images in the plot of predictions.
NUM_SHOWN = 25
_SHOWN_PX = 256


def write_report_files(folder: Path, content: ReportContent) -> None:
    """Writes ``report.html``, ``model_card.md``, ``confusion.csv`` and ``plots/``, each file completely or not at all.

    Args:
        folder: An existing folder.
        content: The content of the report.

    Raises:
        DiskError: The files cannot be written.
    """
    evaluation = content.evaluation
    plots = make_dir(folder / "plots")
    write_text(folder / "confusion.csv", confusion_csv(evaluation))
    plot_confusion(evaluation.confusion, evaluation.classes, plots / "confusion.png")
    draw_charts(calibration_charts(evaluation), plots / "reliability.png")
    draw_charts([risk_chart(evaluation)], plots / "risk_coverage.png")
    if content.history:
        draw_charts(curve_charts(content.history, content.best_epoch), plots / "curves.png")
    _plot_predictions(content, plots / "predictions.png")
    write_text(folder / "model_card.md", model_card(content))
    write_text(folder / "report.html", report_page(content))


def confusion_csv(evaluation: Evaluation) -> str:
    """The counts as CSV: one row per true class, one column per predicted class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true / predicted", *evaluation.classes])
    for name, counts in zip(evaluation.classes, evaluation.confusion.tolist(), strict=True):
        writer.writerow([name, *counts])
    return text.getvalue()


def _plot_predictions(content: ReportContent, path: Path) -> None:
    """A sample of images and predictions; images that can no longer be read are omitted."""
    evaluation = content.evaluation
    order = np.random.default_rng(0).permutation(evaluation.num_images)[:NUM_SHOWN]
    images = [(int(at), _small(content.items[at], content.bit_depth)) for at in order]
    shown = [(at, pixels) for at, pixels in images if pixels is not None]
    if shown:
        plot_predictions(
            [pixels for _, pixels in shown],
            [evaluation.classes[evaluation.labels[at]] for at, _ in shown],
            [evaluation.classes[evaluation.predicted[at]] for at, _ in shown],
            [float(evaluation.confidence[at]) for at, _ in shown],
            path,
        )


def _small(item: Item, bit_depth: int) -> NDArray[Any] | None:
    try:
        image = item.open(bit_depth)
    except ImageError:
        return None
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    return np.asarray(image)
