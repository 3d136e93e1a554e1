"""Lists of images: one path per line or separated by NUL, and tables with a column of paths."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from resnet_cli.data.sources.rows.row import Row
from resnet_cli.data.sources.tables import columns
from resnet_cli.data.sources.tables import formats as table_formats
from resnet_cli.data.sources.tables import table as tables
from resnet_cli.data.sources.tables.formats import MAX_LINE_BYTES
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.images import is_image_name

_CHUNK_BYTES = 256 * 1024


def read_paths(file: BinaryIO, name: str, *, null: bool = False) -> Iterator[str]:
    """Yields paths from a file or a pipe as they arrive; empty lines are skipped.

    Args:
        file: Read only as far as paths are requested.
        name: Name for errors.
        null: Whether each path ends with NUL, as ``find -print0`` writes them, instead of the end of the line.

    Raises:
        DataError: An entry is longer than any path, or the file cannot be read.
    """
    records = _until_nul(file) if null else iter(functools.partial(file.readline, MAX_LINE_BYTES + 1), b"")
    try:
        for number, record in enumerate(records, start=1):
            if len(record) > MAX_LINE_BYTES:
                raise DataError(
                    f"{name}: entry {number} is longer than {MAX_LINE_BYTES:,} bytes", hint="is this a list of paths?"
                )
            path = record if null else record.rstrip(b"\r\n")
            if b"\0" in path:
                hint = "for names that end with NUL: --null"
                raise DataError(f"{name}: entry {number} contains NUL, which no path can", hint=hint)
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
    """Yields the images that a table lists; labels are neither needed nor read.

    Each line of a ``.txt`` or ``.lst`` file is a path, or a path and a label.

    Args:
        path: A table; the extension gives its format.
        image_column: Column with paths or images; None recognizes it by its name, or takes the only one.

    Raises:
        DataError: The table is damaged or empty, or has no column of images.
        ConfigError: The requested column does not exist.
        SetupError: It is a Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() in {".txt", ".lst"}:
        if image_column is not None:
            raise ConfigError(f"--image-column has no effect: {path} does not name its columns")
        yield from _read_list(path)
        return
    source = table_formats.open_table_file(path)
    column = _find_column(path, source.columns, image_column)
    num_rows = 0
    for line, record in source.records([column]):
        num_rows += 1
        if column not in record:
            raise table_formats.row_error(path, line, f"'{column}' is missing")
        image, data = tables.image_of(path, line, tables.identifier(column, record[column]))
        if not image.strip():
            raise table_formats.row_error(path, line, "no image")
        yield Row(tables.checked_text(path, line, "image", image), line=line, data=data)
    if not num_rows:
        raise DataError(
            f"{path}: the table has no rows", hint="the first line names the columns, and each line after it is a row"
        )


def _find_column(path: Path, names: Sequence[str], asked: str | None) -> str:
    if not names:
        raise DataError(f"{path}: the table is empty")
    _, known = columns.ROLES["image"]
    found = columns.find_column(names, known if asked is None else (asked,))
    hint = f"its columns: {', '.join(names)[:300]}"
    if found is None and asked is not None:
        raise ConfigError(f"--image-column {asked}: {path} has no such column", hint=hint)
    if found is None and len(names) == 1:
        return names[0]
    if found is None:
        raise DataError(f"{path}: no column is called 'image'", hint=f"name it with --image-column COLUMN; {hint}")
    return found


def _read_list(path: Path) -> Iterator[Row]:
    """Yields the paths of lines with ``path`` or ``path label``; only a path has the extension of an image."""
    num_rows = 0
    for number, line in table_formats.lines_of(path):
        text = line.strip(" \t\r\n")
        if not text or text.startswith("#"):
            continue
        num_rows += 1
        image, blank, _ = text.rpartition("\t" if "\t" in text else " ")
        is_labelled = blank and not is_image_name(text) and is_image_name(image.rstrip(" \t"))
        name = image.rstrip(" \t") if is_labelled else text
        yield Row(tables.checked_text(path, number, "image", name), line=number)
    if not num_rows:
        raise DataError(f"{path}: contains no paths", hint="write one path per line")
