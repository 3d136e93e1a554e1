"""Steps on features that start from the head of L-BFGS, which stays if no epoch of steps is better."""

from __future__ import annotations

import time

from torch import nn

from resnet_cli.errors import ModelError
from resnet_cli.heads.block_path import sampled_rows
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.history import EpochRecord
from resnet_cli.task import TaskName
from resnet_cli.training.checkpoint import Checkpoint
from resnet_cli.training.checkpointer import Checkpointer, head_tensors
from resnet_cli.training.events import EpochDone, OnEvent, ignore
from resnet_cli.training.plan import Plan
from resnet_cli.training.task_head import HeadTraining, fit_candidates


def start_steps(
    plan: Plan,
    head: nn.Module,
    train: AnyRows,
    val: AnyRows,
    *,
    is_fresh: bool,
    checkpoint: Checkpoint | None,
    callback: Checkpointer,
    on_event: OnEvent,
    history: list[EpochRecord],
) -> HeadTraining:
    """Prepares a training of a head by steps, from the head of L-BFGS if the plan says so.

    That head is epoch 0: it is kept as the best until the validation loss of an epoch is lower. A resumed training has
    it in its checkpoint, and does not fit it again.

    Args:
        plan: A plan of mode ``frozen`` whose head takes steps.
        head: The initial head, which is trained in place.
        train: Features [n x 2048] and targets.
        val: Features and labels of the validation split.
        is_fresh: Whether the head is untrained; otherwise it takes raw features.
        checkpoint: The checkpoint from which the training continues; None at its start.
        callback: Keeps epoch 0.
        on_event: Called with epoch 0.
        history: Receives the record of epoch 0.

    Raises:
        ModelError: The checkpoint has no such head.
    """
    if not plan.starts_with_probe:
        training = HeadTraining(plan, head, train, val, is_fresh=is_fresh)
    elif checkpoint is not None:
        training = HeadTraining(plan, head, train, val, is_fresh=is_fresh, penalty=_penalty(checkpoint))
    else:
        began = time.perf_counter()
        start, penalty = fit_start(plan, train, val)
        head.load_state_dict(start.state_dict())
        training = HeadTraining(plan, head, train, val, is_fresh=False, penalty=penalty)
        seconds = time.perf_counter() - began
        record = _epoch_0(
            training.raw_head(),
            plan.dataset.task,
            penalty=penalty,
            train=sampled_rows(train),
            val=training.val,
            seconds=seconds,
        )
        history.append(record)
    callback.snapshot = lambda: head_tensors(training.raw_head())
    training.train_state.counters.history = history
    for record in history:
        on_event(EpochDone(record, callback.keep_if_best(record)))
    return training


def _penalty(checkpoint: Checkpoint) -> float:
    """The penalty of epoch 0, with which the steps continue."""
    first: dict[str, float | None] = next(iter(checkpoint.values["history"]), {})
    penalty = first.get("l2")
    if penalty is None:
        raise ModelError(
            "the newest checkpoint does not belong to this training: it has no head of L-BFGS",
            hint="was the run's config.yaml changed? Start a new run: resnet-cli finetune DATA",
        )
    return penalty


def fit_start(plan: Plan, train: AnyRows, val: AnyRows) -> tuple[nn.Linear, float]:
    """Fits the linear head from which steps on features start, by L-BFGS.

    Args:
        plan: Loss and balance.
        train: Features [n x 2048] and targets.
        val: Features and labels of the validation split.

    Returns:
        The head (for raw features, on the CPU), and its L2 penalty. It is the head that a training without steps keeps,
        but for the scale of its logits: there they are scaled to the validation split; here they minimize the training
        loss and the penalty, so that steps do not have to shrink them first. Every model gets its temperature at the
        end, so both give the same probabilities.
    """
    chosen, _ = fit_candidates(plan, train, val, ignore, threads=[])
    return chosen.unscaled_head(), chosen.weight_decay


def _epoch_0(
    head: nn.Module, task: TaskName, *, penalty: float, train: AnyRows, val: AnyRows, seconds: float
) -> EpochRecord:
    """The record of the head before the first step, measured as after every later epoch."""
    objective = OBJECTIVES[task]
    scores = objective.validate(head_probs(head, val[0], task=task), val[1])
    train_loss, train_score = objective.loss_and_score(head_probs(head, train[0], task=task), train[1])
    return EpochRecord.of(
        objective.task.score,
        train_score,
        scores.score,
        epoch=0,
        train_loss=train_loss,
        val_loss=scores.loss,
        val_fitted_loss=scores.fitted_loss,
        lr=0.0,
        seconds=seconds,
        l2=penalty,
    )
