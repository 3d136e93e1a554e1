"""A table of numbers that may be larger than the memory: it is then in a temporary file."""

from __future__ import annotations

import tempfile
import weakref
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.inspection.compact import Positions
from resnet_cli.system.caches import scratch_dir

#: Bytes of a table that are kept in memory; a larger one is in a temporary file.
MAX_IN_MEMORY = 24 * 2**20
#: Rows that one read may pass over between two that are wanted: reading them is faster than another system call.
_PASSED_OVER = 4


class RowTable:
    """A table of numbers, in memory if it is small, else in a temporary file.

    Args:
        num: Number of rows.
        width: Numbers per row.
        dtype: Type of the numbers.

    Raises:
        DiskError: No temporary file can be written.
    """

    def __init__(self, num: int, width: int, dtype: Any = np.uint8) -> None:
        self.shape, self.dtype = (num, width), np.dtype(dtype)
        self._row_bytes = width * self.dtype.itemsize
        self._array: NDArray[Any] | None = None
        self._file: IO[bytes] | None = None
        if num * self._row_bytes <= MAX_IN_MEMORY:
            self._array = np.zeros(self.shape, self.dtype)
        else:
            self._file = tempfile.TemporaryFile(dir=scratch_dir())
            weakref.finalize(self, self._file.close)

    @classmethod
    def of(cls, values: NDArray[Any]) -> RowTable:
        """A table of values that are in memory already."""
        table = cls(0, values.shape[1], values.dtype)
        table.shape, table._array = values.shape, values
        return table

    def __len__(self) -> int:
        return self.shape[0]

    def write(self, start: int, values: NDArray[Any]) -> None:
        """Writes consecutive rows."""
        if self._array is not None:
            self._array[start : start + len(values)] = values
        elif self._file is not None:
            self._file.seek(start * self._row_bytes)
            self._file.write(np.ascontiguousarray(values, self.dtype).tobytes())

    def __getitem__(self, rows: slice | Positions) -> NDArray[Any]:
        """Some rows, as an array [m x width]; of a file, rows that are close together are read at once."""
        if self._array is not None:
            return self._array[rows]
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        wanted, places = np.unique(rows, return_inverse=True)
        ends = np.flatnonzero(np.diff(wanted) > _PASSED_OVER) + 1
        found = np.empty((len(wanted), self.shape[1]), self.dtype)
        for first, last in zip([0, *ends.tolist()], [*ends.tolist(), len(wanted)], strict=True):
            if first < last:
                start, stop = int(wanted[first]), int(wanted[last - 1]) + 1
                found[first:last] = self._read(start, stop)[wanted[first:last] - start]
        return found[places.reshape(-1)]

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        assert self._file is not None
        self._file.seek(start * self._row_bytes)
        data = self._file.read((stop - start) * self._row_bytes)
        # Rows at the end that were never written are zeros, as everywhere else.
        return np.frombuffer(data.ljust((stop - start) * self._row_bytes, b"\0"), self.dtype).reshape(-1, self.shape[1])
