"""The range test finds a rate that trains, and leaves nothing behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.running import COMPUTE, TINY, run_cli, scored
from torch import Tensor, nn

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import DivergedError
from resnet_cli.model.network import ResNet50
from resnet_cli.training import lr_finder
from resnet_cli.training.loop import TrainingTask
from resnet_cli.training.lr_finder import HIGHEST, LOWEST, SAFETY, find_lr
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker
from resnet_cli.training.task_network import NetworkTraining

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow_unless_trained")

INPUTS = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS[:, 0] > 0).long()


def digits_plan(**values: Any) -> Plan:
    values = {"data": "digits", "classes": "0,1", "limit": 16, "batch_size": 8, "mode": "full", **TINY, **values}
    return make_plan(resolve(FinetuneConfig, values))


def lesson_on(inputs: Tensor) -> TrainingTask:
    def batches(epoch: int, done: int) -> Iterator[Batch]:
        for rows in torch.split(torch.arange(64), 16)[done:]:
            yield Batch(inputs[rows], LABELS[rows], 16)

    return TrainingTask(batches, lambda: scored(1.0, 0.5), lambda epoch: None, nn.functional.cross_entropy, 4)


def linear_session(peak: float = 0.01) -> TrainState:
    torch.manual_seed(0)
    network = nn.Linear(8, 2)
    group = {"params": list(network.parameters()), "lr": peak, "peak": peak, "name": "layer4"}
    train_state = TrainState(network, torch.optim.SGD([group], lr=peak, momentum=0.9), None)
    train_state.counters.micro_batch = 16
    return train_state


def test_network_optimizer_and_batchnorm_are_as_before_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_finder, "NUM_STEPS", 6)
    plan = digits_plan(lr="auto", ema=0.9)
    torch.manual_seed(0)
    training = NetworkTraining(plan, ResNet50(2))
    train_state, task = training.train_state, training.task()
    # As it would be after a step: the optimizer has momentum too.
    task.set_train_mode(1)
    taker = StepTaker(train_state, task.loss, plan.compute)
    taker.take(next(task.batches(1, 0)))
    before, peaks = train_state.capture(copy=True), [group["peak"] for group in train_state.optimizer.param_groups]
    assert before.part("optimizer.")
    find_lr(train_state, task, compute=plan.compute)
    after = train_state.capture()
    assert before.values == after.values
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(x, after.tensors[name]) for name, x in before.tensors.items())
    assert [group["peak"] for group in train_state.optimizer.param_groups] == peaks


def test_the_rate_that_it_finds_trains_better_than_far_lower_and_far_higher_ones() -> None:
    task = lesson_on(INPUTS)
    found = find_lr(linear_session(), task, compute=COMPUTE)
    assert LOWEST * SAFETY <= found <= HIGHEST * SAFETY

    def loss_after_training(lr: float) -> float:
        train_state = linear_session()
        taker = StepTaker(train_state, task.loss, COMPUTE)
        for group in train_state.optimizer.param_groups:
            group["lr"] = lr
        for _ in range(5):
            for batch in task.batches(1, 0):
                taker.take(batch)
        with torch.no_grad():
            return float(nn.functional.cross_entropy(train_state.network(INPUTS), LABELS))

    assert loss_after_training(found) < loss_after_training(found / 100)
    # Inputs a thousand times as large want a far lower rate.
    assert find_lr(linear_session(), lesson_on(1000 * INPUTS), compute=COMPUTE) < found / 10


def test_the_other_groups_keep_their_ratio_to_the_backbones() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    groups = [
        {"params": list(network[0].parameters()), "lr": 0.1, "peak": 0.1, "name": "layer4"},
        {"params": list(network[1].parameters()), "lr": 1.0, "peak": 1.0, "name": "fc"},
    ]
    train_state, seen = TrainState(network, torch.optim.SGD(groups, lr=0.1), None), list[float]()
    train_state.counters.micro_batch = 16
    train_state.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append(optimizer.param_groups[1]["lr"] / optimizer.param_groups[0]["lr"])
    )
    find_lr(train_state, lesson_on(INPUTS), compute=COMPUTE)
    assert seen == pytest.approx([10.0] * len(seen))


def test_no_finite_loss_at_all_is_an_error_and_still_leaves_nothing() -> None:
    train_state = linear_session()
    before = train_state.capture(copy=True)
    with pytest.raises(DivergedError) as caught:
        find_lr(train_state, lesson_on(torch.full_like(INPUTS, math.nan)), compute=COMPUTE)
    assert caught.value.hint and "--lr" in caught.value.hint
    assert all(torch.equal(x, before.tensors[name]) for name, x in train_state.capture().tensors.items())


@pytest.mark.parametrize("mode", ["full", "lp-ft"])
def test_the_rate_it_found_is_in_the_runs_config(
    mode: str, here: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_finder, "NUM_STEPS", 3)
    flags = ["--classes", "0,1", "--limit", 12, "--mode", mode, "--epochs", 1, "--lr", "auto", "--val-fraction", 0.05]
    for name in TINY:
        flags += ["--" + name.replace("_", "-"), TINY[name]]
    result = run_cli("finetune", "digits", *flags, "--out", "mine", "--quiet")
    assert result.exit_code == 0, result.output
    lr = float(yaml.safe_load(Path("mine/config.yaml").read_text())["lr"])
    assert LOWEST * SAFETY <= lr <= HIGHEST * SAFETY
    again = make_plan(resolve(FinetuneConfig, {}, Path("mine/config.yaml")))
    assert (again.rates.lr, again.lr_is_auto) == (lr, False)
