"""A path of penalties for several labels per image: the best head of each class so far."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_cli.heads.average_precision import average_precisions
from resnet_cli.heads.logistic import PATIENCE, Candidate
from resnet_cli.heads.platt import fit_scaling
from resnet_cli.heads.standardization import fold_standardization


@dataclasses.dataclass(frozen=True, eq=False)
class LabelCandidate(Candidate):
    """The best head of every class so far: that of ``l2`` or of a stronger penalty.

    Attributes:
        judged_loss: Mean loss in nats on the validation split over the classes that have a choice.
        penalties: The penalty of each class.
        scales: Factor of each class's fitted logits that fits the validation split.
        shifts: What is added to them after that.
    """

    judged_loss: float = 0.0
    penalties: tuple[float, ...] = ()
    scales: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.ones(0))
    shifts: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))

    @property
    def fitted_loss(self) -> float:
        """The loss by which validation chooses; it never increases along the path."""
        return self.judged_loss

    @property
    def chosen(self) -> Sequence[Any]:
        """One penalty per class."""
        return (self.penalties,)

    @property
    def weight_decay(self) -> float:
        """The geometric mean of the penalties: steps have one decay for all classes."""
        return statistics.geometric_mean(self.penalties)

    def unscaled_head(self) -> nn.Linear:
        """The head without the scales and shifts; ``head`` is changed."""
        scales, shifts = torch.from_numpy(self.scales).float(), torch.from_numpy(self.shifts).float()
        with torch.no_grad():
            self.head.weight.div_(scales[:, None])
            self.head.bias.sub_(shifts).div_(scales)
        return self.head


class LabelPath:
    """The best head of each class so far, and the classes that may still become better.

    Args:
        train_targets: Targets of the training images whose scores are recorded, int8 [n x k].
        val_targets: Targets of the validation images [v x k].
        width: Number of weights of a class, with its bias.
    """

    def __init__(self, train_targets: NDArray[np.int8], val_targets: NDArray[np.int8], width: int) -> None:
        self._train, self._val = train_targets, val_targets
        num_classes = val_targets.shape[1]
        self._is_judged = (val_targets == 1).any(axis=0) & (val_targets == 0).any(axis=0)
        self._num_worse = np.zeros(num_classes, dtype=int)
        self._is_done = np.zeros(num_classes, dtype=bool)
        self._weights = torch.zeros(num_classes, width)
        self._penalties = np.full(num_classes, np.inf)
        self._scales, self._shifts = np.ones(num_classes), np.zeros(num_classes)
        self._train_losses, self._val_losses = np.full((2, num_classes), np.inf)
        self._train_precisions, self._val_precisions = np.full((2, num_classes), np.nan)

    @property
    def left(self) -> NDArray[np.int64]:
        """The classes to fit with the next penalty: first those for which validation can choose."""
        left = np.flatnonzero(~self._is_done)
        return left[np.argsort(~self._is_judged[left], kind="stable")]

    def compare(
        self,
        classes: NDArray[np.int64],
        l2: NDArray[np.float64],
        weights: Tensor,
        *,
        train_logits: NDArray[np.float32],
        val_logits: NDArray[np.float32],
    ) -> None:
        """Keeps the heads that are better than before on validation.

        Args:
            classes: The classes, m of them.
            l2: Their penalties [m].
            weights: Their weights for standardized features, [m x 2049].
            train_logits: Logits of the training images [n x m].
            val_logits: Logits of the validation images [v x m].
        """
        scale, shift = fit_scaling(val_logits, self._val[:, classes])
        val_scaled = scale * val_logits + shift
        losses = _loss_sums(val_scaled, self._val[:, classes])
        is_judged = self._is_judged[classes]
        is_better = is_judged & (losses < self._val_losses[classes])
        self._num_worse[classes] = np.where(is_better, 0, self._num_worse[classes] + 1)
        self._is_done[classes] = is_judged & (self._num_worse[classes] == PATIENCE)
        self._penalties[classes[is_better]] = l2[is_better]
        # Classes for which validation cannot choose take the middle one of the others' penalties.
        is_better |= ~is_judged & ((l2 >= self._middle_penalty) | np.isinf(self._penalties[classes]))
        at, (chosen,) = classes[is_better], np.nonzero(is_better)
        train_scaled = scale[chosen] * train_logits[:, chosen] + shift[chosen]
        self._penalties[at], self._scales[at], self._shifts[at] = l2[chosen], scale[chosen], shift[chosen]
        self._weights[at] = weights[chosen]
        self._train_losses[at], self._val_losses[at] = _loss_sums(train_scaled, self._train[:, at]), losses[chosen]
        self._train_precisions[at] = average_precisions(train_scaled, self._train[:, at])
        self._val_precisions[at] = average_precisions(val_scaled[:, chosen], self._val[:, at])

    @property
    def judges(self) -> bool:
        """Whether validation can choose for any class."""
        return bool(self._is_judged.any())

    @property
    def is_over(self) -> bool:
        """Whether no class can become better with a weaker penalty."""
        return bool(self._is_done[self._is_judged].all())

    def candidate(self, l2: float, mean: Tensor, std: Tensor, seconds: float) -> LabelCandidate:
        """The best heads so far, for features that are not standardized."""
        num_classes, width = self._weights.shape
        head = nn.Linear(width - 1, num_classes)
        scales, shifts = torch.from_numpy(self._scales), torch.from_numpy(self._shifts)
        with torch.no_grad():
            head.weight.copy_(scales[:, None] * self._weights[:, :-1])
            head.bias.copy_(scales * self._weights[:, -1] + shifts)
        folded = fold_standardization(head, mean, std)
        assert isinstance(folded, nn.Linear)
        return LabelCandidate(
            l2=l2,
            head=folded,
            scale=1.0,
            train_loss=float(self._train_losses.sum() / max(1, (self._train >= 0).sum())),
            train_score=_mean(self._train_precisions),
            val_loss=float(self._val_losses.sum() / max(1, (self._val >= 0).sum())),
            val_score=_mean(self._val_precisions),
            seconds=seconds,
            judged_loss=float(self._val_losses[self._is_judged].sum() / max(1, (self._val >= 0).sum())),
            penalties=tuple(self._penalties.tolist()),
            scales=self._scales.copy(),
            shifts=self._shifts.copy(),
        )

    @property
    def _middle_penalty(self) -> float:
        """The one in the middle of the penalties that validation has chosen so far."""
        chosen = sorted(self._penalties[self._is_judged].tolist())
        return chosen[len(chosen) // 2] if chosen else 0.0


def _loss_sums(logits: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> NDArray[np.float64]:
    """Sum of the binary cross-entropy of each class over its known values."""
    losses = np.logaddexp(0, np.where(targets == 1, -logits, logits))
    return np.asarray(np.where(targets >= 0, losses, 0).sum(axis=0, dtype=np.float64))


def _mean(precisions: NDArray[np.float64]) -> float | None:
    defined = precisions[~np.isnan(precisions)]
    return float(defined.mean()) if len(defined) else None
