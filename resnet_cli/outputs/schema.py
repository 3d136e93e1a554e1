"""One prediction as a row: the same names and values on stdout, in CSV, in JSON lines and in Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from resnet_cli.prediction import Prediction

#: Columns on stdout, always the same, so that the rows of several calls fit together.
COLUMNS = ("path", "label", "prob", "topk", "unknown", "novelty", "unfamiliar")
#: Columns of files.
FILE_COLUMNS = (*COLUMNS, "error", "made_by")


def to_dict(prediction: Prediction, columns: Sequence[str] = COLUMNS, *, made_by: str = "") -> dict[str, Any]:
    """A prediction as plain values; None for what an unreadable image lacks.

    Args:
        prediction: The prediction.
        columns: Names from ``FILE_COLUMNS``.
        made_by: What identifies the model and its settings.
    """
    is_read = prediction.error is None
    values = {
        "path": prediction.path,
        "label": prediction.label if is_read else None,
        "prob": prediction.prob if is_read else None,
        "topk": [{"label": name, "prob": prob} for name, prob in prediction.topk],
        "unknown": prediction.unknown,
        "novelty": prediction.novelty,
        "unfamiliar": prediction.is_unfamiliar,
        "error": None if prediction.error is None else prediction.error.reason,
        "made_by": made_by,
    }
    return {column: values[column] for column in columns}


def to_cells(prediction: Prediction, columns: Sequence[str] = COLUMNS, *, made_by: str = "") -> list[object]:
    """A prediction as cells of CSV: numbers with six digits, the classes as a JSON object, empty for None."""
    values = to_dict(prediction, columns, made_by=made_by)
    for column in {"prob", "novelty"} & values.keys():
        values[column] = None if values[column] is None else f"{values[column]:.6f}"
    if "topk" in values:
        values["topk"] = json.dumps(dict(prediction.topk), ensure_ascii=False) if prediction.topk else None
    return list(values.values())


def as_utf8(text: str) -> str:
    r"""A name for formats that hold only UTF-8: other bytes become ``\xe9``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def to_arrow(predictions: Iterable[Prediction], made_by: str) -> dict[str, list[Any]]:
    """Predictions as columns of Parquet."""
    rows = [to_dict(prediction, FILE_COLUMNS, made_by=made_by) for prediction in predictions]
    columns = {column: [row[column] for row in rows] for column in FILE_COLUMNS}
    for column in ("path", "error"):
        columns[column] = [None if text is None else as_utf8(text) for text in columns[column]]
    return columns
