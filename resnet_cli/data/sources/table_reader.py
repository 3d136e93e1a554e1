"""Tables as DATA: which tables label the images, and how they are read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.labeled_rows import read_rows
from resnet_cli.data.sources.own_tables import own_kind
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.references import NUM_TRIED, Locator
from resnet_cli.data.sources.rows import RowFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.table_formats import is_table_name
from resnet_cli.data.sources.tables import Table, read_table
from resnet_cli.data.sources.tree import MAX_WRAPPERS
from resnet_cli.errors import DataError, ResnetCliError

#: In a folder, text files are notes and requirements; given as DATA, they are lists of images.
NOT_LOOKED_FOR = frozenset({".txt", ".lst"})


def read_tables(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the given table, the table that labels the images of a folder, or one table per split.

    A table in a folder counts only if its first row names a file that exists, so that an unrelated table does no harm;
    the reasons why others do not count are added to ``survey.refusals``.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: Several tables count and their names do not denote splits, or a table is damaged or has no rows.
        SetupError: It is a Parquet file, and pyarrow is not installed.
    """
    if survey.file is not None:
        tables = [survey.file] if is_table_name(survey.file) and survey.file.is_file() else []
    else:
        locator = Locator(survey, options)
        tables = [path for path in _candidates(survey) if _is_usable(path, survey, options, locator)]
    if not tables:
        return None
    splits = [SPLIT_NAMES.get(path.stem.lower(), "") if len(tables) > 1 else "" for path in tables]
    if len(tables) > 1 and not all(splits):
        raise DataError(
            f"{survey.root}: several tables list its images: {', '.join(path.name for path in tables)}",
            hint=f"give one of them as DATA: {tables[0]}",
        )
    files = [RowFile(path, open_table(path, options).rows, split) for path, split in zip(tables, splits, strict=True)]
    shown = ", ".join(path.name for path in tables)
    return read_rows(files, survey, options, what=f"{'table' if len(tables) == 1 else 'tables'} {shown}")


def _candidates(survey: Survey) -> Iterator[Path]:
    """Tables at the top of DATA, or in the first folder that contains more than one folder."""
    folder = survey.root
    for _ in range(MAX_WRAPPERS):
        found = [path for path in survey.tree.files_in(folder) if is_table_name(path)]
        found = [path for path in found if path.suffix.lower() not in NOT_LOOKED_FOR and not own_kind(path)]
        yield from found
        children = survey.tree.folders(folder)
        if found or len(children) != 1 or survey.tree.images_in(folder):
            return
        (folder,) = children


def _is_usable(path: Path, survey: Survey, options: DataConfig, locator: Locator) -> bool:
    """Whether a table labels images; if it does not, the reason is added to the refusals."""
    try:
        rows = list(itertools.islice(open_table(path, options).rows, NUM_TRIED))
        if locator.num_found(RowFile(path, rows), rows):
            return True
        reason: ResnetCliError = DataError(
            f"{path}: its first image '{rows[0].image}' does not exist",
            hint="paths in a table are relative to its folder; if the images are elsewhere: --image-folder FOLDER",
        )
    except ResnetCliError as error:
        reason = error
    except OSError as error:
        reason = DataError(f"{path}: {error.strerror or error}")
    survey.refusals.append(reason)
    return False


def open_table(path: Path, options: DataConfig) -> Table:
    """Opens a table with the columns that flags name; without ``--group-by`` its own groups are used.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: The file is not a table, is damaged, or has no column of images or labels.
        SetupError: It is a Parquet file, and pyarrow is not installed.
    """
    columns = {
        "image_column": options.image_column,
        "label_column": options.label_column,
        "split_column": options.split_column,
    }
    group_by = options.group_by
    table = read_table(path, **columns)
    if group_by is None:
        return table
    # `group_items` handles anything that is not a column.
    if group_by.strip().lower() in {column.strip().lower() for column in table.columns}:
        return read_table(path, **columns, group_column=group_by)
    return dataclasses.replace(table, rows=(dataclasses.replace(row, group="") for row in table.rows))
