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
#: Vectors per center, and the number of centers that each vector belongs to: 10 of 58 find 99.5 % of the 2,809 near
#: duplicates in CIFAR-10 (10 of 1,000 find 99.4 %); 3 would bring only 89 % of them together. A set that is split again
#: is split into separate ones, because thousands of equal vectors would stay together in each of the 10.
_PER_CENTER, CENTERS_OF_EACH = 1024, 10
_MAX_CENTERS = 1024
#: Centers whose rows are listed at once, so that the memory for it hardly grows.
_LISTED_CENTERS = 64
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
        num_sets = 1 if depth else CENTERS_OF_EACH
        closest = _closest_centers(rows, left, right, depth, num_sets).ravel()
        for first in range(0, _MAX_CENTERS, _LISTED_CENTERS):
            places = np.flatnonzero((closest >= first) & (closest < first + _LISTED_CENTERS)).astype(np.int32)
            centers = closest[places]
            for center in np.unique(centers).tolist():
                yield from _split(rows[places[centers == center] // num_sets], left, right, depth + 1)


def _closest_centers(rows: Rows, left: Vectors, right: Vectors, depth: int, num: int) -> NDArray[np.int16]:
    """The centers to which each row belongs, int16 [m x num]."""
    num_centers = min(_MAX_CENTERS, max(2 * CENTERS_OF_EACH, len(rows) // _PER_CENTER))
    # Another choice after each split.
    chosen = np.random.default_rng(depth).choice(len(rows), num_centers, replace=False)
    centers = right(rows[np.sort(chosen)])
    closest = np.empty((len(rows), num), np.int16)
    for start in range(0, len(rows), _BLOCK):
        products = left(rows[start : start + _BLOCK]) @ centers.T
        closest[start : start + _BLOCK] = np.argpartition(products, -num, axis=1)[:, -num:]
    return closest
