"""Counts of predicted images, for the summary of a call."""

from __future__ import annotations

import dataclasses

from resnet_cli.prediction import Prediction


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of images.

    Attributes:
        num: All images.
        num_failed: Images that cannot be read.
        num_unknown: Images that are labeled "unknown".
        num_none: Images for which a multi-label model chose no label.
        num_unfamiliar: Images that are unlike the training images, regardless of their labels.
    """

    num: int = 0
    num_failed: int = 0
    num_unknown: int = 0
    num_none: int = 0
    num_unfamiliar: int = 0

    @classmethod
    def of(cls, prediction: Prediction) -> Counts:
        """The counts of one image."""
        is_decided = prediction.error is None and prediction.unknown is None
        return cls(
            1,
            int(prediction.error is not None),
            int(prediction.unknown is not None),
            int(is_decided and not prediction.chosen),
            int(prediction.is_unfamiliar is True),
        )

    def __add__(self, other: Counts) -> Counts:
        """The sums of two."""
        return Counts(
            self.num + other.num,
            self.num_failed + other.num_failed,
            self.num_unknown + other.num_unknown,
            self.num_none + other.num_none,
            self.num_unfamiliar + other.num_unfamiliar,
        )
