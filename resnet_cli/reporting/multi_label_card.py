"""What the model card of a multi-label model says."""

from __future__ import annotations

import math

from resnet_cli.evaluation.label_mistakes import most_common_pairs
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.reporting.card_format import MAX_ROWS, NONE, figures, names, novelty_limit, plain, table
from resnet_cli.reporting.label_metrics import label_metrics, label_notes
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kind import CardParts
from resnet_cli.text import percent, percent_range, split_word

MAX_WRONG = 5
_CONTENTS = """\
The file contains the weights, the class names, the preprocessing and a threshold per class. The probability of a \
class is the logistic function of its logit, 1 / (1 + exp(-logit)); the logits are already calibrated. Each class is \
decided by itself: it is predicted if its probability is at least its threshold in the table above. An image may get \
several labels, or none. Exported files compute the same probabilities, and their metadata contain the same thresholds:

```python
labels = [name for name, prob, least in zip(classes, probs, thresholds) if prob >= least]
```"""


class MultiLabelCard:
    """The model card of a model that predicts any number of labels per image."""

    def card(self, content: ReportContent, evaluation: LabelEvaluation) -> CardParts:
        """What the model card says."""
        classes = evaluation.classes
        score = {} if evaluation.map is None else {"mean_average_precision": ("Macro mAP", evaluation.map)}
        return CardParts(
            about=f"A ResNet-50 that finds any number of {len(classes):,} labels in an image: {names(classes)}.",
            use="For images like those that it was trained and evaluated on, each with any number of its labels.",
            other_images=_other_images(evaluation),
            evaluation=_evaluation(content, evaluation),
            notes=label_notes(evaluation),
            limits=_limits(content, evaluation),
            contents=_CONTENTS,
            tags=("multi-label",),
            results={**score, "f1": ("Macro F1", evaluation.macro.f1)},
        )


def _evaluation(content: ReportContent, evaluation: LabelEvaluation) -> str:
    rows = []
    spans = evaluation.average_precision_intervals
    for name, row, span in zip(evaluation.classes, evaluation.per_class, spans, strict=True):
        area = NONE if row.average_precision is None else percent(row.average_precision)
        rows.append(
            (
                plain(name),
                f"{row.support:,}",
                "never" if math.isinf(row.threshold) else f"{row.threshold:.4f}",
                f"{area} ({percent_range(span.low, span.high)})" if span else area,
                percent(row.precision) if row.num_predicted else NONE,
                percent(row.recall) if row.support else NONE,
                percent(row.f1) if row.counts else NONE,
            )
        )
    more = f"\n\nThe first {MAX_ROWS} of {len(rows):,} classes." if len(rows) > MAX_ROWS else ""
    heads = ("Class", "Positives", "Threshold", "AP (95 % interval)", "Precision", "Recall", "F1")
    return f"""\
{figures(label_metrics(evaluation), evaluation.num_images, split_word(content.split))}

{table(heads, rows[:MAX_ROWS])}{more}"""


def _other_images(evaluation: LabelEvaluation) -> str:
    if evaluation.is_unfamiliar is None:
        return "it may predict labels for them too, and cannot tell which images these are."
    return (
        "it may predict labels for them too. Its predictions mark images unlike its training images (`unfamiliar`); "
        'with `--abstain` these get the label "unknown".'
    )


def _limits(content: ReportContent, evaluation: LabelEvaluation) -> list[str]:
    limits = [content.threshold_note] if content.threshold_note else []
    classes = evaluation.classes
    wrong = [
        f"{plain(classes[pair.predicted])} {'instead of' if pair.is_instead else 'besides'} "
        f"{plain(classes[pair.true])} ({pair.num:,})"
        for pair in most_common_pairs(evaluation.pairs, MAX_WRONG)
    ]
    if wrong:
        limits.append(f"The most common wrong labels, with the number of images: {'; '.join(wrong)}.")
    limits.append(
        f"Its probabilities differ from the shares of labels by {percent(evaluation.ece)} on average (ECE); with this "
        f"many images, chance alone accounts for up to {percent(evaluation.calibration.chance_ece)}."
    )
    return [*limits, novelty_limit(evaluation, otherwise="It cannot recognize images of other things.")]
