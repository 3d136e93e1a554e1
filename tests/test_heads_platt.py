"""Platt scaling of all classes at once, beside scikit-learn's logistic regression on one feature."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from resnet_cli.heads.platt import SCALES, fit_scaling

RNG = np.random.default_rng(0)
N, K = 400, 5
TRUE_SCALE, TRUE_SHIFT = np.array([0.3, 1.0, 2.0, 0.2, 5.0]), np.array([0.0, -2.0, 1.0, 0.5, -3.0])
LOGITS = RNG.normal(size=(N, K)) * 3
TARGETS = (RNG.uniform(size=(N, K)) < 1 / (1 + np.exp(-(TRUE_SCALE * LOGITS + TRUE_SHIFT)))).astype(np.int8)
TARGETS[RNG.uniform(size=(N, K)) < 0.2] = -1


def test_it_is_scikit_learns_logistic_regression_of_each_class_on_smoothed_targets() -> None:
    scale, shift = fit_scaling(LOGITS, TARGETS)
    for column in range(K):
        known = TARGETS[:, column] >= 0
        logits, values = LOGITS[known, column], TARGETS[known, column]
        num_yes, num_no = values.sum(), (values == 0).sum()
        aims = np.where(values == 1, (num_yes + 1) / (num_yes + 2), 1 / (num_no + 2))
        # Each image once as a yes and once as a no, weighted by its smoothed target.
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        reference.fit(
            np.concatenate([logits, logits])[:, None],
            np.repeat([1, 0], len(logits)),
            sample_weight=np.concatenate([aims, 1 - aims]),
        )
        assert scale[column] == pytest.approx(reference.coef_[0, 0], rel=1e-3)
        assert shift[column] == pytest.approx(reference.intercept_[0], rel=1e-3, abs=1e-3)


def test_unknown_values_do_not_matter_and_no_class_affects_another() -> None:
    scale, shift = fit_scaling(LOGITS, TARGETS)
    changed = np.where(TARGETS < 0, 100.0, LOGITS)
    changed[:, 1] = 0.0
    other_scale, other_shift = fit_scaling(changed, TARGETS)
    kept = [0, 2, 3, 4]
    assert other_scale[kept] == pytest.approx(scale[kept], rel=1e-6)
    assert other_shift[kept] == pytest.approx(shift[kept], rel=1e-6)


def test_a_class_whose_known_values_are_all_the_same_is_left_as_it_is() -> None:
    targets = TARGETS.copy()
    targets[:, 0], targets[:, 1], targets[:, 2] = 0, 1, -1
    scale, shift = fit_scaling(LOGITS, targets)
    assert scale[:3].tolist() == [1, 1, 1]
    assert shift[:3].tolist() == [0, 0, 0]
    assert scale[3] != 1


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_perfect_reversed_and_constant_logits_give_finite_values_within_the_range(size: float) -> None:
    targets = np.array([[0, 0, 0], [1, 1, 1]] * 10, np.int8)
    logits = np.array([[-1.0, 1.0, 2.0], [1.0, -1.0, 2.0]] * 10) * size
    scale, shift = fit_scaling(logits, targets)
    assert np.isfinite([scale, shift]).all()
    assert ((scale >= SCALES[0]) & (scale <= SCALES[1])).all()
    # Reversed logits are not turned around: the model stays what its training made it.
    assert (scale > 0).all()
