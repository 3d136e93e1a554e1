"""Forecasts the gain from more images: heads trained on nested subsets, and a power law fitted to their errors.

Features are computed once, so training a head takes seconds. The law ``a + b * n ** -c`` is fitted to the error on
held-out images and extrapolated.

Checked on CIFAR-10 (25 to 450 images per class at 128 px, the weights of docs/benchmarks.md, 2,000 test images;
benchmarks/learning_curve.py), 16 of 18 intervals for twice the images contain the measured gain. The forecast is off by
0.8 points on average, and 0.3 points too high in the mean. With few images it is too optimistic: by 2.4 points from 25
to 125 images per class. The past gain of a class does not predict its future gain (correlation -0.1), so there is no
forecast per class.

Sources: the law: Cortes et al. 1993, "Learning curves: asymptotic values and rate of convergence"; Hestness et al.
2017, https://arxiv.org/abs/1712.00409. Its limits: Viering and Loog 2022, https://arxiv.org/abs/2103.10948.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_cli.data.stratification import proportional_places
from resnet_cli.errors import DataError
from resnet_cli.evaluation.intervals import Interval, around
from resnet_cli.heads import logistic
from resnet_cli.heads.logistic import Rows
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.studies.power_law import Errors, PowerLaw, fit_power_law
from resnet_cli.system.events import Progress

#: Number of subset sizes, in equal ratios from the smallest to all images; each is about twice the one before.
NUM_SIZES = 6
#: The smallest subset is this share of all images, but has at least this many images per class.
SMALLEST_SHARE = 1 / 32
MIN_PER_CLASS = 2
#: Least ratio of all images to the smallest subset; with less there is no curve.
MIN_RANGE = 4
#: Random subsets of each size; all images are used once.
NUM_DRAWS = 5
#: Most images in the largest subset: with more, a curve takes hours and its end is flat.
MAX_IMAGES = 20_000
#: Additional images per class in the second forecast.
MORE_PER_CLASS = 100
TWICE = "twice the images"
#: Bootstrap samples of the evaluated images and of the subsets.
NUM_RESAMPLES = 1000
#: A forecast for more than this many times the images is a guess. Source: benchmarks/learning_curve.py.
MAX_REACH = 4.0


@dataclasses.dataclass(frozen=True)
class Step:
    """The heads trained on subsets of one size.

    Attributes:
        num_images: Number of images in each subset.
        error: Mean error rate, with the lowest and the highest of the heads.
        l2: L2 penalty that the validation split selected.
        num_draws: Number of subsets of this size.
    """

    num_images: int
    error: Interval
    l2: float
    num_draws: int


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Expected accuracy with more images of the same kind.

    Attributes:
        name: ``TWICE``, or the number of additional images, in words.
        num_images: Number of images in total.
        top1: Expected top-1 accuracy.
        gain: Expected gain in top-1 over the largest subset.
        is_guess: Whether it extrapolates further than such forecasts are reliable.
    """

    name: str
    num_images: int
    top1: Interval
    gain: Interval
    is_guess: bool


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """How the error falls with the number of training images, and forecasts for more.

    Attributes:
        steps: Results for each subset size, from few images to all.
        law: The power law fitted to them.
        forecasts: Forecasts for more images.
        num_evaluated: Number of images that every head was evaluated on.
        num_train: Number of images in the train split; the largest subset may have fewer.
    """

    steps: tuple[Step, ...]
    law: PowerLaw
    forecasts: tuple[Forecast, ...]
    num_evaluated: int
    num_train: int

    @property
    def top1(self) -> float:
        """Top-1 with the largest subset."""
        return 1 - self.steps[-1].error.value

    @property
    def twice(self) -> Forecast:
        """The forecast for twice the images."""
        return next(found for found in self.forecasts if found.name == TWICE)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "num_train": self.num_train,
            "num_judged": self.num_evaluated,
            "steps": [
                {
                    "num_images": step.num_images,
                    "top1": 1 - step.error.value,
                    "top1_least": 1 - step.error.high,
                    "top1_most": 1 - step.error.low,
                    "l2": step.l2,
                    "num_draws": step.num_draws,
                }
                for step in self.steps
            ],
            "law": self.law._asdict(),
            "forecasts": [
                {
                    "name": found.name,
                    "num_images": found.num_images,
                    "top1": found.top1._asdict(),
                    "gain": found.gain._asdict(),
                    "is_guess": found.is_guess,
                }
                for found in self.forecasts
            ],
        }


def learning_curve(
    train: Rows,
    val: Rows,
    test: Rows,
    num_classes: int,
    *,
    groups: Sequence[str] = (),
    device: str = "cpu",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> LearningCurve:
    """Trains heads on nested subsets of the train split and forecasts the gain from more images.

    Args:
        train: Features [n x 2048] of any float dtype, labels int64 [n].
        val: Features and labels of the validation split, which selects the penalty of each size.
        test: Features and labels to evaluate on: the test split, or else the validation split again.
        num_classes: Number of outputs of a head.
        groups: Group of each train image; groups are kept whole as far as possible. Empty: no groups.
        device: Device that heads are trained on.
        seed: Random seed of the subsets.
        on_progress: Called with (images trained on, images in all), summed over the heads.

    Raises:
        DataError: There are too few train images for a curve.
    """
    labels = train[1].numpy()
    num_used = len(np.unique(labels))
    sizes = part_sizes(len(labels), num_used)
    orders = [nested_order(labels, groups, seed=seed + draw) for draw in range(NUM_DRAWS)]
    num_done, num_all = 0, NUM_DRAWS * sum(sizes[:-1]) + sizes[-1]
    steps, rights = [], []
    for size in sizes:
        penalties: Sequence[float] = logistic.PENALTIES
        found = []
        for order in orders if size < sizes[-1] else orders[:1]:
            # In the order of the features, so that neighbors in memory are read together.
            rows = torch.from_numpy(np.sort(order[:size]))
            part = train[0][rows], train[1][rows]
            path = logistic.fit_path(part, val, num_classes, device=device, penalties=penalties)
            chosen = logistic.choose(list(path))
            # Only the first subset of a size selects the penalty: a path takes ten times as long as one fit.
            penalties = (chosen.l2,)
            found.append((head_probs(chosen.head, test[0]).argmax(dim=1) == test[1]).numpy())
            num_done += size
            if on_progress:
                on_progress(num_done, num_all)
        rights.append(np.array(found))  # [draws x t]
        steps.append(_step(size, rights[-1], penalties[0]))
    return _follow(steps, rights, num_train=len(labels), num_used=num_used, seed=seed)


def part_sizes(num_images: int, num_classes: int) -> list[int]:
    """The subset sizes, from few images to all.

    Args:
        num_images: Number of images in the train split.
        num_classes: Number of classes that occur in it.

    Raises:
        DataError: There are too few images for a curve.
    """
    largest = min(num_images, MAX_IMAGES)
    smallest = max(MIN_PER_CLASS * num_classes, round(SMALLEST_SHARE * largest))
    if not num_images or largest < MIN_RANGE * smallest:
        raise DataError(
            f"{num_images:,} training images of {num_classes:,} classes are too few for a learning curve",
            hint=f"it needs at least {MIN_RANGE * MIN_PER_CLASS} images per class; with fewer, more images help",
        )
    return [int(size) for size in np.unique(np.geomspace(smallest, largest, NUM_SIZES).round())]


def nested_order(targets: NDArray[np.integer[Any]], groups: Sequence[str], *, seed: int) -> NDArray[np.intp]:
    """Positions in an order in which every prefix has the class proportions of the whole.

    The first image of each class comes before all others. The images of a group with the same label are consecutive
    within their class.

    Args:
        targets: Labels of the images: class indices [n], or int8 [n x k] of a multi-label data set.
        groups: Group of each image [n], or empty; an empty name means no group.
        seed: Random seed of the order.
    """
    rng = np.random.default_rng(seed)
    chance = rng.random(len(targets))
    if any(groups):
        names, inverse = np.unique(
            [f"group {group}" if group else f"image {at}" for at, group in enumerate(groups)], return_inverse=True
        )
        chance = rng.permutation(len(names))[inverse] + chance
    place = np.empty(len(targets))
    at_random = np.argsort(chance)
    place[at_random] = proportional_places(targets[at_random])
    return np.lexsort((chance, place))


def _step(size: int, is_right: NDArray[np.bool_], l2: float) -> Step:
    errors = 1 - is_right.mean(axis=1)
    return Step(size, Interval(float(errors.mean()), float(errors.min()), float(errors.max())), l2, len(is_right))


def _follow(
    steps: Sequence[Step], rights: Sequence[NDArray[np.bool_]], *, num_train: int, num_used: int, seed: int
) -> LearningCurve:
    """Fits and extrapolates the law; ``rights`` says for each step what its heads classify correctly, [draws x t]."""
    sizes = [step.num_images for step in steps]
    resampled = _Resampled(sizes, rights, np.random.default_rng(seed))
    law = fit_power_law(sizes, np.array([step.error.value for step in steps]))
    wanted = {MORE_PER_CLASS * num_used + sizes[-1]: f"{MORE_PER_CLASS} more of each class", 2 * sizes[-1]: TWICE}
    forecasts = [_forecast(name, num, steps[-1], law, resampled=resampled) for num, name in sorted(wanted.items())]
    return LearningCurve(
        tuple(steps),
        PowerLaw(*(float(part) for part in law)),
        tuple(forecasts),
        rights[0].shape[1],
        num_train,
    )


class _Resampled:
    """Bootstrap samples of the errors over evaluated images and subsets, and the laws fitted to them."""

    def __init__(self, sizes: Sequence[int], rights: Sequence[NDArray[np.bool_]], rng: np.random.Generator) -> None:
        num_evaluated = rights[0].shape[1]
        # The same images for all sizes: how hard they are does not change the slope of the curve.
        counts = rng.multinomial(num_evaluated, np.full(num_evaluated, 1 / num_evaluated), size=NUM_RESAMPLES)
        by_draw = [1 - counts @ right.T.astype(np.float64) / num_evaluated for right in rights]  # [resamples x draws]
        # Deviation of a subset from the mean of its size, scaled to one image: it shrinks with the root of the size.
        spread = [
            (1 - right.mean(axis=1) - (1 - right.mean())) * math.sqrt(size * len(right) / (len(right) - 1))
            for size, right in zip(sizes, rights, strict=True)
            if len(right) > 1
        ]
        self._deviation = np.concatenate(spread)
        self._rng = rng
        means = [
            found[_rows(found), rng.integers(found.shape[1], size=found.T.shape).T].mean(axis=1) for found in by_draw
        ]
        self.now = by_draw[-1][:, 0]
        means[-1] = means[-1] + self.deviation(sizes[-1])
        self.laws = fit_power_law(sizes, np.stack(means, axis=1))

    def deviation(self, num_images: int) -> Errors:
        """Random deviation of the error due to the choice of a training set of this size, [resamples]."""
        return self._rng.choice(self._deviation, size=NUM_RESAMPLES) / math.sqrt(num_images)


def _rows(found: Errors) -> NDArray[np.intp]:
    return np.arange(len(found))[:, None]


def _forecast(name: str, num_images: int, last: Step, law: PowerLaw, *, resampled: _Resampled) -> Forecast:
    error = float(law.error(num_images))
    errors = resampled.laws.error(num_images) + resampled.deviation(num_images)
    low, high = np.quantile(errors, (0.025, 0.975))
    gains = np.quantile(resampled.now - errors, (0.025, 0.975))
    return Forecast(
        name,
        num_images,
        around(1 - error, 1 - high, 1 - low),
        around(last.error.value - error, *gains, least=-1.0),
        num_images > MAX_REACH * last.num_images,
    )
