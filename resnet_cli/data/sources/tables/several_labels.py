"""Cells that hold several labels, such as ``scab rust``, ``cat|dog`` or ``["cat", "dog"]``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from resnet_cli.data.sources.tables.columns import plain_column
from resnet_cli.text import LABEL_SEPARATOR

#: Names of columns that promise several labels.
_PLURALS = frozenset(
    "labels labelids labelnames tags classes classids classnames categories genres targets attributes attributeids "
    "findings findinglabels".split()
)
_LIST = re.compile(r"\[.*\]", re.DOTALL)
#: A quoted name in the text of a Python list or of a NumPy array, which has no commas.
_QUOTED = re.compile(r"""[\s,]*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")[\s,]*""", re.DOTALL)
_INTEGER = re.compile(r"[0-9]+")


class Cells(NamedTuple):
    """What the cells of a column of labels mean.

    Attributes:
        labels: Cell -> its labels.
        separator: What separates them: a character, ``[`` for lists, or nothing if each cell is one label.
    """

    labels: Mapping[str, tuple[str, ...]]
    separator: str = ""

    @property
    def has_several(self) -> bool:
        """Whether some cell has several labels."""
        return any(len(labels) > 1 for labels in self.labels.values())


def read_cells(cells: Collection[str], column: str, *, is_multi: bool = False) -> Cells:
    """Recognizes from all cells of a column together whether they hold several labels, and what separates these.

    Args:
        cells: The different cells, none of them blank.
        column: Name of the column; empty if it is not known.
        is_multi: Whether the user says that images have several labels: separators that might also be part of names
            are then taken for separators.
    """
    lists = {cell: labels for cell in cells if (labels := _list_of(cell)) is not None}
    others = [cell for cell in cells if cell not in lists]
    separator = _separator(others, column, is_multi=is_multi)
    # Beside other cells, names that contain the separator are written as lists: `join_labels` does so.
    separator = separator if not lists or separator == LABEL_SEPARATOR else ""
    split = {cell: _parts(cell, separator) if separator else (cell,) for cell in others}
    if any(len(labels) > 1 for labels in lists.values()) or (lists and not others):
        return Cells(lists | split, separator or "[")
    if lists and all(cell.startswith('["') or not labels for cell, labels in lists.items()):
        return Cells(lists | split, separator)
    return Cells({cell: (cell,) for cell in lists} | split, separator)


def promises_several(column: str) -> bool:
    """Whether the name of a column is a plural: ``labels``, ``tags``."""
    return plain_column(column) in _PLURALS


def _list_of(cell: str) -> tuple[str, ...] | None:
    """The labels of a list as JSON, Python or NumPy write it; None for any other text."""
    if not _LIST.fullmatch(cell):
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        value = _python_list(cell[1:-1].strip())
    if not all(isinstance(label, str | int | float) and not isinstance(label, bool) for label in value):
        return None
    names = (str(int(label)) if isinstance(label, float) and label.is_integer() else str(label) for label in value)
    return tuple(dict.fromkeys(filter(None, map(str.strip, names))))


def _python_list(inner: str) -> list[str]:
    found: list[str] = []
    position = 0
    while match := _QUOTED.match(inner, position):
        found.append(re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2], flags=re.DOTALL))
        position = match.end()
    if found and position == len(inner):
        return found
    words = inner.split()
    if "," not in inner and all(map(_INTEGER.fullmatch, words)):
        return words
    return [part.strip(" '\"") for part in inner.split(",")]


def _parts(cell: str, separator: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in map(str.strip, cell.split(separator)) if part))


def _separator(cells: Collection[str], column: str, *, is_multi: bool) -> str:
    """The separator between several labels of a cell; empty if each cell is one label."""
    # What is recognized without the flag is recognized in the same way with it.
    for is_lenient in (False, True)[: 1 + is_multi]:
        for separator in "|;, ":
            split = {cell: _parts(cell, separator) for cell in cells}
            several = [parts for parts in split.values() if len(parts) > 1]
            single = [cell for cell in cells if len(split[cell]) == 1]
            is_plural = is_lenient or promises_several(column)
            if several and _are_labels(separator, several, single, is_plural=is_plural, is_lenient=is_lenient):
                return separator
    return ""


def _are_labels(
    separator: str, several: Sequence[Sequence[str]], single: Sequence[str], *, is_plural: bool, is_lenient: bool
) -> bool:
    """Whether the parts of cells are labels, and not words of one name."""
    alone = set(single)
    if any(alone.issuperset(parts) and len(set(parts)) > 1 for parts in several):
        return True
    times = Counter(part for parts in several for part in set(parts))
    known = any(times[part] > 1 or part in alone for parts in several for part in parts)
    if separator == ",":
        recurs = any(all(times[part] > 1 or part in alone for part in parts) for parts in several)
        return recurs or (is_lenient and known)
    if all(_INTEGER.fullmatch(part) for parts in (*several, single) for part in parts):
        return True
    # Parts of names recur too, each in its place: 'animal|cat', 'animal|dog'; 'field hockey', 'ice hockey'.
    in_any_order = not {parts[0] for parts in several}.isdisjoint(parts[-1] for parts in several)
    if separator in "|;":
        # A plural and the separator that this tool writes leave no doubt.
        is_certain = is_lenient or (is_plural and separator == LABEL_SEPARATOR)
        return is_certain or in_any_order or any(part in alone for parts in several for part in parts)
    joined = any("_" in part for parts in several for part in parts)
    are_words = not single and all(part.islower() for parts in several for part in parts)
    return is_plural and known and (in_any_order or joined or are_words)
