"""Tables of images: the columns with images, labels, splits and groups, and the rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.rows import Row
from resnet_cli.data.sources.table_formats import FORMATS, TABLE_EXTENSIONS, TableFile, quoted, row_error
from resnet_cli.errors import ConfigError, DataError

MAX_ROWS = 20_000_000
#: Role -> the flag that names its column, and the names that are recognized without it; the first match counts.
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
_LAYOUT = "the first line names the columns, image,label, and each line after it names one image"
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
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: not a table", hint=f"a table's name ends in {', '.join(sorted(TABLE_EXTENSIONS))}")
    return table_of(
        path,
        FORMATS[path.suffix.lower()](path),
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
                raise DataError(f"{path}: the column '{found}' occurs twice", hint="rename or remove one of them")
            chosen[role] = found
    return chosen


def find_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the names that is a column, ignoring case; None if there is no such column."""
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    for name in names:
        found = name if name in columns else by_lower.get(name.strip().lower())
        if found is not None:
            return found
    return None


def _rows(path: Path, source: TableFile, chosen: dict[str, str], asked: Mapping[str, str | None]) -> Iterator[Row]:
    known = set(source.columns)
    num_rows = 0
    for line, record in source.records(list(chosen.values())):
        num_rows += 1
        if num_rows > MAX_ROWS:
            raise DataError(f"{path}: more than {MAX_ROWS:,} rows")
        missing = [column for column in chosen.values() if column not in record]
        if missing:
            raise row_error(path, line, f"'{missing[0]}' is missing")
        # Objects of JSON lines need not have the same keys; a split that only some have must not be ignored.
        if not record.keys() <= known and _choose(path, tuple(record), asked) != chosen:
            raise row_error(path, line, "has different columns of images, labels, splits or groups than the first row")
        yield _row(path, line, {role: record[column] for role, column in chosen.items()})
    if not num_rows:
        raise DataError(f"{path}: the table has no rows", hint=_LAYOUT)


def _row(path: Path, line: int, values: dict[str, Any]) -> Row:
    image, data = image_of(path, line, values.pop("image"))
    texts = {role: _text(path, line, role, value) for role, value in values.items()}
    if not image.strip() or not texts["label"]:
        raise row_error(path, line, "no label" if image.strip() else "no image")
    return Row(image=checked_text(path, line, "image", image), line=line, data=data, **texts)


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


def _text(path: Path, line: int, role: str, value: Any) -> str:
    """A cell as stripped text; null and NaN are empty."""
    if isinstance(value, float):
        if math.isinf(value):
            raise row_error(path, line, f"the {role} must be text or a number, not {value}")
        value = None if math.isnan(value) else int(value) if value.is_integer() else repr(value)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise row_error(path, line, f"the {role} must be text or a number, not {quoted(value)}")
    return checked_text(path, line, role, str(value).strip())


def checked_text(path: Path, line: int, role: str, text: str) -> str:
    """Rejects characters that neither a file name nor a written file can contain."""
    if _UNWRITABLE.search(text):
        raise row_error(path, line, f"the {role} {quoted(text)} contains characters that no file name can have")
    return text
