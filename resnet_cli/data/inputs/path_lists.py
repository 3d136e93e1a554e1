"""Lists of images: one path a line or one after each NUL, and tables with a column of paths."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from resnet_cli.data.sources import table_formats, tables
from resnet_cli.data.sources.table_formats import MAX_LINE_BYTES
from resnet_cli.data.sources.tables import Row
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.images import is_image_name

_CHUNK_BYTES = 256 * 1024


def read_paths(file: BinaryIO, name: str, *, null: bool = False) -> Iterator[str]:
    """Paths from a file or a pipe as they come; empty lines are passed over.

    Args:
        file: Read only as far as paths are asked for.
        name: For errors.
        null: Each path ends with a NUL, as ``find -print0`` writes them, and not with the line.

    Raises:
        DataError: Longer than any path, or it cannot be read.
    """
    records = _until_nul(file) if null else iter(functools.partial(file.readline, MAX_LINE_BYTES + 1), b"")
    try:
        for number, record in enumerate(records, start=1):
            if len(record) > MAX_LINE_BYTES:
                raise DataError(f"{name}: entry {number} is longer than {MAX_LINE_BYTES:,} bytes", hint="is it a list?")
            path = record if null else record.rstrip(b"\r\n")
            if b"\0" in path:
                hint = "for names that end with a NUL: --null"
                raise DataError(f"{name}: entry {number} holds a NUL, as no path does", hint=hint)
            if path:
                yield os.fsdecode(path)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from error


def _until_nul(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := getattr(file, "read1", file.read)(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
        if len(rest) > MAX_LINE_BYTES:
            break
    yield rest


def read_image_column(path: Path, image_column: str | None = None) -> Iterator[Row]:
    """The images that a table names; labels are neither needed nor looked at.

    A ``.txt`` or ``.lst`` holds a path a line, or a path and a label.

    Args:
        path: A table; its extension says which kind.
        image_column: The column of paths or images; None: found by its name, or the only one.

    Raises:
        DataError: Damaged, empty, or no column of images.
        ConfigError: The column that is asked for is not there.
        SetupError: A Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() in {".txt", ".lst"}:
        if image_column is not None:
            raise ConfigError(f"--image-column has no effect: {path} has no names of columns")
        yield from _read_list(path)
        return
    source = table_formats.FORMATS[path.suffix.lower()](path)
    column = _find_column(path, source.columns, image_column)
    num_rows = 0
    for line, record in source.records([column]):
        num_rows += 1
        if column not in record:
            raise table_formats.row_error(path, line, f"'{column}' is missing")
        image, data = tables.image_of(path, line, record[column])
        if not image.strip():
            raise table_formats.row_error(path, line, "no image")
        yield Row(tables.checked_text(path, line, "image", image), "", line=line, data=data)
    if not num_rows:
        raise DataError(f"{path}: no rows in it", hint="its first line names the columns, and each line after it a row")


def _find_column(path: Path, columns: Sequence[str], asked: str | None) -> str:
    if not columns:
        raise DataError(f"{path}: the table is empty")
    _, known = tables.ROLES["image"]
    found = tables.find_column(columns, known if asked is None else (asked,))
    hint = f"its columns: {', '.join(columns)[:300]}"
    if found is None and asked is not None:
        raise ConfigError(f"--image-column {asked}: {path} has no such column", hint=hint)
    if found is None and len(columns) == 1:
        return columns[0]
    if found is None:
        raise DataError(f"{path}: no column is called 'image'", hint=f"name it with --image-column COLUMN; {hint}")
    return found


def _read_list(path: Path) -> Iterator[Row]:
    """Lines of paths; of ``path label``, where only the first of the two ends like an image."""
    num_rows = 0
    for number, line in table_formats.lines_of(path):
        text = line.strip(" \t\r\n")
        if not text or text.startswith("#"):
            continue
        num_rows += 1
        image, blank, _ = text.rpartition("\t" if "\t" in text else " ")
        is_labelled = blank and not is_image_name(text) and is_image_name(image.rstrip(" \t"))
        name = image.rstrip(" \t") if is_labelled else text
        yield Row(tables.checked_text(path, number, "image", name), "", line=number)
    if not num_rows:
        raise DataError(f"{path}: no paths in it", hint="one path a line")
