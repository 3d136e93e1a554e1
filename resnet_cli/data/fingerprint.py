"""The hash of a data set's content, computed from its columns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.packed_images import PackedImages

#: Length of a SHA-256.
_HASH_BYTES = 32
#: Rows that are written as text at once.
_ROWS_AT_ONCE = 4096


def fingerprint(
    classes: tuple[str, ...],
    hashes: Sequence[bytes] | NDArray[np.uint8],
    told: Sequence[Any],
    items: PackedImages[Any, Any],
) -> str:
    """SHA-256 of the text of ``(classes, rows)``, where ``rows`` is a sorted list of tuples (hash, labels, split).

    Args:
        classes: Names of the classes.
        hashes: Content hash of each image; as an array, uint8 [n x 32] with zeros for a file that cannot be opened.
        told: What the rows say of the labels of each kind of images.
        items: The images.
    """
    digest = hashlib.sha256(f"({classes!r}, [".encode("utf-8", "surrogateescape"))
    order = _by_content(hashes, told, items)
    for start in range(0, len(order), _ROWS_AT_ONCE):
        part = order[start : start + _ROWS_AT_ONCE]
        columns = _contents(hashes, part), items.kind_of[part].tolist(), items.split_of[part].tolist()
        rows = [(sha256, told[kind], items.splits[split]) for sha256, kind, split in zip(*columns, strict=True)]
        digest.update(((", " if start else "") + repr(rows)[1:-1]).encode("utf-8", "surrogateescape"))
    digest.update(b"])")
    return digest.hexdigest()


def _contents(hashes: Sequence[bytes] | NDArray[np.uint8], rows: NDArray[np.integer[Any]]) -> list[bytes]:
    if isinstance(hashes, np.ndarray):
        return [one.tobytes() if one.any() else b"" for one in hashes[rows]]
    return [hashes[at] for at in rows.tolist()]


def _by_content(
    hashes: Sequence[bytes] | NDArray[np.uint8], told: Sequence[Any], items: PackedImages[Any, Any]
) -> NDArray[np.integer[Any]]:
    """The order of images by their hashes, then by what is told about each kind, then by the names of their splits."""
    if len(hashes) != len(items):
        raise ValueError(f"{len(hashes)} hashes of {len(items)} images")
    by_told, by_name = ({value: at for at, value in enumerate(sorted(set(values)))} for values in (told, items.splits))
    ranks = np.array([by_told[value] for value in told], dtype=np.int64)[items.kind_of]
    split_ranks = np.array([by_name[name] for name in items.splits], dtype=np.int64)[items.split_of]
    if not isinstance(hashes, np.ndarray):
        if {*map(len, hashes)} != {_HASH_BYTES}:
            keys = list(zip(hashes, ranks.tolist(), split_ranks.tolist(), strict=True))
            return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
        hashes = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(len(hashes), -1)
    # Numbers of eight bytes, the first byte first, are in the order of the bytes.
    words = np.ascontiguousarray(hashes).view(">u8")
    return np.lexsort((split_ranks, ranks, *words.T[::-1]))
