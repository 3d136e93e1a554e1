from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.training.schedule import cosine


def multipliers(total_steps: int, warmup_steps: int) -> list[float]:
    return [cosine(step, total_steps=total_steps, warmup_steps=warmup_steps) for step in range(total_steps)]


@given(total_steps=st.integers(1, 300), share=st.floats(0, 0.99))
def test_it_rises_to_the_peak_once_and_then_falls(total_steps: int, share: float) -> None:
    warmup_steps = int(share * total_steps)
    found = multipliers(total_steps, warmup_steps)
    assert all(0 < multiplier <= 1 for multiplier in found)
    assert found[warmup_steps] == 1
    assert found[: warmup_steps + 1] == sorted(found[: warmup_steps + 1])
    assert found[warmup_steps:] == sorted(found[warmup_steps:], reverse=True)


def test_warm_up_is_linear_and_the_end_is_near_zero() -> None:
    found = multipliers(100, 10)
    assert found[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert found[55] == pytest.approx(0.5)
    assert found[-1] < 1e-3


def test_it_is_a_function_of_the_step_alone() -> None:
    assert multipliers(50, 5) == [cosine(step, total_steps=50, warmup_steps=5) for step in reversed(range(50))][::-1]


def test_a_single_step_is_taken_at_the_peak() -> None:
    assert multipliers(1, 0) == [1]
