"""File formats of tables, read row by row: CSV, TSV, JSON lines, Parquet, and plain lists of ``path label`` lines."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from resnet_cli.errors import DataError, missing_extra
from resnet_cli.images import is_image_name

#: A longer line, or quoted record of several lines, is not a row of a table.
MAX_LINE_BYTES = 1_000_000
#: Memory for one batch of a Parquet file's rows; at least one row is read.
PARQUET_BATCH_BYTES = 8 * 1024**2
#: Small reads instead of a whole column of a row group.
_PARQUET_BUFFER_BYTES = 1024**2
_PARQUET_BATCH_ROWS = 8192
#: Columns of a file whose first line does not name them.
DEFAULT_COLUMNS = ("image", "label", "split", "group")

#: Line or row number, 1-based, and column name -> value.
Record: TypeAlias = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class TableFile:
    """An open table of any format.

    Attributes:
        columns: Names of all columns as written.
        records: Called with the columns that are needed; yields records with at least these.
    """

    columns: tuple[str, ...]
    records: Callable[[Sequence[str]], Iterator[Record]]


def is_table_name(path: Path) -> bool:
    """Whether a file's name has the extension of a table (hidden files never count)."""
    return path.suffix.lower() in TABLE_EXTENSIONS and not path.name.startswith(".")


def quoted(value: Any) -> str:
    """A value of a table as text for messages: ASCII, cut to 60 characters."""
    return ascii(value)[:60]


def row_error(path: Path, line: int, what: str, *, hint: str | None = None) -> DataError:
    """An error that names the row where it was found."""
    unit = "row" if path.suffix.lower() == ".parquet" else "line"
    return DataError(f"{path}: {unit} {line}: {what}", hint=hint)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers and ends; other bytes become surrogates, as in file names."""
    try:
        with path.open("rb") as file:
            for number in itertools.count(1):
                line = file.readline(MAX_LINE_BYTES + 1)
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{path}: is UTF-16 text", hint="save it as UTF-8")
                if len(line) > MAX_LINE_BYTES:
                    raise row_error(path, number, f"longer than {MAX_LINE_BYTES:,} bytes")
                if not line:
                    return
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                yield number, text.decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _open_csv(path: Path) -> TableFile:
    first = next((line for _, line in lines_of(path) if line.strip()), "")
    return _open_cells(path, ";" if ";" in first and "," not in first else ",")


def _open_cells(path: Path, delimiter: str) -> TableFile:
    _, header = next(_cells(path, delimiter), (0, []))
    has_header = not header or not is_image_name(Path(header[0].strip()))
    if not has_header and len(header) > len(DEFAULT_COLUMNS):
        raise DataError(
            f"{path}: the first line has {len(header)} cells and does not name the columns",
            hint="add a line such as image,label at the top",
        )
    columns = tuple(header if has_header else DEFAULT_COLUMNS[: len(header)])

    def records(_: Sequence[str]) -> Iterator[Record]:
        for line, cells in itertools.islice(_cells(path, delimiter), int(has_header), None):
            if "".join(cells[len(columns) :]).strip():
                raise row_error(
                    path,
                    line,
                    f"{len(cells)} cells under {len(columns)} columns",
                    hint=f"put names that contain '{delimiter}' in double quotes",
                )
            yield line, dict(zip(columns, cells, strict=False))

    return TableFile(columns, records)


def _cells(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the records that are not blank, each with the number of its first line."""
    start, num_chars = 1, 0

    def lines() -> Iterator[str]:
        nonlocal num_chars
        for _, line in lines_of(path):
            num_chars += len(line)
            if num_chars > MAX_LINE_BYTES:
                raise row_error(path, start, f"a row longer than {MAX_LINE_BYTES:,} characters")
            yield line

    # Strict: otherwise a quote that is never closed makes one cell of the rest of the file.
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if "".join(cells).strip():
                yield start, cells
            start, num_chars = reader.line_num + 1, 0
    except csv.Error as error:
        hint = "check for a double quote that is not closed"
        raise row_error(path, start, f"not a row of a table: {error}", hint=hint) from error


def _open_list(path: Path) -> TableFile:
    def records(_: Sequence[str]) -> Iterator[Record]:
        for number, line in lines_of(path):
            # ASCII spaces only: others may be part of a name.
            text = line.strip(" \t\r\n")
            if text and not text.startswith("#"):
                image, blank, label = text.rpartition("\t" if "\t" in text else " ")
                if not blank:
                    raise row_error(path, number, f"no label after {quoted(text)}", hint="each line is: path label")
                yield number, {"image": image.rstrip(" \t"), "label": label}

    return TableFile(DEFAULT_COLUMNS[:2], records)


def _open_json_lines(path: Path) -> TableFile:
    _, first = next(_objects(path), (0, {}))
    return TableFile(tuple(first), lambda _: _objects(path))


def _objects(path: Path) -> Iterator[Record]:
    hint = 'each line is: {"image": "cat.jpg", "label": "cat"}'
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
    return TableFile(columns, lambda wanted: _parquet_records(path, wanted, class_names))


def _parquet_records(path: Path, wanted: Sequence[str], class_names: Mapping[str, list[Any]]) -> Iterator[Record]:
    with _parquet_file(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
        batch_size = min(_PARQUET_BATCH_ROWS, max(1, PARQUET_BATCH_BYTES // max(widest, 1)))
        row = itertools.count(1)
        for batch in file.iter_batches(batch_size, columns=list(wanted), use_threads=False):
            values = [batch.column(column).to_pylist() for column in wanted]
            for *cells, number in zip(*values, row, strict=False):
                record = dict(zip(wanted, cells, strict=True))
                for column in class_names.keys() & record.keys():
                    record[column] = stored_class_name(path, number, record[column], class_names[column])
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
    features = [feature for feature in (found or {}).items() if isinstance(feature[1], dict)]
    return {
        column: feature["names"]
        for column, feature in features
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def stored_class_name(path: Path, row: int, value: Any, names: list[Any]) -> Any:
    """The name of a row's class, if its label is a number.

    Raises:
        DataError: The number is not that of a class.
    """
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise row_error(path, row, f"label {value} is not one of the {len(names)} classes that the file names")
    return names[value]


FORMATS: dict[str, Callable[[Path], TableFile]] = {
    ".csv": _open_csv,
    ".tsv": functools.partial(_open_cells, delimiter="\t"),
    ".jsonl": _open_json_lines,
    ".ndjson": _open_json_lines,
    ".parquet": _open_parquet,
    ".txt": _open_list,
    ".lst": _open_list,
}
TABLE_EXTENSIONS = frozenset(FORMATS)
