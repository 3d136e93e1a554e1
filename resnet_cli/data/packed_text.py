"""Many strings in one block of memory: about 10 bytes each besides their characters, instead of about 60."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

ValueT = TypeVar("ValueT", bound=Hashable)

#: Strings read or looked up at once.
_AT_ONCE = 4096
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


class PackedText:
    """Strings that can only be added to; the part up to the last ``/`` is stored once for all that share it.

    Any string is returned as it was added, including names that are not UTF-8.

    Args:
        texts: The first strings.
    """

    __slots__ = ("_blob", "_ends", "_folder_codes", "_folder_of", "_folders")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._blob = bytearray()
        self._ends = array("q", [0])
        self._folder_of = array("i")
        self._folders: list[str] = []
        self._folder_codes: dict[str, int] = {}
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Adds a string."""
        cut = text.rfind("/") + 1
        self.extend(text[:cut], (text[cut:],))

    def extend(self, folder: str, names: Iterable[str]) -> None:
        """Adds strings that begin with the same text, such as the files of one folder.

        Args:
            folder: The common beginning, as a rule with ``/`` at its end.
            names: The rest of each string.
        """
        code = self._folder_codes.setdefault(folder, len(self._folders))
        if code == len(self._folders):
            self._folders.append(folder)
        for name in names:
            # Unpaired surrogates stand for bytes that are not UTF-8, and JSON can contain any.
            self._blob += name.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._blob))
            self._folder_of.append(code)

    def __len__(self) -> int:
        return len(self._folder_of)

    def at(self, position: int) -> str:
        """One of the strings, by its position from 0."""
        folder = self._folders[self._folder_of[position]]
        return folder + str(self._blob[self._ends[position] : self._ends[position + 1]], "utf-8", "surrogatepass")

    def take(self, rows: NDArray[np.integer[Any]]) -> TextView:
        """The strings at some positions, which are not copied."""
        return TextView(self, rows)

    def all(self) -> TextView:
        """All strings so far."""
        return TextView(self, np.arange(len(self), dtype=np.int32))


class TextView(Sequence[str]):
    """Some of many packed strings, in any order.

    Args:
        texts: The packed strings.
        rows: Positions of the strings, int [n].
    """

    __slots__ = ("_rows", "_texts")

    def __init__(self, texts: PackedText, rows: NDArray[np.integer[Any]]) -> None:
        self._texts = texts
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> TextView: ...
    def __getitem__(self, index: int | slice) -> str | TextView:
        if isinstance(index, slice):
            return TextView(self._texts, self._rows[index])
        return self._texts.at(int(self._rows[index]))

    def take(self, positions: NDArray[np.integer[Any]]) -> TextView:
        """The strings at some positions."""
        return TextView(self._texts, self._rows[positions])

    def __iter__(self) -> Iterator[str]:
        at = self._texts.at
        for start in range(0, len(self), _AT_ONCE):
            yield from map(at, self._rows[start : start + _AT_ONCE].tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} strings>"


class TextIndex:
    """Finds strings among many in 16 bytes each; a dictionary takes ten times as much.

    Args:
        texts: The strings; of equal ones, the last is found.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        hashes = np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    @property
    def has_repeated(self) -> bool:
        """Whether two strings may be equal; almost certainly not if they are not."""
        return bool((self._hashes[1:] == self._hashes[:-1]).any())

    def find(self, wanted: Iterable[str]) -> NDArray[np.int64]:
        """The position of each of the wanted strings, int64; -1 for one that is not there."""
        found, rest = array("q"), iter(wanted)
        while block := list(itertools.islice(rest, _AT_ONCE)):
            keys = np.fromiter(map(hash, block), dtype=np.int64, count=len(block))
            starts, ends = (np.searchsorted(self._hashes, keys, side=side).tolist() for side in _SIDES)
            for text, start, end in zip(block, starts, ends, strict=True):
                # Different strings may have the same hash.
                equal = (at for at in self._order[start:end][::-1].tolist() if self._texts[at] == text)
                found.append(next(equal, -1))
        return np.array(found, dtype=np.int64)


class Distinct(Generic[ValueT]):
    """Different values in the order in which they came, and their positions."""

    def __init__(self, values: Iterable[ValueT] = ()) -> None:
        self.values: list[ValueT] = list(values)
        self._codes = {value: code for code, value in enumerate(self.values)}

    def code(self, value: ValueT) -> int:
        """The position of a value, which is added if it is new."""
        code = self._codes.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code
