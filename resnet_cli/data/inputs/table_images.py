"""Where the images are of a table that is an input of ``predict``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.rows.references import NUM_TRIED, Locator, direct_path
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.survey import Survey


def located(
    path: Path, rows: Iterator[Row], image_folder: str | None, *, is_fenced: bool
) -> Iterator[tuple[Row, Path]]:
    """Yields each row with the file of its image, whether or not it exists.

    A table with paths that exist is read only as far as rows are requested; otherwise all rows are read, and images
    are looked for as in the tables that label a data set.

    Args:
        path: The table.
        rows: Its rows; for images that are stored in the table, and for web addresses, the file has no meaning.
        image_folder: Folder with the images; None for the table's own folder, and what is found by name.
        is_fenced: Whether the images may only be where the table says.

    Raises:
        DataError: The folder does not exist, a row may denote several images, or a row is invalid.
    """
    first = list(itertools.islice(rows, NUM_TRIED))
    local = [row for row in first if row.data is None and "://" not in row.image]
    exist = any(os.path.lexists(direct_path(row.image, path.parent)) for row in local)
    if is_fenced or not local or (exist and image_folder is None):
        yield from ((row, direct_path(row.image, path.parent)) for row in itertools.chain(first, rows))
        return
    found = [*first, *rows]
    survey = Survey(path, spec=str(path))
    paths = Locator(survey, DataConfig(image_folder=image_folder)).locate(RowFile(path, found), found).paths
    yield from zip(found, paths, strict=True)
