"""What a card on the Hub says about a model's predictions, by task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.reporting.card_format import code, plain, table
from resnet_cli.task import TaskName
from resnet_cli.text import percent

#: Classes in the table of thresholds.
MAX_CLASSES = 200


@dataclasses.dataclass(frozen=True)
class Wording:
    """Texts of one task.

    Attributes:
        predicts: What the model predicts for every image, as the end of a sentence; ``{}`` stands for its classes.
        output: What follows the name of the output.
        same: What the predictions of model and file have in common.
        score: Name of the score of a file.
        metric: The Hub's name of that score, and its title.
        tags: Tags of the repository.
        decide: Python code that prints the prediction from ``probs`` [k] and ``classes``, with ``METADATA`` in place of
            the file's metadata.
        imports_timm: The imports of the code for timm.
        decide_timm: As ``decide``, from the ``logits`` of timm.
        note_timm: A sentence below it.
    """

    predicts: str
    output: str
    same: str
    score: str
    metric: tuple[str, str]
    tags: tuple[str, ...]
    decide: str
    imports_timm: str
    decide_timm: str
    note_timm: str


WORDING: Mapping[TaskName, Wording] = {
    "single-label": Wording(
        predicts="one of {} for every image",
        output="after the softmax",
        same="Same class as the model's",
        score="Accuracy",
        metric=("accuracy", "Top-1 accuracy"),
        tags=(),
        decide="print(classes[probs.argmax()], probs.max())",
        imports_timm="import timm\nfrom PIL import Image",
        decide_timm='print(model.pretrained_cfg["label_names"][logits.argmax()])',
        note_timm="The temperature is part of the last layer: `softmax` gives calibrated probabilities.",
    ),
    "multi-label": Wording(
        predicts="any number of {} per image, including none",
        output="after the sigmoid; each class has a probability of its own, and is predicted at or above its threshold "
        "(`thresholds` in `config.json`)",
        same="Same labels as the model's",
        score="mAP",
        metric=("mean_average_precision", "Mean average precision (macro)"),
        tags=("multi-label-image-classification",),
        decide="""\
thresholds = json.loads(METADATA["thresholds"])
print([(name, prob) for name, prob, least in zip(classes, probs, thresholds) if prob >= least])""",
        imports_timm="""\
import json

import timm
from huggingface_hub import hf_hub_download
from PIL import Image""",
        decide_timm="""\
with open(hf_hub_download("REPO", "config.json"), encoding="utf-8") as file:
    config = json.load(file)
probs = logits.sigmoid()[0].tolist()
print([name for name, prob, least in zip(config["label_names"], probs, config["thresholds"]) if prob >= least])""",
        note_timm="The calibration is part of the last layer: `sigmoid` gives calibrated probabilities.",
    ),
}


def thresholds_table(metadata: ExportMetadata) -> str:
    """The threshold of each class of a multi-label model; empty for a single-label one."""
    if not metadata.thresholds:
        return ""
    rows = [
        (plain(name), percent(least), code(repr(least)))
        for name, least in zip(metadata.classes[:MAX_CLASSES], metadata.thresholds, strict=False)
    ]
    rest = len(metadata.classes) - len(rows)
    more = f"\n\n{rest:,} more classes are in `config.json`." if rest else ""
    return (
        "## Thresholds\n\nA class is predicted at this probability and above. The thresholds have the best F1 score on "
        f"the validation images.\n\n{table(('Class', 'Threshold', 'Exactly'), rows)}{more}\n\n"
    )
