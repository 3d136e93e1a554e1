"""Excel workbooks as tables, through openpyxl."""

from __future__ import annotations

import contextlib
import itertools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.rows.text import Record, TableFile
from resnet_cli.data.sources.tables.columns import known_columns
from resnet_cli.errors import DataError, missing_extra

#: Unpacked size of a workbook; openpyxl keeps all different texts of a workbook in memory.
MAX_WORKBOOK_BYTES = 512 * 1024**2
_MAX_COLUMNS = 10_000


def open_excel(path: Path) -> TableFile:
    """Opens the first sheet with a column of images, or else the first one that is not empty.

    Raises:
        DataError: The file is not a workbook, or is damaged or very large.
        SetupError: openpyxl is not installed.
    """
    with _workbook(path) as book:
        headers = {name: _header(book[name]) for name in book.sheetnames if hasattr(book[name], "iter_rows")}
    filled = [name for name, (_, cells) in headers.items() if cells]
    if not filled:
        return TableFile((), lambda _: iter(()))
    named = [name for name in filled if known_columns(headers[name][1], "image")]
    sheet = (named or filled)[0]
    first, columns = headers[sheet]

    def records(_: Sequence[str]) -> Iterator[Record]:
        with _workbook(path) as book:
            rows = book[sheet].iter_rows(min_row=first + 1, max_col=_MAX_COLUMNS, values_only=True)
            for number, cells in enumerate(rows, start=first + 1):
                if any(cell is not None for cell in cells):
                    padded = itertools.chain(map(_cell, cells), itertools.repeat(""))
                    yield number, dict(zip(columns, padded, strict=False))

    return TableFile(tuple(columns), records)


def _header(sheet: Any) -> tuple[int, list[str]]:
    """The number of the first row that is not empty, and its cells."""
    for number, cells in enumerate(sheet.iter_rows(max_row=100, max_col=_MAX_COLUMNS, values_only=True), start=1):
        texts = [_cell(cell) for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            return number, texts
    return 0, []


def _cell(value: Any) -> str:
    """A cell as text: a number without decimals is an integer, as it is shown."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@contextlib.contextmanager
def _workbook(path: Path) -> Iterator[Any]:
    try:
        import openpyxl
    except ImportError as error:
        message = f"{path}: reading Excel workbooks needs openpyxl, which is not installed"
        raise missing_extra(message, "excel") from error
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                num_bytes = sum(member.file_size for member in archive.infolist())
            if num_bytes > MAX_WORKBOOK_BYTES:
                raise DataError(
                    f"{path}: a workbook of more than {MAX_WORKBOOK_BYTES // 1024**2} MB", hint="save it as CSV"
                )
            file.seek(0)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            try:
                yield book
            finally:
                book.close()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except DataError:
        raise
    # openpyxl passes on whatever its parsers raise at damaged XML.
    except Exception as error:
        raise DataError(f"{path}: not a readable Excel workbook: {error}", hint="save it as CSV UTF-8") from error
