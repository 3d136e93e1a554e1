"""Cells of a file of predictions with several labels per image, and about the model that predicted them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.errors import DataError
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.model.thresholds import DEFAULT_THRESHOLD
from resnet_cli.text import split_labels


def label_names(cell: Any) -> tuple[str, ...]:
    """The labels that a cell names: text as :func:`~resnet_cli.text.join_labels` writes it, or a list.

    Raises:
        ValueError: It is neither.
    """
    if cell is None:
        return ()
    if isinstance(cell, str):
        return split_labels(cell)
    if isinstance(cell, Sequence) and all(isinstance(name, str) for name in cell):
        return tuple(cell)
    raise ValueError(f"{str(cell)[:60]!r} is not a list of labels")


def read_calibration(
    path: Path, columns: Mapping[str, Sequence[Any]], num_classes: int
) -> tuple[tuple[float, ...], LabelScaling | None]:
    """Thresholds and scaling of the model, which the first row of a file holds; 50 % and None without them.

    Args:
        path: The file, for messages.
        columns: The cells of ``thresholds`` and ``scaling``.
        num_classes: Number of classes, k.

    Raises:
        DataError: They are not k numbers in their range.
    """
    thresholds = _numbers(path, "thresholds", columns["thresholds"], num_classes, least=0.0, most=1.0)
    scaling = _numbers(path, "scaling", columns["scaling"], 2 * num_classes, least=-1e6, most=1e6)
    if scaling and min(scaling[:num_classes]) <= 0:
        raise DataError(f"{path}: 'scaling' must begin with one factor above 0 for each class")
    return (
        thresholds or (DEFAULT_THRESHOLD,) * num_classes,
        LabelScaling(scaling[:num_classes], scaling[num_classes:]) if scaling else None,
    )


def _numbers(path: Path, name: str, cells: Sequence[Any], num: int, *, least: float, most: float) -> tuple[float, ...]:
    """The list in the only row that has one; empty without any."""
    found = [cell for cell in cells if cell not in (None, "")]
    if not found:
        return ()
    try:
        values = json.loads(found[0]) if isinstance(found[0], str) else found[0]
        numbers = tuple(float(value) for value in values)
    except (ValueError, TypeError, RecursionError):
        numbers = ()
    is_sound = len(numbers) == num and all(math.isfinite(value) and least <= value <= most for value in numbers)
    if not is_sound or any(cell != found[0] for cell in found[1:]):
        raise DataError(
            f"{path}: '{name}' must be one list of {num} numbers from {least:g} to {most:g} for all images",
            hint="write it again with --save-predictions",
        )
    return numbers
