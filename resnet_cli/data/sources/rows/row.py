"""What tables, lists and annotation files have in common: rows that name an image and its label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a table, a list or an annotation file.

    Attributes:
        image: Path as written, or the name of an image that is stored in the table.
        label: Name of the class, stripped; empty if the image has no label.
        split: Name of the split, stripped; empty if the file does not give it.
        group: Name of the group, stripped; empty if the image has no group.
        line: Line of a text file, or number of the record, from 1, for error messages.
        data: The encoded image, if it is stored in a Parquet file.
    """

    image: str
    label: str
    split: str = ""
    group: str = ""
    line: int = 0
    data: bytes | None = None


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
