"""Contents of reports, made up: answers of a model that is right as often as wanted, and images in memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.inspect import Finding
from resnet_cli.evaluation.coverage import check_threshold
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import score
from resnet_cli.history import EpochRecord
from resnet_cli.model.reliability import Reliability
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.single_label_report import shown_positions


def epoch_record(
    epoch: int,
    train_loss: float,
    val_loss: float,
    val_top1: float,
    train_top1: float = math.nan,
    penalty: float | None = None,
) -> EpochRecord:
    """One row of a history; what no chart shows is zero."""
    return EpochRecord(epoch, train_loss, train_top1, val_loss, val_top1, val_loss, 0.0, 0.0, penalty)


def make_evaluation(
    classes: Sequence[str], num: int, *, strength: float = 2.0, names: Sequence[str] | None = None, seed: int = 0
) -> Evaluation:
    """Answers to ``num`` images; the larger ``strength``, the more of them are right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num, dtype=np.int64) % len(classes)
    logits = rng.normal(size=(num, len(classes)))
    logits[np.arange(num), labels] += strength
    odds = np.exp(logits)
    probs = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    scores = score(probs, labels, classes, names or [f"test/{classes[n % len(classes)]}/{n}.jpg" for n in range(num)])
    novelty = rng.uniform(0.1, 0.5, num).astype(np.float32)
    return dataclasses.replace(scores, novelty=novelty, is_unfamiliar=novelty > 0.45, temperature=1.4)


def make_content(classes: Sequence[str], num: int, *, side_px: int = 24, strength: float = 2.0, **changes: Any) -> Any:
    """A report of a training with everything in it."""
    evaluation = make_evaluation(classes, num, strength=strength)
    rng = np.random.default_rng(1)
    # A few images serve all items: what is in them is of no interest, that each is read is.
    pixels = [rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8) for _ in range(min(num, 50))]
    items = [
        Item(name, pixels[n % len(pixels)], (int(label),), "test")
        for n, (name, label) in enumerate(zip(evaluation.names, evaluation.labels, strict=True))
    ]
    known = Reliability(
        evaluation.confidence.astype(np.float32), evaluation.is_right, np.asarray(evaluation.novelty, np.float32)
    )
    target = check_threshold(0.9, known, evaluation.confidence, evaluation.is_right) if num > 100 else None
    heat = Image.new("RGB", (64, 64), "purple")
    content = ReportContent(
        title="pets, test split",
        command="resnet-cli finetune --config 'runs/my pets/config.yaml'",
        facts=[("data", "pets", "60 train, 20 val"), ("weights", "imagenet-v1", "for a frozen backbone")],
        evaluation=evaluation,
        items=items,
        data="pets",
        split="test",
        overlays={at: heat for at in shown_positions(evaluation) if not evaluation.is_right[at]},
        history=[epoch_record(e, 1 / e, 1.2 / e, 1 - 0.5 / e, 1 - 0.4 / e) for e in range(1, 6)],
        best_epoch=4,
        selections=[target] if target else [],
        most_novel=0.45,
        findings=[Finding("note", "something was noticed", "do nothing"), Finding("leaks", "one leak", "remove it")],
        warnings=["the test split was held out"],
        other=make_evaluation(classes, num, strength=strength, seed=3),
    )
    return dataclasses.replace(content, **changes)


def with_features(content: Any, num_dims: int = 6) -> Any:
    """The content with features of its images, in which classes are groups: its report has a map."""
    evaluation = content.evaluation
    labels = evaluation.labels if evaluation.task == "single-label" else (evaluation.targets == 1).argmax(axis=1)
    rng = np.random.default_rng(2)
    centers = rng.normal(size=(len(evaluation.classes), num_dims))
    rows = centers[labels] + 0.4 * rng.normal(size=(len(labels), num_dims))
    features = torch.from_numpy(rows.astype(np.float32))
    return dataclasses.replace(content, evaluation=dataclasses.replace(evaluation, features=features))
