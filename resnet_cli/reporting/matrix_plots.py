"""PNG plots of matrices of classes: the confusion matrix, and the co-occurrence of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.reporting.plots import FAINT, INK, font_families, new_figure, save_figure
from resnet_cli.system.caches import import_matplotlib
from resnet_cli.text import display_width, row_shares, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CLASSES_WITH_COUNTS = 20
MAX_TICK_LABELS = 100
MAX_NAME_WIDTH = 24


def plot_confusion(confusion: NDArray[np.integer[Any]], classes: Sequence[str], path: Path) -> None:
    """Draws the confusion matrix, each cell colored by its share of the true class.

    Cells have counts up to 20 classes; up to 100 classes every name is shown, beyond that every n-th. A class without
    images has a gray row.

    Args:
        confusion: Counts [k x k], true classes in rows, predicted classes in columns.
        classes: The k class names in index order.
        path: The PNG file to write.

    Raises:
        ValueError: The matrix does not have one row and column per class.
        DiskError: The file cannot be written.
    """
    _plot_matrix(
        confusion,
        row_shares(confusion, classes),
        classes,
        path,
        axis_titles=("predicted class", "true class"),
        legend="share of the true class",
    )


def plot_cooccurrence(
    counts: NDArray[np.integer[Any]], positives: NDArray[np.integer[Any]], classes: Sequence[str], path: Path
) -> None:
    """Draws which labels are predicted for images with which labels, like a confusion matrix.

    Args:
        counts: Images that have the one label and are predicted to have the other, [k x k]; true labels in rows.
        positives: Number of images with each label, [k]; a label without images has a gray row.
        classes: The k class names in index order.
        path: The PNG file to write.

    Raises:
        DiskError: The file cannot be written.
    """
    with np.errstate(invalid="ignore"):
        shares = counts / np.where(positives > 0, positives, np.nan)[:, None]
    _plot_matrix(
        counts,
        shares,
        classes,
        path,
        axis_titles=("predicted label", "true label"),
        legend="share of the images with the true label",
    )


def _plot_matrix(
    counts: NDArray[np.integer[Any]],
    shares: NDArray[np.float64],
    classes: Sequence[str],
    path: Path,
    *,
    axis_titles: tuple[str, str],
    legend: str,
) -> None:
    import_matplotlib()
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    num_classes = len(classes)
    names = [shorten(name, MAX_NAME_WIDTH) for name in classes]
    cell_in, font_pt = _cell_size(num_classes, int(counts.max()))
    side_in = num_classes * cell_in
    # The axes have exactly this size, so cells are square and never too small for their text; texts beyond
    # the figure (names of any length) are included by the tight bounding box of ``save_figure``.
    figure = new_figure(side_in + 1.0, side_in)
    axes = figure.add_axes((0.0, 0.0, side_in / (side_in + 1.0), 1.0))
    # The square root spreads small shares, which the mistakes of a good model have.
    image = axes.imshow(
        shares,
        cmap=colormaps["Blues"].with_extremes(bad="#EEEEEE"),
        norm=PowerNorm(0.5, vmin=0.0, vmax=1.0),
        interpolation="nearest",
    )
    shown = range(0, num_classes, math.ceil(num_classes / MAX_TICK_LABELS))
    labels = [names[index] for index in shown]
    style: dict[str, Any] = {"fontsize": font_pt, "fontfamily": font_families(), "parse_math": False}
    axes.set_yticks(shown, labels, **style)
    widest_in = max(display_width(label) for label in labels) * 0.65 * font_pt / 72
    if widest_in < cell_in:
        axes.set_xticks(shown, labels, **style)
    elif num_classes <= MAX_CLASSES_WITH_COUNTS:
        axes.set_xticks(shown, labels, rotation=45, ha="right", rotation_mode="anchor", **style)
    else:
        axes.set_xticks(shown, labels, rotation=90, **style)
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        _write_counts(axes, counts, shares, font_pt)
    axes.set_xlabel(axis_titles[0], fontsize=10, color=INK)
    axes.set_ylabel(axis_titles[1], fontsize=10, color=INK)
    axes.tick_params(length=2, color=FAINT, labelcolor=INK)
    axes.spines[:].set_color(FAINT)

    bar_height = min(1.0, 4.0 / side_in)
    bar_axes = figure.add_axes(
        ((side_in + 0.2) / (side_in + 1.0), 1.0 - bar_height, 0.18 / (side_in + 1.0), bar_height)
    )
    bar = figure.colorbar(image, cax=bar_axes, ticks=[0, 0.05, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    bar.ax.tick_params(labelsize=8, labelcolor=INK, color=FAINT)
    bar.set_label(legend, fontsize=9, color=INK)
    bar.outline.set_visible(False)
    save_figure(figure, path)


def _cell_size(num_classes: int, largest: int) -> tuple[float, float]:
    """The side of a cell in inches, and the font size of names and counts in points."""
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        font_pt = 10.0 if num_classes <= 10 else 8.0
        digits_in = (len(str(largest)) + 1) * 0.65 * font_pt / 72
        return max(2.2 / num_classes, 0.38, digits_in), font_pt
    # A line of 6-point text needs 0.125 inches; beyond 100 classes the figure stops growing.
    cell_in = 0.16 if num_classes <= 50 else 0.125 * min(1.0, MAX_TICK_LABELS / num_classes)
    return cell_in, 7.0 if num_classes <= 50 else 6.0


def _write_counts(axes: Axes, confusion: NDArray[np.integer[Any]], shares: NDArray[np.float64], font_pt: float) -> None:
    for (row, column), count in np.ndenumerate(confusion):
        # Above this share the background is too dark for dark text.
        color = "white" if shares[row, column] > 0.4 else INK if count else "#AAAAAA"
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=font_pt, color=color)
