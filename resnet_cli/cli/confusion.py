"""The confusion matrix in a terminal: the table, the worst classes, the most common mistakes.

Everything is built from ``Text`` objects, never from markup: class names are folder names, and ``[red]`` is a possible
one. Nothing here prints.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text

from resnet_cli.text import display_width, percent, row_shares, shorten

if TYPE_CHECKING:
    from resnet_cli.evaluation.label_mistakes import Cooccurrence

Counts = NDArray[np.integer[Any]]

MAX_LISTED = 15
MAX_NAME_WIDTH = 24
FULL_NAME_WIDTH = MAX_NAME_WIDTH + len("999 ")
# A name shortened further than this is not helpful: the list of classes is shown instead of the matrix.
MIN_NAME_WIDTH = 14
MAX_CONFUSED_NAME_WIDTH = 22
MAX_TWICE_NAMED_WIDTH = 54
MIN_WIDTH_WITH_BAR = 60
BAR_WIDTH = 10
RECALL_WIDTH = len("100.0 %")
BARS = "▁▂▃▄▅▆▇█"

# (share of the row from which the style applies, style); a background comes with its own text color, so that cells
# look the same on dark and light terminals. Source: ColorBrewer "Blues" and "Oranges".
RIGHT_STYLES = (
    (0.85, "#ffffff on #08519c"),
    (0.6, "#ffffff on #2171b5"),
    (0.3, "#000000 on #6baed6"),
    (0.0, "#000000 on #c6dbef"),
)
WRONG_STYLES = (
    (0.3, "#ffffff on #a63603"),
    (0.15, "#000000 on #f16913"),
    (0.05, "#000000 on #fdae6b"),
    # Rare mistakes have no background, since pale cells are too bright in a dark terminal.
    (0.0, "#d9730d"),
)


class _Wording(NamedTuple):
    """What a table says about its counts: above the matrix, and over the most frequent mistakes of each class."""

    caption: str
    mistakes: str


_ONE_LABEL = _Wording("rows: true, columns: predicted", "mistaken for")
_LABELS = _Wording(
    "rows: true label; columns: wrong label; diagonal: label found", "wrong labels with it or instead of it"
)


def confusion_table(confusion: Counts, classes: Sequence[str], *, width: int) -> RenderableType:
    """The confusion matrix as a table, or the worst classes if it does not fit.

    Args:
        confusion: Counts [k x k], true classes in rows, predicted ones in columns.
        classes: Names of the k classes in index order.
        width: Width of the terminal in characters.

    Returns:
        A matrix with the recall of each class, headed by names or else by index numbers; if it does not fit, one line
        for each of the 15 classes with the lowest recall.

    Raises:
        ValueError: The matrix does not have one row and column per class.
    """
    shares = row_shares(confusion, classes)
    return _fitting(confusion, shares, classes, confusion.sum(axis=1), width=width, wording=_ONE_LABEL)


def cooccurrence_table(
    pairs: Cooccurrence, supports: Sequence[int], classes: Sequence[str], *, width: int
) -> RenderableType:
    """The wrong labels of a multi-label model beside the true ones as a table, or the worst classes if it does not fit.

    Args:
        pairs: Counts [k x k] of true and predicted labels.
        supports: Positives of each class, [k].
        classes: Names of the k classes in index order.
        width: Width of the terminal in characters.
    """
    counts, totals = pairs.in_addition + pairs.instead, np.array(supports)
    np.fill_diagonal(counts, np.diagonal(pairs.both))
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, totals[:, None], out=shares, where=totals[:, None] > 0)
    return _fitting(counts, shares, classes, totals, width=width, wording=_LABELS)


def _fitting(
    confusion: Counts,
    shares: NDArray[np.float64],
    classes: Sequence[str],
    totals: Counts,
    *,
    width: int,
    wording: _Wording,
) -> RenderableType:
    indices = [str(index) for index in range(len(classes))]
    names = [shorten(name, MAX_NAME_WIDTH) for name in classes]
    numbered = [f"{index:>{len(indices[-1])}} {name}" for index, name in zip(indices, names, strict=True)]
    digits = len(str(confusion.max()))
    layouts = [(names, names, 2), (names, names, 1), (numbered, indices, 2), (numbered, indices, 1)]
    # A layout with full names is preferred to a wider one that shortens them.
    for shortest, layout in itertools.product((FULL_NAME_WIDTH, MIN_NAME_WIDTH), layouts):
        rows, headings, gap = layout
        cell_widths = [max(digits, display_width(heading)) + gap for heading in headings]
        longest = max(map(display_width, rows))
        name_width = min(longest, width - sum(cell_widths) - RECALL_WIDTH - 2)
        if name_width >= min(longest, shortest):
            rows = [_fit(row, name_width) for row in rows]
            return _matrix(confusion, shares, rows, headings, cell_widths=cell_widths, caption=wording.caption)
    return _worst_classes(confusion, shares, classes, totals, width=width, wording=wording)


def most_confused(confusion: Counts, classes: Sequence[str], limit: int = 5) -> list[tuple[str, str, int, float]]:
    """The most common mistakes: (true class, predicted class, count, share of the true class).

    The highest count comes first, then the highest share, then the order of the classes.

    Raises:
        ValueError: The matrix does not have one row and column per class.
    """
    shares = row_shares(confusion, classes)
    mistakes = [
        (classes[row], classes[column], int(count), float(shares[row, column]))
        for (row, column), count in np.ndenumerate(confusion)
        if row != column and count
    ]
    mistakes.sort(key=lambda mistake: (-mistake[2], -mistake[3]))
    return mistakes[:limit]


def confused_lines(confusion: Counts, classes: Sequence[str], limit: int = 5) -> RenderableType:
    """``most_confused`` as lines like ``cat → dog  41 (8.2 % of cat)``; empty if there are no mistakes.

    Raises:
        ValueError: The matrix does not have one row and column per class.
    """
    rows = [
        (shorten(true, MAX_CONFUSED_NAME_WIDTH), shorten(guess, MAX_CONFUSED_NAME_WIDTH), count, share)
        for true, guess, count, share in most_confused(confusion, classes, limit)
    ]
    if not rows:
        return Group()
    true_width = max(display_width(true) for true, *_ in rows)
    guess_width = max(display_width(guess) for _, guess, *_ in rows)
    digits = len(str(rows[0][2]))
    # With long names the line would exceed 80 columns if it named the true class twice.
    name_twice = 2 * true_width + guess_width <= MAX_TWICE_NAMED_WIDTH
    return Group(
        *(
            _line(
                f"{_fit(true, true_width)} → {_fit(guess, guess_width)}  ",
                (f"{count:>{digits}}", "bold"),
                (f" ({percent(share)} of {true if name_twice else 'that class'})", "dim"),
            )
            for true, guess, count, share in rows
        )
    )


def sparkline(values: Sequence[float]) -> str:
    """One block character per value, scaled from the lowest to the highest; a blank for values that are not finite."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    # Halved, since the difference of two finite numbers can be infinite.
    low, span = min(finite) / 2, max(finite) / 2 - min(finite) / 2
    top = len(BARS) - 1

    def block(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return BARS[round((value / 2 - low) / span * top)] if span else "▄"

    return "".join(map(block, values))


def _matrix(
    confusion: Counts,
    shares: NDArray[np.float64],
    rows: Sequence[str],
    headings: Sequence[str],
    *,
    cell_widths: Sequence[int],
    caption: str,
) -> RenderableType:
    lines = [_line((caption, "dim"))]
    heads = (_pad_left(heading, cell - 1) + " " for heading, cell in zip(headings, cell_widths, strict=True))
    lines.append(_line((" " * (display_width(rows[0]) + 1) + "".join(heads) + "  recall", "bold")))
    for index, row in enumerate(rows):
        line = _line(f"{row} ")
        for column, cell in enumerate(cell_widths):
            count = confusion[index, column]
            # The blank after the count belongs to the cell, so the color fills it.
            line.append(f"{count or '·':>{cell - 1}} ", _cell_style(index == column, count, shares[index, column]))
        lines.append(line.append(" " + _percent(shares[index, index])))
    return Group(*lines)


def _worst_classes(
    confusion: Counts,
    shares: NDArray[np.float64],
    classes: Sequence[str],
    totals: Counts,
    *,
    width: int,
    wording: _Wording,
) -> RenderableType:
    recalls = np.diagonal(shares)
    ranked = sorted(np.flatnonzero(totals).tolist(), key=lambda index: (recalls[index], -totals[index]))
    listed, rest = ranked[:MAX_LISTED], ranked[MAX_LISTED:]
    names = {index: shorten(classes[index], min(MAX_NAME_WIDTH, max(8, width // 4))) for index in listed}
    name_width = max([len("class"), *map(display_width, names.values())])
    digits = len(str(totals.max()))
    bar_width = BAR_WIDTH if width >= MIN_WIDTH_WITH_BAR else 0
    head = f"{_fit('class', name_width)}  {'n':>{digits}}   recall  "
    lines = [_line((head + " " * (bar_width + 2 if bar_width else 0) + wording.mistakes, "bold"))]
    for index in listed:
        line = _line(f"{_fit(names[index], name_width)}  {totals[index]:>{digits}}  {_percent(recalls[index])}  ")
        if bar_width:
            filled = round(recalls[index] * bar_width)
            line.append("█" * filled, "#2171b5").append("░" * (bar_width - filled), "dim").append("  ")
        lines.append(line.append(_mistakes(confusion[index], index, classes, width - line.cell_len)))
    if hidden := len(classes) - len(listed):
        reasons = [f"{len(rest)} with {_percent(recalls[rest[0]]).strip()} recall or more"] if rest else []
        if empty := hidden - len(rest):
            reasons.append(f"{empty} without images")
        lines.append(Text(f"{hidden} of {len(classes)} classes not shown: {', '.join(reasons)}", "dim"))
    return Group(*lines)


def _mistakes(counts: Counts, own: int, classes: Sequence[str], width: int) -> str:
    """The most frequent wrong predictions for one class, as many as fit into ``width`` characters."""
    wrong = sorted((index for index in np.flatnonzero(counts).tolist() if index != own), key=lambda i: -counts[i])
    text = ""
    for index in wrong:
        count = f" ({counts[index]})"
        start = f"{text}, " if text else "→ "
        room = width - display_width(start) - len(count)
        name = shorten(classes[index], min(MAX_NAME_WIDTH, max(room, 1)) if not text else MAX_NAME_WIDTH)
        if text and display_width(name) > room:
            break
        text = start + name + count
    return text


def _cell_style(right: bool, count: int, share: float) -> str:
    if not count:
        return "dim"
    return next(style for least, style in (RIGHT_STYLES if right else WRONG_STYLES) if share >= least)


def _percent(share: float) -> str:
    return ("-" if math.isnan(share) else percent(share)).rjust(RECALL_WIDTH)


def _line(*parts: str | tuple[str, str]) -> Text:
    # A line that is too long for the console is cut, since wrapping would break the columns.
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _fit(name: str, width: int) -> str:
    name = shorten(name, width)
    return name + " " * (width - display_width(name))


def _pad_left(name: str, width: int) -> str:
    return " " * (width - display_width(name)) + name
