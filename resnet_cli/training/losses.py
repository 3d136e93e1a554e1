"""The losses, and the balancing of imbalanced classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LossName = Literal["ce", "focal", "bce"]
Balance = Literal["none", "weights", "sampler", "logit-adjust"]

#: How much less a well-classified image counts. Source: Lin et al. 2017, who find 2 best.
FOCAL_GAMMA = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """A mean over images: the loss of a batch is the mean over its parts, weighted by their sizes.

    Attributes:
        name: ``ce``, ``focal`` (well-classified images count less) or ``bce`` (each class against the rest).
        label_smoothing: Share of each target that is spread over all classes.
        class_weights: float32 [k], weight of an image of each class; None if all count the same.
        offsets: float32 [k], added to the logits; None for no offsets.
    """

    name: LossName
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    offsets: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits float32 [b x k] -> a scalar, nats.

        Targets are int64 [b], or float32 [b x k] whose rows sum to 1 (for ``bce`` without weights, any in [0, 1]).
        """
        if self.offsets is not None:
            logits = logits + self.offsets
        if self.name == "ce" and self.class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if targets.ndim == 1:
            targets = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
        # As torch smooths, for every loss; timm does the same for bce.
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[1]
        losses = _LOSSES[self.name](logits, smooth)
        if self.class_weights is not None:
            # Not divided by the sum of the weights, as F.cross_entropy(weight=...) does: the parts of a batch
            # would no longer add up.
            losses = losses * (targets * self.class_weights).sum(dim=1)
        return losses.mean()

    def path_options(self, labels: Tensor) -> dict[str, Any]:
        """The same loss for L-BFGS, as arguments of :func:`~resnet_cli.heads.logistic.fit_path`."""
        return {
            "sample_weights": None if self.class_weights is None else self.class_weights.cpu()[labels],
            "logit_offsets": self.offsets,
            "label_smoothing": self.label_smoothing,
        }


def make_loss(
    name: LossName,
    *,
    label_smoothing: float = 0.0,
    class_counts: Sequence[int],
    balance: Balance,
    device: str,
) -> Loss:
    """Returns the training loss; evaluation uses no weights, smoothing or offsets.

    Args:
        name: Name of the loss, see :class:`Loss`.
        label_smoothing: Share of each target that is spread over all classes, in [0, 1).
        class_counts: Number of training images of each class, in index order; may be 0.
        balance: ``weights`` weights the images of small classes more, ``logit-adjust`` demands larger margins
            of small classes over large ones. ``sampler`` changes the order of the images and not the loss.
        device: Device of the logits.

    Source: weights: scikit-learn's ``compute_class_weight("balanced")``. Logit adjustment: Menon et al. 2021,
    https://arxiv.org/abs/2007.07314, the logit adjusted loss with tau = 1.
    """
    # At least one image, since a logarithm or a quotient would be infinite.
    counts = np.maximum(np.asarray(class_counts, dtype=np.float64), 1)
    num_images, num_present = sum(class_counts), sum(count > 0 for count in class_counts)
    weights = num_images / (num_present * counts) if balance == "weights" else None
    offsets = np.log(counts / num_images) if balance == "logit-adjust" else None
    return Loss(name, label_smoothing, _on(device, weights), _on(device, offsets))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def _focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Each class's term of the cross-entropy, times (1 - p) ** gamma.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4, over a softmax.
    """
    log_probs = logits.log_softmax(dim=1)
    return -(targets * (1 - log_probs.exp()) ** FOCAL_GAMMA * log_probs).sum(dim=1)


def _one_against_rest(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy summed over the classes, so that gradients are as large as with cross-entropy.

    The mean in "ResNet strikes back" is for optimizers that are invariant to the scale. With SGD at the rates
    of cross-entropy a head on 5,000 CIFAR-10 images reached 77.9 % with the sum and 75.3 % with the mean
    (cross-entropy: 78.9 %).
    Source: Wightman et al. 2021, https://arxiv.org/abs/2110.00476; the sum: ``sum_classes`` of
    ``timm.loss.BinaryCrossEntropy``.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)


_LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": _cross_entropy,
    "focal": _focal,
    "bce": _one_against_rest,
}


def _on(device: str, values: NDArray[np.float64] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32, device=device)
