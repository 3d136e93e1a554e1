"""Reads predictions for labeled images from a file, and scores them again without the model, the images or torch.

There is one row per image: ``path``, ``label``, ``predicted``, ``prob``, ``novelty``, ``unfamiliar``, ``group``,
``temperature``, ``tta``, then a column ``prob:CLASS`` for each class. A file of another program needs only ``path``,
``label`` and the columns of the classes.

With several labels per image, ``labels`` and ``unknown`` take the place of ``label``: names joined by ``;``, or a list.
An image without labels is a negative; ``unknown`` names the classes whose value is not known. ``thresholds`` and
``scaling`` are those of the model, in the first row alone; without them, all thresholds are 50 %.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.errors import ConfigError, DataError, missing_extra
from resnet_cli.evaluation.label_cells import label_names, read_calibration
from resnet_cli.evaluation.scores import Tta
from resnet_cli.evaluation.scoring import Scores, score_task
from resnet_cli.evaluation.slices import slice_items
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.task import TASKS, TaskName

#: File extensions of the formats.
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
#: Prefix of a class name in the name of its column.
PREFIX = "prob:"
#: Name of the column with the groups.
GROUP = "group"
#: A longer line is not read: a row of 1,000 classes takes 30 KB.
MAX_LINE_CHARS = 10_000_000
#: Largest deviation of the sum of an image's probabilities from 1: other programs round them.
TOLERANCE = 1e-3
#: Number of rows read at once.
ROWS_AT_ONCE = 1024
#: What separates the cells of a table.
DELIMITERS = {".csv": ",", ".tsv": "\t"}

#: Task -> the column of the true labels.
_LABELS: Mapping[TaskName, str] = {"single-label": "label", "multi-label": "labels"}
#: Columns that a file can have besides, and those about a multi-label model.
_EXTRAS = ("novelty", "unfamiliar", "group", "temperature", "tta")
_OF_MODEL = ("thresholds", "scaling")

#: One row: column name -> text, or a value of JSON or Parquet.
_Row: TypeAlias = dict[str, Any]


class _Calibrated(NamedTuple):
    """What a file tells about the calibration of its model."""

    temperature: float
    thresholds: tuple[float, ...]
    scaling: LabelScaling | None


def check_name(path: Path, flag: str) -> None:
    """Refuses a file name whose extension names no format, and the name of a folder.

    Raises:
        ConfigError: The extension is not one of ``SUFFIXES``, or a folder has this name.
    """
    if path.is_dir():
        raise ConfigError(f"{flag} {path}: is a folder", hint="name a file")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{flag} {path}: unknown file format", hint=f"use a name that ends in {', '.join(SUFFIXES)}")


def read_predictions(path: Path) -> Scores:
    """Reads predictions and scores them again.

    Args:
        path: A file as :func:`~resnet_cli.evaluation.predictions_writing.write_predictions` writes it.

    Raises:
        ConfigError: Its extension names no format.
        DataError: It is missing, damaged or something else, or has numbers that are not probabilities.
        SetupError: The format is Parquet, and pyarrow is not installed.
    """
    check_name(path, "--from-predictions")
    suffix = path.suffix.lower()
    rows = {".jsonl": _read_json_lines, ".parquet": _read_parquet}.get(suffix, _read_cells)(path)
    first = next(rows, None)
    if first is None:
        raise DataError(
            f"{path}: no predictions in it", hint="write it with: resnet-cli eval MODEL --save-predictions FILE"
        )
    columns = [name for name in first[1] if name.startswith(PREFIX)]
    task: TaskName = "multi-label" if "labels" in first[1] and "label" not in first[1] else "single-label"
    missing = [name for name in ("path", _LABELS[task]) if name not in first[1]]
    if missing or len(columns) < 1:
        raise DataError(
            f"{path}: no column '{missing[0] if missing else PREFIX + 'CLASS'}'",
            hint="write it with: resnet-cli eval MODEL --save-predictions FILE",
        )
    return _gather(path, itertools.chain([first], rows), columns, task)


def regroup(scores: Scores, by: str) -> Scores:
    """Groups the images of a file of predictions.

    Args:
        scores: The result of :func:`read_predictions`.
        by: ``group`` for the groups in the file, ``parent`` for the folders, or a regular expression for the images'
            names.

    Raises:
        ConfigError: The file has no groups, or ``by`` is not an expression.
        DataError: ``by`` matches no image.
    """
    if by == GROUP:
        if scores.groups is None:
            raise ConfigError(
                "--slice group: the file has no groups",
                hint="save them: resnet-cli eval --slice ... --save-predictions",
            )
        return scores
    items = tuple(Item(name, b"") for name in scores.names)
    grouped = slice_items(Dataset("the file", "", scores.classes, items), by)
    return dataclasses.replace(scores, groups=tuple(item.group for item in grouped.items))


def load_parquet(path: Path) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        SetupError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra(f"{path}: Parquet needs pyarrow, which is not installed", "parquet") from error
    return pyarrow, parquet


def _read_cells(path: Path) -> Iterator[tuple[int, _Row]]:
    with _opened(path) as file:
        reader = csv.reader(_bounded(path, file), delimiter=DELIMITERS[path.suffix.lower()], strict=True)
        try:
            header = next(reader, [])
            _refuse_twice(path, header)
            for cells in reader:
                if len(cells) != len(header):
                    raise _wrong(path, reader.line_num, f"{len(cells)} cells under {len(header)} columns")
                yield reader.line_num, dict(zip(header, cells, strict=True))
        except (csv.Error, OSError) as error:
            raise _wrong(path, reader.line_num, f"not a row of a table: {error}") from error


def _read_json_lines(path: Path) -> Iterator[tuple[int, _Row]]:
    with _opened(path) as file:
        for number, line in enumerate(_bounded(path, file), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _wrong(path, number, f"not JSON: {error}") from error
            if not isinstance(row, dict):
                raise _wrong(path, number, "not a JSON object")
            yield number, row


def _read_parquet(path: Path) -> Iterator[tuple[int, _Row]]:
    pyarrow, parquet = load_parquet(path)
    number = itertools.count(1)
    try:
        with path.open("rb") as file, parquet.ParquetFile(file, page_checksum_verification=True) as opened:
            _refuse_twice(path, opened.schema_arrow.names)
            for batch in opened.iter_batches(ROWS_AT_ONCE, use_threads=False):
                for row in batch.to_pylist():
                    yield next(number), row
    except (pyarrow.ArrowException, OSError, ValueError, ArithmeticError, MemoryError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or f'damaged: {error}'}") from error


def _opened(path: Path) -> io.TextIOWrapper:
    try:
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise DataError(f"--from-predictions {path}: {error.strerror or error}") from error


def _bounded(path: Path, file: io.TextIOWrapper) -> Iterator[str]:
    try:
        while line := file.readline(MAX_LINE_CHARS + 1):
            if len(line) > MAX_LINE_CHARS:
                raise DataError(f"{path}: a line longer than {MAX_LINE_CHARS:,} characters")
            yield line
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"{path}: the column '{twice[0][:80]}' occurs twice")


def _gather(path: Path, rows: Iterable[tuple[int, _Row]], columns: Sequence[str], task: TaskName) -> Scores:
    classes = [column.removeprefix(PREFIX) for column in columns]
    index = {name: label for label, name in enumerate(classes)}
    names, labels, unknown, blocks, block = [], [], [], [], []
    extras: dict[str, list[Any]] = {name: [] for name in (*_EXTRAS, *_OF_MODEL)}
    for number, row in rows:
        names.append(str(row.get("path")))
        labels.append(_indices(path, number, row.get(_LABELS[task]), index, task=task))
        unknown.append(_indices(path, number, row.get("unknown"), index, task=task) if task == "multi-label" else ())
        if both := set(labels[-1]) & set(unknown[-1]):
            raise _wrong(path, number, f"'{classes[min(both)][:80]}' is both a label and unknown")
        block.append([_number(path, number, column, row.get(column)) for column in columns])
        for name, values in extras.items():
            values.append(row.get(name))
        if len(block) == ROWS_AT_ONCE:
            blocks.append(_as_probs(path, block, len(labels), task))
            block = []
    blocks += [_as_probs(path, block, len(labels), task)] if block else []
    targets, probs = TASKS[task].encode(labels, unknown, len(classes)), np.concatenate(blocks)
    found = _read_extras(path, extras)
    calibrated = _Calibrated(found.pop("temperature", 1.0), *read_calibration(path, extras, len(classes)))
    return dataclasses.replace(score_task(task, probs, targets, classes, names=names, calibrated=calibrated), **found)


def _indices(path: Path, row: int, cell: Any, index: Mapping[str, int], *, task: TaskName) -> tuple[int, ...]:
    """The classes that a cell names: exactly one, or any number."""
    try:
        names = (str(cell),) if task == "single-label" else label_names(cell)
    except ValueError as error:
        raise _wrong(path, row, str(error)) from error
    if wrong := [name for name in names if name not in index]:
        raise _wrong(path, row, f"the label '{wrong[0][:80]}' is not a class of the file")
    return tuple(index[name] for name in names)


def _as_probs(path: Path, block: list[list[float]], last: int, task: TaskName) -> NDArray[np.float32]:
    probs = np.array(block, dtype=np.float32)
    if task == "multi-label":
        return np.minimum(probs, np.float32(1))
    off = np.abs(probs.sum(axis=1, dtype=np.float64) - 1) > TOLERANCE
    if off.any():
        first = last - len(block) + int(off.argmax()) + 1
        raise DataError(f"{path}: the probabilities of image {first} have the sum {probs[off][0].sum():g}, not 1")
    return probs


def _number(path: Path, row: int, column: str, value: Any, *, most: float = 1 + TOLERANCE) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= most:
        raise _wrong(path, row, f"'{column[:80]}' is {str(value)[:40]!r}, not a number from 0 to {most:.0f}")
    return number


def _read_extras(path: Path, extras: dict[str, list[Any]]) -> dict[str, Any]:
    """The optional columns; a column that is empty throughout is ignored."""
    is_there = {name: any(value not in (None, "") for value in values) for name, values in extras.items()}
    found: dict[str, Any] = {}
    if is_there["novelty"]:
        rows = enumerate(extras["novelty"], 1)
        found["novelty"] = np.array([_number(path, row, "novelty", x, most=2.001) for row, x in rows], np.float32)
    if is_there["unfamiliar"]:
        words = {"true": True, "false": False}
        flags = [words.get(str(value).lower()) for value in extras["unfamiliar"]]
        if None in flags:
            raise _wrong(path, flags.index(None) + 1, "'unfamiliar' is neither True nor False")
        found["is_unfamiliar"] = np.array(flags, dtype=np.bool_)
    if is_there["group"]:
        found["groups"] = tuple("" if value is None else str(value) for value in extras["group"])
    if is_there["temperature"]:
        temperatures = {_number(path, 1, "temperature", value, most=1e6) for value in extras["temperature"]}
        if len(temperatures) > 1 or 0 in temperatures:
            raise DataError(f"{path}: 'temperature' must be one number above 0 for all images")
        found["temperature"] = temperatures.pop()
    if is_there["tta"]:
        if len(set(map(str, extras["tta"]))) > 1 or extras["tta"][0] not in get_args(Tta):
            raise DataError(f"{path}: 'tta' must be the same for all images: {' or '.join(get_args(Tta))}")
        found["tta"] = extras["tta"][0]
    return found


def _wrong(path: Path, row: int, what: str) -> DataError:
    return DataError(f"{path}: row {row}: {what}", hint="write it again with --save-predictions")
