"""PNG plots of a run: learning curves, the confusion matrix, a grid of predictions.

Figures are plain objects without pyplot: nothing global changes, so a notebook keeps its own backend and
style. matplotlib is imported when a figure is made and not before.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_cli.system.paths import atomic_path
from resnet_cli.text import display_width, percent, row_shares, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# Blue and orange stay apart for every common colour blindness. Source: Okabe & Ito, "Color Universal
# Design" (2008), https://jfly.uni-koeln.de/color/
BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#B2182B"
INK, FAINT = "#333333", "#DDDDDD"
# A third of the time of zlib's default for a file that is a little larger.
_PNG = {"compress_level": 3}

MAX_CLASSES_WITH_COUNTS = 20
MAX_TICK_LABELS = 100
MAX_NAME_WIDTH = 24
# Images up to this side are shown as their pixels; smoothing would only blur them.
PIXELATED_UP_TO_PX = 64


@dataclass(frozen=True)
class CurvePoint:
    """One epoch on the learning curves; losses in nats per image, top-1 as fractions in [0, 1].

    With a penalty it is one fit of a path of penalties instead, and ``epoch`` its number.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_top1: float
    train_top1: float | None = None
    penalty: float | None = None


def plot_curves(points: Sequence[CurvePoint], path: Path, *, best_epoch: int | None = None) -> None:
    """Draws losses and top-1 accuracies over the epochs, the best epoch marked.

    Args:
        points: One per epoch, in order. Values that are not finite leave a gap.
        path: The PNG file to write.
        best_epoch: The epoch to mark; by default the one of highest validation top-1, then lowest
            validation loss, then the earliest.

    Raises:
        ValueError: There are no points, or ``best_epoch`` is none of them.
        DiskError: The file cannot be written.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if not points:
        raise ValueError("there is no epoch to plot")
    best = _best_point(points, best_epoch)
    epochs = [point.epoch for point in points]
    figure = new_figure(9.0, 3.6, layout="constrained")
    loss_axes, top1_axes = figure.subplots(1, 2)

    _curve(loss_axes, epochs, [point.train_loss for point in points], ORANGE, "train")
    _curve(loss_axes, epochs, [point.val_loss for point in points], BLUE, "validation")
    if any(point.train_top1 is not None for point in points):
        train_top1 = [math.nan if point.train_top1 is None else point.train_top1 for point in points]
        _curve(top1_axes, epochs, train_top1, ORANGE, "train")
    _curve(top1_axes, epochs, [point.val_top1 for point in points], BLUE, "validation")

    loss_axes.set_title("Loss (nats per image)", loc="left", fontsize=10, color=INK)
    named = {point.epoch: f"{point.penalty:.4g}" for point in points if point.penalty is not None}
    word = f"penalty {named[best.epoch]}" if named else f"best epoch {best.epoch}"
    title = f"Top-1 accuracy ({word}: {percent(best.val_top1)})"
    top1_axes.set_title(title, loc="left", fontsize=10, color=INK)
    top1_axes.yaxis.set_major_formatter(FuncFormatter(lambda top1, _: f"{100 * top1:.4g} %"))
    bottom, top = top1_axes.get_ylim()
    top1_axes.set_ylim(max(bottom, -0.01), min(top, 1.01))
    for axes, value in ((loss_axes, best.val_loss), (top1_axes, best.val_top1)):
        axes.axvline(best.epoch, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        axes.plot([best.epoch], [value], "o", markersize=9, fillstyle="none", color=INK, clip_on=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        # Room at the sides keeps the first and the last marker, or an only one, off the frame.
        room = max(0.5, 0.02 * (epochs[-1] - epochs[0]))
        axes.set_xlim(epochs[0] - room, epochs[-1] + room)
        axes.set_xlabel("penalty of the weights" if named else "epoch", fontsize=9, color=INK)
        if named:
            axes.set_xticks(list(named), list(named.values()))
        soften(axes)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    save_figure(figure, path)


def plot_confusion(confusion: NDArray[np.integer[Any]], classes: Sequence[str], path: Path) -> None:
    """Draws the confusion matrix, each row coloured by its share of the true class.

    Counts stand in the cells up to 20 classes; up to 100 classes every name is shown, beyond that every
    n-th. A class without images has a grey row.

    Args:
        confusion: Counts [k x k], true classes in rows, predicted ones in columns.
        classes: The k names in index order.
        path: The PNG file to write.

    Raises:
        ValueError: The matrix does not have one row and column per class.
        DiskError: The file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    shares = row_shares(confusion, classes)
    num_classes = len(classes)
    names = [shorten(name, MAX_NAME_WIDTH) for name in classes]
    cell_in, font_pt = _cell_size(num_classes, int(confusion.max()))
    side_in = num_classes * cell_in
    # The axes take exactly this place, so cells are square and never too small for their text; what
    # hangs out of the figure (names of any length) is kept by the tight bounding box of ``save_figure``.
    figure = new_figure(side_in + 1.0, side_in)
    axes = figure.add_axes((0.0, 0.0, side_in / (side_in + 1.0), 1.0))
    # The square root spreads the small shares, where the mistakes of a good model are.
    image = axes.imshow(
        shares,
        cmap=colormaps["Blues"].with_extremes(bad="#EEEEEE"),
        norm=PowerNorm(0.5, vmin=0.0, vmax=1.0),
        interpolation="nearest",
    )
    shown = range(0, num_classes, math.ceil(num_classes / MAX_TICK_LABELS))
    labels = [names[index] for index in shown]
    style: dict[str, Any] = {"fontsize": font_pt, "fontfamily": _families(), "parse_math": False}
    axes.set_yticks(shown, labels, **style)
    widest_in = max(display_width(label) for label in labels) * 0.65 * font_pt / 72
    if widest_in < cell_in:
        axes.set_xticks(shown, labels, **style)
    elif num_classes <= MAX_CLASSES_WITH_COUNTS:
        axes.set_xticks(shown, labels, rotation=45, ha="right", rotation_mode="anchor", **style)
    else:
        axes.set_xticks(shown, labels, rotation=90, **style)
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        _write_counts(axes, confusion, shares, font_pt)
    axes.set_xlabel("predicted class", fontsize=10, color=INK)
    axes.set_ylabel("true class", fontsize=10, color=INK)
    axes.tick_params(length=2, color=FAINT, labelcolor=INK)
    axes.spines[:].set_color(FAINT)

    bar_height = min(1.0, 4.0 / side_in)
    bar_axes = figure.add_axes(
        ((side_in + 0.2) / (side_in + 1.0), 1.0 - bar_height, 0.18 / (side_in + 1.0), bar_height)
    )
    bar = figure.colorbar(image, cax=bar_axes, ticks=[0, 0.05, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    bar.ax.tick_params(labelsize=8, labelcolor=INK, color=FAINT)
    bar.set_label("share of the true class", fontsize=9, color=INK)
    bar.outline.set_visible(False)
    save_figure(figure, path)


def plot_predictions(
    images: Sequence[NDArray[np.uint8]],
    true: Sequence[str],
    predicted: Sequence[str],
    probs: Sequence[float],
    path: Path,
    columns: int = 5,
) -> None:
    """Draws a grid of images, each under its predicted class and probability.

    Wrong predictions are red and name the true class in brackets.

    Args:
        images: Images [h x w x 3], [h x w x 1] or [h x w], uint8, of any sizes.
        true: The true class of each.
        predicted: The predicted class of each.
        probs: The probability of each predicted class, in [0, 1].
        path: The PNG file to write.
        columns: Images per row.

    Raises:
        ValueError: There are no images, no columns, or the sequences differ in length.
        DiskError: The file cannot be written.
    """
    if len(images) == 0 or columns < 1:
        raise ValueError("there is nothing to plot: give at least one image and one column")
    items = list(zip(images, true, predicted, probs, strict=True))
    columns = min(columns, len(items))
    rows = math.ceil(len(items) / columns)
    image_in, gap_in, title_in = 1.9, 0.2, 0.5
    width, height = columns * (image_in + gap_in), rows * (image_in + title_in)
    figure = new_figure(width, height)
    # One frame in inches for all of them: ticks that nobody sees would take longer than the images.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for index, (image, truth, guess, prob) in enumerate(items):
        row, column = divmod(index, columns)
        centre, top = (column + 0.5) * (image_in + gap_in), height - row * (image_in + title_in) - title_in
        scale = image_in / max(image.shape[:2])
        high, wide = (scale * side for side in image.shape[:2])
        tiny = max(image.shape[:2]) <= PIXELATED_UP_TO_PX
        axes.imshow(
            image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image,
            extent=(centre - wide / 2, centre + wide / 2, top - high, top),
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest" if tiny else "auto",
        )
        wrong = guess != truth
        title = f"{shorten(guess, 19)} {prob:.2f}" + (f"\n({shorten(truth, 22)})" if wrong else "")
        style: dict[str, Any] = {"fontsize": 9, "fontfamily": _families(), "parse_math": False}
        axes.text(centre, top + 0.06, title, ha="center", va="bottom", color=RED if wrong else INK, **style)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    save_figure(figure, path)


def soften(axes: Axes) -> None:
    """Ticks, grid and frame that leave the data in front."""
    axes.tick_params(labelsize=9, labelcolor=INK, color=FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def _best_point(points: Sequence[CurvePoint], best_epoch: int | None) -> CurvePoint:
    if best_epoch is not None:
        found = [point for point in points if point.epoch == best_epoch]
        if not found:
            raise ValueError(f"epoch {best_epoch} is not among the points")
        return found[0]

    def rank(point: CurvePoint) -> tuple[float, float]:
        top1 = point.val_top1 if math.isfinite(point.val_top1) else -math.inf
        loss = point.val_loss if math.isfinite(point.val_loss) else math.inf
        return top1, -loss

    return max(points, key=rank)


def _curve(axes: Axes, epochs: Sequence[int], values: Sequence[float], color: str, label: str) -> None:
    finite = [value if math.isfinite(value) else math.nan for value in values]
    # Markers show single epochs; in long histories they would hide the line.
    marker_size = 4 if len(epochs) <= 40 else 0
    axes.plot(epochs, finite, "o-", markersize=marker_size, linewidth=1.6, color=color, label=label)


def _cell_size(num_classes: int, largest: int) -> tuple[float, float]:
    """The side of a cell in inches, and the size of its names and counts in points."""
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        font_pt = 10.0 if num_classes <= 10 else 8.0
        digits_in = (len(str(largest)) + 1) * 0.65 * font_pt / 72
        return max(2.2 / num_classes, 0.38, digits_in), font_pt
    # 0.125 inches give a line of 6-point text its room; beyond 100 classes the figure stops growing.
    cell_in = 0.16 if num_classes <= 50 else 0.125 * min(1.0, MAX_TICK_LABELS / num_classes)
    return cell_in, 7.0 if num_classes <= 50 else 6.0


def _write_counts(axes: Axes, confusion: NDArray[np.integer[Any]], shares: NDArray[np.float64], font_pt: float) -> None:
    for (row, column), count in np.ndenumerate(confusion):
        # Past this share the square-root blues are too dark for dark text.
        color = "white" if shares[row, column] > 0.4 else INK if count else "#AAAAAA"
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=font_pt, color=color)


@functools.cache
def _families() -> list[str]:
    """Matplotlib's own font, then those installed fonts that have what it lacks (CJK, symbols)."""
    from matplotlib.font_manager import fontManager

    wider = ("Noto Sans CJK SC", "Microsoft YaHei", "Hiragino Sans GB", "Arial Unicode MS", "Segoe UI Symbol")
    # Asking for a font that is not installed makes matplotlib log a complaint for every text.
    return ["DejaVu Sans", *(name for name in wider if name in fontManager.get_font_names())]


def new_figure(width_in: float, height_in: float, layout: Literal["constrained"] | None = None) -> Figure:
    """A white figure that no window ever shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes it as PNG, atomically.

    Raises:
        DiskError: The file cannot be written.
    """
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A name in a script that no installed font has is drawn as boxes; that is no news to the user.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, pil_kwargs=_PNG)
