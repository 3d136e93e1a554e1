"""Standardized features: heads are fitted to them, and converted to raw features at the end."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from resnet_cli.errors import DivergedError

#: Share of the mean variance that is added to the variance of each feature: otherwise features that hardly vary in a
#: few images would be scaled up too much. Values from 0.03 to 0.3 give the same results. Source: benchmarks/head.py.
VARIANCE_FLOOR = 0.1


def standardization(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the (floored) standard deviation of each feature, [2048] both.

    Args:
        features: float32 [n x 2048], n at least 1.

    Raises:
        DivergedError: A feature is not a finite number.
    """
    check_finite(features)
    mean = features.mean(dim=0)
    variance = features.var(dim=0, correction=0)
    # The minimum matters only if no feature varies at all (a constant backbone).
    return mean, (variance + VARIANCE_FLOOR * variance.mean()).sqrt().clamp_min(1e-6)


def standardized(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Features of other images, of any float dtype, minus the mean and divided by the standard deviation, in float32.

    Raises:
        DivergedError: A feature is not a finite number.
    """
    check_finite(features)
    return features.to(mean.device, torch.float32, copy=True).sub_(mean).div_(std)


def fold_standardization(head: nn.Module, mean: Tensor, std: Tensor) -> nn.Module:
    """Returns a copy of the head, on the CPU, for raw features x instead of (x - mean) / std.

    Args:
        head: A linear layer, or a sequence that starts with one.
        mean: Mean of each feature [2048].
        std: Standard deviation of each feature [2048], positive.
    """
    folded = copy.deepcopy(head).cpu()
    first = folded if isinstance(folded, nn.Linear) else folded[0]  # type: ignore[index]
    with torch.no_grad():
        # In float64, on the CPU since not every GPU has it: the bias is a difference of large sums.
        weight = first.weight.double() / std.cpu().double()
        first.bias.copy_(first.bias.double() - weight @ mean.cpu().double())
        first.weight.copy_(weight)
    return folded


def not_finite() -> DivergedError:
    """The error for features that are not finite numbers."""
    return DivergedError(
        "the backbone's features are not finite numbers",
        hint="try --precision fp32; if that does not help, the weights are damaged: choose others with --weights",
    )


def check_finite(features: Tensor) -> None:
    """Raises :class:`DivergedError` if a feature is not a finite number; features are [n x d]."""
    # A sum is not finite if any of its terms is not, and takes no memory.
    if not bool(torch.isfinite(features.sum(dim=0, dtype=torch.float32)).all()):
        raise not_finite()
