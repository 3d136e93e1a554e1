"""Thresholds per class of a multi-label model, chosen on its validation split. No torch.

A class is predicted for an image whose probability of it is at or above the class's threshold. Cells of ``targets``
that are unknown (-1) are left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_cli.model.operating_point import (
    CERTAINTY,
    START_DOUBT,
    ends_of_ties,
    error_bound,
    fixed_sequences,
    num_needed,
    starts,
)

#: The threshold of a class that has no positives in the validation split, or of a model that was not calibrated.
DEFAULT_THRESHOLD = 0.5
#: Factor between two tested numbers of predictions. The tested numbers must not depend on the labels, and they serve
#: rare and frequent classes alike. Recall at a precision of 90 % in simulations of four kinds of classes (500 to 5,000
#: images, 2 to 50 % positives): within 0.02 of each other for 1.01 to 1.2, lower by 0.03 to 0.07 for 1.4.
GROWTH = 1.05


@dataclasses.dataclass(frozen=True)
class ClassThreshold:
    """The threshold of one class, with its results on the validation split.

    Attributes:
        threshold: The class is predicted at this probability and above; None if it is never predicted.
        precision: Share of positives among the images for which it is predicted; None if there are none of these.
        recall: Share of the positives for which it is predicted; None if there are no positives.
        bound: Lower bound of the requested precision or recall for new images of the same kind, at a confidence level
            of 95 %; None if none was requested, or none holds.
        num_positives: Number of validation images with the class.
        num_known: Number of validation images for which it is known whether they have the class.
    """

    threshold: float | None
    precision: float | None
    recall: float | None
    bound: float | None
    num_positives: int
    num_known: int


def best_f1_thresholds(probs: NDArray[np.float32], targets: NDArray[np.int8]) -> tuple[ClassThreshold, ...]:
    """The threshold of each class with the highest F1 score among all cut points; among equal ones, the highest.

    A threshold is halfway between the two probabilities that it separates, so that rounding does not move an image to
    the other side. A class without positives has no F1 score: its threshold is ``DEFAULT_THRESHOLD``. That of a
    class that is best predicted for every image is at most as high.

    Args:
        probs: Probabilities float32 [v x k].
        targets: 1 yes, 0 no, -1 unknown, int8 [v x k].
    """
    return tuple(_best_f1(one) for one in _columns(probs, targets))


def thresholds_on(
    probs: NDArray[np.float32], targets: NDArray[np.int8], thresholds: Sequence[float]
) -> tuple[ClassThreshold, ...]:
    """The results of given thresholds, without a bound.

    Args:
        probs: Probabilities float32 [v x k].
        targets: 1 yes, 0 no, -1 unknown, int8 [v x k].
        thresholds: One per class; infinite for a class that is never predicted.
    """
    pairs = zip(_columns(probs, targets), thresholds, strict=True)
    return tuple(one.never() if math.isinf(least) else one.at_default(least) for one, least in pairs)


def precision_thresholds(
    probs: NDArray[np.float32], targets: NDArray[np.int8], target: float
) -> tuple[ClassThreshold, ...]:
    """The lowest threshold of each class whose precision stays above a target at a confidence level of 95 %.

    A class for which no threshold does is never predicted. The bound holds for each class by itself, and only for new
    images from the same distribution as the validation images.

    Args:
        probs: Probabilities float32 [v x k].
        targets: 1 yes, 0 no, -1 unknown, int8 [v x k].
        target: Smallest accepted share of positives among the images for which a class is predicted, in (0, 1).

    Source: as for :func:`resnet_cli.model.operating_point.select_threshold`.
    """
    return tuple(_precise(one, target) for one in _columns(probs, targets))


def recall_thresholds(
    probs: NDArray[np.float32], targets: NDArray[np.int8], target: float
) -> tuple[ClassThreshold, ...]:
    """The highest threshold of each class whose recall stays above a target at a confidence level of 95 %.

    With too few positives for any bound, only a threshold of 0 guarantees the target: the class is predicted for every
    image, and ``bound`` is None. Otherwise thresholds are tested from low to high, over the positives alone. The bound
    grows with the number of positives that are missed, so this is one sequence, and its level is not divided. It holds
    for each class by itself, and only for new images from the same distribution as the validation images.

    Args:
        probs: Probabilities float32 [v x k].
        targets: 1 yes, 0 no, -1 unknown, int8 [v x k].
        target: Smallest accepted share of a class's positives for which it is predicted, in (0, 1).

    Source: the bound is the tolerance limit of Wilks 1941, https://doi.org/10.1214/aoms/1177731788.
    """
    return tuple(_sensitive(one, target) for one in _columns(probs, targets))


def match_thresholds(
    expected: NDArray[np.float32], found: NDArray[np.float32], thresholds: Sequence[float]
) -> tuple[float, ...]:
    """The thresholds at which a file predicts each class for as many images as its model does.

    A file in another precision ranks the images as the model does, but its probabilities can all be somewhat higher or
    lower. A threshold that already selects as many images is kept.

    Args:
        expected: The model's probabilities of some images, float32 [n x k].
        found: The file's probabilities of the same images, float32 [n x k].
        thresholds: Those of the model, [k].
    """
    matched = []
    for label, threshold in enumerate(thresholds):
        cut, ranked = np.float32(threshold), np.sort(found[:, label])[::-1]
        num = int((expected[:, label] >= cut).sum())
        if num == int((ranked >= cut).sum()):
            matched.append(threshold)
        elif num == 0:
            matched.append(min(1.0, float(np.nextafter(ranked[0], np.float32(2)))))
        else:
            matched.append(_between(ranked, num))
    return tuple(matched)


def num_needed_for_precision(target: float) -> int:
    """Number of positives that is enough if the class is predicted for them and for no other image."""
    return num_needed(1 - target, START_DOUBT)


def num_needed_for_recall(target: float) -> int:
    """Number of positives that is enough if every one of them is above the threshold."""
    return num_needed(1 - target, 1 - CERTAINTY)


@dataclasses.dataclass(frozen=True, eq=False)
class _Column:
    """The known cells of one class, most probable first.

    Attributes:
        ranked: Probabilities [m], falling.
        is_positive: Whether the image has the class, [m].
        ends: Numbers of images that a threshold can select: those with equal probabilities are selected together.
    """

    ranked: NDArray[np.float32]
    is_positive: NDArray[np.bool_]
    ends: NDArray[np.int64]

    @property
    def num_positives(self) -> int:
        return int(self.is_positive.sum())

    def at(self, num: int, *, bound: float | None = None) -> ClassThreshold:
        """The threshold that selects the ``num`` most probable images; ``num`` is in ``ends``."""
        return self._result(_between(self.ranked, num), num, bound)

    def never(self) -> ClassThreshold:
        return self._result(None, 0, None)

    def at_default(self, threshold: float) -> ClassThreshold:
        return self._result(threshold, int((self.ranked >= threshold).sum()), None)

    def _result(self, threshold: float | None, num: int, bound: float | None) -> ClassThreshold:
        num_found, num_positives = int(self.is_positive[:num].sum()), self.num_positives
        return ClassThreshold(
            threshold,
            precision=num_found / num if num else None,
            recall=num_found / num_positives if num_positives else None,
            bound=bound,
            num_positives=num_positives,
            num_known=len(self.ranked),
        )


def _columns(probs: NDArray[np.float32], targets: NDArray[np.int8]) -> Iterator[_Column]:
    for label in range(probs.shape[1]):
        known = targets[:, label] >= 0
        of_class, is_positive = probs[known, label], targets[known, label] == 1
        order = np.argsort(-of_class, kind="stable")
        ranked = of_class[order]
        ends = ends_of_ties(ranked) if len(ranked) else np.empty(0, dtype=np.int64)
        yield _Column(ranked, is_positive[order], ends)


def _best_f1(one: _Column) -> ClassThreshold:
    num_positives = one.num_positives
    if not num_positives:
        return one.at_default(DEFAULT_THRESHOLD)
    num_found = np.cumsum(one.is_positive)[one.ends - 1]
    # F1 = 2 * found / (selected + positives). argmax takes the first of equals: the fewest images.
    best = one.at(int(one.ends[np.argmax(2 * num_found / (one.ends + num_positives))]))
    if best.threshold is None or best.threshold > one.ranked[-1]:
        return best
    # Every image is selected, as for a class that all of them have: no image tells where a higher threshold belongs.
    return one.at_default(min(best.threshold, DEFAULT_THRESHOLD))


def _precise(one: _Column, target: float) -> ClassThreshold:
    if not len(one.ranked):
        return one.never()
    sequences = (_growing(one.ends, start) for start in starts(num_needed_for_precision(target)))
    found = fixed_sequences(np.cumsum(~one.is_positive, dtype=np.int64), sequences, 1 - target)
    return one.never() if found is None else one.at(found[0], bound=1 - found[1])


def _growing(ends: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Numbers of predictions to test, from ``start`` up, each ``GROWTH`` times the one before, or one more."""
    wanted = [start] if start <= ends[-1] else []
    while wanted and wanted[-1] < ends[-1]:
        wanted.append(min(int(ends[-1]), max(wanted[-1] + 1, round(wanted[-1] * GROWTH))))
    return np.unique(ends[np.searchsorted(ends, np.array(wanted, dtype=np.int64))])


def _sensitive(one: _Column, target: float) -> ClassThreshold:
    from scipy.stats import binom

    num_positives = one.num_positives
    # With one positive more below the threshold, so few would be found by chance in more than 5 % of all samples.
    num_missed = int(binom.ppf(1 - CERTAINTY, num_positives, 1 - target)) - 1
    if num_missed < 0:
        return one.at_default(0.0)
    # The threshold is at most the probability of the last positive that must be found.
    last = int(np.flatnonzero(one.is_positive)[num_positives - num_missed - 1])
    bound = 1 - error_bound(num_missed, num_positives, 1 - CERTAINTY)
    return one.at(int(one.ends[np.searchsorted(one.ends, last + 1)]), bound=bound)


def _between(ranked: NDArray[np.float32], num: int) -> float:
    """The threshold that exactly the first ``num`` of falling probabilities reach, as a float32 number."""
    last = ranked[num - 1]
    if num == len(ranked):
        return float(last)
    middle = np.float32((float(last) + float(ranked[num])) / 2)
    # Between two neighboring float32 numbers there is none.
    return float(middle if middle > ranked[num] else last)
