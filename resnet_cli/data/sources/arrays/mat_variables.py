"""All variables of a MATLAB file of version 5: numbers, texts, cells and structures.

Source: MathWorks, "MAT-File Format", "Level 5 MAT-File Format". Values are as SciPy's ``simplify_cells`` gives them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.arrays.mat_arrays import CLASSES, DATA_TYPES, MATRIX, Elements, list_arrays

_CELLS, _STRUCT, _TEXT = 1, 2, 4
#: Type of an element of text -> encoding; MATLAB writes UTF-16 as numbers of 16 bits.
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MAX_DEPTH = 32
_MAX_VARIABLES = 1000


def read_variables(path: Path, check_size: Callable[[int], None]) -> dict[str, Any]:
    """The variables by name; anything but numbers, text, cells and structures is None.

    Arrays of one value are that value, rows of text are strings, cells are lists, and structures are dictionaries, or
    lists of them.

    Args:
        path: The file.
        check_size: As for :meth:`~resnet_cli.data.sources.arrays.mat_arrays.MatArray.load`.

    Raises:
        ValueError: The file is damaged; ``struct.error`` and ``zlib.error`` for other damage.
        OSError: The file cannot be read.
    """
    arrays = list_arrays(path, max_arrays=_MAX_VARIABLES)
    return {array.name: _value(array.element(path, check_size), array.order) for array in arrays}


def _value(data: bytes | bytearray | memoryview, order: str, depth: int = 0) -> Any:
    if not len(data):
        return []
    elements = Elements(data, order)
    flags, shape, _ = elements.header()
    kind = flags & 0xFF
    count = math.prod(shape)
    if depth > _MAX_DEPTH:
        raise ValueError("cells are nested too deeply")
    if kind in CLASSES:
        numbers = elements.numbers(shape).squeeze()
        return numbers if numbers.ndim or not numbers.size else numbers.item()
    if kind == _TEXT:
        return _text(elements, order, shape[0] if shape else 0)
    if kind == _CELLS:
        return [_inner(elements, order, depth) for _ in _bounded(count, data)]
    if kind == _STRUCT:
        (length,) = struct.unpack_from(f"{order}i", elements.of(5))
        packed = bytes(elements.of(1)) if length > 0 else b""
        names = [
            packed[at : at + length].split(b"\0")[0].decode("latin-1") for at in range(0, len(packed), length or 1)
        ]
        records = [{name: _inner(elements, order, depth) for name in names} for _ in _bounded(count, data)]
        return records[0] if count == 1 else records
    return None


def _bounded(count: int, data: bytes | bytearray | memoryview) -> range:
    # Each cell takes at least its tag.
    if count > len(data):
        raise ValueError("an array does not have as many cells as its header says")
    return range(count)


def _inner(elements: Elements, order: str, depth: int) -> Any:
    return _value(elements.of(MATRIX), order, depth + 1)


def _text(elements: Elements, order: str, num_rows: int) -> Any:
    kind, data = elements.next()
    encoding = _ENCODINGS.get(kind)
    if encoding is None:
        raise ValueError(f"text of the type {kind}" if kind not in DATA_TYPES else "text that is stored as numbers")
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    text = bytes(data).decode(encoding, "replace")
    return text if num_rows <= 1 else [text[row::num_rows] for row in range(min(num_rows, len(text)))]
