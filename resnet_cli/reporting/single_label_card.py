"""What the model card of a single-label model says."""

from __future__ import annotations

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.card_format import MAX_ROWS, NONE, figures, names, novelty_limit, plain, table
from resnet_cli.reporting.caveats import notes_about
from resnet_cli.reporting.confusion_page import most_confused
from resnet_cli.reporting.metrics import class_metrics, metrics
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kind import CardParts
from resnet_cli.text import percent, percent_range, split_word

MAX_CONFUSED = 5


class SingleLabelCard:
    """The model card of a model that predicts one class per image."""

    def card(self, content: ReportContent, evaluation: Evaluation) -> CardParts:
        """What the model card says."""
        classes = evaluation.classes
        return CardParts(
            about=f"A ResNet-50 that classifies images into {len(classes):,} classes: {names(classes)}.",
            use="For images like those that it was trained and evaluated on, each of exactly one of its classes.",
            other_images=f"it predicts one of its classes for them too. {_other_images(evaluation)}",
            evaluation=_evaluation(content, evaluation),
            notes=notes_about(evaluation),
            limits=_limits(evaluation),
            contents="The file contains the weights, the class names, the preprocessing and the temperature.",
            tags=(),
            results={"accuracy": ("Top-1 accuracy", evaluation.top1), "f1": ("Macro F1", evaluation.macro.f1)},
        )


def _evaluation(content: ReportContent, evaluation: Evaluation) -> str:
    known = [row for row in class_metrics(evaluation) if row.f1 is not None]
    per_class = [
        (
            plain(row.name),
            f"{row.support:,}",
            f"{percent(row.recall.value)} ({percent_range(row.recall.low, row.recall.high)})" if row.recall else NONE,
            NONE if row.precision is None else percent(row.precision),
            NONE if row.f1 is None else percent(row.f1),
        )
        for row in known[:MAX_ROWS]
    ]
    more = f"\n\nThe first {MAX_ROWS} of {len(known):,} classes." if len(known) > MAX_ROWS else ""
    return f"""\
{figures(metrics(evaluation), evaluation.num_images, split_word(content.split))}

{table(("Class", "n", "Recall (95 % interval)", "Precision", "F1"), per_class)}{more}"""


def _other_images(evaluation: Evaluation) -> str:
    if evaluation.is_unfamiliar is None:
        return "It cannot tell which images these are."
    return (
        "Its predictions mark images unlike its training images (`unfamiliar`); with `--abstain` these get the label "
        '"unknown".'
    )


def _limits(evaluation: Evaluation) -> list[str]:
    limits = []
    confused = [
        f"{plain(evaluation.classes[pair.true])} for {plain(evaluation.classes[pair.predicted])} "
        f"({pair.num:,}, {percent(pair.share)} of its images)"
        for pair in most_confused(evaluation)[:MAX_CONFUSED]
    ]
    if confused:
        limits.append(f"Most often it mistakes {'; '.join(confused)}.")
    limits.append(
        f"Its confidence differs from its accuracy by {percent(evaluation.ece)} on average (ECE); with this many "
        f"images, chance alone accounts for up to {percent(evaluation.chance_ece)}. Logits are divided "
        f"by the temperature, {evaluation.temperature:.3f}, which was found on validation images."
    )
    return [
        *limits,
        novelty_limit(
            evaluation,
            otherwise="It cannot recognize images of other things: it predicts one of its classes for every image.",
        ),
    ]
