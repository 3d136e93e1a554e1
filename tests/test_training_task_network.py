"""Training the network: it learns, repeats itself bit for bit, and what is frozen stays as it was."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from support.running import TINY, IgnoringCallback, Trained, tolerance
from torch import Tensor, nn

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import STAGES, FinetuneConfig
from resnet_cli.errors import DataError, MemoryExhausted
from resnet_cli.heads.objectives import Validation
from resnet_cli.history import EpochRecord
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import load_backbone
from resnet_cli.training.events import Event, StepDone
from resnet_cli.training.loop import FitOptions, fit
from resnet_cli.training.optimizers import stage_of
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.steps import Batch, StepTaker
from resnet_cli.training.task_network import NetworkTraining, progressive_size, split_evenly, stages_in

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow_unless_trained")


def digits_plan(**values: Any) -> Plan:
    if "data" not in values:
        values = {"data": "digits", "classes": "0,1", "val_fraction": 0.05} | values
    values = {"mode": "full", "epochs": 1, **TINY, **values}
    return make_plan(resolve(FinetuneConfig, values))


def photo_plan(run: Trained, **values: Any) -> Plan:
    """Of trained weights, in two steps an epoch: the first one moves nothing below a head that is zero."""
    return digits_plan(**{"data": str(run.photos), "weights": str(run.run), "limit": 12, "batch_size": 6} | values)


def train(plan: Plan, network: ResNet50) -> tuple[list[EpochRecord], list[StepDone]]:
    events: list[Event] = []
    training = NetworkTraining(plan, network)
    options = FitOptions(epochs=plan.epochs, seed=plan.config.seed)
    callback = IgnoringCallback()
    fit(
        training.train_state,
        training.task(),
        options,
        compute=plan.step_compute,
        callback=callback,
        on_event=events.append,
    )
    return training.train_state.counters.history, [event for event in events if isinstance(event, StepDone)]


def fresh(plan: Plan, seed: int = 0) -> ResNet50:
    torch.manual_seed(seed)
    network = ResNet50(len(plan.dataset.classes), plan.hidden)
    load_backbone(network, plan.weights)
    return network


def with_a_head(network: ResNet50) -> ResNet50:
    """A head that is not zero, so that the backbone has gradients."""
    assert isinstance(network.fc, nn.Linear)
    assert isinstance(network.fc, nn.Linear)
    nn.init.normal_(network.fc.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    return network


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed_by_training(plan: Plan, network: ResNet50) -> set[str]:
    before = state_of(network)
    train(plan, network)
    return {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}


def batches_of(plan: Plan, *, epoch: int = 1, done: int = 0) -> list[Batch]:
    return list(NetworkTraining(plan, fresh(plan)).task().batches(epoch, done))


def statistics(names: Any) -> set[str]:
    return {name for name in names if name.endswith(("running_mean", "running_var"))}


def test_it_learns() -> None:
    plan = digits_plan(limit=40, batch_size=20, epochs=3, augment="none")
    history, steps = train(plan, fresh(plan))
    # The head starts at zero: every class is as likely.
    assert steps[0].loss == pytest.approx(0.693, abs=1e-3)
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    assert (history[-1].train_top1 or 0) > 0.9


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    states = []
    for seed in (0, 0, 1):
        plan = digits_plan(limit=16, batch_size=8, seed=seed, head="8", mixup=0.2, cutmix=1.0, ema=0.9)
        network = fresh(plan, seed)
        train(plan, network)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


@pytest.mark.parametrize(("num_train", "batch_size", "sizes"), [(33, 32, [17, 16]), (21, 4, [4, 4, 4, 3, 3, 3])])
def test_batches_are_even_so_that_none_has_a_single_image(num_train: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(part) for part in split_evenly(list(range(num_train)), len(sizes))] == sizes
    plan = digits_plan(limit=num_train, batch_size=batch_size)
    found = batches_of(plan)
    assert [len(batch.inputs) for batch in found] == [batch.num_images for batch in found] == sizes
    assert plan.steps_per_epoch == len(sizes)


def test_every_image_is_seen_once_an_epoch_in_another_order() -> None:
    plan = digits_plan(limit=20, batch_size=8, augment="none")
    orders = [
        torch.cat([batch.inputs.sum(dim=(1, 2, 3)) for batch in batches_of(plan, epoch=epoch)]) for epoch in (1, 2, 1)
    ]
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0].sort().values, orders[1].sort().values)


@pytest.mark.parametrize("values", [{}, {"mixup": 0.4, "cutmix": 1.0}, {"balance": "sampler", "augment": "strong"}])
def test_an_epoch_that_begins_in_its_middle_has_the_batches_of_the_whole_one(values: dict[str, Any]) -> None:
    plan = digits_plan(limit=20, batch_size=4, **values)
    whole = batches_of(plan, epoch=3)
    for done in (1, 4):
        rest = batches_of(plan, epoch=3, done=done)
        assert len(rest) == len(whole) - done
        for one, other in zip(rest, whole[done:], strict=True):
            assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def test_the_last_epochs_are_not_mixed() -> None:
    plan = digits_plan(limit=8, epochs=3, mixup=0.5, mix_off_epochs=1)
    assert [batches_of(plan, epoch=epoch)[0].targets.ndim for epoch in (1, 2, 3)] == [2, 2, 1]
    assert torch.allclose(batches_of(plan)[0].targets.sum(dim=1), torch.ones(8))


def test_a_sampled_epoch_has_each_class_equally_often() -> None:
    plan = digits_plan(limit=40, balance="sampler", batch_size=40)
    items = plan.dataset.split("train")
    few = [item for item in items if item.label == 0][:3] + [item for item in items if item.label == 1]
    rest = tuple(item for item in plan.dataset.items if item.split != "train")
    plan = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, items=(*few, *rest)))
    labels = torch.cat([batch.targets for batch in batches_of(plan)])
    assert abs(int((labels == 0).sum()) - int((labels == 1).sum())) <= 1


@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_batchnorm_statistics_change_only_where_they_are_trained(full_run: Trained, train_batchnorm: bool) -> None:
    plan = photo_plan(full_run, lr=0.01, batchnorm="train" if train_batchnorm else "eval")
    network = fresh(plan)
    changed = changed_by_training(plan, network)
    found = statistics(network.state_dict())
    assert found <= changed if train_batchnorm else not found & changed
    # Its scale and shift are trained either way, as is everything else.
    assert {"conv1.weight", "bn1.bias", "layer4.2.conv3.weight", "fc.weight", "fc.bias"} <= changed


@pytest.mark.parametrize("unfreeze", ["layer4", "layer2,layer4", "stem", "stem,layer1,layer2,layer3,layer4"])
def test_exactly_the_stages_that_are_named_train(full_run: Trained, unfreeze: str) -> None:
    plan = photo_plan(full_run, unfreeze=unfreeze, lr=0.1, batchnorm="train")
    network = with_a_head(fresh(plan))
    names = set(network.state_dict())
    trained = {name for name in names if stage_of(name) in {*unfreeze.split(","), "fc"}}
    # BatchNorm of the other stages answers with its stored statistics, and leaves them alone.
    assert changed_by_training(plan, network) == trained


def test_gradual_unfreezes_from_the_head_down(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = photo_plan(full_run, mode="gradual", epochs=3, unfreeze="layer2,layer3,layer4", lr=0.01, batchnorm="train")
    network, changed = fresh(plan), list[set[str]]()
    validate = NetworkTraining._validate
    before = state_of(network)

    def look(training: NetworkTraining) -> Validation:
        now = network.state_dict()
        changed.append({stage_of(name) for name in now if not torch.equal(before[name], now[name])})
        return validate(training)

    monkeypatch.setattr(NetworkTraining, "_validate", look)
    train(plan, network)
    assert changed == [{"layer4", "fc"}, {"layer3", "layer4", "fc"}, {"layer2", "layer3", "layer4", "fc"}]


@pytest.mark.parametrize("epochs", [1, 2, 5, 7, 30])
def test_gradual_begins_with_one_stage_and_never_freezes_one_again(epochs: int) -> None:
    found = [stages_in("gradual", STAGES, epoch=epoch, epochs=epochs) for epoch in range(1, epochs + 1)]
    assert found[0] == ("layer4",)
    for one, other in itertools.pairwise(found):
        assert other[: len(one)] == one
    if epochs >= len(STAGES):
        assert set(found[-1]) == set(STAGES)
    assert stages_in("lp-ft", ("layer4",), epoch=1, epochs=epochs) == ("layer4",)


@pytest.mark.parametrize(("num_train", "batch_size", "momentum"), [(40, 40, 0.1), (200, 2, 0.1), (250, 2, 0.08)])
def test_the_momentum_of_batchnorm_follows_the_steps(num_train: int, batch_size: int, momentum: float) -> None:
    plan = digits_plan(limit=num_train, batch_size=batch_size)
    NetworkTraining(plan, network := fresh(plan)).task().set_train_mode(1)
    found = {module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    assert found == {momentum}


def test_an_average_of_the_weights_is_what_validates(full_run: Trained) -> None:
    plain, averaged = photo_plan(full_run, lr=0.01), photo_plan(full_run, lr=0.01, average=2, epochs=2)
    assert NetworkTraining(plain, fresh(plain)).train_state.average is None
    average = NetworkTraining(averaged, fresh(averaged)).train_state.average
    assert average is not None and average.num_updates == 0


def test_accumulated_parts_make_the_undivided_step(full_run: Trained) -> None:
    states, losses = [], []
    for accumulate in (1, 3):
        plan = photo_plan(full_run, accumulate=accumulate, batch_size=12, batchnorm="eval", lr=0.01, augment="none")
        assert plan.micro_batch == 12 // accumulate
        training = NetworkTraining(plan, network := with_a_head(fresh(plan)))
        task = training.task()
        task.set_train_mode(1)
        (batch,) = task.batches(1, 0)
        for group in training.train_state.optimizer.param_groups:
            group["lr"] = group["peak"]
        losses.append(float(StepTaker(training.train_state, task.loss, plan.step_compute).take(batch)[0]))
        states.append(state_of(network))
    assert losses[0] == pytest.approx(losses[1], rel=tolerance(1e-5))
    start = state_of(with_a_head(fresh(plan)))
    # A gradient is a sum of many rounded parts.
    allowed = 1e-3 if plan.step_compute.precision == "fp32" else 0.2
    for name, tensor in states[0].items():
        step = (tensor - start[name]).float().norm()
        assert float((tensor - states[1][name]).float().norm()) <= allowed * float(step) + 1e-7, name


def test_what_goes_through_at_once_is_halved_until_a_step_fits_and_nothing_else_changes(
    full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = photo_plan(full_run, batch_size="auto")
    network = fresh(plan)
    training = NetworkTraining(plan, network)
    before = {name: x for name, x in state_of(network).items() if not name.endswith("num_batches_tracked")}
    forward, seen = ResNet50.forward, list[int]()

    def narrow(self: ResNet50, images: Tensor) -> Tensor:
        seen.append(len(images))
        if len(images) > 10:
            raise MemoryExhausted("no room")
        return forward(self, images)

    monkeypatch.setattr(ResNet50, "forward", narrow)
    training.fit_memory()
    assert (plan.batch_size, training.train_state.counters.micro_batch) == (32, 8)
    assert seen == [32, 16, 8]
    after = network.state_dict()
    assert all(torch.equal(x, after[name]) for name, x in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_size_grows_in_steps_of_32_and_ends_full() -> None:
    sizes = [progressive_size(epoch, epochs=10, start=128, full=224) for epoch in range(1, 11)]
    assert sizes[0] == 128
    assert sizes == sorted(sizes)
    assert set(sizes[6:]) == {224}
    assert all(size % 32 == 0 for size in sizes)
    assert progressive_size(1, epochs=1, start=64, full=224) == 64
    assert progressive_size(2, epochs=2, start=64, full=200) == 200


def test_an_epochs_images_have_its_size_while_validation_has_the_full_one() -> None:
    plan = digits_plan(limit=4, image_size=96, progressive=32, epochs=5)
    assert [batches_of(plan, epoch=epoch)[0].inputs.shape[-1] for epoch in (1, 3, 5)] == [32, 64, 96]
    assert plan.preprocess.crop_size == 96


def test_validation_leaves_the_network_in_train_mode_for_the_next_epoch() -> None:
    plan = digits_plan(limit=8, epochs=2)
    network = fresh(plan)
    modes: list[bool] = []
    network.bn1.register_forward_hook(lambda module, *_: modes.append(module.training))
    train(plan, network)
    # Validation runs on a folded copy, which has no BatchNorm left.
    assert modes == [True, True]
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_an_image_that_breaks_during_training_is_named(full_run: Trained, tmp_path: Path) -> None:
    plan = digits_plan(data=str(full_run.photos), classes=None)
    gone = dataclasses.replace(plan.dataset.split("train")[0], source=tmp_path / "gone.jpg")
    plan = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, items=(gone, *plan.dataset.items)))
    with pytest.raises(DataError, match=r"gone\.jpg: No such file"):
        train(plan, fresh(plan))
