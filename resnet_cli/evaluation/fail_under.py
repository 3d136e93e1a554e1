"""The check of ``--fail-under``, for ``finetune`` and ``eval``."""

from __future__ import annotations

from resnet_cli.errors import VerificationError
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.text import percent, percent_range


def check_fail_under(scores: Evaluation, least: float | None, *, name: str, hint: str = "") -> None:
    """Compares top-1 accuracy with the least that the user accepts.

    Args:
        scores: Result of the evaluation.
        least: Least top-1 in [0, 1]; None accepts any.
        name: What was evaluated; the message begins with it.
        hint: What to do next, in words.

    Raises:
        VerificationError: Top-1 is below ``least``.
    """
    if least is None or scores.top1 >= least:
        return
    low, high = scores.top1_interval[1:]
    interval = f"the 95 % interval is {percent_range(low, high)}"
    interval += ": more images may show that the model reaches it" if high >= least else ""
    raise VerificationError(
        f"{name} top-1 {percent(scores.top1)} is below --fail-under {100 * least:g}%",
        hint="; ".join(filter(None, (interval, hint))),
    )
