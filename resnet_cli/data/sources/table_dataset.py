"""Tables as data sets: which tables of a folder label its images, and how they are read."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.data.sources.folders import MAX_WRAPPERS, Tree, name_below
from resnet_cli.data.sources.labeled import SPLIT_NAMES, Ignored, LabeledImage, build_dataset, read_split
from resnet_cli.data.sources.table_formats import is_table_name
from resnet_cli.data.sources.tables import Row, Table, read_table
from resnet_cli.errors import DataError, ResnetCliError

#: In a folder, text files are notes and requirements; given as DATA, they are lists of images.
NOT_LOOKED_FOR = frozenset({".txt", ".lst"})


def find_tables(folder: Path, options: DataConfig) -> tuple[list[Path], list[ResnetCliError]]:
    """The table that labels the images of a folder, or one table per split; none if folders give the classes.

    A table counts only if its first row names a file that exists, so that an unrelated table does no harm.

    Returns:
        The tables, and the errors that explain why others do not count.

    Raises:
        DataError: Several tables count, and their names do not denote splits.
    """
    tree = Tree(folder, follow_links=options.follow_links)
    found: list[Path] = []
    refusals: list[ResnetCliError] = []
    for _ in range(MAX_WRAPPERS):
        for path in tree.files_in(folder):
            if is_table_name(path) and path.suffix.lower() not in NOT_LOOKED_FOR:
                refusal = _why_not(path, options)
                if refusal:
                    refusals.append(refusal)
                else:
                    found.append(path)
        children = tree.folders(folder)
        if found or len(children) != 1 or tree.images_in(folder):
            break
        (folder,) = children
    if len(found) > 1 and not all(path.stem.lower() in SPLIT_NAMES for path in found):
        raise DataError(
            f"{folder}: several tables list its images: {', '.join(path.name for path in found)}",
            hint=f"give one of them as DATA: {found[0]}",
        )
    return found, refusals


def read_labeled_tables(
    tables: Sequence[Path], origin: Path, options: DataConfig, *, spec: str, within: Path | None
) -> Dataset:
    """Reads one table, or one table per split.

    An image that several rows list with the same label counts once.

    Args:
        tables: The tables; paths of images are relative to the folder of each.
        origin: Path given by the user; items are named relative to its folder.
        options: Names of columns and how to group.
        spec: Specification that opens the same images again.
        within: Folder that no path may leave; None for a table that the user wrote.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: A table is damaged or has no rows, or an image has two labels or splits.
    """
    top = Path(os.path.normpath(origin if origin.is_dir() else origin.parent))
    is_inside = _fence(within or top)
    found: dict[str, LabeledImage] = {}
    num_repeated = 0
    has_splits = len(tables) > 1
    for path in tables:
        default: Split = SPLIT_NAMES.get(path.stem.lower(), "train") if len(tables) > 1 else "train"
        table, keep_groups = _open_table(path, options)
        for row in table.rows:
            where = f"{path}, line {row.line}"
            file = _resolve(row, path)
            if within is not None and not is_inside(file):
                raise DataError(
                    f"{where}: '{row.image}' is outside {within.name}", hint="use paths relative to the table"
                )
            has_splits = has_splits or bool(row.split)
            image = LabeledImage(
                name=_name(file, top),
                source=file if row.data is None else row.data,
                label=row.label,
                split=read_split(row.split, where) if row.split else default,
                group=row.group if keep_groups else "",
            )
            if (earlier := found.setdefault(image.name, image)) is not image:
                _refuse_contradiction(earlier, image, where)
                num_repeated += 1
    if not found:
        raise DataError(f"{tables[0]}: no row lists an image", hint="a table needs the columns image,label and rows")
    _refuse_missing_images(tables[0], [image.source for image in found.values()])
    notes = [f"repeated rows: {num_repeated}"] if num_repeated else []
    num_contradicting = _count_contradicting(found.values())
    if num_contradicting:
        shown = ", ".join(path.name for path in tables)
        notes.append(f"images in the folder of a different class than in {shown}: {num_contradicting}")
    return build_dataset(
        found.values(),
        name=(origin.resolve().name if origin.is_dir() else origin.name.partition(".")[0]) or "data",
        spec=spec,
        max_pixels=options.max_pixels,
        ignored=Ignored(),
        notes=notes,
        split_note="from the table" if has_splits else "",
    )


def _open_table(path: Path, options: DataConfig) -> tuple[Table, bool]:
    """The table, and whether its own groups are used."""
    columns = {
        "image_column": options.image_column,
        "label_column": options.label_column,
        "split_column": options.split_column,
    }
    group_by = options.group_by
    table = read_table(path, **columns)
    if group_by is None:
        return table, True
    # `group_items` handles anything that is not a column.
    is_column = group_by.strip().lower() in {column.strip().lower() for column in table.columns}
    return (read_table(path, **columns, group_column=group_by), True) if is_column else (table, False)


def _why_not(path: Path, options: DataConfig) -> ResnetCliError | None:
    """Why a table does not label images; None if it does."""
    try:
        row = next(_open_table(path, options)[0].rows)
        if row.data is not None or _resolve(row, path).is_file():
            return None
    except ResnetCliError as error:
        return error
    except OSError as error:
        return DataError(f"{path}: {error.strerror or error}")
    return DataError(
        f"{path}: its first image '{row.image}' does not exist", hint="paths in a table are relative to its folder"
    )


def _resolve(row: Row, table: Path) -> Path:
    # Tables written on Windows contain backslashes; a file name does not on other systems.
    text = os.path.normpath(row.image.replace("\\", "/"))
    folder = os.path.dirname(table)
    # The parent of a link is not the parent of its target.
    return Path(os.path.normpath(os.path.join(os.path.realpath(folder) if text.startswith("..") else folder, text)))


def _fence(top: Path) -> Callable[[Path], bool]:
    """Makes a test whether a file is below a folder once links are resolved; each folder is resolved once."""
    inside = os.path.join(os.path.realpath(top), "")
    real_folder = functools.cache(os.path.realpath)

    def is_inside(file: Path) -> bool:
        folder, name = os.path.split(file)
        real = os.path.realpath(file) if os.path.islink(file) else os.path.join(real_folder(folder), name)
        return os.path.join(real, "").startswith(inside)

    return is_inside


def _name(file: Path, top: Path) -> str:
    """The name that the same image has in a folder data set, else its absolute path, in any working directory."""
    folder = os.path.join(top, "") if top.parts else ""
    if str(file).startswith(folder) and (folder or not file.is_absolute()):
        return name_below(file, top)
    real, real_top = Path(os.path.realpath(file.parent), file.name), os.path.realpath(top)
    return (real.relative_to(real_top) if real.is_relative_to(real_top) else real).as_posix()


def _refuse_missing_images(table: Path, sources: Sequence[Path | bytes]) -> None:
    """Reports a table in the wrong folder as one error instead of one per row."""
    if not any(isinstance(source, bytes) or os.path.lexists(source) for source in sources):
        raise DataError(
            f"{table}: none of the {len(sources):,} images that it lists exists, such as {sources[0]!s}",
            hint="paths in a table are relative to its folder",
        )


def _count_contradicting(images: Collection[LabeledImage]) -> int:
    """Number of images in a folder that has the name of a different class."""
    classes = {image.label for image in images}
    folders = ((image.label, image.name.split("/")[:-1]) for image in images)
    return sum(label not in parts and not classes.isdisjoint(parts) for label, parts in folders)


def _refuse_contradiction(earlier: LabeledImage, later: LabeledImage, where: str) -> None:
    for field in ("label", "split"):
        first, second = getattr(earlier, field), getattr(later, field)
        if first != second:
            raise DataError(
                f"{where}: {later.name} has the {field} '{second}', an earlier row says '{first}'",
                hint="keep one of the two rows",
            )
