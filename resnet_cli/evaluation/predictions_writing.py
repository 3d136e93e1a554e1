"""Writes predictions for labeled images to a file; ``predictions_file.py`` describes its columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.errors import DataError
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.predictions_file import DELIMITERS, PREFIX, check_name, load_parquet
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.system.paths import atomic_path
from resnet_cli.task import UNKNOWN, TaskName
from resnet_cli.text import join_labels

#: With nine significant digits the same float32 is read back. Source: IEEE 754-2019, 5.12.2.
_DIGITS = "%.9g"


def write_predictions(path: Path, scores: Scores) -> None:
    """Writes predictions atomically.

    Args:
        path: The file; its extension names the format: .csv, .tsv, .jsonl or .parquet.
        scores: The predictions.

    Raises:
        ConfigError: It has another extension.
        SetupError: The format is Parquet, and pyarrow is not installed.
        DiskError: It cannot be written.
    """
    check_name(path, "--save-predictions")
    suffix = path.suffix.lower()
    with atomic_path(path) as temporary:
        if suffix == ".parquet":
            _write_parquet(temporary, scores)
            return
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.writelines(_json_lines(scores) if suffix == ".jsonl" else _lines(scores, DELIMITERS[suffix]))


def _columns(scores: Scores) -> dict[str, Sequence[Any]]:
    """All columns except those of the classes, by name."""
    num = scores.num_images
    novelty: Any = [None] * num if scores.novelty is None else scores.novelty
    return {
        "path": scores.names,
        **_LABEL_COLUMNS[scores.task](scores),
        "novelty": novelty,
        "unfamiliar": [None] * num if scores.is_unfamiliar is None else scores.is_unfamiliar.tolist(),
        "group": [""] * num if scores.groups is None else scores.groups,
        **_MODEL_COLUMNS[scores.task](scores),
        "tta": [scores.tta] * num,
    }


def _label_columns(scores: Evaluation) -> dict[str, Sequence[Any]]:
    return {
        "label": [scores.classes[label] for label in scores.labels],
        "predicted": [scores.classes[label] for label in scores.predicted],
        "prob": scores.probs.max(axis=1),
    }


def _labels_columns(scores: LabelEvaluation) -> dict[str, Sequence[Any]]:
    images = range(scores.num_images)
    unknown = [[scores.classes[label] for label in np.flatnonzero(row == UNKNOWN)] for row in scores.targets]
    return {
        "labels": [list(scores.labels_of(image)) for image in images],
        "unknown": unknown,
        "predicted": [list(scores.predicted_of(image)) for image in images],
    }


def _first_of_model(scores: LabelEvaluation) -> dict[str, Sequence[Any]]:
    """Values about the model, in the first row: a list for each image would be as large as the probabilities."""
    scaling = None if scores.scaling is None else [*scores.scaling.scale, *scores.scaling.shift]
    rest = [None] * (scores.num_images - 1)
    return {"thresholds": [json.dumps(scores.thresholds.tolist()), *rest], "scaling": [_list(scaling), *rest]}


def _list(values: list[float] | None) -> str | None:
    return None if values is None else json.dumps(values)


_LABEL_COLUMNS: Mapping[TaskName, Callable[[Any], dict[str, Sequence[Any]]]] = {
    "single-label": _label_columns,
    "multi-label": _labels_columns,
}
_MODEL_COLUMNS: Mapping[TaskName, Callable[[Any], dict[str, Sequence[Any]]]] = {
    "single-label": lambda scores: {"temperature": [scores.temperature] * scores.num_images},
    "multi-label": _first_of_model,
}


def _lines(scores: Evaluation, delimiter: str) -> Iterator[str]:
    columns, text = _columns(scores), io.StringIO()
    # Quoted, since names can contain anything, and a carriage return alone would not be quoted otherwise.
    writer = csv.writer(text, delimiter=delimiter, lineterminator="", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*columns, *(PREFIX + name for name in scores.classes)])
    yield text.getvalue() + "\n"
    numbers = (delimiter + _DIGITS) * len(scores.classes) + "\n"
    for cells, probs in zip(zip(*columns.values(), strict=True), scores.probs, strict=True):
        text.seek(0)
        text.truncate()
        writer.writerow(["" if cell is None else _cell(cell) for cell in cells])
        yield text.getvalue() + numbers % tuple(probs.tolist())


def _json_lines(scores: Scores) -> Iterator[str]:
    columns = _columns(scores)
    keys = (json.dumps(PREFIX + name).replace("%", "%%") for name in scores.classes)
    numbers = "".join(f", {key}: {_DIGITS}" for key in keys) + "}\n"
    for cells, probs in zip(zip(*columns.values(), strict=True), scores.probs, strict=True):
        row = dict(zip(columns, map(_plain, cells), strict=True))
        yield json.dumps(row)[:-1] + numbers % tuple(probs.tolist())


def _cell(cell: Any) -> Any:
    """A value as a cell of a table: labels are joined."""
    return join_labels(cell) if isinstance(cell, list) else _plain(cell)


def _plain(cell: Any) -> Any:
    """A float32 as the shortest float that is read back as the same float32."""
    return float(_DIGITS % cell) if isinstance(cell, np.float32) else cell


def _write_parquet(path: Path, scores: Scores) -> None:
    pyarrow, parquet = load_parquet(path)
    try:
        found = _columns(scores).items()
        columns = {name: pyarrow.array(values, _type(pyarrow, name, values)) for name, values in found}
        for label, name in enumerate(scores.classes):
            columns[PREFIX + name] = pyarrow.array(scores.probs[:, label])
        parquet.write_table(pyarrow.table(columns), path)
    except UnicodeEncodeError as error:
        raise DataError(
            f"--save-predictions: a name that is not UTF-8 cannot be in a Parquet file: {error.object[:80]!r}",
            hint="write .csv instead",
        ) from error


def _type(pyarrow: Any, column: str, values: Any) -> Any:
    if isinstance(values[0], list):
        return pyarrow.list_(pyarrow.string())
    kinds = {"novelty": pyarrow.float32(), "prob": pyarrow.float32(), "unfamiliar": pyarrow.bool_()}
    return kinds.get(column, pyarrow.float64() if column == "temperature" else pyarrow.string())
