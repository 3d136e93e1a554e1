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

from resnet_cli.evaluation.intervals import Interval, around
from resnet_cli.heads import logistic
from resnet_cli.heads.logistic import Rows
from resnet_cli.heads.paths import PATHS
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.studies.head_errors import HEAD_ERRORS, HeadErrors
from resnet_cli.studies.power_law import Errors, PowerLaw, fit_power_law
from resnet_cli.studies.subsets import nested_order, num_used_classes, part_sizes
from resnet_cli.system.events import Progress
from resnet_cli.task import TASKS, TaskName

#: Random subsets of each size; all images are used once.
NUM_DRAWS = 5
#: Additional images per class in the second forecast.
MORE_PER_CLASS = 100
TWICE = "twice the images"
#: A forecast for more than this many times the images is a guess. Source: benchmarks/learning_curve.py.
MAX_REACH = 4.0
#: A gain in percentage points below which twice the images are hardly worth it.
_WORTH_POINTS = 1


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
    """Expected score with more images of the same kind.

    Attributes:
        name: ``TWICE``, or the number of additional images, in words.
        num_images: Number of images in total.
        score: Expected top-1 accuracy, or mAP.
        gain: Expected gain over the largest subset.
        is_guess: Whether it extrapolates further than such forecasts are reliable.
    """

    name: str
    num_images: int
    score: Interval
    gain: Interval
    is_guess: bool

    @property
    def top1(self) -> Interval:
        """The score of a single-label model."""
        return self.score


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """How the error falls with the number of training images, and forecasts for more.

    Attributes:
        steps: Results for each subset size, from few images to all.
        law: The power law fitted to them.
        forecasts: Forecasts for more images.
        num_evaluated: Number of images that every head was evaluated on.
        num_train: Number of images in the train split; the largest subset may have fewer.
        task: Whether an image has one label, and the score is top-1, or any number, and the score is mAP.
    """

    steps: tuple[Step, ...]
    law: PowerLaw
    forecasts: tuple[Forecast, ...]
    num_evaluated: int
    num_train: int
    task: TaskName = "single-label"

    @property
    def score_name(self) -> str:
        """``top-1`` or ``mAP``."""
        return TASKS[self.task].score_name

    @property
    def score(self) -> float:
        """Top-1 or mAP with the largest subset."""
        return 1 - self.steps[-1].error.value

    @property
    def top1(self) -> float:
        """The score of a single-label model."""
        return self.score

    @property
    def twice(self) -> Forecast:
        """The forecast for twice the images."""
        return next(found for found in self.forecasts if found.name == TWICE)

    @property
    def conclusion(self) -> str:
        """A sentence on whether more images are worth the work."""
        if self.twice.gain.low > 0:
            return f"More images help: twice as many would bring about {100 * self.twice.gain.value:.1f} points."
        if self.twice.gain.high < _WORTH_POINTS / 100:
            return "More images of the same kind would hardly help; look at wrong labels, or train more of the network."
        return "It is not certain that more images would help: the gain may be zero."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        name = TASKS[self.task].score
        return {
            "num_train": self.num_train,
            "num_judged": self.num_evaluated,
            "steps": [
                {
                    "num_images": step.num_images,
                    name: 1 - step.error.value,
                    f"{name}_least": 1 - step.error.high,
                    f"{name}_most": 1 - step.error.low,
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
                    name: found.score._asdict(),
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
    task: TaskName = "single-label",
    groups: Sequence[str] = (),
    device: str = "cpu",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> LearningCurve:
    """Trains heads on nested subsets of the train split and forecasts the gain from more images.

    Args:
        train: Features [n x 2048] of any float dtype, and the targets of the task.
        val: Features and targets of the validation split, which selects the penalty of each size.
        test: Features and targets to evaluate on: the test split, or else the validation split again.
        num_classes: Number of outputs of a head.
        task: Whether an image has one label or any number.
        groups: Group of each train image; groups are kept whole as far as possible. Empty: no groups.
        device: Device that heads are trained on.
        seed: Random seed of the subsets.
        on_progress: Called with (images trained on, images in all), summed over the heads.

    Raises:
        DataError: There are too few train images for a curve.
    """
    targets = train[1].numpy()
    num_used = num_used_classes(targets)
    sizes = part_sizes(len(targets), num_used)
    orders = [nested_order(targets, groups, seed=seed + draw) for draw in range(NUM_DRAWS)]
    num_done, num_all = 0, NUM_DRAWS * sum(sizes[:-1]) + sizes[-1]
    steps, found = [], []
    for size in sizes:
        penalties: Sequence[Any] = logistic.PENALTIES
        errors: HeadErrors = HEAD_ERRORS[task](test[1])
        for order in orders if size < sizes[-1] else orders[:1]:
            # In the order of the features, so that neighbors in memory are read together.
            rows = torch.from_numpy(np.sort(order[:size]))
            part = train[0][rows], train[1][rows]
            path = PATHS[task](part, val, num_classes, device=device, penalties=penalties)
            chosen = logistic.choose(list(path))
            # Only the first subset of a size selects the penalty: a path takes ten times as long as one fit.
            penalties = chosen.chosen
            errors.add(head_probs(chosen.head, test[0], task=task))
            num_done += size
            if on_progress:
                on_progress(num_done, num_all)
        found.append(errors)
        steps.append(_step(size, errors, chosen.l2))
    curve = _follow(steps, found, num_train=len(targets), num_used=num_used, seed=seed)
    return dataclasses.replace(curve, task=task)


def _step(size: int, found: HeadErrors, l2: float) -> Step:
    errors = found.each
    return Step(size, Interval(float(errors.mean()), float(errors.min()), float(errors.max())), l2, len(errors))


def _follow(
    steps: Sequence[Step], found: Sequence[HeadErrors], *, num_train: int, num_used: int, seed: int
) -> LearningCurve:
    """Fits and extrapolates the law; ``found`` has the errors of the heads of each step."""
    sizes = [step.num_images for step in steps]
    resampled = _Resampled(sizes, found, np.random.default_rng(seed))
    law = fit_power_law(sizes, np.array([step.error.value for step in steps]))
    more = MORE_PER_CLASS * num_used
    wanted = {more + sizes[-1]: found[0].more.format(each=MORE_PER_CLASS, total=more), 2 * sizes[-1]: TWICE}
    forecasts = [_forecast(name, num, steps[-1], law, resampled=resampled) for num, name in sorted(wanted.items())]
    return LearningCurve(
        tuple(steps),
        PowerLaw(*(float(part) for part in law)),
        tuple(forecasts),
        found[0].num_images,
        num_train,
    )


class _Resampled:
    """Bootstrap samples of the errors over evaluated images and subsets, and the laws fitted to them."""

    def __init__(self, sizes: Sequence[int], found: Sequence[HeadErrors], rng: np.random.Generator) -> None:
        num_evaluated = found[0].num_images
        self._num = found[0].num_resamples
        # The same images for all sizes: how hard they are does not change the slope of the curve.
        counts = rng.multinomial(num_evaluated, np.full(num_evaluated, 1 / num_evaluated), size=self._num)
        by_draw = [errors.resample(counts) for errors in found]  # [resamples x draws]
        # Deviation of a subset from the mean of its size, scaled to one image: it shrinks with the root of the size.
        spread = [
            (errors.each - errors.mean) * math.sqrt(size * len(errors.each) / (len(errors.each) - 1))
            for size, errors in zip(sizes, found, strict=True)
            if len(errors.each) > 1
        ]
        self._deviation = np.concatenate(spread)
        self._rng = rng
        means = [part[_rows(part), rng.integers(part.shape[1], size=part.T.shape).T].mean(axis=1) for part in by_draw]
        self.now = by_draw[-1][:, 0]
        means[-1] = means[-1] + self.deviation(sizes[-1])
        self.laws = fit_power_law(sizes, np.stack(means, axis=1))

    def deviation(self, num_images: int) -> Errors:
        """Random deviation of the error due to the choice of a training set of this size, [resamples]."""
        return self._rng.choice(self._deviation, size=self._num) / math.sqrt(num_images)


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
