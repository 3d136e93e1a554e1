from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.training.schedule import ONE_CYCLE_END, ONE_CYCLE_RISE, ONE_CYCLE_START, ScheduleName, lr_multiplier


def multipliers(name: ScheduleName, total_steps: int, warmup_steps: int = 0) -> list[float]:
    return [
        lr_multiplier(name, step, total_steps=total_steps, warmup_steps=warmup_steps) for step in range(total_steps)
    ]


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@given(total_steps=st.integers(1, 300), share=st.floats(0, 0.99))
def test_it_rises_to_the_peak_once_and_then_falls(name: ScheduleName, total_steps: int, share: float) -> None:
    warmup_steps = int(share * total_steps)
    found = multipliers(name, total_steps, warmup_steps)
    assert all(0 < one <= 1 for one in found)
    assert found[warmup_steps] == 1
    assert found[: warmup_steps + 1] == sorted(found[: warmup_steps + 1])
    assert found[warmup_steps:] == sorted(found[warmup_steps:], reverse=True)


@given(total_steps=st.integers(1, 300))
def test_one_cycle_rises_once_and_then_falls(total_steps: int) -> None:
    found = multipliers("one-cycle", total_steps)
    assert all(0 < one <= 1 for one in found)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_warm_up_is_linear_and_the_end_of_a_cosine_is_near_zero() -> None:
    found = multipliers("cosine", 100, 10)
    assert found[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert found[55] == pytest.approx(0.5)
    assert found[-1] < 1e-3


def test_linear_falls_by_the_same_amount_each_step_and_would_reach_zero_after_the_last() -> None:
    assert multipliers("linear", 14, 4)[4:] == pytest.approx([1 - step / 10 for step in range(10)])


def test_constant_stays_at_the_peak() -> None:
    assert multipliers("constant", 5, 2) == [0.5, 1, 1, 1, 1]


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "one-cycle"])
def test_it_is_a_function_of_the_step_alone(name: ScheduleName) -> None:
    backwards = [lr_multiplier(name, step, total_steps=50, warmup_steps=5) for step in reversed(range(50))]
    assert multipliers(name, 50, 5) == backwards[::-1]


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "one-cycle"])
def test_a_single_step_is_taken_at_the_peak(name: ScheduleName) -> None:
    assert multipliers(name, 1) == [1]


def test_the_cosine_is_that_of_the_first_release_bit_by_bit() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * ((step - 7) / 90))) for step in range(7, 97)]
    assert multipliers("cosine", 97, 7) == [(step + 1) / 7 for step in range(7)] + expected


@pytest.mark.parametrize("total_steps", [5, 8, 9, 40, 101, 1000])
def test_one_cycle_is_torchs_own(total_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=total_steps,
        pct_start=ONE_CYCLE_RISE,
        anneal_strategy="cos",
        three_phase=False,
        cycle_momentum=False,
    )
    expected = []
    for _ in range(total_steps):
        expected.append(float(theirs.get_last_lr()[0]))
        optimizer.step()
        if len(expected) < total_steps:
            theirs.step()
    found = multipliers("one-cycle", total_steps)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (found[0], found[-1]) == pytest.approx((ONE_CYCLE_START, ONE_CYCLE_END))


def test_one_cycle_has_a_rise_of_its_own() -> None:
    assert multipliers("one-cycle", 40, 0) == multipliers("one-cycle", 40, 20)
