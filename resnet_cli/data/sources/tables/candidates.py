"""The tables of a folder that may label its images."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.folder_names import is_for_images
from resnet_cli.data.sources.own_tables import own_kind
from resnet_cli.data.sources.rows.references import Locator
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Folder, Survey
from resnet_cli.data.sources.tables.formats import is_table_name
from resnet_cli.data.sources.tables.label_tables import LabelTable, open_label_table
from resnet_cli.data.sources.tables.split_tables import read_split_table
from resnet_cli.data.sources.tree import MAX_WRAPPERS
from resnet_cli.errors import DataError, ResnetCliError

#: In a folder, text files are notes and requirements; given as DATA, they are lists of images.
NOT_LOOKED_FOR = frozenset({".txt", ".lst"})
#: Tables of a folder that are looked at.
MAX_TABLES = 100
#: Depth of the folders whose tables are looked at.
_MAX_DEPTH = 4
#: Names of sample submissions to competitions, whose labels are made up.
_NO_LABELS = re.compile(r"(loc)?(sample)?submission", re.IGNORECASE)


def open_tables(
    survey: Survey, options: DataConfig, locator: Locator
) -> list[tuple[Path, LabelTable | ResnetCliError]]:
    """The tables of a folder, or why they label nothing; tables of splits are read, and left out."""
    candidates = list(itertools.islice(_candidates(survey), MAX_TABLES + 1))
    paths: list[Path] = []
    for path in candidates[:MAX_TABLES]:
        if splits := read_split_table(path, survey, options, locator):
            survey.listed_splits |= splits
        else:
            paths.append(path)
    opened = [(path, _opened_one(path, options, locator)) for path in paths]
    # A validation table may have too few rows to show that its columns are classes, as those of the train split are.
    classes = max((_classes(table) for _, table in opened), key=len, default=())
    if classes:
        again = {path for path, table in opened if _classes(table) != classes}
        opened = [
            (path, _opened_one(path, options, locator, classes) if path in again else table) for path, table in opened
        ]
    if len(candidates) > MAX_TABLES:
        more = DataError(f"{survey.spec}: only {MAX_TABLES} of its tables were looked at")
        opened.append((candidates[MAX_TABLES], more))
    return opened


def _opened_one(
    path: Path, options: DataConfig, locator: Locator, classes: Sequence[str] = ()
) -> LabelTable | ResnetCliError:
    try:
        return open_label_table(path, options, locator, split_of(path.stem) or "", classes=classes)
    except ResnetCliError as error:
        return error
    except OSError as error:
        return DataError(f"{path}: {error.strerror or error}")


def _classes(table: LabelTable | ResnetCliError) -> tuple[str, ...]:
    """The columns of a table that are classes of multi-label data."""
    return table.choice.columns.one_hot if isinstance(table, LabelTable) and table.choice.values else ()


def _candidates(survey: Survey) -> Iterator[Path]:
    """Tables in folders that are not the folders of classes."""
    wrappers = _wrappers(survey)
    for folder in survey.below():
        if folder.name.count("/") >= _MAX_DEPTH:
            continue
        name = folder.name.rpartition("/")[2]
        if folder.images and folder.name not in wrappers and not is_for_images(name) and len(survey.folders) > 2:
            continue
        for other in folder.others:
            path = survey.path(folder.child(other))
            is_table = is_table_name(path) and path.suffix.lower() not in NOT_LOOKED_FOR
            if is_table and not own_kind(path) and not _NO_LABELS.match(re.sub(r"[\W_]", "", path.stem)):
                yield path


def _wrappers(survey: Survey) -> set[str]:
    """The top of DATA, and folders in it as long as each is the only one."""
    folder: Folder = survey.folder("")
    found = {""}
    for _ in range(MAX_WRAPPERS):
        if len(folder.folders) != 1 or folder.images:
            break
        folder = survey.folder(folder.child(folder.folders[0]))
        found.add(folder.name)
    return found
