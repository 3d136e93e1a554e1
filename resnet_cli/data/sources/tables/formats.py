"""File formats of tables, read row by row: CSV, TSV, JSON lines, Parquet, Excel, and lists of ``path label`` lines."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.rows.text import MAX_LINE_BYTES, Record, TableFile, lines_of, quoted, row_error
from resnet_cli.data.sources.tables.delimited import DEFAULT_COLUMNS, open_cells, open_csv, open_list
from resnet_cli.data.sources.tables.spreadsheets import open_excel
from resnet_cli.errors import DataError, missing_extra

__all__ = [
    "DEFAULT_COLUMNS",
    "FORMATS",
    "MAX_LINE_BYTES",
    "TABLE_EXTENSIONS",
    "Record",
    "TableFile",
    "is_table_name",
    "lines_of",
    "open_table_file",
    "quoted",
    "row_error",
    "table_suffix",
]

#: Memory for one batch of a Parquet file's rows; at least one row is read.
PARQUET_BATCH_BYTES = 8 * 1024**2
#: Small reads instead of a whole column of a row group.
_PARQUET_BUFFER_BYTES = 1024**2
_PARQUET_BATCH_ROWS = 8192


def table_suffix(path: Path) -> str:
    """The extension that gives the format of a table: ``.csv``, also ``.csv.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return "".join(suffixes) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def is_table_name(path: Path) -> bool:
    """Whether a file's name has the extension of a table (hidden files never count)."""
    return table_suffix(path) in TABLE_EXTENSIONS and not path.name.startswith(".")


def open_table_file(path: Path) -> TableFile:
    """Opens a table in the format of its extension.

    Raises:
        DataError: It is not a table, or is damaged.
        SetupError: A package that the format needs is not installed.
    """
    opener = FORMATS.get(table_suffix(path))
    if opener is None:
        raise DataError(
            f"{path}: not a table", hint=f"use a table whose name ends in {', '.join(sorted(TABLE_EXTENSIONS))}"
        )
    return opener(path)


def _open_json_lines(path: Path) -> TableFile:
    _, first = next(_objects(path), (0, {}))
    return TableFile(tuple(first), lambda _: _objects(path))


def _objects(path: Path) -> Iterator[Record]:
    hint = 'write each line as: {"image": "cat.jpg", "label": "cat"}'
    for number, line in lines_of(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise row_error(path, number, f"not JSON: {error}", hint=hint) from error
        if not isinstance(value, dict):
            raise row_error(path, number, f"not a JSON object: {quoted(value)}", hint=hint)
        yield number, value


def _open_parquet(path: Path) -> TableFile:
    with _parquet_file(path) as file:
        columns = tuple(file.schema_arrow.names)
        class_names = stored_class_names(path, file.schema_arrow.metadata or {})
        # Source: Hugging Face datasets, features.Image: {"bytes": binary, "path": string}.
        binary = [field.name for field in file.schema_arrow if "binary" in str(field.type)]
    return TableFile(columns, lambda wanted: _parquet_records(path, wanted, class_names), binary=frozenset(binary))


def _parquet_records(path: Path, wanted: Sequence[str], class_names: Mapping[str, list[Any]]) -> Iterator[Record]:
    with _parquet_file(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
        batch_size = min(_PARQUET_BATCH_ROWS, max(1, PARQUET_BATCH_BYTES // max(widest, 1)))
        batches = file.iter_batches(batch_size, columns=list(wanted), use_threads=False)
        yield from arrow_records(path, batches, wanted, class_names)


def arrow_records(
    path: Path, batches: Iterable[Any], wanted: Sequence[str], class_names: Mapping[str, list[Any]]
) -> Iterator[Record]:
    """The rows of Arrow's batches, numbered from 1, with the names of classes that a column numbers."""
    row = itertools.count(1)
    for batch in batches:
        values = [batch.column(column).to_pylist() for column in wanted]
        for *cells, number in zip(*values, row, strict=False):
            record = dict(zip(wanted, cells, strict=True))
            for column in class_names.keys() & record.keys():
                record[column] = _stored_class_name(path, number, record[column], class_names[column])
            yield number, record


@contextlib.contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra(f"{path}: reading Parquet needs pyarrow, which is not installed", "parquet") from error
    options = {"buffer_size": _PARQUET_BUFFER_BYTES, "pre_buffer": False, "page_checksum_verification": True}
    try:
        # An open file instead of its name: pyarrow rejects names that are not UTF-8.
        with path.open("rb") as file, parquet.ParquetFile(file, **options) as opened:
            yield opened
    except (pyarrow.ArrowException, OSError, ValueError, ArithmeticError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or f"damaged: {error}"
        raise DataError(f"{path}: {reason}") from error


def stored_class_names(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, list[Any]]:
    """Column -> class names in index order, for the columns whose class names are stored in the file.

    Source: Hugging Face datasets, arrow_writer.py: the features' JSON under the schema's key ``huggingface``.
    """
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged: its 'huggingface' metadata is not JSON: {error}") from error
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    features = {column: _element(feature) for column, feature in (found or {}).items()}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def _element(feature: Any) -> Any:
    """The feature of the elements of a list, in each of the forms of the library's versions; any other as it is."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    is_list = isinstance(feature, dict) and feature.get("_type") in ("Sequence", "LargeList", "List")
    return feature.get("feature") if is_list else feature


def _stored_class_name(path: Path, row: int, value: Any, names: list[Any]) -> Any:
    """The name of a row's class, if its label is a number, or the names of several.

    Raises:
        DataError: The number is not that of a class.
    """
    if isinstance(value, list):
        return [_stored_class_name(path, row, one, names) for one in value]
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise row_error(path, row, f"label {value} is not one of the {len(names)} classes that the file names")
    return names[value]


FORMATS: dict[str, Callable[[Path], TableFile]] = {
    ".csv": open_csv,
    ".csv.gz": open_csv,
    ".tsv": functools.partial(open_cells, delimiter="\t"),
    ".tsv.gz": functools.partial(open_cells, delimiter="\t"),
    ".jsonl": _open_json_lines,
    ".ndjson": _open_json_lines,
    ".parquet": _open_parquet,
    ".xlsx": open_excel,
    ".txt": open_list,
    ".lst": open_list,
}
TABLE_EXTENSIONS = frozenset(FORMATS)
