"""The training loop, for a head on features as well as for a whole network on images."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from resnet_cli.errors import DivergedError, Interrupted
from resnet_cli.heads.objectives import OBJECTIVES, Objective, Validation
from resnet_cli.history import EpochRecord, selection_key
from resnet_cli.system.device import Compute
from resnet_cli.system.interrupts import StopRequest, deferred_stop
from resnet_cli.system.intraop import ThreadTuner
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.events import EpochDone, OnEvent, RateLowered, StepDone, ThreadsChanged
from resnet_cli.training.schedule import ScheduleName, lr_multiplier
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

#: Factor of the learning rates after a divergence; applied once.
RETRY_RATE = 0.1
#: Steps between two reads of the loss from a GPU: each read waits for all queued work.
GPU_STEPS_PER_LOOK = 16


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """What differs between training a head on features and a network on images.

    Attributes:
        batches: (epoch from 1, steps to skip) -> batches; a function of the seed and these two.
        validate: Evaluates the current network on the validation split.
        set_train_mode: Called with the epoch before it starts.
        loss: (logits float32 [b x k], targets) -> mean loss.
        steps_per_epoch: Number of batches per epoch.
        objective: The score of training batches.
    """

    batches: Callable[[int, int], Iterator[Batch]]
    validate: Callable[[], Validation]
    set_train_mode: Callable[[int], None]
    loss: Callable[[Tensor, Tensor], Tensor]
    steps_per_epoch: int
    objective: Objective = OBJECTIVES["single-label"]


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """Length of the training, and its learning-rate schedule.

    Attributes:
        epochs: Number of epochs, at least 1.
        seed: Random seed of dropout.
        schedule: Learning-rate schedule.
        warmup: Share of all steps until the learning rate peaks.
        clip_grad: Maximum norm of the gradient; None for no clipping.
        average_from: First epoch after which the weights enter a uniform average; None if they are not averaged, or
            after every step.
        max_time_s: Time limit of the run in seconds, validation included; the schedule then follows the clock.
        patience: Number of epochs without improvement before training stops; None for no limit.
        target: Validation top-1 or mAP at which training stops; None to train all epochs.
    """

    epochs: int
    seed: int = 0
    schedule: ScheduleName = "cosine"
    warmup: float = 0.1
    clip_grad: float | None = None
    average_from: int | None = None
    max_time_s: float | None = None
    patience: int | None = None
    target: float | None = None


class Callback(Protocol):
    """Keeps the best weights and writes checkpoints."""

    def keep_if_best(self, record: EpochRecord) -> bool:
        """Called after each epoch with the weights to keep; returns whether the epoch is the best so far."""

    def on_step_end(self, train_state: TrainState) -> None:
        """May write a checkpoint."""

    def on_epoch_end(self, train_state: TrainState) -> None:
        """May write a checkpoint."""

    def save_now(self, train_state: TrainState) -> str:
        """Writes a checkpoint; returns a sentence that says what is kept."""


def fit(
    train_state: TrainState,
    task: TrainingTask,
    options: FitOptions,
    *,
    compute: Compute,
    callback: Callback,
    on_event: OnEvent,
    distributed: Distributed = SINGLE_PROCESS,
) -> None:
    """Trains until the last epoch or another limit; ``train_state.counters.history`` has one record per epoch.

    Args:
        train_state: Initial state, or one that was restored from a checkpoint: training continues from it.
        task: Batches, loss and validation.
        options: Length and schedule.
        compute: Device and precision.
        callback: Called after each step and epoch.
        on_event: Called with the event of every step and epoch.
        distributed: The processes that share the training.

    Raises:
        DivergedError: The loss or a gradient is not finite, even at a tenth of the learning rate. The step is skipped.
        MemoryExhausted: Not even one image fits into memory.
        Interrupted: A signal arrived; the step was completed and everything is saved.
    """
    began = time.perf_counter() - train_state.counters.elapsed_s
    is_before_average = options.average_from is not None and train_state.counters.epoch < options.average_from
    if train_state.average is not None and is_before_average:
        # A finished run that is extended has an average of its former last epochs.
        train_state.average.num_updates = 0
    tuner = _make_tuner(train_state, compute, on_event, distributed)
    good = train_state.capture(copy=True)
    with deferred_stop() as stop, tuner.held():
        trainer = _Trainer(train_state, task, options, compute, callback, on_event, distributed, stop, tuner, began)
        while train_state.counters.epoch <= options.epochs and not trainer.is_over():
            try:
                trainer.run_epoch()
            except DivergedError as error:
                if train_state.counters.num_retries:
                    raise
                reason = error.message
            else:
                good = train_state.capture(copy=True)
                continue
            train_state.restore(good)
            if train_state.counters.threads and train_state.counters.threads[-1][1] != tuner.count:
                train_state.use_threads(tuner.count)
            train_state.counters.num_retries += 1
            train_state.counters.rate *= RETRY_RATE
            on_event(RateLowered(train_state.counters.epoch, reason, train_state.counters.rate))


def _make_tuner(train_state: TrainState, compute: Compute, on_event: OnEvent, distributed: Distributed) -> ThreadTuner:
    """Starts with the checkpoint's number of threads: sums depend on it, and a resumed run must be bit-identical."""

    def note(count: int) -> None:
        train_state.use_threads(count)
        on_event(ThreadsChanged(train_state.counters.epoch, count, tuner.most))

    known = [count for _, count in train_state.counters.threads]
    # Processes that share a step wait for each other, so their times cannot be compared.
    is_fixed = compute.type != "cpu" or distributed.size > 1
    tuner = ThreadTuner(count=known[-1] if known else None, is_fixed=is_fixed, on_change=note)
    if compute.type == "cpu" and (not known or known[-1] != tuner.count):
        train_state.use_threads(tuner.count)
    return tuner


@dataclasses.dataclass
class _Trainer:
    train_state: TrainState
    task: TrainingTask
    options: FitOptions
    compute: Compute
    callback: Callback
    on_event: OnEvent
    distributed: Distributed
    stop: StopRequest
    tuner: ThreadTuner
    began: float
    validation_s: float = 0.0

    def __post_init__(self) -> None:
        self.steps = StepTaker(
            self.train_state,
            self.task.loss,
            self.compute,
            count=self.task.objective.count,
            seed=self.options.seed,
            clip_grad=self.options.clip_grad,
            on_event=self.on_event,
            distributed=self.distributed,
            tuner=self.tuner,
        )
        self.steps_per_look = GPU_STEPS_PER_LOOK if self.compute.type == "cuda" else 1

    def is_over(self) -> bool:
        """Whether the target is reached, or the patience or the time is exhausted."""
        history, options = self.train_state.counters.history, self.options
        if not history:
            return False
        if options.target is not None and max(record.val_score or 0.0 for record in history) >= options.target:
            return True
        best = max(history, key=selection_key)
        if options.patience is not None and history[-1].epoch - best.epoch >= options.patience:
            return True
        return self._time_is_up()

    def run_epoch(self) -> None:
        """Takes the remaining steps of the current epoch, validates and records it."""
        train_state, task, options = self.train_state, self.task, self.options
        state, epoch = train_state.counters, train_state.counters.epoch
        began = time.perf_counter()
        num_before = float(train_state.sums[2])
        task.set_train_mode(epoch)
        num_bad = torch.zeros((), device=train_state.sums.device)
        # After a checkpoint of the epoch's last step, only the validation remains.
        lr = self._set_rates(state.num_steps - 1) if state.step else 0.0
        for batch in task.batches(epoch, state.step):
            lr = self._set_rates(state.num_steps)
            loss, is_bad = self.steps.take(batch)
            num_bad += is_bad
            state.step += 1
            state.num_steps += 1
            if train_state.average is not None and options.average_from is None:
                train_state.average.update(train_state.network)
            stops = int(self.distributed.all_max(self.stop.signal or 0))
            ends = stops or self._time_is_up()
            # Never checkpoint a step whose loss was not checked.
            if ends or state.step % self.steps_per_look == 0 or state.step == task.steps_per_epoch:
                _check_finite(float(num_bad), float(loss), f"in epoch {epoch}, step {state.step}")
                seconds = time.perf_counter() - began
                state.elapsed_s = time.perf_counter() - self.began
                rate = (float(train_state.sums[2]) - num_before) / seconds
                shown = task.objective.step_loss(float(loss), train_state.sums.tolist())
                self.on_event(StepDone(epoch, state.step, task.steps_per_epoch, shown, rate))
                self.callback.on_step_end(train_state)
            if stops:
                raise Interrupted(self.callback.save_now(train_state), signal=stops)
            if ends:
                break
        self._end_epoch(lr, began)

    def _end_epoch(self, lr: float, began: float) -> None:
        train_state, options, state = self.train_state, self.options, self.train_state.counters
        if options.average_from is not None and train_state.average is not None and state.epoch >= options.average_from:
            train_state.average.update(train_state.network)
        objective = self.task.objective
        train_loss, train_score = objective.train_metrics(*train_state.sums.tolist())
        with train_state.averaged():
            validation_began = time.perf_counter()
            val = self.task.validate()
            self.validation_s = time.perf_counter() - validation_began
            # Only the validation can show that the last step of the epoch diverged.
            _check_finite(
                0.0 if math.isfinite(val.loss) else 1.0, val.loss, f"in the validation of epoch {state.epoch}"
            )
            record = EpochRecord.of(
                objective.task.score,
                train_score,
                val.score,
                epoch=state.epoch,
                train_loss=train_loss,
                val_loss=val.loss,
                val_fitted_loss=val.fitted_loss,
                lr=lr,
                seconds=time.perf_counter() - began,
            )
            is_best = self.callback.keep_if_best(record)
        state.history.append(record)
        state.epoch, state.step = state.epoch + 1, 0
        state.elapsed_s = time.perf_counter() - self.began
        train_state.sums.zero_()
        self.on_event(EpochDone(record, is_best))
        self.callback.on_epoch_end(train_state)
        if signal := int(self.distributed.all_max(self.stop.signal or 0)):
            raise Interrupted(self.callback.save_now(train_state), signal=signal)

    def _set_rates(self, at: int) -> float:
        """Sets the learning rate of each group; returns that of the first group (the backbone, if it is trained)."""
        state, options = self.train_state.counters, self.options
        total = options.epochs * self.task.steps_per_epoch
        if options.max_time_s is not None:
            # One clock for all processes, otherwise their learning rates would differ.
            share = self.distributed.all_max(time.perf_counter() - self.began) / options.max_time_s
            at = min(total - 1, max(at, int(share * total)))
        warmup = min(math.ceil(options.warmup * total), total - 1)
        factor = state.rate * lr_multiplier(options.schedule, at, total_steps=total, warmup_steps=warmup)
        for group in self.train_state.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        return float(self.train_state.optimizer.param_groups[0]["lr"])

    def _time_is_up(self) -> bool:
        if self.options.max_time_s is None:
            return False
        left = self.options.max_time_s - (time.perf_counter() - self.began) - self.validation_s
        return self.distributed.any(left <= 0)


def _check_finite(num_bad: float, loss: float, where: str) -> None:
    if num_bad or not math.isfinite(loss):
        what = f"the loss became {loss}" if not math.isfinite(loss) else "a gradient was not finite"
        raise DivergedError(
            f"{what} {where}", hint="try lower learning rates: --lr or --head-lr at a tenth of the values in the plan"
        )
