"""The files of a report: the page, the model card, and the tables and plots of its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.model_card import model_card
from resnet_cli.reporting.plots import draw_charts, plot_predictions
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.reporting.report_page import report_page
from resnet_cli.system.paths import make_dir, write_text

#: Images in the plot of predictions.
NUM_SHOWN = 25
_SHOWN_PX = 256


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
        draw_charts(curve_charts(content.history, content.best_epoch), plots / "curves.png")
    _plot_predictions(content, plots / "predictions.png")
    write_text(folder / "model_card.md", model_card(content))
    write_text(folder / "report.html", report_page(content))


def _plot_predictions(content: ReportContent, path: Path) -> None:
    """A sample of images and predictions; images that can no longer be read are omitted."""
    evaluation, kind = content.evaluation, kind_of(content.evaluation)
    order = np.random.default_rng(0).permutation(evaluation.num_images)[:NUM_SHOWN]
    images = [(int(at), _small(content.items[at], content.bit_depth)) for at in order]
    shown = [(at, pixels) for at, pixels in images if pixels is not None]
    if shown:
        true, predicted, probs = zip(*(kind.captions(evaluation, at) for at, _ in shown), strict=True)
        plot_predictions([pixels for _, pixels in shown], true, predicted, probs, path)


def _small(item: Item, bit_depth: int) -> NDArray[Any] | None:
    try:
        image = item.open(bit_depth)
    except ImageError:
        return None
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    return np.asarray(image)
