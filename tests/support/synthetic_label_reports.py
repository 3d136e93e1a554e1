"""Contents of reports of multi-label models, made up: probabilities that rank labels as well as wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.scoring import score_labels
from resnet_cli.history import EpochRecord
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.model.thresholds import best_f1_thresholds
from resnet_cli.reporting.label_gallery import heat_map_key, shown_mistakes
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.task import NO, UNKNOWN, YES


def label_record(epoch: int) -> EpochRecord:
    """One row of the history of a multi-label training."""
    values = {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1.2 / epoch, "val_fitted_loss": 1.2 / epoch}
    return EpochRecord.of("map", None, 1 - 0.5 / epoch, lr=0.1, seconds=1.0, l2=None, **values)


def make_label_evaluation(
    classes: Sequence[str], num: int, *, strength: float = 2.0, unknown: float = 0.05, seed: int = 0
) -> LabelEvaluation:
    """Predictions for ``num`` images; the larger ``strength``, the better they rank the images of a class."""
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random((num, len(classes))) < 0.3, YES, NO).astype(np.int8)
    logits = strength * (targets - 0.6) + rng.normal(size=targets.shape)
    probs = (1 / (1 + np.exp(-logits))).astype(np.float32)
    thresholds = [one.threshold or 0.5 for one in best_f1_thresholds(probs, targets)]
    targets[rng.random(targets.shape) < unknown] = UNKNOWN
    names = [f"test/{at}.jpg" for at in range(num)]
    scores = score_labels(probs, targets, classes, names, thresholds=thresholds)
    novelty = rng.uniform(0.1, 0.5, num).astype(np.float32)
    scaling = LabelScaling((1.6,) * len(classes), (0.2,) * len(classes))
    return dataclasses.replace(scores, novelty=novelty, is_unfamiliar=novelty > 0.45, scaling=scaling)


def make_label_content(classes: Sequence[str], num: int, *, side_px: int = 16, **changes: Any) -> ReportContent:
    """A report of a multi-label training with everything in it."""
    evaluation = make_label_evaluation(classes, num)
    pixels = np.random.default_rng(1).integers(0, 256, (20, side_px, side_px, 3), dtype=np.uint8)
    items = [
        Item(
            name,
            pixels[at % len(pixels)],
            tuple(np.flatnonzero(values == YES).tolist()),
            "test",
            unknown=tuple(np.flatnonzero(values == UNKNOWN).tolist()),
        )
        for at, (name, values) in enumerate(zip(evaluation.names, evaluation.targets, strict=True))
    ]
    heat = Image.new("RGB", (32, 32), "purple")
    content = ReportContent(
        title="leaves, test split",
        command="resnet-cli finetune --config runs/leaves/config.yaml",
        facts=[("data", "leaves", "60 train, 20 val")],
        evaluation=evaluation,
        items=items,
        data="leaves",
        split="test",
        overlays={heat_map_key(one, len(classes)): heat for one in shown_mistakes(evaluation)},
        history=[label_record(epoch) for epoch in range(1, 4)],
        best_epoch=2,
        thresholds=best_f1_thresholds(evaluation.probs, evaluation.targets),
        threshold_note="Each threshold has the highest F1.",
        most_novel=0.45,
        warnings=["the test split was held out"],
        other=make_label_evaluation(classes, num, seed=3),
    )
    return dataclasses.replace(content, **changes)
