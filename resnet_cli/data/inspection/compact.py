"""Long results in few bytes: sequences that keep arrays and make each element when it is asked for."""

from __future__ import annotations

import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import IO, Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from resnet_cli.system.caches import scratch_dir

Positions: TypeAlias = NDArray[np.integer[Any]]

#: Bytes of a table that are kept in memory; a larger one is in a temporary file.
MAX_IN_MEMORY = 24 * 2**20
#: Rows that one read may pass over for each that is wanted: reading them is faster than another system call.
_PASSED_OVER = 4
#: Elements that are compared at once.
_BLOCK = 65_536

T = TypeVar("T")


class NearPair(NamedTuple):
    """Two images that look the same.

    Attributes:
        first: Row of one image.
        second: Row of the other, larger than ``first``.
        score: Similarity in [0, 1]; 1 means that they look the same.
    """

    first: int
    second: int
    score: float


class Compact(Sequence[T], Generic[T]):
    """A sequence that equals every other one with the same elements."""

    @abstractmethod
    def at(self, index: int) -> T:
        """The element at an index from 0 to n - 1."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self.at(each) for each in range(*index.indices(len(self)))]
        return self.at(range(len(self))[index])

    def __iter__(self) -> Iterator[T]:
        return map(self.at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"{type(self).__name__}({shown}{', ...' if len(self) > 3 else ''})"


class Groups(Compact[tuple[int, ...]]):
    """Groups of positions.

    Args:
        members: The positions of all groups, one group after the other, int [m].
        starts: Where each group starts, and m at the end, int [g + 1].
    """

    def __init__(self, members: Positions, starts: Positions) -> None:
        self.members, self.starts = members, starts

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]]) -> Groups:
        """The given groups."""
        if isinstance(groups, Groups):
            return groups
        members = np.array([at for group in groups for at in group], np.int32)
        return cls(members, np.cumsum([0, *map(len, groups)], dtype=np.int32))

    @classmethod
    def of_equal(cls, keys: NDArray[Any], positions: Positions) -> Groups:
        """Groups of two or more positions with equal keys; groups and members are in the order of the positions.

        Args:
            keys: Numbers [n x d].
            positions: n rising positions.
        """
        order = np.lexsort(keys.T).astype(np.int32)
        # Whether each differs from the one before it; the end differs from the last.
        differs = np.ones(len(order) + 1, bool)
        for start in range(1, len(order), _BLOCK):
            these, before = order[start : start + _BLOCK], order[start - 1 : start - 1 + _BLOCK]
            differs[start : start + len(these)] = (keys[these] != keys[before[: len(these)]]).any(axis=1)
        starts = np.flatnonzero(differs).astype(np.int32)
        sizes = np.diff(starts)
        several = np.flatnonzero(sizes > 1)
        several = several[np.argsort(order[starts[several]], kind="stable")]
        chosen = np.repeat(starts[several], sizes[several]) + _counted(sizes[several])
        return cls(positions[order[chosen]], np.concatenate([[0], np.cumsum(sizes[several])]).astype(np.int32))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def at(self, index: int) -> tuple[int, ...]:
        """The positions in one group."""
        return tuple(self.members[self.starts[index] : self.starts[index + 1]].tolist())

    @property
    def num_extra(self) -> int:
        """Number of positions without the first of each group."""
        return len(self.members) - len(self)

    def group_of(self, num: int) -> NDArray[np.int32]:
        """The group of each of ``num`` positions, -1 for none, int32 [num]."""
        found = np.full(num, -1, np.int32)
        found[self.members] = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.starts))
        return found


class NearPairs(Compact[NearPair]):
    """Pairs of images that look the same, in rising order.

    Args:
        first: One image of each pair, int [p].
        second: The other, int [p].
        score: The similarity, float [p].
    """

    def __init__(self, first: Positions, second: Positions, score: NDArray[np.floating[Any]]) -> None:
        self.first, self.second, self.score = first, second, score

    @classmethod
    def of(cls, pairs: Sequence[NearPair]) -> NearPairs:
        """The given pairs."""
        if isinstance(pairs, NearPairs):
            return pairs
        first, second, score = zip(*pairs, strict=True) if pairs else ((), (), ())
        return cls(np.array(first, np.int32), np.array(second, np.int32), np.array(score, np.float64))

    @classmethod
    def best(cls, first: Positions, second: Positions, score: NDArray[np.floating[Any]]) -> NearPairs:
        """The pairs in order; one that occurs several times has its largest score."""
        order = np.lexsort((-score, second, first))
        first, second, score = first[order], second[order], score[order]
        is_new = np.ones(len(order), bool)
        is_new[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
        return cls(first[is_new].astype(np.int32), second[is_new].astype(np.int32), score[is_new])

    def __len__(self) -> int:
        return len(self.first)

    def at(self, index: int) -> NearPair:
        """One pair."""
        return NearPair(int(self.first[index]), int(self.second[index]), float(self.score[index]))

    def ends(self) -> NDArray[np.int32]:
        """Both images of each pair, int32 [p x 2]."""
        return np.stack([self.first, self.second], axis=1).astype(np.int32)


class Rows:
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
    def of(cls, values: NDArray[Any]) -> Rows:
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
        # Rows at the end that nobody wrote are zeros, as everywhere else.
        return np.frombuffer(data.ljust((stop - start) * self._row_bytes, b"\0"), self.dtype).reshape(-1, self.shape[1])


def _counted(sizes: Positions) -> Positions:
    """0, 1, ... within each group of the given sizes, int [sum of the sizes]."""
    ends = np.cumsum(sizes)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - sizes, sizes)
