"""What the columns of a table contain: which are classes, splits and numbers."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from resnet_cli.data.sources.rows.text import EXTRA_CELLS, TableFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES

#: Rows of which a profile is made.
MAX_ROWS = 200_000
#: More different values are not counted: no column of classes has as many.
MAX_VALUES = 20_000
#: First rows whose values are kept as they are.
NUM_KEPT = 200
#: Values of a column that says whether a row belongs to a class or a split, and what they mean.
MARKS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True} | {
    **{"no": False, "yes": True, "n": False, "y": True}
}
#: Values of such a column that say that it is not known.
#: Source: Irvin et al., CheXpert (2019): 1 positive, 0 negative, -1 uncertain ("u" in the paper), blank not mentioned.
UNKNOWN_MARKS = frozenset(["", "-1", "-1.0", "u", "?", "nan", "na", "n/a", "unknown", "uncertain"])
#: Names of splits in the cells of published tables, beside the usual ones.
#: Source: the column Usage of FER2013, whose public test set is for choosing a model.
_MORE_SPLITS = {"publictest": "val", "privatetest": "test"}
_INTEGER = re.compile(r"[-+]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?\.?")


def split_text(value: str) -> str:
    """The usual name of a split that a cell denotes; the cell itself if it denotes none."""
    return SPLIT_NAMES.get(value.lower()) or _MORE_SPLITS.get(value.lower(), value)


def cell_text(value: Any) -> str:
    """A cell as stripped text; empty for a missing one, and for NaN."""
    return "" if value is None or value != value else str(value).strip()


class Column:
    """The values of one column.

    Attributes:
        first: Its first values as they are.
        counts: Different values as text -> number of rows; incomplete if there are very many.
        num_blank: Number of rows without a value.
    """

    def __init__(self) -> None:
        self.first: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.num_blank = 0

    def add(self, value: Any) -> None:
        """Counts a cell."""
        if len(self.first) < NUM_KEPT:
            self.first.append(value)
        text = cell_text(value)
        if not text:
            self.num_blank += 1
        elif len(self.counts) < MAX_VALUES or text in self.counts:
            self.counts[text] += 1

    @property
    def is_marks(self) -> bool:
        """Whether each value is 0 or 1, true or false, yes or no; rows may be blank."""
        return bool(self.counts) and all(value.lower() in MARKS for value in self.counts)

    @property
    def is_yes_no(self) -> bool:
        """Whether each value says yes, no or unknown, and some say yes or no."""
        values = {value.lower() for value in self.counts}
        return not values.isdisjoint(MARKS) and values <= MARKS.keys() | UNKNOWN_MARKS

    @property
    def is_integers(self) -> bool:
        """Whether each value is an integer."""
        return bool(self.counts) and all(_INTEGER.fullmatch(value) for value in self.counts)

    @property
    def is_numbers(self) -> bool:
        """Whether each value is a number."""
        return bool(self.counts) and all(_NUMBER.fullmatch(value) for value in self.counts)

    @property
    def is_splits(self) -> bool:
        """Whether each value denotes a split."""
        return (
            bool(self.counts)
            and not self.num_blank
            and all(split_text(value) in ("train", "val", "test") for value in self.counts)
        )

    @property
    def is_few(self) -> bool:
        """Whether the values may be classes: several, and each on average in two rows or more."""
        total = sum(self.counts.values())
        return 1 < len(self.counts) < MAX_VALUES and 2 * len(self.counts) <= total


class Profile:
    """The contents of a table's columns, except those with images.

    Args:
        source: The table, of which up to :data:`MAX_ROWS` rows are read.

    Attributes:
        names: Names of the columns as written, without those that occur twice.
        columns: Name -> what it contains.
        num_rows: Number of rows that were read.
        num_long: Number of rows with more cells than columns.
    """

    def __init__(self, source: TableFile) -> None:
        self._source = source
        self.names = [name for name in source.columns if source.columns.count(name) == 1]
        wanted = [name for name in self.names if name not in source.binary]
        self.columns = {name: Column() for name in wanted}
        self.num_rows = 0
        self.num_long = 0
        for record in self._records(wanted):
            self.num_rows += 1
            self.num_long += EXTRA_CELLS in record
            for name, column in self.columns.items():
                column.add(record.get(name))

    def _records(self, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
        records = self._source.lenient or self._source.records
        return (record for _, record in itertools.islice(records(wanted), MAX_ROWS))

    def num_marked(self, names: Sequence[str]) -> Counter[int]:
        """Number of columns of marks that are true in a row -> number of rows.

        A row that is blank in all of them has no label and does not count; one that is blank in some counts as -1.
        """
        rows = ([cell_text(record.get(name)).lower() for name in names] for record in self._records(names))
        return Counter(sum(MARKS[cell] for cell in row) if all(row) else -1 for row in rows if any(row))

    def num_yes(self, names: Sequence[str]) -> Counter[int]:
        """Number of columns of yes and no that are yes in a row -> number of rows."""
        records = self._records(names)
        return Counter(
            sum(MARKS.get(cell_text(record.get(name)).lower(), False) for name in names) for record in records
        )

    def is_one_to_one(self, name: str, other: str) -> bool:
        """Whether each value of one column goes with exactly one value of the other, and the other way round."""
        pairs = {(cell_text(record.get(name)), cell_text(record.get(other))) for record in self._records([name, other])}
        return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs}) > 1
