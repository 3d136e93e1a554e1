"""Tables that this tool wrote into a data folder: they label its images only where they are named as DATA."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Column that marks a table of ``inspect --fix``.
CLEANED_COLUMN = "cleaned_by"
#: Its columns with the labels of an image in multi-label data, and with the unknown ones.
CLEANED_SETS = ("labels", "unknown")
#: Column that marks predictions.
_PREDICTED_COLUMN = "made_by"
#: Columns of other tables with any number of labels in a cell: a run's split.csv, eval's predictions, and the labels
#: to check of eval --label-audit.
_UNMARKED = (
    frozenset(["path", *CLEANED_SETS, "split"]),
    frozenset(["path", *CLEANED_SETS, "predicted"]),
    frozenset(["image", "labels", "suggested", "missing", "wrong"]),
)
_CLEANED = CLEANED_COLUMN.encode()
#: What a table is -> columns that no other table has, in single-label and in multi-label data.
_KINDS = {
    "a table that inspect --fix wrote": ({b"image", b"label", _CLEANED}, {b"image", b"labels", _CLEANED}),
    "predictions of a model": ({b"path", b"label", b"prob", b"topk", b"made_by"}, {b"path", b"labels", b"made_by"}),
}
_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
#: The first line of a text, or the end of a Parquet file, where the columns are named, is shorter than this.
_NAMES_BYTES = 1 << 16


def has_own_sets(columns: Sequence[str]) -> bool:
    """Whether a table with these columns is one of this tool with any number of labels in a cell."""
    is_marked = not {CLEANED_COLUMN, _PREDICTED_COLUMN}.isdisjoint(columns)
    return CLEANED_SETS[0] in columns and (is_marked or any(one.issubset(columns) for one in _UNMARKED))


def unknown_columns(columns: Sequence[str]) -> list[str]:
    """The column with the unknown classes of an image, of a table for which :func:`has_own_sets`; none without it."""
    # Predictions have a column of this name too: why an image is unknown to the model.
    return [CLEANED_SETS[1]] if CLEANED_SETS[1] in columns and _PREDICTED_COLUMN not in columns else []


def prob_columns(columns: Sequence[str]) -> list[str]:
    """The column with the probabilities of the labels, of predictions."""
    return ["probs"] if {_PREDICTED_COLUMN, "probs"}.issubset(columns) else []


def is_classified(labels: Any, probs: Any) -> bool:
    """Whether cells of predictions say which labels an image has: by a model, or corrected by hand.

    Args:
        labels: The labels; blank text for none of the classes.
        probs: Their probabilities; blank text for none of the classes, or if the image was not classified.
    """
    return labels is not None and not (labels == "unknown" and probs in (None, ""))


def own_kind(path: Path) -> str:
    """What a table of this tool is; empty for other tables, and for files that cannot be read."""
    if path.suffix.lower() not in _SUFFIXES:
        return ""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".parquet":
                file.seek(max(0, file.seek(0, os.SEEK_END) - _NAMES_BYTES))
                names = file.read(_NAMES_BYTES)
            else:
                names = file.readline(_NAMES_BYTES)
    except (OSError, ValueError):
        return ""
    # Words instead of cells: a spreadsheet may save a table with other separators and quotation marks.
    words = set(re.findall(rb"\w+", names))
    return next((kind for kind, sets in _KINDS.items() if any(columns <= words for columns in sets)), "")
