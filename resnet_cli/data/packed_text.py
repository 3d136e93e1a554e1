"""Many strings in one block of memory: about 10 bytes each besides their characters, instead of about 60."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

#: Strings decoded at once while all are read.
_AT_ONCE = 4096


class PackedText(Sequence[str]):
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

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(self.take(range(*index.indices(len(self)))))
        at = index + len(self) if index < 0 else index
        folder = self._folders[self._folder_of[at]]
        return folder + str(self._blob[self._ends[at] : self._ends[at + 1]], "utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return self.take(range(len(self)))

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Iterator[str]:
        """The strings at some positions."""
        blob, ends, folders, folder_of = self._blob, self._ends, self._folders, self._folder_of
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            for at in part.tolist() if isinstance(part, np.ndarray) else part:
                yield folders[folder_of[at]] + str(blob[ends[at] : ends[at + 1]], "utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} strings>"
