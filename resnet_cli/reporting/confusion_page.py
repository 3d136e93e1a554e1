"""The confusion matrix for a page: as shades where there are many classes, and what a chosen cell shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.thumbnails import Thumbnail
from resnet_cli.text import shorten

#: Shades a colour; each is one path of the drawing.
NUM_SHADES = 6
#: Where the scale of strengths begins: what is fainter is not seen in a small square.
_FAINTEST = 0.25
#: Cells of a drawn matrix and of its data; more are only found by the largest counts.
MAX_CELLS = 20_000
#: The side of the smallest square that is still seen, as a share of the matrix.
_LEAST_SIDE = 1 / 160
MAX_PAIRS = 10
#: Wrongly answered images that have no thumbnail are named, so many a cell and in all.
MAX_NAMES_IN_CELL, MAX_NAMES = 20, 2_000
NAME_WIDTH, CLASS_WIDTH = 60, 48
#: What every thumbnail's address begins with; the page's script puts it back.
_PREFIX = "data:image/jpeg;base64,"


class Shade(NamedTuple):
    """The cells of a drawn matrix that have one shade.

    Attributes:
        is_right: Whether they are on the diagonal.
        strength: In (0, 1].
        path: SVG, in cells from the upper left corner.
    """

    is_right: bool
    strength: float
    path: str


class Pair(NamedTuple):
    """A confused pair: ``num`` images of class ``true``, a ``share`` of its own, are answered as ``predicted``."""

    true: int
    predicted: int
    num: int
    share: float


def shades(confusion: NDArray[np.int64]) -> list[Shade]:
    """The matrix as paths, the square root of each count's share of its row as strength, right answers last."""
    num_classes = len(confusion)
    rows, columns = _largest(confusion)
    shares = confusion[rows, columns] / np.maximum(confusion.sum(axis=1), 1)[rows]
    levels = np.maximum(np.ceil(NUM_SHADES * np.sqrt(shares)), 1).astype(int)
    side = max(1.0, num_classes * _LEAST_SIDE)
    inset = (side - 1) / 2
    found = []
    for is_right in (False, True):
        for level in range(1, NUM_SHADES + 1):
            chosen = (levels == level) & ((rows == columns) == is_right)
            squares = [
                f"M{column - inset:g} {row - inset:g}h{side:g}v{side:g}h{-side:g}z"
                for row, column in zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True)
            ]
            if squares:
                strength = _FAINTEST + (1 - _FAINTEST) * level / NUM_SHADES
                found.append(Shade(is_right, strength, "".join(squares)))
    return found


def most_confused(evaluation: Evaluation) -> list[Pair]:
    """The pairs of classes with the most mistakes."""
    mistakes = evaluation.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = []
    for true, predicted in zip(*(part.tolist() for part in np.unravel_index(order, mistakes.shape)), strict=True):
        num = int(mistakes[true, predicted])
        if num:
            pairs.append(Pair(true, predicted, num, num / int(evaluation.confusion[true].sum())))
    return pairs


def cell_data(
    evaluation: Evaluation, in_galleries: Collection[int], in_cells: Sequence[int], images: Sequence[Thumbnail]
) -> dict[str, Any]:
    """What the page's script needs: counts of cells, and their images.

    Args:
        evaluation: Any.
        in_galleries: Positions of images that the page holds already.
        in_cells: Positions of those that it does not.
        images: Of the latter.
    """
    rows, columns = _largest(evaluation.confusion)
    addresses = dict.fromkeys(sorted(in_galleries), "") | {
        at: image.src.removeprefix(_PREFIX) or "gone" for at, image in zip(in_cells, images, strict=True)
    }
    tiny = {at for at, image in zip(in_cells, images, strict=True) if image.is_tiny}
    return {
        "classes": [shorten(name, CLASS_WIDTH) for name in evaluation.classes],
        "support": evaluation.confusion.sum(axis=1).tolist(),
        "cells": np.stack([rows, columns, evaluation.confusion[rows, columns]], axis=1).tolist(),
        # Position, true class, predicted class, its probability, the file's name, the image, whether to smooth it.
        "images": [
            [
                at,
                int(evaluation.labels[at]),
                int(evaluation.predicted[at]),
                round(float(evaluation.confidence[at]), 4),
                shorten(evaluation.names[at], NAME_WIDTH),
                src,
                int(at in tiny),
            ]
            for at, src in addresses.items()
        ],
        # What is chosen when the page opens: the largest confusion.
        "first": [*most_confused(evaluation)[:1], (0, 0)][0][:2],
        "names": _names(evaluation, addresses),
    }


def _names(evaluation: Evaluation, shown: Collection[int]) -> dict[str, list[str]]:
    """Names of wrongly answered images that are not shown, by cell."""
    found: dict[str, list[str]] = defaultdict(list)
    num_named = 0
    for at in np.flatnonzero(~evaluation.is_right).tolist():
        names = found[f"{evaluation.labels[at]},{evaluation.predicted[at]}"]
        if at not in shown and len(names) < MAX_NAMES_IN_CELL and num_named < MAX_NAMES:
            names.append(shorten(evaluation.names[at], NAME_WIDTH))
            num_named += 1
    return {cell: names for cell, names in found.items() if names}


def _largest(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the cells that are not zero, only the largest where there are very many."""
    rows, columns = np.nonzero(confusion)
    if len(rows) > MAX_CELLS:
        kept = np.sort(np.argsort(-confusion[rows, columns], kind="stable")[:MAX_CELLS])
        rows, columns = rows[kept], columns[kept]
    return rows, columns
