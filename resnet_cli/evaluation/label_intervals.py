"""95 % intervals of the metrics of a multi-label model, from resamples of the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import Interval, around, bca_interval, wilson
from resnet_cli.evaluation.label_class_scores import LabelCounts, averages
from resnet_cli.evaluation.label_resampling import (
    Sampled,
    Weights,
    draw_weights,
    pooled_column,
    rank_samples,
    ranked_columns,
    sum_classes,
)

#: Precision, recall and F1, in the order of :func:`~resnet_cli.evaluation.label_class_scores.by_class`.
COUNTED = ("precision", "recall", "f1")


def sample_ranking(
    probs: NDArray[np.floating[Any]], targets: NDArray[np.int8], *, with_micro: bool = True
) -> dict[str, Sampled]:
    """Samples the metrics of how each class ranks the images.

    A class counts in a sample in which it has both positives and negatives. Two calls with targets of the same shape
    draw the same samples, so that the results of two models can be compared sample by sample.

    Args:
        probs: Probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        with_micro: Whether ``micro_map`` is wanted, which takes as long as everything else.

    Returns:
        ``average_precision`` of each class [... x k]; ``map``, ``weighted_map``, ``roc_auc`` and ``micro_map``.
    """
    columns, pooled = ranked_columns(probs, targets), pooled_column(probs, targets) if with_micro else None
    num_blocks, parts = draw_weights(len(probs), probs.size)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for weights in parts:
        ranked = rank_samples(columns, probs.shape[1], weights)
        supports = np.where(np.isnan(ranked.average_precision), 0, sum_classes(targets == 1, weights))
        of_part = {
            "average_precision": ranked.average_precision,
            "map": _mean_known(ranked.average_precision),
            "weighted_map": _mean_known(ranked.average_precision, supports),
            "roc_auc": _mean_known(ranked.roc_auc),
        }
        if pooled is not None:
            of_part["micro_map"] = pooled.rank(weights)[0]
        for name, values in of_part.items():
            found.setdefault(name, []).append(values)
    return _join(found, num_blocks)


def sample_counts(targets: NDArray[np.int8], predicted: NDArray[np.bool_]) -> dict[str, Sampled]:
    """Samples ``macro_precision``, ``macro_recall``, ``macro_f1``, and the same for ``micro`` and ``weighted``.

    A sample in which no class has positives or predictions has no value.

    Args:
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        predicted: Whether each label is predicted, [n x k].
    """
    is_true, is_predicted = targets == 1, (targets >= 0) & predicted
    num_blocks, parts = draw_weights(len(targets), targets.size)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for weights in parts:
        counts = LabelCounts(*(sum_classes(values, weights) for values in (is_true & predicted, is_predicted, is_true)))
        is_empty = ~(counts.true + counts.predicted).any(axis=1)
        for average, values in averages(counts).items():
            values[is_empty] = np.nan
            for place, name in enumerate(COUNTED):
                found.setdefault(f"{average}_{name}", []).append(values[:, place])
    return _join(found, num_blocks)


def sample_ratios(
    ratios: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], num_cells: int
) -> dict[str, Sampled]:
    """Samples metrics that are a sum over images, divided by another.

    Args:
        ratios: Name -> what is summed and what the sum is divided by, each [n].
        num_cells: Number of values, as for :func:`~resnet_cli.evaluation.label_resampling.draw_weights`.
    """
    tops, bottoms = (np.stack([pair[side] for pair in ratios.values()], axis=1) for side in (0, 1))
    num_blocks, parts = draw_weights(len(tops), num_cells)
    values = np.concatenate([_ratio(tops, bottoms, weights) for weights in parts])
    return {name: Sampled.split(values[:, place], num_blocks) for place, name in enumerate(ratios)}


def _ratio(tops: NDArray[np.float64], bottoms: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    exact = weights.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: NDArray[np.float64] = (exact @ tops) / (exact @ bottoms)
    return shares


def interval(
    sampled: Sampled, supports: Sequence[int] = (), *, least: float = 0.0, most: float = 1.0
) -> Interval | None:
    """The 95 % interval of a metric by the BCa bootstrap; None if the metric has no value.

    Resampling images that are all predicted correctly says nothing: each resample is as perfect. The end on the other
    side then is the mean of the Wilson intervals of ``supports`` correct predictions out of as many.

    Args:
        sampled: The metric, [].
        supports: Number of images that each class's part of the metric is based on.
        least: Smallest possible value of the metric.
        most: Largest possible value of the metric.
    """
    value = float(sampled.value)
    if np.isnan(value):
        return None
    drawn, left = (values[~np.isnan(values)] for values in (sampled.drawn, sampled.left))
    if len(left) and len(drawn) and np.ptp(drawn) > 0:
        return bca_interval(value, drawn, left, least=least, most=most)
    reach = float(np.mean([1 - wilson(num, num).low for num in supports if num] or [1.0])) * (most - least)
    low = value if value == least else value - reach
    return around(value, low, value if value == most else value + reach, least=least, most=most)


def difference(first: Sampled, second: Sampled) -> Sampled:
    """The second minus the first, sample by sample: the paired bootstrap."""
    return Sampled(*(other - one for one, other in zip(first, second, strict=True)))


def _mean_known(values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Mean over the classes that have a value, [b x k] -> [b]; NaN if none has one."""
    is_known = ~np.isnan(values)
    shares = is_known.astype(np.float64) if weights is None else weights
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (np.where(is_known, values, 0) * shares).sum(axis=1) / shares.sum(axis=1)
    return means


def _join(found: Mapping[str, list[NDArray[np.float64]]], num_blocks: int) -> dict[str, Sampled]:
    return {name: Sampled.split(np.concatenate(parts), num_blocks) for name, parts in found.items()}


def class_intervals(sampled: Sampled, supports: Sequence[int]) -> tuple[Interval | None, ...]:
    """The interval of each class's average precision; None for a class without one.

    Args:
        sampled: ``average_precision`` of :func:`sample_ranking`, [... x k].
        supports: Positives of each class, [k].
    """

    def columns() -> Iterator[Sampled]:
        for label in range(len(supports)):
            yield Sampled(*(values[..., label] for values in sampled))

    return tuple(interval(one, [num]) for one, num in zip(columns(), supports, strict=True))
