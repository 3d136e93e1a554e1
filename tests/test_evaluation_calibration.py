"""The temperature: no other gives a lower loss, and few right answers do not ask for certainty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from resnet_cli.evaluation.calibration import fit_temperature, softmax


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_no_other_temperature_is_better(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(400, 5)) * size
    labels = (logits / size + rng.gumbel(size=(400, 5))).argmax(axis=1)
    best = fit_temperature(logits, labels)

    def loss(temperature: float) -> float:
        scaled = torch.from_numpy(logits / temperature)
        return float(F.cross_entropy(scaled, torch.from_numpy(labels), label_smoothing=1 / 402))

    assert all(loss(best) <= loss(best * factor) + 1e-6 for factor in (0.9, 0.99, 1.01, 1.1))
    # The labels were drawn with the odds that logits / size say.
    assert best == pytest.approx(size, rel=0.35)


def test_logarithms_of_probabilities_have_the_temperature_of_their_logits() -> None:
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    assert fit_temperature(np.log(softmax(logits)), labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-4)


def test_few_right_answers_do_not_ask_for_certainty() -> None:
    logits, labels = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([0, 1])
    assert 0.5 < softmax(logits / fit_temperature(logits, labels))[0, 0] < 0.95
    assert np.isfinite(fit_temperature(np.zeros((2, 2)), labels))
