"""``--lr auto``: a learning-rate range test, a short training whose effects are undone."""

from __future__ import annotations

import itertools
import math

from resnet_cli.errors import DivergedError
from resnet_cli.system.device import Compute
from resnet_cli.training.loop import TrainingTask
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

#: Number of steps from the lowest to the highest learning rate. Source: fastai's ``lr_find``.
NUM_STEPS = 60
LOWEST, HIGHEST = 1e-6, 1.0
#: Weight of earlier steps in the smoothed loss.
SMOOTHING = 0.9
#: The test ends when the smoothed loss is this many times the best one.
DIVERGING = 4.0
#: Beyond the learning rate with the lowest loss training diverges; a tenth of it is safe.
#: Source: Smith 2017, https://arxiv.org/abs/1506.01186; the tenth: fastai's ``minimum / 10``.
SAFETY = 0.1


def find_lr(train_state: TrainState, task: TrainingTask, *, compute: Compute) -> float:
    """Finds the peak learning rate of the backbone; the other groups keep their ratio to it.

    Args:
        train_state: The state, which is restored bit by bit.
        task: The task, whose first batches are used.
        compute: Device and precision.

    Raises:
        DivergedError: Not even the lowest learning rate gives a finite loss.
    """
    before = train_state.capture(copy=True)
    peaks = [group["peak"] for group in train_state.optimizer.param_groups]
    reference = max(
        peak for peak, group in zip(peaks, train_state.optimizer.param_groups, strict=True) if group["name"] != "fc"
    )
    taker = StepTaker(train_state, task.loss, compute, count=task.objective.count)
    task.set_train_mode(1)
    smoothed, best, best_lr = 0.0, math.inf, 0.0
    try:
        for step, batch in enumerate(itertools.islice(_repeated(task), NUM_STEPS)):
            lr = LOWEST * (HIGHEST / LOWEST) ** (step / (NUM_STEPS - 1))
            for group, peak in zip(train_state.optimizer.param_groups, peaks, strict=True):
                group["lr"] = lr * peak / reference
            loss, is_bad = taker.take(batch)
            value = math.inf if float(is_bad) else float(loss)
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * value
            corrected = smoothed / (1 - SMOOTHING ** (step + 1))
            if corrected < best:
                best, best_lr = corrected, lr
            if not corrected < DIVERGING * best:
                break
            train_state.counters.num_steps += 1
    finally:
        train_state.restore(before)
    if not best_lr:
        raise DivergedError("the range test found no learning rate with a finite loss", hint="set one: --lr 0.001")
    return SAFETY * best_lr


def _repeated(task: TrainingTask) -> itertools.chain[Batch]:
    return itertools.chain.from_iterable(task.batches(epoch, 0) for epoch in itertools.count(1))
