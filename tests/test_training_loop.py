"""The loop on small problems: determinism, sums over uneven batches, the best epoch, and divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import torch
from running import FP32
from torch import Tensor, nn

from resnet_cli.errors import DivergedError
from resnet_cli.training.events import EpochDone, EpochRecord, Event, StepDone
from resnet_cli.training.loop import fit, make_optimizer
from resnet_cli.training.schedule import cosine

INPUTS = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS[:, 0] > 0).long()


def batches_of(size: int) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    return lambda epoch: zip(torch.split(INPUTS, size), torch.split(LABELS, size), strict=True)


def run(network: nn.Module, **changes: Any) -> tuple[list[EpochRecord], list[Event], list[EpochRecord]]:
    events: list[Event] = []
    kept: list[EpochRecord] = []
    arguments: dict[str, Any] = {
        "optimizer": make_optimizer("sgd", [(network.parameters(), 0.1)], weight_decay=0.0),
        "batches": batches_of(4),
        "validate": lambda: (1.0, 0.5),
        "epochs": 3,
        "steps_per_epoch": 3,
        "compute": FP32,
        "set_train_mode": network.train,
        "on_best": kept.append,
        "on_event": events.append,
    }
    return fit(network, **(arguments | changes)), events, kept


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def test_it_learns_and_says_so_after_every_step() -> None:
    history, events, _ = run(linear(), epochs=20)
    assert history[-1].train_loss < history[0].train_loss / 2
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step) for event in steps[:4]] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert [event.record for event in events if isinstance(event, EpochDone)] == history


def test_metrics_are_sums_divided_once() -> None:
    # At a rate of zero the whole epoch sees the same weights; the last batch has 2 of 10 pictures.
    network = linear()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    (record,), _, _ = run(network, optimizer=optimizer, epochs=1)
    with torch.no_grad():
        logits = network(INPUTS)
    assert record.train_loss == pytest.approx(float(nn.functional.cross_entropy(logits, LABELS)), rel=1e-6)
    assert record.train_top1 == pytest.approx(float((logits.argmax(dim=1) == LABELS).float().mean()))


def test_the_rate_follows_the_schedule_over_all_steps() -> None:
    rates: list[float] = []
    network = linear()
    optimizer = make_optimizer("sgd", [(network.parameters(), 0.1)], weight_decay=0.0)
    run(network, optimizer=optimizer, on_event=lambda event: rates.append(optimizer.param_groups[0]["lr"]), epochs=4)
    steps = [rates[at] for at in range(len(rates)) if at % 4 != 3]
    assert steps == pytest.approx([0.1 * cosine(at, total_steps=12, warmup_steps=2) for at in range(12)])


def test_the_best_epoch_has_the_highest_top1_then_the_lowest_loss() -> None:
    scores = iter([(2.0, 0.5), (1.0, 0.5), (1.5, 0.5), (3.0, 0.6), (0.1, 0.4), (3.0, 0.6)])
    _, events, kept = run(linear(), validate=lambda: next(scores), epochs=6)
    assert [record.epoch for record in kept] == [1, 2, 4]
    assert [event.is_best for event in events if isinstance(event, EpochDone)] == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(value: float) -> None:
    network = linear()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def poisoned(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.full((4, 4), value), LABELS[:4]

    with pytest.raises(DivergedError, match="epoch 1, step 1") as caught:
        run(network, batches=poisoned, steps_per_epoch=1)
    assert caught.value.exit_code == 7
    assert caught.value.hint and "--lr" in caught.value.hint
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_validation_loss_that_is_not_finite_is_never_the_best() -> None:
    kept: list[EpochRecord] = []
    with pytest.raises(DivergedError, match="validation"):
        run(linear(), validate=lambda: (math.nan, 0.5), on_best=kept.append)
    assert kept == []


def test_the_network_is_set_to_train_mode_before_every_epoch() -> None:
    network, modes = linear(), list[bool]()

    def validate() -> tuple[float, float]:
        modes.append(network.training)
        network.eval()
        return 1.0, 0.5

    run(network, validate=validate)
    assert modes == [True, True, True]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_only_matrices_decay(kind: Literal["sgd", "adamw"]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimizer = make_optimizer(
        kind, [(network[:2].parameters(), 0.1), (network[2].parameters(), 0.2)], weight_decay=0.5
    )
    decays = {
        id(parameter): (group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decays) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        lr = 0.2 if name.startswith("2.") else 0.1
        assert decays[id(parameter)] == (0.5 if parameter.ndim > 1 else 0.0, lr)


def test_one_step_of_sgd_is_torchs_own() -> None:
    ours, theirs = linear(), linear()
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)
    run(ours, batches=batches_of(10), epochs=1, steps_per_epoch=1)
    nn.functional.cross_entropy(theirs(INPUTS), LABELS).backward()  # type: ignore[no-untyped-call]
    reference.step()
    assert all(torch.allclose(*pair) for pair in zip(ours.parameters(), theirs.parameters(), strict=True))
