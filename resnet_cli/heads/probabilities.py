"""Probabilities from features, and the metrics of the validation split after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from resnet_cli.heads.temperature import fit_temperature
from resnet_cli.task import TaskName

#: Task -> logits [n x k] to probabilities [n x k].
ACTIVATIONS: Mapping[TaskName, Callable[[Tensor], Tensor]] = {
    "single-label": lambda logits: torch.softmax(logits, dim=1),
    "multi-label": torch.sigmoid,
}


def head_probs(
    head: nn.Module, features: Tensor, temperature: float = 1.0, *, task: TaskName = "single-label"
) -> Tensor:
    """Features [n x 2048] -> probabilities [n x k], both on the CPU, in float32.

    Args:
        head: Head from :func:`~resnet_cli.model.network.make_head`, on any device and in any mode; not modified.
        features: Features of any float dtype.
        temperature: Divisor of the logits.
        task: Whether the rows add up to 1, or each class has a probability of its own.
    """
    # Without dropout, the layers do the same in both modes, so the head need not be copied to switch its mode.
    layers = nn.Sequential(*(layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.ReLU)))
    on_cpu = {name: parameter.detach().cpu() for name, parameter in layers.named_parameters()}
    with torch.inference_mode():
        # In slices, since the hidden layers of a million images would not fit into memory.
        logits = torch.cat(
            [torch.func.functional_call(layers, on_cpu, rows.float()) for rows in torch.split(features, 4096)]
        )
        return ACTIVATIONS[task](logits / temperature)


def loss_and_top1(probs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss in nats and top-1, without scikit-learn.

    Args:
        probs: Probabilities [n x k].
        labels: Labels int64 [n].
    """
    true_probs = probs.gather(1, labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
    return float(-true_probs.log().mean()), float((probs.argmax(dim=1) == labels).double().mean())


class Validation(NamedTuple):
    """Metrics of the validation split after an epoch.

    Attributes:
        loss: Mean loss in nats.
        top1: Share of correct predictions.
        fitted_loss: Loss at the best temperature for these images, so that over- or underconfidence does not matter.
    """

    loss: float
    top1: float
    fitted_loss: float


def validate(probs: Tensor, labels: Tensor) -> Validation:
    """Computes the metrics of a validation split, without scikit-learn.

    Args:
        probs: Probabilities [n x k], on the CPU.
        labels: Labels int64 [n].
    """
    logits = probs.double().clamp_min(torch.finfo(torch.float32).tiny).log()
    temperature = fit_temperature(logits.numpy(), labels.numpy())
    fitted_loss, _ = loss_and_top1(torch.softmax(logits / temperature, dim=1), labels)
    return Validation(*loss_and_top1(probs, labels), fitted_loss)
