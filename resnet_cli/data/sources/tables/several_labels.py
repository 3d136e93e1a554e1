"""Recognizes cells that hold several labels, such as ``scab rust`` or ``["cat", "dog"]``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from resnet_cli.data.sources.tables.columns import plain_column
from resnet_cli.errors import DataError

#: Names of columns that promise several labels.
_PLURALS = frozenset("labels tags classes categories".split())
_LIST = re.compile(r"\[.*\]", re.DOTALL)


def refuse_several_labels(path: Path, column: str, counts: Counter[str]) -> str:
    """Refuses a table whose images have several labels each.

    Args:
        path: The table, for messages.
        column: Column of the labels; empty if it is not known.
        counts: Label -> number of rows.

    Returns:
        A note if labels of several words were taken as names where the column's name promises several labels.

    Raises:
        DataError: Cells hold several labels.
    """
    is_plural = plain_column(column) in _PLURALS
    separator = _separator(counts, is_plural=is_plural)
    if separator is None:
        words = [label for label in counts if " " in label]
        note = f"{path.name}: labels of several words are names of classes, such as '{min(words)}'" if words else ""
        return note if is_plural else ""
    several = [label for label in counts if len(_parts(label, separator)) > 1]
    num_rows = sum(counts[label] for label in several)
    raise DataError(
        f"{path}: rows with several labels: {num_rows:,} of {counts.total():,}, such as '{min(several)[:60]}'; images "
        "with several labels are not supported yet",
        hint="keep the rows with one label; if these are names of classes, write '_' in them instead of "
        f"'{'[]' if separator == '[' else separator}'"
        + (f", or call the column 'label' instead of '{column}'" if is_plural else ""),
    )


def single_labels(counts: Counter[str]) -> dict[str, str]:
    """Label -> its only part, if every label is a list of one, such as ``['cat']``; empty if not."""
    parts = {label: _parts(label, "[") for label in counts}
    are_lists = all(_LIST.fullmatch(label) and len(parts[label]) == 1 for label in counts)
    return {label: part for label, (part,) in parts.items()} if are_lists else {}


def _parts(label: str, separator: str) -> list[str]:
    if separator == "[":
        inner = [part.strip(" '\"") for part in label[1:-1].split(",")] if _LIST.fullmatch(label) else [label]
        return [part for part in inner if part]
    return [part for part in map(str.strip, label.split(separator)) if part]


def _separator(labels: Collection[str], *, is_plural: bool) -> str | None:
    """The separator between several labels of a cell; None if each cell is one label."""
    for separator in "[|;, ":
        split = {label: _parts(label, separator) for label in labels}
        several = [parts for parts in split.values() if len(parts) > 1]
        if not several:
            continue
        if separator == "[":
            return separator
        if _are_labels(separator, several, [label for label in labels if len(split[label]) == 1], is_plural=is_plural):
            return separator
    return None


def _are_labels(separator: str, several: Sequence[Sequence[str]], single: Sequence[str], *, is_plural: bool) -> bool:
    """Whether the parts of cells are labels, and not words of one name."""
    alone = set(single)
    if any(alone.issuperset(parts) and len(set(parts)) > 1 for parts in several):
        return True
    times = Counter(part for parts in several for part in set(parts))
    if separator == ",":
        return any(all(times[part] > 1 or part in alone for part in parts) for parts in several)
    # Parts of names recur too, each in its place: 'animal|cat', 'animal|dog'; 'field hockey', 'ice hockey'.
    in_any_order = not {parts[0] for parts in several}.isdisjoint(parts[-1] for parts in several)
    if separator in "|;":
        return in_any_order or any(part in alone for parts in several for part in parts)
    joined = any("_" in part for parts in several for part in parts)
    are_words = not single and all(part.islower() for parts in several for part in parts)
    known = any(times[part] > 1 or part in alone for parts in several for part in parts)
    return is_plural and known and (in_any_order or joined or are_words)
