"""The file in which a run records the labels and the split of each of its images."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from resnet_cli.data.dataset import SPLITS, Dataset, Item
from resnet_cli.errors import DataError
from resnet_cli.text import join_labels, split_labels

_SINGLE = ["path", "label", "split"]
#: The last column is omitted without unknown values.
_MULTI = ["path", "labels", "split", "unknown"]


class SplitRow(NamedTuple):
    """What a run recorded about an image.

    Attributes:
        split: Its split.
        labels: Names of its classes, sorted.
        unknown: Names of the classes of which it is unknown whether it belongs to them, sorted.
    """

    split: str
    labels: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        unknown = f", unknown: {join_labels(self.unknown)}" if self.unknown else ""
        return f"{', '.join(self.labels) or 'no label'} ({self.split}{unknown})"


def to_row(dataset: Dataset, item: Item) -> SplitRow:
    """What a run records about an image."""
    labels, unknown = (
        tuple(sorted(dataset.classes[label] for label in of_item)) for of_item in (item.labels, item.unknown)
    )
    return SplitRow(item.split, labels, unknown)


def split_csv(dataset: Dataset) -> str:
    """The splits as CSV text: ``path,label,split``, with labels by name.

    The second column of a multi-label data set is ``labels``, written by :func:`~resnet_cli.text.join_labels`. Another
    column, ``unknown``, follows if there are unknown values.
    """
    rows = [(item.name, to_row(dataset, item)) for item in dataset.items]
    if dataset.task == "single-label":
        cells = [_SINGLE, *([name, *row.labels, row.split] for name, row in rows)]
    else:
        end = None if any(row.unknown for _, row in rows) else -1
        full = ([name, join_labels(row.labels), row.split, join_labels(row.unknown)] for name, row in rows)
        cells = [line[:end] for line in (_MULTI, *full)]
    text = io.StringIO()
    write_rows(text, cells)
    return text.getvalue()


def write_rows(text: TextIO, rows: Iterable[Sequence[str]]) -> None:
    """Writes CSV in which any name is quoted correctly."""
    # The writer does not quote a lone carriage return, which nevertheless ends a row.
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows:
        (quoted if "\r" in "".join(row) else plain).writerow(row)


def apply_split_csv(dataset: Dataset, path: Path, *, complete: str | None = "all") -> Dataset:
    """Gives each item the split that a run recorded; items that the run did not use are omitted.

    Args:
        dataset: The data set as its source is now.
        path: The run's ``split.csv``.
        complete: The split that must be complete, or ``all``; None for test, else val, else all.

    Raises:
        DataError: The file is damaged, or an image in it has a different label, or an image of ``complete`` is missing.
    """
    rows = read_split_csv(path)
    written = {row.split for row in rows.values()}
    complete = complete or next((split for split in ("test", "val") if split in written), "all")
    items = []
    for item in dataset.items:
        if item.name not in rows:
            continue
        items.append(take_split(dataset, item, rows.pop(item.name), path))
    missing = [name for name, row in rows.items() if complete in {"all", row.split}]
    if missing:
        raise DataError(
            f"images of this run are missing in {dataset.spec}: {len(missing)}, such as {missing[0]}",
            hint="restore them, or give other data: resnet-cli eval MODEL DATA",
        )
    return dataclasses.replace(dataset, items=tuple(items), split_note=f"from {path}")


def take_split(dataset: Dataset, item: Item, row: SplitRow, path: Path) -> Item:
    """The item in the split that a run recorded.

    Raises:
        DataError: The labels differ from the recorded ones, or the split has an unknown name.
    """
    now = to_row(dataset, item)
    known = [name for name in SPLITS if name == row.split]
    if row[1:] != now[1:] or not known:
        unknown = f", unknown: {join_labels(now.unknown)}" if now.unknown else ""
        raise DataError(f"{path}: '{item.name}' was {row}, now it is {dataset.label_text(item)}{unknown}")
    return dataclasses.replace(item, split=known[0])


def read_split_csv(path: Path) -> dict[str, SplitRow]:
    """Name of each image of a run -> its labels and split, in the order of the run.

    Raises:
        DataError: The file is damaged.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *lines = csv.reader(file)
        if header == _SINGLE:
            rows = {name: SplitRow(split, (label,)) for name, label, split in lines}
        else:
            rows = {line[0]: SplitRow(line[2], *map(split_labels, line[1::2])) for line in lines}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise DataError(f"{path}: not a split file (path,label,split): {error}") from error
    is_known = header in (_SINGLE, _MULTI, _MULTI[:-1])
    if not is_known or not rows or any(len(line) != len(header) for line in lines):
        raise DataError(f"{path}: not a split file (path,label,split)")
    return rows
