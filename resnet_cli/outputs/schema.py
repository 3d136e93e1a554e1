"""One prediction as a row: the same names and values on stdout, in CSV, in JSON lines and in Parquet."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resnet_cli.prediction import UNKNOWN, Prediction
from resnet_cli.task import TaskName
from resnet_cli.text import LABEL_SEPARATOR, join_labels

#: Columns on stdout, always the same, so that the rows of several calls fit together.
COLUMNS = ("path", "label", "prob", "topk", "unknown", "novelty", "unfamiliar")
#: The same for models that choose any number of labels for an image.
LABEL_COLUMNS = ("path", "labels", "probs", *COLUMNS[3:])
#: Further columns of files.
_OF_FILES = ("error", "made_by")
#: Columns of files.
FILE_COLUMNS = (*COLUMNS, *_OF_FILES)
#: The column with the probabilities of all classes; in CSV one column per class, which this prefix precedes.
ALL_PROBS, PREFIX = "all_probs", "prob_"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of rows.

    Attributes:
        columns: Names of the values, in order.
        classes: The classes of ``all_probs``, in index order; empty without this column.
    """

    columns: tuple[str, ...] = COLUMNS
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: TaskName, *, with_probs: Sequence[str] = ()) -> Layout:
        """The columns on stdout.

        Args:
            task: The task of the model.
            with_probs: The model's classes if rows are to hold the probabilities of all of them.
        """
        columns = _BY_TASK[task]
        return cls((*columns, ALL_PROBS), tuple(with_probs)) if with_probs else cls(columns)

    def in_file(self) -> Layout:
        """The columns in a file."""
        return dataclasses.replace(self, columns=(*self.columns, *_OF_FILES))

    @property
    def header(self) -> tuple[str, ...]:
        """Column names in CSV; the names of classes are not changed, so that no two are the same."""
        names = {ALL_PROBS: [PREFIX + name for name in self.classes]}
        return tuple(name for column in self.columns for name in names.get(column, [column]))


_BY_TASK: Mapping[TaskName, tuple[str, ...]] = {"single-label": COLUMNS, "multi-label": LABEL_COLUMNS}
ROWS = Layout()
FILE_ROWS = ROWS.in_file()


def to_dict(prediction: Prediction, layout: Layout = ROWS, *, made_by: str = "") -> dict[str, Any]:
    """A prediction as plain values; None for what an unreadable image lacks, and for the labels of an unknown one.

    Args:
        prediction: The prediction.
        layout: The columns.
        made_by: What identifies the model and its settings.
    """
    is_read = prediction.error is None
    is_decided = is_read and prediction.unknown is None and prediction.labels is not None
    values = {
        "path": prediction.path,
        "label": prediction.label if is_read else None,
        "labels": [*(prediction.labels or ())] if is_decided else None,
        "prob": prediction.prob if is_read else None,
        "probs": [*prediction.label_probs] if is_decided else None,
        "topk": [{"label": name, "prob": prob} for name, prob in prediction.topk],
        "unknown": prediction.unknown,
        "novelty": prediction.novelty,
        "unfamiliar": prediction.is_unfamiliar,
        ALL_PROBS: _by_class(prediction, layout.classes) if layout.classes and is_read else None,
        "error": None if prediction.error is None else prediction.error.reason,
        "made_by": made_by,
    }
    return {column: values[column] for column in layout.columns}


def to_cells(prediction: Prediction, layout: Layout = ROWS, *, made_by: str = "") -> list[object]:
    """A prediction as cells of CSV: numbers with six digits, the classes as a JSON object, empty for None.

    Labels are joined by ``;``. The cell is empty only if the model chose no label: it is ``unknown`` if the image was
    not classified or cannot be read.
    """
    values = to_dict(prediction, layout, made_by=made_by)
    for column in {"prob", "novelty"} & values.keys():
        values[column] = None if values[column] is None else _digits(values[column])
    if "labels" in values:
        values["labels"] = UNKNOWN if values["labels"] is None else join_labels(values["labels"])
        values["probs"] = LABEL_SEPARATOR.join(map(_digits, values["probs"] or ()))
    if "topk" in values:
        values["topk"] = json.dumps(dict(prediction.topk), ensure_ascii=False) if prediction.topk else None
    if ALL_PROBS not in values:
        return list(values.values())
    probs = [None] * len(layout.classes) if values[ALL_PROBS] is None else map(_digits, values[ALL_PROBS].values())
    return [cell for column, value in values.items() for cell in (probs if column == ALL_PROBS else [value])]


def csv_line(cells: list[object] | list[str]) -> bytes:
    """One line of a CSV file."""
    text = io.StringIO()
    # By default the writer does not quote a carriage return, and readers then refuse the row.
    has_return = any("\r" in str(cell) for cell in cells)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerow(cells)
    # File names that are not UTF-8 are written as their own bytes.
    return text.getvalue().encode("utf-8", "surrogateescape")


def _digits(value: float) -> str:
    return f"{value:.6f}"


def _by_class(prediction: Prediction, classes: Sequence[str]) -> dict[str, float]:
    assert prediction.all_probs is not None
    return dict(zip(classes, prediction.all_probs.tolist(), strict=True))


def as_utf8(text: str) -> str:
    r"""A name for formats that hold only UTF-8: other bytes become ``\xe9``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def to_arrow(predictions: Iterable[Prediction], made_by: str, layout: Layout = FILE_ROWS) -> dict[str, list[Any]]:
    """Predictions as columns of Parquet; the probabilities of all classes are a list in the order of the classes."""
    predictions = [*predictions]
    plain = tuple(column for column in layout.columns if column != ALL_PROBS)
    rows = [to_dict(prediction, Layout(plain), made_by=made_by) for prediction in predictions]
    columns: dict[str, list[Any]] = {column: [row[column] for row in rows] for column in plain}
    for column in ("path", "error"):
        columns[column] = [None if text is None else as_utf8(text) for text in columns[column]]
    if layout.classes:
        # Not as Python floats: a row group of 1,000 classes has eight million of them.
        columns[ALL_PROBS] = [prediction.all_probs for prediction in predictions]
    return columns
