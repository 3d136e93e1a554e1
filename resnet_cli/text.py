"""Text for people and programs: percentages, names cut to a width, one line of JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def row_shares(confusion: NDArray[np.integer[Any]], classes: Sequence[str]) -> NDArray[np.float64]:
    """Each count as a share of its row: [k x k], NaN in the rows of classes without images.

    Raises:
        ValueError: There is no class, or the matrix does not have one row and column per class.
    """
    # Here, because error messages need `printable` before anything heavy is loaded.
    import numpy as np

    if not classes or confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of shape {confusion.shape} for {len(classes)} classes")
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.full(confusion.shape, np.nan)
    np.divide(confusion, totals, out=shares, where=totals > 0)
    return shares


def percent(share: float) -> str:
    """0.967 -> ``96.7 %``; a share that is not exactly 0 or 1 never looks like 0 % or 100 %."""
    text = f"{100 * share:.1f}"
    if (text == "100.0" and share < 1) or (text == "0.0" and share > 0):
        text = f"{100 * share:.2f}"
    return f"{text} %"


def percent_range(low: float, high: float) -> str:
    """``91.7 to 98.2 %``."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def json_line(values: dict[str, Any]) -> str:
    """One line of JSON; a file name that is no UTF-8 is escaped, since JSON is UTF-8 throughout."""
    line = json.dumps(values, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(values, allow_nan=False)
    return line


def printable(name: str) -> str:
    """A name safe to draw: format characters dropped, control characters and lone surrogates replaced.

    Names come from folders of strangers; a line break, an escape sequence or a right-to-left override
    would spoil more than its own label.
    """
    kept = (char for char in name if unicodedata.category(char) != "Cf")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in kept)


def display_width(text: str) -> int:
    """The width in terminal columns: 2 for East Asian wide characters, 0 for combining marks."""
    return sum(map(_char_width, text))


def shorten(name: str, width: int) -> str:
    """A printable name of at most ``width`` columns; its middle gives way to an ellipsis.

    Both ends stay, since names of one data set often share their beginning.
    """
    name = printable(name)
    if display_width(name) <= width:
        return name
    tail = _take(reversed(name), (width - 1) // 2)[::-1]
    return _take(name, width - 1 - display_width(tail)) + "…" + tail


def _take(chars: Iterable[str], width: int) -> str:
    taken = ""
    for char in chars:
        width -= _char_width(char)
        if width < 0:
            break
        taken += char
    return taken


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
