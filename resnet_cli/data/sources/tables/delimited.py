"""Tables of cells that a delimiter separates, and plain lists of ``path label`` lines."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from resnet_cli.data.sources.rows.text import (
    EXTRA_CELLS,
    MAX_LINE_BYTES,
    Record,
    TableFile,
    lines_of,
    quoted,
    row_error,
    western,
)
from resnet_cli.images import is_image_name

#: Columns of a file whose first line does not name them.
DEFAULT_COLUMNS = ("image", "label", "split", "group")
#: Delimiters of a .csv file, in the order in which they are looked for in its first line.
_DELIMITERS = ",;\t|"
#: Source: support.microsoft.com, Excel reads the delimiter of a CSV file from such a first line.
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def open_csv(path: Path) -> TableFile:
    """Opens a table whose delimiter its first line shows.

    Raises:
        DataError: It cannot be read.
    """
    number, first = next(((number, line) for number, line in lines_of(path) if line.strip()), (0, ""))
    if named := _SEP_LINE.fullmatch(first):
        return open_cells(path, named[1], num_skipped=number)
    return open_cells(path, next((mark for mark in _DELIMITERS if mark in first), ","))


def open_cells(path: Path, delimiter: str, *, num_skipped: int = 0) -> TableFile:
    """Opens a table with a given delimiter.

    A first row with the name of an image is not a header: its columns are the image, the label, the split and the
    group, in this order around the image.

    Args:
        path: The table.
        delimiter: One character.
        num_skipped: Number of lines before the table.

    Raises:
        DataError: It cannot be read.
    """
    _, header = next(_cells(path, delimiter, num_skipped), (0, []))
    header = [western(cell) or cell for cell in header]
    position = next((index for index, cell in enumerate(header) if is_image_name(cell.strip())), None)

    def opened(columns: tuple[str, ...], num_rows_skipped: int) -> TableFile:
        def records(wanted: Sequence[str], *, is_lenient: bool = False) -> Iterator[Record]:
            for line, cells in itertools.islice(_cells(path, delimiter, num_skipped), num_rows_skipped, None):
                record = dict(zip(columns, cells, strict=False))
                if "".join(cells[len(columns) :]).strip():
                    # A comma in the text of the last column moves no other column.
                    if not is_lenient and columns[-1] in wanted:
                        raise row_error(
                            path,
                            line,
                            f"{len(cells)} cells under {len(columns)} columns",
                            hint=f"put names that contain '{delimiter}' in double quotes",
                        )
                    record[EXTRA_CELLS] = ""
                yield line, record

        def lenient(wanted: Sequence[str]) -> Iterator[Record]:
            return records(wanted, is_lenient=True)

        return TableFile(columns, records, lenient, without_header)

    def without_header(index: int) -> TableFile:
        return opened(_default_columns(len(header), index), 0)

    return opened(tuple(header), 1) if position is None else without_header(position)


def _default_columns(number: int, image: int) -> tuple[str, ...]:
    """The names of the columns of a table without a header whose images are in a given column."""
    if number > len(DEFAULT_COLUMNS):
        names = [f"column {index + 1}" for index in range(number)]
        names[image] = "image"
        return tuple(names)
    others = list(DEFAULT_COLUMNS[1:number])
    return (*others[:image], "image", *others[image:])


def _cells(path: Path, delimiter: str, num_skipped: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yields the records that are not blank, each with the number of its first line."""
    start, num_chars = num_skipped + 1, 0

    def lines() -> Iterator[str]:
        nonlocal num_chars
        for _, line in itertools.islice(lines_of(path), num_skipped, None):
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
            start, num_chars = num_skipped + reader.line_num + 1, 0
    except csv.Error as error:
        hint = "check for a double quote that is not closed"
        raise row_error(path, start, f"not a row of a table: {error}", hint=hint) from error


def open_list(path: Path) -> TableFile:
    """Opens a list of ``path label`` lines."""

    def records(_: Sequence[str]) -> Iterator[Record]:
        for number, line in lines_of(path):
            # ASCII spaces only: others may be part of a name.
            text = line.strip(" \t\r\n")
            if text and not text.startswith("#"):
                image, label = split_line(text)
                if not image:
                    raise row_error(
                        path, number, f"no label after {quoted(text)}", hint="write each line as: path label"
                    )
                yield number, {"image": image, "label": label}

    return TableFile(DEFAULT_COLUMNS[:2], records)


def split_line(text: str) -> tuple[str, str]:
    """The path and the label of a line; both are empty if it has no label.

    The label begins after a tab, after the name of an image, or after the last space.
    """
    if "\t" in text:
        image, _, label = text.rpartition("\t")
        return image.rstrip(" \t"), label
    for match in re.finditer("[ ,;]+", text):
        if is_image_name(text[: match.start()]):
            return text[: match.start()], text[match.end() :]
    image, blank, label = text.rpartition(" ")
    if not blank and not is_image_name(text):
        image, _, label = text.partition(",")
        image = image if label else ""
    return image.rstrip(" "), label
