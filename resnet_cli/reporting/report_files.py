"""The files of a report: the page, the model card, and the tables and plots of its task."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from resnet_cli.evaluation.curves import ranking_curves
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.model_card import model_card
from resnet_cli.reporting.plot_headings import curves_heading, heading, predictions_heading
from resnet_cli.reporting.plots import draw_charts
from resnet_cli.reporting.prediction_plot import plot_predictions
from resnet_cli.reporting.ranking_charts import ranking_charts
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.reporting.report_page import report_page
from resnet_cli.reporting.results_plot import plot_results
from resnet_cli.reporting.shown_predictions import shown_predictions
from resnet_cli.system.paths import make_dir, write_text


def write_report_files(folder: Path, content: ReportContent) -> None:
    """Writes ``report.html``, ``model_card.md``, and the task's tables and plots, each file completely or not at all.

    Args:
        folder: An existing folder.
        content: The content of the report.

    Raises:
        DiskError: The files cannot be written.
    """
    plots = make_dir(folder / "plots")
    kind_of(content.evaluation).write_files(folder, content, content.evaluation)
    if content.history:
        curves = curve_charts(content.history, content.best_epoch)
        draw_charts(curves, plots / "curves.png", curves_heading(content))
    if ranking := ranking_charts(ranking_curves(content.evaluation)):
        # The heading names the curves.
        ranking = [chart._replace(title=chart.title.partition(": ")[2].capitalize()) for chart in ranking]
        draw_charts(ranking, plots / "roc_precision_recall.png", heading(content, "ROC and precision-recall"))
    shown = shown_predictions(content)
    if tiles := [*shown.wrong, *shown.right]:
        plot_predictions(tiles, plots / "predictions.png", predictions_heading(content, shown))
    plot_results(content, shown, plots / "results.png")
    write_text(folder / "model_card.md", model_card(content))
    write_text(folder / "report.html", report_page(dataclasses.replace(content, folder=folder)))
