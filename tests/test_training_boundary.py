"""What frozen stages make of views is computed once and kept: the training stays the same, the disk stays bounded."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import FP32, TINY, IgnoringKeeper, run_cli
from torch import Tensor, nn

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.data.decoded import DISK_SHARE
from resnet_cli.errors import ConfigError, DiskError
from resnet_cli.model import ResNet50
from resnet_cli.preprocess import Preprocess
from resnet_cli.training import range_test
from resnet_cli.training.boundary import FrozenStages, TrainedStages, features_from
from resnet_cli.training.cached_views import (
    STAGE_SHARES,
    VIEWS,
    Setting,
    activation_shape,
    choose_cached_views,
    num_bytes,
    num_forwards,
    saving,
)
from resnet_cli.training.events import EpochRecord, Event, StepDone, WorkDone
from resnet_cli.training.finetune import finetune, run_plan
from resnet_cli.training.full import NetworkTraining
from resnet_cli.training.kept_views import KeptView, activations_dir, room_bytes
from resnet_cli.training.loop import Course, fit
from resnet_cli.training.optimizers import STAGES
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.range_test import find_lr
from resnet_cli.training.recipe import Recipe
from resnet_cli.training.resume import find_run, plan_resumed
from resnet_cli.weights import load_model

pytest_plugins = ["narrow", "small_runs"]
pytestmark = pytest.mark.usefixtures("narrow", "no_plots", "here")

#: 12 pictures in 3 steps an epoch, of which the last stage and the head learn.
LAST_STAGE: dict[str, Any] = {
    **TINY, "data": "digits", "classes": "0,1,2", "limit": 12, "val_fraction": 0.05, "batch_size": 4, "epochs": 4,
    "mode": "full", "unfreeze": "layer4", "optimizer": "sgd", "lr": 0.01, "augment": "standard",
}  # fmt: skip
#: Pictures of 32 px, of which a group holds 5.
PREPROCESS = Preprocess(resize_size=32, crop_size=32)
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8))


def plan_for(**values: Any) -> Plan:
    return make_plan(resolve(FinetuneConfig, {**LAST_STAGE, **values}))


def fresh(plan: Plan) -> ResNet50:
    """A network whose head has gradients for the stage before it."""
    torch.manual_seed(0)
    network = ResNet50(len(plan.dataset.classes))
    assert isinstance(network.fc, nn.Linear)
    nn.init.normal_(network.fc.weight, std=0.01)
    return network


def train(plan: Plan) -> tuple[list[EpochRecord], ResNet50, list[Event]]:
    network, events = fresh(plan), list[Event]()
    training = NetworkTraining(plan, network, on_event=events.append)
    course, keeper = Course(epochs=plan.epochs), IgnoringKeeper()
    fit(training.session, training.lesson(), course, compute=plan.compute, keeper=keeper, on_event=events.append)
    return training.session.state.history, network, events


def inputs_of(plan: Plan, epoch: int) -> Tensor:
    """What goes into the trained stages in an epoch, in the order of the pictures that it shows."""
    batches = NetworkTraining(plan, fresh(plan)).lesson().batches(epoch, 0)
    return torch.cat([batch.inputs for batch in batches])


def files() -> list[Path]:
    return sorted(activations_dir().glob("*.f16"))


@pytest.mark.parametrize("values", [{}, {"batchnorm": "train"}, {"unfreeze": "layer3"}], ids=str)
def test_with_a_view_for_each_epoch_training_is_as_without_but_for_rounding(values: dict[str, Any]) -> None:
    (with_, network, _), (without, other, _) = (train(plan_for(cached_views=n, **values)) for n in (4, 0))
    for one, two in zip(with_, without, strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-3)
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-3)
    assert without[0].train_loss != without[1].train_loss
    kept, whole, start = (
        torch.cat([x.detach().flatten() for x in one.parameters()]) for one in (network, other, fresh(plan_for()))
    )
    # BatchNorm's statistics of four pictures make much of a little rounding; other views would give quite another way.
    assert (kept - whole).norm() < 0.1 * (whole - start).norm()


def test_without_augmentation_one_view_trains_as_many_do() -> None:
    with_, without = (train(plan_for(cached_views=n, augment="none"))[0] for n in (1, 0))
    assert [record.train_loss for record in with_] == pytest.approx([x.train_loss for x in without], rel=1e-3)
    assert plan_for(augment="none").cached_views == 1


def test_epochs_take_turns_with_the_views() -> None:
    plan = plan_for(cached_views=2)
    first, second, third = (inputs_of(plan, epoch).flatten(1).sum(dim=1).sort().values for epoch in (1, 2, 3))
    assert torch.equal(first, third) and not torch.equal(first, second)


def test_stages_in_two_parts_are_the_whole_network() -> None:
    torch.manual_seed(0)
    network = ResNet50(3).eval()
    with torch.inference_mode():
        whole = network.features(PREPROCESS.normalize(PIXELS))
    for first in STAGES[1:]:
        frozen = FrozenStages(network, first, PREPROCESS, FP32)
        rows = frozen(PIXELS)
        assert rows.shape == (len(PIXELS), *frozen.shape) and rows.dtype == np.float16
        activations = torch.from_numpy(rows).permute(0, 3, 1, 2).float()
        torch.testing.assert_close(features_from(network, first, activations).detach(), whole, rtol=1e-2, atol=1e-3)
        rest = TrainedStages(network, first, FP32)(activations)
        torch.testing.assert_close(rest, whole, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("size", [32, 64, 97, 128, 224, 225])
def test_the_shape_is_known_before_anything_is_computed(size: int) -> None:
    network = ResNet50(2).eval()
    x = network.maxpool(network.conv1(torch.zeros(1, 3, size, size)))
    for first, stage in zip(STAGES[1:], (network.layer1, network.layer2, network.layer3, None), strict=True):
        assert activation_shape(first, size) == (*x.shape[2:], x.shape[1])
        x = stage(x) if stage is not None else x


def test_what_float16_cannot_hold_stays_finite() -> None:
    network = ResNet50(2)
    nn.init.constant_(network.bn1.bias, 1e6)
    for compute in (FP32, dataclasses.replace(FP32, precision="bf16")):
        assert np.isfinite(FrozenStages(network, "layer1", PREPROCESS, compute)(PIXELS)).all()


class Killed(BaseException):
    """Stands for ``kill -9``: nobody catches it."""


def damage(path: Path, at: int = 1000) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def damage_rows() -> None:
    for path in files():
        damage(path)


#: What can become of the views while nobody trains.
HAPPENINGS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "rows are damaged": damage_rows,
    "a file is cut": lambda: os.truncate(files()[0], 5000),
    "all are lost": lambda: shutil.rmtree(activations_dir()),
}


def test_killed_and_resumed_is_the_same_bits_whatever_is_left_of_the_views() -> None:
    values = {**LAST_STAGE, "cached_views": 2, "checkpoint_every": 1e-9}
    finetune(out=Path("whole"), **values)
    whole = load_model(Path("whole")).network.state_dict()
    num_steps = 0

    def kill(event: Event) -> None:
        nonlocal num_steps
        num_steps += isinstance(event, StepDone)
        if num_steps == 5:
            raise Killed

    with pytest.raises(Killed):
        finetune(out=Path("killed"), on_event=kill, **values)
    for number, (name, happen) in enumerate(HAPPENINGS.items()):
        folder = find_run(shutil.copytree("killed", Path(f"run-{number}")))
        happen()
        run_plan(plan_resumed(folder, {}), on_event=lambda event: None, folder=folder)
        resumed = load_model(folder.path).network.state_dict()
        assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items()), name


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Callable[..., KeptView]:
    """Keeps a view of the twelve pictures in groups of five; ``keep.shown`` of the test's view counts what is shown."""
    torch.manual_seed(0)
    frozen = FrozenStages(ResNet50(2), "layer4", PREPROCESS, FP32)
    frozen.group_size = 5

    def made(key: str = "view", shown: list[int] | None = None) -> KeptView:
        def show(groups: Sequence[Sequence[int]]) -> Iterator[Tensor]:
            for group in groups:
                if shown is not None:
                    shown.extend(group)
                yield PIXELS[list(group)]

        return KeptView(frozen, show, len(PIXELS), key=key, on_progress=lambda done: None)

    return made


def test_each_picture_goes_through_the_frozen_stages_once(keep: Callable[..., KeptView]) -> None:
    shown: list[int] = []
    first, again = (keep(shown=shown) for _ in range(2))
    assert shown == list(range(12)) and len(files()) == 1
    shares = [[7, 0], [11], [3, 3, 3]]
    for one, two in zip(first.rows(shares), again.rows(shares), strict=True):
        assert torch.equal(one, two) and one.dtype == torch.float32
    assert [len(rows) for rows in first.rows(shares)] == [2, 1, 3]
    keep("another", shown)
    assert len(shown) == 24


def test_a_damaged_row_is_made_anew_while_it_is_read(keep: Callable[..., KeptView]) -> None:
    shown: list[int] = []
    (before,) = keep().rows([range(12)])
    damage(files()[0])
    kept = keep(shown=shown)
    assert not shown
    (after,) = kept.rows([range(12)])
    assert torch.equal(before, after) and shown == list(range(12))
    whole: list[int] = []
    keep(shown=whole)
    assert not whole


def test_a_disk_that_keeps_nothing_is_named(keep: Callable[..., KeptView], monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    monkeypatch.setattr("zlib.crc32", lambda data: next(numbers))
    kept = keep()
    with pytest.raises(DiskError, match="gives back other bytes"):
        list(kept.rows([[0]]))


def free_disk(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(num_bytes)))


def test_the_views_unused_for_longest_make_room(keep: Callable[..., KeptView], monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("new", "old")):
        keep(name)
        newest = max(files(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (time.time() - 100 * age - 10,) * 2)
    left = activations_dir() / ".killed.f16.x.tmp"
    left.write_bytes(b"x")
    os.utime(left, (0, 0))
    under_way = activations_dir() / ".other.f16.y.tmp"
    under_way.write_bytes(b"y")
    size = files()[0].stat().st_size
    # A tenth of the disk, what is there counted in, has room for two.
    free_disk(monkeypatch, 2.5 * size / DISK_SHARE - 2 * size)
    keep("next")
    assert len(files()) == 2 and under_way.exists() and not left.exists()
    shown: list[int] = []
    keep("new", shown)
    assert not shown
    keep("old", shown)
    assert shown


def test_views_that_do_not_fit_the_disk_are_refused(
    keep: Callable[..., KeptView], monkeypatch: pytest.MonkeyPatch
) -> None:
    free_disk(monkeypatch, 1000)
    with pytest.raises(DiskError, match="does not fit") as caught:
        keep()
    assert caught.value.hint and "--cached-views 0" in caught.value.hint and not files()
    assert room_bytes() == 100
    assert plan_for().cached_views == 0
    with pytest.raises(ConfigError, match="of disk"):
        plan_for(cached_views=1)


def test_another_training_of_the_same_views_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    train(plan_for(cached_views=2))
    monkeypatch.setattr(FrozenStages, "__call__", lambda *_: pytest.fail("computed again"))
    train(plan_for(cached_views=2, lr=0.002, epochs=2, ema=0.9))
    for other in ({"seed": 1}, {"augment": "light"}, {"limit": 9}, {"image_size": 64}):
        with pytest.raises(pytest.fail.Exception):
            train(plan_for(cached_views=2, **other))


def test_the_pass_over_the_views_is_told() -> None:
    _, _, events = train(plan_for(cached_views=2))
    work = [event for event in events if isinstance(event, WorkDone)]
    total = 2 * 12 + len(plan_for().dataset.split("val"))
    assert [event.task for event in work] == ["features"] * len(work)
    assert {event.total for event in work} == {total}
    counts = [event.done for event in work]
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (0, total)


def test_a_rate_is_found_on_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_test, "NUM_STEPS", 6)
    plan = plan_for(cached_views=1)
    training = NetworkTraining(plan, fresh(plan))
    assert find_lr(training.session, training.lesson(), compute=plan.compute) > 0


SETTING = Setting(
    num_train=1000,
    num_val=100,
    image_size=128,
    device_type="cpu",
    num_processes=1,
    has_clock=False,
    room_bytes=10**10,
)


def recipe(**values: Any) -> Recipe:
    plan = plan_for(epochs=10, cached_views=0)
    found = Recipe(**{field.name: getattr(plan, field.name) for field in dataclasses.fields(Recipe)})
    return dataclasses.replace(found, **values)


def decided(asked: Any = None, setting: dict[str, Any] | None = None, **values: Any) -> tuple[int, str]:
    return choose_cached_views(asked, recipe(**values), dataclasses.replace(SETTING, **(setting or {})))


@pytest.mark.parametrize(
    ("values", "setting", "why"),
    [
        ({"epochs": 2}, {}, "would save 0%"),
        ({"stages": ("layer3", "layer4")}, {}, "would save 1"),
        ({"stages": STAGES}, {}, "the stem trains"),
        ({"mixup": 0.2}, {}, "mixup"),
        ({"cutmix": 1.0}, {}, "cutmix"),
        ({"progressive": 32}, {}, "--progressive"),
        ({}, {"num_processes": 2}, "2 processes"),
        ({}, {"has_clock": True}, "--max-time"),
        ({}, {"device_type": "cuda"}, "CPU"),
        ({}, {"room_bytes": 10**8}, "of disk"),
    ],
    ids=str,
)
def test_where_it_does_not_pay_or_cannot_be_nothing_is_kept(
    values: dict[str, Any], setting: dict[str, Any], why: str
) -> None:
    num_views, reason = decided(None, setting, **values)
    assert num_views == 0 and why in reason
    assert decided("auto", setting, **values) == (num_views, reason)


def test_where_it_pays_a_few_views_are_kept_and_the_plan_says_what_they_save() -> None:
    num_views, why = decided()
    assert num_views == VIEWS and "stem to layer3" in why and "10 epochs" in why
    bytes_each = 2 * 1024 * 8 * 8
    assert num_bytes(VIEWS, recipe(), SETTING) == bytes_each * (VIEWS * 1000 + 100)
    assert saving(VIEWS, recipe(), SETTING) > saving(2 * VIEWS, recipe(), SETTING) > 0
    # All that is kept of nothing but the head's own work.
    assert num_forwards(1, ("layer4",), epochs=1, num_train=10, num_val=0) == pytest.approx(
        num_forwards(0, ("layer4",), epochs=1, num_train=10, num_val=0)
    )
    assert sum(STAGE_SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("asked", "values", "setting", "named"),
    [
        (1, {"mixup": 0.2}, {}, "mixup"),
        (1, {"stages": STAGES}, {}, "the stem trains"),
        (1, {"progressive": 32}, {}, "--progressive"),
        (1, {}, {"num_processes": 2}, "2 processes"),
        (11, {}, {}, "only 10 epochs"),
        (3, {}, {"room_bytes": 10**8}, "of disk"),
    ],
    ids=str,
)
def test_what_is_asked_for_and_cannot_be_is_an_error(
    asked: int, values: dict[str, Any], setting: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"--cached-views {asked}.*{named}") as caught:
        decided(asked, setting, **values)
    assert caught.value.hint


def test_views_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ConfigError, match="all views are the same"):
        plan_for(cached_views=2, augment="none")


def test_what_is_asked_for_is_kept_also_where_it_does_not_pay() -> None:
    assert decided(9)[0] == 9 and decided(1, {"device_type": "cuda", "has_clock": True})[0] == 1
    assert decided(0) == (0, "asked for") and decided(0, mixup=0.2)[0] == 0


def test_the_command_shows_the_choice_and_refuses_it_where_it_has_no_effect() -> None:
    flags = ["digits", "--classes", "0,1", "--weights", "none", "--image-size", 32, "--precision", "fp32", "--dry-run"]
    shown = run_cli("finetune", *flags, "--mode", "full", "--unfreeze", "layer4", "--cached-views", 2)
    assert shown.exit_code == 0 and "cached-views" in shown.stdout
    refused = run_cli("finetune", *flags, "--mode", "frozen", "--cached-views", 2)
    assert refused.exit_code == 2 and "--cached-views has no effect" in refused.stderr
    assert "cached-views" not in {choice.name for choice in plan_for(unfreeze=None).choices}
