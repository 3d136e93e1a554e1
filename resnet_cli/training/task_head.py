"""Training a head on frozen features, by L-BFGS or by SGD (an epoch is a few matrix products)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.engines.feature_rows import Features
from resnet_cli.heads import logistic
from resnet_cli.heads.block_path import BLOCK_PATHS, judged_rows
from resnet_cli.heads.block_problem import moments
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.heads.objectives import OBJECTIVES, Validation
from resnet_cli.heads.paths import PATHS
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.heads.standardization import fold_standardization, standardization
from resnet_cli.history import EpochRecord, selection_key
from resnet_cli.system.intraop import ThreadTuner
from resnet_cli.task import TASKS
from resnet_cli.training import defaults
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.balanced_order import balanced_order
from resnet_cli.training.events import EpochDone, OnEvent, ignore
from resnet_cli.training.loop import FitOptions, TrainingTask, fit
from resnet_cli.training.optimizers import Rates, make_head_optimizer
from resnet_cli.training.plan import Plan
from resnet_cli.training.plan_loss import plan_loss
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch


class HeadTraining:
    """Trains a head on standardized features.

    :meth:`raw_head` has the standardization folded in and takes the raw features.

    Args:
        plan: Batch size, learning rates, loss and seed.
        head: The initial head, which is trained in place.
        train: Features [n x 2048] and targets.
        val: Features and labels of the validation split, which chooses the best epoch.
        is_fresh: Whether the head is untrained; otherwise it takes raw features and is converted to standardized ones.
        penalty: L2 penalty of L-BFGS, the weight decay where the plan has none.

    Attributes:
        head: The head that is trained, for standardized features.
        val: The validation rows that are scored after each epoch.
    """

    def __init__(
        self,
        plan: Plan,
        head: nn.Module,
        train: AnyRows,
        val: AnyRows,
        *,
        is_fresh: bool = True,
        penalty: float | None = None,
    ) -> None:
        # The head is small, so it is trained in float32.
        self.compute = dataclasses.replace(plan.compute, precision="fp32")
        device = self.compute.device
        self._labels = train[1].to(device)
        self._inputs: Tensor | _StandardizedOnDisk
        if isinstance(train[0], Tensor):
            features = train[0].float().to(device)
            self._mean, self._std = standardization(features)
            # In place, since each copy takes 800 MB for a hundred thousand images.
            self._inputs = (features - self._mean).div_(self._std)
        else:
            self._inputs = _StandardizedOnDisk(train[0], device)
            self._mean, self._std = self._inputs.mean, self._inputs.std
        self._plan, self.val = plan, judged_rows(val, len(plan.dataset.classes))
        self.head = head.to(device)
        if not is_fresh:
            unfold_standardization(self.head, self._mean, self._std)
        rates = plan.rates
        if rates.weight_decay is None:
            # The gradient of a penalty of half the squared norm is the weight decay of SGD: the objective stays.
            rates = dataclasses.replace(rates, weight_decay=penalty)
        optimizer = make_head_optimizer(self.head, rates)
        averages = plan.ema is not None or plan.average is not None
        self.train_state = TrainState(self.head, optimizer, WeightAverage(head, decay=plan.ema) if averages else None)
        self.train_state.counters.micro_batch = plan.micro_batch

    def raw_head(self) -> nn.Module:
        """A copy of the current head, on the CPU, for raw features."""
        return fold_standardization(self.head, self._mean, self._std)

    def task(self) -> TrainingTask:
        """Batches, loss and validation for the training loop."""
        plan, labels = self._plan, self._labels
        num_images = len(labels)
        objective = OBJECTIVES[plan.dataset.task]

        def batches(epoch: int, done: int) -> Iterator[Batch]:
            rng = np.random.default_rng((plan.config.seed, epoch))
            if plan.balance == "sampler":
                order = torch.tensor(balanced_order(labels.numpy(force=True), num_images, rng))
            else:
                order = torch.from_numpy(rng.permutation(num_images))
            for rows in torch.split(order.to(self.compute.device), plan.batch_size)[done:]:
                yield Batch(self._inputs[rows], labels[rows], len(rows))

        def set_train_mode(epoch: int) -> None:
            self.head.train()

        def validate_head() -> Validation:
            probs = head_probs(self.raw_head(), self.val[0], task=plan.dataset.task)
            return objective.validate(probs, self.val[1])

        return TrainingTask(
            batches,
            validate_head,
            set_train_mode,
            plan_loss(plan, labels, device=self.compute.device),
            math.ceil(num_images / plan.batch_size),
            objective,
        )


class _StandardizedOnDisk:
    """Rows of standardized features, each batch of which is read when it is needed."""

    def __init__(self, features: Features, device: str) -> None:
        self._features, self._device = features, device
        self.mean, self.std = (x.float().to(device) for x in moments(features, np.arange(len(features))))

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self._features[rows.cpu()].to(self._device, torch.float32).sub_(self.mean).div_(self.std)


def fit_linear_head(
    plan: Plan, train: AnyRows, val: AnyRows, on_event: OnEvent, *, threads: list[list[int]] | None = None
) -> tuple[nn.Module, EpochRecord, list[EpochRecord]]:
    """Fits a linear head by L-BFGS with several penalties and chooses one on the validation split.

    Args:
        plan: Loss and balance.
        train: Features [n x 2048] and targets.
        val: Features and labels of the validation split.
        on_event: Called after each fit with an event like that of an epoch.
        threads: Receives pairs of a penalty's number (from 0) and the number of threads from it on.

    Returns:
        The chosen head (for raw features, on the CPU), its record and the records of all fits.
    """
    chosen, records = fit_candidates(plan, train, val, on_event, threads=[] if threads is None else threads)
    return chosen.head, next(record for record in records if record.l2 == chosen.l2), records


def fit_candidates(
    plan: Plan, train: AnyRows, val: AnyRows, on_event: OnEvent, *, threads: list[list[int]]
) -> tuple[logistic.Candidate, list[EpochRecord]]:
    """Fits a linear head with several penalties; see :func:`fit_linear_head`.

    Returns:
        The candidate that the validation split chooses, and the records of all fits.
    """
    task, device = plan.dataset.task, plan.compute.device
    loss = plan_loss(plan, train[1], device=device)
    candidates: list[logistic.Candidate] = []
    records: list[EpochRecord] = []
    tuner = ThreadTuner(
        is_fixed=plan.compute.type != "cpu", on_change=lambda count: threads.append([len(candidates), count])
    )
    threads.append([0, tuner.count])
    num_classes, options = len(plan.dataset.classes), loss.path_options(train[1])
    paths = PATHS if isinstance(train[0], Tensor) else BLOCK_PATHS
    for candidate in paths[task](train, val, num_classes, **options, device=device, tuner=tuner):
        candidates.append(candidate)
        records.append(
            EpochRecord.of(
                TASKS[task].score,
                candidate.train_score,
                candidate.val_score,
                epoch=len(candidates),
                train_loss=candidate.train_loss,
                val_loss=candidate.val_loss,
                # The head is already scaled to the validation split.
                val_fitted_loss=candidate.fitted_loss,
                lr=0.0,
                seconds=candidate.seconds,
                l2=candidate.l2,
            )
        )
        on_event(EpochDone(records[-1], is_best=logistic.choose(candidates) is candidate))
    return logistic.choose(candidates), records


def fit_probe(plan: Plan, head: nn.Module, train: AnyRows, val: AnyRows) -> tuple[nn.Module, EpochRecord]:
    """Trains the linear probe from which a training of the network starts.

    Args:
        plan: Plan of the training; the probe has the defaults of mode ``frozen``.
        head: The initial head, which is trained in place.
        train: Features [n x 2048] and targets.
        val: Features and labels of the validation split.

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
        """Does nothing: a probe takes seconds."""

    def on_epoch_end(self, train_state: TrainState) -> None:
        """Does nothing."""

    def save_now(self, train_state: TrainState) -> str:
        return "features computed so far are kept, and the same command continues from them"


def fit_head_by_steps(plan: Plan, head: nn.Module, train: AnyRows, val: AnyRows) -> tuple[nn.Module, EpochRecord]:
    """Trains a head by SGD, in memory.

    Args:
        plan: A plan of mode ``frozen``.
        head: The initial head, which is trained in place.
        train: Features [n x 2048] and targets.
        val: Features and labels of the validation split, which chooses the best epoch.

    Returns:
        The head of the best epoch (for raw features, on the CPU), and its record.
    """
    training = HeadTraining(plan, head, train, val)
    best = _BestHead(training)
    options = FitOptions(epochs=plan.epochs, seed=plan.config.seed)
    fit(training.train_state, training.task(), options, compute=training.compute, callback=best, on_event=ignore)
    assert best.found is not None
    return best.found


def unfold_standardization(head: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Converts a head for raw features x to one for (x - mean) / std, in place; the inverse of folding."""
    first = head if isinstance(head, nn.Linear) else head[0]  # type: ignore[index]
    with torch.no_grad():
        first.bias.add_(first.weight @ mean)
        first.weight.mul_(std)
