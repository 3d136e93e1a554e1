"""Which rate and decay each parameter gets, and that a step is torch's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from resnet_cli.model.network import NUM_FEATURES, ResNet50, make_head
from resnet_cli.training.optimizers import (
    STAGES,
    OptimizerName,
    Rates,
    make_head_optimizer,
    make_optimizer,
    stage_of,
)

RATES = Rates("sgd", lr=0.1, head_lr=0.5, weight_decay=0.01, layer_decay=0.5)


@pytest.fixture(scope="module")
def network() -> ResNet50:
    return ResNet50(3, hidden=(4,))


def by_parameter(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    return {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}


def test_every_parameter_has_a_stage(network: ResNet50) -> None:
    stages = dict.fromkeys(stage_of(name) for name, _ in network.named_parameters())
    assert tuple(stages) == (*STAGES, "fc")
    assert [stage_of(name) for name in ("conv1.weight", "bn1.bias", "layer3.0.conv1.weight", "fc.0.bias")] == [
        "stem",
        "stem",
        "layer3",
        "fc",
    ]


def test_each_parameter_trains_at_the_rate_of_its_stage_and_only_matrices_decay(network: ResNet50) -> None:
    found = by_parameter(make_optimizer(network, RATES))
    peaks = {"stem": 0.1 / 16, "layer1": 0.1 / 8, "layer2": 0.1 / 4, "layer3": 0.1 / 2, "layer4": 0.1, "fc": 0.5}
    assert len(found) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        group = found[id(parameter)]
        assert group["name"] == stage_of(name)
        assert group["lr"] == group["peak"] == pytest.approx(peaks[stage_of(name)])
        assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0)


def test_there_is_one_group_for_each_stage_and_decay_in_the_order_of_the_network(network: ResNet50) -> None:
    groups = make_optimizer(network, RATES).param_groups
    found = [(group["name"], group["weight_decay"]) for group in groups]
    assert found == [(stage, decay) for stage in (*STAGES, "fc") for decay in (0.01, 0.0)]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_does_not_train_is_left_out(kind: OptimizerName) -> None:
    network = ResNet50(2)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(stage_of(name) in {"layer4", "fc"})
    network.layer4[0].conv1.requires_grad_(False)
    optimizer = make_optimizer(network, dataclasses.replace(RATES, optimizer=kind))
    assert [group["name"] for group in optimizer.param_groups] == ["layer4", "layer4", "fc", "fc"]
    trained = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    assert set(by_parameter(optimizer)) == trained


def test_a_frozen_backbone_needs_no_rate() -> None:
    network = ResNet50(2)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(stage_of(name) == "fc")
    optimizer = make_optimizer(network, dataclasses.replace(RATES, lr=None))
    assert [(group["name"], group["peak"]) for group in optimizer.param_groups] == [("fc", 0.5), ("fc", 0.5)]


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_a_lone_head_trains_at_the_heads_rate(hidden: tuple[int, ...]) -> None:
    head = make_head(3, hidden)
    groups = make_head_optimizer(head, dataclasses.replace(RATES, lr=None)).param_groups
    assert [(group["name"], group["peak"], group["weight_decay"]) for group in groups] == [
        ("fc", 0.5, 0.01),
        ("fc", 0.5, 0.0),
    ]
    assert sum(len(group["params"]) for group in groups) == len(list(head.parameters()))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_steps_are_torchs_own(kind: OptimizerName) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(NUM_FEATURES, 3), nn.Linear(NUM_FEATURES, 3)
    theirs.load_state_dict(ours.state_dict())
    optimizer = make_head_optimizer(ours, Rates(kind, None, head_lr=0.01, weight_decay=0.1))
    decayed: list[dict[str, Any]] = [
        {"params": [theirs.weight], "weight_decay": 0.1},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    reference: torch.optim.Optimizer = (
        torch.optim.SGD(decayed, lr=0.01, momentum=0.9, nesterov=True)
        if kind == "sgd"
        else torch.optim.AdamW(decayed, lr=0.01)
    )
    inputs, labels = torch.randn(5, NUM_FEATURES), torch.tensor([0, 1, 2, 0, 1])
    for _ in range(3):
        for head, one in ((ours, optimizer), (theirs, reference)):
            one.zero_grad()
            nn.functional.cross_entropy(head(inputs), labels).backward()  # type: ignore[no-untyped-call]
            one.step()
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_names_and_peaks_survive_a_checkpoint() -> None:
    head = make_head(2, ())
    first = make_head_optimizer(head, RATES)
    first.param_groups[0]["lr"] = 0.001
    second = make_head_optimizer(head, RATES)
    second.load_state_dict(first.state_dict())
    assert [(group["name"], group["lr"], group["peak"]) for group in second.param_groups] == [
        ("fc", 0.001, 0.5),
        ("fc", 0.5, 0.5),
    ]
