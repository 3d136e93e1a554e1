"""Selective prediction: how many predictions are wrong if only the most confident ones are kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.model.operating_point import OperatingPoint, select_threshold
from resnet_cli.model.reliability import Reliability, ValidationResults

#: Coverages in the table: shares of images that keep their prediction.
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclasses.dataclass(frozen=True)
class CoverageRow:
    """The predictions whose probability reaches a threshold.

    Attributes:
        min_prob: The threshold.
        num_answered: Number of images that reach it.
        coverage: Share of images that reach it.
        error: Share of wrong predictions among them with its 95 % interval; None if no image reaches it.
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
    """An operating point that validation images selected, and its error on other images.

    Attributes:
        target_error: Largest accepted share of wrong predictions.
        validation: The operating point: the threshold, with coverage and error on the model's validation images.
        observed: Coverage and error at the same threshold on the evaluated images.
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
    """The risk-coverage curve: the share of wrong predictions among the most confident ones.

    Source: El-Yaniv and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html.

    Args:
        confidence: Probability of each predicted class, [n], n at least 1.
        is_right: Whether each prediction is correct, [n].
        coverages: Coverages of the rows; images with the same probability as the last one are added.
    """
    ranked = np.sort(confidence)[::-1]
    rows: list[CoverageRow] = []
    for share in coverages:
        last = max(0, math.ceil(share * len(ranked)) - 1)
        row = coverage_from(float(ranked[last]), confidence, is_right)
        if not rows or row.num_answered < rows[-1].num_answered:
            rows.append(row)
    return tuple(rows)


def coverage_from(min_prob: float, confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> CoverageRow:
    """Coverage and error of the predictions with at least this probability."""
    kept = confidence >= min_prob
    num = int(kept.sum())
    error = wilson(num - int(is_right[kept].sum()), num) if num else None
    return CoverageRow(min_prob, num, num / len(confidence), error)


def check_threshold(
    target_error: float,
    reliability: ValidationResults | None,
    confidence: NDArray[np.float64],
    is_right: NDArray[np.bool_],
) -> Target:
    """Selects the threshold for an error target on the model's validation images, and checks it on others.

    Args:
        target_error: Largest accepted share of wrong predictions, in (0, 1).
        reliability: Validation results of the model; None if it has none.
        confidence: Probabilities of the predicted classes of the other images, [n].
        is_right: Whether each of these predictions is correct, [n].

    Raises:
        ModelError: The model has no validation metrics.
        ConfigError: No threshold meets the target on them.
    """
    point = operating_point(target_error, reliability)
    return Target(target_error, point, coverage_from(point.min_prob, confidence, is_right))


def operating_point(target_error: float, reliability: ValidationResults | None) -> OperatingPoint:
    """The operating point for an error target, selected on the model's validation images alone.

    Raises:
        ModelError: The model has no validation metrics.
        ConfigError: No threshold meets the target on them.
    """
    if not isinstance(reliability, Reliability):
        raise ModelError(
            "--target-error: the model has no validation metrics to select a threshold with",
            hint="train one with this version: resnet-cli finetune DATA",
        )
    if not 0 < target_error < 1:
        raise ConfigError(f"--target-error {target_error:g}: must be between 0 and 1, such as 1%")
    return select_threshold(reliability.confidence, reliability.is_right, target_error)
