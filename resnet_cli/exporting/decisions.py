"""What counts as the same prediction of model and file, and as a loss of accuracy, by task."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.evaluation.label_class_scores import average_scores, count_labels
from resnet_cli.evaluation.scoring import score_labels
from resnet_cli.heads.average_precision import mean_average_precision
from resnet_cli.model.label_reliability import is_predicted
from resnet_cli.model.thresholds import best_f1_thresholds, match_thresholds
from resnet_cli.task import TaskName
from resnet_cli.text import counted

#: Probabilities that are closer than this, to each other or to a threshold, may be decided either way.
TIE = 1e-4
#: Number of positives from which on a file's own threshold is fitted.
MIN_POSITIVES = 10

Probs = NDArray[np.float32]
#: A prediction in words, and the probability of it.
Described = tuple[str, float]


def points(share: float) -> str:
    """A difference of shares in words, such as ``1 point``."""
    return f"{100 * share:.3g} {'point' if math.isclose(share, 0.01) else 'points'}"


class Decisions(abc.ABC):
    """The predictions that follow from probabilities.

    Args:
        classes: Class names in index order.
        thresholds: The least probability at which the model predicts each class; multi-label only.
        file_thresholds: The same for the file; None if they are those of the model.

    Attributes:
        score: Name of the score in words.
        key: Its name in JSON.
        same: What two equal predictions have in common, in words.
    """

    score: ClassVar[str]
    key: ClassVar[str]
    same: ClassVar[str]

    def __init__(
        self, classes: Sequence[str], thresholds: Sequence[float], file_thresholds: Sequence[float] | None = None
    ) -> None:
        self.classes, self.thresholds = tuple(classes), tuple(thresholds)
        self.file_thresholds = self.thresholds if file_thresholds is None else tuple(file_thresholds)

    @abc.abstractmethod
    def are_same(self, expected: Probs, found: Probs) -> NDArray[np.bool_]:
        """Whether each image gets the same prediction, bool [n], or one that the model finds as probable."""

    @abc.abstractmethod
    def rate(self, probs: Probs, targets: NDArray[np.integer]) -> Interval:
        """The score with its 95 % interval; NaN where it is not defined."""

    @abc.abstractmethod
    def drops(self, expected: Probs, found: Probs, targets: NDArray[np.integer]) -> dict[str, float]:
        """What the file loses: the name of a score in words -> the difference; negative where it gains."""

    def allowed_drop(self, max_drop: float, num_images: int) -> float:
        """The most that a score may fall, if ``max_drop`` is the limit and ``num_images`` were measured."""
        return max_drop

    def exceeded(self, drops: Mapping[str, float], max_drop: float, num_images: int) -> list[str]:
        """A clause for each score that falls by more than it may."""
        allowed = self.allowed_drop(max_drop, num_images)
        limit = points(allowed)
        if allowed > max_drop:
            limit += ", one image"
        return [
            f"{name} falls by {100 * drop:.2f} points on {counted(num_images, 'image')}; the limit is {limit}"
            for name, drop in drops.items()
            # A difference of two floats: one image of a hundred is exactly a point.
            if drop > allowed + 1e-9
        ]

    @abc.abstractmethod
    def describe(self, expected: Probs, found: Probs) -> tuple[Described, Described]:
        """The predictions of model and file for one image, whose probabilities are [k] each."""

    def differences(self, expected: Probs, found: Probs) -> Iterator[tuple[int, Described, Described]]:
        """The images with different predictions, those of which the model is most confident first."""
        rows = np.flatnonzero(~self.are_same(expected, found))
        described = [(int(row), *self.describe(expected[row], found[row])) for row in rows]
        return iter(sorted(described, key=lambda one: -one[1][1]))


class SingleLabelDecisions(Decisions):
    """The most probable class, and top-1."""

    score, key, same = "accuracy", "accuracy", "same class"

    def are_same(self, expected: Probs, found: Probs) -> NDArray[np.bool_]:
        """Whether each image gets the same class, or one that is as probable according to the model."""
        best = expected.max(axis=1)
        chosen = expected[np.arange(len(expected)), found.argmax(axis=1)]
        same: NDArray[np.bool_] = best - chosen < TIE
        return same

    def rate(self, probs: Probs, targets: NDArray[np.integer]) -> Interval:
        """Share of images whose most probable class is right."""
        return wilson(int((probs.argmax(axis=1) == targets).sum()), len(targets))

    def drops(self, expected: Probs, found: Probs, targets: NDArray[np.integer]) -> dict[str, float]:
        """That of the accuracy."""
        return {self.score: self.rate(expected, targets).value - self.rate(found, targets).value}

    def allowed_drop(self, max_drop: float, num_images: int) -> float:
        """At least one image, unless nothing may be lost.

        On few images, one of them is more than ``max_drop``, and it may be one between two classes: that says nothing
        about the accuracy on others.
        """
        return max(max_drop, 1 / num_images) if max_drop > 0 else 0.0

    def describe(self, expected: Probs, found: Probs) -> tuple[Described, Described]:
        """Both classes, each with its own probability."""
        old, new = expected.argmax(), found.argmax()
        return (self.classes[old], float(expected[old])), (self.classes[new], float(found[new]))


class MultiLabelDecisions(Decisions):
    """The classes at or above their thresholds, macro mAP, and the F1 score of these labels.

    mAP alone would not notice a file that ranks as the model does, but with other probabilities.
    """

    score, key, same = "mAP", "map", "same labels"

    def are_same(self, expected: Probs, found: Probs) -> NDArray[np.bool_]:
        """Whether each image gets the same labels, apart from classes that are at their threshold."""
        cuts = np.array(self.thresholds, dtype=np.float32)
        differs = is_predicted(expected, self.thresholds) != is_predicted(found, self.file_thresholds)
        same: NDArray[np.bool_] = ~(differs & (np.abs(expected - cuts) >= TIE)).any(axis=1)
        return same

    def rate(self, probs: Probs, targets: NDArray[np.integer]) -> Interval:
        """Macro mAP."""
        names = [str(row) for row in range(len(probs))]
        return score_labels(probs, targets.astype(np.int8), self.classes, names, thresholds=self.thresholds).main[1]

    def drops(self, expected: Probs, found: Probs, targets: NDArray[np.integer]) -> dict[str, float]:
        """Those of macro mAP and of the F1 score of all labels together."""

        def scores(probs: Probs, thresholds: Sequence[float]) -> dict[str, float]:
            counts = count_labels(targets.astype(np.int8), is_predicted(probs, thresholds))
            return {
                "mAP": mean_average_precision(probs, targets.astype(np.int8)),
                "micro F1": average_scores(counts)["micro"].f1,
            }

        before, after = scores(expected, self.thresholds), scores(found, self.file_thresholds)
        # Without a class that has both yes and no there is no mAP.
        return {name: drop for name in before if not math.isnan(drop := before[name] - after[name])}

    def describe(self, expected: Probs, found: Probs) -> tuple[Described, Described]:
        """Both sets of labels, each with the probability of the class for which they differ most."""
        differs = is_predicted(expected, self.thresholds) != is_predicted(found, self.file_thresholds)
        at = int(np.abs(np.where(differs, expected - np.array(self.thresholds), 0)).argmax())
        old, new = self._named(expected, self.thresholds), self._named(found, self.file_thresholds)
        return (old, float(expected[at])), (new, float(found[at]))

    def _named(self, probs: Probs, thresholds: Sequence[float]) -> str:
        chosen = is_predicted(probs, thresholds)
        return "; ".join(name for name, is_chosen in zip(self.classes, chosen, strict=True) if is_chosen) or "none"


def fit_thresholds(
    expected: Probs, found: Probs, targets: NDArray[np.integer], thresholds: Sequence[float]
) -> tuple[float, ...]:
    """The thresholds of a multi-label file in another precision, from its own probabilities of validation images.

    They have the best F1 score, as those of the model have for its own probabilities: otherwise the file would be
    compared with a score that was chosen on these very images. On mosaics of CIFAR-10 (600 images each), an int8 file
    seemed to lose 1.7 points of F1 in validation, and lost 0.2 on the test split. A class with few positives gets the
    threshold at which it is predicted for as many images as by the model.

    Args:
        expected: The model's probabilities [n x k].
        found: The file's probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k].
        thresholds: Those of the model, [k].
    """
    fitted = best_f1_thresholds(found, targets.astype(np.int8))
    matched = match_thresholds(expected, found, thresholds)
    return tuple(
        one.threshold if one.threshold is not None and one.num_positives >= MIN_POSITIVES else other
        for one, other in zip(fitted, matched, strict=True)
    )


DECISIONS: Mapping[TaskName, type[Decisions]] = {
    "single-label": SingleLabelDecisions,
    "multi-label": MultiLabelDecisions,
}
