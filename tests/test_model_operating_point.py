"""A promise about wrong answers is kept, asks for no more images than it must, and is refused where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from resnet_cli.errors import ConfigError
from resnet_cli.model.operating_point import error_bound, select_threshold

#: What the chance of a mistake is at a probability.
RISKS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "as sure as it says": lambda confidence: 1 - confidence,
    "too modest": lambda confidence: 0.3 * (1 - confidence),
    "too sure": lambda confidence: np.minimum(1, 1.5 * (1 - confidence) + 0.02),
    "confidence says nothing": lambda confidence: np.full(len(confidence), 0.05),
}


@pytest.mark.parametrize("kind", RISKS)
@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
def test_a_promise_is_broken_at_most_5_times_of_100(kind: str, ties: bool) -> None:
    rng = np.random.default_rng(0)
    risk, target = RISKS[kind], 0.05

    def draw(num: int) -> NDArray[np.float32]:
        confidence = rng.beta(6, 1, num).astype(np.float32)
        return np.round(confidence, 1) if ties else confidence

    everyone, num_broken, num_trials = draw(100_000), 0, 150
    for _ in range(num_trials):
        confidence = draw(400)
        try:
            found = select_threshold(confidence, rng.random(400) >= risk(confidence), target)
        except ConfigError:
            continue
        num_broken += risk(everyone[everyone >= found.min_prob]).mean() > target
    assert num_broken <= 0.05 * num_trials


def test_it_takes_the_fewest_images_that_can_be_enough() -> None:
    confidence = np.linspace(0.5, 1, 300, dtype=np.float32)
    # (1 - 0.02) ** n = 0.05 / 3
    enough = math.ceil(math.log(0.05 / 3) / math.log(0.98))
    found = select_threshold(confidence[:enough], np.ones(enough, dtype=bool), 0.02)
    assert (found.coverage, found.error) == (1, 0) and found.error_bound <= 0.02
    with pytest.raises(ConfigError, match="validation images") as refused:
        select_threshold(confidence[: enough - 1], np.ones(enough - 1, dtype=bool), 0.02)
    assert refused.value.hint is not None and f"at least {enough} " in refused.value.hint


def test_mistakes_among_the_unsure_do_not_stop_the_sure_from_being_answered() -> None:
    confidence = np.linspace(1, 0.3, 1000, dtype=np.float32)
    is_right = np.arange(1000) < 600
    found = select_threshold(confidence, is_right, 0.02)
    assert 0.55 < found.coverage < 0.62 and found.error_bound <= 0.02
    assert found.min_prob == pytest.approx(confidence[round(found.coverage * 1000) - 1])


def test_what_is_equally_probable_is_answered_together() -> None:
    confidence = np.array([0.9] * 300 + [0.8] * 300, dtype=np.float32)
    is_right = np.ones(600, dtype=bool)
    is_right[300:350] = False
    found = select_threshold(confidence, is_right, 0.05)
    assert found.min_prob == pytest.approx(0.9) and found.coverage == 0.5


@pytest.mark.parametrize("num", [1, 2, 3])
def test_a_handful_of_images_promises_nothing(num: int) -> None:
    with pytest.raises(ConfigError):
        select_threshold(np.ones(num, dtype=np.float32), np.ones(num, dtype=bool), 0.01)


def test_answers_that_are_too_often_wrong_are_named_as_the_reason() -> None:
    with pytest.raises(ConfigError, match="with these predictions"):
        select_threshold(np.linspace(0, 1, 2000, dtype=np.float32), np.arange(2000) % 2 == 0, 0.05)


@given(st.integers(1, 400), st.data())
def test_the_bound_is_clopper_and_pearsons(num: int, data: st.DataObject) -> None:
    num_wrong = data.draw(st.integers(0, num))
    expected = binomtest(num_wrong, num, alternative="less").proportion_ci(0.95, method="exact").high
    assert error_bound(num_wrong, num, 0.05) == pytest.approx(expected, rel=1e-6)
