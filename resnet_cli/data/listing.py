"""Tables of pictures as data sets: which tables of a folder label its pictures, and what they say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from resnet_cli.config import DataConfig
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.data.folders import MAX_WRAPPERS, Tree
from resnet_cli.data.labelled import SPLIT_NAMES, Labelled, Passed, read_split, to_dataset
from resnet_cli.data.tables import Row, Table, is_table_name, read_table
from resnet_cli.errors import DataError, ResnetCliError

#: Text files in a folder are notes and requirements; as DATA itself they are lists of pictures.
NOT_LOOKED_FOR = frozenset({".txt", ".lst"})


def find_tables(folder: Path, options: DataConfig) -> list[Path]:
    """The table that labels the pictures of a folder, or one for each split; none where folders tell the classes.

    A table counts if its first row names a file that is there; so a stray one does no harm.

    Raises:
        DataError: Several tables do, and their names are no splits.
    """
    tree = Tree(folder, follow_links=options.follow_links)
    found: list[Path] = []
    for _ in range(MAX_WRAPPERS):
        found = [path for path in tree.files_in(folder) if _labels_pictures(path, options)]
        children = tree.folders(folder)
        if found or len(children) != 1 or tree.pictures_in(folder):
            break
        (folder,) = children
    if len(found) > 1 and not all(path.stem.lower() in SPLIT_NAMES for path in found):
        raise DataError(
            f"{folder}: several tables name its pictures: {', '.join(path.name for path in found)}",
            hint=f"give one of them as DATA: {found[0]}",
        )
    return found


def read_listing(
    tables: Sequence[Path], origin: Path, options: DataConfig, *, spec: str, within: Path | None
) -> Dataset:
    """Reads one table, or one for each split.

    A picture that several rows name with the same label counts once.

    Args:
        tables: Paths of pictures in them are relative to the table.
        origin: What the user gave; items are named relative to its folder.
        options: Names of columns, how to group.
        spec: Opens the same pictures again.
        within: No path may lead out of it; None for a table that the user wrote.

    Raises:
        ConfigError: A column that a flag names is not there.
        DataError: A damaged table, one without rows, or a picture with two labels or splits.
    """
    top = origin if origin.is_dir() else origin.parent
    found: dict[str, Labelled] = {}
    num_repeated = 0
    has_splits = len(tables) > 1
    for path in tables:
        default: Split = SPLIT_NAMES.get(path.stem.lower(), "train") if len(tables) > 1 else "train"
        table, keep_groups = _open_table(path, options)
        for row in table.rows:
            where = f"{path}, line {row.line}"
            file = _resolve(row, path, within, where)
            has_splits = has_splits or bool(row.split)
            picture = Labelled(
                name=_name(file, top),
                source=file if row.data is None else row.data,
                label=row.label,
                split=read_split(row.split, where) if row.split else default,
                group=row.group if keep_groups else "",
            )
            if (earlier := found.setdefault(picture.name, picture)) is not picture:
                _refuse_contradiction(earlier, picture, where)
                num_repeated += 1
    if not found:
        raise DataError(f"{tables[0]}: no row names a picture", hint="a table needs the columns image,label and rows")
    notes = [f"rows that repeat another: {num_repeated}"] if num_repeated else []
    return to_dataset(
        found.values(),
        name=origin.name.partition(".")[0] or "data",
        spec=spec,
        max_pixels=options.max_pixels,
        passed=Passed(),
        notes=notes,
        split_note="as the table says" if has_splits else "",
    )


def _open_table(path: Path, options: DataConfig) -> tuple[Table, bool]:
    """The table, and whether its own groups are wanted."""
    columns = {
        "image_column": options.image_column,
        "label_column": options.label_column,
        "split_column": options.split_column,
    }
    group_by = options.group_by
    table = read_table(path, **columns)
    if group_by is None:
        return table, True
    # Anything that is no column is for `group_items`.
    is_column = group_by.lower() in {column.lower() for column in table.columns}
    return (read_table(path, **columns, group_column=group_by), True) if is_column else (table, False)


def _labels_pictures(path: Path, options: DataConfig) -> bool:
    if not is_table_name(path) or path.suffix.lower() in NOT_LOOKED_FOR:
        return False
    try:
        row = next(_open_table(path, options)[0].rows, None)
        return row is not None and (row.data is not None or _resolve(row, path, None, "").is_file())
    except (ResnetCliError, OSError):
        return False


def _resolve(row: Row, table: Path, within: Path | None, where: str) -> Path:
    # Tables that were written on Windows have backslashes; a file's own name has none on other systems.
    text = row.image.replace("\\", "/")
    path = Path(os.path.normpath(table.parent / text))
    if within is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
        raise DataError(f"{where}: '{row.image}' leads out of {within.name}", hint="use paths relative to the table")
    return path


def _name(file: Path, top: Path) -> str:
    """As a folder of the same pictures would call it, else the whole path."""
    try:
        return file.relative_to(os.path.normpath(top)).as_posix()
    except ValueError:
        return PurePosixPath(file).as_posix()


def _refuse_contradiction(earlier: Labelled, later: Labelled, where: str) -> None:
    for field in ("label", "split"):
        first, second = getattr(earlier, field), getattr(later, field)
        if first != second:
            raise DataError(
                f"{where}: {later.name} has the {field} '{second}', an earlier row says '{first}'",
                hint="keep one of the two rows",
            )
