"""Probabilities from features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnet_cli.engines.feature_rows import AnyFeatures, blocks
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.task import TaskName


def head_probs(
    head: nn.Module, features: AnyFeatures, temperature: float = 1.0, *, task: TaskName = "single-label"
) -> Tensor:
    """Features [n x 2048] -> probabilities [n x k], both on the CPU, in float32.

    Args:
        head: Head from :func:`~resnet_cli.model.network.make_head`, on any device and in any mode; not modified.
        features: Features of any float dtype, in memory or on disk.
        temperature: Divisor of the logits.
        task: Whether the probabilities of an image sum to 1, or each class has a probability of its own.
    """
    # Without dropout, the layers do the same in both modes, so the head need not be copied to switch its mode.
    layers = nn.Sequential(*(layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.ReLU)))
    on_cpu = {name: parameter.detach().cpu() for name, parameter in layers.named_parameters()}
    with torch.inference_mode():
        # In slices, since the hidden layers of a million images would not fit into memory.
        logits = torch.cat(
            [torch.func.functional_call(layers, on_cpu, rows.float()) for rows in blocks(features, 4096)]
        )
        return OBJECTIVES[task].probs(logits / temperature)
