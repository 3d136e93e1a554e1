"""What a report promises about wrong answers."""

from __future__ import annotations

from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.coverage import Target, check_threshold
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model.reliability import Reliability

#: Shares of wrong answers, from the weakest promise to the strongest.
SHARES = (0.1, 0.05, 0.02, 0.01)


def promises(reliability: Reliability | None, evaluation: Evaluation) -> list[Target]:
    """The promises that validation allows, each with what becomes of it on the judged images.

    Args:
        reliability: The model's; None promises nothing.
        evaluation: Of single answers; the mean of two is promised nothing either.
    """
    if reliability is None or evaluation.tta != "none":
        return []
    found = []
    for share in SHARES:
        try:
            found.append(check_threshold(share, reliability, evaluation.confidence, evaluation.is_right))
        except ConfigError:
            break  # Nor is a stronger one kept.
    return found
