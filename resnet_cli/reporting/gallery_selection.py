"""Selects the images that a report shows: the worst mistakes, the least certain, and some of each cell."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.confusion_page import most_confused

#: Images per gallery.
MAX_GALLERY = 12
#: Predictions with a larger margin over the next class do not count as uncertain.
MAX_MARGIN = 0.5
#: Images per cell of the confusion matrix.
MAX_IN_CELL = 24


def worst_mistakes(evaluation: Evaluation) -> list[int]:
    """Positions of misclassified images, those with the highest loss first."""
    order = np.argsort(-evaluation.losses, kind="stable")
    return [int(at) for at in order[~evaluation.is_right[order]][:MAX_GALLERY]]


def least_certain(evaluation: Evaluation, without: Collection[int]) -> list[int]:
    """Positions of the images whose predicted class is hardly more probable than the next, correct or not.

    Args:
        evaluation: The evaluation.
        without: Positions that are already shown.
    """
    if len(evaluation.classes) < 2:
        return []
    best = np.partition(evaluation.probs, -2, axis=1)[:, -2:]
    margins = best[:, 1] - best[:, 0]
    order = np.argsort(margins, kind="stable")[: MAX_GALLERY + len(without)]
    return [int(at) for at in order if margins[at] < MAX_MARGIN and int(at) not in without][:MAX_GALLERY]


def of_cells(evaluation: Evaluation, room: int) -> list[int]:
    """Positions of images for the cells of the confusion matrix, at most ``room`` in all.

    All images of the most confused pairs come first; then each cell gets one image before any gets two, mistakes before
    correct predictions and large cells before small ones. Within a cell, mistakes are sorted by falling confidence and
    correct predictions by rising confidence.
    """
    confidence, is_right = evaluation.confidence, evaluation.is_right
    cell = evaluation.labels * len(evaluation.classes) + evaluation.predicted
    order = np.lexsort((np.where(is_right, confidence, -confidence), cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    order, rank = order[rank < MAX_IN_CELL], rank[rank < MAX_IN_CELL]
    pairs = [pair.true * len(evaluation.classes) + pair.predicted for pair in most_confused(evaluation)]
    is_rest = ~np.isin(cell[order], pairs)
    counts = evaluation.confusion.ravel()[cell[order]]
    return [int(at) for at in order[np.lexsort((-counts, is_right[order], rank * is_rest, is_rest))][:room]]
