"""Probabilities from features in numpy, for models that are read without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.task import TASKS, TaskName


def array_probs(
    head: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    features: NDArray[np.floating[Any]],
    temperature: float,
    *,
    task: TaskName,
) -> NDArray[np.float32]:
    """The same as :func:`resnet_cli.heads.probabilities.head_probs`, up to the last digits.

    Args:
        head: Weight [n x m] and bias [n] of each linear layer; a ReLU is between two layers.
        features: Features [b x 2048] of any float type.
        temperature: Divisor of the logits.
        task: Whether the probabilities of an image sum to 1, or each class has a probability of its own.

    Returns:
        Probabilities, float32 [b x k].
    """
    rows = np.asarray(features, dtype=np.float32)
    for number, (weight, bias) in enumerate(head):
        rows = (np.maximum(rows, 0) if number else rows) @ weight.T + bias
    return TASKS[task].probs(rows / np.float32(temperature))
