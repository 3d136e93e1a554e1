"""The content of a report, whatever the task of its model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.inspect import Finding
from resnet_cli.evaluation.coverage import Target
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.history import EpochRecord
from resnet_cli.model.thresholds import ClassThreshold
from resnet_cli.preprocess import Preprocess
from resnet_cli.reporting.label_targets import PrecisionTarget
from resnet_cli.reporting.provenance import Provenance


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
        overlays: Heat maps over some of the shown images, by the key that the task's report gives them.
        history: Learning curves of the training; () for an evaluation.
        best_epoch: The epoch that was kept.
        selections: Thresholds for a share of wrong predictions, found on validation and checked on these images.
        thresholds: Results of the thresholds of a multi-label model on its validation split, [k]; () if not known.
        threshold_note: How its thresholds were chosen, in a sentence.
        precision_targets: What thresholds for a given precision would reach; multi-label only.
        most_novel: Above this novelty an image counts as unlike the training images.
        findings: Findings about the data.
        warnings: Sentences that readers should see first.
        other: Results on another split for comparison, such as validation.
        other_split: Name of that split.
        bit_depth: Bits of the values of 16-bit images.
        preprocess: How an image becomes the network's input, to show which part of it heat maps are of; None if that is
            not known.
        folder: Folder of the report, for links to the images' files; None for a report without such links.
        provenance: Run, data, date, duration, machine and versions.
    """

    title: str
    command: str
    facts: Sequence[tuple[str, str, str]]
    evaluation: Scores
    items: Sequence[Item]
    data: str = ""
    split: str = ""
    overlays: Mapping[int, Image.Image] = dataclasses.field(default_factory=dict)
    history: Sequence[EpochRecord] = ()
    best_epoch: int | None = None
    selections: Sequence[Target] = ()
    thresholds: Sequence[ClassThreshold] = ()
    threshold_note: str = ""
    precision_targets: Sequence[PrecisionTarget] = ()
    most_novel: float | None = None
    findings: Sequence[Finding] = ()
    warnings: Sequence[str] = ()
    other: Scores | None = None
    other_split: str = "validation"
    bit_depth: int = 16
    preprocess: Preprocess | None = None
    folder: Path | None = None
    provenance: Provenance = dataclasses.field(default_factory=Provenance.now)
