"""The losses for several labels per image: each class is a question of its own, and unknown values have no effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_cli.training.losses import FOCAL_GAMMA, Balance

LabelLossName = Literal["bce", "asl", "focal"]

#: Exponents for a yes and for a no, and by how much the probability of a yes is lowered where the target is a no.
#: Source: Ridnik et al. 2021, section 3.2.
ASL_GAMMA_YES, ASL_GAMMA_NO, ASL_CLIP = 0.0, 4.0, 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class LabelLoss:
    """A sum over the classes and a mean over the images: the loss of a batch is the mean over its parts.

    The sum gives each class the same gradients, however many classes there are, so the learning rates of single-label
    training fit: on mosaics of CIFAR-10 (10 classes, frozen, ten epochs) a head at 0.003 reaches 70.4 % mAP on 2,000
    test images with the sum; with the mean 67.7 %, and 69.2 % at 0.01, its best.

    Attributes:
        name: ``bce``, ``asl`` (asymmetric: an easy no counts far less) or ``focal`` (what is easy counts less).
        label_smoothing: Each target is moved by half of this toward the other value.
        value_weights: float32 [2 x k], weight of a no and of a yes of each class; None if all count the same.
    """

    name: LabelLossName
    label_smoothing: float = 0.0
    value_weights: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits float32 [b x k] and targets int8 [b x k] of 1, 0 and -1 (unknown) -> a scalar, nats.

        Source: smoothing: as ``keras.losses.BinaryCrossentropy(label_smoothing=...)``.
        """
        is_yes = targets == 1
        aims = is_yes * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = _LOSSES[self.name](logits, aims)
        if self.value_weights is not None:
            losses = losses * torch.where(is_yes, self.value_weights[1], self.value_weights[0])
        return torch.where(targets >= 0, losses, 0.0).sum(dim=1).mean()

    def path_options(self, targets: Tensor) -> dict[str, Any]:
        """The same loss for L-BFGS, as arguments of :func:`~resnet_cli.heads.label_logistic.fit_label_path`."""
        return {"value_weights": self.value_weights, "label_smoothing": self.label_smoothing}


def make_label_loss(
    name: LabelLossName, *, label_smoothing: float = 0.0, targets: Tensor, balance: Balance, device: str
) -> LabelLoss:
    """Returns the training loss; evaluation uses neither weights nor smoothing.

    Args:
        name: Name of the loss, see :class:`LabelLoss`.
        label_smoothing: Each target is moved by half of this toward the other value, in [0, 1).
        targets: Targets of the training images, int8 [n x k].
        balance: ``weights`` gives the yes and the no of each class the same weight in all. ``sampler`` changes the
            order of the images and not the loss.
        device: Device of the logits.

    Source: weights: scikit-learn's ``compute_class_weight("balanced")`` for each class.
    """
    if balance != "weights":
        return LabelLoss(name, label_smoothing)
    # At least one image, since a quotient would be infinite.
    counts = torch.stack([(targets == value).sum(dim=0) for value in (0, 1)]).clamp_min(1).double()
    weights = counts.sum(dim=0) / (2 * counts)
    return LabelLoss(name, label_smoothing, weights.float().to(device))


def _binary_cross_entropy(logits: Tensor, aims: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, aims, reduction="none")


def _asymmetric(logits: Tensor, aims: Tensor) -> Tensor:
    """Binary cross-entropy whose easy parts count less, above all an easy no.

    Source: Ridnik et al. 2021, https://arxiv.org/abs/2009.14119, equations 4 to 7.
    """
    probs = torch.sigmoid(logits)
    shifted = (probs - ASL_CLIP).clamp_min(0)
    of_yes = (1 - probs) ** ASL_GAMMA_YES * F.logsigmoid(logits)
    of_no = shifted**ASL_GAMMA_NO * torch.log1p(-shifted)
    return -(aims * of_yes + (1 - aims) * of_no)


def _focal(logits: Tensor, aims: Tensor) -> Tensor:
    """Binary cross-entropy, each part times the probability of the other value to the power of gamma.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4.
    """
    probs = torch.sigmoid(logits)
    of_yes = (1 - probs) ** FOCAL_GAMMA * F.logsigmoid(logits)
    of_no = probs**FOCAL_GAMMA * F.logsigmoid(-logits)
    return -(aims * of_yes + (1 - aims) * of_no)


_LOSSES: Mapping[LabelLossName, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": _binary_cross_entropy,
    "asl": _asymmetric,
    "focal": _focal,
}
