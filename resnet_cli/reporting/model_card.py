"""The model card: what a model is for, what it reaches, what it cannot do; Markdown that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from resnet_cli.reporting.caveats import notes_about
from resnet_cli.reporting.confusion_page import most_confused
from resnet_cli.reporting.figures import class_figures, figures
from resnet_cli.reporting.report_page import ReportContent, split_word
from resnet_cli.text import percent, percent_range, shorten
from resnet_cli.version import __version__

#: Stands where there is no figure.
NONE = "\N{EN DASH}"
#: Of the table of classes, and names in a sentence.
MAX_ROWS, MAX_NAMES = 200, 40
MAX_CONFUSED = 5
_WIDTH = 80
#: What Markdown or the HTML inside it would read as something else.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
#: Places on the machine that it was made on: a card is for publishing.
_PLACE = re.compile(r"[/~\\]|[A-Za-z]:[/\\]")


def model_card(content: ReportContent) -> str:
    """The card, with YAML front matter; what only people know stands there to be filled in.

    Args:
        content: As for the report page.
    """
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(content), sort_keys=False, allow_unicode=True, width=1000)}---",
        f"# {_plain(content.data or content.title)}",
        _purpose(content),
        _data(content),
        _figures(content),
        _limits(content),
        _use(),
        _licence(),
        f"Written by resnet-cli {__version__}.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(content: ReportContent) -> dict[str, Any]:
    """Source: https://huggingface.co/docs/hub/model-cards, and its model-index for figures."""
    evaluation = content.evaluation
    name = shorten(content.data or content.title, _WIDTH)
    dataset = {"name": name, "type": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "images"}
    if split_word(content.split):
        dataset["split"] = split_word(content.split)
    metrics = [
        {"type": "accuracy", "value": round(evaluation.top1, 4), "name": "Top-1 accuracy"},
        {"type": "f1", "value": round(evaluation.macro.f1, 4), "name": "Macro F1"},
    ]
    return {
        # To be replaced: what may be done with the model is for its makers to say.
        "license": "other",
        "license_name": "to-be-filled-in",
        "library_name": "resnet-cli",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "resnet-50", "transfer-learning"],
        "metrics": ["accuracy", "f1"],
        "model-index": [
            {
                "name": name,
                "results": [{"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}],
            }
        ],
    }


def _purpose(content: ReportContent) -> str:
    classes = content.evaluation.classes
    return f"""\
A ResNet-50 that names which of {len(classes):,} classes an image is of: {_names(classes)}.

## Intended use

- For images of the kind that it was trained and judged on, where each is of exactly one of its classes.
- Not for images of anything else: it names one of its classes all the same, unless it is told to abstain.
- Not for decisions about people, or where a wrong answer does harm, without a person who looks at it too.
- **Fill in:** who uses it, for what, and what a wrong answer costs."""


def _data(content: ReportContent) -> str:
    facts = [fact for fact in content.facts if not any(_PLACE.match(text) for text in fact)]
    return f"""\
## Data and training

{_table(("What", "Value", "Why"), facts)}

**Fill in:** where the images come from, who labelled them and how, whom or what they leave out."""


def _figures(content: ReportContent) -> str:
    evaluation = content.evaluation
    word = split_word(content.split)
    rows = [(figure.name, figure.text, figure.interval or NONE, figure.about) for figure in figures(evaluation)]
    known = [row for row in class_figures(evaluation) if row.recall]
    per_class = [
        (
            row.name,
            f"{row.support:,}",
            f"{percent(row.recall.value)} ({percent_range(row.recall.low, row.recall.high)})" if row.recall else NONE,
            NONE if row.precision is None else percent(row.precision),
            NONE if row.f1 is None else percent(row.f1),
        )
        for row in known[:MAX_ROWS]
    ]
    more = f"\n\nThe first {MAX_ROWS} of {len(known):,} classes." if len(known) > MAX_ROWS else ""
    return f"""\
## Figures

On {evaluation.num_images:,} {word + " " if word else ""}images. Intervals are of 95 %: what the figure could as \
well have been with other images of the same kind.

{_table(("Figure", "Value", "95 % interval", "What it means"), rows)}

{_table(("Class", "n", "Recall (95 % interval)", "Precision", "F1"), per_class)}{more}"""


def _limits(content: ReportContent) -> str:
    evaluation = content.evaluation
    told = [*content.warnings, *(finding.message for finding in content.findings)]
    limits = [*(_plain(text, 700) for text in told), *(_plain(note, 700) for note in notes_about(evaluation))]
    confused = [
        f"{_plain(evaluation.classes[pair.true])} as {_plain(evaluation.classes[pair.predicted])} "
        f"({pair.num:,}, {percent(pair.share)} of its images)"
        for pair in most_confused(evaluation)[:MAX_CONFUSED]
    ]
    if confused:
        limits.append(f"Most often it takes {'; '.join(confused)}.")
    limits.append(
        f"Its probabilities are off by {percent(evaluation.ece)} on average (ECE); with so many images chance alone "
        f"makes up to {percent(evaluation.chance_ece)}. Logits are divided by {evaluation.temperature:.3f} "
        "(temperature, found on validation images)."
    )
    if evaluation.novelty is not None and content.most_novel is not None:
        num = int((evaluation.novelty > content.most_novel).sum())
        limits.append(
            f"It can tell images unlike its training images (`predict --abstain`); {num:,} of these "
            f"{evaluation.num_images:,} count as such. It knows no other way to say that it does not know."
        )
    else:
        limits.append("It cannot tell images of other things: it names one of its classes for every image.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _use() -> str:
    return """\
## How to use

```console
$ pipx install resnet-cli
$ resnet-cli predict photo.jpg --model model.safetensors
```

```python
import resnet_cli

model = resnet_cli.load("model.safetensors")
print(model.predict(["photo.jpg"]))
```

The file holds the weights, the class names, the preprocessing and the temperature."""


def _licence() -> str:
    return f"""\
## Licences

{
        _table(
            ("What", "Licence"),
            [
                ("this model", "**fill in**"),
                ("the images it was trained on", "**fill in**"),
                ("the weights it started from", "**fill in**"),
            ],
            is_plain=False,
        )
    }

Put the model's licence into `license:` at the top of this file too."""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, is_plain: bool = True) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_plain(cell) if is_plain else cell for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _names(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - MAX_NAMES:,} more" if len(classes) > MAX_NAMES else ""
    return ", ".join(_plain(name) for name in classes[:MAX_NAMES]) + more


def _plain(text: str, width: int = 200) -> str:
    """Strangers' text as itself: no Markdown, no HTML, no link, one line."""
    # Bare addresses become links, too.
    return _SPECIAL.sub(r"\\\1", shorten(text, width)).replace("www.", r"www\.").replace("://", r"\://")
