"""Average precision: how well the probabilities of a class rank its images above all others. No torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClassRanking(NamedTuple):
    """How well one class is ranked.

    Attributes:
        roc_auc: Probability that an image of the class scores higher for it than another image; a tie counts half.
        average_precision: Area under the precision-recall curve.
    """

    roc_auc: float
    average_precision: float


def rank_class(scores: NDArray[np.floating[Any]], own_scores: NDArray[np.floating[Any]]) -> ClassRanking:
    """Ranks the images of one class against all others.

    Args:
        scores: Scores of all images for the class, [n].
        own_scores: Those of the images that belong to it, [p] with 0 < p < n.

    Source: as ``sklearn.metrics.roc_auc_score`` and ``average_precision_score``.
    """
    column, own = np.sort(scores), np.sort(own_scores)
    below, up_to = (np.searchsorted(column, own, side=side) for side in ("left", "right"))
    own_below, own_up_to = (np.searchsorted(own, own, side=side) for side in ("left", "right"))
    # The number of other images that are below, plus half of those that are equal.
    beaten = (below - own_below) + ((up_to - below) - (own_up_to - own_below)) / 2
    roc_auc = beaten.mean() / (len(column) - len(own))
    return ClassRanking(roc_auc, ((len(own) - own_below) / (len(column) - below)).mean())


def average_precisions(scores: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> NDArray[np.float64]:
    """Average precision of each class over its known images.

    Args:
        scores: Probabilities or logits [n x k]; only their order matters.
        targets: 1 yes, 0 no, -1 unknown, [n x k].

    Returns:
        [k]; NaN for a class without a known positive or without a known negative.

    Source: as ``sklearn.metrics.average_precision_score``.
    """
    found = np.full(targets.shape[1], np.nan)
    for label in np.flatnonzero((targets == 1).any(axis=0) & (targets == 0).any(axis=0)):
        known, is_own = targets[:, label] >= 0, targets[:, label] == 1
        found[label] = rank_class(scores[known, label], scores[is_own, label]).average_precision
    return found


def mean_average_precision(scores: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> float:
    """Macro mAP: the mean of :func:`average_precisions` over the classes that have one; NaN if no class has one.

    Args:
        scores: Probabilities or logits [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
    """
    found = average_precisions(scores, targets)
    known = found[~np.isnan(found)]
    return float(known.mean()) if len(known) else float("nan")
