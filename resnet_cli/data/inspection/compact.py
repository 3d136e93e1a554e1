"""Long results in few bytes: sequences that keep arrays and make each element when it is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.integer[Any]]

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


class Made(Compact[T]):
    """A sequence whose elements a function makes.

    Args:
        num: Number of elements.
        make: Makes the element at an index.
    """

    def __init__(self, num: int, make: Callable[[int], T]) -> None:
        self._num, self._make = num, make

    def __len__(self) -> int:
        return self._num

    def at(self, index: int) -> T:
        """The element at an index."""
        return self._make(index)


class Numbers(Compact[int]):
    """Whole numbers in an array [n]."""

    def __init__(self, array: Positions) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def at(self, index: int) -> int:
        """One number."""
        return int(self.array[index])


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
    def of_equal(
        cls, heads: NDArray[np.uint64], keys: Callable[[Positions], NDArray[Any]], positions: Positions
    ) -> Groups:
        """Groups of two or more positions with equal keys; groups and members are in the order of the positions.

        Args:
            heads: A number for each of n rising positions, equal for equal keys, uint64 [n].
            keys: Some positions -> their keys, [m x d].
            positions: The positions.
        """
        order = np.argsort(heads, kind="stable").astype(np.int32)
        # Whether each differs from the one before it; the end differs from the last.
        differs = np.ones(len(order) + 1, bool)
        for start in range(1, len(order), _BLOCK):
            these = order[start - 1 : start + _BLOCK]
            same_head = heads[these[1:]] == heads[these[:-1]]
            of_these = keys(positions[these])
            same = (of_these[1:] == of_these[:-1]).all(axis=1)
            if (same_head & ~same).any():
                return cls._of_clashing(heads, keys, positions)
            differs[start : start + len(same)] = ~same
        starts = np.flatnonzero(differs).astype(np.int32)
        sizes = np.diff(starts)
        several = np.flatnonzero(sizes > 1)
        several = several[np.argsort(order[starts[several]], kind="stable")]
        chosen = np.repeat(starts[several], sizes[several]) + _counted(sizes[several])
        return cls(positions[order[chosen]], np.concatenate([[0], np.cumsum(sizes[several])]).astype(np.int32))

    @classmethod
    def _of_clashing(
        cls, heads: NDArray[np.uint64], keys: Callable[[Positions], NDArray[Any]], positions: Positions
    ) -> Groups:
        """As :meth:`of_equal`, where different keys have equal heads: their numbers become the heads."""
        _, numbers = np.unique(keys(positions), axis=0, return_inverse=True)
        return cls.of_equal(numbers.reshape(-1).astype(np.uint64), keys, positions)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def at(self, index: int) -> tuple[int, ...]:
        """The positions in one group."""
        return tuple(self.members[self.starts[index] : self.starts[index + 1]].tolist())

    def pairs(self) -> NDArray[np.int32]:
        """The first position of each group with each of the others, int32 [m x 2]."""
        is_first = np.zeros(len(self.members), bool)
        is_first[self.starts[:-1]] = True
        first = np.repeat(self.members[self.starts[:-1]], np.diff(self.starts))
        return np.stack([first, self.members], axis=1)[~is_first].astype(np.int32)

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

    Attributes:
        first: int32 [p].
        second: int32 [p].
        score: float [p].
    """

    def __init__(self, first: Positions, second: Positions, score: NDArray[np.floating[Any]]) -> None:
        self.first, self.second, self.score = first.astype(np.int32), second.astype(np.int32), score

    @classmethod
    def of(cls, pairs: Sequence[NearPair]) -> NearPairs:
        """The given pairs."""
        if isinstance(pairs, NearPairs):
            return pairs
        first, second, score = zip(*pairs, strict=True) if pairs else ((), (), ())
        return cls(np.array(first, np.int32), np.array(second, np.int32), np.array(score, np.float64))

    @classmethod
    def ranked(
        cls, first: Positions, second: Positions, score: NDArray[np.floating[Any]], rank: NDArray[Any]
    ) -> NearPairs:
        """The pairs in order; of one that occurs several times, the occurrence with the lowest rank."""
        order = np.lexsort((rank, second, first))
        first, second, score = first[order], second[order], score[order]
        is_new = np.ones(len(order), bool)
        is_new[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
        return cls(first[is_new], second[is_new], score[is_new])

    def __len__(self) -> int:
        return len(self.first)

    def at(self, index: int) -> NearPair:
        """One pair."""
        return NearPair(int(self.first[index]), int(self.second[index]), float(self.score[index]))

    def ends(self) -> NDArray[np.int32]:
        """Both images of each pair, int32 [p x 2]."""
        return np.stack([self.first, self.second], axis=1)


def connected_with(num: int, first: Positions, second: Positions) -> NDArray[np.int32]:
    """The smallest position that each of ``num`` positions is connected with, through others or itself, int32 [num].

    Args:
        num: Number of positions.
        first: One end of each connection, int [m].
        second: The other end, int [m].

    Source: Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", Journal of Algorithms 3(1), 1982.
    """
    smallest = np.arange(num, dtype=np.int32)
    while True:
        one, other = smallest[first], smallest[second]
        if (one == other).all():
            return smallest
        np.minimum.at(smallest, np.maximum(one, other), np.minimum(one, other))
        while ((further := smallest[smallest]) != smallest).any():
            smallest = further


def _counted(sizes: Positions) -> Positions:
    """0, 1, ... within each group of the given sizes, int [sum of the sizes]."""
    ends = np.cumsum(sizes)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - sizes, sizes)
