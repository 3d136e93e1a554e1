"""The columns of a table of images, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_cli.errors import ConfigError, DataError

#: How a table is written.
LAYOUT = "the first line names the columns, image,label, and each line after it names one image"
#: Role -> the flag that names its column, and the names that are recognized without it; the first match counts.
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "image": (
        "--image-column",
        tuple(
            "image path file filename filepath filepaths imagepath imagepaths img images imagename imagefile "
            "imagefilename imgname imgpath fname name imageid imgid imageindex idcode uuid id".split()
        ),
    ),
    "label": (
        "--label-column",
        tuple(
            "label class category target labelname classname categoryname labels classes groundtruthlabel groundtruth "
            "breed species diagnosis dx choice tag tags classid labelid categoryid "
            "findinglabels genre genres attributeids".split()
        ),
    ),
    "split": ("--split-column", ("split", "subset", "set")),
    "group": ("--group-by", ("group", "group_id")),
}


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are used.

    Attributes:
        image: Column with the images.
        label: Column with the labels; empty if the table has one column per class, or no labels.
        split: Column with the splits; empty if there is none.
        group: Column with the groups; empty if there is none.
        one_hot: Columns that are classes, of which a row marks one, or any number in multi-label data.
        confidence: Column that says whether the image of a row has its label; empty if it always has.
    """

    image: str
    label: str = ""
    split: str = ""
    group: str = ""
    one_hot: tuple[str, ...] = ()
    confidence: str = ""

    @property
    def used(self) -> list[str]:
        """All columns that are read."""
        # The column of images may have no name: pandas writes none for an index.
        others = (self.label, self.split, self.group, self.confidence, *self.one_hot)
        return [self.image, *filter(None, others)]


def plain_column(name: str) -> str:
    """A column's name without case, blanks, underscores, dots and dashes."""
    return re.sub(r"[\s_.\-]+", "", name).casefold()


def find_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the names that is a column, exactly or in another spelling; None if there is no such column."""
    by_plain = {plain_column(column): column for column in reversed(columns)}
    for name in names:
        found = name if name in columns else by_plain.get(plain_column(name))
        if found is not None:
            return found
    return None


def known_columns(columns: Sequence[str], role: str) -> list[str]:
    """The columns that have one of the role's usual names, in the order of these names."""
    found = [find_column(columns, (name,)) for name in ROLES[role][1]]
    return list(dict.fromkeys(column for column in found if column is not None))


def columns_by_name(
    path: Path, columns: Sequence[str], asked: Mapping[str, str | None], needed: Sequence[str] = ("image", "label")
) -> Columns:
    """Chooses the columns by their names alone.

    Args:
        path: The table, for messages.
        columns: Names of all columns as written.
        asked: Role -> column that a flag names; None for the usual names.
        needed: Roles without which the table is of no use.

    Raises:
        DataError: There is no column of a needed role, or a chosen one occurs twice.
        ConfigError: A requested column does not exist.
    """
    chosen: dict[str, str] = {}
    for role, (_, known) in ROLES.items():
        found = asked_column(path, columns, role, asked.get(role)) or find_column(columns, known)
        if found is None and role in needed:
            raise no_column(path, columns, role)
        if found is not None:
            refuse_repeated(path, columns, found)
            chosen[role] = found
    return Columns(chosen["image"], chosen.get("label", ""), chosen.get("split", ""), chosen.get("group", ""))


def asked_column(path: Path, columns: Sequence[str], role: str, name: str | None) -> str | None:
    """The column that a flag names; None without the flag.

    Raises:
        ConfigError: It does not exist.
    """
    if name is None:
        return None
    found = find_column(columns, (name,))
    if found is None:
        raise ConfigError(f"{ROLES[role][0]} {name}: {path} has no such column", hint=listed(columns))
    return found


def no_column(path: Path, columns: Sequence[str], role: str) -> DataError:
    """The error for a table in which no column has a role."""
    hint = f"name it with {ROLES[role][0]} COLUMN; {listed(columns)}"
    return DataError(f"{path}: no column is called '{role}'", hint=hint)


def no_rows(path: Path) -> DataError:
    """The error for a table that names its columns and nothing else."""
    return DataError(f"{path}: the table has no rows", hint=LAYOUT)


def refuse_repeated(path: Path, columns: Sequence[str], column: str) -> None:
    """Refuses a column whose name occurs twice.

    Raises:
        DataError: It does.
    """
    if columns.count(column) > 1:
        raise DataError(f"{path}: the column '{column}' occurs twice", hint="rename or remove one of them")


def listed(columns: Sequence[str]) -> str:
    """The names of columns for a hint."""
    return f"its columns: {', '.join(columns)[:300]}"
