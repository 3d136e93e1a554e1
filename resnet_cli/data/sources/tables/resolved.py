"""Turns the cells of tables into the labels of images: splits lists, and reads blank and unknown cells."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.own_tables import has_own_sets
from resnet_cli.data.sources.rows.row import Row
from resnet_cli.data.sources.tables.columns import plain_column
from resnet_cli.data.sources.tables.label_tables import LabelTable
from resnet_cli.data.sources.tables.profiles import UNKNOWN_MARKS
from resnet_cli.data.sources.tables.several_labels import Cells, promises_several, read_cells
from resnet_cli.data.sources.tables.yes_no_columns import says_no
from resnet_cli.errors import DataError
from resnet_cli.text import LABEL_SEPARATOR, counted, first_of

#: Names of classes that may mean that an image shows none of the others.
_NEGATIVES = frozenset("none nan null nothing negative healthy normal nofinding nofindings nolabel background".split())
_MINUS = ("-1", "-1.0")


class Resolved(NamedTuple):
    """The rows of one or several tables with the labels of their images.

    Attributes:
        rows: The rows of each table.
        notes: What was decided by content, for the user.
        classes: Classes that no image may have.
        what: How the labels were read, to be added to the name of the table; empty for single labels.
        is_multi: Whether the data are multi-label.
    """

    rows: list[list[Row]]
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    what: str = ""
    is_multi: bool = False

    @property
    def labels(self) -> set[str]:
        """All classes."""
        named = {name for row in _flat(self.rows) for names in (row.labels or (), row.denied) for name in names}
        return named.union(self.classes)


def resolve(tables: Sequence[LabelTable], options: DataConfig, *, are_finished: bool = True) -> Resolved:
    """Reads the labels of tables whose columns are chosen.

    Args:
        tables: One table, or the tables of several splits; they have the same columns of labels.
        options: How DATA is read.
        are_finished: Whether every row was labeled, so that a blank cell beside those with several labels means that
            there is none.

    Raises:
        DataError: A row is invalid, or it is not known what blank cells mean.
        SetupError: A package that the format of a table needs is not installed.
    """
    rows = [list(table.rows()) for table in tables]
    columns, name = tables[0].choice.columns, tables[0].path.name
    if is_own := has_own_sets(tables[0].source.columns):
        resolved = Resolved(rows, what=f" with labels separated by '{LABEL_SEPARATOR}'")
    elif columns.one_hot:
        resolved = _from_columns(tables, rows, options)
    else:
        resolved = _from_cells(rows, columns.label, options, are_finished=are_finished)
    notes = [*resolved.notes]
    if is_own or _is_multi(resolved.rows, options):
        resolved = resolved._replace(what=resolved.what or " with a label per row", is_multi=True)
        notes += _about_negatives(resolved.rows)
    return resolved._replace(notes=tuple(f"{name}: {note}" for note in notes if note))


def _flat(rows: Iterable[Iterable[Row]]) -> Iterator[Row]:
    return (row for some in rows for row in some)


def _is_multi(rows: Sequence[Sequence[Row]], options: DataConfig) -> bool:
    return options.multi_label or any(row.unknown or len(row.labels or ()) > 1 for row in _flat(rows))


def _from_cells(rows: list[list[Row]], column: str, options: DataConfig, *, are_finished: bool) -> Resolved:
    counts = Counter(row.labels[0] for row in _flat(rows) if row.labels)
    cells = Cells({}, "[")
    # In Parquet and JSON lines, labels may already be lists; a row without its label is one of Open Images.
    if not any(len(row.labels) != 1 for row in _flat(rows) if row.labels is not None):
        cells = read_cells(counts, column, is_multi=options.multi_label)
        rows = [[_split(row, cells.labels) for row in some] for some in rows]
    if are_finished and options.on_missing_label != "skip" and _is_multi(rows, options):
        rows = [_with_negatives(some) for some in rows]
    num_several = sum(len(row.labels or ()) > 1 for row in _flat(rows))
    share = f"{num_several:,} of {sum(map(len, rows)):,} rows have several labels"
    if not cells.separator or (cells.separator == "[" and not num_several):
        return Resolved(rows, (_about_names(cells, counts, column),))
    if cells.separator == "[":
        return Resolved(rows, (share,), what=" with lists of labels")
    by = {" ": "spaces"}.get(cells.separator, f"'{cells.separator}'")
    example = max(counts, key=lambda cell: (len(cells.labels[cell]) > 1, counts[cell]))
    way_out = f"if that is the name of one class, replace {by} with '_'"
    return Resolved(rows, (f"{share}, such as '{example[:60]}'; {way_out}",), what=f" with labels separated by {by}")


def _split(row: Row, labels: Mapping[str, tuple[str, ...]]) -> Row:
    return row if not row.labels else dataclasses.replace(row, labels=labels[row.labels[0]])


def _about_names(cells: Cells, counts: Counter[str], column: str) -> str:
    """A note about the only label of each cell; empty if it is written as one expects."""
    if cells.separator:
        names = [name for names in cells.labels.values() for name in names]
        return f"each label is a list with one class, such as {min(names)}" if names else ""
    words = [label for label in counts if " " in label]
    if not words or not promises_several(column):
        return ""
    return f"a label of several words was read as the name of one class, such as '{min(words)}'"


def _with_negatives(rows: Sequence[Row]) -> list[Row]:
    """The rows of a table where a blank cell means an image without labels.

    A split in which all cells are blank has no labels at all, such as the test set of a competition.
    """
    labeled = {row.split for row in rows if row.labels}
    return [dataclasses.replace(row, labels=()) if row.labels is None and row.split in labeled else row for row in rows]


def _from_columns(tables: Sequence[LabelTable], rows: list[list[Row]], options: DataConfig) -> Resolved:
    names = tuple(name.strip() for name in tables[0].choice.columns.one_hot)
    values: Counter[str] = Counter()
    for table in tables:
        values.update(table.choice.values)
    note = ""
    unknown = {value: number for value, number in values.items() if value in UNKNOWN_MARKS and number}
    if unknown and not says_no(values):
        note = _meaning_of_no(tables[0], unknown, options)
        rows = [[dataclasses.replace(row, labels=row.labels or (), unknown=()) for row in some] for some in rows]
    elif unknown:
        kinds = ", ".join(f"{value or 'blank'} ({number:,})" for value, number in Counter(unknown).most_common())
        note = f"unknown values, which count neither as yes nor as no: {kinds}"
    if not _is_multi(rows, options):
        return Resolved(rows, what=f" with {len(names)} one-hot columns")
    known = [[row for row in some if len(row.unknown) < len(names)] for some in rows]
    num_rows, num_known = sum(map(len, rows)), sum(map(len, known))
    left_out = f"rows with nothing but unknown values were left out: {num_rows - num_known:,} of {num_rows:,}"
    set_ones = {name for row in _flat(rows) for name in row.labels or ()}
    never = [name for name in names if name not in set_ones]
    num_several = sum(len(row.labels or ()) > 1 for row in _flat(rows))
    notes = (
        f"{num_several:,} of {num_rows:,} rows have several of the {len(names)} classes" if len(names) > 1 else "",
        note,
        left_out if num_known < num_rows else "",
        f"classes that no row sets: {first_of(never, 10)}" if never else "",
    )
    return Resolved(known, notes, names, f" with {counted(len(names), 'label column')}")


def _meaning_of_no(table: LabelTable, unknown: Mapping[str, int], options: DataConfig) -> str:
    """A note about the cells that mean no in a table without 0.

    Raises:
        DataError: They may also be unknown.
    """
    if unknown.keys() <= set(_MINUS):
        return "-1 means no, because no cell is 0"
    if unknown.keys() == {""} and options.multi_label:
        return "blank cells mean no, because no cell is 0"
    kinds = " and ".join(sorted(value or "blank" for value in unknown))
    raise DataError(
        f"{table.path}: none of its columns of classes contains 0, so {kinds} cells may mean no or unknown",
        hint="write 0 for no, and leave unknown values blank"
        + ("; if blank cells mean no: --multi-label" if unknown.keys() == {""} else ""),
    )


def _about_negatives(rows: Sequence[Sequence[Row]]) -> Iterator[str]:
    """Notes about classes that may mean that an image shows none of the others."""
    sets = {row.labels for row in _flat(rows) if row.labels}
    together = {name for labels in sets if len(labels) > 1 for name in labels}
    for name in sorted({name for labels in sets for name in labels} - together):
        if plain_column(name) in _NEGATIVES:
            yield (
                f"'{name}' never comes with another label and is a class like the others; to count its images as "
                "negatives instead, name the other classes with --classes"
            )
