"""Features in a file for numpy, safetensors or Parquet; written row by row, and visible only once it is complete.

The number of rows is in the header of the file and known only at the end: a header of the same length is written
first and replaced at the end.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from resnet_cli.errors import ConfigError, missing_extra
from resnet_cli.outputs.prediction_files import Write
from resnet_cli.outputs.schema import Layout, as_utf8, to_cells
from resnet_cli.prediction import PredictedItem, Prediction
from resnet_cli.system.paths import atomic_path

EXTENSIONS = (".npy", ".safetensors", ".parquet")
#: Size of the safetensors header; the JSON in it is padded with spaces. Source: the format's README.
_HEADER_BYTES = 256
#: Columns beside the features.
_COLUMNS = ("path", "novelty", "unfamiliar")
#: Rows per row group of Parquet: 8 MB.
_GROUP_ROWS = 1024
_CSV: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def check_embeddings_path(path: Path) -> None:
    """Refuses a path that cannot be written, before anything is computed.

    Raises:
        ConfigError: The extension is unknown, or the file or the one with the names exists already.
        SetupError: The file is Parquet, and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in EXTENSIONS:
        raise ConfigError(f"--embeddings {path}: no known kind of file", hint=f"end it in {', '.join(EXTENSIONS)}")
    for taken in (path, names_path(path)):
        if os.path.lexists(taken):
            raise ConfigError(f"--embeddings: {taken} exists already", hint="choose another name, or remove it first")
    if suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise missing_extra(f"{path}: writing Parquet needs pyarrow, which is not installed", "parquet") from error


def names_path(path: Path) -> Path:
    """The file with the names of the rows: ``a.npy.names.csv`` for ``a.npy``; for Parquet the file itself."""
    return path if path.suffix.lower() == ".parquet" else path.with_name(path.name + ".names.csv")


@contextlib.contextmanager
def embeddings_file(path: Path, num_features: int, dtype: Any) -> Iterator[Write]:
    """Opens a file of features with one row per readable image, in the order of the predictions.

    Args:
        path: The file, which :func:`check_embeddings_path` has checked.
        num_features: Number of columns.
        dtype: Type of the values, float16 or float32; Parquet always holds float32.

    Yields:
        Writes one row.

    Raises:
        DiskError: It cannot be written.
    """
    opened = _parquet(path, num_features) if path.suffix.lower() == ".parquet" else _raw(path, num_features, dtype)
    with opened as write:
        yield write


@contextlib.contextmanager
def _raw(path: Path, num_features: int, dtype: Any) -> Iterator[Write]:
    kind = np.dtype(dtype).newbyteorder("<")
    header = _npy_header if path.suffix.lower() == ".npy" else _safetensors_header
    num_rows = 0
    # The file of names is renamed first: where the features are, the names are too.
    with atomic_path(path) as temporary, atomic_path(names_path(path)) as names_temporary:
        with temporary.open("wb") as file, names_temporary.open("w", **_CSV) as names:
            file.write(header(0, num_features, kind))
            rows = csv.writer(names, lineterminator="\n")
            rows.writerow(_COLUMNS)

            def write(predicted: PredictedItem[Any]) -> None:
                nonlocal num_rows
                features = predicted.prediction.features
                if features is not None:
                    file.write(np.ascontiguousarray(features, dtype=kind).data)
                    rows.writerow(to_cells(predicted.prediction, Layout(_COLUMNS)))
                    num_rows += 1

            yield write
            _replace_header(file, header(num_rows, num_features, kind))


def _replace_header(file: BinaryIO, header: bytes) -> None:
    file.seek(0)
    file.write(header)


def _npy_header(num_rows: int, num_features: int, dtype: np.dtype[Any]) -> bytes:
    # numpy leaves room for a longer first number, so that all these headers have the same length.
    text = io.BytesIO()
    described = {"descr": dtype.str, "fortran_order": False, "shape": (num_rows, num_features)}
    np.lib.format.write_array_header_1_0(text, described)
    return text.getvalue()


def _safetensors_header(num_rows: int, num_features: int, dtype: np.dtype[Any]) -> bytes:
    name = {2: "F16", 4: "F32"}[dtype.itemsize]
    num_bytes = num_rows * num_features * dtype.itemsize
    tensor = {"dtype": name, "shape": [num_rows, num_features], "data_offsets": [0, num_bytes]}
    text = json.dumps({"features": tensor}).encode().ljust(_HEADER_BYTES)
    return len(text).to_bytes(8, "little") + text


@contextlib.contextmanager
def _parquet(path: Path, num_features: int) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = pa.string(), pa.float32(), pa.bool_(), pa.list_(pa.float32(), num_features)
    schema = pa.schema(zip((*_COLUMNS, "features"), kinds, strict=True))
    found: list[Prediction] = []
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:

        def write_group() -> None:
            rows = [np.asarray(one.features, dtype=np.float32) for one in found]
            values = pa.array(np.concatenate(rows) if rows else np.empty(0, np.float32))
            features = pa.FixedSizeListArray.from_arrays(values, num_features)
            paths = pa.array([as_utf8(one.path) for one in found], pa.string())
            novelty = pa.array([one.novelty for one in found], pa.float32())
            unfamiliar = pa.array([one.is_unfamiliar for one in found], pa.bool_())
            writer.write_table(pa.table([paths, novelty, unfamiliar, features], schema=schema))
            found.clear()

        def write(predicted: PredictedItem[Any]) -> None:
            if predicted.prediction.features is not None:
                found.append(predicted.prediction)
            if len(found) >= _GROUP_ROWS:
                write_group()

        yield write
        write_group()
