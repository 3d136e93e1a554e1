"""A linear head for several labels per image by L-BFGS: one penalized logistic regression per class, all at once.

As in ``logistic.py``, heads are fitted from the strongest to the weakest penalty, each from the one before. The classes
share nothing but the features, so validation chooses a penalty for each of them, and a class whose validation loss has
become worse takes no further part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.heads import batched_lbfgs
from resnet_cli.heads.label_path import LabelCandidate, LabelPath
from resnet_cli.heads.logistic import MAX_ITERATIONS, PENALTIES, TOLERANCE_GRADIENT, Rows
from resnet_cli.heads.standardization import standardization, standardized
from resnet_cli.system.device import memory_errors_named
from resnet_cli.system.intraop import ThreadTuner

#: Decrease of the loss of a class at which its fit ends.
TOLERANCE_CHANGE = 1e-8
#: Penalty of a class if validation cannot choose for any class.
DEFAULT_PENALTY = 1.0
#: Number of values [images x classes] that are fitted at once; each takes about 30 bytes.
CELLS_AT_ONCE = 2**24


def fit_label_path(
    train: Rows,
    val: Rows,
    num_classes: int,
    *,
    value_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    device: str,
    penalties: Sequence[float | Sequence[float]] = PENALTIES,
    tuner: ThreadTuner | None = None,
) -> Iterator[LabelCandidate]:
    """Fits a logistic regression of each class along a path of penalties, until no class becomes better.

    A class for which validation cannot choose (all of its known values are the same) takes the middle one of the other
    classes' penalties. A class whose known values in training are all the same gets a constant probability. The same
    features give the same heads. Memory: one float32 copy of the training features.

    Args:
        train: Features [n x 2048] of any float dtype and targets int8 [n x k]; -1, unknown, has no effect.
        val: Features and targets of the validation split.
        num_classes: Number of classes, k.
        value_weights: Weight of a no and of a yes of each class [2 x k]; only their ratio matters. None: 1.
        label_smoothing: Each target is moved by half of this toward the other value.
        device: Device to compute on.
        penalties: Penalties in decreasing order, for all classes or one for each.
        tuner: Chooses the number of threads; None for a tuner of its own.

    Yields:
        One candidate per penalty. The last one is the best.

    Raises:
        DivergedError: A feature is not a finite number.
        MemoryExhausted: The features do not fit on the device.
    """
    with memory_errors_named(len(train[0])):
        problem = _Problem(train, value_weights, label_smoothing, device, tuner=tuner)
        val_inputs = problem.standardized(val[0])
    path = LabelPath(train[1].numpy(force=True), val[1].numpy(force=True), problem.num_weights)
    if penalties is PENALTIES and not path.judges:
        penalties = (DEFAULT_PENALTY,)
    for penalty in penalties:
        l2 = np.broadcast_to(np.asarray(penalty, dtype=np.float64), num_classes)
        began = time.perf_counter()
        for classes in _blocks(path.left, problem.classes_at_once):
            with memory_errors_named(len(train[0])):
                weights, logits = problem.fit(torch.from_numpy(classes), torch.from_numpy(l2[classes]).float())
                val_logits = batched_lbfgs.logits_of(val_inputs, weights)
            path.compare(
                classes,
                l2[classes],
                weights.cpu(),
                train_logits=logits.T.numpy(force=True),
                val_logits=val_logits.T.numpy(force=True),
            )
        yield path.candidate(float(l2.min()), problem.mean, problem.std, time.perf_counter() - began)
        if path.is_over:
            return


def _blocks(classes: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (classes[start : start + size] for start in range(0, len(classes), size))


class _Problem:
    """Standardized features, and the weights of every class, which each penalty starts from."""

    def __init__(
        self,
        train: Rows,
        value_weights: Tensor | None,
        label_smoothing: float,
        device: str,
        *,
        tuner: ThreadTuner | None,
    ) -> None:
        # One row per class.
        self._targets = train[1].to(device).T.contiguous()
        # One copy, modified in place, as for one label per image.
        self._inputs = train[0].to(device, torch.float32, copy=True)
        self.mean, self.std = standardization(self._inputs)
        self._inputs.sub_(self.mean).div_(self.std)
        num_classes = len(self._targets)
        ratios = torch.ones(2, num_classes) if value_weights is None else value_weights.float()
        self._value_weights = ratios.to(device)
        self._label_smoothing = label_smoothing
        self._tuner = tuner or ThreadTuner(is_fixed=device != "cpu")
        self._weights = torch.zeros(num_classes, self._inputs.shape[1] + 1, device=device)
        self.num_weights = self._weights.shape[1]
        self.classes_at_once = max(1, CELLS_AT_ONCE // len(self._inputs))

    def standardized(self, features: Tensor) -> Tensor:
        """Standardizes features of other images."""
        return standardized(features, self.mean, self.std)

    def fit(self, classes: Tensor, l2: Tensor) -> tuple[Tensor, Tensor]:
        """Fits m classes with penalties [m]; returns their weights [m x 2049] and training logits [m x n]."""
        classes, l2 = classes.to(self._inputs.device), l2.to(self._inputs.device)
        targets, (of_no, of_yes) = self._targets[classes], self._value_weights[:, classes, None]
        is_yes = targets == 1
        shares = torch.where(is_yes, of_yes, of_no) * (targets >= 0)
        shares /= shares.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        aims = is_yes * (1 - self._label_smoothing) + self._label_smoothing / 2
        weights = self._weights[classes]
        with self._tuner.held():
            start = batched_lbfgs.logits_of(self._inputs, weights)
            fit = batched_lbfgs.Fit(weights, start, aims, shares)
            batched_lbfgs.minimize(
                self._inputs,
                fit,
                l2,
                max_iterations=MAX_ITERATIONS,
                tolerance_gradient=TOLERANCE_GRADIENT,
                tolerance_change=TOLERANCE_CHANGE,
                timed=self._timed,
            )
        self._weights[classes] = fit.weights
        return fit.weights, fit.logits

    def _timed(self, work: Callable[[], Tensor]) -> Tensor:
        # A trial computes the same product; its result is not used.
        while self._tuner.wants_trial:
            with self._tuner.trial():
                work()
        with self._tuner.timed():
            return work()
