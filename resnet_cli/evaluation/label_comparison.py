"""Compares two multi-label models on the same images, by the paired bootstrap of their mAP."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.comparison import SIGNIFICANCE, Z_POWER, Comparison, compare_rights, two_digits
from resnet_cli.evaluation.intervals import Interval, Z
from resnet_cli.evaluation.label_intervals import difference, interval
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.task import YES
from resnet_cli.text import counted


@dataclasses.dataclass(frozen=True)
class LabelComparison:
    """Two models' predictions of the labels of the same images.

    Attributes:
        num_images: Number of images that have a known value.
        difference: mAP of the second minus that of the first; None if no class has both positives and negatives.
        difference_interval: The same with its 95 % interval; None without it, and for more than four million values.
        p_value: Probability of a difference at least this large between models of the same mAP: twice the share of
            resamples in which the other model is the better one, with one resample more on each side. None without
            an interval.
        spread: Standard deviation of the difference over the resamples; None without an interval.
        exact_match: The comparison of the exact matches, image by image.
        num_compared: Number of comparisons made together, for the Bonferroni correction.
    """

    num_images: int
    difference: float | None
    difference_interval: Interval | None
    p_value: float | None
    spread: float | None
    exact_match: Comparison
    num_compared: int = 1

    @property
    def is_distinguishable(self) -> bool:
        """Whether the difference of mAP is significant, with the Bonferroni correction."""
        return self.p_value is not None and self.p_value * self.num_compared < SIGNIFICANCE

    @property
    def num_needed(self) -> int | None:
        """Number of images with which a difference like this would be significant in 80 of 100 cases; None if it is 0.

        The spread of a mean over independent images falls with the square root of their number.
        """
        if not self.difference or not self.spread:
            return None
        z = Z
        if self.num_compared > 1:
            from scipy.special import ndtri

            z = float(-ndtri(SIGNIFICANCE / self.num_compared / 2))
        needed = math.ceil(self.num_images * ((z + Z_POWER) * self.spread / self.difference) ** 2)
        return needed if self.is_distinguishable else max(self.num_images + 1, needed)

    def in_words(self) -> str:
        """The difference, and how likely it is by chance."""
        if self.difference is None:
            return "no mAP to compare"
        by_chance = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        return f"{100 * self.difference:+.1f} points{by_chance}"

    def verdict(self, first: str, second: str) -> str:
        """A sentence on which of the two has the higher mAP, or on how many images would be needed to decide.

        Args:
            first: Name of the first model.
            second: Name of the second model.
        """
        if self.difference is None:
            return f"{first} and {second} cannot be compared: no class has both positives and negatives"
        interval = self.difference_interval
        if interval is None:
            gap = f"{100 * self.difference:+.1f} points"
            return f"mAP of {second} minus that of {first}: {gap}; there are too many values for an interval"
        value, low, high = (100 * end for end in interval)
        if self.is_distinguishable:
            better, worse = (second, first) if value > 0 else (first, second)
            size = f"{abs(value):.1f} points ({min(abs(low), abs(high)):.1f} to {max(abs(low), abs(high)):.1f})"
            return f"{better} is better than {worse}: mAP higher by {size}"
        gap = f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"
        start = f"{first} and {second} are not distinguishable with {counted(self.num_images, 'image')}: {second} {gap}"
        if self.num_needed is None:
            return f"{start}; their mAP is the same"
        return f"{start}; about {two_digits(self.num_needed):,} would be needed"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        span = self.difference_interval
        return {
            "difference": self.difference,
            "difference_interval": None if span is None else [span.low, span.high],
            "p_value": self.p_value,
            "num_compared": self.num_compared,
            "is_distinguishable": self.is_distinguishable,
            "num_images_needed": self.num_needed,
            "exact_match": self.exact_match.to_dict(),
        }


def compare_label_evaluations(
    first: LabelEvaluation, second: LabelEvaluation, *, num_compared: int = 1
) -> LabelComparison:
    """Compares two models on the classes that both have.

    Args:
        first: Predictions of the first model.
        second: Predictions of the second model for the same images in the same order.
        num_compared: Number of comparisons made together.

    Raises:
        ConfigError: The models have no class in common.
        ValueError: The images are not the same.

    Source: paired bootstrap of a difference: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8
    and 16.
    """
    if first.names != second.names:
        raise ValueError("the two models were evaluated on different images")
    classes = [name for name in first.classes if name in second.classes]
    if not classes:
        raise ConfigError("the models have no class in common", hint="compare models of the same classes")
    one, other = _select(first, classes), _select(second, classes)
    rights = compare_rights(one.is_right[one.is_scored], other.is_right[other.is_scored], num_compared=num_compared)
    gap = None if one.map is None or other.map is None else other.map - one.map
    span = p_value = spread = None
    if gap is not None and one.sampled and other.sampled:
        sampled = difference(one.sampled["map"], other.sampled["map"])
        span = interval(sampled, (one.targets == YES).sum(axis=0).tolist(), least=-1.0)
        drawn = sampled.drawn[~np.isnan(sampled.drawn)]
        # A tie counts half, and the observed sample counts as one of the resamples.
        below = ((drawn < 0).sum() + (drawn == 0).sum() / 2 + 1) / (len(drawn) + 2)
        p_value, spread = float(min(1, 2 * min(below, 1 - below))), float(drawn.std())
    return LabelComparison(one.num_scored, gap, span, p_value, spread, rights, num_compared)


def _select(scores: LabelEvaluation, classes: Sequence[str]) -> LabelEvaluation:
    """The same predictions for some of the classes, in the given order."""
    if tuple(classes) == scores.classes:
        return scores
    kept = [scores.classes.index(name) for name in classes]
    return dataclasses.replace(
        scores,
        classes=tuple(classes),
        targets=scores.targets[:, kept],
        probs=scores.probs[:, kept],
        thresholds=scores.thresholds[kept],
        scaling=None,
    )
