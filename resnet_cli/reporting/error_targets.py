"""Thresholds that keep the share of wrong predictions below a target, for a report."""

from __future__ import annotations

from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.coverage import Target, check_threshold
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model.reliability import Reliability, ValidationResults

#: Target shares of wrong predictions, from the easiest to the hardest.
SHARES = (0.1, 0.05, 0.02, 0.01)


def error_targets(reliability: ValidationResults | None, evaluation: Evaluation) -> list[Target]:
    """The targets that can be reached on validation images, each checked on the evaluated images.

    Args:
        reliability: The model's results on validation; None, or those of several labels per image, have no targets.
        evaluation: The evaluation; with test-time augmentation there are no targets either.
    """
    if not isinstance(reliability, Reliability) or evaluation.tta != "none":
        return []
    found = []
    for share in SHARES:
        try:
            found.append(check_threshold(share, reliability, evaluation.confidence, evaluation.is_right))
        except ConfigError:
            break  # Harder targets cannot be reached either.
    return found
