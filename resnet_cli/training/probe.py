"""Training a head on frozen features: an epoch is a few matrix products."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.evaluation import head_probs, loss_and_top1
from resnet_cli.training.events import EpochRecord, OnEvent
from resnet_cli.training.loop import fit, make_optimizer
from resnet_cli.training.plan import Plan

#: Far stronger than a network's: there are 2,048 features and often fewer pictures. On 5,000 CIFAR-10 pictures
#: ten epochs of this reach what L-BFGS reaches with its best penalty. Source: tests/benchmarks/head.py.
WEIGHT_DECAY = 0.1
#: Share of the mean variance added to each feature's own: features that hardly vary in a few pictures would
#: be blown up otherwise.
VARIANCE_FLOOR = 0.03


def fit_head(
    plan: Plan,
    head: nn.Module,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    *,
    on_best: Callable[[EpochRecord, nn.Module], None],
    on_event: OnEvent,
) -> list[EpochRecord]:
    """Trains the head of a model with a frozen backbone.

    Features are standardised while training; the head that is handed out has that folded in and takes the
    raw features.

    Args:
        plan: Batch size, rate, epochs, seed.
        head: Where training starts; is changed.
        train: Features [n x 2048], labels int64 [n].
        val: Likewise; chooses the best epoch.
        on_best: Called with the record and a head for raw features.
        on_event: Told of every step and epoch.

    Raises:
        DivergedError: The loss is not finite.
    """
    # The head is small: in float32, on the device of the features' first use.
    compute = dataclasses.replace(plan.compute, precision="fp32")
    features, labels = train[0].float().to(compute.device), train[1].to(compute.device)
    mean = features.mean(dim=0)
    variance = features.var(dim=0, correction=0)
    # A lone value is left where features never vary at all (a constant backbone).
    std = (variance + VARIANCE_FLOOR * variance.mean()).sqrt().clamp_min(1e-6)
    inputs = (features - mean) / std
    head = head.to(compute.device)
    optimizer = make_optimizer(plan.optimizer, [(head.parameters(), plan.head_lr)], weight_decay=WEIGHT_DECAY)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.from_numpy(np.random.default_rng((plan.config.seed, epoch)).permutation(len(inputs)))
        for rows in torch.split(order.to(compute.device), plan.batch_size):
            yield inputs[rows], labels[rows]

    def raw_head() -> nn.Module:
        return fold_standardization(head, mean, std)

    def set_train_mode() -> None:
        head.train()

    def validate() -> tuple[float, float]:
        return loss_and_top1(head_probs(raw_head(), val[0]), val[1])

    return fit(
        head,
        optimizer,
        batches,
        validate,
        epochs=plan.config.epochs,
        steps_per_epoch=math.ceil(len(inputs) / plan.batch_size),
        compute=compute,
        set_train_mode=set_train_mode,
        on_best=lambda record: on_best(record, raw_head()),
        on_event=on_event,
    )


def fold_standardization(head: nn.Module, mean: Tensor, std: Tensor) -> nn.Module:
    """A copy of the head, on the CPU, that takes raw features x where the head takes (x - mean) / std.

    Args:
        head: A linear layer, or a sequence that starts with one.
        mean: [2048].
        std: [2048], positive.
    """
    folded = copy.deepcopy(head).cpu()
    first = folded if isinstance(folded, nn.Linear) else folded[0]  # type: ignore[index]
    with torch.no_grad():
        # In float64, which not every GPU has: the bias is a difference of large sums.
        weight = first.weight.double() / std.cpu().double()
        first.bias.copy_(first.bias.double() - weight @ mean.cpu().double())
        first.weight.copy_(weight)
    return folded
