"""Tables that give each image its split and nothing else, beside a table or folders with the labels."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.rows.references import Locator
from resnet_cli.data.sources.rows.row import RowFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.columns import ROLES, find_column
from resnet_cli.data.sources.tables.formats import open_table_file
from resnet_cli.data.sources.tables.label_columns import SPLIT_COLUMNS
from resnet_cli.data.sources.tables.label_tables import label_table
from resnet_cli.errors import ResnetCliError

#: How CelebA numbers its splits. Source: README of CelebA, `list_eval_partition.txt`.
_NUMBERED = {"0": "train", "1": "val", "2": "test"}


def read_split_table(path: Path, survey: Survey, options: DataConfig, locator: Locator) -> dict[str, str]:
    """Image below DATA -> split, from a table with a column of images and a column of splits.

    Returns:
        Nothing if the table has other columns, does not name images of DATA, or names things other than splits.
    """
    try:
        source = open_table_file(path)
        column = find_column(source.columns, (*ROLES["split"][1], *SPLIT_COLUMNS))
        if column is None or len(source.columns) != 2:
            return {}
        asked = options.model_copy(update={"label_column": column, "image_column": None, "split_column": None})
        table = label_table(path, source, asked, locator)
        if not table.choice.names_images:
            return {}
        rows = list(table.rows())
        known = _NUMBERED if {row.label for row in rows} <= _NUMBERED.keys() else SPLIT_NAMES
        splits = [known.get(row.label.lower(), "") for row in rows]
        if not all(splits) or len(set(splits)) < 2:
            return {}
        paths = locator.locate(RowFile(path, rows), rows).paths
        return {
            image.relative_to(survey.root).as_posix(): split
            for image, split in zip(paths, splits, strict=True)
            if image.is_relative_to(survey.root)
        }
    except (ResnetCliError, OSError):
        # Why it cannot be read is said where it is looked at as a table of labels.
        return {}
