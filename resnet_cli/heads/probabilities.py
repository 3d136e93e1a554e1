"""Features to probabilities, and what is measured on the validation split after every epoch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from resnet_cli.heads.temperature import fit_temperature


def head_probs(head: nn.Module, features: Tensor, temperature: float = 1.0) -> Tensor:
    """Features [n x 2048] -> probabilities [n x k] whose rows add up to 1, both on the CPU, in float32.

    Args:
        head: From :func:`~resnet_cli.model.network.make_head`, on any device, in any mode; is not changed.
        features: Of any float dtype.
        temperature: Logits are divided by it before softmax.
    """
    # Without dropout the layers do the same in either mode: the head need not be copied to be switched.
    layers = nn.Sequential(*(layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.ReLU)))
    on_cpu = {name: parameter.detach().cpu() for name, parameter in layers.named_parameters()}
    with torch.inference_mode():
        # In slices: the hidden layers of a million images would not fit at once.
        logits = torch.cat(
            [torch.func.functional_call(layers, on_cpu, rows.float()) for rows in torch.split(features, 4096)]
        )
        return torch.softmax(logits / temperature, dim=1)


def loss_and_top1(probs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean nats and share of right answers: what is needed every epoch, without scikit-learn.

    Args:
        probs: [n x k].
        labels: int64 [n].
    """
    true_probs = probs.gather(1, labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
    return float(-true_probs.log().mean()), float((probs.argmax(dim=1) == labels).double().mean())


class Validation(NamedTuple):
    """What is looked at after every epoch.

    Attributes:
        loss: Mean nats.
        top1: Share of right answers.
        fitted_loss: The loss at the temperature that suits these images best: of two networks that rank images
            equally well neither loses for being too modest or too sure.
    """

    loss: float
    top1: float
    fitted_loss: float


def validate(probs: Tensor, labels: Tensor) -> Validation:
    """Scores the answers to a validation split, without scikit-learn.

    Args:
        probs: [n x k] on the CPU.
        labels: int64 [n].
    """
    logits = probs.double().clamp_min(torch.finfo(torch.float32).tiny).log()
    temperature = fit_temperature(logits.numpy(), labels.numpy())
    fitted_loss, _ = loss_and_top1(torch.softmax(logits / temperature, dim=1), labels)
    return Validation(*loss_and_top1(probs, labels), fitted_loss)
