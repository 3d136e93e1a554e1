"""Training a head on frozen features: by L-BFGS, or by steps (an epoch is a few matrix products)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.heads import logistic
from resnet_cli.heads.logistic import fold_standardization, standardization
from resnet_cli.heads.probabilities import Validation, head_probs, validate
from resnet_cli.runs import EpochRecord
from resnet_cli.system.intraop import ThreadTuner
from resnet_cli.training import defaults
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.events import EpochDone, OnEvent, ignore
from resnet_cli.training.loop import FitOptions, Task, fit, selection_key
from resnet_cli.training.losses import balanced_order, make_loss
from resnet_cli.training.optimizers import Rates, make_head_optimizer
from resnet_cli.training.plan import Plan
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch

Rows = tuple[Tensor, Tensor]


class HeadTraining:
    """A head, standardised features, and how one is trained on the other.

    Features are standardised while training; :meth:`raw_head` has that folded in and takes the raw features.

    Args:
        plan: Batch size, rates, loss, seed.
        head: Where training starts; is changed.
        train: Features [n x 2048], labels int64 [n].
        val: Likewise; chooses the best epoch.
        is_fresh: The head knows nothing yet; otherwise it takes raw features and is brought to standardised ones.
    """

    def __init__(self, plan: Plan, head: nn.Module, train: Rows, val: Rows, *, is_fresh: bool = True) -> None:
        # The head is small: in float32, on the device of the features' first use.
        self.compute = dataclasses.replace(plan.compute, precision="fp32")
        device = self.compute.device
        features, self._labels = train[0].float().to(device), train[1].to(device)
        self._mean, self._std = standardization(features)
        # In place: of a hundred thousand images each copy is 800 MB.
        self._inputs = (features - self._mean).div_(self._std)
        self._plan, self._val = plan, val
        self.head = head.to(device)
        if not is_fresh:
            unfold_standardization(self.head, self._mean, self._std)
        optimizer = make_head_optimizer(self.head, plan.rates)
        averages = plan.ema is not None or plan.average is not None
        self.train_state = TrainState(self.head, optimizer, WeightAverage(head, decay=plan.ema) if averages else None)
        self.train_state.counters.micro_batch = plan.micro_batch

    def raw_head(self) -> nn.Module:
        """A copy of the head as it is now, on the CPU, for raw features."""
        return fold_standardization(self.head, self._mean, self._std)

    def task(self) -> Task:
        """What the loop needs."""
        plan, labels = self._plan, self._labels
        num_images = len(labels)
        loss = make_loss(
            plan.loss,
            label_smoothing=plan.label_smoothing,
            class_counts=_counts(plan, labels),
            balance=plan.balance,
            device=self.compute.device,
        )

        def batches(epoch: int, done: int) -> Iterator[Batch]:
            rng = np.random.default_rng((plan.config.seed, epoch))
            if plan.balance == "sampler":
                order = torch.tensor(balanced_order(labels.tolist(), num_images, rng))
            else:
                order = torch.from_numpy(rng.permutation(num_images))
            for rows in torch.split(order.to(self.compute.device), plan.batch_size)[done:]:
                yield Batch(self._inputs[rows], labels[rows], len(rows))

        def set_train_mode(epoch: int) -> None:
            self.head.train()

        def validate_head() -> Validation:
            return validate(head_probs(self.raw_head(), self._val[0]), self._val[1])

        return Task(
            batches,
            validate_head,
            set_train_mode,
            loss,
            math.ceil(num_images / plan.batch_size),
        )


def fit_linear_head(
    plan: Plan, train: Rows, val: Rows, on_event: OnEvent, threads: list[list[int]] | None = None
) -> tuple[nn.Module, EpochRecord, list[EpochRecord]]:
    """Fits a linear head by L-BFGS, once for each penalty of a path, and chooses one on validation.

    Args:
        plan: Loss and balance.
        train: Features [n x 2048], labels int64 [n].
        val: Likewise.
        on_event: Told of each fit as of an epoch.
        threads: Filled with how many threads share an operation since which penalty (from 0).

    Returns:
        The chosen head (for raw features, on the CPU), its record, and the records of all fits.
    """
    loss = make_loss(
        plan.loss,
        class_counts=_counts(plan, train[1]),
        balance=plan.balance,
        device=plan.compute.device,
    )
    candidates: list[logistic.Candidate] = []
    records: list[EpochRecord] = []
    threads = [] if threads is None else threads
    tuner = ThreadTuner(
        is_fixed=plan.compute.type != "cpu", on_change=lambda count: threads.append([len(candidates), count])
    )
    threads.append([0, tuner.count])
    for candidate in logistic.fit_path(
        train,
        val,
        len(plan.dataset.classes),
        sample_weights=None if loss.class_weights is None else loss.class_weights.cpu()[train[1]],
        logit_offsets=loss.offsets,
        label_smoothing=plan.label_smoothing,
        device=plan.compute.device,
        tuner=tuner,
    ):
        candidates.append(candidate)
        records.append(
            EpochRecord(
                epoch=len(candidates),
                train_loss=candidate.train_loss,
                train_top1=candidate.train_top1,
                val_loss=candidate.val_loss,
                val_top1=candidate.val_top1,
                # The head is scaled to fit already.
                val_fitted_loss=candidate.val_loss,
                lr=0.0,
                seconds=candidate.seconds,
                l2=candidate.l2,
            )
        )
        on_event(EpochDone(records[-1], is_best=logistic.choose(candidates) is candidate))
    chosen = logistic.choose(candidates)
    return chosen.head, records[candidates.index(chosen)], records


def fit_probe(plan: Plan, head: nn.Module, train: Rows, val: Rows) -> tuple[nn.Module, EpochRecord]:
    """Trains the head that a finetune starts from.

    Args:
        plan: Of the finetune; the probe itself is as ``--mode frozen`` makes it.
        head: Where it starts; is changed.
        train: Features [n x 2048], labels int64 [n].
        val: Likewise.

    Returns:
        The head (for raw features, on the CPU), and its record as epoch 0.
    """
    began = time.perf_counter()
    if plan.solver == "lbfgs":
        best, record, _ = fit_linear_head(plan, train, val, ignore)
    else:
        best, record = fit_head_by_steps(_as_probe(plan), head, train, val)
    return best, dataclasses.replace(record, epoch=0, seconds=time.perf_counter() - began, lr=0.0)


def _as_probe(plan: Plan) -> Plan:
    """The plan of a probe with the defaults of mode frozen."""
    rates = Rates(
        "sgd",
        None,
        defaults.default_head_lr("frozen", "sgd", plan.hidden, random_start=False),
        defaults.default_weight_decay("frozen", "sgd"),
    )
    batch_size = defaults.default_batch_size("frozen", 0)
    return dataclasses.replace(
        plan,
        mode="frozen",
        rates=rates,
        batch_size=batch_size,
        micro_batch=batch_size,
        epochs=defaults.EPOCHS,
        ema=None,
        average=None,
    )


class _BestHead:
    """Keeps the best head in memory."""

    def __init__(self, training: HeadTraining) -> None:
        self._training = training
        self.found: tuple[nn.Module, EpochRecord] | None = None

    def keep_if_best(self, record: EpochRecord) -> bool:
        if self.found is not None and selection_key(record) <= selection_key(self.found[1]):
            return False
        self.found = self._training.raw_head(), record
        return True

    def on_step_end(self, train_state: TrainState) -> None:
        """Nothing: a probe takes seconds."""

    def on_epoch_end(self, train_state: TrainState) -> None:
        """Nothing."""

    def save_now(self, train_state: TrainState) -> str:
        return "features computed so far are kept, and the same command goes on from there"


def fit_head_by_steps(plan: Plan, head: nn.Module, train: Rows, val: Rows) -> tuple[nn.Module, EpochRecord]:
    """Trains a head by SGD, in memory.

    Args:
        plan: Of mode frozen.
        head: Where it starts; is changed.
        train: Features [n x 2048], labels int64 [n].
        val: Likewise; chooses the best epoch.

    Returns:
        The best epoch's head (for raw features, on the CPU), and its record.
    """
    training = HeadTraining(plan, head, train, val)
    best = _BestHead(training)
    options = FitOptions(epochs=plan.epochs, seed=plan.config.seed)
    fit(training.train_state, training.task(), options, compute=training.compute, callback=best, on_event=ignore)
    assert best.found is not None
    return best.found


def _counts(plan: Plan, labels: Tensor) -> list[int]:
    """Training rows of each class; with a memory there are more than images."""
    counts: list[int] = torch.bincount(labels.cpu(), minlength=len(plan.dataset.classes)).tolist()
    return counts


def unfold_standardization(head: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Lets a head that takes raw features x take (x - mean) / std instead; the inverse of folding, in place."""
    first = head if isinstance(head, nn.Linear) else head[0]  # type: ignore[index]
    with torch.no_grad():
        first.bias.add_(first.weight @ mean)
        first.weight.mul_(std)
