"""PNG plots of matrices of classes: the confusion matrix, and the co-occurrence of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.reporting import palette
from resnet_cli.reporting.figures import DPI, MARGIN_IN, MUTED, Heading, Plot, fitted, width_in
from resnet_cli.text import row_shares, shorten

MAX_CLASSES_WITH_COUNTS = 20
MAX_TICK_LABELS = 100
MAX_NAME_WIDTH = 24
#: Side of a matrix with few classes, and of the largest one, in inches.
LEAST_IN, MOST_IN = 5.2, 14.0
#: A narrower figure would have no room for its heading.
_LEAST_WIDTH_IN = 6.0
#: Cells of more classes are merged; each is drawn at least as large as this share of the matrix.
_MOST_CELLS = 2_000
_LEAST_SIDE = 1 / 160
#: Strength of the faintest cell that is not empty, in [0, 1]: with its count in it, and without.
_FAINTEST, _FAINTEST_WITHOUT_COUNT = 0.12, 0.35
#: Confused pairs that are listed beside a matrix whose cells have no counts.
MAX_PAIRS, _PAIRS_IN, _PAIR_PT = 20, 4.1, 9.0
_LEGEND_PT = 8.5


class Words(NamedTuple):
    """What a matrix calls its parts.

    Attributes:
        title: Name of the matrix.
        columns: Title of the columns.
        rows: Title of the rows.
        legend: What the colors show shares of.
        diagonal: What the cells on the diagonal are.
        others: What the other cells are.
        pairs: Heading of the largest of the other cells.
    """

    title: str
    columns: str
    rows: str
    legend: str
    diagonal: str
    others: str
    pairs: str


CONFUSION = Words(
    "Confusion matrix",
    "predicted class",
    "true class",
    "the images of the true class",
    "right",
    "wrong",
    "Most confused",
)
COOCCURRENCE = Words(
    "Co-occurrence of labels",
    "predicted label",
    "true label",
    "the images with the true label",
    "same label",
    "other label",
    "Most frequent together",
)


class Matrix(NamedTuple):
    """A matrix of classes.

    Attributes:
        counts: Counts [k x k], true classes in rows, predicted classes in columns.
        shares: The counts as shares of their row, [k x k]; NaN in the rows of classes without images.
        classes: The k class names in index order.
        words: What its parts are called.
    """

    counts: NDArray[np.integer[Any]]
    shares: NDArray[np.float64]
    classes: Sequence[str]
    words: Words


def confusion_matrix(confusion: NDArray[np.integer[Any]], classes: Sequence[str]) -> Matrix:
    """A confusion matrix.

    Args:
        confusion: Counts [k x k], true classes in rows, predicted classes in columns.
        classes: The k class names in index order.

    Raises:
        ValueError: The matrix does not have one row and column per class.
    """
    return Matrix(confusion, row_shares(confusion, classes), classes, CONFUSION)


def cooccurrence_matrix(
    counts: NDArray[np.integer[Any]], positives: NDArray[np.integer[Any]], classes: Sequence[str]
) -> Matrix:
    """Which labels are predicted for images with which labels.

    Args:
        counts: Images that have the one label and are predicted to have the other, [k x k]; true labels in rows.
        positives: Number of images with each label, [k].
        classes: The k class names in index order.
    """
    with np.errstate(invalid="ignore"):
        shares = counts / np.where(positives > 0, positives, np.nan)[:, None]
    return Matrix(counts, shares, classes, COOCCURRENCE)


def plot_matrix(matrix: Matrix, path: Path, heading: Heading | None = None) -> None:
    """Draws a matrix, each cell colored by its share of the true class as in the page of a report.

    Cells have counts up to 20 classes; beyond that the largest cells off the diagonal are listed beside the matrix. Up
    to 100 classes every name is shown, beyond that every n-th. A class without images has a white row.

    Args:
        matrix: The matrix.
        path: The PNG file to write.
        heading: What is written around it.

    Raises:
        DiskError: The file cannot be written.
    """
    num_classes = len(matrix.classes)
    cell_in, font_pt = _cell_size(num_classes, int(matrix.counts.max()))
    side_in = num_classes * cell_in
    frame = _Frame.of(matrix, cell_in, font_pt)
    has_list = num_classes > MAX_CLASSES_WITH_COUNTS
    width = frame.left_in + side_in + MARGIN_IN + frame.right_in + (_PAIRS_IN if has_list else 0.0)
    plot = Plot(max(width, _LEAST_WIDTH_IN), side_in + frame.bottom_in, heading)
    left = frame.left_in + (plot.width_in - width) / 2
    _draw(plot, matrix, frame, (left, plot.top_in, side_in), right=plot.width_in - MARGIN_IN, font_pt=font_pt)
    if has_list:
        _list_pairs(plot, matrix, left + side_in + 0.35, plot.top_in)
    plot.save(path)


def add_matrix(plot: Plot, matrix: Matrix, place: tuple[float, float, float, float]) -> None:
    """Draws a matrix with its texts into a part of a figure.

    Args:
        plot: The figure.
        matrix: The matrix.
        place: Left, top, width and height of the part, in inches from the upper left corner.
    """
    left, top, width, height = place
    num_classes = len(matrix.classes)
    font_pt = 11.0 if num_classes <= 6 else 9.0 if num_classes <= 12 else 7.5
    side_in = min(width, height)
    for _ in range(2):
        # The names need room that depends on the size of the cells, and the cells on the room.
        frame = _Frame.of(matrix, side_in / num_classes, font_pt, name_width=16)
        side_in = min(width - frame.left_in - frame.right_in, height - frame.bottom_in)
    _draw(plot, matrix, frame, (left + frame.left_in, top, side_in), right=left + width, font_pt=font_pt)


class _Frame(NamedTuple):
    """The texts around a matrix, and the room that they take in inches."""

    names: list[str]
    shown: range
    rotation: int
    left_in: float
    right_in: float
    names_in: float
    bottom_in: float

    @classmethod
    def of(cls, matrix: Matrix, cell_in: float, font_pt: float, *, name_width: int = MAX_NAME_WIDTH) -> _Frame:
        num_classes = len(matrix.classes)
        room = max(1, int(num_classes * cell_in / (1.25 * font_pt / 72)))
        shown = range(0, num_classes, math.ceil(num_classes / min(MAX_TICK_LABELS, max(room, 1))))
        names = [shorten(matrix.classes[at], name_width) for at in shown]
        widest_in = max(width_in(name, font_pt) for name in names)
        rotation = 0 if widest_in < cell_in * shown.step else 45 if num_classes <= MAX_CLASSES_WITH_COUNTS else 90
        below = {0: 1.5 * font_pt / 72, 45: 0.72 * widest_in + 0.15, 90: widest_in + 0.05}[rotation]
        sides = (MARGIN_IN + 0.25 + widest_in + 0.1, 0.15)
        return cls(names, shown, rotation, *sides, below + 0.1, below + 0.1 + 0.25 + 0.6)


def _draw(
    plot: Plot, matrix: Matrix, frame: _Frame, place: tuple[float, float, float], *, right: float, font_pt: float
) -> None:
    left, top, side_in = place
    num_classes = len(matrix.classes)
    cell_in = side_in / num_classes
    plot.paste(_cells(matrix, round(side_in * DPI)), left, top)
    middle = 0.36 * font_pt / 72
    turned: dict[str, Any] = {"rotation": frame.rotation, "rotation_mode": "anchor", "ha": "right"}
    if not frame.rotation:
        turned = {"ha": "center"}
    for at, name in zip(frame.shown, frame.names, strict=True):
        center = (at + 0.5) * cell_in
        plot.write(left - 0.08, top + center + middle, name, size_pt=font_pt, ha="right")
        x, y = left + center, top + side_in + 0.08
        drop = {0: 0.75 * font_pt / 72, 45: 0.4 * font_pt / 72, 90: 0.0}[frame.rotation]
        plot.write(x + (middle if frame.rotation else 0.0), y + drop, name, size_pt=font_pt, **turned)
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(matrix.counts):
            x, y = left + (column + 0.5) * cell_in, top + (row + 0.5) * cell_in + middle
            style = {"color": MUTED} if not count else {"weight": "bold"} if row == column else {}
            plot.write(x, y, f"{count}" if count else "·", size_pt=font_pt, ha="center", **style)
    below = top + side_in + frame.names_in
    plot.write(left + side_in / 2, below + 0.17, matrix.words.columns, size_pt=10.0, color=MUTED, ha="center")
    x, y = left - frame.left_in + MARGIN_IN + 0.15, top + side_in / 2
    plot.write(x, y, matrix.words.rows, size_pt=10.0, color=MUTED, rotation=90, ha="center", va="center")
    _draw_legend(plot, matrix.words, left, below + 0.38, right=right)


def _cells(matrix: Matrix, side_px: int) -> Image.Image:
    """The cells without their texts; few of them have white lines between them."""
    num_classes = len(matrix.classes)
    image = Image.fromarray(np.round(255 * _colors(matrix)).astype(np.uint8))
    image = image.resize((side_px, side_px), Image.Resampling.NEAREST)
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        for at in range(1, num_classes):
            line = round(at * side_px / num_classes)
            image.paste("white", (line - 1, 0, line + 1, side_px))
            image.paste("white", (0, line - 1, side_px, line + 1))
    return image


def _colors(matrix: Matrix) -> NDArray[np.float64]:
    """Colors [k x k x 3] of the cells; the square root spreads the small shares of a good model's mistakes."""
    shares = _merged(np.nan_to_num(matrix.shares))
    faintest = _FAINTEST if len(matrix.classes) <= MAX_CLASSES_WITH_COUNTS else _FAINTEST_WITHOUT_COUNT
    strengths = np.where(shares > 0, np.maximum(faintest, np.sqrt(shares)), 0.0)
    on_diagonal = np.eye(len(strengths), dtype=bool)
    right, wrong = np.where(on_diagonal, strengths, 0.0), np.where(on_diagonal, 0.0, strengths)
    reach = math.ceil(len(strengths) * _LEAST_SIDE) // 2
    right, wrong = _grown(right, reach), _grown(wrong, reach)
    well, *hues = map(_rgb, (palette.WELL, palette.RIGHT_FILL, palette.WRONG_FILL))
    hue = np.where((right > 0)[..., None], hues[0], hues[1])
    colors = well + (hue - well) * np.where(right > 0, right, wrong)[..., None]
    if len(colors) == len(matrix.classes):
        colors[np.isnan(matrix.shares).all(axis=1)] = 1.0
    return colors


def _merged(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest of several neighbors, if there are more classes than pixels."""
    step = math.ceil(len(shares) / _MOST_CELLS)
    if step == 1:
        return shares
    starts = np.arange(0, len(shares), step)
    return np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)


def _grown(strengths: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Each cell as strong as the strongest within ``reach`` cells: a single cell among a million is invisible."""
    for axis in (0, 1):
        padded = np.pad(strengths, [(reach, reach) if at == axis else (0, 0) for at in (0, 1)])
        size = strengths.shape[axis]
        strengths = np.max([padded.take(range(at, at + size), axis) for at in range(2 * reach + 1)], axis=0)
    return strengths


def _cell_size(num_classes: int, largest: int) -> tuple[float, float]:
    """The side of a cell in inches, and the font size of names and counts in points."""
    if num_classes <= MAX_CLASSES_WITH_COUNTS:
        font_pt = 14.0 if num_classes <= 4 else 11.0 if num_classes <= 10 else 9.0
        digits_in = (len(str(largest)) + 1) * 0.65 * font_pt / 72
        return max(LEAST_IN / num_classes, 0.46, digits_in), font_pt
    # A line of text needs a quarter more than its size; beyond 100 classes the figure stops growing.
    cell_in = 0.2 if num_classes <= 50 else MOST_IN / max(num_classes, MAX_TICK_LABELS)
    return cell_in, 9.0 if num_classes <= 50 else 7.5


def _draw_legend(plot: Plot, words: Words, left: float, top: float, *, right: float) -> None:
    """What the colors mean, for the cells on the diagonal and for the others; ends at ``right`` at the latest."""
    colors = ((words.diagonal, palette.RIGHT_FILL), (words.others, palette.WRONG_FILL))
    texts = [f"{name}: 0 to 100 % of {words.legend}" for name, _ in colors]
    left = min(left, right - 0.55 - max(width_in(text, _LEGEND_PT) for text in texts))
    for line, ((_, shade), text) in enumerate(zip(colors, texts, strict=True)):
        y = top + 0.2 * line
        scale = np.linspace(_rgb(palette.WELL), _rgb(shade), 64)[None]
        size = round(0.45 * DPI), round(0.12 * DPI)
        plot.paste(Image.fromarray(np.round(255 * scale).astype(np.uint8)).resize(size), left, y - 0.06)
        plot.write(left + 0.55, y, text, size_pt=_LEGEND_PT, color=MUTED, va="center")


def _rgb(shade: palette.Shade) -> NDArray[np.float64]:
    return np.array([int(shade.light[at : at + 2], 16) / 255 for at in (1, 3, 5)])


def _list_pairs(plot: Plot, matrix: Matrix, left: float, top: float) -> None:
    """The largest cells off the diagonal, in words."""
    off = matrix.counts.copy()
    np.fill_diagonal(off, 0)
    largest = np.argsort(-off, axis=None, kind="stable")[:MAX_PAIRS]
    rows, columns = (part.tolist() for part in np.unravel_index(largest, off.shape))
    plot.write(left, top + 0.15, matrix.words.pairs, size_pt=11.0, weight="bold")
    pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if off[row, column]]
    for line, (row, column) in enumerate(pairs):
        y = top + 0.42 + 0.24 * line
        names = [fitted(matrix.classes[at], (_PAIRS_IN - 1.4) / 2, _PAIR_PT) for at in (row, column)]
        plot.write(left, y, f"{names[0]} → {names[1]}", size_pt=_PAIR_PT)
        text = f"{off[row, column]:,} ({100 * matrix.shares[row, column]:.0f} %)"
        plot.write(left + _PAIRS_IN - 0.4, y, text, size_pt=_PAIR_PT, color=MUTED, ha="right")
    if not pairs:
        plot.write(left, top + 0.42, "none", size_pt=_PAIR_PT, color=MUTED)
