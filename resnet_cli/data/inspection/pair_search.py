"""Searches for the pairs of vectors with the largest products: all pairs in blocks, or those within neighborhoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.inspection.compact import NearPairs
from resnet_cli.data.inspection.neighborhoods import CENTERS_OF_EACH, EXHAUSTIVE, Floats, Rows, neighborhoods
from resnet_cli.system.events import Progress

#: Some of n images -> their vectors [m x d].
Vectors: TypeAlias = Callable[[slice], Floats]
#: Called with the number of images that were searched.
Report: TypeAlias = Callable[[float], None]
#: First images, second images, and the similarity of each pair.
Pairs: TypeAlias = tuple[Rows, Rows, Floats]

#: Number of later images that an image is paired with at most, the closest: a thousand frames of one still scene stay
#: connected and cost 32,000 pairs, not half a million.
MAX_LATER = 32
#: One block of the table of all pairs (8 MB).
_BLOCK_ROWS = 1024
_BLOCK_COLUMNS = 2048


class Table(Protocol):
    """Rows that are read when they are needed: an array, or one in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Rows, /) -> NDArray[Any]: ...


def counter(on_progress: Progress | None, total: int) -> Report:
    """Adds up how many images were searched, for ``on_progress(images searched, images in all)``."""
    done = 0.0

    def add(count: float) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(min(total, round(done)), total)

    return add


def search_sets(
    count: int,
    left: Callable[[Rows], Floats],
    right: Callable[[Rows], Floats],
    find: Callable[[Rows, int, Report], Pairs],
    report: Report,
) -> Pairs:
    """The pairs that a search finds within each neighborhood, the best of each first image.

    Args:
        count: Number of images.
        left: Vectors of some images.
        right: Vectors whose product with those of ``left`` is the similarity.
        find: Some images, the number of pairs to keep of each -> pairs of their places.
        report: Called with the number of images that were searched.
    """
    keep, held = MAX_LATER, 0
    # More pairs would fill the memory: then each image has fewer, the best.
    most = max(MAX_LATER * EXHAUSTIVE, 4 * count)
    found: list[Pairs] = [no_pairs()]
    for rows in neighborhoods(count, left, right):
        share = 1 if len(rows) == count else 1 / CENTERS_OF_EACH
        first, second, score = find(rows, keep, lambda num, share=share: report(num * share))  # type: ignore[misc]
        found.append((rows[first].astype(np.int32), rows[second].astype(np.int32), score))
        held += len(first)
        if held > most:
            found = [_best(joined(found), keep)]
            while len(found[0][0]) > most // 2 and keep > 2:
                keep //= 2
                found = [_best(found[0], keep)]
            held = len(found[0][0])
    return _best(joined(found), keep)


def _best(pairs: Pairs, keep: int) -> Pairs:
    """Each pair once, the best of each first image."""
    first, second, score = pairs
    different = NearPairs.ranked(first, second, score, -score)
    return closest(different.first, different.second, different.score, keep)


def search(
    count: int,
    left: Vectors,
    right: Vectors,
    threshold: float,
    *,
    report: Callable[[int], None],
    keep: int,
) -> Pairs:
    """Pairs i < j whose dot product of left[i] and right[j] reaches the threshold, the ``keep`` best of each i.

    The table of all pairs is computed in blocks; BLAS uses every core for each.
    """
    found: list[Pairs] = [no_pairs()]
    for start in range(0, count, _BLOCK_ROWS):
        rows = left(slice(start, start + _BLOCK_ROWS))
        blocks: list[Pairs] = [no_pairs()]
        for column in range(start, count, _BLOCK_COLUMNS):
            products = rows @ right(slice(column, column + _BLOCK_COLUMNS)).T
            # Hits are rare: finding them in the flat table is far faster than nonzero() in two dimensions.
            hits = np.flatnonzero(products >= threshold)
            first, second = np.divmod(hits, products.shape[1])
            first, second = first + start, second + column
            later = second > first
            blocks.append(closest(first[later], second[later], products.ravel()[hits[later]], keep))
        found.append(closest(*joined(blocks), keep))
        report(len(rows))
    return joined(found)


def closest(first: Rows, second: Rows, score: Floats, keep: int) -> Pairs:
    """Drops all but the best pairs of each first image."""
    order = np.lexsort((second, -score, first))
    by_first = first[order]
    rank = np.arange(len(order)) - np.searchsorted(by_first, by_first)
    best = order[rank < keep]
    return first[best], second[best], score[best]


def no_pairs() -> Pairs:
    """An empty list of pairs."""
    return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Several lists of pairs as one."""
    first, second, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, score
