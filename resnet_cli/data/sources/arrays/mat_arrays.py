"""Arrays of numbers in MATLAB files of version 5: their headers first, and their values on demand.

SciPy reads these files too, but a damaged one can end the process: SciPy 1.17 looks up the type of an array's data
without checking that there is such a type, which is a bus error.

Source: MathWorks, "MAT-File Format", R2024b: "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES = 128
MATRIX, _COMPRESSED = 14, 15
#: Type of an element's data -> NumPy's.
DATA_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
#: Class of an array of numbers -> NumPy's type. Its data may be stored in a smaller one.
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
IS_COMPLEX = 0x0800
#: Bytes of an element that are enough for its flags, axes and name.
_HEAD_BYTES = 1024
_CHUNK_BYTES = 1024**2


@dataclass(frozen=True)
class MatArray:
    """One array of a file.

    Attributes:
        name: Its name.
        shape: Its shape.
        dtype: Type of its values; of kind ``O`` if they are not real numbers.
        order: Order of the bytes of a number in the file: ``<`` or ``>``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _at: int
    _num_bytes: int
    _is_packed: bool
    order: str

    def load(self, path: Path, check_size: Callable[[int], None]) -> NDArray[Any]:
        """Reads the values.

        Args:
            path: The file.
            check_size: Called with the number of bytes before they are read; raises an error if there are too many.

        Raises:
            ValueError: The array is damaged.
            OSError: The file cannot be read.
        """
        elements = Elements(self.element(path, check_size), self.order)
        elements.header()
        return elements.numbers(self.shape).astype(self.dtype, copy=False)

    def element(self, path: Path, check_size: Callable[[int], None]) -> bytes | bytearray:
        """Reads the bytes of the array's element, without its tag; arguments and errors as for :meth:`load`."""
        with path.open("rb") as file:
            file.seek(self._at)
            check_size(self._num_bytes)
            return _unpacked(file, self._num_bytes, check_size) if self._is_packed else file.read(self._num_bytes)


class Elements:
    """The elements inside an array's element, one after the other.

    Args:
        data: The bytes of the array's element, without its own tag.
        order: Order of the bytes of a number: ``<`` or ``>``.
    """

    def __init__(self, data: bytes | bytearray | memoryview, order: str) -> None:
        self._data = memoryview(data)
        self._order = order
        self._at = 0

    def header(self) -> tuple[int, tuple[int, ...], str]:
        """The flags of the array, of which the lowest byte is its class, its shape, and its name.

        Raises:
            ValueError: An axis is negative.
        """
        (flags,) = struct.unpack_from(f"{self._order}I", self.of(6))
        shape = tuple(np.frombuffer(self.of(5), f"{self._order}i4").tolist())
        if min(shape, default=0) < 0:
            raise ValueError("an array has an impossible shape")
        return flags, shape, bytes(self.of(1)).decode("latin-1")

    def numbers(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The next element as an array of that shape, in the type in which it is stored.

        Raises:
            ValueError: It has other values, or not as many.
        """
        kind, values = self.next()
        if kind not in DATA_TYPES:
            raise ValueError("its values are not numbers")
        flat = np.frombuffer(values, f"{self._order}{DATA_TYPES[kind]}")
        if len(flat) != math.prod(shape):
            raise ValueError("an array does not have as many values as its header says")
        return flat.reshape(shape, order="F")

    def of(self, *kinds: int) -> memoryview:
        """The data of the next element, which has one of these types."""
        kind, data = self.next()
        if kind not in kinds:
            raise ValueError(f"an element of the type {kind} where {kinds[0]} belongs")
        return data

    def next(self) -> tuple[int, memoryview]:
        """The type of the next element, and its data."""
        kind, size = struct.unpack_from(f"{self._order}II", self._data, self._at)
        start, step = self._at + 8, size + -size % 8
        if kind >> 16:
            # A small element: its size and its type share four bytes, and four bytes of data follow.
            kind, size, start, step = kind & 0xFFFF, kind >> 16, self._at + 4, 0
        if size > len(self._data) - start:
            raise ValueError("it ends inside an array")
        self._at += 8 + step
        return kind, self._data[start : start + size]


def list_arrays(path: Path, *, max_arrays: int) -> list[MatArray]:
    """The arrays of a file.

    Args:
        path: A MATLAB file of version 5.
        max_arrays: The rest is not listed.

    Raises:
        ValueError: The file is damaged.
        OSError: The file cannot be read.
    """
    found: list[MatArray] = []
    num_left = path.stat().st_size - _HEADER_BYTES
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER_BYTES)[126:128] == b"IM" else ">"
        while num_left > 0 and len(found) < max_arrays:
            kind, num_bytes = struct.unpack(f"{order}II", file.read(8))
            num_left -= 8 + num_bytes
            if num_left < 0:
                raise ValueError("it ends inside an array")
            at = file.tell()
            if kind in (MATRIX, _COMPRESSED):
                found.append(_describe(file, at, num_bytes, order=order, is_packed=kind == _COMPRESSED))
            file.seek(at + num_bytes)
    return found


def _describe(file: BinaryIO, at: int, num_bytes: int, *, order: str, is_packed: bool) -> MatArray:
    head = file.read(min(num_bytes, _HEAD_BYTES))
    if is_packed:
        head = zlib.decompressobj().decompress(head, _HEAD_BYTES)
        kind, _ = struct.unpack_from(f"{order}II", head)
        if kind != MATRIX:
            raise ValueError("a compressed element is not an array")
        head = head[8:]
    flags, shape, name = Elements(head, order).header()
    is_number = flags & 0xFF in CLASSES and not flags & IS_COMPLEX
    dtype = np.dtype(CLASSES[flags & 0xFF] if is_number else "O")
    return MatArray(name, shape, dtype, at, num_bytes, is_packed, order)


def _unpacked(file: BinaryIO, num_packed: int, check_size: Callable[[int], None]) -> bytearray:
    """Decompresses an array's element, without its own tag."""
    decompressor = zlib.decompressobj()
    data = bytearray()
    while num_packed > 0 and (pending := file.read(min(num_packed, _CHUNK_BYTES))):
        num_packed -= len(pending)
        while pending:
            data += decompressor.decompress(pending, _CHUNK_BYTES)
            check_size(len(data))
            pending = decompressor.unconsumed_tail
    if not decompressor.eof:
        raise ValueError("it ends inside a compressed array")
    del data[:8]
    return data
