"""Metrics of a multi-label model over many resamples of the same images: the bootstrap behind its intervals.

A resample is a number of times that each image counts. Sums over images are then one matrix product for all resamples,
and the average precision needs one sort for each class, not one for each resample: 10,000 images in 20 classes take
seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import MIN_RESAMPLES, NUM_BLOCKS, NUM_RESAMPLES

#: Most values (images times classes) for which metrics of the ranking get an interval: about ten seconds.
MAX_CELLS = 4_000_000
#: Most values counted for one set of resamples; more values get fewer resamples, of which they need fewer.
MAX_COUNTED = 100_000_000
#: Numbers held at once: 16 MB as float32.
NUMBERS_AT_ONCE = 4_000_000

#: How often each image counts, in b samples: float32 [n x b]; whole numbers, which float32 holds exactly.
Weights = NDArray[np.float32]


class Sampled(NamedTuple):
    """A metric of all images, of the images without each of the blocks, and of each resample.

    Attributes:
        value: The metric of all images, [...].
        left: Without each block of images, for the acceleration of the BCa bootstrap, [blocks x ...].
        drawn: Of each resample, [resamples x ...].
    """

    value: NDArray[np.float64]
    left: NDArray[np.float64]
    drawn: NDArray[np.float64]

    @classmethod
    def split(cls, values: NDArray[np.float64], num_blocks: int) -> Sampled:
        """Takes apart the values of the samples of :func:`draw_weights`, [b x ...]."""
        return cls(values[0], values[1 : 1 + num_blocks], values[1 + num_blocks :])


class Ranked(NamedTuple):
    """Ranking metrics in b samples.

    Attributes:
        average_precision: Of each class, [b x k]; NaN where a sample has no positives or no negatives of the class.
        roc_auc: The same for the area under the ROC curve.
    """

    average_precision: NDArray[np.float64]
    roc_auc: NDArray[np.float64]


def draw_weights(num: int, num_cells: int) -> tuple[int, Iterator[Weights]]:
    """Draws the samples: first all images, then all but one block of them, then resamples with replacement.

    Args:
        num: Number of images, n.
        num_cells: Number of values, which decides on the number of resamples.

    Returns:
        The number of blocks, and the weights of the samples, a part of the samples at a time.
    """
    rng = np.random.default_rng(0)
    total = max(MIN_RESAMPLES, min(NUM_RESAMPLES, MAX_COUNTED // max(1, num_cells)))
    blocks = np.array_split(rng.permutation(num), min(NUM_BLOCKS, num))
    at_once = max(1, NUMBERS_AT_ONCE // num)

    def parts() -> Iterator[Weights]:
        whole = np.ones((num, 1 + len(blocks)), dtype=np.float32)
        for place, block in enumerate(blocks, 1):
            whole[block, place] = 0
        yield from np.array_split(whole, max(1, -(-whole.shape[1] // at_once)), axis=1)
        for start in range(0, total, at_once):
            size = min(at_once, total - start)
            # One count for each pair of image and resample.
            places = rng.integers(num, size=(num, size)) * size + np.arange(size)
            yield np.bincount(places.ravel(), minlength=num * size).reshape(num, size).astype(np.float32)

    return len(blocks), parts()


def sum_classes(values: NDArray[np.bool_], weights: Weights) -> NDArray[np.float64]:
    """How many images have each property in each sample: [n x k] -> [b x k]."""
    num, num_classes = values.shape
    at_once = max(1, NUMBERS_AT_ONCE // num)
    parts = [
        weights.T @ values[:, start : start + at_once].astype(np.float32) for start in range(0, num_classes, at_once)
    ]
    return np.concatenate(parts, axis=1).astype(np.float64)


class RankedColumn:
    """One class (or all of them together) sorted by its probabilities, ready for any number of samples.

    Args:
        scores: Probabilities of the known values, [m].
        is_own: Whether each of them is a positive, [m].
        images: Image of each value, [m].
    """

    def __init__(self, scores: NDArray[Any], is_own: NDArray[np.bool_], images: NDArray[np.int64]) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        self.rows, self.own = images[order], images[order][is_own[order]]
        # Places where the probability of a positive begins and ends; between them, values are only ever added up.
        own_scores = ranked[is_own[order]]
        first = np.searchsorted(-ranked, -own_scores, side="left")
        last = np.searchsorted(-ranked, -own_scores, side="right")
        edges = np.unique(np.concatenate([[0], first, last]))
        self._edges = edges[edges < len(ranked)]
        self._first, self._last = np.searchsorted(edges, first), np.searchsorted(edges, last)
        self._own_first = np.searchsorted(-own_scores, -own_scores, side="left")
        self._own_last = np.searchsorted(-own_scores, -own_scores, side="right")

    def rank(self, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average precision and ROC-AUC in each sample, both [b]; NaN without positives or negatives."""
        at_once = max(1, NUMBERS_AT_ONCE // len(self.rows))
        starts = range(0, weights.shape[1], at_once)
        parts = [self._rank(np.ascontiguousarray(weights[:, start : start + at_once])) for start in starts]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _rank(self, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums = np.add.reduceat(weights.take(self.rows, axis=0), self._edges, axis=0)
        values = _running(sums)  # [edges + 1 x b]: values above each edge
        own = weights.take(self.own, axis=0)
        positives = _running(own)  # [p + 1 x b]
        reached, hits = values[self._last], positives[self._own_last]
        num_own = positives[-1].astype(np.float64)
        num_others = values[-1] - num_own
        precision = np.divide(hits, reached, out=np.zeros_like(reached), where=reached > 0)
        above, up_to = values[self._first] - positives[self._own_first], reached - hits
        beaten = num_others - (above + up_to) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            average_precision = np.einsum("pb,pb->b", own, precision, dtype=np.float64) / num_own
            roc_auc = np.einsum("pb,pb->b", own, beaten, dtype=np.float64) / (num_own * num_others)
        average_precision[num_others == 0] = np.nan
        return average_precision, roc_auc


def _running(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Running sums over the rows, from zero: [m x b] -> [m + 1 x b]."""
    sums = np.zeros((len(rows) + 1, rows.shape[1]), dtype=np.float32)
    np.cumsum(rows, axis=0, out=sums[1:])
    return sums


def ranked_columns(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> dict[int, RankedColumn]:
    """The classes that have both positives and negatives, by index.

    Args:
        probs: Probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
    """
    found = {}
    for label in np.flatnonzero((targets == 1).any(axis=0) & (targets == 0).any(axis=0)).tolist():
        known = np.flatnonzero(targets[:, label] >= 0)
        found[label] = RankedColumn(probs[known, label], targets[known, label] == 1, known)
    return found


def rank_samples(columns: dict[int, RankedColumn], num_classes: int, weights: Weights) -> Ranked:
    """Average precision and ROC-AUC of each class in each sample.

    Args:
        columns: The result of :func:`ranked_columns`.
        num_classes: Number of classes, k.
        weights: How often each image counts, [n x b].
    """
    found = Ranked(*(np.full((weights.shape[1], num_classes), np.nan) for _ in range(2)))
    for label, column in columns.items():
        found.average_precision[:, label], found.roc_auc[:, label] = column.rank(weights)
    return found


def pooled_column(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> RankedColumn | None:
    """All known values together, for the micro average; None without positives or negatives."""
    images, labels = np.nonzero(targets >= 0)
    is_own = targets[images, labels] == 1
    return RankedColumn(probs[images, labels], is_own, images) if 0 < is_own.sum() < len(is_own) else None
