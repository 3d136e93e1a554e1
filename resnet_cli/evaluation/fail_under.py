"""The check of ``--fail-under``, for ``finetune`` and ``eval``."""

from __future__ import annotations

from resnet_cli.errors import VerificationError
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.text import percent, percent_range


def check_fail_under(scores: Scores, least: float | None, *, name: str, hint: str = "") -> None:
    """Compares the main metric, top-1 or mAP, with the least that the user accepts.

    Args:
        scores: Result of the evaluation.
        least: Least value in [0, 1]; None accepts any.
        name: What was evaluated; the message begins with it.
        hint: What to do next, in words.

    Raises:
        VerificationError: It is below ``least``, or cannot be computed.
    """
    if least is None or (scores.score is not None and scores.score >= least):
        return
    metric, (_, low, high) = scores.main
    if scores.score is None:
        raise VerificationError(
            f"{name} --fail-under {100 * least:g}%: no class has both positives and negatives, so there is no {metric}",
            hint="evaluate on more images",
        )
    if not hint:
        hint = "see what more images would bring: resnet-cli eval MODEL --learning-curve"
        if high >= least:
            hint = "evaluate on more images: they may show that the model reaches it"
    raise VerificationError(
        f"{name} {metric} {percent(scores.score)} is below --fail-under {100 * least:g}% (95 % interval: "
        f"{percent_range(low, high)})",
        hint=hint,
    )
