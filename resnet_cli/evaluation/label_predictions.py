"""The predictions of a multi-label model for labeled images.

A value is one class of one image: 1 yes, 0 no, -1 unknown. Unknown values count nowhere: not as positives or negatives,
not in the loss, and the classes of an image are ranked among its known ones. An image without any known value counts in
no metric.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_calibration import cross_entropies
from resnet_cli.evaluation.label_mistakes import Mistakes, worst_mistakes
from resnet_cli.evaluation.scores import Tta
from resnet_cli.model.label_reliability import LabelScaling, is_predicted
from resnet_cli.task import TaskName

if TYPE_CHECKING:
    from resnet_cli.engines.feature_rows import AnyFeatures
    from resnet_cli.evaluation.seen_images import SeenImages


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class LabelPredictions:
    """A multi-label model's predictions for n labeled images.

    Attributes:
        classes: Class names in index order.
        names: Names of the images, [n].
        targets: 1 yes, 0 no, -1 unknown, int8 [n x k].
        probs: Predicted probabilities of each class, float32 [n x k].
        thresholds: The lowest probability at which each label is predicted, float64 [k]; infinite for a label that is
            never predicted.
        tta: Test-time augmentation that the probabilities were computed with.
        novelty: How unlike the training images each image is, float32 [n]; None if the model cannot tell.
        scaling: Scale and shift of each class's logits that calibrated the model; None without calibration.
        is_unfamiliar: Whether each image is unlike the training images, bool [n]; None if the model cannot tell.
        groups: Group of each image, [n]; None without grouping.
        seen: Images of the data that the model has seen in its training; None if this was not asked.
        features: The backbone's features of the images, [n x 2048]; None if they are not known.
    """

    task: ClassVar[TaskName] = "multi-label"
    #: The calibration of a multi-label model is part of its head.
    temperature: ClassVar[float] = 1.0

    classes: tuple[str, ...]
    names: Sequence[str]
    targets: NDArray[np.int8]
    probs: NDArray[np.float32]
    thresholds: NDArray[np.float64]
    tta: Tta = "none"
    novelty: NDArray[np.float32] | None = None
    scaling: LabelScaling | None = None
    is_unfamiliar: NDArray[np.bool_] | None = None
    groups: tuple[str, ...] | None = None
    seen: SeenImages | None = None
    features: AnyFeatures | None = None

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.targets)

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each value is known, [n x k]."""
        return self.targets >= 0

    @cached_property
    def is_scored(self) -> NDArray[np.bool_]:
        """Whether each image has a known value, and so counts, [n]."""
        return np.asarray(self.is_known.any(axis=1))

    @property
    def num_scored(self) -> int:
        """Number of images that have a known value."""
        return int(self.is_scored.sum())

    @property
    def num_unknown(self) -> int:
        """Number of values that are not known."""
        return int(self.targets.size - self.is_known.sum())

    @property
    def num_negatives(self) -> int:
        """Number of images with known values that have none of the labels."""
        return int((self.is_scored & ~(self.targets == 1).any(axis=1)).sum())

    @cached_property
    def predicted(self) -> NDArray[np.bool_]:
        """Whether each label is predicted: its probability reaches the threshold of its class, [n x k]."""
        return is_predicted(self.probs, self.thresholds.tolist())

    @cached_property
    def is_wrong(self) -> NDArray[np.bool_]:
        """Whether each value is known and predicted wrong, [n x k]."""
        return np.asarray(self.is_known & (self.predicted != (self.targets == 1)))

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether all known values of each image are predicted correctly, [n]; False without known values."""
        return np.asarray(self.is_scored & ~self.is_wrong.any(axis=1))

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Mean binary cross-entropy of each image's known values in nats, [n]; 0 without known values."""
        sums = cross_entropies(self.probs, self.targets)
        return np.asarray(sums / np.maximum(self.is_known.sum(axis=1), 1))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """How sure the least certain decision for each image is, [n]: the smallest probability of being right."""
        certainty = np.where(self.predicted, self.probs, 1 - self.probs).astype(np.float64)
        return np.asarray(np.where(self.is_known, certainty, 1.0).min(axis=1))

    @property
    def mean_labels(self) -> tuple[float, float]:
        """Number of labels per image among the known values: true and predicted."""
        true, predicted = (self.targets == 1).sum(), (self.is_known & self.predicted).sum()
        return float(true / self.num_scored), float(predicted / self.num_scored)

    def worst_mistakes(self, label: int, limit: int = 5) -> Mistakes:
        """The images of the worst mistakes of a class, at most ``limit`` missed ones and as many false alarms."""
        return worst_mistakes(self.probs, self.targets, self.predicted, label, limit=limit)

    def labels_of(self, image: int) -> tuple[str, ...]:
        """Names of the labels of an image, in index order."""
        return tuple(self.classes[label] for label in np.flatnonzero(self.targets[image] == 1))

    def predicted_of(self, image: int) -> tuple[str, ...]:
        """Names of the labels predicted for an image, the most probable first."""
        chosen = np.flatnonzero(self.predicted[image])
        order = np.argsort(-self.probs[image, chosen], kind="stable")
        return tuple(self.classes[label] for label in chosen[order])

    @property
    def unfamiliar_interval(self) -> Interval | None:
        """The share of images that are unlike the training images; None if the model cannot tell."""
        return None if self.is_unfamiliar is None else wilson(int(self.is_unfamiliar.sum()), self.num_images)
