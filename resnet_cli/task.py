"""The two kinds of classification: one label per image, or any number of labels. No torch.

A task says what labels become as numbers and what logits become as probabilities. What needs torch or metrics is chosen
by the task's name in the rooms above: the objective of a head, the scores of an evaluation, the sections of a report.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatT = TypeVar("FloatT", bound=np.floating[Any])
TaskName: TypeAlias = Literal["single-label", "multi-label"]
ScoreKey: TypeAlias = Literal["top1", "map"]
#: Values of a target in multi-label classification: the image has the label, does not have it, or nobody knows.
YES, NO, UNKNOWN = 1, 0, -1


class Task(abc.ABC):
    """A kind of classification.

    Attributes:
        name: Its name in files.
        score: The main score in [0, 1], by its name in files.
        score_name: The same in text.
        min_classes: Fewest classes that there can be something to learn about.
    """

    name: ClassVar[TaskName]
    score: ClassVar[ScoreKey]
    score_name: ClassVar[str]
    min_classes: ClassVar[int]

    @abc.abstractmethod
    def encode(
        self, labels: Sequence[Sequence[int]], unknown: Sequence[Sequence[int]], num_classes: int
    ) -> NDArray[np.integer[Any]]:
        """The targets of n images, the form in which training and metrics take labels.

        Args:
            labels: Indices of the classes of each image.
            unknown: Indices of the classes of which nobody knows whether the image belongs to them.
            num_classes: Number of classes, k.
        """

    @abc.abstractmethod
    def probs(self, logits: NDArray[FloatT]) -> NDArray[FloatT]:
        """Logits [n x k] -> probabilities [n x k]."""


class SingleLabel(Task):
    """Every image belongs to exactly one class; targets are int64 [n], and the probabilities of an image sum to 1."""

    name = "single-label"
    score = "top1"
    score_name = "top-1"
    min_classes = 2

    def encode(
        self, labels: Sequence[Sequence[int]], unknown: Sequence[Sequence[int]], num_classes: int
    ) -> NDArray[np.int64]:
        """The only label of each image, int64 [n].

        Raises:
            ValueError: An image does not have exactly one label.
        """
        return np.array([label for (label,) in labels], dtype=np.int64)

    def probs(self, logits: NDArray[FloatT]) -> NDArray[FloatT]:
        """Softmax over the classes."""
        return softmax(logits)


class MultiLabel(Task):
    """An image has any number of labels; targets are int8 [n x k], and each class has a probability of its own."""

    name = "multi-label"
    score = "map"
    score_name = "mAP"
    min_classes = 1

    def encode(
        self, labels: Sequence[Sequence[int]], unknown: Sequence[Sequence[int]], num_classes: int
    ) -> NDArray[np.int8]:
        """A row per image and a column per class, int8 [n x k] of ``YES``, ``NO`` and ``UNKNOWN``."""
        targets = np.full((len(labels), num_classes), NO, dtype=np.int8)
        for value, sets in ((UNKNOWN, unknown), (YES, labels)):
            rows = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
            targets[rows, np.array([index for one in sets for index in one], dtype=np.int64)] = value
        return targets

    def probs(self, logits: NDArray[FloatT]) -> NDArray[FloatT]:
        """The logistic function of each logit."""
        # exp of a non-positive number does not overflow.
        decay = np.exp(-np.abs(logits))
        shares: NDArray[FloatT] = np.where(logits >= 0, 1, decay) / (1 + decay)
        return shares


TASKS: Mapping[TaskName, Task] = {task.name: task for task in (SingleLabel(), MultiLabel())}


def softmax(logits: NDArray[FloatT]) -> NDArray[FloatT]:
    """Logits [n x k] -> probabilities [n x k] whose rows sum to 1."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[FloatT] = odds / odds.sum(axis=1, keepdims=True)
    return shares
