"""Reads what a file of predictions holds already, so that it can be resumed: whole rows, and which model made them."""

from __future__ import annotations

import array
import csv
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.outputs.schema import FILE_ROWS, Layout, csv_line
from resnet_cli.text import first_of

_NO_KEYS = np.empty(0, dtype=np.uint64)
#: Maximum size of a row; one with 1,000 classes takes 50 KB.
_MAX_ROW_BYTES = 4_000_000
_JSON_START = b'{"path": "'
_OTHER_SETTINGS = (
    "with other settings (--precision, --topk, --all-probs, --threshold, --abstain, --target-error, "
    "--target-precision, --target-recall)"
)
_WAY_OUT = "choose another name for --out, or use the model and the flags that it was started with"


@dataclasses.dataclass(frozen=True, eq=False)
class Done:
    """The whole rows of a file.

    Attributes:
        num: Number of rows.
        num_failed: Number of rows of unreadable images.
        num_bytes: Size of the rows; anything after them is a partial row.
        keys: 64-bit hashes of their paths, sorted: 8 bytes per image. The chance that two of ten million share one, so
            that an image is skipped, is 3 in a million.
    """

    num: int = 0
    num_failed: int = 0
    num_bytes: int = 0
    keys: NDArray[np.uint64] = dataclasses.field(default_factory=lambda: _NO_KEYS)

    def __contains__(self, name: object) -> bool:
        assert isinstance(name, str)
        key = np.uint64(_key(name))
        at = int(np.searchsorted(self.keys, key))
        return at < len(self.keys) and bool(self.keys[at] == key)

    def rest(self, items: Iterator[Item]) -> Iterator[Item]:
        """The images without a row."""
        return (item for item in items if item.name not in self)


class _Row(NamedTuple):
    path: str
    made_by: str
    is_failed: bool


class _CutError(Exception):
    """The row is partial, or this program did not write it."""


def read_done(path: Path, kind: Literal["csv", "json"], made_by: str, layout: Layout = FILE_ROWS) -> Done:
    """Reads a file of predictions up to its last whole row.

    Args:
        path: An existing file.
        kind: Format of the rows.
        made_by: What the rows must say about the model and its settings.
        layout: The columns that they must have.

    Raises:
        ConfigError: Another model made the rows, or other settings.
        DataError: The file cannot be read, or holds something else.
    """
    keys = array.array("Q")
    num_failed = end = 0
    try:
        with path.open("rb") as file:
            rows = _csv_rows(path, file, layout.header) if kind == "csv" else _json_rows(file)
            try:
                for row_end, row in rows:
                    end = row_end
                    if row is not None:
                        _check(path, row, made_by)
                        keys.append(_key(row.path))
                        num_failed += row.is_failed
            except _CutError as error:
                if not _is_cut(file, kind, end, made_by, header=layout.header):
                    raise DataError(
                        f"{path}: row {len(keys) + 1} was not written by this program, or by another version: {error}",
                        hint="choose another name for --out",
                    ) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    return Done(len(keys), num_failed, end, np.sort(np.frombuffer(keys, dtype=np.uint64)) if keys else _NO_KEYS)


def _is_cut(file: BinaryIO, kind: Literal["csv", "json"], end: int, made_by: str, *, header: Sequence[str]) -> bool:
    """Whether the rest of the file is the beginning of a row: nothing else of a user's file may be removed."""
    file.seek(end)
    tail = file.read(_MAX_ROW_BYTES + 1)
    if not tail.strip(b"\0"):
        # A power failure can leave zeros.
        return True
    if len(tail) > _MAX_ROW_BYTES or f"{made_by}\n".encode() in tail or f'{made_by}"}}\n'.encode() in tail:
        return False
    if kind == "json":
        return tail.startswith(_JSON_START[: len(tail)])
    return end > 0 or csv_line([*header]).startswith(tail)


def _check(path: Path, row: _Row, made_by: str) -> None:
    if row.made_by == made_by:
        return
    is_same_model = row.made_by.partition("-")[0] == made_by.partition("-")[0]
    what = f"{_OTHER_SETTINGS}, or by another version of resnet-cli" if is_same_model else "by another model"
    raise ConfigError(
        f"--resume: the predictions in {path} were made {what}: {row.made_by[:60]}, now {made_by}", hint=_WAY_OUT
    )


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


def _json_rows(file: BinaryIO) -> Iterator[tuple[int, _Row | None]]:
    """The end of each row in bytes, and its content."""
    end = 0
    while line := file.readline():
        try:
            if not line.endswith(b"\n"):
                raise ValueError("it has no end")
            values = json.loads(line)
            row = _Row(values["path"], values["made_by"], values["error"] is not None)
            if not (isinstance(row.path, str) and isinstance(row.made_by, str)):
                raise ValueError("its values have other types")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise _CutError(f"{error}") from error
        end += len(line)
        yield end, row


def _csv_rows(path: Path, file: BinaryIO, header: Sequence[str]) -> Iterator[tuple[int, _Row | None]]:
    """The end of each row in bytes, and its content; None for the header."""
    position = 0
    is_whole = True

    def lines() -> Iterator[str]:
        nonlocal position, is_whole
        while line := file.readline():
            position += len(line)
            is_whole = line.endswith(b"\n")
            yield line.decode("utf-8", "surrogateescape")

    # Strict: a quote that is never closed is a partial row, not a long cell.
    reader = csv.reader(lines(), strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            if is_whole and names is None and _is_header(cells) and cells != [*header]:
                raise ConfigError(f"--resume: the predictions in {path} were made {_OTHER_SETTINGS}", hint=_WAY_OUT)
            if not is_whole or len(cells) != len(header):
                raise _CutError(f"{len(cells)} cells, not the {len(header)} of {first_of(header, 12)}")
            if names is None:
                names = cells
                if cells != [*header]:
                    raise _CutError("it has other columns")
                yield position, None
                continue
            values: dict[str, Any] = dict(zip(header, cells, strict=True))
            yield position, _Row(values["path"], values["made_by"], bool(values["error"]))
    except csv.Error as error:
        raise _CutError(f"{error}") from error


def _is_header(cells: Sequence[str]) -> bool:
    """Whether these are the columns of a file of predictions, by any model and with any settings."""
    return tuple(cells[:1]) == FILE_ROWS.columns[:1] and tuple(cells[-2:]) == FILE_ROWS.columns[-2:]
