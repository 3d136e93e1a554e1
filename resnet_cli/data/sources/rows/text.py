"""The text of tables and lists, line by line: UTF-8, UTF-16 with a byte order mark, and Windows-1252 in names."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from resnet_cli.data.sources.packed_sizes import MAX_RATIO, unpacked_limit
from resnet_cli.errors import DataError

#: A longer line, or quoted record of several lines, is not a row of a table.
MAX_LINE_BYTES = 1_000_000
#: Key of a record with more cells than the table has columns.
EXTRA_CELLS = "\0extra"
#: Bytes of a name that was not UTF-8, as they are kept in a string.
_ESCAPED = re.compile("[\udc80-\udcff]")
#: Three such bytes in a row are a word in an alphabet that is not Latin.
_FOREIGN_WORD = re.compile("[\udc80-\udcff]{3}")

#: Line or row number, 1-based, and column name -> value.
Record: TypeAlias = tuple[int, dict[str, Any]]
Records: TypeAlias = Callable[[Sequence[str]], Iterator[Record]]


@dataclass(frozen=True)
class TableFile:
    """An open table of any format.

    Attributes:
        columns: Names of all columns as written.
        records: Called with the columns that are needed; yields records with at least these.
        lenient: The same where rows with too many cells are yielded with the key :data:`EXTRA_CELLS`; None if rows
            cannot have too many.
        without_header: Called with the position of the images; the same table where the first row is a row like the
            others. None if the format always names its columns.
        binary: Columns that contain images.
    """

    columns: tuple[str, ...]
    records: Records
    lenient: Records | None = None
    without_header: Callable[[int], TableFile] | None = None
    binary: frozenset[str] = field(default_factory=frozenset)


def quoted(value: Any) -> str:
    """A value of a table as text for messages: ASCII, cut to 60 characters."""
    return ascii(value)[:60]


def row_error(path: Path, line: int, what: str, *, hint: str | None = None) -> DataError:
    """An error that names the row where it was found."""
    unit = "row" if path.suffix.lower() in (".parquet", ".xlsx") else "line"
    return DataError(f"{path}: {unit} {line}: {what}", hint=hint)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers and ends; other bytes become surrogates, as in file names.

    A file with the byte order mark of UTF-16 is UTF-16; one whose name ends in ``.gz`` is decompressed as it is read.

    Raises:
        DataError: The file cannot be read, is damaged, has an endless line, or is a decompression bomb.
    """
    try:
        if path.suffix.lower() != ".gz":
            with path.open("rb") as file:
                yield from _lines(path, file)
            return
        limit = unpacked_limit(path.stat().st_size)
        with gzip.open(path) as packed:
            for number, line in _lines(path, packed):
                if packed.tell() > limit:
                    raise DataError(
                        f"{path}: refused: it unpacks to more than {MAX_RATIO} times its size, as a decompression "
                        "bomb does"
                    )
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _lines(path: Path, file: Any) -> Iterator[tuple[int, str]]:
    line: bytes = file.readline(MAX_LINE_BYTES + 1)
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        file.seek(0)
        yield from _utf16_lines(path, file)
        return
    text = line.removeprefix(codecs.BOM_UTF8)
    for number in itertools.count(1):
        if len(line) > MAX_LINE_BYTES:
            raise row_error(path, number, f"longer than {MAX_LINE_BYTES:,} bytes")
        if not line:
            return
        yield number, text.decode("utf-8", "surrogateescape")
        line = text = file.readline(MAX_LINE_BYTES + 1)


def _utf16_lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, str]]:
    text = io.TextIOWrapper(file, encoding="utf-16", newline="")
    try:
        for number in itertools.count(1):
            line = text.readline(MAX_LINE_BYTES + 1)
            if len(line) > MAX_LINE_BYTES:
                raise row_error(path, number, f"longer than {MAX_LINE_BYTES:,} characters")
            if not line:
                return
            yield number, line
    except UnicodeError as error:
        raise DataError(f"{path}: damaged UTF-16 text: {error}", hint="save it as UTF-8") from error
    finally:
        # The file is closed where it was opened.
        text.detach()


def is_undecoded(text: str) -> bool:
    """Whether a text has bytes that are not UTF-8."""
    return _ESCAPED.search(text) is not None


def western(text: str) -> str | None:
    """The text with bytes that are not UTF-8 read as Windows-1252; None if that makes no words of a Latin alphabet.

    Source: learn.microsoft.com, Excel saves "CSV (Comma delimited)" in the system's code page, 1252 in the West.
    """
    if not is_undecoded(text):
        return text
    if _FOREIGN_WORD.search(text):
        return None
    try:
        return _ESCAPED.sub(lambda match: bytes([ord(match[0]) - 0xDC00]).decode("cp1252"), text)
    except UnicodeDecodeError:
        return None
