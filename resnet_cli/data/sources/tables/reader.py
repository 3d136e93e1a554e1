"""Tables as DATA: which tables label the images, and how they are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.folder_names import has_class_folders, is_for_images
from resnet_cli.data.sources.own_tables import own_kind
from resnet_cli.data.sources.reading import NotUsed, Reading
from resnet_cli.data.sources.rows.label_maps import class_names
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.references import Locator
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Folder, Survey
from resnet_cli.data.sources.tables.columns import plain_column
from resnet_cli.data.sources.tables.formats import is_table_name
from resnet_cli.data.sources.tables.label_tables import LabelTable, open_label_table
from resnet_cli.data.sources.tables.several_labels import refuse_several_labels, single_labels
from resnet_cli.data.sources.tables.split_tables import read_split_table
from resnet_cli.data.sources.tree import MAX_WRAPPERS
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.images import is_image_name
from resnet_cli.text import first_of

#: In a folder, text files are notes and requirements; given as DATA, they are lists of images.
NOT_LOOKED_FOR = frozenset({".txt", ".lst"})
#: Tables of a folder that are looked at.
MAX_TABLES = 100
#: Depth of the folders whose tables are looked at.
_MAX_DEPTH = 4
#: Names of examples of answers to a competition, whose labels are made up.
_NO_LABELS = re.compile(r"(loc)?(sample)?submission", re.IGNORECASE)
#: Why a table whose labels were recognized by nothing but their number is not used beside others.
_UNUSUAL = "labels images, but its columns have no usual names"
_SHARD = re.compile(r"[-_]?\d+[-_]of[-_](\d{1,9})$")


def read_tables(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the given table, or the tables that label the images of a folder: one, one per split, or shards.

    A table in a folder counts only if it names images of DATA, so that an unrelated table does no harm; the reasons
    why others do not count are added to ``survey.refusals``.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: Several tables count and their names do not denote splits, or a table is damaged or has no rows.
        SetupError: A package that the format of a table needs is not installed.
    """
    locator = Locator(survey, options)
    if survey.file is not None:
        if not is_table_name(survey.file):
            return None
        table = open_label_table(survey.file, options, locator)
        return _reading([(table, "")], survey, options, _note_about_shards(survey.file), {})
    found = _usable(survey, options, locator)
    if not found:
        return None
    chosen, notes = _choose(found, survey)
    names: Mapping[str, str] = {}
    if not _names_a_column(options) and not any(table.asked["group"] for table, _ in chosen):
        why, names, note = _folders_decide(chosen, survey, locator)
        notes += [note] if note else []
        if why:
            survey.refusals.append(why)
            return None
    return _reading(chosen, survey, options, notes, names)


def _note_about_shards(path: Path) -> list[str]:
    """Says that a table is one of several files, if its name does."""
    shard = _SHARD.search(path.name.partition(".")[0])
    if shard is None or int(shard[1]) < 2:
        return []
    return [
        f"{path.name} is one of {int(shard[1]):,} files; to read them all, give their folder as DATA: {path.parent}"
    ]


def _names_a_column(options: DataConfig) -> bool:
    return any((options.image_column, options.label_column, options.split_column, options.image_folder))


def _usable(survey: Survey, options: DataConfig, locator: Locator) -> list[LabelTable]:
    """The tables that label images; the reasons why others do not are added to the refusals, serious ones first."""
    found: list[LabelTable] = []
    unlabeled: list[ResnetCliError] = []
    unrelated: list[ResnetCliError] = []
    training: list[NotUsed] = []
    for number, path in enumerate(_candidates(survey)):
        if number >= MAX_TABLES:
            unrelated.append(DataError(f"{survey.spec}: only {MAX_TABLES} of its tables were looked at"))
            break
        if splits := read_split_table(path, survey, options, locator):
            survey.listed_splits |= splits
            continue
        try:
            table = open_label_table(path, options, locator, split_of(path.stem) or "")
        except NotUsed as error:
            split = split_of(path.stem)
            (unlabeled if split == "test" else survey.refusals).append(error)
            training += [error] if split == "train" else []
        except ResnetCliError as error:
            unrelated.append(error)
        except OSError as error:
            unrelated.append(DataError(f"{path}: {error.strerror or error}"))
        else:
            if table.choice.names_images:
                found.append(table)
            else:
                unrelated.append(table.no_image())
    unclear = [table for table in found if table.choice.is_guess and split_of(table.path.stem) == "test"]
    survey.refusals += [
        NotUsed(
            f"{table.path} names images, but no column has a usual name for labels",
            hint="name it with --label-column COLUMN",
        )
        for table in unclear
    ]
    found = [table for table in found if table not in unclear]
    if any(not table.choice.is_guess for table in found):
        unused = [table for table in found if table.choice.is_guess]
        survey.refusals += [_not_used(table, _UNUSUAL) for table in unused]
        training += [_not_used(table, _UNUSUAL) for table in unused if split_of(table.path.stem) == "train"]
        found = [table for table in found if not table.choice.is_guess]
    elif found and has_class_folders(survey) and not _names_a_column(options):
        survey.refusals += [_not_used(table, _UNUSUAL) for table in found]
        found = []
    _refuse_held_out_alone(found, training)
    # The images of a test table without labels are counted among those that no table lists.
    survey.refusals += [*([] if found else unlabeled), *unrelated]
    return found


def _refuse_held_out_alone(found: Sequence[LabelTable], training: Sequence[NotUsed]) -> None:
    """Refuses tables of validation or test splits if that of the train split names images, but is not used.

    Raises:
        DataError: Only such tables would be used; the hint says why the other one is not.
    """
    if found and training and all(split_of(table.path.stem) in ("val", "test") for table in found):
        raise DataError(
            f"{found[0].path}: labels images, but the table of the train split does not",
            hint=f"{training[0].message}; {training[0].hint}",
        )


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


def _choose(found: Sequence[LabelTable], survey: Survey) -> tuple[list[tuple[LabelTable, str]], list[str]]:
    """The one table, or one table or one set of shards per split, each with its split.

    Returns:
        The tables and their splits, and notes about the others.

    Raises:
        DataError: Several tables count and their names do not denote splits.
    """
    if len(found) == 1:
        return [(found[0], "")], []
    with_split = [(table, _split(table.path, survey)) for table in found]
    labels = {(plain_column(table.choice.columns.label), table.choice.columns.one_hot) for table in found}
    shards = {_shards_of(table.path) for table in found}
    if len(shards) == 1:
        return with_split, []
    split_tables = [(table, split) for table, split in with_split if split]
    by_split = Counter(split for _, split in split_tables)
    sets = {(split, _shards_of(table.path)) for table, split in split_tables}
    if len(by_split) > 1 and len(labels) == 1 and len(sets) == len(by_split):
        others = [table.path.name for table, split in with_split if not split]
        note = f"tables whose names denote no split were not used: {', '.join(others)}"
        return split_tables, [note] if others else []
    ordered = sorted(with_split, key=lambda pair: (pair[1] != "train", bool(pair[1]), str(pair[0].path)))
    commands = [str(table.path) for table, _ in ordered[:3]]
    raise DataError(
        f"{survey.root}: several tables list its images: {', '.join(table.path.name for table in found[:10])}",
        hint=f"give one of them as DATA: {', or '.join(commands)}",
    )


def _shards_of(path: Path) -> str:
    """The path that the shards of one table have in common: ``train-00000-of-00002.parquet`` -> ``train``."""
    return str(path.parent / _SHARD.sub("", path.name.partition(".")[0]))


def _split(path: Path, survey: Survey) -> str:
    """The split that the name of a table denotes, or else a folder around it."""
    below = path.relative_to(survey.root)
    names = [Path(_shards_of(path)).name, *reversed(below.parts[:-1])]
    return next((split for name in names if (split := split_of(name))), "")


def _folders_decide(
    chosen: Sequence[tuple[LabelTable, str]], survey: Survey, locator: Locator
) -> tuple[NotUsed | None, Mapping[str, str], str]:
    """Whether class folders label the images instead of tables.

    Tables that number the classes that folders name, and tables that say what folders say about some of the images,
    add nothing to the folders, unless they give the splits. Paths of some of the images are a choice of these.

    Returns:
        Why the tables are not used, or None; the names that folders give to the numbers of tables that are used; and
        a note if tables that are used give other classes than the folders.
    """
    first = chosen[0][0]
    if not has_class_folders(survey) or any(table.source.binary for table, _ in chosen):
        return None, {}, ""
    pairs: Counter[tuple[str, str]] = Counter()
    splits: set[str] = set()
    are_paths = True
    for table, split in chosen:
        rows = list(table.rows())
        located = locator.locate(RowFile(table.path, rows, split), rows)
        pairs.update((path.parent.name, row.label) for row, path in zip(rows, located.paths, strict=True))
        splits |= {row.split or split for row in rows}
        are_paths = are_paths and not located.notes
    num_images = sum(1 for _ in survey.images())
    are_one_to_one = len(pairs) == len({name for name, _ in pairs}) == len({label for _, label in pairs}) > 1
    if are_one_to_one and all(label.isdecimal() for _, label in pairs) and any(name != label for name, label in pairs):
        if len(splits) > 1:
            return None, {label: name for name, label in pairs}, ""
        return _not_used(first, "only numbers the classes that the folders name"), {}, ""
    agrees = all(name == label for name, label in pairs)
    if agrees and pairs.total() < num_images and len(splits) < 2 and not are_paths:
        what = f"lists only {pairs.total():,} of {num_images:,} images, with the classes of their folders"
        return _not_used(first, what), {}, ""
    folders = {name for name, _ in pairs}
    # Images in the folder of another class are counted where the rows are read.
    if are_one_to_one or len(folders) < 2 or not folders.isdisjoint(label for _, label in pairs):
        return None, {}, ""
    shown = ", ".join(table.path.name for table, _ in chosen[:5])
    note = (
        f"the {len(folders):,} folders of the images, such as {min(folders)}, are not the classes; {shown} gives them"
    )
    return None, {}, note


def _not_used(table: LabelTable, what: str) -> NotUsed:
    return NotUsed(
        f"{table.path} {what}, and was not used",
        hint=f"to read it instead, give it as DATA: {table.path}",
    )


def _reading(
    tables: Sequence[tuple[LabelTable, str]],
    survey: Survey,
    options: DataConfig,
    notes: Sequence[str],
    names: Mapping[str, str],
) -> Reading:
    """Reads the chosen tables, with names for classes that they only number."""
    all_rows = [list(table.rows()) for table, _ in tables]
    counts = Counter(row.label for rows in all_rows for row in rows if row.label)
    first = tables[0][0]
    columns = first.choice.columns
    decided = [note for table, _ in tables for note in table.choice.notes]
    if single := single_labels(counts):
        decided.append(f"{first.path.name}: each label is a list with one class, such as {min(single)}")
        all_rows = [[row.renamed(single) for row in rows] for rows in all_rows]
        counts = Counter({single[label]: count for label, count in counts.items()})
    decided.append("" if columns.one_hot else refuse_several_labels(first.path, columns.label, counts))
    if names:
        decided.append(f"{first.path.name}: its labels are numbers, named by the folders of the images")
    else:
        names, note = class_names(set(counts), first.path, survey)
        decided.append(note)
    if names:
        all_rows = [[row.renamed(names) for row in rows] for rows in all_rows]
    files = [RowFile(table.path, rows, split) for (table, split), rows in zip(tables, all_rows, strict=True)]
    what = _what([table.path for table, _ in tables], columns.one_hot, all_rows[0])
    return read_rows(files, survey, options, what=what, notes=[*filter(None, dict.fromkeys(decided)), *notes])


def _what(paths: Sequence[Path], one_hot: Sequence[str], rows: Sequence[Row]) -> str:
    """What the tables are, for the user: ``table labels.csv of ids with 4 one-hot columns``."""
    shown = first_of([path.name for path in paths], 5)
    are_ids = bool(rows) and not any(row.data is not None or is_image_name(row.image.strip()) for row in rows[:100])
    return (
        f"{'table' if len(paths) == 1 else 'tables'} {shown}"
        + (" of ids" if are_ids else "")
        + (f" with {len(one_hot)} one-hot columns" if one_hot else "")
    )
