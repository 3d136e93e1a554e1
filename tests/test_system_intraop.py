"""The number of threads follows the measured speed; on an idle machine nothing is ever tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from support.running import COMPUTE, IgnoringCallback, scored
from torch import nn

from resnet_cli.system import intraop
from resnet_cli.system.device import Compute
from resnet_cli.system.intraop import ThreadTuner, fixed_threads, given_threads
from resnet_cli.training.events import Event, ThreadsChanged
from resnet_cli.training.loop import FitOptions, TrainingTask, fit
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch, StepTaker

CORES = 2


@dataclasses.dataclass
class Machine:
    """A simulated machine with its own clock, on which other processes may use cores; modeled on a real one."""

    num_others: int = 0
    now_s: float = 0.0
    process_s: float = 0.0
    thread_s: float = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.process_s

    def thread_time(self) -> float:
        return self.thread_s

    def work(self, seconds: float) -> None:
        """An operation that takes this time with one thread on an idle machine."""
        count = torch.get_num_threads()
        given = min(1.0, CORES / (count + self.num_others))
        # Each waits for its core, and then for the others.
        wall = seconds / count / (given**2 if count > 1 else given)
        self.now_s += wall
        self.process_s += wall * count * given
        self.thread_s += wall * given


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    found, before = Machine(), torch.get_num_threads()
    monkeypatch.setattr(intraop, "time", found)
    torch.set_num_threads(CORES)
    yield found
    torch.set_num_threads(before)


def run(tuner: ThreadTuner, machine: Machine, num_pieces: int, seconds: float = 0.4) -> list[int]:
    """Number of threads that worked on each piece."""
    counts = []
    for _ in range(num_pieces):
        with tuner.piece():
            counts.append(torch.get_num_threads())
            machine.work(seconds)
    return counts


@pytest.mark.parametrize("seconds", [1e-4, 0.01, 4.0])
def test_on_a_quiet_machine_all_threads_work_and_no_other_number_is_tried(machine: Machine, seconds: float) -> None:
    assert set(run(ThreadTuner(), machine, 500, seconds)) == {CORES}


def test_beside_other_work_fewer_threads_are_found_and_all_again_when_it_ends(machine: Machine) -> None:
    changes: list[int] = []
    tuner = ThreadTuner(on_change=changes.append)
    run(tuner, machine, 10)
    machine.num_others = 2
    run(tuner, machine, 10)
    assert tuner.count == 1 and changes == [1]
    machine.num_others = 0
    run(tuner, machine, 20)
    assert tuner.count == CORES and changes == [1, CORES]


def test_more_threads_than_the_machine_gives_cores_become_fewer(machine: Machine) -> None:
    # As in a container that sees all cores of its host.
    torch.set_num_threads(8)
    tuner = ThreadTuner()
    run(tuner, machine, 40)
    assert tuner.count == CORES


def test_a_disturbance_of_a_moment_changes_nothing(machine: Machine) -> None:
    tuner = ThreadTuner()
    for _ in range(20):
        run(tuner, machine, 3)
        machine.num_others = 2
        counts = run(tuner, machine, 1)
        machine.num_others = 0
        assert counts == [CORES]


def test_trials_that_gain_nothing_become_rare(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Threads that wait asleep use less processor time without being any slower.
    monkeypatch.setattr(Machine, "process_time", lambda self: self.process_s / 2)
    tuner = ThreadTuner()
    counts = run(tuner, machine, 3000, seconds=0.4)
    assert tuner.count == CORES
    trials = [at for at, count in enumerate(counts) if count != CORES]
    # 600 s of work: after 2, 4, 8, ... 60, 60 seconds.
    assert 5 <= len(trials) <= 2 * 15


def test_a_number_that_was_asked_for_stays(machine: Machine) -> None:
    machine.num_others = 2
    with fixed_threads(3):
        tuner = ThreadTuner()
        assert set(run(tuner, machine, 50)) == {3} and given_threads() == 3
    assert set(run(ThreadTuner(is_fixed=True), machine, 50)) == {CORES}


def test_torch_is_left_with_the_number_that_it_had(machine: Machine) -> None:
    with ThreadTuner(count=1).held():
        assert torch.get_num_threads() == 1 and given_threads() == CORES
        inner = ThreadTuner()
        assert (inner.count, inner.most) == (1, CORES)
        with pytest.raises(ValueError), inner.piece():
            raise ValueError
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == CORES and given_threads() == CORES


# Training.


IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 2


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 36, 2))


def train_state() -> TrainState:
    made = network()
    made_session = TrainState(made, torch.optim.SGD([{"params": [*made.parameters()], "peak": 0.1}], lr=0.1), None)
    made_session.counters.micro_batch = 3
    return made_session


def test_a_trial_leaves_no_trace_in_the_step() -> None:
    tried, plain = train_state(), train_state()
    for _ in range(3):
        tuner = ThreadTuner(most=2, count=1)
        tuner._tried = 1
        one = StepTaker(tried, nn.functional.cross_entropy, COMPUTE, tuner=tuner).take(Batch(IMAGES, LABELS, 8))
        other = StepTaker(plain, nn.functional.cross_entropy, COMPUTE).take(Batch(IMAGES, LABELS, 8))
        assert not tuner.wants_trial
        assert torch.equal(one[0], other[0])
    first, second = tried.capture(), plain.capture()
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


def trained(made: TrainState, *, epochs: int, compute: Compute = COMPUTE, on_event: Callable[[Event], None]) -> None:
    task = TrainingTask(
        lambda epoch, done: iter([Batch(IMAGES, LABELS, 8)] * (4 - done)),
        lambda: scored(1.0, 0.5),
        lambda epoch: None,
        nn.functional.cross_entropy,
        4,
    )
    fit(made, task, FitOptions(epochs=epochs), compute=compute, callback=IgnoringCallback(), on_event=on_event)


def test_a_run_notes_since_which_step_how_many_threads_worked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = StepTaker._forward_backward

    def forward_backward(self: StepTaker, batch: Batch) -> torch.Tensor:
        machine.work(0.4)
        return take(self, batch)

    monkeypatch.setattr(StepTaker, "_forward_backward", forward_backward)
    machine.num_others = 2
    made, events = train_state(), list[Event]()
    trained(made, epochs=4, on_event=events.append)
    (first, *later) = made.counters.threads
    assert first == [0, CORES] and [count for _, count in later] == [1]
    assert [event.count for event in events if isinstance(event, ThreadsChanged)] == [1]
    assert made.capture().values["threads"] == made.counters.threads


def test_a_resumed_run_keeps_its_number_of_threads(machine: Machine) -> None:
    made = train_state()
    trained(made, epochs=1, on_event=lambda event: None)
    made.counters.threads.append([3, 1])
    again, seen = train_state(), list[int]()
    again.restore(made.capture(copy=True))
    trained(again, epochs=2, on_event=lambda event: seen.append(torch.get_num_threads()))
    assert set(seen) == {1} and again.counters.threads == [[0, CORES], [3, 1]]
