"""The model card of a run: what the model is for, how well it works, and what it cannot do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from resnet_cli.installation import install_command
from resnet_cli.reporting.card_format import TASK, UNKNOWN_LICENSE, Card, plain, results, table
from resnet_cli.reporting.caveats import notes_about
from resnet_cli.reporting.confusion_page import most_confused
from resnet_cli.reporting.metrics import class_metrics, metrics
from resnet_cli.reporting.report_page import ReportContent, split_word
from resnet_cli.text import first_of, percent, percent_range
from resnet_cli.version import __version__

#: The text of a table cell without a value.
NONE = "\N{EN DASH}"
#: Rows of the table of classes, and class names in a sentence.
MAX_ROWS, MAX_NAMES = 200, 40
MAX_CONFUSED = 5
#: What the table of licenses lists.
_LICENSED = ("this model", "the images that it was trained on", "the weights that training started from")
#: Paths on this machine, which a card that may be published omits.
_PATH = re.compile(r"[/~\\]|[A-Za-z]:[/\\]")


def model_card(content: ReportContent) -> str:
    """The card as text; what only its author knows is marked to be filled in.

    Args:
        content: The content of the report page.
    """
    classes = content.evaluation.classes
    facts = [fact for fact in content.facts if not any(_PATH.match(text) for text in fact)]
    body = f"""\
# {plain(_name(content))}

A ResNet-50 that classifies images into {len(classes):,} classes: {_names(classes)}.

## Intended use

- For images like those that it was trained and evaluated on, each of exactly one of its classes.
- Not for other images: it predicts one of its classes for them too. {_other_images(content)}
- Not for decisions about people, nor where a wrong prediction does harm, unless a person checks it.
- **Fill in:** who uses it, for what, and what a wrong prediction costs.

## Data and training

{table(("What", "Value", "Why"), [[plain(text) for text in fact] for fact in facts])}

**Fill in:** where the images come from, who labeled them and how, and what or whom they do not cover.

## Evaluation

{_evaluation(content)}

## Limitations

{_limitations(content)}

## How to use

```console
$ {install_command(elsewhere=True)}
$ resnet-cli predict photo.jpg --model model.safetensors
```

```python
import resnet_cli

model = resnet_cli.load("model.safetensors")
print(model.predict(["photo.jpg"]))
```

The file contains the weights, the class names, the preprocessing and the temperature.

## Licenses

{table(("What", "License"), [(what, "**fill in**") for what in _LICENSED])}

State the model's license in `license:` at the top of this file too.

Written by resnet-cli {__version__}."""
    return str(Card(_front_matter(content), body))


def _name(content: ReportContent) -> str:
    return content.data or content.title


def _front_matter(content: ReportContent) -> dict[str, Any]:
    evaluation, name = content.evaluation, _name(content)
    found = {"accuracy": ("Top-1 accuracy", evaluation.top1), "f1": ("Macro F1", evaluation.macro.f1)}
    return {
        **UNKNOWN_LICENSE,
        "library_name": "resnet-cli",
        "pipeline_tag": TASK,
        "tags": [TASK, "resnet-50", "transfer-learning"],
        **results(name, name, found, split=split_word(content.split)),
    }


def _evaluation(content: ReportContent) -> str:
    evaluation = content.evaluation
    word = split_word(content.split)
    rows = [[plain(text) for text in (m.name, m.text, m.interval or NONE, m.meaning)] for m in metrics(evaluation)]
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
On {evaluation.num_images:,} {word + " " if word else ""}images. A 95 % interval shows how much a value could differ \
on other images of the same kind.

{table(("Metric", "Value", "95 % interval", "Meaning"), rows)}

{table(("Class", "n", "Recall (95 % interval)", "Precision", "F1"), per_class)}{more}"""


def _other_images(content: ReportContent) -> str:
    if content.evaluation.is_unfamiliar is None:
        return "It cannot tell which images these are."
    return (
        "Its predictions mark images unlike its training images (`unfamiliar`); with `--abstain` these get the label "
        '"unknown".'
    )


def _limitations(content: ReportContent) -> str:
    evaluation = content.evaluation
    told = [*content.warnings, *(finding.message for finding in content.findings), *notes_about(evaluation)]
    limits = [plain(text, 700) for text in told]
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
    if evaluation.is_unfamiliar is not None:
        limits.append(
            f"It compares images with some of its training images: {int(evaluation.is_unfamiliar.sum()):,} of these "
            f"{evaluation.num_images:,} images count as unlike them. It has no other way to recognize images of other "
            "things."
        )
    else:
        limits.append("It cannot recognize images of other things: it predicts one of its classes for every image.")
    return "\n".join(f"- {limit}" for limit in limits)


def _names(classes: Sequence[str]) -> str:
    return first_of([plain(name) for name in classes], MAX_NAMES)
