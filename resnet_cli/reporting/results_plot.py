"""All results on one slide: curves or calibration, the matrix of classes, and images with their predictions."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.history import kept_text
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.figures import Heading, Plot
from resnet_cli.reporting.matrix_plots import add_matrix
from resnet_cli.reporting.plot_headings import SEPARATOR, foot, interval_text, predictions_heading, score_text
from resnet_cli.reporting.plots import add_chart
from resnet_cli.reporting.prediction_plot import Grid, ShownPredictions
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.text import counted

#: A slide of 16 to 9.
WIDTH_IN, HEIGHT_IN = 13.6, 7.65
_CHARTS_IN, _MATRIX_IN = 4.1, 4.55
_SIDE_IN, _COLUMNS, _ROWS = 1.4, 3, 3


def plot_results(content: ReportContent, shown: ShownPredictions, path: Path) -> None:
    """Draws the main results of a report on one slide.

    Args:
        content: The content of the report.
        shown: The images that may be shown.
        path: The PNG file to write.

    Raises:
        DiskError: The file cannot be written.
    """
    evaluation, kind = content.evaluation, kind_of(content.evaluation)
    title = f"{content.title}: {score_text(content)}"
    about = f"{counted(evaluation.num_images, 'image')}, {interval_text(content)}"
    kept = kept_text(content.history) if content.history else ""
    detail = SEPARATOR.join(filter(None, (content.provenance.run, about, kept)))
    heading = Heading(title, detail, foot(content.provenance))
    body_in = HEIGHT_IN - heading.top_in - heading.bottom_in
    plot = Plot(WIDTH_IN, body_in, heading)
    top = plot.top_in
    charts = kind.slide_charts(evaluation)
    if content.history:
        charts = curve_charts(content.history, content.best_epoch)
    for at, chart in enumerate(charts[:2]):
        add_chart(plot, chart, (0.0, top + at * body_in / 2, _CHARTS_IN, body_in / 2))
    left = _CHARTS_IN + 0.1
    matrix = kind.matrix(evaluation)
    _add_title(plot, left + 0.5, top, matrix.words.title)
    add_matrix(plot, matrix, (left - 0.1, top + 0.45, _MATRIX_IN, body_in - 0.5))
    if tiles := [*shown.wrong, *shown.right]:
        left += _MATRIX_IN
        _add_title(plot, left, top, predictions_heading(content, shown).title)
        num_wrong = min(len(shown.wrong), 2 * _COLUMNS) if shown.right else len(shown.wrong)
        tiles = [*shown.wrong[:num_wrong], *shown.right][: _COLUMNS * _ROWS]
        Grid(tiles, _COLUMNS, side_in=_SIDE_IN, size_pt=7.5).draw(plot, left, top + 0.45)
    plot.save(path)


def _add_title(plot: Plot, left: float, top: float, text: str) -> None:
    plot.write(left, top + 0.26, text, size_pt=10.5)
