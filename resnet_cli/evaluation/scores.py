"""How good a model is on labelled pictures. Metrics are scikit-learn's; probabilities are the model's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Test-time augmentation: ``flip`` takes the mean of the probabilities of a picture and of its mirror image.
Tta: TypeAlias = Literal["none", "flip"]

#: Top-5 says nothing where there are fewer classes.
MIN_CLASSES_TOP5 = 5


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """One class's figures, or an average over classes; all fractions in [0, 1].

    Attributes:
        support: Pictures that truly are of the class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's answers on n labelled pictures, and what they add up to.

    Attributes:
        classes: In index order.
        names: The pictures, [n].
        labels: True class indices, int64 [n].
        probs: float32 [n x k].
        loss: Mean of -ln(probability of the true class), nats.
        top1: Share whose most probable class is right.
        top5: Share whose true class is among the five most probable; None below five classes.
        per_class: In index order.
        macro: Mean over the classes that occur.
        weighted: Mean weighted by support.
        confusion: int64 [k x k], rows true, columns predicted.
        tta: How the probabilities were made.
        novelty: How unlike the training pictures each picture is, float32 [n]; None if the model remembers none.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]
    loss: float
    top1: float
    top5: float | None
    per_class: tuple[ClassScores, ...]
    macro: ClassScores
    weighted: ClassScores
    confusion: NDArray[np.int64]
    tta: Tta = "none"
    novelty: NDArray[np.float32] | None = None

    @property
    def num_images(self) -> int:
        """How many pictures were answered."""
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Figures as plain JSON values (without the answers to each picture)."""
        return {
            "num_images": self.num_images,
            "tta": self.tta,
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "macro": dataclasses.asdict(self.macro),
            "weighted": dataclasses.asdict(self.weighted),
            "per_class": {
                name: dataclasses.asdict(scores) for name, scores in zip(self.classes, self.per_class, strict=True)
            },
            "confusion": self.confusion.tolist(),
        }


def score(
    probs: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], names: Sequence[str]
) -> Evaluation:
    """Scores probabilities against labels.

    Args:
        probs: [n x k], rows adding up to 1; n at least 1.
        labels: [n] in [0, k).
        classes: k names.
        names: n names of pictures.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    num_classes = len(classes)
    predicted = probs.argmax(axis=1)
    every = np.arange(num_classes)
    table = np.stack(precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0))
    support = table[3]
    occurs = support > 0
    true_probs = probs[np.arange(len(labels)), labels]
    top5 = None
    if num_classes >= MIN_CLASSES_TOP5:
        # Rank by how many classes are more probable: exact, also with ties.
        top5 = float(np.mean((probs > true_probs[:, None]).sum(axis=1) < 5))
    return Evaluation(
        classes=tuple(classes),
        names=tuple(names),
        labels=labels,
        probs=probs,
        loss=float(-np.log(np.maximum(true_probs, np.finfo(np.float32).tiny)).mean()),
        top1=float(np.mean(predicted == labels)),
        top5=top5,
        per_class=tuple(ClassScores(float(p), float(r), float(f), int(n)) for p, r, f, n in table.T),
        macro=_average(table[:3, occurs], np.ones(occurs.sum()), len(labels)),
        weighted=_average(table[:3, occurs], support[occurs], len(labels)),
        confusion=confusion_matrix(labels, predicted, labels=every).astype(np.int64),
    )


def _average(table: NDArray[np.float64], weights: NDArray[np.float64], num_images: int) -> ClassScores:
    precision, recall, f1 = np.average(table, axis=1, weights=weights)
    return ClassScores(float(precision), float(recall), float(f1), num_images)
