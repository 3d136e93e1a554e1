"""An image that goes through the network alone does not train BatchNorm where it has no batch statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.running import COMPUTE, TINY, run_cli
from torch import Tensor, nn

from resnet_cli import finetune
from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError, MemoryExhausted
from resnet_cli.model.network import ResNet50
from resnet_cli.training.batchnorm import ONE_PIXEL_PX, smallest_pass
from resnet_cli.training.optimizers import Rates, make_optimizer
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow")

DIGITS: dict[str, Any] = {**TINY, "data": "digits", "classes": "0,1", "limit": 12, "val_fraction": 0.05}
#: Batches of three images, of which two go through the network at once, and then one.
ODD: dict[str, Any] = {"mode": "full", "batchnorm": "train", "batch_size": 3, "accumulate": 2}


def plan_for(**values: Any) -> Plan:
    return make_plan(resolve(FinetuneConfig, {**DIGITS, "mode": "full", **values}))


def step_taker(micro_batch: int) -> tuple[ResNet50, StepTaker]:
    torch.manual_seed(0)
    network = ResNet50(2).train()
    state = TrainState(network, make_optimizer(network, Rates("sgd", 0.1, 0.1, 0.0, 1.0)), None)
    state.counters.micro_batch = micro_batch
    return network, StepTaker(state, nn.CrossEntropyLoss(), COMPUTE)


def images(count: int, size: int = ONE_PIXEL_PX) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % 2, count)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in network.named_buffers()}


@pytest.mark.parametrize(
    ("values", "named", "way"),
    [
        ({"batchnorm": "train", "batch_size": 1}, "--batch-size 1:", "--batch-size 2 or more, or --batchnorm eval"),
        ({"batchnorm": "train", "batch_size": 8, "accumulate": 8}, "--accumulate 8:", "--batch-size 16 or more, or"),
        ({"batchnorm": "train", "batch_size": 2, "devices": 2}, "--devices 2:", "--batch-size 4 or more, or"),
        # Random weights have no statistics that could be kept.
        ({"batch_size": 1}, "--batch-size 1:", "--batch-size 2 or more"),
        ({"batch_size": 4, "accumulate": 4, "mode": "lp-ft"}, "--accumulate 4:", "--batch-size 8 or more"),
    ],
)
def test_images_that_all_go_alone_are_refused_with_the_way_out(values: dict[str, Any], named: str, way: str) -> None:
    with pytest.raises(ConfigError, match="BatchNorm") as caught:
        plan_for(**values)
    assert named in caught.value.message and way in str(caught.value.hint)
    assert ("--batchnorm eval" in str(caught.value.hint)) == (values.get("batchnorm") == "train")


def test_the_way_out_is_one() -> None:
    assert plan_for(batchnorm="train", batch_size=2).train_batchnorm
    assert plan_for(batchnorm="train", batch_size=16, accumulate=8).micro_batch == 2
    assert not plan_for(batchnorm="eval", batch_size=1).train_batchnorm
    assert plan_for(batchnorm="train", batch_size=1, image_size=64).micro_batch == 1


def test_a_single_image_is_trained_on_with_the_statistics_of_the_weights(here: Path, no_plots: None) -> None:
    finetune(**{**DIGITS, "mode": "full", "epochs": 1, "batch_size": 4, "out": here / "first"})
    values = {**DIGITS, "mode": "full", "weights": str(here / "first"), "epochs": 1, "batch_size": 1}
    result = finetune(**values, out=here / "second")
    assert result.history[0].train_loss > 0


@pytest.mark.parametrize("more", [{}, {"lr": "auto"}, {"mode": "gradual", "epochs": 2}, {"ema": 0.9}], ids=str)
def test_an_odd_image_at_the_end_of_each_batch_is_trained_on(
    more: dict[str, Any], here: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[int]()
    forward = ResNet50.forward

    def count(self: ResNet50, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ResNet50, "forward", count)
    finetune(**{**DIGITS, **ODD, "epochs": 1, "out": here / "run", **more})
    assert 1 in sizes


def test_the_odd_image_leaves_the_statistics_to_the_others() -> None:
    network, taker = step_taker(2)
    batch = images(3)
    before = statistics(network)
    taker.take(batch)
    odd = statistics(network)
    network, taker = step_taker(2)
    taker.take(Batch(batch.inputs[:2], batch.targets[:2], 3))
    assert all(torch.equal(odd[name], x) for name, x in statistics(network).items())
    assert any(not torch.equal(odd[name], x) for name, x in before.items())
    assert all(module.training for module in network.modules())


def test_the_odd_image_has_a_part_in_the_gradient() -> None:
    weights = []
    for change in (0.0, 1.0):
        network, taker = step_taker(2)
        for group in taker._train_state.optimizer.param_groups:
            group["lr"] = group["peak"]
        batch = images(3)
        batch.inputs[2] += change
        taker.take(batch)
        weights.append(network.state_dict()["fc.weight"].clone())
    assert not torch.equal(*weights)


def test_a_larger_image_alone_has_statistics_as_in_torch() -> None:
    network, taker = step_taker(2)
    before = statistics(network)
    taker.take(images(1, size=ONE_PIXEL_PX + 1))
    after = statistics(network)
    assert int(after["layer4.1.num_batches_tracked"]) == 1
    assert not torch.equal(after["layer4.1.running_mean"], before["layer4.1.running_mean"])


def test_a_shortage_of_memory_does_not_divide_a_batch_into_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    network, taker = step_taker(8)
    assert smallest_pass(network, ONE_PIXEL_PX) == 2 and smallest_pass(network, 64) == 1
    assert smallest_pass(network.eval(), ONE_PIXEL_PX) == 1
    network.train()
    sizes = list[int]()

    def too_large(images: Tensor) -> Tensor:
        sizes.append(len(images))
        raise MemoryExhausted("no room")

    monkeypatch.setattr(network, "forward", too_large)
    with pytest.raises(MemoryExhausted):
        taker.take(images(8))
    assert sizes == [8, 4, 2]


def test_the_command_says_so_without_a_traceback(here: Path) -> None:
    flags = ["--classes", "0,1", "--limit", 12, "--weights", "none", "--image-size", 32, "--device", "cpu"]
    result = run_cli("finetune", "digits", "--mode", "full", "--batch-size", 1, *flags)
    assert result.exit_code == 2 and "--batch-size 2 or more" in result.stderr
    assert not list(here.iterdir())
