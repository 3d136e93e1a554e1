"""Predictions in files: CSV and JSON lines, which grow row by row and can be resumed, and Parquet in one piece.

Each row says in ``made_by`` which model predicted with which settings, so that the file itself says, wherever it is
moved, whether it can be resumed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resnet_cli.errors import ConfigError, ModelError, missing_extra
from resnet_cli.outputs.schema import ALL_PROBS, FILE_ROWS, Layout, csv_line, to_arrow, to_cells, to_dict
from resnet_cli.prediction import PredictedItem, Prediction
from resnet_cli.system.locks import try_lock
from resnet_cli.system.paths import atomic_path, disk_errors, sha256_of
from resnet_cli.text import json_line

#: Writes one predicted image.
Write: TypeAlias = Callable[[PredictedItem[Any]], None]
#: Seconds between two flushes of a growing file: the work that a kill can cost.
FLUSH_EVERY_S = 1.0
#: Rows per row group of Parquet, held in memory until it is written.
GROUP_ROWS = 8192
_HINT = "free some space, or name another file"


def made_by(model_file: Path, settings: object, layout: Layout = FILE_ROWS) -> str:
    """Identifies a model and its settings: 16 hex digits of the file's SHA-256, a dash, and 8 of the settings'.

    The columns count as a setting: rows with different columns are never mixed in a file.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        model = sha256_of(model_file)
    except OSError as error:
        raise ModelError(f"{model_file}: {error.strerror or error}") from error
    return f"{model[:16]}-{hashlib.sha256(repr((layout.header, settings)).encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def growing_file(
    path: Path,
    kind: Literal["csv", "json"],
    made_by: str,
    *,
    layout: Layout = FILE_ROWS,
    num_bytes: int = 0,
    flush_every_s: float = FLUSH_EVERY_S,
) -> Iterator[Write]:
    """Opens a file of CSV or JSON lines that grows; a kill leaves whole rows and at most one partial row.

    Args:
        path: A new file, or one that :func:`~resnet_cli.outputs.resume.read_done` has read.
        kind: Format of the rows.
        made_by: What identifies the model and its settings, from :func:`made_by`.
        layout: The columns.
        num_bytes: Size of its finished rows, which are kept; anything after them is removed.
        flush_every_s: Seconds between two flushes; 0 if others follow the file as it grows.

    Yields:
        Writes one row.

    Raises:
        ConfigError: Another process is writing it.
        DiskError: It cannot be written.
    """
    with disk_errors(path, hint=_HINT):
        file = path.open("ab", buffering=0)
    with file:
        if not try_lock(file):
            raise ConfigError(
                f"{path}: another process is writing to it", hint="wait until it has ended, or name another file"
            )
        rows = _Rows(path, file)
        with disk_errors(path, hint=_HINT):
            file.truncate(num_bytes)
        if kind == "csv" and not num_bytes:
            rows.add(csv_line(list(layout.header)))
        rows.flush()
        flushed_at = time.monotonic()

        def write(predicted: PredictedItem[Any]) -> None:
            nonlocal flushed_at
            if kind == "csv":
                rows.add(csv_line(to_cells(predicted.prediction, layout, made_by=made_by)))
            else:
                line = json_line(to_dict(predicted.prediction, layout, made_by=made_by))
                rows.add((line + "\n").encode())
            if time.monotonic() - flushed_at >= flush_every_s:
                rows.flush()
                flushed_at = time.monotonic()

        try:
            yield write
        finally:
            rows.flush()
            with disk_errors(path, hint=_HINT):
                os.fsync(file.fileno())


class _Rows:
    """Rows on their way into a file, which always ends with a whole row unless the process is killed.

    Args:
        path: The file.
        file: The same, open and unbuffered: the buffer of a file on a full disk is tried again when it is closed.
    """

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self._path, self._file = path, file
        self._waiting: list[bytes] = []

    def add(self, row: bytes) -> None:
        """Adds a row, which is written with the next flush."""
        self._waiting.append(row)

    def flush(self) -> None:
        """Writes the waiting rows, or as many of them as there is room for.

        Raises:
            DiskError: Some did not fit; they are dropped.
        """
        waiting, self._waiting = self._waiting, []
        with disk_errors(self._path, hint=_HINT):
            begin = end = os.fstat(self._file.fileno()).st_size
            data = memoryview(b"".join(waiting))
            try:
                while data:
                    num = self._file.write(data) or 0
                    data, end = data[num:], end + num
            except OSError:
                whole = (begin + size for size in itertools.accumulate(map(len, waiting)))
                self._file.truncate(max((size for size in whole if size <= end), default=begin))
                raise


@contextlib.contextmanager
def parquet_file(path: Path, made_by: str, layout: Layout = FILE_ROWS) -> Iterator[Write]:
    """Opens a Parquet file of predictions, visible only once it is complete; one row group is held in memory.

    Args:
        path: A new file.
        made_by: What identifies the model and its settings, from :func:`made_by`.
        layout: The columns; the classes of ``all_probs`` are in the file's metadata, as a JSON list named ``classes``.

    Yields:
        Writes one row.

    Raises:
        DiskError: It cannot be written.
        SetupError: pyarrow is not installed.
    """
    schema = _schema(path, layout)
    import pyarrow
    from pyarrow import parquet

    rows: list[Prediction] = []
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:

        def write_group() -> None:
            writer.write_table(pyarrow.table(to_arrow(rows, made_by, layout), schema=schema))
            rows.clear()

        def write(predicted: PredictedItem[Any]) -> None:
            rows.append(dataclasses.replace(predicted.prediction, features=None))
            if len(rows) >= GROUP_ROWS:
                with disk_errors(path, hint=_HINT):
                    write_group()

        yield write
        write_group()


def _schema(path: Path, layout: Layout) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise missing_extra(f"{path}: writing Parquet needs pyarrow, which is not installed", "parquet") from error
    answer = pa.struct([("label", pa.string()), ("prob", pa.float32())])
    kinds = {
        "prob": pa.float32(),
        "novelty": pa.float32(),
        "unfamiliar": pa.bool_(),
        "topk": pa.list_(answer),
        "labels": pa.list_(pa.string()),
        "probs": pa.list_(pa.float32()),
        ALL_PROBS: pa.list_(pa.float32()),
    }
    metadata = {"classes": json.dumps(layout.classes)} if layout.classes else None
    return pa.schema([(column, kinds.get(column, pa.string())) for column in layout.columns], metadata)
