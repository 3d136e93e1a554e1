"""A linear head on frozen features by L-BFGS: a convex problem without learning rate, seed or number of epochs.

Only the penalty must be chosen. Heads are fitted from the strongest to the weakest penalty, each starting from the one
before, and validation chooses. A strong penalty also makes logits small, so each head is scaled to the validation split
before its loss there is compared: heads that rank images equally well then have equal losses.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_cli.engines.feature_rows import AnyFeatures
from resnet_cli.heads.objectives import loss_and_top1
from resnet_cli.heads.standardization import fold_standardization, standardization, standardized
from resnet_cli.heads.temperature import fit_temperature
from resnet_cli.system.device import memory_errors_named
from resnet_cli.system.intraop import ThreadTuner

#: L2 penalties from strong to weak, as multiples of half the squared norm, beside a mean over images. The best was
#: 16 with five images of each of ten classes, 1 to 2 with 50 and 0.1 with 500. Source: benchmarks/head.py.
PENALTIES = (16.0, 4.0, *(2.0**-power for power in range(13)))
#: The path ends after this many penalties in a row whose validation loss is above the lowest: it has one minimum.
PATIENCE = 2
#: Maximum number of L-BFGS iterations per penalty; from a warm start about 40 are enough.
MAX_ITERATIONS = 200
#: Largest gradient of a weight at convergence; with 1e-4, probabilities are wrong by up to 0.01.
TOLERANCE_GRADIENT = 1e-5
#: Smallest change of the loss or of a weight: the last digit of float32.
TOLERANCE_CHANGE = 1e-7
#: Number of images whose logits are in memory at once; those of a million and their gradients would not fit.
ROWS_AT_ONCE = 16_384

#: Features and targets, in memory.
Rows = tuple[Tensor, Tensor]
#: The same, wherever the features are.
AnyRows = tuple[AnyFeatures, Tensor]


CandidateT = TypeVar("CandidateT", bound="Candidate")


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """The head of one penalty. The score is top-1, or mAP of a multi-label head.

    Attributes:
        l2: The penalty.
        head: Head for raw features, on the CPU.
        scale: Factor of the fitted logits (and so of the head's weights and biases) that fits the validation split.
        train_loss: Mean loss in nats on the training images, without weights, smoothing, offsets and penalty.
        train_score: Score on the training images.
        val_loss: Mean loss in nats on the validation split.
        val_score: Score on the validation split.
        seconds: Wall time.
    """

    l2: float
    head: nn.Linear
    scale: float
    train_loss: float
    train_score: float | None
    val_loss: float
    val_score: float | None
    seconds: float

    @property
    def fitted_loss(self) -> float:
        """The loss by which validation chooses."""
        return self.val_loss

    @property
    def chosen(self) -> Sequence[Any]:
        """The argument ``penalties`` that fits a head with this penalty alone."""
        return (self.l2,)

    @property
    def weight_decay(self) -> float:
        """The decay of weights with which steps keep this objective: the gradient of the penalty, per weight."""
        return self.l2

    def unscaled_head(self) -> nn.Linear:
        """The head as it minimizes the training loss and the penalty; ``head`` is changed."""
        with torch.no_grad():
            self.head.weight.div_(self.scale)
            self.head.bias.div_(self.scale)
        return self.head


def fit_path(
    train: Rows,
    val: Rows,
    num_classes: int,
    *,
    sample_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    logit_offsets: Tensor | None = None,
    device: str,
    penalties: Sequence[float] = PENALTIES,
    tuner: ThreadTuner | None = None,
) -> Iterator[Candidate]:
    """Fits multinomial logistic regression along a path of penalties, and stops when the validation loss increases.

    The same features give the same heads. Memory: one float32 copy of the training features.

    Args:
        train: Features [n x 2048] of any float dtype and labels int64 [n].
        val: Features and labels of at least one validation image.
        num_classes: Number of classes, k.
        sample_weights: Weight of each image [n]; only their ratios matter. None: all are equal.
        label_smoothing: Share of each target that is spread over all classes.
        logit_offsets: Offsets [k] that are added to the logits in training only.
        device: Device to compute on.
        penalties: Penalties in decreasing order.
        tuner: Chooses the number of threads; None for a tuner of its own.

    Yields:
        One candidate per penalty.

    Raises:
        DivergedError: A feature is not a finite number.
        MemoryExhausted: The features do not fit on the device.

    Source: warm starts along a path: Friedman et al. 2010, https://doi.org/10.18637/jss.v033.i01, section 2.5.
    """
    with memory_errors_named(len(train[0])):
        problem = _Problem(
            train,
            num_classes,
            sample_weights=sample_weights,
            label_smoothing=label_smoothing,
            logit_offsets=logit_offsets,
            device=device,
            tuner=tuner,
        )
        val_inputs, val_labels = problem.standardized(val[0]), val[1].to(device)
    lowest, num_worse = math.inf, 0
    for l2 in penalties:
        began = time.perf_counter()
        with memory_errors_named(ROWS_AT_ONCE):
            problem.fit(l2)
            val_logits = problem.logits(val_inputs)
            scale = 1 / fit_temperature(val_logits.cpu().numpy(), val[1].numpy())
            train_scores = loss_and_top1(torch.softmax(scale * problem.logits(problem.inputs), dim=1), problem.labels)
        val_loss, val_top1 = loss_and_top1(torch.softmax(scale * val_logits, dim=1), val_labels)
        seconds = time.perf_counter() - began
        yield Candidate(l2, problem.raw_head(scale), scale, *train_scores, val_loss, val_top1, seconds)
        num_worse = 0 if val_loss < lowest else num_worse + 1
        lowest = min(lowest, val_loss)
        if num_worse == PATIENCE:
            return


def choose(candidates: Sequence[CandidateT]) -> CandidateT:
    """The candidate with the lowest validation loss; of equal ones, that with the strongest penalty.

    By loss and not by top-1, which is far coarser: with 100 validation images, the loss gains 0.7 percentage points on
    new images (500 training images of each class of CIFAR-10). Source: benchmarks/head.py.

    Args:
        candidates: At least one candidate, from the strongest to the weakest penalty.
    """
    return min(candidates, key=lambda candidate: candidate.fitted_loss)


class _Problem:
    """Standardized features, and the weights that are fitted to them."""

    def __init__(
        self,
        train: Rows,
        num_classes: int,
        *,
        sample_weights: Tensor | None,
        label_smoothing: float,
        logit_offsets: Tensor | None,
        device: str,
        tuner: ThreadTuner | None,
    ) -> None:
        self.labels = train[1].to(device)
        # One copy, modified in place: it takes 8 GB for a million images.
        self.inputs = train[0].to(device, torch.float32, copy=True)
        self._mean, self._std = standardization(self.inputs)
        self.inputs.sub_(self._mean).div_(self._std)
        num_images = len(self.labels)
        weights = torch.ones(num_images) if sample_weights is None else sample_weights.float()
        self._shares = (weights / weights.sum()).to(device)
        self._label_smoothing = label_smoothing
        self._offsets = torch.zeros(num_classes) if logit_offsets is None else logit_offsets.float()
        self._offsets = self._offsets.to(device)
        self._tuner = tuner or ThreadTuner(is_fixed=device != "cpu")
        self._head = nn.Linear(self.inputs.shape[1], num_classes, device=device)
        nn.init.zeros_(self._head.weight)
        nn.init.zeros_(self._head.bias)

    def standardized(self, features: Tensor) -> Tensor:
        """Standardizes features of other images."""
        return standardized(features, self._mean, self._std)

    def fit(self, l2: float) -> None:
        """Minimizes the loss with this penalty, starting from the current weights."""
        head = self._head
        optimizer = make_optimizer(head)

        def objective() -> Tensor:
            optimizer.zero_grad()
            total = l2 / 2 * head.weight.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            for inputs, labels, shares in self._parts():
                losses = F.cross_entropy(
                    head(inputs) + self._offsets, labels, reduction="none", label_smoothing=self._label_smoothing
                )
                loss = losses @ shares
                loss.backward()  # type: ignore[no-untyped-call]
                total = total.detach() + loss.detach()
            return total

        def timed_objective() -> Tensor:
            # A trial computes the same objective at the same weights; its result is not used.
            while self._tuner.wants_trial:
                with self._tuner.trial():
                    objective()
            with self._tuner.timed():
                return objective()

        with self._tuner.held():
            optimizer.step(timed_objective)  # type: ignore[no-untyped-call]

    def logits(self, inputs: Tensor) -> Tensor:
        """Standardized features [n x 2048] -> logits [n x k], without offsets."""
        with torch.inference_mode():
            return torch.cat([self._head(rows) for rows in torch.split(inputs, ROWS_AT_ONCE)])

    def raw_head(self, scale: float) -> nn.Linear:
        """A copy of the head for raw features, on the CPU, its logits multiplied by ``scale``."""
        head = copy.deepcopy(self._head)
        with torch.no_grad():
            head.weight.mul_(scale)
            head.bias.mul_(scale)
        folded = fold_standardization(head, self._mean, self._std)
        assert isinstance(folded, nn.Linear)
        return folded

    def _parts(self) -> Iterator[tuple[Tensor, ...]]:
        columns = (torch.split(column, ROWS_AT_ONCE) for column in (self.inputs, self.labels, self._shares))
        return zip(*columns, strict=True)


def make_optimizer(head: nn.Linear) -> torch.optim.LBFGS:
    """L-BFGS for a head, which one step fits completely."""
    return torch.optim.LBFGS(
        head.parameters(),
        max_iter=MAX_ITERATIONS,
        history_size=10,
        tolerance_grad=TOLERANCE_GRADIENT,
        tolerance_change=TOLERANCE_CHANGE,
        line_search_fn="strong_wolfe",
    )
