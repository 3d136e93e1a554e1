"""Figures that are functions of the confusion matrix, of many matrices at once, and their 95 % intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import NUMBERS_AT_ONCE, Interval, around, resamples_for

#: Made-up images, half of them answered right, that each resample may draw from.
NUM_PSEUDO = 4


class Table(NamedTuple):
    """Confusion matrices, each summed up as far as the figures below need it; all [b x k].

    Attributes:
        true: Images of each class.
        predicted: Images answered with it.
        right: Images of it that are answered right.
    """

    true: NDArray[np.float64]
    predicted: NDArray[np.float64]
    right: NDArray[np.float64]


def balanced_accuracy(table: Table) -> NDArray[np.float64]:
    """Mean recall of the classes that occur, [b]."""
    return _mean_over(table.true > 0, _ratio(table.right, table.true))


def macro_f1(table: Table) -> NDArray[np.float64]:
    """Mean F1 of the classes that occur, [b]."""
    return _mean_over(table.true > 0, _ratio(2 * table.right, table.true + table.predicted))


def cohens_kappa(table: Table) -> NDArray[np.float64]:
    """Agreement beyond chance, [b]; 0 where chance alone agrees fully.

    Source: Cohen 1960, https://doi.org/10.1177/001316446002000104.
    """
    num = table.true.sum(axis=1)
    by_chance = (table.true * table.predicted).sum(axis=1) / num**2
    return _ratio(table.right.sum(axis=1) / num - by_chance, 1 - by_chance)


def matthews(table: Table) -> NDArray[np.float64]:
    """The correlation coefficient of true and predicted classes, [b]; 0 where either is always the same.

    Source: Gorodkin 2004, https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    num = table.true.sum(axis=1)
    covariance = table.right.sum(axis=1) * num - (table.true * table.predicted).sum(axis=1)
    spread = (num**2 - (table.true**2).sum(axis=1)) * (num**2 - (table.predicted**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def confusion_intervals(confusion: NDArray[np.int64], *, seed: int = 0) -> dict[str, Interval]:
    """Intervals of the figures that are functions of the confusion matrix, by the percentile bootstrap.

    Each resample also draws, about four times, from made-up images of which half are answered right: without them 50
    right answers of 50 would have an interval without width. A resample is one draw of the matrix's cells, so that the
    cost does not depend on the number of images.

    Args:
        confusion: Counts [k x k], rows true, columns predicted; not all zero.
        seed: The same seed draws the same.

    Returns:
        ``balanced_accuracy``, ``macro_f1``, ``kappa`` and ``mcc``.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; the four images: Agresti and
    Coull 1998, https://doi.org/10.1080/00031305.1998.10480550.
    """
    num_classes, num = len(confusion), int(confusion.sum())
    rows, columns, masses = _cells(confusion)
    draws = np.random.default_rng(seed)
    # A draw of a cell costs as much as ten of an image.
    total, at_once = resamples_for(10 * len(rows)), max(1, NUMBERS_AT_ONCE // max(len(rows), num_classes))
    figures = {
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "kappa": cohens_kappa,
        "mcc": matthews,
    }
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in figures}
    for start in range(0, total, at_once):
        counts = draws.multinomial(num, masses / masses.sum(), size=min(at_once, total - start))
        table = _summed(counts.astype(np.float64), rows, columns, num_classes)
        for name, figure in figures.items():
            drawn[name].append(figure(table))
    seen = _summed(confusion.reshape(1, -1).astype(np.float64), *_all_cells(num_classes), num_classes)
    found = {}
    for name, figure in figures.items():
        low, high = np.quantile(np.concatenate(drawn[name]), [0.025, 0.975])
        found[name] = around(figure(seen)[0], low, high, least=-1.0 if name in {"kappa", "mcc"} else 0.0)
    return found


def _cells(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """True and predicted class of each cell that may be drawn, and how much of all images it stands for."""
    num_classes = len(confusion)
    shares = confusion.sum(axis=1) / confusion.sum()
    occurs = np.flatnonzero(shares)
    rows, columns = np.nonzero(confusion)
    # The made-up mistakes of a class all go to the next one: which one hardly matters to any figure.
    pseudo = NUM_PSEUDO / 2 * shares[occurs]
    return (
        np.concatenate([rows, occurs, occurs]),
        np.concatenate([columns, occurs, (occurs + 1) % num_classes]),
        np.concatenate([confusion[rows, columns].astype(np.float64), pseudo, pseudo]),
    )


def _all_cells(num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = np.divmod(np.arange(num_classes**2), num_classes)
    return rows, columns


def _summed(
    counts: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64], num_classes: int
) -> Table:
    """Cells [b x c] -> rows, columns and diagonal of the matrices [b x k]."""
    right = np.where(rows == columns, counts, 0)
    return Table(_by(counts, rows, num_classes), _by(counts, columns, num_classes), _by(right, rows, num_classes))


def _by(values: NDArray[np.float64], groups: NDArray[np.int64], num_groups: int) -> NDArray[np.float64]:
    """Sums the columns [b x c] of each group: [b x num_groups]."""
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
