"""Tables of images: the columns with images, labels, splits and groups, and the rows."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.own_tables import (
    CLEANED_COLUMN,
    has_own_sets,
    is_classified,
    prob_columns,
    unknown_columns,
)
from resnet_cli.data.sources.rows.row import Row
from resnet_cli.data.sources.rows.text import western
from resnet_cli.data.sources.tables.columns import LAYOUT, Columns, columns_by_name, no_rows, plain_column
from resnet_cli.data.sources.tables.formats import TableFile, open_table_file, quoted, row_error
from resnet_cli.data.sources.tables.label_columns import MARKED_SPLITS
from resnet_cli.data.sources.tables.profiles import MARKS, UNKNOWN_MARKS, cell_text, split_text
from resnet_cli.errors import DataError
from resnet_cli.text import split_labels

MAX_ROWS = 20_000_000
#: NUL, and the surrogates that do not represent a byte of a file name.
_UNWRITABLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Table:
    """The columns of a table, and its rows.

    Attributes:
        rows: One pass over the file, which is read only as far as rows are requested; raises DataError at an
            invalid row, and SetupError as :func:`read_table` does.
        columns: Names of all columns as written.
    """

    rows: Iterator[Row]
    columns: tuple[str, ...]


def read_table(
    path: Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
) -> Table:
    """Opens a table of images; the extension gives its format.

    Args:
        path: A CSV (``,`` or ``;``), TSV, JSON lines or Parquet file, or a list of ``path label`` lines.
        image_column: Column with paths or images; None recognizes it by its name. The same holds for the other three.
        label_column: Column with class names.
        split_column: Column with train, val or test.
        group_column: Column with groups.

    Raises:
        DataError: The file is not a table, is damaged, or has no column of images or labels.
        ConfigError: A requested column does not exist.
        SetupError: It is a Parquet file, and pyarrow is not installed.
    """
    return table_of(
        path,
        open_table_file(path),
        image_column=image_column,
        label_column=label_column,
        split_column=split_column,
        group_column=group_column,
    )


def table_of(
    path: Path,
    source: TableFile,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
) -> Table:
    """Takes an open file of any format as a table of images; see :func:`read_table`.

    Raises:
        DataError: The file has no column of images or labels.
        ConfigError: A requested column does not exist.
    """
    if not source.columns:
        raise DataError(f"{path}: the table is empty", hint=LAYOUT)
    asked = {"image": image_column, "label": label_column, "split": split_column, "group": group_column}

    def choose(columns: Sequence[str]) -> Columns:
        return columns_by_name(path, columns, asked)

    return Table(_filled(path, rows_of(path, source, choose(source.columns), choose)), source.columns)


def image_rows(path: Path, image_column: str | None) -> Iterator[Row]:
    """The images that a table lists, whatever says which labels they have.

    Raises:
        DataError: The file is not a table, is damaged, or has no column of images.
        ConfigError: The requested column does not exist.
        SetupError: A package that the format needs is not installed.
    """
    source = open_table_file(path)
    columns = columns_by_name(path, source.columns, {"image": image_column}, needed=("image",))
    yield from rows_of(path, source, Columns(columns.image))


def _filled(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if row.labels is None:
            raise row_error(path, row.line, "no label")
        yield row


def rows_of(
    path: Path, source: TableFile, columns: Columns, choose: Callable[[Sequence[str]], Columns | None] | None = None
) -> Iterator[Row]:
    """One pass over the rows of a table; a row without label has an empty one.

    Args:
        path: The table, for messages.
        source: Its columns and rows.
        columns: The columns that are used.
        choose: How they were chosen by their names, for rows that may have other columns than the first one.

    Raises:
        DataError: A row is invalid, or there are none.
    """
    known = set(source.columns)
    names = {"image": columns.image, "label": columns.label, "split": columns.split, "group": columns.group}
    names = {role: column for role, column in names.items() if column or role == "image"}
    # A cleaned table has the names of folders and files as they are, in whatever encoding.
    decodes = CLEANED_COLUMN not in source.columns
    has_sets, num_rows = has_own_sets(source.columns), 0
    unknown, probs = (find(source.columns) if has_sets else [] for find in (unknown_columns, prob_columns))
    for line, record in source.records([*columns.used, *unknown, *probs]):
        num_rows += 1
        if num_rows > MAX_ROWS:
            raise DataError(f"{path}: more than {MAX_ROWS:,} rows")
        missing = [column for column in columns.used if column not in record]
        if missing:
            raise row_error(path, line, f"'{missing[0]}' is missing")
        # Objects of JSON lines need not have the same keys; a split that only some have must not be ignored.
        if choose is not None and not record.keys() <= known and choose(tuple(record)) != columns:
            raise row_error(path, line, "has different columns of images, labels, splits or groups than the first row")
        values = {role: record[column] for role, column in names.items()}
        if columns.split:
            values["split"] = _split(columns.split, values["split"])
        values["image"] = identifier(columns.image, values["image"])
        if has_sets:
            values.pop("label", None)
        row = _row(path, line, values, decodes=decodes)
        if columns.one_hot:
            row = _marked(path, row, [(name.strip(), record[name]) for name in columns.one_hot])
        elif columns.confidence and _says_no(path, line, columns.confidence, record[columns.confidence]):
            row = dataclasses.replace(row, labels=(), denied=row.labels or ())
        elif has_sets and all(is_classified(record[columns.label], record[name]) for name in probs):
            labels, *others = _written(path, line, [record[name] for name in (columns.label, *unknown)])
            row = dataclasses.replace(row, labels=labels, unknown=tuple(name for names in others for name in names))
        yield row
    if not num_rows:
        raise no_rows(path)


def _marked(path: Path, row: Row, cells: Sequence[tuple[str, Any]]) -> Row:
    """The row with the columns that it marks as labels; one that is blank everywhere has none."""
    texts = {name: _yes_or_no(path, row.line, name, value) for name, value in cells}
    if not any(texts.values()):
        return row
    labels = tuple(name for name, text in texts.items() if MARKS.get(text))
    return dataclasses.replace(
        row, labels=labels, unknown=tuple(name for name in texts if texts[name] in UNKNOWN_MARKS)
    )


def _written(path: Path, line: int, cells: Sequence[Any]) -> list[tuple[str, ...]]:
    """The labels in cells that this tool wrote, which are lists in JSON lines and Parquet."""
    try:
        return [
            (_labels(path, line, cell, decodes=False) or ())
            if isinstance(cell, list | tuple)
            else split_labels(_text(path, line, "label", cell, decodes=False))
            for cell in cells
        ]
    except (ValueError, RecursionError) as error:
        raise row_error(path, line, f"the labels are not written as this tool writes them: {error}") from error


def _says_no(path: Path, line: int, column: str, value: Any) -> bool:
    return MARKS.get(_yes_or_no(path, line, column, value)) is False


def _yes_or_no(path: Path, line: int, column: str, value: Any) -> str:
    text = cell_text(value).lower()
    if text not in MARKS and text not in UNKNOWN_MARKS:
        raise row_error(path, line, f"'{column}' must be 0, 1 or -1 (unknown), not {quoted(value)}")
    return text


def _split(column: str, value: Any) -> Any:
    """A cell of a column of splits with the usual name of its split, also in a column such as `is_valid`."""
    split = MARKED_SPLITS.get(plain_column(column))
    text = cell_text(value)
    if split is not None and text.lower() in MARKS:
        return split if MARKS[text.lower()] else "train"
    return split_text(text) if isinstance(value, str) else value


def identifier(column: str, value: Any) -> Any:
    """A number as text if its column has numbers of images, and not paths; everything else as it is."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number and plain_column(column).endswith("id") else value


def _row(path: Path, line: int, values: dict[str, Any], *, decodes: bool) -> Row:
    image, data = image_of(path, line, values.pop("image"))
    labels = _labels(path, line, values.pop("label", None), decodes=decodes)
    texts = {role: _text(path, line, role, value, decodes=decodes) for role, value in values.items()}
    if not image.strip():
        raise row_error(path, line, "no image")
    name = checked_text(path, line, "image", image)
    return Row(name, labels, texts.get("split", ""), texts.get("group", ""), line, data)


def _labels(path: Path, line: int, value: Any, *, decodes: bool) -> tuple[str, ...] | None:
    """The labels of a cell of text, or of a list of them, as JSON lines and Parquet files have it."""
    if not isinstance(value, list | tuple):
        text = _text(path, line, "label", value, decodes=decodes)
        return (text,) if text else None
    texts = (_text(path, line, "label", one, decodes=decodes) for one in value)
    return tuple(dict.fromkeys(filter(None, texts)))


def image_of(path: Path, line: int, value: Any) -> tuple[str, bytes | None]:
    """The name of an image, and its bytes if it is stored in the table."""
    if isinstance(value, dict):
        # Source: Hugging Face datasets, features.Image: {"bytes": binary, "path": string}, either may be null.
        data, name = value.get("bytes"), value.get("path")
    else:
        data, name = (value, None) if isinstance(value, bytes) else (None, value)
    if name is not None and not isinstance(name, str):
        raise row_error(path, line, f"the image must be a path, not {quoted(name)}")
    if not isinstance(data, bytes):
        return name or "", None
    base = (name or "").replace("\\", "/").rpartition("/")[2]
    return base if base.strip(" .") else f"row{line:06d}", data


def _text(path: Path, line: int, role: str, value: Any, *, decodes: bool = True) -> str:
    """A cell as stripped text; null and NaN are empty."""
    if isinstance(value, float):
        if math.isinf(value):
            raise row_error(path, line, f"the {role} must be text or a number, not {value}")
        value = None if math.isnan(value) else int(value) if value.is_integer() else repr(value)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise row_error(path, line, f"the {role} must be text or a number, not {quoted(value)}")
    text = str(value).strip()
    decoded = western(text) if decodes else text
    if decoded is None:
        raise row_error(
            path,
            line,
            f"the {role} {quoted(text)} is neither UTF-8 nor Windows-1252",
            hint="save the table as UTF-8 (Excel: CSV UTF-8), or convert it: iconv -f ENCODING -t UTF-8",
        )
    return checked_text(path, line, role, decoded)


def checked_text(path: Path, line: int, role: str, text: str) -> str:
    """Rejects characters that neither a file name nor a written file can contain."""
    if _UNWRITABLE.search(text):
        raise row_error(path, line, f"the {role} {quoted(text)} contains characters that no file name can have")
    return text
