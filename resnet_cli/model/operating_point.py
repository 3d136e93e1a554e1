"""Thresholds with a bound: how many predictions can be kept while a share of them stays below a target. No torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import UnreachableTarget

#: Confidence level of the bound on the error of an operating point, over the choice of the validation images.
CERTAINTY = 0.95
#: Number of starting points of the search for a threshold: the fewest images that can be enough, and twice and four
#: times as many, which can include a mistake or more.
NUM_STARTS = 3
#: Probability that the bound of one sequence does not hold.
START_DOUBT = (1 - CERTAINTY) / NUM_STARTS
#: Number of steps of the search over all images.
NUM_STEPS = 100


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A confidence threshold, with its coverage and error on the validation images.

    Attributes:
        min_prob: The threshold.
        coverage: Share of validation images that reach it.
        error: Share of wrong predictions among them.
        error_bound: Upper bound of the share of wrong predictions among new images of the same kind.
    """

    min_prob: float
    coverage: float
    error: float
    error_bound: float


def select_threshold(confidence: NDArray[Any], is_right: NDArray[np.bool_], target_error: float) -> OperatingPoint:
    """Selects the lowest threshold whose error stays below a target at a confidence level of 95 %.

    The bound holds only for new images from the same distribution as the validation images.

    Thresholds are tested from high to low until the bound fails, so the significance level is divided only among the
    ``NUM_STARTS`` starting points (fixed sequence testing), not among all thresholds. A binary search over all
    thresholds, as in SGR, divides it among all of its steps, and starts with too few images for any bound to hold.

    Args:
        confidence: Probabilities of the predicted classes of the validation images, [v].
        is_right: Whether each prediction is correct, [v].
        target_error: Largest accepted share of wrong predictions, in (0, 1).

    Raises:
        UnreachableTarget: No threshold meets the target: there are too few images, or too many wrong predictions.

    Source: selection by a bound: Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500; fixed sequences with
    several starts: Angelopoulos et al. 2021, https://arxiv.org/abs/2110.01052, section 4; the bound: Clopper and
    Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~is_right[order], dtype=np.int64)
    num, needed = len(order), num_needed(target_error, START_DOUBT)
    ends = ends_of_ties(ranked)
    found = fixed_sequences(wrong, (_steps(ends, start) for start in starts(needed)), target_error)
    if found is None:
        reason = f"{num:,} validation images" if num < needed else "these predictions"
        raise UnreachableTarget(
            f"--target-error {target_error:.2%}: no threshold can guarantee that with {reason}",
            hint=f"give it at least {needed:,} validation images, or allow a larger share"
            if num < needed
            else "allow a larger share, or train a better model",
        )
    num_kept, bound = found
    return OperatingPoint(float(ranked[num_kept - 1]), num_kept / num, int(wrong[num_kept - 1]) / num_kept, bound)


def starts(needed: int) -> list[int]:
    """Numbers of predictions at which the sequences of tests start."""
    return [needed * 2**index for index in range(NUM_STARTS)]


def num_needed(target_error: float, doubt: float) -> int:
    """The number of predictions that is enough for a bound if all of them are correct."""
    return math.ceil(math.log(doubt) / math.log1p(-target_error))


def fixed_sequences(
    wrong: NDArray[np.int64], sequences: Iterable[NDArray[np.int64]], target_error: float
) -> tuple[int, float] | None:
    """Tests each sequence until the bound fails, at ``START_DOUBT``.

    Args:
        wrong: Number of wrong predictions among the first, the first two, ... most probable ones, [n].
        sequences: Numbers of predictions to keep, each sequence rising; they must not depend on what is wrong.
        target_error: Largest accepted share of wrong predictions.

    Returns:
        The largest number of predictions that passed, and its bound of the error; None if none passed.
    """
    found: tuple[int, float] | None = None
    for sequence in sequences:
        bounds = error_bounds(wrong[sequence - 1], sequence, START_DOUBT)
        num_passed = int(np.argmax(np.append(bounds > target_error, True)))
        if num_passed and (found is None or sequence[num_passed - 1] > found[0]):
            found = int(sequence[num_passed - 1]), float(bounds[num_passed - 1])
    return found


def ends_of_ties(ranked: NDArray[Any]) -> NDArray[np.int64]:
    """Number of images that reach each threshold; images with the same probability reach it together."""
    return np.append(np.flatnonzero(np.diff(ranked)) + 1, len(ranked))


def _steps(ends: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Numbers of images to test, from ``start`` up, in steps of about a hundredth of all images."""
    wanted = np.arange(start, ends[-1] + 1, max(1, ends[-1] // NUM_STEPS))
    if start <= ends[-1]:
        wanted = np.append(wanted, ends[-1])
    return np.unique(ends[np.searchsorted(ends, wanted)])


def error_bound(num_wrong: int, num: int, doubt: float) -> float:
    """Upper end of the one-sided Clopper-Pearson interval of a share.

    Args:
        num_wrong: Number of wrong predictions.
        num: Number of predictions, at least 1.
        doubt: Probability that the bound does not hold.
    """
    return float(error_bounds(np.array([num_wrong]), np.array([num]), doubt)[0])


def error_bounds(num_wrong: NDArray[np.int64], num: NDArray[np.int64], doubt: float) -> NDArray[np.float64]:
    """:func:`error_bound` of several shares, [n]."""
    from scipy.stats import beta

    bounds = beta.ppf(1 - doubt, num_wrong + 1, np.maximum(num - num_wrong, 1))
    return np.where(num_wrong == num, 1.0, bounds)
