"""The scores of a multi-label model as plain JSON values."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from resnet_cli.evaluation.intervals import Interval, wilson

if TYPE_CHECKING:
    from resnet_cli.evaluation.label_scores import LabelEvaluation


def evaluation_dict(scores: LabelEvaluation) -> dict[str, Any]:
    """All metrics of an evaluation, without the predictions for each image."""
    raw, unfamiliar = scores.uncalibrated, scores.unfamiliar_interval
    true, predicted = scores.mean_labels
    return {
        "task": scores.task,
        "num_images": scores.num_images,
        "num_negatives": scores.num_negatives,
        "num_unscored": scores.num_images - scores.num_scored,
        "num_unknown_values": scores.num_unknown,
        "mean_labels": {"true": true, "predicted": predicted},
        "tta": scores.tta,
        **scores.figures,
        "intervals": {name: ends(interval) for name, interval in scores.intervals.items()},
        "macro": dataclasses.asdict(scores.macro),
        "micro": dataclasses.asdict(scores.micro),
        "weighted": dataclasses.asdict(scores.weighted),
        "per_class": {name: _class_dict(scores, label) for label, name in enumerate(scores.classes)},
        "cooccurrence": scores.cooccurrence.tolist(),
        "calibration": {
            "chance_ece": scores.calibration.chance_ece,
            "before": raw.to_dict() if raw else None,
            "after": scores.calibration.to_dict(),
        },
        "unfamiliar": None if unfamiliar is None else {"share": unfamiliar.value, "interval": ends(unfamiliar)},
        "slices": None if scores.groups is None else [one.to_dict() for one in scores.slices],
    }


def _class_dict(scores: LabelEvaluation, label: int) -> dict[str, Any]:
    row = scores.per_class[label]
    right = int(scores.cooccurrence[label, label])
    spans = {
        "average_precision_interval": scores.average_precision_intervals[label],
        "recall_interval": wilson(right, row.support) if row.support else None,
        "precision_interval": wilson(right, row.num_predicted) if row.num_predicted else None,
    }
    return {
        **dataclasses.asdict(row),
        "threshold": row.threshold if math.isfinite(row.threshold) else None,
        **{name: None if span is None else ends(span) for name, span in spans.items()},
    }


def ends(interval: Interval) -> list[float | None]:
    """The ends for JSON; the upper end of the loss of a single image is unknown."""
    return [interval.low, interval.high if math.isfinite(interval.high) else None]
