"""Metrics of a multi-label model per group of images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_intervals import interval, sample_ranking
from resnet_cli.evaluation.label_predictions import LabelPredictions
from resnet_cli.evaluation.label_resampling import MAX_CELLS
from resnet_cli.evaluation.ranking import mean_known, rank_known_classes

#: With more groups their mAP has no interval: each takes at least 20 ms.
MAX_GROUPS = 100


@dataclasses.dataclass(frozen=True)
class LabelSlice:
    """Metrics of one group.

    Attributes:
        group: Name of the group; empty for images without a group.
        num_images: Number of images in the group that have a known value.
        map: Macro mAP over the classes that have both positives and negatives in the group; None if there is no such
            class.
        map_interval: mAP with its 95 % interval; None without mAP, and for more than ``MAX_GROUPS`` groups.
        exact_match: Share of images whose known values are all predicted correctly, with its 95 % interval.
        loss: Mean binary cross-entropy in nats over the known values.
    """

    group: str
    num_images: int
    map: float | None
    map_interval: Interval | None
    exact_match: Interval
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        span = self.map_interval
        return {
            "group": self.group,
            "num_images": self.num_images,
            "map": self.map,
            "map_interval": None if span is None else [span.low, span.high],
            "exact_match": self.exact_match.value,
            "exact_match_interval": [self.exact_match.low, self.exact_match.high],
            "loss": self.loss,
        }


def score_label_slices(scores: LabelPredictions) -> tuple[LabelSlice, ...]:
    """Scores each group; the lowest mAP comes first, then the lowest exact match; groups without mAP come last.

    Groups without any known value are omitted.

    Args:
        scores: The predictions, with the group of each image.
    """
    if scores.groups is None:
        return ()
    names, places = np.unique(np.array(scores.groups, dtype=object), return_inverse=True)
    num_known = scores.is_known.sum(axis=1)
    found = []
    for place, name in enumerate(names):
        rows = np.flatnonzero((places == place) & scores.is_scored)
        if not len(rows):
            continue
        probs, targets = scores.probs[rows], scores.targets[rows]
        value, span = mean_known(rank_known_classes(probs, targets).average_precision), None
        if value is not None and len(names) <= MAX_GROUPS and scores.targets.size <= MAX_CELLS:
            supports = (targets == 1).sum(axis=0).tolist()
            span = interval(sample_ranking(probs, targets, with_micro=False)["map"], supports)
        exact = wilson(int(scores.is_right[rows].sum()), len(rows))
        loss = float(np.average(scores.losses[rows], weights=num_known[rows]))
        found.append(LabelSlice(str(name), len(rows), value, span, exact, loss))
    return tuple(sorted(found, key=lambda one: (one.map is None, one.map or 0, one.exact_match.value, one.group)))
