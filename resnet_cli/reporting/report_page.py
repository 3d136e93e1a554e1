"""The report of a training or an evaluation: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.inspect import Finding
from resnet_cli.evaluation.coverage import Target
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.caveats import notes_about
from resnet_cli.reporting.confusion_page import cell_data, most_confused, shades
from resnet_cli.reporting.curve_charts import curve_charts, has_penalties
from resnet_cli.reporting.gallery_selection import MAX_GALLERY, least_certain, of_cells, worst_mistakes
from resnet_cli.reporting.metrics import class_metrics, metrics
from resnet_cli.reporting.templating import environment, ranked, source
from resnet_cli.reporting.thumbnails import Thumbnail, shrink, thumbnails
from resnet_cli.reporting.trust_charts import calibration_charts, novelty_chart, risk_chart
from resnet_cli.runs import EpochRecord
from resnet_cli.text import row_shares
from resnet_cli.version import __version__

#: Images of galleries are large enough to recognize; with their heat maps at most 48 images, 0.9 MB.
GALLERY_PX, GALLERY_BYTES = 224, 14_000
#: Images of the matrix's cells; at most 3.3 MB.
CELL_PX, CELL_BYTES, MAX_CELL_IMAGES = 96, 4_000, 600
#: Fewer images may be larger.
LARGE_CELL_PX, LARGE_CELL_BYTES, MAX_LARGE = 128, 7_000, 300
#: A matrix of more classes is drawn as shades instead of a table.
MAX_WRITTEN_CLASSES = 32
#: Number of images shown that are unlike the training images.
MAX_UNKNOWN = 6
#: Metrics at the top, beside top-1.
TILES = {"balanced_accuracy", "macro_f1", "mcc", "loss", "brier", "ece"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The content of a report.

    Attributes:
        title: A title such as ``ants_bees, test split``.
        command: The command that reproduces the results.
        facts: (name, value, why) of model, data and settings.
        evaluation: Results on the evaluated images.
        items: The evaluated images, in the same order.
        data: Name of the data set.
        split: Split of the evaluated images: ``test``, ``val`` or ``all``.
        overlays: Position -> heat map over the image, for some of the shown images.
        history: Learning curves of the training; () for an evaluation.
        best_epoch: The epoch that was kept.
        selections: Thresholds for a share of wrong predictions, found on validation and checked on these images.
        most_novel: Above this novelty an image counts as unlike the training images.
        findings: Findings about the data.
        warnings: Sentences that readers should see first.
        other: Results on another split for comparison, such as validation.
        other_split: Name of that split.
        bit_depth: Bits of the values of 16-bit images.
    """

    title: str
    command: str
    facts: Sequence[tuple[str, str, str]]
    evaluation: Evaluation
    items: Sequence[Item]
    data: str = ""
    split: str = ""
    overlays: Mapping[int, Image.Image] = dataclasses.field(default_factory=dict)
    history: Sequence[EpochRecord] = ()
    best_epoch: int | None = None
    selections: Sequence[Target] = ()
    most_novel: float | None = None
    findings: Sequence[Finding] = ()
    warnings: Sequence[str] = ()
    other: Evaluation | None = None
    other_split: str = "validation"
    bit_depth: int = 16


class Shown(NamedTuple):
    """One image of a gallery.

    Attributes:
        position: Position in the evaluation.
        name: Name of the file.
        true: The true class.
        predicted: The predicted class.
        prob: Probability of the predicted class.
        true_prob: Probability of the true class.
        novelty: Novelty of the image; None if it is not known.
        image: Thumbnail of the image.
        overlay: Thumbnail with the heat map; None if there is none.
    """

    position: int
    name: str
    true: str
    predicted: str
    prob: float
    true_prob: float
    novelty: float | None
    image: Thumbnail
    overlay: Thumbnail | None

    @property
    def is_right(self) -> bool:
        """Whether the prediction is correct."""
        return self.true == self.predicted


def split_word(split: str) -> str:
    """The word before "images" in a sentence: ``validation`` for val, nothing for all."""
    return {"val": "validation", "all": ""}.get(split, split)


def shown_positions(evaluation: Evaluation) -> list[int]:
    """Positions of the images in galleries, the worst mistakes first; heat maps are made for these."""
    worst = worst_mistakes(evaluation)
    return worst + least_certain(evaluation, worst)


def report_page(content: ReportContent) -> str:
    """The HTML document, images included; at most about 5 MB.

    Images are read again; one that can no longer be read gets a placeholder.

    Args:
        content: The content, of at least one image.
    """
    evaluation = content.evaluation
    worst = worst_mistakes(evaluation)
    unsure = least_certain(evaluation, worst)
    unknown = _most_novel(content)
    gallery = _gallery(content, [*worst, *unsure, *unknown])
    shown = [*worst, *unsure, *unknown]
    in_cells = [at for at in of_cells(evaluation, MAX_CELL_IMAGES) if at not in shown]
    side_px, max_bytes = (CELL_PX, CELL_BYTES) if len(in_cells) > MAX_LARGE else (LARGE_CELL_PX, LARGE_CELL_BYTES)
    small = thumbnails(
        [content.items[at] for at in in_cells], bit_depth=content.bit_depth, side_px=side_px, max_bytes=max_bytes
    )
    num_classes = len(evaluation.classes)
    all_metrics = metrics(evaluation)
    script = source("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            version=__version__,
            content=content,
            split=split_word(content.split),
            evaluation=evaluation,
            num_right=int(evaluation.is_right.sum()),
            metrics=all_metrics,
            tiles=[metric for metric in all_metrics if metric.key in TILES],
            other_metrics={metric.key: metric for metric in metrics(content.other)} if content.other else {},
            notes=[*content.warnings, *notes_about(evaluation)],
            findings=ranked(content.findings),
            curves=curve_charts(content.history, content.best_epoch) if content.history else [],
            is_path=has_penalties(content.history),
            shares=row_shares(evaluation.confusion, evaluation.classes) if num_classes <= MAX_WRITTEN_CLASSES else None,
            shades=shades(evaluation.confusion) if num_classes > MAX_WRITTEN_CLASSES else None,
            confused=most_confused(evaluation),
            rows=class_metrics(evaluation),
            worst=[gallery[at] for at in worst],
            unsure=[gallery[at] for at in unsure],
            unknown=[gallery[at] for at in unknown],
            max_gallery=MAX_GALLERY,
            calibration=calibration_charts(evaluation),
            risk=risk_chart(evaluation),
            novelty=_novelty(content),
            data=cell_data(evaluation, shown, in_cells, small),
            script=Markup(script),
            # No other script may run, whatever a file name contains.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )


def _gallery(content: ReportContent, positions: Sequence[int]) -> dict[int, Shown]:
    evaluation = content.evaluation
    size: dict[str, Any] = {"side_px": GALLERY_PX, "max_bytes": GALLERY_BYTES}
    images = thumbnails([content.items[at] for at in positions], bit_depth=content.bit_depth, **size)
    found = {}
    for at, image in zip(positions, images, strict=True):
        probs, label = evaluation.probs[at], int(evaluation.labels[at])
        predicted = int(probs.argmax())
        found[at] = Shown(
            position=at,
            name=evaluation.names[at],
            true=evaluation.classes[label],
            predicted=evaluation.classes[predicted],
            prob=float(probs[predicted]),
            true_prob=float(probs[label]),
            novelty=None if evaluation.novelty is None else float(evaluation.novelty[at]),
            image=image,
            overlay=shrink(content.overlays[at], **size) if at in content.overlays else None,
        )
    return found


def _most_novel(content: ReportContent) -> list[int]:
    """Positions of the images with the highest novelty among those that count as unlike the training images."""
    novelty, is_unfamiliar = content.evaluation.novelty, content.evaluation.is_unfamiliar
    if novelty is None or is_unfamiliar is None:
        return []
    shown = shown_positions(content.evaluation)
    order = [int(at) for at in np.argsort(-novelty, kind="stable")[: MAX_UNKNOWN + len(shown)]]
    return [at for at in order if is_unfamiliar[at] and at not in shown][:MAX_UNKNOWN]


def _novelty(content: ReportContent) -> dict[str, Any] | None:
    """The number of images that count as unknown, and the error rates of known and unknown images."""
    evaluation = content.evaluation
    if evaluation.novelty is None:
        return None
    found: dict[str, Any] = {"chart": novelty_chart(evaluation.novelty, content.most_novel), "num_unknown": None}
    is_unknown = evaluation.is_unfamiliar
    if is_unknown is not None:
        found |= {
            "num_unknown": int(is_unknown.sum()),
            "unknown_error": float(1 - evaluation.is_right[is_unknown].mean()) if is_unknown.any() else None,
            "known_error": float(1 - evaluation.is_right[~is_unknown].mean()) if not is_unknown.all() else None,
        }
    return found
