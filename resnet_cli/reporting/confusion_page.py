"""The confusion matrix for a page: as shades if there are many classes, and the data of its cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.thumbnails import Thumbnail
from resnet_cli.text import shorten

#: Shades per color; each is one path of the drawing.
NUM_SHADES = 6
#: Lowest opacity; a fainter small square would not be visible.
_FAINTEST = 0.25
#: Cells of a drawn matrix and of its data; of more cells, those with the largest counts are used.
MAX_CELLS = 20_000
#: Side of the smallest visible square, as a share of the matrix.
_LEAST_SIDE = 1 / 160
MAX_PAIRS = 10
#: Misclassified images without a thumbnail that are named, per cell and in all.
MAX_NAMES_IN_CELL, MAX_NAMES = 20, 2_000
NAME_WIDTH, CLASS_WIDTH = 60, 48
#: The beginning of every thumbnail's address; the page's script adds it again.
_PREFIX = "data:image/jpeg;base64,"


class Shade(NamedTuple):
    """The cells of a drawn matrix that have the same shade.

    Attributes:
        is_right: Whether they are on the diagonal.
        strength: Opacity in (0, 1].
        path: SVG path, in cells from the upper left corner.
    """

    is_right: bool
    strength: float
    path: str


class Pair(NamedTuple):
    """A confused pair: ``num`` images of class ``true``, a ``share`` of that class, are predicted as ``predicted``."""

    true: int
    predicted: int
    num: int
    share: float


def shades(confusion: NDArray[np.int64], totals: NDArray[np.int64] | None = None) -> list[Shade]:
    """The matrix as paths; strength is the square root of a count's share of its row; the diagonal comes last.

    Args:
        confusion: Counts [k x k].
        totals: What the counts of each row are shares of, [k]; None for the sums of the rows.
    """
    num_classes = len(confusion)
    rows, columns = _largest(confusion)
    sums = confusion.sum(axis=1) if totals is None else totals
    shares = confusion[rows, columns] / np.maximum(sums, 1)[rows]
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
    evaluation: Evaluation,
    in_galleries: Collection[int],
    in_cells: Sequence[int],
    images: Sequence[Thumbnail],
    *,
    link: Callable[[int], str] = lambda _: "",
) -> dict[str, Any]:
    """The data for the page's script: counts of cells, and their images.

    Args:
        evaluation: The evaluation.
        in_galleries: Positions of images that are already in the page.
        in_cells: Positions of further images.
        images: Thumbnails of the further images.
        link: Takes a position and returns the address of the image's file; empty if it has none.
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
        # Position, true class, predicted class, its probability, the file's name, the image, whether to smooth it,
        # the address of the file.
        "images": [
            [
                at,
                int(evaluation.labels[at]),
                int(evaluation.predicted[at]),
                round(float(evaluation.confidence[at]), 4),
                shorten(evaluation.names[at], NAME_WIDTH),
                src,
                int(at in tiny),
                link(at),
            ]
            for at, src in addresses.items()
        ],
        # The cell that is selected when the page opens: the largest confusion.
        "first": [*most_confused(evaluation)[:1], (0, 0)][0][:2],
        "names": _names(evaluation, addresses),
    }


def _names(evaluation: Evaluation, shown: Collection[int]) -> dict[str, list[str]]:
    """Names of misclassified images that are not shown, by cell."""
    found: dict[str, list[str]] = defaultdict(list)
    num_named = 0
    for at in np.flatnonzero(~evaluation.is_right).tolist():
        names = found[f"{evaluation.labels[at]},{evaluation.predicted[at]}"]
        if at not in shown and len(names) < MAX_NAMES_IN_CELL and num_named < MAX_NAMES:
            names.append(shorten(evaluation.names[at], NAME_WIDTH))
            num_named += 1
    return {cell: names for cell, names in found.items() if names}


def _largest(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the nonzero cells; of very many cells only the largest."""
    rows, columns = np.nonzero(confusion)
    if len(rows) > MAX_CELLS:
        kept = np.sort(np.argsort(-confusion[rows, columns], kind="stable")[:MAX_CELLS])
        rows, columns = rows[kept], columns[kept]
    return rows, columns
