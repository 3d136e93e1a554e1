"""The loss of a plan's training, for its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor

from resnet_cli.task import TaskName
from resnet_cli.training.label_losses import LabelLoss, LabelLossName, make_label_loss
from resnet_cli.training.losses import Loss, LossName, make_loss
from resnet_cli.training.plan import Plan

TrainingLoss = Loss | LabelLoss


def plan_loss(plan: Plan, targets: Tensor, *, device: str) -> TrainingLoss:
    """Returns the loss of the plan for training images with these targets, for logits on this device."""
    return _MAKERS[plan.dataset.task](plan, targets, device)


def _of_one_label(plan: Plan, targets: Tensor, device: str) -> Loss:
    return make_loss(
        cast(LossName, plan.loss),
        label_smoothing=plan.label_smoothing,
        # Exemplars of an earlier model are counted too.
        class_counts=targets.cpu().bincount(minlength=len(plan.dataset.classes)).tolist(),
        balance=plan.balance,
        device=device,
    )


def _of_many_labels(plan: Plan, targets: Tensor, device: str) -> LabelLoss:
    name = cast(LabelLossName, plan.loss)
    return make_label_loss(
        name, label_smoothing=plan.label_smoothing, targets=targets, balance=plan.balance, device=device
    )


_MAKERS: Mapping[TaskName, Callable[[Plan, Tensor, str], TrainingLoss]] = {
    "single-label": _of_one_label,
    "multi-label": _of_many_labels,
}
