"""The loop on small problems: determinism, sums over uneven batches, the best epoch, stopping, and divergence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from support.running import COMPUTE, scored, tolerance
from torch import Tensor, nn

from resnet_cli.errors import DivergedError, MemoryExhausted
from resnet_cli.heads.objectives import Validation
from resnet_cli.history import EpochRecord, selection_key
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.events import EpochDone, Event, MemoryShort, RateLowered, StepDone
from resnet_cli.training.loop import RETRY_RATE, FitOptions, TrainingTask, fit
from resnet_cli.training.optimizers import Rates, make_head_optimizer
from resnet_cli.training.schedule import ScheduleName, lr_multiplier
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

INPUTS = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS[:, 0] > 0).long()
Batches = Callable[[int, int], Iterator[Batch]]


def batches_of(size: int, inputs: Tensor = INPUTS) -> Batches:
    def batches(epoch: int, done: int) -> Iterator[Batch]:
        for x, y in list(zip(torch.split(inputs, size), torch.split(LABELS, size), strict=True))[done:]:
            yield Batch(x, y, len(x))

    return batches


class Kept:
    """A callback that remembers what it was told, and the weights of the best epoch."""

    def __init__(self, network: nn.Module) -> None:
        self.records: list[EpochRecord] = []
        self.weights: list[dict[str, Tensor]] = []
        self.calls: list[str] = []
        self._network = network

    def keep_if_best(self, record: EpochRecord) -> bool:
        if self.records and selection_key(record) <= selection_key(self.records[-1]):
            return False
        self.records.append(record)
        self.weights.append({name: x.clone() for name, x in self._network.state_dict().items()})
        return True

    def on_step_end(self, train_state: TrainState) -> None:
        self.calls.append(f"step {train_state.counters.epoch}.{train_state.counters.step}")

    def on_epoch_end(self, train_state: TrainState) -> None:
        self.calls.append(f"epoch {train_state.counters.epoch - 1}")

    def save_now(self, train_state: TrainState) -> str:
        return "all kept"


@dataclasses.dataclass
class Ran:
    train_state: TrainState
    events: list[Event]
    kept: Kept

    @property
    def history(self) -> list[EpochRecord]:
        return self.train_state.counters.history

    @property
    def lowered(self) -> list[RateLowered]:
        return [event for event in self.events if isinstance(event, RateLowered)]


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def session_of(network: nn.Module, *, lr: float = 0.1, micro_batch: int = 64, decay: float | None = -1.0) -> TrainState:
    optimizer = make_head_optimizer(network, Rates("sgd", None, lr, 0.0))
    train_state = TrainState(network, optimizer, None if decay == -1.0 else WeightAverage(network, decay=decay))
    train_state.counters.micro_batch = micro_batch
    return train_state


def run(
    train_state: TrainState,
    *,
    batches: Batches | None = None,
    validate: Callable[[], Validation] = lambda: scored(1.0, 0.5),
    steps_per_epoch: int = 3,
    on_event: Callable[[Event], None] = lambda event: None,
    set_train_mode: Callable[[int], None] | None = None,
    **options: Any,
) -> Ran:
    ran = Ran(train_state, [], Kept(train_state.network))

    def hear(event: Event) -> None:
        ran.events.append(event)
        on_event(event)

    def train_mode(epoch: int) -> None:
        train_state.network.train()

    mode = set_train_mode or train_mode
    task = TrainingTask(batches or batches_of(4), validate, mode, nn.functional.cross_entropy, steps_per_epoch)
    fit(train_state, task, FitOptions(**{"epochs": 3, **options}), compute=COMPUTE, callback=ran.kept, on_event=hear)
    return ran


def test_it_learns_and_says_so_after_every_step() -> None:
    ran = run(session_of(linear()), epochs=20)
    assert ran.history[-1].train_loss < ran.history[0].train_loss / 2
    steps = [event for event in ran.events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step) for event in steps[:4]] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert [event.record for event in ran.events if isinstance(event, EpochDone)] == ran.history
    assert ran.kept.calls[:5] == ["step 1.1", "step 1.2", "step 1.3", "epoch 1", "step 2.1"]


def test_metrics_are_sums_divided_once() -> None:
    # At a rate of zero the whole epoch sees the same weights; the last batch has 2 of 10 images.
    network = linear()
    (record,) = run(session_of(network, lr=1e-30), epochs=1).history
    with torch.no_grad():
        logits = network(INPUTS)
    assert record.train_loss == pytest.approx(float(nn.functional.cross_entropy(logits, LABELS)), rel=tolerance(1e-6))
    assert record.train_top1 == pytest.approx(float((logits.argmax(dim=1) == LABELS).float().mean()))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "one-cycle"])
def test_the_rate_follows_the_schedule_over_all_steps(schedule: ScheduleName) -> None:
    rates: list[float] = []
    train_state = session_of(linear())

    def look(event: Event) -> None:
        if isinstance(event, StepDone):
            rates.extend(group["lr"] for group in train_state.optimizer.param_groups)

    run(train_state, epochs=4, schedule=schedule, on_event=look)
    wanted = [0.1 * lr_multiplier(schedule, at, total_steps=12, warmup_steps=2) for at in range(12) for _ in range(2)]
    assert rates == pytest.approx(wanted)


def test_the_best_epoch_has_the_lowest_loss_at_its_best_temperature_then_the_highest_top1() -> None:
    # An overconfident epoch (loss 9) that ranks better than the one before is better.
    scores = iter([(2.0, 0.5, 2.0), (9.0, 0.5, 1.0), (1.0, 0.6, 1.0), (1.0, 0.9, 1.1), (0.9, 0.6, 1.0)])
    ran = run(session_of(linear()), validate=lambda: Validation(*next(scores)), epochs=5)
    assert [record.epoch for record in ran.kept.records] == [1, 2, 3]
    best = [event.is_best for event in ran.events if isinstance(event, EpochDone)]
    assert best == [True, True, True, False, False]


def test_patience_counts_epochs_since_the_best() -> None:
    scores = iter([(1.0, 0.5), (1.0, 0.6), (1.0, 0.6), (2.0, 0.6), (0.9, 0.9)])
    ran = run(session_of(linear()), validate=lambda: scored(*next(scores)), epochs=5, patience=2)
    assert [record.epoch for record in ran.history] == [1, 2, 3, 4]


def test_a_target_that_is_reached_ends_the_training() -> None:
    scores = iter([(1.0, 0.5), (1.0, 0.8), (1.0, 0.9)])
    assert len(run(session_of(linear()), validate=lambda: scored(*next(scores)), target=0.8).history) == 2


def test_a_probe_that_has_the_target_leaves_nothing_to_train() -> None:
    train_state = session_of(linear())
    before = {name: x.clone() for name, x in train_state.network.state_dict().items()}
    train_state.counters.history = [EpochRecord(0, 1.0, 0.9, 1.0, 0.9, 1.0, 0.0, 1.0)]
    ran = run(train_state, target=0.9)
    assert [record.epoch for record in ran.history] == [0]
    assert all(torch.equal(x, before[name]) for name, x in train_state.network.state_dict().items())


def test_a_time_limit_ends_the_training_within_an_epoch_and_still_validates() -> None:
    train_state = session_of(linear())
    train_state.counters.elapsed_s = 100.0
    ran = run(train_state, epochs=50, max_time_s=50.0)
    assert (len(ran.history), train_state.counters.num_steps) == (1, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_tried_again_once_and_no_step_is_taken(value: float) -> None:
    network = linear()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_state = session_of(network)
    events: list[Event] = []
    with pytest.raises(DivergedError, match="epoch 1, step 1") as caught:
        run(train_state, batches=batches_of(10, torch.full((10, 4), value)), steps_per_epoch=1, on_event=events.append)
    assert caught.value.exit_code == 7
    assert caught.value.hint and "--lr" in caught.value.hint
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    (lowered,) = events
    assert isinstance(lowered, RateLowered) and lowered.rate == RETRY_RATE


def test_a_divergence_goes_back_to_the_last_good_epoch_at_a_lower_rate() -> None:
    # As it would have been: a run whose second epoch begins with the first one's end and a tenth of the rates.
    poisoned, tries = torch.full((10, 4), math.inf), iter([1, 0])

    def batches(epoch: int, done: int) -> Iterator[Batch]:
        is_bad = epoch == 2 and next(tries, 0)
        yield from batches_of(4)(epoch, done)
        if is_bad:
            yield Batch(poisoned, LABELS, 10)

    def plain(epoch: int, done: int) -> Iterator[Batch]:
        if epoch == 2:
            twin.counters.rate = RETRY_RATE
        yield from batches_of(4)(epoch, done)

    train_state, twin = session_of(linear(), decay=0.9), session_of(linear(), decay=0.9)
    ran = run(train_state, batches=batches)
    wanted = run(twin, batches=plain)
    assert [(event.epoch, event.rate) for event in ran.lowered] == [(2, RETRY_RATE)]
    assert [record.epoch for record in ran.history] == [1, 2, 3]
    assert [record.val_loss for record in ran.history] == [record.val_loss for record in wanted.history]
    state, other = train_state.capture().tensors, twin.capture().tensors
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_a_poisoned_batch_leaves_no_trace_in_batchnorm() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    train_state = session_of(network)
    network.train()
    before = train_state.statistics.clone()
    images = torch.randn(4, 1, 2, 2)
    images[0, 0, 0, 0] = math.nan
    taker = StepTaker(train_state, nn.functional.cross_entropy, COMPUTE)
    _, is_bad = taker.take(Batch(images, LABELS[:4], 4))
    assert float(is_bad) == 1
    assert torch.equal(train_state.statistics, before)
    assert torch.equal(network.state_dict()["1.running_mean"], before[:2])
    _, is_bad = taker.take(Batch(torch.randn(4, 1, 2, 2), LABELS[:4], 4))
    assert float(is_bad) == 0
    assert not torch.equal(network.state_dict()["1.running_mean"], before[:2])


def test_a_validation_loss_that_is_not_finite_is_never_the_best() -> None:
    train_state = session_of(linear())
    kept: list[Event] = []
    with pytest.raises(DivergedError, match="validation"):
        run(train_state, validate=lambda: scored(math.nan, 0.5), on_event=kept.append)
    assert not [event for event in kept if isinstance(event, EpochDone)]
    assert train_state.counters.history == []


def test_the_network_is_set_to_train_mode_before_every_epoch() -> None:
    train_state, modes = session_of(linear()), list[object]()

    def validate() -> Validation:
        modes.append(train_state.network.training)
        train_state.network.eval()
        return scored(1.0, 0.5)

    def set_train_mode(epoch: int) -> None:
        modes.append(epoch)
        train_state.network.train()

    run(train_state, validate=validate, set_train_mode=set_train_mode)
    assert modes == [1, True, 2, True, 3, True]


def assert_alike(one: nn.Module, other: nn.Module, atol: float) -> None:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.allclose(*pair, atol=atol) for pair in pairs)


def test_one_step_of_sgd_is_torchs_own() -> None:
    ours, theirs = linear(), linear()
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)
    run(session_of(ours), batches=batches_of(10), epochs=1, steps_per_epoch=1)
    nn.functional.cross_entropy(theirs(INPUTS), LABELS).backward()  # type: ignore[no-untyped-call]
    reference.step()
    assert all(
        torch.allclose(*pair, atol=tolerance(1e-8)) for pair in zip(ours.parameters(), theirs.parameters(), strict=True)
    )


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 10])
def test_parts_of_a_batch_make_the_step_of_the_whole(micro_batch: int) -> None:
    whole, parts = linear(), linear()
    losses = []
    for network, size in ((whole, 10), (parts, micro_batch)):
        taker = StepTaker(session_of(network, micro_batch=size), nn.functional.cross_entropy, COMPUTE)
        losses.append(float(taker.take(Batch(INPUTS, LABELS, 10))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=tolerance(1e-6))
    assert all(
        torch.allclose(*pair, atol=tolerance(1e-7)) for pair in zip(whole.parameters(), parts.parameters(), strict=True)
    )


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_the_step_stays_the_same() -> None:
    class Narrow(nn.Linear):
        """Runs out of memory above 3 rows."""

        def forward(self, input: Tensor) -> Tensor:
            if len(input) > 3:
                raise MemoryExhausted("no room")
            return super().forward(input)

    torch.manual_seed(0)
    narrow, wide, events = Narrow(4, 2), linear(), list[Event]()
    train_state = session_of(narrow, micro_batch=10)
    StepTaker(train_state, nn.functional.cross_entropy, COMPUTE, on_event=events.append).take(Batch(INPUTS, LABELS, 10))
    StepTaker(session_of(wide), nn.functional.cross_entropy, COMPUTE).take(Batch(INPUTS, LABELS, 10))
    assert all(
        torch.allclose(*pair, atol=tolerance(1e-7)) for pair in zip(narrow.parameters(), wide.parameters(), strict=True)
    )
    assert [event.micro_batch for event in events if isinstance(event, MemoryShort)] == [5, 3]
    assert train_state.counters.micro_batch == 3
    assert float(train_state.sums[2]) == 10


def test_a_single_image_that_does_not_fit_is_an_error() -> None:
    class Full(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            raise MemoryExhausted("no room")

    with pytest.raises(MemoryExhausted):
        run(session_of(Full(4, 2)))


def test_the_gradient_is_clipped_to_its_largest_norm() -> None:
    network = linear()
    before = torch.cat([x.detach().flatten().clone() for x in network.parameters()])
    StepTaker(session_of(network, lr=1.0), nn.functional.cross_entropy, COMPUTE, clip_grad=1e-3).take(
        Batch(100 * INPUTS, 1 - LABELS, 10)
    )
    moved = torch.cat([x.detach().flatten() for x in network.parameters()]) - before
    # Nesterov's first step is 1.9 times the gradient.
    assert float(moved.norm()) == pytest.approx(1.9e-3, rel=1e-3)


def test_dropout_is_a_function_of_seed_and_step() -> None:
    def trained(seed: int) -> Tensor:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
        torch.manual_seed(99)
        run(session_of(network), seed=seed)
        weight: Tensor = network.state_dict()["1.weight"]
        return weight

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


@pytest.mark.parametrize("decay", [0.9, None], ids=["ema", "epochs"])
def test_the_averaged_weights_are_validated_and_kept_while_training_goes_on_with_its_own(decay: float | None) -> None:
    train_state, seen = session_of(linear(), decay=decay), list[Tensor]()

    def validate() -> Validation:
        seen.append(train_state.network.state_dict()["weight"].clone())
        return scored(1.0, len(seen) / 10)

    plain = run(session_of(linear()))
    ran = run(train_state, validate=validate, average_from=2 if decay is None else None)
    own = plain.train_state.network.state_dict()
    assert all(torch.equal(x, own[name]) for name, x in train_state.network.state_dict().items())
    assert all(torch.equal(kept["weight"], x) for kept, x in zip(ran.kept.weights, seen, strict=True))
    assert not torch.equal(seen[-1], own["weight"])


def test_a_session_put_aside_after_an_epochs_last_step_goes_on_with_its_validation() -> None:
    class Stopping(Kept):
        saved = None

        def on_step_end(self, train_state: TrainState) -> None:
            if (train_state.counters.epoch, train_state.counters.step) == (2, 3):
                self.saved = train_state.capture(copy=True)

    whole = session_of(linear())
    callback = Stopping(whole.network)
    task = TrainingTask(batches_of(4), lambda: scored(1.0, 0.5), lambda epoch: None, nn.functional.cross_entropy, 3)
    fit(whole, task, FitOptions(epochs=3), compute=COMPUTE, callback=callback, on_event=lambda event: None)
    assert callback.saved is not None
    again = session_of(linear())
    again.restore(callback.saved)
    fit(again, task, FitOptions(epochs=3), compute=COMPUTE, callback=Kept(again.network), on_event=lambda event: None)
    assert torch.equal(whole.network.weight, again.network.weight)  # type: ignore[arg-type]
    timeless = [[dataclasses.replace(r, seconds=0.0) for r in s.counters.history] for s in (whole, again)]
    assert timeless[0] == timeless[1]
