"""The temperature: no other gives a lower loss, and few right answers do not ask for certainty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from torch.nn import functional as F

from resnet_cli.evaluation.calibration import NUM_BINS, bin_of, calibration, rescale
from resnet_cli.heads.temperature import fit_temperature
from resnet_cli.task import softmax


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


@given(st.integers(0, 2**32 - 1))
def test_bins_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), size=200).astype(np.float32)
    labels = rng.integers(3, size=200)
    found = calibration(probs, labels)
    confidence, is_right = probs.max(axis=1).astype(np.float64), probs.argmax(axis=1) == labels
    shares, means = calibration_curve(is_right, confidence, n_bins=NUM_BINS)
    filled = [one for one in found.bins if one.num]
    assert [one.accuracy for one in filled] == pytest.approx(shares)
    assert [one.confidence for one in filled] == pytest.approx(means)
    weights = np.array([one.num for one in filled]) / 200
    assert found.ece == pytest.approx((weights * np.abs(shares - means)).sum())


def test_every_probability_has_a_bin_and_the_upper_edge_belongs_to_it() -> None:
    assert bin_of(np.array([0.0, 1e-9, 1 / 15, 0.5, 1.0, 1.00001])).tolist() == [0, 0, 0, 7, 14, 14]
    values = calibration(np.array([[1.0, 0.0]], dtype=np.float32), np.array([0])).to_dict()
    assert values["bins"][0]["accuracy"] is None and values["bins"][14]["num"] == 1


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 3))
def test_what_the_network_said_before_its_temperature_can_be_had_back(seed: int, temperature: float) -> None:
    logits = 3 * np.random.default_rng(seed).normal(size=(50, 4))
    cooled = softmax(logits / temperature).astype(np.float32)
    assert rescale(cooled, temperature) == pytest.approx(softmax(logits), abs=1e-5)
