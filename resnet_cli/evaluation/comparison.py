"""Two models on the same images: whether one is better, or whether these images cannot tell."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from resnet_cli.evaluation.intervals import Interval, Z, around
from resnet_cli.evaluation.scores import Evaluation

#: A p-value below it counts as a difference.
SIGNIFICANCE = 0.05
#: Of a chance of 80 % to find a difference that is there: for that a number of images is named.
_Z_POWER = 0.8416212335729143


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models' answers to the same images.

    Attributes:
        both_right: Images that both answer right.
        only_first: Images that the first alone answers right.
        only_second: Images that the second alone answers right.
        both_wrong: Images that neither answers right.
        difference: Top-1 of the second minus that of the first, with its 95 % interval.
        p_value: Of McNemar's exact test: how likely so uneven a split is between equally good models.
        num_compared: How many such comparisons are made together; p-values count for so much less.
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
        """Images that both answered."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def is_distinguishable(self) -> bool:
        """Whether the difference is more than chance. Source: the correction is Bonferroni's."""
        return self.p_value * self.num_compared < SIGNIFICANCE

    @property
    def num_needed(self) -> int | None:
        """Images with which a difference like this one would be found, 80 times of 100; None if there is none.

        Source: Connor 1987, https://doi.org/10.2307/2531961.
        """
        num = self.num_images
        apart = (self.only_first + self.only_second) / num
        gap = abs(self.only_first - self.only_second) / num
        if not gap:
            return None
        # Of several comparisons each has to be as much surer.
        z = Z if self.num_compared == 1 else _z_of(SIGNIFICANCE / self.num_compared)
        needed = (z * math.sqrt(apart) + _Z_POWER * math.sqrt(max(0.0, apart - gap**2))) ** 2 / gap**2
        return max(num + 1, math.ceil(needed)) if not self.is_distinguishable else math.ceil(needed)

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


def compare_evaluations(first: Evaluation, second: Evaluation, *, num_compared: int = 1) -> Comparison:
    """Compares two models image by image.

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996, exact as a binomial test; the interval of a paired
    difference: Bonett and Price 2012, https://doi.org/10.3102/1076998611411915.

    Args:
        first: Its answers.
        second: Answers to the same images in the same order; the order of its classes may be another.
        num_compared: Comparisons that are made together.

    Raises:
        ValueError: The images are not the same.
    """
    from scipy.stats import binomtest

    if first.names != second.names:
        raise ValueError("the two models answered different images")
    one, other = first.is_right, second.is_right
    only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
    num, num_apart = len(one), only_first + only_second
    shares = (only_first + 1) / (num + 2), (only_second + 1) / (num + 2)
    centre = shares[1] - shares[0]
    half = Z * math.sqrt((sum(shares) - centre**2) / (num + 2))
    return Comparison(
        both_right=int((one & other).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~one & ~other).sum()),
        difference=around((only_second - only_first) / num, centre - half, centre + half, least=-1.0),
        p_value=float(binomtest(min(only_first, only_second), num_apart).pvalue) if num_apart else 1.0,
        num_compared=num_compared,
    )


def _z_of(doubt: float) -> float:
    from scipy.special import ndtri

    return float(np.abs(ndtri(doubt / 2)))
