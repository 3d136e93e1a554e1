"""What a file of answers holds already, so that the rest can be added: whole rows, whose, and how far they go."""

from __future__ import annotations

import array
import csv
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.outputs.schema import FILE_COLUMNS

_NO_KEYS = np.empty(0, dtype=np.uint64)
#: Of 1,000 classes, one a row takes 50 KB.
_MAX_ROW_BYTES = 4_000_000
_JSON_START = b'{"path": "'


@dataclasses.dataclass(frozen=True, eq=False)
class Done:
    """The whole rows of a file.

    Attributes:
        num: Rows.
        num_failed: Of images that could not be read.
        num_bytes: What they take; what follows is a row that was cut.
        keys: 64-bit hashes of their paths, sorted: 8 bytes an image. That two of ten million share one, so that a
            image is passed over, has a chance of 3 in a million.
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
        """The images that have no row yet."""
        return (item for item in items if item.name not in self)


class _Row(NamedTuple):
    path: str
    made_by: str
    is_failed: bool


class _CutError(Exception):
    """The row is not one of ours, or not whole."""


def read_done(path: Path, kind: Literal["csv", "json"], made_by: str) -> Done:
    """Reads a file of answers as far as its rows are whole.

    Args:
        path: Is there.
        kind: How rows look.
        made_by: What must have made them.

    Raises:
        ConfigError: Another model, or other settings.
        DataError: It cannot be read, or holds something else.
    """
    keys = array.array("Q")
    num_failed = end = 0
    try:
        with path.open("rb") as file:
            rows = _csv_rows(file) if kind == "csv" else _json_rows(file)
            try:
                for row_end, row in rows:
                    end = row_end
                    if row is not None:
                        _check(path, row, made_by)
                        keys.append(_key(row.path))
                        num_failed += row.is_failed
            except _CutError as error:
                if not _is_cut(file, kind, end, made_by):
                    raise DataError(
                        f"{path}: row {len(keys) + 1} is no answer of this program: {error}",
                        hint="give --output another name",
                    ) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    return Done(len(keys), num_failed, end, np.sort(np.frombuffer(keys, dtype=np.uint64)) if keys else _NO_KEYS)


def _is_cut(file: BinaryIO, kind: Literal["csv", "json"], end: int, made_by: str) -> bool:
    """Whether what follows the whole rows is the beginning of one: nothing else of a user's file may be removed."""
    file.seek(end)
    tail = file.read(_MAX_ROW_BYTES + 1)
    if not tail.strip(b"\0"):
        # A power cut can leave zeros.
        return True
    if len(tail) > _MAX_ROW_BYTES or f"{made_by}\n".encode() in tail or f'{made_by}"}}\n'.encode() in tail:
        return False
    if kind == "json":
        return tail.startswith(_JSON_START[: len(tail)])
    return end > 0 or (",".join(FILE_COLUMNS) + "\n").encode().startswith(tail)


def _check(path: Path, row: _Row, made_by: str) -> None:
    if row.made_by == made_by:
        return
    is_same_model = row.made_by.partition("-")[0] == made_by.partition("-")[0]
    what = (
        "with other settings (--topk, --threshold, --abstain, --target-error)" if is_same_model else "by another model"
    )
    raise ConfigError(
        f"--resume: the answers in {path} were made {what}: {row.made_by[:60]}, now {made_by}",
        hint="give --output another name, or the model and the flags that it was begun with",
    )


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


def _json_rows(file: BinaryIO) -> Iterator[tuple[int, _Row | None]]:
    """Where each row ends, and what it says."""
    end = 0
    while line := file.readline():
        try:
            if not line.endswith(b"\n"):
                raise ValueError("it does not end")
            values = json.loads(line)
            row = _Row(values["path"], values["made_by"], values["error"] is not None)
            if not (isinstance(row.path, str) and isinstance(row.made_by, str)):
                raise ValueError("its values are of other kinds")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise _CutError(f"{error}") from error
        end += len(line)
        yield end, row


def _csv_rows(file: BinaryIO) -> Iterator[tuple[int, _Row | None]]:
    """Likewise; the header is a row without a meaning."""
    position = 0
    is_whole = True

    def lines() -> Iterator[str]:
        nonlocal position, is_whole
        while line := file.readline():
            position += len(line)
            is_whole = line.endswith(b"\n")
            yield line.decode("utf-8", "surrogateescape")

    # Strict: a quote that is never closed is a row that was cut, and no long cell.
    reader = csv.reader(lines(), strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            if not is_whole or len(cells) != len(FILE_COLUMNS):
                raise _CutError(f"{len(cells)} cells, not the {len(FILE_COLUMNS)} of {', '.join(FILE_COLUMNS)}")
            if names is None:
                names = cells
                if tuple(cells) != FILE_COLUMNS:
                    raise _CutError("the columns are others")
                yield position, None
                continue
            values: dict[str, Any] = dict(zip(FILE_COLUMNS, cells, strict=True))
            yield position, _Row(values["path"], values["made_by"], bool(values["error"]))
    except csv.Error as error:
        raise _CutError(f"{error}") from error
