"""Data sets that Hugging Face's datasets has saved on the disk, and other files of Arrow.

Source: https://huggingface.co/docs/datasets, "Save" (``Dataset.save_to_disk``), and arrow_dataset.py for the files.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.row import RowFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES, split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.columns import find_column
from resnet_cli.data.sources.tables.formats import Record, TableFile, arrow_records, stored_class_names
from resnet_cli.data.sources.tables.table import table_of
from resnet_cli.errors import DataError, missing_extra

ARROW_EXTENSIONS = (".arrow", ".feather")
_SPLITS_FILE, _STATE_FILE = "dataset_dict.json", "state.json"
#: Intermediate results that the library keeps beside a data set.
_CACHE_PREFIX = "cache-"
_MAX_JSON_BYTES = 10 * 1024**2
#: Source: https://arrow.apache.org/docs/format/Columnar.html, "IPC File Format".
_FILE_MAGIC = b"ARROW1"
_BATCH_ROWS = 256


def read_saved(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads a folder of ``save_to_disk``, a folder of Arrow files, or one Arrow file.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: A file is missing or damaged, or the names of several files do not denote splits.
        SetupError: pyarrow is not installed.
    """
    if survey.file is not None:
        if survey.file.suffix.lower() not in ARROW_EXTENSIONS:
            return None
        return read_rows([_row_file(survey.file, "", options)], survey, options, what=f"table {survey.file.name}")
    if survey.has_images:
        return None
    names = [name for name in survey.others(*ARROW_EXTENSIONS) if not _base(name).startswith(_CACHE_PREFIX)]
    if not names:
        return None
    tops = [folder.name for folder in survey.folders.values() if _SPLITS_FILE in folder.others]
    states = [folder.name for folder in survey.folders.values() if _STATE_FILE in folder.others]
    notes: list[str] = []
    if len(tops) > 1 or (not tops and len(states) > 1):
        several = tops or states
        raise DataError(
            f"{survey.spec}: {len(several)} saved data sets: {', '.join(several[:10])}",
            hint=f"give one of them as DATA: {survey.path(several[0])}",
        )
    if tops:
        files = _split_files(survey, tops[0], options, notes)
    elif states:
        files = [_row_file(path, "", options) for path in _state_files(survey, states[0])]
    else:
        files = _loose_files(survey, names, options)
    return read_rows(files, survey, options, what="a data set saved by Hugging Face datasets", notes=notes)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _split_files(survey: Survey, top: str, options: DataConfig, notes: list[str]) -> list[RowFile]:
    """The files of a DatasetDict."""
    splits = _json(survey.path(top) / _SPLITS_FILE).get("splits")
    names = _plain_names(survey.path(top) / _SPLITS_FILE, splits)
    files = [
        _row_file(path, split, options)
        for name in names
        if (split := SPLIT_NAMES.get(name.lower()) or split_of(name))
        for path in _state_files(survey, _inside(survey, top, name))
    ]
    unknown = [name for name in names if not (SPLIT_NAMES.get(name.lower()) or split_of(name))]
    if not files:
        raise DataError(
            f"{survey.path(top)}: none of its splits is train, val or test: {', '.join(names)[:300]}",
            hint=f"give one of them as DATA: {survey.path(top) / (names or [''])[0]}",
        )
    if unknown:
        notes.append(f"splits that are neither train, val nor test were not used: {', '.join(unknown)[:300]}")
    return files


def _inside(survey: Survey, folder: str, name: str) -> str:
    """Something in a folder of DATA; links that lead outside, and pipes, which would wait, are not in it."""
    listed = survey.folder(folder)
    if name not in listed.others and name not in listed.folders:
        raise DataError(f"{survey.path(listed.child(name))}: no such file or folder", hint="save the data set again")
    return listed.child(name)


def _state_files(survey: Survey, name: str) -> list[Path]:
    """The data files of one Dataset, in order."""
    folder = survey.path(name)
    state = _json(survey.path(_inside(survey, name, _STATE_FILE)))
    files = state.get("_data_files")
    found = [entry.get("filename") if isinstance(entry, dict) else None for entry in files or []]
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DataError(
            f"{folder}: a separate file of indices selects its rows, which is not supported",
            hint="save dataset.flatten_indices()",
        )
    return [survey.path(_inside(survey, name, file)) for file in _plain_names(folder / _STATE_FILE, found)]


def _plain_names(path: Path, names: Any) -> list[str]:
    """Names of files or folders directly beside ``path``, which no other path may replace."""
    found = names if isinstance(names, list) else []
    plain = [name for name in found if isinstance(name, str) and Path(name).name == name and "\0" not in name]
    if not plain or len(plain) != len(found):
        raise DataError(f"{path}: damaged: it does not list files beside it")
    return plain


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_JSON_BYTES + 1)
        found = json.loads(data)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", hint="save the data set again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged: {error}") from error
    if not isinstance(found, dict) or len(data) > _MAX_JSON_BYTES:
        raise DataError(f"{path}: damaged: not a JSON object of usual size")
    return found


def _loose_files(survey: Survey, names: Sequence[str], options: DataConfig) -> list[RowFile]:
    """Arrow files that no state.json lists, such as those of the library's cache."""
    splits = [split_of(_base(name).partition(".")[0]) or "" for name in names]
    if len(names) > 1 and not all(splits):
        raise DataError(
            f"{survey.spec}: several Arrow files: {', '.join(names)[:300]}",
            hint=f"give one of them as DATA: {survey.path(names[0])}",
        )
    return [
        _row_file(survey.path(name), split if len(set(splits)) > 1 else "", options)
        for name, split in zip(names, splits, strict=True)
    ]


def _row_file(path: Path, split: str, options: DataConfig) -> RowFile:
    source = open_arrow(path)
    group = find_column(source.columns, (options.group_by,)) if options.group_by else None
    table = table_of(
        path,
        source,
        image_column=options.image_column,
        label_column=options.label_column,
        split_column=options.split_column,
        group_column=group,
    )
    return RowFile(path, table.rows, split)


def open_arrow(path: Path) -> TableFile:
    """Opens an Arrow file, in the streaming format that the library writes or in that of Feather.

    Raises:
        DataError: The file is damaged.
        SetupError: pyarrow is not installed.
    """
    with _batches(path) as (schema, _):
        columns = tuple(schema.names)
        class_names = stored_class_names(path, schema.metadata or {})

    def records(wanted: Sequence[str]) -> Iterator[Record]:
        with _batches(path) as (_, batches):
            yield from arrow_records(path, _parts(batches), wanted, class_names)

    return TableFile(columns, records)


def _parts(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        # Arrow trusts the offsets in a file until they are checked.
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


@contextlib.contextmanager
def _batches(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    try:
        import pyarrow
        from pyarrow import ipc
    except ImportError as error:
        raise missing_extra(f"{path}: reading Arrow files needs pyarrow, which is not installed", "parquet") from error
    try:
        with path.open("rb") as file:
            # Not closed here: batches that are still in use point into it.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            source = pyarrow.BufferReader(pyarrow.py_buffer(data))
            if data[: len(_FILE_MAGIC)] == _FILE_MAGIC:
                opened = ipc.open_file(source)
                yield opened.schema, (opened.get_batch(index) for index in range(opened.num_record_batches))
            else:
                stream = ipc.open_stream(source)
                yield stream.schema, iter(stream)
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, ArithmeticError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or f"damaged: {str(error)[:200]}"
        raise DataError(f"{path}: {reason}") from error
