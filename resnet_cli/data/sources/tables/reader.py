"""Tables as DATA: which tables label the images, and how they are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.folder_names import has_class_folders
from resnet_cli.data.sources.reading import NotUsed, Reading
from resnet_cli.data.sources.rows.label_maps import class_names
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.references import Locator
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.candidates import open_tables
from resnet_cli.data.sources.tables.columns import plain_column
from resnet_cli.data.sources.tables.formats import is_table_name
from resnet_cli.data.sources.tables.label_tables import LabelTable, open_label_table
from resnet_cli.data.sources.tables.resolved import resolve
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.images import is_image_name
from resnet_cli.text import first_of

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
    for path, opened in open_tables(survey, options, locator):
        if isinstance(opened, LabelTable):
            if opened.choice.names_images:
                found.append(opened)
            else:
                unrelated.append(opened.no_image())
        elif isinstance(opened, NotUsed):
            split = split_of(path.stem)
            (unlabeled if split == "test" else survey.refusals).append(opened)
            training += [opened] if split == "train" else []
        else:
            unrelated.append(opened)
    if not options.multi_label and not _names_a_column(options) and _are_class_folders(survey):
        beside = [table for table in found if table.choice.values]
        survey.refusals += [_not_used(table, "sets several of its columns of 0 and 1") for table in beside]
        found = [table for table in found if table not in beside]
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


def _are_class_folders(survey: Survey) -> bool:
    """Whether images are in folders that may be classes: few folders for the number of images."""
    folders = [folder for folder in survey.folders.values() if folder.images]
    return has_class_folders(survey) and 2 * len(folders) <= sum(len(folder.images) for folder in folders)


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
    first = tables[0][0]
    resolved = resolve([table for table, _ in tables], options)
    decided = [*(note for table, _ in tables for note in table.choice.notes), *resolved.notes]
    if names:
        decided.append(f"{first.path.name}: its labels are numbers, named by the folders of the images")
    else:
        names, note = class_names(resolved.labels, first.path, survey)
        decided.append(note)
    all_rows = [[row.renamed(names) for row in rows] for rows in resolved.rows] if names else resolved.rows
    files = [RowFile(table.path, rows, split) for (table, split), rows in zip(tables, all_rows, strict=True)]
    return read_rows(
        files,
        survey,
        options,
        what=_what([table.path for table, _ in tables], all_rows[0]) + resolved.what,
        notes=[*filter(None, dict.fromkeys(decided)), *notes],
        classes=[names.get(name, name) for name in resolved.classes],
        is_multi=resolved.is_multi,
    )


def _what(paths: Sequence[Path], rows: Sequence[Row]) -> str:
    """What the tables are, for the user: ``table labels.csv of ids``."""
    shown = first_of([path.name for path in paths], 5)
    are_ids = bool(rows) and not any(row.data is not None or is_image_name(row.image.strip()) for row in rows[:100])
    return f"{'table' if len(paths) == 1 else 'tables'} {shown}" + (" of ids" if are_ids else "")
