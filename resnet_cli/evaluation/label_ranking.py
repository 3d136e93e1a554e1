"""How well the probabilities of an image rank its labels above all other classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Numbers held at once while rows are sorted: 16 MB as float64.
NUMBERS_AT_ONCE = 2_000_000


class ImageRanking(NamedTuple):
    """The ranking of the known classes of each image, all [n]; NaN for an image without a known value.

    Attributes:
        coverage: How many of the most probable classes include all labels of the image; 0 without labels.
        ranking_loss: Share of the pairs of a label and another class in which the label is not the more probable one;
            0 for an image with none of the classes, or with all of them.
        average_precision: Mean over the labels of the share of labels among the classes that are at least as probable;
            1 for an image with none of the classes, or with all of them.
        one_error: 1 if the most probable class is not a label of the image, else 0; NaN without labels. Of equally
            probable classes, the one with the lowest index comes first, as in ``predict``.

    Source: ``coverage_error``, ``label_ranking_loss`` and ``label_ranking_average_precision_score`` of scikit-learn;
    one-error: Schapire and Singer 2000, https://doi.org/10.1023/A:1007649029923.
    """

    coverage: NDArray[np.float64]
    ranking_loss: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    one_error: NDArray[np.float64]


def rank_labels(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> ImageRanking:
    """Ranks the known classes of each image by their probabilities.

    Args:
        probs: Probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
    """
    num_parts = max(1, probs.size // NUMBERS_AT_ONCE)
    parts = zip(np.array_split(probs, num_parts), np.array_split(targets, num_parts), strict=True)
    return ImageRanking(*map(np.concatenate, zip(*(_rank(*part) for part in parts), strict=True)))


def _rank(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> tuple[NDArray[np.float64], ...]:
    # Unknown classes come after all others, and so change nothing about the ranks of those.
    scores = np.where(targets >= 0, probs, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, is_label = (np.take_along_axis(values, order, axis=1) for values in (scores, targets == 1))
    num_classes = probs.shape[1]
    places = np.arange(num_classes)
    # The last place with the same probability: tied classes share the worst rank.
    is_last = np.append(ranked[:, :-1] != ranked[:, 1:], np.ones((len(ranked), 1), dtype=bool), axis=1)
    ends = np.minimum.accumulate(np.where(is_last, places, num_classes)[:, ::-1], axis=1)[:, ::-1]
    labels_up_to = np.take_along_axis(is_label.cumsum(axis=1), ends, axis=1)
    ranks = ends + 1
    num_labels, num_known = is_label.sum(axis=1), (targets >= 0).sum(axis=1)
    num_others = num_known - num_labels
    is_mixed = (num_labels > 0) & (num_others > 0)
    wrong_pairs = np.where(is_label, ranks - labels_up_to, 0).sum(axis=1)
    precisions = np.where(is_label, labels_up_to / ranks, 0).sum(axis=1)
    found = (
        np.where(is_label, ranks, 0).max(axis=1),
        np.where(is_mixed, wrong_pairs / np.maximum(num_labels * num_others, 1), 0),
        np.where(is_mixed, precisions / np.maximum(num_labels, 1), 1),
        np.where(num_labels > 0, ~is_label[:, 0], np.nan),
    )
    return tuple(np.where(num_known > 0, values, np.nan) for values in found)
