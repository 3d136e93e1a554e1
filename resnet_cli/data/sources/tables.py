"""Tables of images, read row by row: CSV, TSV, JSON lines, Parquet, and plain lists of ``path label`` lines."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from resnet_cli.errors import ConfigError, DataError, missing_extra
from resnet_cli.images import is_image_name

#: A longer line, or quoted record of several lines, is no row of a table.
MAX_LINE_BYTES = 1_000_000
MAX_ROWS = 20_000_000
#: What a batch of a Parquet file's rows may take in memory; at least one row is read.
PARQUET_BATCH_BYTES = 8 * 1024**2
#: Small reads instead of a whole column of a row group.
_PARQUET_BUFFER_BYTES = 1024**2
_PARQUET_BATCH_ROWS = 8192
#: Role -> the flag that names its column, and the names that are known without it, the first one found wins.
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "image": (
        "--image-column",
        ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img"),
    ),
    "label": ("--label-column", ("label", "class", "category", "target", "label_name", "class_name")),
    "split": ("--split-column", ("split", "subset", "set")),
    "group": ("--group-by", ("group", "group_id")),
}
_NEEDED = ("image", "label")
_LAYOUT = "its first line names the columns, image,label, and each line after it one image"
#: NUL, and the surrogates that do not stand for a byte of a file's name.
_UNWRITABLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")

#: Line or row number, 1-based, and column name -> value.
_Record: TypeAlias = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a table.

    Attributes:
        image: The path as written, or the name of an image that is inside the table.
        label: The class's name, stripped, never empty.
        split: As written, stripped; empty where the table does not say.
        group: As written, stripped; empty: of no group.
        line: 1-based line of a text file or row of a Parquet file, for error messages.
        data: The encoded image, where a Parquet file holds it.
    """

    image: str
    label: str
    split: str = ""
    group: str = ""
    line: int = 0
    data: bytes | None = None


@dataclass(frozen=True)
class Table:
    """The columns of a table, and its rows.

    Attributes:
        rows: One pass over the file, which is read as far as rows are asked for; raises DataError at the row that
            is wrong, and SetupError as :func:`read_table`.
        columns: The names of all columns as written.
    """

    rows: Iterator[Row]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """A format's part: the columns, and the records with at least the columns that are asked for."""

    columns: tuple[str, ...]
    records: Callable[[Sequence[str]], Iterator[_Record]]


def is_table_name(path: Path) -> bool:
    """Whether a file's name says that it is a table (hidden files never are)."""
    return path.suffix.lower() in TABLE_EXTENSIONS and not path.name.startswith(".")


def read_table(
    path: Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
) -> Table:
    """Opens a table of images; the extension says which format it is.

    Args:
        path: A CSV (``,`` or ``;``), TSV, JSON lines or Parquet file, or a list of ``path label`` lines.
        image_column: The column of paths or images, None: found by its name; so are the other three.
        label_column: The column of class names.
        split_column: The column that says train, val or test.
        group_column: The column of groups.

    Raises:
        DataError: Not such a file, damaged, or no column of images or labels.
        ConfigError: A column that is asked for is not there.
        SetupError: A Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: not a table", hint=f"a table's name ends in {', '.join(sorted(TABLE_EXTENSIONS))}")
    source = FORMATS[path.suffix.lower()](path)
    if not source.columns:
        raise DataError(f"{path}: the table is empty", hint=_LAYOUT)
    asked = {"image": image_column, "label": label_column, "split": split_column, "group": group_column}
    chosen = _choose(path, source.columns, asked)
    return Table(_rows(path, source, chosen, asked), source.columns)


def _choose(path: Path, columns: Sequence[str], asked: Mapping[str, str | None]) -> dict[str, str]:
    """Role -> column, for the roles that have one."""
    hint = f"its columns: {', '.join(columns)[:300]}"
    chosen = {}
    for role, (flag, known) in ROLES.items():
        name = asked[role]
        found = find_column(columns, known if name is None else (name,))
        if found is None and name is not None:
            raise ConfigError(f"{flag} {name}: {path} has no such column", hint=hint)
        if found is None and role in _NEEDED:
            raise DataError(f"{path}: no column is called '{role}'", hint=f"name it with {flag} COLUMN; {hint}")
        if found is not None:
            if columns.count(found) > 1:
                raise DataError(f"{path}: the column '{found}' is there twice", hint="rename or remove one of them")
            chosen[role] = found
    return chosen


def find_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the names that is a column, in any case; None if none is."""
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    for name in names:
        found = name if name in columns else by_lower.get(name.strip().lower())
        if found is not None:
            return found
    return None


def _rows(path: Path, source: _Source, chosen: dict[str, str], asked: Mapping[str, str | None]) -> Iterator[Row]:
    known = set(source.columns)
    num_rows = 0
    for line, record in source.records(list(chosen.values())):
        num_rows += 1
        if num_rows > MAX_ROWS:
            raise DataError(f"{path}: more than {MAX_ROWS:,} rows")
        missing = [column for column in chosen.values() if column not in record]
        if missing:
            raise row_error(path, line, f"'{missing[0]}' is missing")
        # Objects of JSON lines need not have the same keys; a split that only some have must not be passed over.
        if not record.keys() <= known and _choose(path, tuple(record), asked) != chosen:
            raise row_error(path, line, "has other columns of images, labels, splits or groups than the first row")
        yield _row(path, line, {role: record[column] for role, column in chosen.items()})
    if not num_rows:
        raise DataError(f"{path}: no rows in it", hint=_LAYOUT)


def _row(path: Path, line: int, values: dict[str, Any]) -> Row:
    image, data = image_of(path, line, values.pop("image"))
    texts = {role: _text(path, line, role, value) for role, value in values.items()}
    if not image.strip() or not texts["label"]:
        raise row_error(path, line, "no label" if image.strip() else "no image")
    return Row(image=checked_text(path, line, "image", image), line=line, data=data, **texts)


def image_of(path: Path, line: int, value: Any) -> tuple[str, bytes | None]:
    """The name, and the bytes of an image that is inside the table."""
    if isinstance(value, dict):
        # Source: Hugging Face datasets, features.Image: {"bytes": binary, "path": string}, either may be null.
        data, name = value.get("bytes"), value.get("path")
    else:
        data, name = (value, None) if isinstance(value, bytes) else (None, value)
    if name is not None and not isinstance(name, str):
        raise row_error(path, line, f"the image must be a path, not {_shown(name)}")
    if not isinstance(data, bytes):
        return name or "", None
    base = (name or "").replace("\\", "/").rpartition("/")[2]
    return base if base.strip(" .") else f"row{line:06d}", data


def _text(path: Path, line: int, role: str, value: Any) -> str:
    """A cell as stripped text; what stands for nothing (null, NaN) is empty."""
    if isinstance(value, float):
        if math.isinf(value):
            raise row_error(path, line, f"the {role} must be text or a number, not {value}")
        value = None if math.isnan(value) else int(value) if value.is_integer() else repr(value)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise row_error(path, line, f"the {role} must be text or a number, not {_shown(value)}")
    return checked_text(path, line, role, str(value).strip())


def checked_text(path: Path, line: int, role: str, text: str) -> str:
    """Refuses what no file name and no written file can hold."""
    if _UNWRITABLE.search(text):
        raise row_error(path, line, f"the {role} {_shown(text)} holds characters that no file name can have")
    return text


def _shown(value: Any) -> str:
    return ascii(value)[:60]


def row_error(path: Path, line: int, what: str, *, hint: str | None = None) -> DataError:
    """The error that names a row."""
    unit = "row" if path.suffix.lower() == ".parquet" else "line"
    return DataError(f"{path}: {unit} {line}: {what}", hint=hint)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers and ends; other bytes survive as surrogates."""
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


def _open_csv(path: Path) -> _Source:
    first = next((line for _, line in lines_of(path) if line.strip()), "")
    return _open_cells(path, ";" if ";" in first and "," not in first else ",")


def _open_cells(path: Path, delimiter: str) -> _Source:
    _, header = next(_cells(path, delimiter), (0, []))
    has_header = not header or not is_image_name(Path(header[0].strip()))
    if not has_header and len(header) > len(ROLES):
        raise DataError(
            f"{path}: the first line has {len(header)} cells and no names of columns",
            hint="put a line such as image,label before it",
        )
    columns = tuple(header if has_header else [*ROLES][: len(header)])

    def records(_: Sequence[str]) -> Iterator[_Record]:
        for line, cells in itertools.islice(_cells(path, delimiter), int(has_header), None):
            if "".join(cells[len(columns) :]).strip():
                raise row_error(
                    path,
                    line,
                    f"{len(cells)} cells under {len(columns)} columns",
                    hint=f"put names that hold '{delimiter}' in double quotes",
                )
            yield line, dict(zip(columns, cells, strict=False))

    return _Source(columns, records)


def _cells(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its first line."""
    start, num_chars = 1, 0

    def lines() -> Iterator[str]:
        nonlocal num_chars
        for _, line in lines_of(path):
            num_chars += len(line)
            if num_chars > MAX_LINE_BYTES:
                raise row_error(path, start, f"a row longer than {MAX_LINE_BYTES:,} characters")
            yield line

    # Strict: a quote that is never closed would take the rest of the file for one cell.
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if "".join(cells).strip():
                yield start, cells
            start, num_chars = reader.line_num + 1, 0
    except csv.Error as error:
        hint = "look for a double quote that is not closed"
        raise row_error(path, start, f"not a row of a table: {error}", hint=hint) from error


def _open_list(path: Path) -> _Source:
    def records(_: Sequence[str]) -> Iterator[_Record]:
        for number, line in lines_of(path):
            # ASCII blanks alone: others are parts of names.
            text = line.strip(" \t\r\n")
            if text and not text.startswith("#"):
                image, blank, label = text.rpartition("\t" if "\t" in text else " ")
                if not blank:
                    raise row_error(path, number, f"no label after {_shown(text)}", hint="each line is: path label")
                yield number, {"image": image.rstrip(" \t"), "label": label}

    return _Source(_NEEDED, records)


def _open_json_lines(path: Path) -> _Source:
    _, first = next(_objects(path), (0, {}))
    return _Source(tuple(first), lambda _: _objects(path))


def _objects(path: Path) -> Iterator[_Record]:
    hint = 'each line is: {"image": "cat.jpg", "label": "cat"}'
    for number, line in lines_of(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise row_error(path, number, f"not JSON: {error}", hint=hint) from error
        if not isinstance(value, dict):
            raise row_error(path, number, f"not a JSON object: {_shown(value)}", hint=hint)
        yield number, value


def _open_parquet(path: Path) -> _Source:
    with _parquet_file(path) as file:
        columns = tuple(file.schema_arrow.names)
        class_names = _class_names(path, file.schema_arrow.metadata or {})
    return _Source(columns, lambda wanted: _parquet_records(path, wanted, class_names))


def _parquet_records(path: Path, wanted: Sequence[str], class_names: Mapping[str, list[Any]]) -> Iterator[_Record]:
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
                    record[column] = _class_name(path, number, record[column], class_names[column])
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
        # An open file and not its name: pyarrow refuses names that are not UTF-8.
        with path.open("rb") as file, parquet.ParquetFile(file, **options) as opened:
            yield opened
    except (pyarrow.ArrowException, OSError, ValueError, ArithmeticError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or f"damaged: {error}"
        raise DataError(f"{path}: {reason}") from error


def _class_names(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, list[Any]]:
    """Column -> class names in index order, for the columns of which the file knows them.

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


def _class_name(path: Path, row: int, value: Any, names: list[Any]) -> Any:
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise row_error(path, row, f"label {value} is none of the {len(names)} classes that the file names")
    return names[value]


FORMATS: dict[str, Callable[[Path], _Source]] = {
    ".csv": _open_csv,
    ".tsv": functools.partial(_open_cells, delimiter="\t"),
    ".jsonl": _open_json_lines,
    ".ndjson": _open_json_lines,
    ".parquet": _open_parquet,
    ".txt": _open_list,
    ".lst": _open_list,
}
TABLE_EXTENSIONS = frozenset(FORMATS)
