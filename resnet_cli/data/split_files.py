"""The file in which a run records the labels and the split of each of its images."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset, Item, Items
from resnet_cli.data.packed_text import Distinct, PackedText, TextIndex, TextView
from resnet_cli.errors import DataError
from resnet_cli.system.paths import atomic_path
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
    text = io.StringIO()
    write_rows(text, _cells(dataset))
    return text.getvalue()


def write_split_csv(path: Path, dataset: Dataset) -> None:
    """Writes the text of :func:`split_csv` atomically, without holding it in memory.

    Raises:
        DiskError: The folder cannot be written or the disk is full.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write_rows(file, _cells(dataset))


def _cells(dataset: Dataset) -> Iterator[Sequence[str]]:
    """The rows of the file, the names of its columns first."""
    items = dataset.packed.with_used_kinds()
    is_single = dataset.task == "single-label"
    end = None if any(kind.unknown for kind in items.kinds) else -1
    yield _SINGLE if is_single else _MULTI[:end]
    # What follows the name, for each pair of labels and split.
    after: dict[tuple[int, int], list[str]] = {}
    for number, kind in enumerate(items.kinds):
        labels, unknown = (
            sorted(dataset.classes[label] for label in of_kind) for of_kind in (kind.labels, kind.unknown)
        )
        for at, split in enumerate(items.splits):
            full = [join_labels(labels), split, join_labels(unknown)]
            after[number, at] = [*labels, split] if is_single else full[:end]
    for name, number, at in zip(items.names, items.kind_of.tolist(), items.split_of.tolist(), strict=True):
        yield [name, *after[number, at]]


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
    written = {row.split for row in rows.kinds}
    complete = complete or next((split for split in ("test", "val") if split in written), "all")
    at = rows.find(dataset.packed.names)
    items = take_splits(dataset, dataset.packed.take(at >= 0), rows.take(at[at >= 0]), path)
    is_asked = np.array([complete in {"all", row.split} for row in rows.kinds], dtype=bool)[rows.kind_of]
    is_asked[at[at >= 0]] = False
    missing = rows.names.take(np.flatnonzero(is_asked))
    if missing:
        raise DataError(
            f"images of this run are missing in {dataset.spec}: {len(missing)}, such as {missing[0]}",
            hint="restore them, or give other data: resnet-cli eval MODEL DATA",
        )
    return dataclasses.replace(dataset, items=items, split_note=f"from {path}")


def take_splits(dataset: Dataset, items: Items, rows: SplitRows, path: Path) -> Items:
    """The items in the splits that a run recorded.

    Args:
        dataset: The data set that the items are from.
        items: Some of its items.
        rows: What the run recorded of each of them.
        path: The run's ``split.csv``, for messages.

    Raises:
        DataError: The labels of an item differ from the recorded ones, or the split has an unknown name.
    """
    pairs = rows.kind_of.astype(np.int64) * len(items.kinds) + items.kind_of
    _, firsts = np.unique(pairs, return_index=True)
    # The first contradiction is reported.
    for first in np.sort(firsts).tolist():
        item, row = items[first], rows.kinds[rows.kind_of[first]]
        now = to_row(dataset, item)
        if row[1:] != now[1:] or row.split not in SPLITS:
            unknown = f", unknown: {join_labels(now.unknown)}" if now.unknown else ""
            raise DataError(f"{path}: '{item.name}' was {row}, now it is {dataset.label_text(item)}{unknown}")
    splits: list[str] = list(SPLITS)
    codes = np.array([splits.index(row.split) if row.split in splits else 0 for row in rows.kinds], dtype=np.int8)
    return items.with_splits(SPLITS, codes[rows.kind_of])


class SplitRows(Mapping[str, SplitRow]):
    """Name of each image of a run -> its labels and split, in the order of the run, in about 40 bytes per image.

    Attributes:
        names: The names.
        kinds: The different labels and splits.
        kind_of: Index in ``kinds`` of each image, int32 [n].
    """

    def __init__(self, names: TextView, kinds: Sequence[SplitRow], kind_of: NDArray[np.int32]) -> None:
        self.names = names
        self.kinds = kinds
        self.kind_of = kind_of

    @classmethod
    def of(cls, rows: Mapping[str, SplitRow]) -> SplitRows:
        """The same rows in little memory."""
        kinds: Distinct[SplitRow] = Distinct()
        kind_of = np.array([kinds.code(row) for row in rows.values()], dtype=np.int32)
        return cls(PackedText(rows).all(), kinds.values, kind_of)

    @functools.cached_property
    def _index(self) -> TextIndex:
        return TextIndex(self.names)

    @property
    def has_repeated(self) -> bool:
        """Whether an image may be in several rows."""
        return self._index.has_repeated

    def find(self, names: Iterable[str]) -> NDArray[np.int64]:
        """The position of each name, int64; -1 for one that is not there."""
        return self._index.find(names)

    def take(self, positions: NDArray[np.int64]) -> SplitRows:
        """The rows at some positions."""
        return SplitRows(self.names.take(positions), self.kinds, self.kind_of[positions])

    def __len__(self) -> int:
        return len(self.kind_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, name: str) -> SplitRow:
        (at,) = self.find([name]).tolist()
        if at < 0:
            raise KeyError(name)
        row: SplitRow = self.kinds[self.kind_of[at]]
        return row


@functools.lru_cache
def _read_row(labels: str, split: str, unknown: str = "", *, is_single: bool) -> SplitRow:
    return SplitRow(split, (labels,) if is_single else split_labels(labels), split_labels(unknown))


def read_split_csv(path: Path) -> SplitRows:
    """Reads what a run recorded about its images.

    Raises:
        DataError: The file is damaged.
    """
    names, kinds, kind_of = PackedText(), Distinct[SplitRow](), array("i")
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = csv.reader(file)
            header = next(lines)
            is_known = header in (_SINGLE, _MULTI, _MULTI[:-1])
            for line in lines:
                is_known = is_known and len(line) == len(header)
                if not is_known:
                    break
                names.append(line[0])
                kind_of.append(kinds.code(_read_row(*line[1:], is_single=header == _SINGLE)))
    except (OSError, ValueError, StopIteration, csv.Error) as error:
        raise DataError(f"{path}: not a split file (path,label,split): {error}") from error
    if not is_known or not len(names):
        raise DataError(f"{path}: not a split file (path,label,split)")
    found = SplitRows(names.all(), kinds.values, np.array(kind_of, dtype=np.int32))
    if found.has_repeated:
        # Of several rows of an image, the last one counts.
        found = SplitRows.of({name: kinds.values[kind] for name, kind in zip(found, kind_of, strict=True)})
    return found
