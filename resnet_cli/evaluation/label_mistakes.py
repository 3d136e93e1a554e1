"""Which labels are predicted together with which, and the worst mistakes of each class."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Cooccurrence(NamedTuple):
    """True labels against predicted ones, each int64 [k x k]; true classes in rows, predicted ones in columns.

    Attributes:
        both: Images that have the one label and are predicted to have the other; on the diagonal, the labels that are
            found.
        in_addition: Those of them in which the predicted label is wrong, and the true one is predicted too.
        instead: Those of them in which the predicted label is wrong, and the true one is missed.
    """

    both: NDArray[np.int64]
    in_addition: NDArray[np.int64]
    instead: NDArray[np.int64]


class Pair(NamedTuple):
    """A wrong label that is often predicted where another label is true.

    Attributes:
        true: Index of the true class.
        predicted: Index of the wrong label.
        num: Number of images.
        is_instead: Whether the true label is missed in them; False: it is predicted too.
    """

    true: int
    predicted: int
    num: int
    is_instead: bool


def cooccurrence(targets: NDArray[np.int8], predicted: NDArray[np.bool_]) -> Cooccurrence:
    """Counts pairs of true and predicted labels; a prediction whose value is not known counts nowhere.

    Args:
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        predicted: Whether each label is predicted, [n x k].
    """
    is_true, is_wrong = targets == 1, (targets == 0) & predicted
    return Cooccurrence(
        both=_count(is_true, (targets >= 0) & predicted),
        in_addition=_count(is_true & predicted, is_wrong),
        instead=_count(is_true & ~predicted, is_wrong),
    )


def _count(rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> NDArray[np.int64]:
    # As floats, which a matrix product is fast with; float64 is exact for any number of images.
    parts = max(1, rows.size // 2_000_000)
    pairs = zip(np.array_split(rows, parts), np.array_split(columns, parts), strict=True)
    total = sum(row.T.astype(np.float64) @ column.astype(np.float64) for row, column in pairs)
    return np.asarray(total, dtype=np.int64)


def most_common_pairs(found: Cooccurrence, limit: int = 10) -> list[Pair]:
    """The wrong labels that most often come with, or replace, another label; the most common first."""
    pairs = []
    for counts, is_instead in ((found.instead, True), (found.in_addition, False)):
        rows, columns = np.nonzero(counts)
        pairs += [
            Pair(r, c, int(counts[r, c]), is_instead) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)
        ]
    return sorted(pairs, key=lambda pair: (-pair.num, not pair.is_instead, pair.true, pair.predicted))[:limit]


class Mistakes(NamedTuple):
    """The worst mistakes of one class, as indices of images.

    Attributes:
        missed: Images that have the label without being predicted to; the least probable first.
        false_alarms: Images that are predicted to have the label without having it; the most probable first.
    """

    missed: tuple[int, ...]
    false_alarms: tuple[int, ...]


def worst_mistakes(
    probs: NDArray[np.floating[Any]], targets: NDArray[np.int8], predicted: NDArray[np.bool_], label: int, *, limit: int
) -> Mistakes:
    """The worst mistakes of a class.

    Args:
        probs: Probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        predicted: Whether each label is predicted, [n x k].
        label: Index of the class.
        limit: At most this many images of each kind.
    """
    column, values, chosen = probs[:, label], targets[:, label], predicted[:, label]
    missed, alarms = np.flatnonzero((values == 1) & ~chosen), np.flatnonzero((values == 0) & chosen)
    return Mistakes(
        tuple(missed[np.argsort(column[missed], kind="stable")][:limit].tolist()),
        tuple(alarms[np.argsort(-column[alarms], kind="stable")][:limit].tolist()),
    )
