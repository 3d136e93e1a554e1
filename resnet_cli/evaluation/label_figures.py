"""The metrics of a multi-label model that are one number, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_calibration import cross_entropies, squared_errors
from resnet_cli.evaluation.label_intervals import interval, sample_counts, sample_ratios
from resnet_cli.evaluation.label_predictions import LabelPredictions
from resnet_cli.evaluation.label_ranking import ImageRanking
from resnet_cli.evaluation.label_resampling import Sampled

#: Name -> what is summed over the images, and what this sum is divided by the sum of, [n] each.
Ratios: TypeAlias = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def image_ratios(scores: LabelPredictions, ranking: ImageRanking) -> Ratios:
    """The metrics that are a sum over images divided by another.

    Hamming loss, cross-entropy and Brier score are means over known values; the metrics of the ranking are means over
    the images with a known value, the one-error over those with a label.
    """
    num_known, scored = scores.is_known.sum(axis=1).astype(np.float64), scores.is_scored.astype(np.float64)
    with_labels = (scores.targets == 1).any(axis=1).astype(np.float64)
    return {
        "hamming_loss": (scores.is_wrong.sum(axis=1).astype(np.float64), num_known),
        "coverage_error": (np.nan_to_num(ranking.coverage), scored),
        "ranking_loss": (np.nan_to_num(ranking.ranking_loss), scored),
        "ranking_average_precision": (np.nan_to_num(ranking.average_precision), scored),
        "one_error": (np.nan_to_num(ranking.one_error), with_labels),
        "loss": (cross_entropies(scores.probs, scores.targets), num_known),
        "brier": (squared_errors(scores.probs, scores.targets), num_known),
    }


def figure_intervals(scores: LabelPredictions, ranked: Mapping[str, Sampled], ratios: Ratios) -> dict[str, Interval]:
    """Every metric that has an interval, by its name in JSON; ``macro_f1`` and the like for the averages."""
    positives = scores.targets == 1
    supports, with_labels = positives.sum(axis=0).tolist(), [int(positives.any(axis=1).sum())]
    sampled = {**ranked} | sample_counts(scores.targets, scores.predicted)
    found = {
        name: interval(one, with_labels if name.startswith("micro") else supports)
        for name, one in sampled.items()
        if name != "average_precision"
    }
    found["exact_match"] = wilson(int(scores.is_right.sum()), scores.num_scored)
    for name, one in sample_ratios(ratios, scores.targets.size).items():
        most = {"loss": math.inf, "coverage_error": float(len(scores.classes))}.get(name, 1.0)
        found[name] = interval(one, [scores.num_scored], most=most)
    return {name: one for name, one in found.items() if one is not None}
