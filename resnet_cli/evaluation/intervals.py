"""95 % confidence intervals: the range of a metric over samples of images of the same kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: The 97.5 % point of the normal distribution: what makes 95 % intervals.
Z = 1.959963984540054
#: Bootstrap samples; the ends then vary by a few percent of the interval's width.
NUM_RESAMPLES = 1000
#: Most rows drawn for one interval, which takes half a second. 40,000 images get half as many resamples; they need
#: fewer.
MAX_DRAWS = 20_000_000
MIN_RESAMPLES = 200
#: Numbers held at once while resampling: 16 MB.
NUMBERS_AT_ONCE = 2_000_000
#: Blocks of rows of the jackknife that estimates the skewness.
NUM_BLOCKS = 50

#: Computes a metric for several resamples at once: rows [b x n x ...] -> [b].
Statistic: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float64]]


class Interval(NamedTuple):
    """The value of a metric and the ends of its 95 % interval, low <= value <= high."""

    value: float
    low: float
    high: float


def wilson(num_right: int, num: int) -> Interval:
    """The Wilson interval of a share of independent images.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; recommended by Brown, Cai and DasGupta 2001,
    https://doi.org/10.1214/ss/1009213286.

    Args:
        num_right: Number of images counted, in [0, num].
        num: Number of images, at least 1.
    """
    share = num_right / num
    center = (share + Z**2 / (2 * num)) / (1 + Z**2 / num)
    half = Z / (1 + Z**2 / num) * np.sqrt(share * (1 - share) / num + Z**2 / (4 * num**2))
    return around(share, center - half, center + half)


def around(value: float, low: float, high: float, *, least: float = 0.0, most: float = 1.0) -> Interval:
    """An interval that contains its value and is clipped to the range of the metric."""
    return Interval(float(value), float(min(value, max(least, low))), float(max(value, min(most, high))))


def ends(interval: Interval) -> list[float | None]:
    """The ends for JSON; the upper end of the loss of a single image is unknown."""
    return [interval.low, interval.high if math.isfinite(interval.high) else None]


def bootstrap(
    statistic: Statistic, rows: NDArray[Any], *, seed: int = 0, least: float = 0.0, most: float = np.inf
) -> Interval:
    """The interval of any metric of independent rows, by the bias-corrected and accelerated (BCa) bootstrap.

    Source: Efron 1987, https://doi.org/10.1080/01621459.1987.10478410; the acceleration comes from a jackknife over
    blocks of rows.

    Args:
        statistic: Computes the metric for several samples at once: [b x m x ...] -> [b].
        rows: One row per image, [n x ...].
        seed: Random seed of the resampling.
        least: Smallest possible value of the metric.
        most: Largest possible value of the metric.
    """
    num = len(rows)
    value = float(statistic(rows[None])[0])
    if num < 2:
        return Interval(value, least, most)
    rng = np.random.default_rng(seed)
    total = resamples_for(num)
    at_once = max(1, NUMBERS_AT_ONCE // (num * max(1, rows[0].size)))
    drawn = np.concatenate(
        [
            statistic(rows[rng.integers(num, size=(min(at_once, total - start), num))])
            for start in range(0, total, at_once)
        ]
    )
    blocks = np.array_split(rng.permutation(num), min(NUM_BLOCKS, num))
    left = np.array([statistic(np.delete(rows, block, axis=0)[None])[0] for block in blocks])
    return bca_interval(value, drawn, left, least=least, most=most)


def bca_interval(
    value: float,
    drawn: NDArray[np.float64],
    left: NDArray[np.float64],
    *,
    least: float = 0.0,
    most: float = np.inf,
    level: float = 0.95,
) -> Interval:
    """The BCa interval of a metric, from its values in resamples; see :func:`bootstrap`.

    Args:
        value: The metric of all images.
        drawn: The metric of each resample.
        left: The metric of what is left after each block of images is removed.
        least: Smallest possible value of the metric.
        most: Largest possible value of the metric.
        level: Confidence level.
    """
    low, high = _bca_ends(value, drawn, _acceleration(left), level)
    return around(value, low, high, least=least, most=most)


def resamples_for(num: int) -> int:
    """Number of resamples for ``num`` rows, so that the time stays bounded."""
    return max(MIN_RESAMPLES, min(NUM_RESAMPLES, MAX_DRAWS // num))


def _acceleration(left: NDArray[np.float64]) -> float:
    gaps = left.mean() - left
    spread = float((gaps**2).sum())
    return float((gaps**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def _bca_ends(value: float, drawn: NDArray[np.float64], acceleration: float, level: float) -> tuple[float, float]:
    from scipy.special import ndtr, ndtri

    # A tie counts half. Not all resamples may be on one side: the quantile would be infinite.
    below = (drawn < value).sum() + 0.5 * (drawn == value).sum()
    bias = ndtri(np.clip(below / len(drawn), 1 / len(drawn), 1 - 1 / len(drawn)))
    z = Z if level == 0.95 else -ndtri((1 - level) / 2)
    shifted = bias + np.array([-z, z])
    low, high = np.quantile(drawn, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
