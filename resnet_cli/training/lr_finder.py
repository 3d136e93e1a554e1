"""``--lr auto``: a short training with a rising rate, which is undone afterwards."""

from __future__ import annotations

import itertools
import math

from resnet_cli.errors import DivergedError
from resnet_cli.system.device import Compute
from resnet_cli.training.loop import Task
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

#: From the lowest rate to the highest, in this many steps. Source: fastai's ``lr_find``.
NUM_STEPS = 60
LOWEST, HIGHEST = 1e-6, 1.0
#: Weight of the past in the smoothed loss.
SMOOTHING = 0.9
#: A smoothed loss of this many times the best one ends the test.
DIVERGING = 4.0
#: The rate at the lowest loss is where training begins to go wrong; a tenth of it is safe.
#: Source: Smith 2017, https://arxiv.org/abs/1506.01186; the tenth: fastai's ``minimum / 10``.
SAFETY = 0.1


def find_lr(train_state: TrainState, task: Task, *, compute: Compute) -> float:
    """The backbone's peak rate, by a range test; the other groups keep their ratio to it.

    Args:
        train_state: Is left as it was, bit by bit.
        task: Its first batches are used.
        compute: Device and precision.

    Raises:
        DivergedError: Not even the lowest rate gives a finite loss.
    """
    before = train_state.capture(copy=True)
    peaks = [group["peak"] for group in train_state.optimizer.param_groups]
    reference = max(
        peak for peak, group in zip(peaks, train_state.optimizer.param_groups, strict=True) if group["name"] != "fc"
    )
    taker = StepTaker(train_state, task.loss, compute)
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
        raise DivergedError("the range test found no rate with a finite loss", hint="give one: --lr 0.001")
    return SAFETY * best_lr


def _repeated(task: Task) -> itertools.chain[Batch]:
    return itertools.chain.from_iterable(task.batches(epoch, 0) for epoch in itertools.count(1))
