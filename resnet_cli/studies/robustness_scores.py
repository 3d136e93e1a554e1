"""Top-1 or mAP under each kind and strength of corruption, and what is lost against the images without corruption."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.errors import DataError
from resnet_cli.evaluation.intervals import Interval, around, wilson
from resnet_cli.evaluation.label_intervals import difference, interval, sample_ranking
from resnet_cli.evaluation.label_resampling import Sampled
from resnet_cli.studies.corruptions import KINDS, NUM_STRENGTHS
from resnet_cli.task import TASKS, YES, TaskName

#: Versions of each image: without corruption, then each strength of each kind.
NUM_VARIANTS = 1 + NUM_STRENGTHS * len(KINDS)
#: Bootstrap samples for the interval of a drop.
NUM_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Cell:
    """The score at one strength of a corruption.

    Attributes:
        strength: The strength, in the unit of its kind.
        score: Top-1 accuracy, or mAP, with its 95 % interval.
        drop: Loss against the same images without corruption.
    """

    strength: float
    score: Interval
    drop: Interval

    @property
    def top1(self) -> Interval:
        """The score of a single-label model."""
        return self.score


@dataclasses.dataclass(frozen=True)
class KindResult:
    """The score under one kind of corruption.

    Attributes:
        name: Name of the kind.
        unit: Unit of its strengths.
        cells: The score at each strength, from weak to strong.
        mean_score: Mean score over the strengths.
        drop: Loss of the mean against the same images without corruption.
    """

    name: str
    unit: str
    cells: tuple[Cell, ...]
    mean_score: float
    drop: Interval

    @property
    def mean_top1(self) -> float:
        """The mean score of a single-label model."""
        return self.mean_score


@dataclasses.dataclass(frozen=True)
class Robustness:
    """The score on corrupted images.

    Attributes:
        clean: Top-1, or mAP, on the same images without corruption.
        kinds: The score under each kind of corruption.
        num_images: Number of images used.
        num_available: Number of images available.
        task: Whether an image has one label, and the score is top-1, or any number, and the score is mAP.
    """

    clean: Interval
    kinds: tuple[KindResult, ...]
    num_images: int
    num_available: int
    task: TaskName = "single-label"

    @property
    def score_name(self) -> str:
        """``top-1`` or ``mAP``."""
        return TASKS[self.task].score_name

    @property
    def mean_score(self) -> float:
        """Mean score over all kinds and strengths."""
        return float(np.mean([kind.mean_score for kind in self.kinds]))

    @property
    def conclusion(self) -> str:
        """A sentence on the kind that costs the most accuracy."""
        worst = min(self.kinds, key=lambda kind: kind.mean_score)
        weakest = f"{100 * worst.cells[0].drop.value:.1f} at the weakest strength"
        return f"Most sensitive to {worst.name}: {100 * worst.drop.value:.1f} points lost on average, {weakest}."

    @property
    def mean_top1(self) -> float:
        """The mean score of a single-label model."""
        return self.mean_score

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        name = TASKS[self.task].score
        return {
            "num_images": self.num_images,
            "num_available": self.num_available,
            name: self.clean._asdict(),
            f"mean_{name}": self.mean_score,
            "kinds": [
                {
                    "name": kind.name,
                    "unit": kind.unit,
                    f"mean_{name}": kind.mean_score,
                    "strengths": [
                        {"strength": cell.strength, name: cell.score._asdict(), "drop": cell.drop._asdict()}
                        for cell in kind.cells
                    ],
                }
                for kind in self.kinds
            ],
        }


class Results(abc.ABC):
    """What a model predicts for the images and their corrupted copies.

    Args:
        num_images: Number of images, n.
    """

    @abc.abstractmethod
    def __init__(self, num_images: int) -> None: ...

    @abc.abstractmethod
    def add(self, probs: Tensor, targets: NDArray[Any]) -> None:
        """Adds the next images.

        Args:
            probs: Their probabilities, [b x NUM_VARIANTS x k]; the first variant is not corrupted.
            targets: Their labels, int64 [b] or int8 [b x k].
        """

    @abc.abstractmethod
    def summarize(self, num_available: int) -> Robustness:
        """Computes the scores, after all images.

        Args:
            num_available: Number of images available.
        """


class Top1Results(Results):
    """Which predictions are correct."""

    def __init__(self, num_images: int) -> None:
        self._is_right = np.empty((num_images, NUM_VARIANTS), dtype=bool)
        self._num_done = 0

    def add(self, probs: Tensor, targets: NDArray[Any]) -> None:
        """Compares the most probable classes with the labels."""
        end = self._num_done + len(probs)
        self._is_right[self._num_done : end] = probs.argmax(dim=2).numpy() == targets[:, None]
        self._num_done = end

    def summarize(self, num_available: int) -> Robustness:
        """Top-1 and its drops."""
        return summarize(self._is_right, num_available)


class MapResults(Results):
    """The probabilities of all labels."""

    def __init__(self, num_images: int) -> None:
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.int8]]] = []

    def add(self, probs: Tensor, targets: NDArray[Any]) -> None:
        """Keeps the probabilities."""
        self._parts.append((probs.numpy(), targets))

    def summarize(self, num_available: int) -> Robustness:
        """Macro mAP and its drops, by the paired bootstrap.

        Raises:
            DataError: No class has both images with the label and images without it, so that there is no mAP.
        """
        probs, targets = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        supports = (targets == YES).sum(axis=0).tolist()
        found = [sample_ranking(probs[:, variant], targets, with_micro=False)["map"] for variant in range(NUM_VARIANTS)]
        if np.isnan(found[0].value):
            raise DataError(
                f"mAP is not defined on {len(probs):,} images: no class has both images with it and without it",
                hint="name other images, or more with --max-images",
            )
        clean, corrupted = found[0], found[1:]
        groups = [corrupted[at : at + NUM_STRENGTHS] for at in range(0, len(corrupted), NUM_STRENGTHS)]
        means = [Sampled(*(np.mean(parts, axis=0) for parts in zip(*group, strict=True))) for group in groups]
        drops = [interval(difference(one, clean), supports, least=-1.0) for one in (*corrupted, *means)]
        scores = [interval(one, supports) for one in (clean, *corrupted)]
        return _by_kind(
            cast(list[Interval], scores),
            cast(list[Interval], drops),
            [float(mean.value) for mean in means],
            num_images=len(probs),
            num_available=num_available,
            task="multi-label",
        )


#: Task -> how predictions for corrupted images are scored.
RESULTS: Mapping[TaskName, Callable[[int], Results]] = {"single-label": Top1Results, "multi-label": MapResults}


def summarize(is_right: NDArray[np.bool_], num_available: int) -> Robustness:
    """Computes the accuracies.

    Args:
        is_right: Whether each prediction is correct, [n x 1 + 5 * kinds]; the first column is without corruption, then
            come the strengths of each kind.
        num_available: Number of images available.
    """
    num_images = len(is_right)
    top1 = [wilson(int(count), num_images) for count in is_right.sum(axis=0)]
    by_kind = is_right[:, 1:].reshape(num_images, len(KINDS), NUM_STRENGTHS).mean(axis=2)
    drops = _drops(is_right[:, 0].astype(np.float64), np.concatenate([is_right[:, 1:], by_kind], axis=1))
    means = [float(by_kind[:, row].mean()) for row in range(len(KINDS))]
    return _by_kind(top1, drops, means, num_images=num_images, num_available=num_available, task="single-label")


def _by_kind(
    scores: Sequence[Interval],
    drops: Sequence[Interval],
    means: Sequence[float],
    *,
    num_images: int,
    num_available: int,
    task: TaskName,
) -> Robustness:
    """Sorts the results by kind: the score without corruption and of each strength, the drops of these and of kinds."""
    kinds = []
    for row, kind in enumerate(KINDS):
        first = row * NUM_STRENGTHS
        cells = (Cell(x, scores[1 + first + at], drops[first + at]) for at, x in enumerate(kind.strengths))
        drop = drops[len(KINDS) * NUM_STRENGTHS + row]
        kinds.append(KindResult(kind.name, kind.unit, tuple(cells), means[row], drop))
    return Robustness(scores[0], tuple(kinds), num_images, num_available, task)


def _drops(clean: NDArray[np.float64], corrupted: NDArray[np.float64]) -> list[Interval]:
    """Loss in accuracy of each column [n x c] against ``clean`` [n], with paired bootstrap intervals."""
    lost = clean[:, None] - corrupted
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(lost), np.full(len(lost), 1 / len(lost)), size=NUM_RESAMPLES)
    low, high = np.quantile(counts @ lost / len(lost), (0.025, 0.975), axis=0)
    return [around(*row, least=-1.0) for row in zip(lost.mean(axis=0), low, high, strict=True)]
