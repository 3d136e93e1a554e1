"""Model cards as text: YAML front matter and Markdown, in the form that the Hugging Face Hub reads.

Source: https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.metrics import Metric
from resnet_cli.text import first_of, shorten

#: The license of a card until its author states one; what may be done with a model is for its authors to say.
UNKNOWN_LICENSE = {"license": "other", "license_name": "to-be-filled-in"}
TASK = "image-classification"
#: The text of a table cell without a value.
NONE = "\N{EN DASH}"
#: Rows of the table of classes, and class names in a sentence.
MAX_ROWS, MAX_NAMES = 200, 40
_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.S | re.M)
_TO_FILL_IN = re.compile(r"\*\*fill in|to-be-filled-in", re.I)
#: Characters with a meaning in Markdown or in HTML inside it.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
_NAME_WIDTH = 80


@dataclasses.dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        front: Values of the front matter.
        body: The Markdown below it.
    """

    front: dict[str, Any]
    body: str

    @classmethod
    def parse(cls, text: str) -> Card:
        """Reads a card that a person may have edited.

        Raises:
            ValueError: The front matter is not a mapping.
            yaml.YAMLError: The front matter is not YAML.
        """
        text = text.removeprefix("\N{BYTE ORDER MARK}").replace("\r\n", "\n")
        found = _FRONT.match(text)
        front = yaml.safe_load(found[1]) if found else {}
        if not isinstance(front, dict):
            raise ValueError("its front matter is not a mapping")
        return cls(front, text[found.end() :] if found else text)

    @property
    def is_complete(self) -> bool:
        """Whether no place is left that only a person can fill in."""
        return _TO_FILL_IN.search(str(self)) is None

    def __str__(self) -> str:
        """The whole text of the card."""
        front = yaml.safe_dump(self.front, sort_keys=False, allow_unicode=True, width=1000)
        return f"---\n{front}---\n\n{self.body.strip()}\n"


def results(model: str, data: str, metrics: Mapping[str, tuple[str, float]], *, split: str = "") -> dict[str, Any]:
    """The front matter's ``metrics`` and ``model-index``.

    Args:
        model: Name of the model.
        data: Name of the data set.
        metrics: The Hub's name of a metric -> (name, value).
        split: The split that the metrics were computed on; empty for none.
    """
    name = shorten(data, _NAME_WIDTH)
    dataset = {"name": name, "type": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "images"}
    if split:
        dataset["split"] = split
    values = [{"type": kind, "value": round(value, 4), "name": title} for kind, (title, value) in metrics.items()]
    result = {"task": {"type": TASK}, "dataset": dataset, "metrics": values}
    return {"metrics": list(metrics), "model-index": [{"name": shorten(model, _NAME_WIDTH), "results": [result]}]}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plain(text: str, width: int = 200) -> str:
    """Text of unknown origin on one line, without a meaning in Markdown or HTML."""
    # Bare addresses become links, too.
    return _SPECIAL.sub(r"\\\1", shorten(text, width)).replace("www.", r"www\.").replace("://", r"\://")


def code(text: str) -> str:
    """Text of unknown origin as inline code."""
    return f"`{shorten(text, 200).replace('`', chr(39)).replace('|', '/')}`"


def names(classes: Sequence[str]) -> str:
    """The names of classes in a sentence; of very many, the first."""
    return first_of([plain(name) for name in classes], MAX_NAMES)


def figures(metrics: Iterable[Metric], num_images: int, split: str) -> str:
    """The metrics with their intervals, as a sentence and a table."""
    rows = [[plain(text) for text in (m.name, m.text, m.interval or NONE, m.meaning)] for m in metrics]
    return f"""\
On {num_images:,} {split + " " if split else ""}images. A 95 % interval shows how much a value could differ \
on other images of the same kind.

{table(("Metric", "Value", "95 % interval", "Meaning"), rows)}"""


def novelty_limit(evaluation: Evaluation | LabelEvaluation, *, otherwise: str) -> str:
    """What a model can tell about images of other things; ``otherwise`` if it cannot tell anything."""
    if evaluation.is_unfamiliar is None:
        return otherwise
    return (
        f"It compares images with some of its training images: {int(evaluation.is_unfamiliar.sum()):,} of these "
        f"{evaluation.num_images:,} images count as unlike them. It has no other way to recognize images of other "
        "things."
    )
