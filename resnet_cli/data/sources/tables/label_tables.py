"""Tables that label images of DATA: their columns are chosen by names, flags and contents."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.rows.references import Locator, direct_path
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.rows.text import TableFile
from resnet_cli.data.sources.tables.columns import ROLES, Columns, columns_by_name, find_column
from resnet_cli.data.sources.tables.formats import open_table_file
from resnet_cli.data.sources.tables.label_columns import Choice, choose_columns
from resnet_cli.data.sources.tables.table import image_of, rows_of
from resnet_cli.errors import DataError


@dataclass(frozen=True)
class LabelTable:
    """A table that labels images of DATA.

    Attributes:
        path: The table.
        source: Its columns and rows.
        choice: The columns that are used.
        asked: Role -> column that a flag names.
        by_name: The columns that would be used by name alone; None if the names do not tell.
        keeps_groups: Whether a group of a row is used.
    """

    path: Path
    source: TableFile
    choice: Choice
    asked: Mapping[str, str | None]
    by_name: Columns | None = None
    keeps_groups: bool = True

    def rows(self) -> Iterator[Row]:
        """One pass over its rows; a row without label has an empty one.

        Raises:
            DataError: A row is invalid, or there are none.
        """
        rows = rows_of(self.path, self.source, self.choice.columns, self._same_columns)
        return rows if self.keeps_groups else (dataclasses.replace(row, group="") for row in rows)

    def no_image(self) -> DataError:
        """The error for a table in a folder without its images."""
        rows = list(itertools.islice(self.rows(), 1))
        shown = f"its first image '{rows[0].image}' does not exist" if rows else "the table has no rows"
        return DataError(
            f"{self.path}: {shown}",
            hint="write paths relative to the table's folder, or name the folder of the images: --image-folder FOLDER",
        )

    def _same_columns(self, columns: Sequence[str]) -> Columns | None:
        """The columns again; None for a row in which other columns would have been used."""
        if self.by_name is None:
            return self.choice.columns
        try:
            found = columns_by_name(self.path, columns, self.asked)
        except DataError:
            return None
        return self.choice.columns if found == self.by_name else None


def open_label_table(
    path: Path, options: DataConfig, locator: Locator, split: str = "", *, classes: Sequence[str] = ()
) -> LabelTable:
    """Opens a table, and chooses its columns by their names, by flags and by what they contain.

    Args:
        path: The table.
        options: How DATA is read.
        locator: Finds the images of DATA.
        split: Split that the name of the table denotes.
        classes: The columns that are classes, as another table of the same data has shown.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: The file is not a table, is damaged, or its columns are not known.
        SetupError: A package that the format needs is not installed.
    """
    return label_table(path, open_table_file(path), options, locator, split, classes=classes)


def label_table(
    path: Path,
    source: TableFile,
    options: DataConfig,
    locator: Locator,
    split: str = "",
    *,
    classes: Sequence[str] = (),
) -> LabelTable:
    """Takes an open file of any format as a table; see :func:`open_label_table`.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: Its columns are not known.
    """
    if not source.columns:
        raise DataError(f"{path}: the table is empty", hint="name the columns in the first line: image,label")
    grouped = options.group_by is not None and find_column(source.columns, (options.group_by,)) is not None
    asked = {
        "image": options.image_column,
        "label": options.label_column,
        "split": options.split_column,
        # `group_items` handles anything that is not a column.
        "group": options.group_by if grouped else None,
    }

    def share_found(cells: Sequence[Any]) -> float:
        rows = [Row(text, data=data) for text, data in map(_image, cells) if text.strip()]
        # A path that is written as the table's first one is not there by chance.
        base = locator.base(RowFile(path, rows))
        if rows and rows[0].data is None and os.path.isfile(direct_path(rows[0].image, base)):
            return 1.0
        return locator.num_found(RowFile(path, rows, split), rows) / len(cells) if cells else 0.0

    headerless = _without_header(source, share_found)
    source = headerless or source
    choice = choose_columns(path, source, asked, share_found, is_multi=options.multi_label, classes=classes)
    by_name = None
    with contextlib.suppress(DataError):
        by_name = columns_by_name(path, source.columns, asked)
    return LabelTable(path, source, choice, asked, by_name, keeps_groups=options.group_by is None or grouped)


def _image(cell: Any) -> tuple[str, bytes | None]:
    try:
        return image_of(Path(), 0, str(cell) if isinstance(cell, int) else cell)
    except DataError:
        return "", None


def _without_header(source: TableFile, share_found: Callable[[Sequence[Any]], float]) -> TableFile | None:
    """The same table where the first row is a row like the others, if it names an image of DATA without extension."""
    if source.without_header is None or find_column(source.columns, ROLES["image"][1]):
        return None
    found = [index for index, name in enumerate(source.columns) if name.strip() and share_found([name])]
    if len(found) != 1:
        return None
    first = [record for _, record in itertools.islice(source.records(()), 3)]
    cells = [record.get(source.columns[found[0]], "") for record in first]
    return source.without_header(found[0]) if cells and share_found(cells) == 1 else None
