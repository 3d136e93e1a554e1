"""Training the whole network: it learns, repeats itself bit for bit, and leaves BatchNorm alone when told to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from running import TINY, Trained
from torch import nn

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.errors import DataError
from resnet_cli.model import ResNet50
from resnet_cli.training import full
from resnet_cli.training.events import EpochRecord, Event, StepDone
from resnet_cli.training.full import fit_network
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.weights import load_backbone

pytest_plugins = ["small_runs"]


def digits_plan(**values: Any) -> Plan:
    if "data" not in values:
        values = {"data": "digits", "classes": "0,1", "val_fraction": 0.05} | values
    values = {"mode": "full", "epochs": 1, **TINY, **values}
    return make_plan(resolve(FinetuneConfig, values))


def train(plan: Plan, network: ResNet50) -> tuple[list[EpochRecord], list[StepDone]]:
    events: list[Event] = []
    history = fit_network(plan, network, on_best=lambda record: None, on_event=events.append)
    return history, [event for event in events if isinstance(event, StepDone)]


def fresh(plan: Plan, seed: int = 0) -> ResNet50:
    torch.manual_seed(seed)
    network = ResNet50(len(plan.dataset.classes), plan.hidden)
    load_backbone(network, plan.weights)
    return network


def test_it_learns() -> None:
    plan = digits_plan(limit=64, epochs=3, augment="none")
    history, steps = train(plan, fresh(plan))
    # The head starts at zero: every class is as likely.
    assert steps[0].loss == pytest.approx(0.693, abs=1e-3)
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    assert history[-1].train_top1 > 0.9


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    states = []
    for seed in (0, 0, 1):
        plan = digits_plan(limit=24, batch_size=8, seed=seed, head="8")
        network = fresh(plan, seed)
        train(plan, network)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


@pytest.mark.parametrize(("num_train", "batch_size", "sizes"), [(33, 32, [17, 16]), (21, 4, [4, 4, 4, 3, 3, 3])])
def test_batches_are_even_so_that_none_has_a_single_picture(
    num_train: int, batch_size: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = digits_plan(limit=num_train, batch_size=batch_size)
    seen: list[int] = []

    def look(network: ResNet50, optimizer: object, batches: Any, *_: object, **options: Any) -> list[EpochRecord]:
        seen.extend(len(labels) for _, labels in batches(1))
        assert options["steps_per_epoch"] == len(seen)
        return []

    monkeypatch.setattr(full, "fit", look)
    train(plan, fresh(plan))
    assert seen == sizes


def test_every_picture_is_seen_once_an_epoch_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = digits_plan(limit=20, batch_size=8, augment="none")
    orders: list[torch.Tensor] = []

    def look(network: ResNet50, optimizer: object, batches: Any, *_: object, **options: Any) -> list[EpochRecord]:
        orders.extend(torch.cat([inputs.sum(dim=(1, 2, 3)) for inputs, _ in batches(epoch)]) for epoch in (1, 2, 1))
        return []

    monkeypatch.setattr(full, "fit", look)
    train(plan, fresh(plan))
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0].sort().values, orders[1].sort().values)


@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_batchnorm_statistics_change_only_where_they_are_trained(full_run: Trained, train_batchnorm: bool) -> None:
    values = {"data": str(full_run.photos), "weights": str(full_run.run), "classes": None, "batch_size": 12}
    plan = dataclasses.replace(digits_plan(**values, lr=0.01), train_batchnorm=train_batchnorm)
    network = fresh(plan)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train(plan, network)
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert statistics <= changed if train_batchnorm else not statistics & changed
    # Its scale and shift are trained either way, as is everything else.
    assert {"conv1.weight", "bn1.bias", "layer4.2.conv3.weight", "fc.weight", "fc.bias"} <= changed


def test_validation_leaves_the_network_in_train_mode_for_the_next_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = digits_plan(limit=8, epochs=2)
    network = fresh(plan)
    modes: list[bool] = []
    network.bn1.register_forward_hook(lambda module, *_: modes.append(module.training))
    train(plan, network)
    # Validation runs on a folded copy, which has no BatchNorm left.
    assert modes == [True, True]
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_picture_that_breaks_during_training_is_named(full_run: Trained, tmp_path: Path) -> None:
    plan = digits_plan(data=str(full_run.photos), classes=None)
    gone = dataclasses.replace(plan.dataset.split("train")[0], source=tmp_path / "gone.jpg")
    plan = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, items=(gone, *plan.dataset.items)))
    with pytest.raises(DataError, match=r"gone\.jpg: No such file"):
        train(plan, fresh(plan))
