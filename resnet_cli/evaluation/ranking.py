"""How well probabilities rank the images of a class above all others: ROC-AUC and average precision.

The values are scikit-learn's, computed with one sort per class: 50,000 images in 1,000 classes take seconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import Interval, Z, around
from resnet_cli.heads.average_precision import rank_class

#: Most probabilities for which the ROC-AUC gets an interval: for 50,000 images in 1,000 classes it would take longer
#: than everything else.
MAX_CELLS = 10_000_000


class Ranking(NamedTuple):
    """Each class against the rest; NaN for a class that has no images, or all of them.

    Attributes:
        roc_auc: Probability that an image of the class scores higher for it than another image, [k].
        average_precision: Area under the precision-recall curve, [k].
    """

    roc_auc: NDArray[np.float64]
    average_precision: NDArray[np.float64]


def rank_classes(probs: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> Ranking:
    """ROC-AUC and average precision of each class.

    Args:
        probs: Probabilities [n x k].
        labels: True class indices [n].

    Source: as ``sklearn.metrics.roc_auc_score`` and ``average_precision_score``; equal probabilities count half.
    """
    num, num_classes = probs.shape
    found = Ranking(np.full(num_classes, np.nan), np.full(num_classes, np.nan))
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(num_classes + 1))
    for label in range(num_classes):
        own = order[starts[label] : starts[label + 1]]
        if not 0 < len(own) < num:
            continue
        found.roc_auc[label], found.average_precision[label] = rank_class(probs[:, label], probs[own, label])
    return found


def rank_known_classes(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> Ranking:
    """ROC-AUC and average precision of each class over its known images.

    Args:
        probs: Probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
    """
    found = Ranking(*(np.full(probs.shape[1], np.nan) for _ in range(2)))
    for label in np.flatnonzero((targets == 1).any(axis=0) & (targets == 0).any(axis=0)):
        known, is_own = targets[:, label] >= 0, targets[:, label] == 1
        ranked = rank_class(probs[known, label], probs[is_own, label])
        found.roc_auc[label], found.average_precision[label] = ranked
    return found


def mean_known(values: NDArray[np.float64], weights: NDArray[Any] | None = None) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    return float(values[known].mean() if weights is None else np.average(values[known], weights=weights[known]))


def macro_roc_auc(
    probs: NDArray[np.floating[Any]], labels: NDArray[np.int64], roc_auc: NDArray[np.float64]
) -> Interval:
    """Macro ROC-AUC with its 95 % interval, computed on the logit scale unless it is 0 or 1.

    Args:
        probs: Probabilities [n x k].
        labels: True class indices [n].
        roc_auc: ROC-AUC of each class, [k], from :func:`rank_classes`; not all NaN.

    Source: DeLong, DeLong and Clarke-Pearson 1988, https://doi.org/10.2307/2531595: the variance of a mean over
    images; logit scale: Pepe 2003, The Statistical Evaluation of Medical Tests, section 5.2. If all images are ranked
    correctly, that variance is zero, and the interval is the mean of method 5 of Newcombe 2006,
    https://doi.org/10.1002/sim.2324.
    """
    known = np.flatnonzero(~np.isnan(roc_auc))
    value = float(roc_auc[known].mean())
    influence = np.zeros(len(labels))
    for label in known:
        is_own = labels == label
        own, others = np.sort(probs[is_own, label]), np.sort(probs[~is_own, label])
        influence[is_own] += (_beaten(probs[is_own, label], others) - roc_auc[label]) / is_own.mean()
        influence[~is_own] += (1 - _beaten(probs[~is_own, label], own) - roc_auc[label]) / (~is_own).mean()
    # The variance of a mean of n influences.
    deviation = float(np.sqrt((influence**2).sum()) / len(labels) / len(known))
    if 0 < value < 1 and deviation > 0:
        center, half = np.log(value / (1 - value)), Z * deviation / (value * (1 - value))
        return around(value, 1 / (1 + np.exp(half - center)), 1 / (1 + np.exp(-half - center)))
    ends = [_newcombe(roc_auc[label], int((labels == label).sum()), len(labels)) for label in known]
    low, high = np.mean(ends, axis=0)
    return around(value, low, high)


def _beaten(scores: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Share of ``others`` (sorted) below each score; equal ones count half."""
    below, up_to = (np.searchsorted(others, scores, side=side) for side in ("left", "right"))
    shares: NDArray[np.float64] = (below + up_to) / (2 * len(others))
    return shares


def _newcombe(auc: float, num_own: int, num: int) -> tuple[float, float]:
    """The AUC values whose own standard deviation, times 1.96, is the distance to ``auc``; found by bisection."""
    size = num / 2 - 1

    def is_near(true: float) -> bool:
        spread = 1 + size * ((1 - true) / (2 - true) + true / (1 + true))
        return bool((auc - true) ** 2 <= Z**2 * true * (1 - true) * spread / (num_own * (num - num_own)))

    ends = []
    for far in (0.0, 1.0):
        near = auc
        for _ in range(40):
            middle = (near + far) / 2
            near, far = (middle, far) if is_near(middle) else (near, middle)
        ends.append(near)
    return ends[0], ends[1]
