"""A session put aside after any step and taken up again goes on as if nothing had happened, bit by bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.running import COMPUTE, tolerance
from torch import Tensor, nn

from resnet_cli.errors import DivergedError, MemoryExhausted
from resnet_cli.heads.objectives import OBJECTIVES, Validation
from resnet_cli.history import EpochRecord
from resnet_cli.system.device import Compute
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.checkpoint import Checkpoint
from resnet_cli.training.events import Event, MemoryShort, RateLowered, StepDone, ignore
from resnet_cli.training.loop import FitOptions, TrainingTask, fit
from resnet_cli.training.optimizers import Rates, make_optimizer
from resnet_cli.training.schedule import ScheduleName
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

#: The branch for GPUs, on tensors of the CPU: its fused optimizers look at the same flag.
LIKE_CUDA = Compute("cuda:0", "fp32", "as the tests want it")
FP16 = Compute("cpu", "fp16", "as the tests want it")
STEPS = 4
IMAGES = torch.randn(16, 2, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = (IMAGES.mean(dim=(1, 2, 3)) > 0).long()


class Tiny(nn.Module):
    """Every kind of layer, under names that the optimizer knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer4 = nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer4(torch.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(x.float().mean(dim=(2, 3)))
        return logits


@dataclasses.dataclass(frozen=True)
class Way:
    """How a training is done."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    decay: float | None = None
    average_from: int | None = None
    schedule: ScheduleName = "cosine"
    clip_grad: float | None = None
    micro_batch: int = 4
    is_gradual: bool = False
    is_mixed: bool = False

    def train_state(self, compute: Compute = COMPUTE) -> TrainState:
        torch.manual_seed(0)
        network = Tiny()
        averages = self.decay is not None or self.average_from is not None
        optimizer = make_optimizer(network, Rates(self.optimizer, 0.05, 0.1, 1e-3, 0.5))
        train_state = TrainState(network, optimizer, WeightAverage(network, decay=self.decay) if averages else None)
        train_state.counters.micro_batch = self.micro_batch
        return train_state

    def task(self, train_state: TrainState, poison: dict[tuple[int, int], float] | None = None) -> TrainingTask:
        network = train_state.network

        def batches(epoch: int, done: int) -> Iterator[Batch]:
            order = torch.from_numpy(np.random.default_rng(epoch).permutation(16))
            for step, rows in list(enumerate(torch.split(order, 4)))[done:]:
                images, labels = IMAGES[rows].clone(), LABELS[rows]
                if (value := (poison or {}).pop((epoch, step + 1), None)) is not None:
                    images[0, 0, 0, 0] = value
                if self.is_mixed:
                    share = float(np.random.default_rng((epoch, step)).uniform())
                    targets = nn.functional.one_hot(labels, 2).float()
                    images, labels = images.lerp(images.flip(0), share), targets.lerp(targets.flip(0), share)
                yield Batch(images, labels, 4)

        def set_train_mode(epoch: int) -> None:
            network.train()
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(not self.is_gradual or epoch > 1 or name.startswith("fc"))

        def validate_network() -> Validation:
            network.eval()
            with torch.no_grad():
                return OBJECTIVES["single-label"].validate(network(IMAGES).softmax(dim=1), LABELS)

        return TrainingTask(batches, validate_network, set_train_mode, nn.functional.cross_entropy, STEPS)

    def options(self) -> FitOptions:
        return FitOptions(4, schedule=self.schedule, clip_grad=self.clip_grad, average_from=self.average_from)


class Stopped(Exception):
    pass


class Callback:
    """Puts the session aside after each step and epoch; stops after some."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = math.inf if stop_after is None else stop_after
        self.checkpoint: Checkpoint | None = None
        self.kept: list[EpochRecord] = []

    def keep_if_best(self, record: EpochRecord) -> bool:
        self.kept.append(record)
        return True

    def on_step_end(self, train_state: TrainState) -> None:
        self.checkpoint = train_state.capture(copy=True)
        self.left -= 1
        if self.left < 0:
            raise Stopped

    on_epoch_end = on_step_end

    def save_now(self, train_state: TrainState) -> str:
        raise AssertionError("nobody asked for it")


def run(
    way: Way,
    *stops: int,
    compute: Compute = COMPUTE,
    poison: dict[tuple[int, int], float] | None = None,
    on_event: Any = ignore,
) -> TrainState:
    """Trains, in as many sessions as there are stops, and one more."""
    checkpoint: Checkpoint | None = None
    for stop in (*stops, None):
        train_state, callback = way.train_state(), Callback(stop)
        if checkpoint is not None:
            train_state.restore(checkpoint)
        try:
            fit(
                train_state,
                way.task(train_state, poison),
                way.options(),
                compute=compute,
                callback=callback,
                on_event=on_event,
            )
        except Stopped:
            checkpoint = callback.checkpoint
        else:
            return train_state
    raise AssertionError


def assert_same(one: TrainState, other: TrainState) -> None:
    first, second = one.capture(), other.capture()
    assert first.tensors.keys() == second.tensors.keys()
    assert [name for name, x in first.tensors.items() if not torch.equal(x, second.tensors[name])] == []
    for values in (first.values, second.values):
        assert isinstance(values, dict)
        values["elapsed_s"] = 0.0
        for record in values["history"]:
            record["seconds"] = 0.0
    assert first.values == second.values


WAYS = st.builds(
    Way,
    optimizer=st.sampled_from(["sgd", "adamw"]),
    decay=st.sampled_from([None, 0.9]),
    schedule=st.sampled_from(["cosine", "linear", "constant", "one-cycle"]),
    clip_grad=st.sampled_from([None, 0.1]),
    micro_batch=st.sampled_from([1, 3, 4]),
    is_gradual=st.booleans(),
    is_mixed=st.booleans(),
) | st.builds(Way, average_from=st.integers(1, 4), is_gradual=st.booleans())


@settings(max_examples=25)
@given(WAYS, st.lists(st.integers(0, 8), max_size=4))
def test_stopped_after_any_steps_it_ends_as_if_it_had_not_been(way: Way, stops: list[int]) -> None:
    assert_same(run(way), run(way, *stops))


@settings(max_examples=8)
@given(WAYS, st.integers(1, 3), st.integers(1, STEPS), st.sampled_from([math.nan, math.inf]))
def test_a_poisoned_step_is_as_if_its_epoch_began_again_at_a_tenth(
    way: Way, epoch: int, step: int, value: float
) -> None:
    events: list[Event] = []
    train_state = run(way, poison={(epoch, step): value}, on_event=events.append)
    (lowered,) = [event for event in events if isinstance(event, RateLowered)]
    assert (lowered.epoch, lowered.rate) == (epoch, 0.1)
    # The same, put together by hand: stopped at the end of the epoch before, and resumed with a tenth of the rates.
    twin, callback = way.train_state(), Callback((epoch - 1) * (STEPS + 1) - 1)
    if epoch > 1:
        with pytest.raises(Stopped):
            fit(twin, way.task(twin), way.options(), compute=COMPUTE, callback=callback, on_event=ignore)
    twin.counters.rate, twin.counters.num_retries = 0.1, 1
    fit(twin, way.task(twin), way.options(), compute=COMPUTE, callback=Callback(), on_event=ignore)
    assert_same(train_state, twin)


@pytest.mark.parametrize("compute", [COMPUTE, LIKE_CUDA], ids=["looked at each step", "deferred"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [0, 3], ids=["the first step", "a later step"])
def test_a_poisoned_step_changes_nothing(compute: Compute, optimizer: Literal["sgd", "adamw"], at: int) -> None:
    train_state = Way(optimizer).train_state()
    train_state.network.train()
    taker = StepTaker(train_state, nn.functional.cross_entropy, compute)
    good = Batch(IMAGES[:4], LABELS[:4], 4)
    for _ in range(at):
        taker.take(good)
        train_state.counters.num_steps += 1
    before, twin = train_state.capture(copy=True), Way(optimizer).train_state()
    bad = Batch(torch.full_like(IMAGES[:4], math.nan), LABELS[:4], 4)
    assert float(taker.take(bad)[1]) == 1
    names = [name for name, _ in train_state.network.named_parameters()]
    names += [name for name, _ in train_state.network.named_buffers() if name.endswith(("mean", "var"))]
    after = train_state.capture()
    assert all(torch.equal(after.tensors[f"network.{name}"], before.tensors[f"network.{name}"]) for name in names)
    # What follows is what would have followed without it.
    twin.network.train()
    twin.restore(before)
    train_state.sums.copy_(before.tensors["sums"])
    for each in (train_state, twin):
        StepTaker(each, nn.functional.cross_entropy, compute).take(good)
    ours, theirs = train_state.capture().tensors, twin.capture().tensors
    assert [n for n, x in ours.items() if "tracked" not in n and not torch.equal(x, theirs[n])] == []


def test_the_deferred_look_finds_what_went_wrong_before_the_epoch_ends() -> None:
    way, events = Way(), list[Event]()
    train_state = run(way, compute=LIKE_CUDA, poison={(2, 2): math.nan}, on_event=events.append)
    (lowered,) = [event for event in events if isinstance(event, RateLowered)]
    assert lowered.epoch == 2 and "not finite" in lowered.reason
    assert all(math.isfinite(event.loss) for event in events if isinstance(event, StepDone))
    assert all(math.isfinite(record.train_loss) for record in train_state.counters.history)
    assert [record.epoch for record in train_state.counters.history] == [1, 2, 3, 4]


def test_the_second_divergence_says_what_to_try() -> None:
    with pytest.raises(DivergedError) as caught:
        run(Way(), poison={(2, 2): math.nan, (3, 1): math.nan})
    assert caught.value.exit_code == 7
    assert "epoch 3, step 1" in caught.value.message and caught.value.hint and "--lr" in caught.value.hint


def test_nothing_is_kept_that_was_not_looked_at() -> None:
    kept: list[float] = []

    class Watching(Callback):
        def on_step_end(self, train_state: TrainState) -> None:
            kept.extend(train_state.sums.tolist())

    way = Way()
    train_state = way.train_state()
    options = dataclasses.replace(way.options(), max_time_s=1e-6)
    task = way.task(train_state, {(1, 1): math.nan})
    fit(train_state, task, options, compute=LIKE_CUDA, callback=Watching(), on_event=ignore)
    assert kept and all(math.isfinite(value) for value in kept)


@pytest.mark.parametrize("compute", [FP16, Compute("cpu", "bf16", "")], ids=["fp16", "bf16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_half_precision_is_resumed_with_its_gradient_scale(
    compute: Compute, optimizer: Literal["sgd", "adamw"]
) -> None:
    way = Way(optimizer)
    whole, parts = run(way, compute=compute), run(way, 2, 5, 3, compute=compute)
    assert_same(whole, parts)
    assert ("scaler" in whole.capture().values) == (compute.precision == "fp16")
    assert all(bool(torch.isfinite(x).all()) for x in whole.capture().tensors.values())


def test_a_first_gradient_that_overflows_in_half_precision_is_left_out_without_a_trace() -> None:
    train_state = Way().train_state()
    train_state.network.train()
    scaler = train_state.scaler("cpu", enabled=True)
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**120})
    before = [x.detach().clone() for x in train_state.network.parameters()]
    taker = StepTaker(train_state, lambda logits, y: 1e6 * nn.functional.cross_entropy(logits, y), FP16)
    _, is_bad = taker.take(Batch(IMAGES[:4], LABELS[:4], 4))
    assert float(is_bad) == 0
    assert all(torch.equal(*pair) for pair in zip(train_state.network.parameters(), before, strict=True))
    momenta = [state["momentum_buffer"] for state in train_state.optimizer.state.values()]
    assert all(bool((x == 0).all()) for x in momenta)
    assert train_state.capture().values["scaler"]["scale"] == 2.0**119


class Narrow(Tiny):
    """Has no room for more than some images, as torch says it."""

    room = 4

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


def narrow_session(room: int) -> TrainState:
    torch.manual_seed(0)
    network = Narrow()
    network.room = room
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    train_state = TrainState(network, make_optimizer(network, Rates("sgd", 0.05, 0.1, 1e-3)), None)
    train_state.counters.micro_batch = 16
    return train_state


@pytest.mark.parametrize("room", [15, 7, 3, 1])
def test_parts_that_fit_make_the_same_step_and_their_size_is_kept(room: int) -> None:
    events: list[Event] = []
    short, whole = narrow_session(room), narrow_session(16)
    for train_state in (short, whole):
        taker = StepTaker(train_state, nn.functional.cross_entropy, COMPUTE, on_event=events.append)
        taker.take(Batch(IMAGES, LABELS, 16))
    ours, theirs = short.capture(), whole.capture()
    for name, tensor in ours.tensors.items():
        torch.testing.assert_close(tensor, theirs.tensors[name], rtol=tolerance(1e-4), atol=tolerance(1e-6))
    sizes = [event.micro_batch for event in events if isinstance(event, MemoryShort)]
    assert sizes == [size for size in (8, 4, 2, 1) if 2 * size > room]
    assert ours.values["micro_batch"] == sizes[-1]
    again = narrow_session(room)
    again.restore(ours)
    assert again.counters.micro_batch == sizes[-1]


def test_not_even_one_image_is_an_error_that_leaves_the_weights() -> None:
    train_state = narrow_session(0)
    before = train_state.capture(copy=True)
    with pytest.raises(MemoryExhausted) as caught:
        StepTaker(train_state, nn.functional.cross_entropy, COMPUTE).take(Batch(IMAGES, LABELS, 16))
    assert caught.value.exit_code == 8 and caught.value.hint
    assert all(torch.equal(x, before.tensors[name]) for name, x in train_state.capture().tensors.items())


def test_memory_that_ends_in_the_optimizer_is_named_and_the_step_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_state, calls = narrow_session(16), list[int]()

    def step() -> None:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(train_state.optimizer, "step", step)
    with pytest.raises(MemoryExhausted):
        StepTaker(train_state, nn.functional.cross_entropy, COMPUTE).take(Batch(IMAGES, LABELS, 16))
    assert calls == [1]


def test_a_captured_copy_does_not_change_with_the_training() -> None:
    way = Way("adamw", decay=0.9)
    train_state = way.train_state()
    before = train_state.capture(copy=True)
    kept = {name: x.clone() for name, x in before.tensors.items()}
    fit(train_state, way.task(train_state), way.options(), compute=COMPUTE, callback=Callback(), on_event=ignore)
    assert all(torch.equal(x, kept[name]) for name, x in before.tensors.items())
    train_state.restore(before)
    assert_same(train_state, way.train_state())


def test_batchnorms_statistics_are_one_tensor_that_the_layers_share() -> None:
    train_state = Way().train_state()
    assert len(train_state.statistics) == 16
    train_state.statistics.fill_(7)
    assert float(train_state.network.state_dict()["bn1.running_var"][0]) == 7
    assert len(TrainState(nn.Linear(2, 2), torch.optim.SGD(nn.Linear(2, 2).parameters()), None).statistics) == 0
