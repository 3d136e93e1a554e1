"""Optimizers with a learning rate and a weight decay for each stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

OptimizerName = Literal["sgd", "adamw"]

#: Stages of the backbone, in the order of the network; the stem is the first convolution and its BatchNorm.
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
#: Source: He et al. 2016, section 3.4.
MOMENTUM = 0.9
_STEM = {"conv1", "bn1"}


@dataclasses.dataclass(frozen=True)
class Rates:
    """Optimizer, peak learning rates and weight decay.

    Attributes:
        optimizer: ``sgd`` (with Nesterov momentum) or ``adamw``.
        lr: Peak learning rate of the last stage; None if the backbone is frozen.
        head_lr: Peak learning rate of the head.
        weight_decay: Weight decay of matrices and convolutions; vectors have none. None until L-BFGS has chosen the
            penalty of the head from which steps start; the steps then continue with the same penalty.
        layer_decay: Learning rate of each stage relative to the stage after it.
    """

    optimizer: OptimizerName
    lr: float | None
    head_lr: float
    weight_decay: float | None
    layer_decay: float = 1.0

    def peak(self, stage: str) -> float:
        """The peak learning rate of a stage, or of the head (``fc``).

        Source: Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2, with the factor left open.
        """
        if stage == "fc":
            return self.head_lr
        assert self.lr is not None
        return self.lr * self.layer_decay ** (len(STAGES) - 1 - STAGES.index(stage))


def stage_of(parameter_name: str) -> str:
    """The stage of a parameter of the network; ``fc`` is the head."""
    part = parameter_name.partition(".")[0]
    stage = "stem" if part in _STEM else part
    assert stage in (*STAGES, "fc"), parameter_name
    return stage


def make_optimizer(network: nn.Module, rates: Rates) -> torch.optim.Optimizer:
    """Returns an optimizer of the network's trainable parameters.

    Args:
        network: Network on its device; parameters that require no gradient are omitted.
        rates: Learning rates and weight decay.

    Returns:
        The optimizer. Besides torch's own keys, each group has ``name`` (the stage) and ``peak`` (the peak learning
        rate); the groups have the order of the network.
    """
    return _make([(stage_of(name), parameter) for name, parameter in network.named_parameters()], rates)


def make_head_optimizer(head: nn.Module, rates: Rates) -> torch.optim.Optimizer:
    """Returns an optimizer of a head without its backbone."""
    return _make([("fc", parameter) for parameter in head.parameters()], rates)


def _make(parts: Sequence[tuple[str, nn.Parameter]], rates: Rates) -> torch.optim.Optimizer:
    """Makes one group for each stage and each weight decay in it.

    BatchNorm's parameters and biases, which are vectors, have no weight decay.
    Source: He et al. 2019, https://arxiv.org/abs/1812.01187, section 3.1.
    """
    assert rates.weight_decay is not None
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for stage, parameter in parts:
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1
        if (stage, decays) not in groups:
            peak = rates.peak(stage)
            weight_decay = rates.weight_decay if decays else 0.0
            groups[stage, decays] = {
                "params": [],
                "name": stage,
                "lr": peak,
                "peak": peak,
                "weight_decay": weight_decay,
            }
        groups[stage, decays]["params"].append(parameter)
    made = list(groups.values())
    # Fused: one pass over 25 million weights instead of one pass for each term of the update.
    fused = made[0]["params"][0].device.type in {"cpu", "cuda"}
    if rates.optimizer == "adamw":
        return torch.optim.AdamW(made, fused=fused)
    optimizer = torch.optim.SGD(made, lr=rates.head_lr, momentum=MOMENTUM, nesterov=True, fused=fused)
    for _, parameter in parts:
        if parameter.requires_grad:
            # The first step is the same with zeros. Torch leaves the momentum uninitialized if the first step is
            # skipped because a gradient is not finite, as the first steps in float16 often are.
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
