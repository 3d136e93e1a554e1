"""A model's answers to labelled pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.data.dataset import Item
from resnet_cli.device import Compute
from resnet_cli.evaluation.calibration import fit_temperature
from resnet_cli.evaluation.scores import Evaluation, Tta, score
from resnet_cli.features import Progress, extract_features
from resnet_cli.model import Model
from resnet_cli.reliability import novelty


def evaluate(
    model: Model, items: Sequence[Item], compute: Compute, *, tta: Tta = "none", on_progress: Progress | None = None
) -> Evaluation:
    """Answers labelled pictures and scores the answers.

    Args:
        model: Its classes are what the items' labels index.
        items: At least one.
        compute: Device and precision.
        tta: ``flip`` also looks at the mirror images: two passes.
        on_progress: Called with (pictures done, pictures in all); of two passes each picture counts twice.

    Raises:
        DataError: Pictures that cannot be read; all are named.
    """
    passes = (False, True) if tta == "flip" else (False,)
    probs, novel = [], None
    for index, mirrored in enumerate(passes):

        def of_all(done: int, total: int, before: int = index * len(items)) -> None:
            if on_progress:
                on_progress(before + done, len(passes) * total)

        features = extract_features(
            model.network, items, model.preprocess, compute, mirrored=mirrored, on_progress=of_all
        )
        probs.append(head_probs(model.network.fc, features, model.temperature))
        if not mirrored and model.reference is not None:
            novel = novelty(features.numpy(), model.reference)
    mean = torch.stack(probs).mean(dim=0)
    labels = np.array([item.label for item in items], dtype=np.int64)
    scores = score(mean.numpy(), labels, model.classes, [item.name for item in items])
    unfamiliar = None
    if novel is not None and model.reliability is not None:
        unfamiliar = novel > model.reliability.most_novel
    return dataclasses.replace(scores, tta=tta, novelty=novel, temperature=model.temperature, is_unfamiliar=unfamiliar)


def head_probs(head: nn.Module, features: Tensor, temperature: float = 1.0) -> Tensor:
    """Features [n x 2048] -> probabilities [n x k] whose rows add up to 1, both on the CPU, in float32.

    Args:
        head: From :func:`~resnet_cli.model.make_head`, on any device, in any mode; is not changed.
        features: Of any float dtype.
        temperature: Logits are divided by it before softmax.
    """
    # Without dropout the layers do the same in either mode: the head need not be copied to be switched.
    layers = nn.Sequential(*(layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.ReLU)))
    on_cpu = {name: parameter.detach().cpu() for name, parameter in layers.named_parameters()}
    with torch.inference_mode():
        # In slices: the hidden layers of a million pictures would not fit at once.
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
        fitted_loss: The loss at the temperature that suits these pictures best: of two networks that rank pictures
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
