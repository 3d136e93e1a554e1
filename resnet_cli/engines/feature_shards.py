"""Rows of features in files, read without mapping them into memory; no torch.

A mapped page counts as memory of the process until the system takes it back; bytes that are read into an array do not
stay. So the memory of a pass over any number of images is that of one block.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import DiskError

Matrix: TypeAlias = NDArray[np.floating[Any]]
#: SHA-256 of images, uint8 [n x 32].
Keys: TypeAlias = NDArray[np.uint8]

KEY_BYTES = 32
#: Rows of a file that are at most so far apart are read with one request, which costs as much as the rows between them.
MAX_STEP = 4
_DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


class Shard(Protocol):
    """Some rows of features, wherever they are."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of features."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the rows."""

    def read(self, rows: NDArray[np.int64], into: Matrix) -> None:
        """Copies rows, in increasing order and each at most once, into an array [m x d]."""


@dataclasses.dataclass(frozen=True)
class MemoryShard:
    """Rows in memory.

    Attributes:
        features: float16 or float32 [n x d].
    """

    features: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of features."""
        return len(self.features), self.features.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the rows."""
        return self.features.dtype

    def read(self, rows: NDArray[np.int64], into: Matrix) -> None:
        """Copies rows into an array."""
        into[...] = self.features[rows]


@dataclasses.dataclass(frozen=True)
class FileShard:
    """Rows in a safetensors file.

    Attributes:
        path: The file.
        start: Position of the first row in the file, in bytes.
        shape: Number of rows, and of features.
        dtype: float16 or float32.
    """

    path: Path
    start: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def read(self, rows: NDArray[np.int64], into: Matrix) -> None:
        """Reads rows into an array.

        Raises:
            DiskError: The file was removed or cut since it was opened.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                for first, last in _parts(rows, largest_step=MAX_STEP):
                    self._read_run(file, rows[first:last], into[first:last])
        except OSError as error:
            raise DiskError(
                f"{self.path}: features cannot be read again ({error.strerror or error})",
                hint="did something empty the cache? The same command computes what is missing and continues",
            ) from error

    def _read_run(self, file: IO[bytes], rows: NDArray[np.int64], into: Matrix) -> None:
        span = int(rows[-1] - rows[0]) + 1
        is_whole = span == len(rows) and into.dtype == self.dtype
        buffer = into if is_whole else np.empty((span, self.shape[1]), self.dtype)
        file.seek(self.start + int(rows[0]) * self.shape[1] * self.dtype.itemsize)
        left = memoryview(buffer.data).cast("B")
        while left:
            num_read = file.readinto(left)  # type: ignore[attr-defined]
            if not num_read:
                raise OSError("the file is too short")
            left = left[num_read:]
        if not is_whole:
            into[...] = buffer[rows - rows[0]]


def open_shard(path: Path) -> tuple[Keys, FileShard]:
    """The keys of a file's rows [n x 32], and the rows.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged.

    Source: the header of safetensors: https://github.com/huggingface/safetensors#format.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
        if not 0 < length <= size - 8:
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
        try:
            shapes = {name: tuple(map(int, header[name]["shape"])) for name in ("keys", "features")}
            spans = {name: tuple(map(int, header[name]["data_offsets"])) for name in shapes}
            dtype = _DTYPES[header["features"]["dtype"]]
            (num, width), (num_rows, num_features) = shapes["keys"], shapes["features"]
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("not a shard of features") from error
        expected = {"keys": num * KEY_BYTES, "features": num_rows * num_features * dtype.itemsize}
        if num != num_rows or width != KEY_BYTES or header["keys"]["dtype"] != "U8":
            raise ValueError("keys and features do not fit together")
        if any(span[1] - span[0] != expected[name] or span[1] > size - 8 - length for name, span in spans.items()):
            raise ValueError("the file is too short")
        file.seek(8 + length + spans["keys"][0])
        keys = np.frombuffer(file.read(expected["keys"]), dtype=np.uint8).reshape(num, KEY_BYTES)
    return keys, FileShard(path, 8 + length + spans["features"][0], (num_rows, num_features), dtype)


class ContentIndex:
    """Numbers the different contents of images in the order in which they first occur.

    Args:
        keys: SHA-256 of each image, uint8 [n x 32].

    Attributes:
        numbers: Number of each image's content, int32 [n].
        firsts: Position of the first image of each content, int64 [u].
    """

    def __init__(self, keys: Keys) -> None:
        words = np.ascontiguousarray(keys).view(np.uint64)  # [n x 4]
        order = np.lexsort(words.T)
        is_new = np.ones(len(words), dtype=bool)
        # A column at a time: a sorted copy of all keys would take as much memory as they do.
        is_new[1:] = False
        for column in words.T:
            ordered = column[order]
            is_new[1:] |= ordered[1:] != ordered[:-1]
        # The sort is stable, so the first of each group of equals is its first image.
        firsts = order[is_new]
        rank = np.empty(len(firsts), dtype=np.int32)
        by_occurrence = np.argsort(firsts)
        rank[by_occurrence] = np.arange(len(firsts), dtype=np.int32)
        self.numbers: NDArray[np.int32] = np.empty(len(words), dtype=np.int32)
        self.numbers[order] = np.repeat(rank, np.diff(np.append(np.flatnonzero(is_new), len(words))))
        self.firsts: NDArray[np.int64] = firsts[by_occurrence]
        # Sorted by the last word, which `lexsort` sorts by first, for the search.
        self._sorted, self._rank = words[firsts], rank
        self._last = np.ascontiguousarray(self._sorted[:, -1])

    def __len__(self) -> int:
        return len(self.firsts)

    def find(self, keys: Keys) -> NDArray[np.int32]:
        """The numbers of contents by their SHA-256, int32 [m]; -1 for one that no image has."""
        words = np.ascontiguousarray(keys).view(np.uint64)
        low = np.searchsorted(self._last, words[:, -1], side="left")
        high = np.searchsorted(self._last, words[:, -1], side="right")
        found = np.full(len(words), -1, dtype=np.int32)
        # One round, unless different contents share 64 bits of their hashes.
        for step in range(int((high - low).max(initial=0))):
            at = np.minimum(low + step, len(self._last) - 1)
            is_equal = (low + step < high) & (self._sorted[at] == words).all(axis=1)
            found[is_equal] = self._rank[at[is_equal]]
        return found


def read_places(shards: Sequence[Shard], places: NDArray[np.int64]) -> Matrix:
    """The rows at these places, in their order, [m x d] in the dtype of the first shard.

    Args:
        shards: All shards, at least one.
        places: Shard of each row times 2**32, plus its row there.
    """
    num_features, dtype = shards[0].shape[1], shards[0].dtype
    wanted, inverse = np.unique(places, return_inverse=True)
    found = np.empty((len(wanted), num_features), dtype)
    numbers, rows = wanted >> 32, wanted & 0xFFFFFFFF
    for first, last in _parts(numbers, largest_step=0):
        shards[int(numbers[first])].read(rows[first:last], found[first:last])
    return found if np.array_equal(places, wanted) else found[inverse]


def _parts(values: NDArray[np.int64], *, largest_step: int) -> Iterator[tuple[int, int]]:
    """Start and end of each part of sorted values in which none is further than a step from the one before."""
    if not len(values):
        return iter(())
    bounds = [0, *(np.flatnonzero(np.diff(values) > largest_step) + 1).tolist(), len(values)]
    return itertools.pairwise(bounds)
