"""Columns that say yes or no for one class each, in tables whose images may have several labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from resnet_cli.data.sources.split_names import words_of
from resnet_cli.data.sources.tables.columns import known_columns, plain_column
from resnet_cli.data.sources.tables.profiles import MARKS, Profile

#: Words in names of columns that do not say what the image shows, even if their values are 0 and 1.
_NO_CLASSES = frozenset("age sex gender patient fold follow up width height".split())
#: More such words, for columns with other values. Source: the tables of CheXpert, NIH ChestX-ray14, PadChest, ISIC.
_ABOUT_IMAGES = _NO_CLASSES | frozenset(
    "race ethnicity frontal lateral ap pa view position projection side laterality eye device camera hospital site "
    "country year month date time".split()
)


class YesNoColumns(NamedTuple):
    """Columns that may be classes.

    Attributes:
        names: The columns, in the order of the table.
        rivals: Other columns that may be labels instead.
        num_several: Number of rows in which several of the columns are yes.
        values: Their values in lower case -> number of cells; empty text for blank ones.
    """

    names: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    num_several: int = 0
    values: Mapping[str, int] = MappingProxyType({})


def find_yes_no(
    others: Sequence[str], profile: Profile, *, is_multi: bool, classes: Sequence[str] = ()
) -> YesNoColumns:
    """The columns of yes and no, if they may be classes.

    Args:
        others: Columns that have neither the images nor the splits.
        profile: What the columns contain.
        is_multi: Whether the user says that images have several labels.
        classes: The columns that are classes, as another table of the same data has shown; none to find them.
    """
    contents = profile.columns
    may_be = [name for name in others if contents[name].is_yes_no and not _consists_of(name, _NO_CLASSES)]
    names = tuple(classes or may_be)
    rest = [name for name in others if name not in names]
    has_labels = known_columns(rest, "label") or (known_columns(names, "label") and not is_multi)
    # With the flag, one column is enough, if nothing else can be the labels.
    is_only = is_multi and not known_columns(names, "label") and not any(contents[name].is_few for name in rest)
    if len(names) < (1 if is_only else 2) or has_labels:
        return YesNoColumns()
    num_yes = profile.num_yes(names)
    rivals = tuple(
        name
        for name in rest
        if contents[name].is_few
        and not _consists_of(name, _ABOUT_IMAGES)
        and not contents[name].is_numbers
        # The same labels once more, as a list in one cell: `['Drama', 'Romance']` beside a column for each.
        and not all(value.startswith("[") for value in contents[name].counts)
    )
    values: Counter[str] = Counter()
    for name in names:
        values.update({value.lower(): number for value, number in contents[name].counts.items()})
        values[""] += contents[name].num_blank
    return YesNoColumns(names, rivals, sum(number for yes, number in num_yes.items() if yes > 1), +values)


def says_no(values: Mapping[str, int]) -> bool:
    """Whether some cell is 0 or another explicit no, so that blank cells and -1 mean something else."""
    return any(MARKS.get(value) is False for value in values)


def _consists_of(name: str, words: frozenset[str]) -> bool:
    """Whether a column's name is an id, or has no other words: ``Patient Age``, ``AP/PA``, ``rad_id``."""
    found = words_of(name)
    return plain_column(name).endswith("id") or (bool(found) and words.issuperset(found))
