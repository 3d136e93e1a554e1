"""Scores on images that a model has seen in its training."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from resnet_cli.evaluation.intervals import Interval
from resnet_cli.task import TASKS, TaskName


@dataclasses.dataclass(frozen=True)
class ScoresApart:
    """Scores on images that a model has seen.

    Attributes:
        num_images: Number of these images.
        score: The main score of the model's task, with its 95 % interval: top-1 or mAP.
        loss: Mean cross-entropy in nats.
        task: Whether an image has one label or any number.
    """

    num_images: int
    score: Interval
    loss: float
    task: TaskName = "single-label"

    @property
    def value(self) -> float | None:
        """The main score; None if no class has both positives and negatives, so that there is no mAP."""
        return None if math.isnan(self.score.value) else self.score.value

    @property
    def top1(self) -> Interval:
        """Top-1 of a single-label model with its 95 % interval: the same as ``score``."""
        return self.score

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        key = TASKS[self.task].score
        return {
            "num_images": self.num_images,
            key: self.value,
            f"{key}_interval": [self.score.low, self.score.high],
            "loss": self.loss,
        }
