"""What a head is trained for, by task: probabilities from logits, and the loss and the score of predictions."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from resnet_cli.heads.average_precision import mean_average_precision
from resnet_cli.heads.platt import fit_scaling
from resnet_cli.heads.temperature import fit_temperature
from resnet_cli.task import TASKS, Task, TaskName

#: Replaces a smaller probability of what is true before taking its logarithm.
_TINY = torch.finfo(torch.float32).tiny
#: Probabilities in float32 are not nearer to 1 than this, so that one that was rounded to 1 is not infinitely wrong.
_FROM_ONE = torch.finfo(torch.float32).eps / 2


class Validation(NamedTuple):
    """Metrics of the validation split after an epoch.

    Attributes:
        loss: Mean loss in nats.
        score: Top-1 or mAP; None where mAP is not defined.
        fitted_loss: Loss at the best temperature (multi-label: the best scale and shift of each class) for these
            images, so that over- or underconfidence does not matter.
    """

    loss: float
    score: float | None
    fitted_loss: float


class Objective(abc.ABC):
    """The objective of a head, without scikit-learn.

    Targets are those of the task: labels int64 [n], or int8 [n x k] of which -1, unknown, has no effect.

    Attributes:
        task: The task.
    """

    task: ClassVar[Task]

    @abc.abstractmethod
    def probs(self, logits: Tensor) -> Tensor:
        """Logits [n x k] -> probabilities [n x k]."""

    @abc.abstractmethod
    def loss_and_score(self, probs: Tensor, targets: Tensor) -> tuple[float, float | None]:
        """Mean loss in nats, and top-1 or mAP (None where it is not defined)."""

    @abc.abstractmethod
    def validate(self, probs: Tensor, targets: Tensor) -> Validation:
        """The metrics of a validation split from probabilities [n x k], on the CPU."""

    @abc.abstractmethod
    def count(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What is counted in every training batch, so that :meth:`train_metrics` can be computed from the sums.

        Args:
            logits: Logits [b x k].
            targets: The task's targets, or those of mixed images, float32 [b x k].
        """

    @abc.abstractmethod
    def train_metrics(self, loss_sum: float, count: float, num_images: float) -> tuple[float, float | None]:
        """Mean loss and score over an epoch's images as seen in training.

        Args:
            loss_sum: Sum over the images of the training loss.
            count: Sum of :meth:`count`.
            num_images: Number of images.
        """

    def step_loss(self, loss: float, sums: Sequence[float]) -> float:
        """The loss that is shown after a step: that of its batch.

        Args:
            loss: Training loss of the batch, mean over its images.
            sums: The arguments of :meth:`train_metrics` for the epoch so far.
        """
        return loss


def loss_and_top1(probs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss in nats and top-1.

    Args:
        probs: Probabilities [n x k].
        labels: Labels int64 [n].
    """
    true_probs = probs.gather(1, labels[:, None]).clamp_min(_TINY)
    return float(-true_probs.log().mean()), float((probs.argmax(dim=1) == labels).double().mean())


class SingleLabelObjective(Objective):
    """Softmax, cross-entropy and top-1."""

    task = TASKS["single-label"]

    def probs(self, logits: Tensor) -> Tensor:
        """Softmax over the classes."""
        return torch.softmax(logits, dim=1)

    def loss_and_score(self, probs: Tensor, targets: Tensor) -> tuple[float, float]:
        """Mean cross-entropy and top-1."""
        return loss_and_top1(probs, targets)

    def validate(self, probs: Tensor, targets: Tensor) -> Validation:
        """Fits one temperature."""
        logits = probs.double().clamp_min(_TINY).log()
        temperature = fit_temperature(logits.numpy(), targets.numpy())
        fitted_loss, _ = loss_and_top1(torch.softmax(logits / temperature, dim=1), targets)
        return Validation(*loss_and_top1(probs, targets), fitted_loss)

    def count(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Images whose most probable class is that of the target."""
        return (logits.argmax(dim=1) == (targets if targets.ndim == 1 else targets.argmax(dim=1))).sum()

    def train_metrics(self, loss_sum: float, count: float, num_images: float) -> tuple[float, float]:
        """Mean over the images, and top-1."""
        return loss_sum / num_images, count / num_images


class MultiLabelObjective(Objective):
    """A sigmoid for each class, the binary cross-entropy of the known values, and mAP."""

    task = TASKS["multi-label"]

    def probs(self, logits: Tensor) -> Tensor:
        """Sigmoid of each logit."""
        return torch.sigmoid(logits)

    def loss_and_score(self, probs: Tensor, targets: Tensor) -> tuple[float, float | None]:
        """Mean binary cross-entropy over the known values, and macro mAP."""
        is_known = targets >= 0
        true_probs = torch.where(targets == 1, probs, (1 - probs).clamp_min(_FROM_ONE)).clamp_min(_TINY)
        loss = -torch.where(is_known, true_probs.log(), 0.0).sum(dtype=torch.float64) / is_known.sum().clamp_min(1)
        score = mean_average_precision(probs.numpy(force=True), targets.numpy(force=True))
        # NaN where no class has both a yes and a no.
        return float(loss), score if score == score else None

    def validate(self, probs: Tensor, targets: Tensor) -> Validation:
        """Fits a scale and a shift of each class."""
        logits = torch.logit(probs.double().clamp(_TINY, 1 - _FROM_ONE))
        scale, shift = (torch.from_numpy(x) for x in fit_scaling(logits.numpy(), targets.numpy()))
        fitted_loss, _ = self.loss_and_score(torch.sigmoid(scale * logits + shift), targets)
        return Validation(*self.loss_and_score(probs, targets), fitted_loss)

    def count(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Known values, over which the training loss is a sum."""
        return (targets >= 0).sum()

    def train_metrics(self, loss_sum: float, count: float, num_images: float) -> tuple[float, None]:
        """Mean over the known values; mAP is no sum over images."""
        return loss_sum / max(count, 1), None

    def step_loss(self, loss: float, sums: Sequence[float]) -> float:
        """The mean over the known values of the epoch so far, in the unit of the loss that is shown after it."""
        return self.train_metrics(*sums)[0]


OBJECTIVES: Mapping[TaskName, Objective] = {
    one.task.name: one for one in (SingleLabelObjective(), MultiLabelObjective())
}
