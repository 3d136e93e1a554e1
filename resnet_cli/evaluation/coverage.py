"""How many answers are wrong if only the most probable ones are given, on images that chose no threshold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.model.reliability import OperatingPoint, Reliability, select_threshold

#: Shares of images that are answered, of which a table says how many are wrong.
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclasses.dataclass(frozen=True)
class CoverageRow:
    """What happens if only answers of at least some probability are given.

    Attributes:
        min_prob: The threshold.
        num_answered: Images that reach it.
        coverage: Their share.
        error: The share of them that is answered wrong, with its 95 % interval; None if none is answered.
    """

    min_prob: float
    num_answered: int
    coverage: float
    error: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "min_prob": self.min_prob,
            "num_answered": self.num_answered,
            "coverage": self.coverage,
            "error": self.error.value if self.error else None,
            "error_interval": [self.error.low, self.error.high] if self.error else None,
        }


@dataclasses.dataclass(frozen=True)
class Target:
    """A promise about errors, made on validation, and what became of it on other images.

    Attributes:
        target_error: Largest share of wrong answers that was asked for.
        validation: The threshold, and what it does on the model's validation images.
        observed: What it does on the images at hand.
    """

    target_error: float
    validation: OperatingPoint
    observed: CoverageRow

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "target_error": self.target_error,
            "validation": dataclasses.asdict(self.validation),
            "judged": self.observed.to_dict(),
        }


def risk_coverage(
    confidence: NDArray[np.float64], is_right: NDArray[np.bool_], coverages: Sequence[float] = COVERAGES
) -> tuple[CoverageRow, ...]:
    """The share of wrong answers among the most probable ones.

    Source: El-Yaniv and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html.

    Args:
        confidence: Probability of each answer, [n], n at least 1.
        is_right: [n].
        coverages: Least shares of images to answer; as many more as are equally probable are answered too.
    """
    ranked = np.sort(confidence)[::-1]
    rows: list[CoverageRow] = []
    for share in coverages:
        last = max(0, math.ceil(share * len(ranked)) - 1)
        row = answered_from(float(ranked[last]), confidence, is_right)
        if not rows or row.num_answered < rows[-1].num_answered:
            rows.append(row)
    return tuple(rows)


def answered_from(min_prob: float, confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> CoverageRow:
    """What happens if only answers of at least this probability are given."""
    answered = confidence >= min_prob
    num = int(answered.sum())
    error = wilson(num - int(is_right[answered].sum()), num) if num else None
    return CoverageRow(min_prob, num, num / len(confidence), error)


def check_threshold(
    target_error: float,
    reliability: Reliability | None,
    confidence: NDArray[np.float64],
    is_right: NDArray[np.bool_],
) -> Target:
    """Finds the threshold for a target on the model's validation images, and tries it on others.

    Args:
        target_error: Largest share of wrong answers, in (0, 1).
        reliability: The model's; None where it has none.
        confidence: Of the answers to other images, [n].
        is_right: [n].

    Raises:
        ModelError: The model carries no validation figures.
        ConfigError: They do not allow such a promise.
    """
    point = operating_point(target_error, reliability)
    return Target(target_error, point, answered_from(point.min_prob, confidence, is_right))


def operating_point(target_error: float, reliability: Reliability | None) -> OperatingPoint:
    """The threshold for a target, from the model's validation images alone.

    Raises:
        ModelError: The model carries no validation figures.
        ConfigError: They do not allow such a promise.
    """
    if reliability is None:
        raise ModelError(
            "--target-error: the model carries no validation figures to find a threshold with",
            hint="train one with this version: resnet-cli finetune DATA",
        )
    if not 0 < target_error < 1:
        raise ConfigError(f"--target-error {target_error:g}: must lie between 0 and 1, such as 1%")
    return select_threshold(reliability.confidence, reliability.is_right, target_error)
