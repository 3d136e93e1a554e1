"""Splits many vectors into overlapping sets of similar ones, so that not every pair has to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.integer[Any]]
Vectors: TypeAlias = Callable[[Rows], Floats]

#: Up to this many vectors, every pair is compared.
EXHAUSTIVE = 65_536
#: Vectors per center, and the number of centers that each vector belongs to.
_PER_CENTER, CENTERS_OF_EACH = 1024, 3
_MAX_CENTERS = 1024
#: Vectors whose centers are found at once.
_BLOCK = 4096
#: Sets that stay too large after this number of splits consist of nearly equal vectors; they are cut.
_MAX_DEPTH = 3


def neighborhoods(count: int, left: Vectors, right: Vectors) -> Iterator[Rows]:
    """Yields sets of rows, in rising order within each; similar rows have one in common, with few exceptions.

    Up to :data:`EXHAUSTIVE` rows are one set. Of more, each belongs to the sets of its closest centers, which are rows
    themselves: time and memory hardly grow faster than the number of rows.

    Args:
        count: Number of rows, n.
        left: Some rows, int [m] -> their vectors [m x d].
        right: Vectors whose product with those of ``left`` is the similarity.
    """
    yield from _split(np.arange(count), left, right, 0)


def _split(rows: Rows, left: Vectors, right: Vectors, depth: int) -> Iterator[Rows]:
    if len(rows) <= EXHAUSTIVE:
        yield rows
    elif depth == _MAX_DEPTH:
        for start in range(0, len(rows), EXHAUSTIVE // 2):
            yield rows[start : start + EXHAUSTIVE]
    else:
        closest = _closest_centers(rows, left, right, depth).ravel()
        order = np.argsort(closest, kind="stable").astype(np.int32)
        ends = np.searchsorted(closest[order], np.arange(_MAX_CENTERS + 1))
        for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            if start < stop:
                yield from _split(rows[np.sort(order[start:stop] // CENTERS_OF_EACH)], left, right, depth + 1)


def _closest_centers(rows: Rows, left: Vectors, right: Vectors, depth: int) -> NDArray[np.int16]:
    """The centers to which each row belongs, int16 [m x 3]."""
    num_centers = min(_MAX_CENTERS, max(2 * CENTERS_OF_EACH, len(rows) // _PER_CENTER))
    # Another choice after each split.
    chosen = np.random.default_rng(depth).choice(len(rows), num_centers, replace=False)
    centers = right(rows[np.sort(chosen)])
    closest = np.empty((len(rows), CENTERS_OF_EACH), np.int16)
    for start in range(0, len(rows), _BLOCK):
        products = left(rows[start : start + _BLOCK]) @ centers.T
        closest[start : start + _BLOCK] = np.argpartition(products, -CENTERS_OF_EACH, axis=1)[:, -CENTERS_OF_EACH:]
    return closest
