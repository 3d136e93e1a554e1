"""Compares two models on the same images: whether one is better, or whether these images cannot decide that."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import Interval, Z, around
from resnet_cli.evaluation.scores import Evaluation

#: Significance level: a p-value below it counts as a difference.
SIGNIFICANCE = 0.05
#: Quantile of the normal distribution for a statistical power of 80 %, at which the needed number of images is named.
Z_POWER = 0.8416212335729143


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models' predictions for the same images.

    Attributes:
        both_right: Images that both classify correctly.
        only_first: Images that only the first classifies correctly.
        only_second: Images that only the second classifies correctly.
        both_wrong: Images that neither classifies correctly.
        difference: Top-1 of the second minus that of the first, with its 95 % interval.
        p_value: McNemar's exact test: the probability of a split at least this uneven between equally good models.
        num_compared: Number of comparisons made together, for the Bonferroni correction.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    difference: Interval
    p_value: float
    num_compared: int = 1

    @property
    def num_images(self) -> int:
        """Number of images."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def is_distinguishable(self) -> bool:
        """Whether the difference is significant, with the Bonferroni correction."""
        return self.p_value * self.num_compared < SIGNIFICANCE

    @property
    def num_needed(self) -> int | None:
        """Number of images with which a difference like this would be significant in 80 of 100 cases; None if it is 0.

        Source: Connor 1987, https://doi.org/10.2307/2531961.
        """
        num = self.num_images
        apart = (self.only_first + self.only_second) / num
        gap = abs(self.only_first - self.only_second) / num
        if not gap:
            return None
        # With several comparisons, each one needs a smaller p-value.
        z = Z if self.num_compared == 1 else _z_of(SIGNIFICANCE / self.num_compared)
        needed = (z * math.sqrt(apart) + Z_POWER * math.sqrt(max(0.0, apart - gap**2))) ** 2 / gap**2
        return max(num + 1, math.ceil(needed)) if not self.is_distinguishable else math.ceil(needed)

    def in_words(self) -> str:
        """The difference, and how likely it is by chance."""
        return f"{100 * self.difference.value:+.1f} points, p = {self.p_value:.2g}"

    def verdict(self, first: str, second: str) -> str:
        """A sentence on which of the two is better, or on how many images would be needed to decide.

        Args:
            first: Name of the first model.
            second: Name of the second model.
        """
        value, low, high = (100 * end for end in self.difference)
        gap = f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"
        if self.is_distinguishable:
            better, worse = (second, first) if value > 0 else (first, second)
            size = f"{abs(value):.1f} points ({min(abs(low), abs(high)):.1f} to {max(abs(low), abs(high)):.1f})"
            return f"{better} is better than {worse}: top-1 higher by {size}"
        start = f"{first} and {second} are not distinguishable with {self.num_images:,} images: {second} {gap}"
        if self.num_needed is None:
            return f"{start}; their accuracy is the same"
        return f"{start}; about {two_digits(self.num_needed):,} would be needed"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "both_right": self.both_right,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "both_wrong": self.both_wrong,
            "difference": self.difference.value,
            "difference_interval": [self.difference.low, self.difference.high],
            "p_value": self.p_value,
            "num_compared": self.num_compared,
            "is_distinguishable": self.is_distinguishable,
            "num_images_needed": self.num_needed,
        }


def two_digits(number: int) -> int:
    """A number of images, rounded up to two digits since it is an estimate."""
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


def compare_evaluations(first: Evaluation, second: Evaluation, *, num_compared: int = 1) -> Comparison:
    """Compares two models image by image.

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996, exact as a binomial test; the interval of a paired
    difference: Bonett and Price 2012, https://doi.org/10.3102/1076998611411915.

    Args:
        first: Predictions of the first model.
        second: Predictions of the second model for the same images in the same order; its classes can be in another
            order.
        num_compared: Number of comparisons made together.

    Raises:
        ValueError: The images are not the same.
    """
    if first.names != second.names:
        raise ValueError("the two models were evaluated on different images")
    return compare_rights(first.is_right, second.is_right, num_compared=num_compared)


def compare_rights(one: NDArray[np.bool_], other: NDArray[np.bool_], *, num_compared: int = 1) -> Comparison:
    """Compares which images two models classify correctly, both [n]; see :func:`compare_evaluations`."""
    from scipy.stats import binomtest

    only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
    num, num_apart = len(one), only_first + only_second
    shares = (only_first + 1) / (num + 2), (only_second + 1) / (num + 2)
    center = shares[1] - shares[0]
    half = Z * math.sqrt((sum(shares) - center**2) / (num + 2))
    return Comparison(
        both_right=int((one & other).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~one & ~other).sum()),
        difference=around((only_second - only_first) / num, center - half, center + half, least=-1.0),
        p_value=float(binomtest(min(only_first, only_second), num_apart).pvalue) if num_apart else 1.0,
        num_compared=num_compared,
    )


def _z_of(doubt: float) -> float:
    from scipy.special import ndtri

    return float(np.abs(ndtri(doubt / 2)))
