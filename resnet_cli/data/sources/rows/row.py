"""What tables, lists and annotation files have in common: rows that name an image and its labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a table, a list or an annotation file.

    Attributes:
        image: Path as written, or the name of an image that is stored in the table.
        labels: Names of its classes, stripped; empty if the row says that the image shows none of them, None if the
            row does not say anything.
        split: Name of the split, stripped; empty if the file does not give it.
        group: Name of the group, stripped; empty if the image has no group.
        line: Line of a text file, or number of the record, from 1, for error messages.
        data: The encoded image, if it is stored in a Parquet file.
        unknown: Classes of which the row says that it is not known whether the image shows them.
        denied: Classes of which the row says that the image does not show them, in a file in which every other class
            that its rows do not mention is unknown.
    """

    image: str
    labels: tuple[str, ...] | None = None
    split: str = ""
    group: str = ""
    line: int = 0
    data: bytes | None = None
    unknown: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The label of an image that has one; empty without any."""
        return self.labels[0] if self.labels else ""

    def renamed(self, names: Mapping[str, str]) -> Row:
        """The row with other names of classes; a class without a new name keeps its own."""
        labels, unknown, denied = (
            tuple(names.get(name, name) for name in of_row) for of_row in (self.labels or (), self.unknown, self.denied)
        )
        return dataclasses.replace(self, labels=None if self.labels is None else labels, unknown=unknown, denied=denied)


@dataclass(frozen=True)
class RowFile:
    """One file with rows.

    Attributes:
        path: The file, for messages; its folder is the first place where its images are looked for.
        rows: One pass over the rows; raises DataError at an invalid one.
        split: Name of the split of the rows that do not give one; empty if the file's name does not denote a split.
        image_folder: Folder in which the format stores its images, if it is not the file's own.
    """

    path: Path
    rows: Iterable[Row]
    split: str = ""
    image_folder: Path | None = None
