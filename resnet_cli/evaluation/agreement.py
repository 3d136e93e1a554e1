"""Metrics that are functions of the confusion matrix, computed for many matrices at once, and their 95 % intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import NUMBERS_AT_ONCE, Interval, around, resamples_for

#: Pseudo-images, half of them classified correctly, that each resample can draw from.
NUM_PSEUDO = 4


class Margins(NamedTuple):
    """Margins and diagonal of b confusion matrices, which is all that the metrics need; all [b x k].

    Attributes:
        true: Images of each class.
        predicted: Images predicted as each class.
        right: Images of each class that are predicted correctly.
    """

    true: NDArray[np.float64]
    predicted: NDArray[np.float64]
    right: NDArray[np.float64]


def balanced_accuracy(margins: Margins) -> NDArray[np.float64]:
    """Mean recall of the classes that have images, [b]."""
    return _mean_over(margins.true > 0, _ratio(margins.right, margins.true))


def macro_f1(margins: Margins) -> NDArray[np.float64]:
    """Mean F1 of the classes that have images or are predicted, [b]."""
    counts = margins.true + margins.predicted
    return _mean_over(counts > 0, _ratio(2 * margins.right, counts))


def cohens_kappa(margins: Margins) -> NDArray[np.float64]:
    """Agreement beyond chance, [b]; 0 if chance alone gives full agreement.

    Source: Cohen 1960, https://doi.org/10.1177/001316446002000104.
    """
    num = margins.true.sum(axis=1)
    by_chance = (margins.true * margins.predicted).sum(axis=1) / num**2
    return _ratio(margins.right.sum(axis=1) / num - by_chance, 1 - by_chance)


def matthews(margins: Margins) -> NDArray[np.float64]:
    """Matthews correlation coefficient of true and predicted classes, [b]; 0 if either is constant.

    Source: Gorodkin 2004, https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    num = margins.true.sum(axis=1)
    covariance = margins.right.sum(axis=1) * num - (margins.true * margins.predicted).sum(axis=1)
    spread = (num**2 - (margins.true**2).sum(axis=1)) * (num**2 - (margins.predicted**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def confusion_intervals(confusion: NDArray[np.int64], *, seed: int = 0) -> dict[str, Interval]:
    """Intervals of the metrics that are functions of the confusion matrix, by the percentile bootstrap.

    Each resample also draws about four pseudo-images, half of which are classified correctly: without them, 50 correct
    predictions out of 50 would have an interval of zero width. A resample is one draw of the matrix's cells, so the
    cost does not depend on the number of images.

    Args:
        confusion: Counts [k x k], true classes in rows and predicted classes in columns; not all zero.
        seed: Random seed of the resampling.

    Returns:
        ``balanced_accuracy``, ``macro_f1``, ``kappa`` and ``mcc``.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; the pseudo-images: Agresti and
    Coull 1998, https://doi.org/10.1080/00031305.1998.10480550.
    """
    num_classes, num = len(confusion), int(confusion.sum())
    rows, columns, masses = _cells(confusion)
    draws = np.random.default_rng(seed)
    # Drawing one cell costs as much as drawing ten images.
    total, at_once = resamples_for(10 * len(rows)), max(1, NUMBERS_AT_ONCE // max(len(rows), num_classes))
    metrics = {
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "kappa": cohens_kappa,
        "mcc": matthews,
    }
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in metrics}
    for start in range(0, total, at_once):
        counts = draws.multinomial(num, masses / masses.sum(), size=min(at_once, total - start))
        margins = _margins(counts.astype(np.float64), rows, columns, num_classes)
        for name, metric in metrics.items():
            drawn[name].append(metric(margins))
    observed = _margins(confusion.reshape(1, -1).astype(np.float64), *_all_cells(num_classes), num_classes)
    found = {}
    for name, metric in metrics.items():
        low, high = np.quantile(np.concatenate(drawn[name]), [0.025, 0.975])
        found[name] = around(metric(observed)[0], low, high, least=-1.0 if name in {"kappa", "mcc"} else 0.0)
    return found


def _cells(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """True and predicted class of each cell that can be drawn, and its weight."""
    num_classes = len(confusion)
    shares = confusion.sum(axis=1) / confusion.sum()
    occurs = np.flatnonzero(shares)
    rows, columns = np.nonzero(confusion)
    # The wrong pseudo-images of a class are predicted as the next class that counts in the metrics; which one it is
    # hardly matters. Only where no other class counts do they add one.
    known = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    following = (
        known[(np.searchsorted(known, occurs) + 1) % len(known)] if len(known) > 1 else (occurs + 1) % num_classes
    )
    pseudo = NUM_PSEUDO / 2 * shares[occurs]
    return (
        np.concatenate([rows, occurs, occurs]),
        np.concatenate([columns, occurs, following]),
        np.concatenate([confusion[rows, columns].astype(np.float64), pseudo, pseudo]),
    )


def _all_cells(num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = np.divmod(np.arange(num_classes**2), num_classes)
    return rows, columns


def _margins(
    counts: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64], num_classes: int
) -> Margins:
    """Cells [b x c] -> sums of rows and columns, and the diagonal, of the matrices [b x k]."""
    right = np.where(rows == columns, counts, 0)
    return Margins(_by(counts, rows, num_classes), _by(counts, columns, num_classes), _by(right, rows, num_classes))


def _by(values: NDArray[np.float64], groups: NDArray[np.int64], num_groups: int) -> NDArray[np.float64]:
    """Sums of the columns [b x c] of each group: [b x num_groups]."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    sums = np.zeros((len(values), num_groups))
    sums[:, present] = np.add.reduceat(values[:, order], starts, axis=1)
    return sums


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _mean_over(where: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.where(where, values, 0).sum(axis=1) / np.maximum(where.sum(axis=1), 1)
    return shares
