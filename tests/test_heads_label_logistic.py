"""The multi-label head of L-BFGS: scikit-learn's for each class, whatever is unknown, and a penalty per class."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from resnet_cli.heads import label_logistic
from resnet_cli.heads.average_precision import mean_average_precision
from resnet_cli.heads.label_logistic import fit_label_path
from resnet_cli.heads.label_path import LabelCandidate
from resnet_cli.heads.logistic import PATIENCE, PENALTIES, Rows, choose
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.heads.standardization import standardization

WIDTH, K = 24, 4
#: Classes from easy to hopeless, and one of few positives.
DIRECTIONS = np.random.default_rng(0).normal(size=(K, WIDTH)) * np.array([[2.0], [0.7], [0.0], [1.5]])
OFFSETS = np.array([0.0, -1.0, 0.0, -4.0])
SCALES = 10 ** np.random.default_rng(1).uniform(-2, 1, WIDTH)


def rows_of(count: int, seed: int, *, unknown: float = 0.2) -> Rows:
    """Features with scales from 1e-2 to 1e1 and targets of which some are unknown."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, WIDTH))
    is_yes = rng.uniform(size=(count, K)) < 1 / (1 + np.exp(-(inputs @ DIRECTIONS.T + OFFSETS)))
    targets = np.where(rng.uniform(size=(count, K)) < unknown, -1, is_yes).astype(np.int8)
    return torch.from_numpy((inputs + 3) * SCALES).float(), torch.from_numpy(targets)


TRAIN, VAL = rows_of(300, 2), rows_of(150, 3)


def path(train: Rows = TRAIN, val: Rows = VAL, **options: Any) -> list[LabelCandidate]:
    return list(fit_label_path(train, val, K, device="cpu", **options))


@functools.cache
def whole_path() -> list[LabelCandidate]:
    """The path of all penalties; its heads are not to be changed."""
    return path()


def with_targets(rows: Rows, column: int, value: int) -> Rows:
    targets = rows[1].clone()
    targets[:, column] = value
    return rows[0], targets


@pytest.mark.parametrize("l2", [1.0, 0.1, 0.003])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("cells", [label_logistic.CELLS_AT_ONCE, 700], ids=["all classes", "two at once"])
def test_every_class_is_scikit_learns_logistic_regression_on_its_known_images(
    l2: float, weighted: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_logistic, "CELLS_AT_ONCE", cells)
    weights = torch.tensor([[1.0, 2.0, 0.5, 1.0], [3.0, 1.0, 0.5, 20.0]]) if weighted else None
    (found,) = path(penalties=[l2], value_weights=weights)
    logits = found.unscaled_head()(VAL[0]).detach().numpy()
    mean, std = standardization(TRAIN[0])
    for column in range(K):
        known = TRAIN[1][:, column] >= 0
        inputs, values = ((TRAIN[0] - mean) / std)[known].numpy(), TRAIN[1][known, column].numpy()
        of_row = np.ones(len(values)) if weights is None else weights[:, column].numpy()[values]
        reference = LogisticRegression(C=1 / (l2 * of_row.sum()), tol=1e-8, max_iter=5000)
        reference.fit(inputs, values, sample_weight=of_row)
        expected = reference.predict_proba(((VAL[0] - mean) / std).numpy())[:, 1]
        assert np.abs(1 / (1 + np.exp(-logits[:, column])) - expected).max() < 1e-3


def test_label_smoothing_moves_each_target_by_half_of_it() -> None:
    (found,) = path(penalties=[0.05], label_smoothing=0.2)
    logits = found.unscaled_head()(TRAIN[0]).detach()
    known = TRAIN[1] >= 0
    aims = (TRAIN[1] == 1) * 0.8 + 0.1
    errors = torch.where(known, torch.sigmoid(logits) - aims, 0.0)
    # At the minimum the slope of every bias, which has no penalty, is zero.
    assert float((errors.sum(dim=0) / known.sum(dim=0)).abs().max()) < 1e-4


def test_no_class_and_no_unknown_value_affects_another_class() -> None:
    (plain,) = path(penalties=[0.1])
    for changed in (0, 1, -1):
        (other,) = path(with_targets(TRAIN, 2, changed), with_targets(VAL, 2, changed), penalties=[0.1])
        kept = [0, 1, 3]
        assert torch.allclose(other.head.weight[kept], plain.head.weight[kept], atol=1e-3, rtol=1e-3)
        assert [other.penalties[label] for label in kept] == [plain.penalties[label] for label in kept]


def test_each_class_keeps_the_penalty_of_its_lowest_validation_loss() -> None:
    candidates = whole_path()
    best = choose(candidates)
    assert best.fitted_loss == candidates[-1].fitted_loss
    assert len(set(best.penalties)) > 1
    assert set(best.penalties) <= set(PENALTIES)
    # What cannot be learned gets the strongest penalty.
    assert best.penalties[2] > best.penalties[0]
    alone = [path(with_targets(TRAIN, 2, -1), with_targets(VAL, 2, -1), penalties=[l2])[0] for l2 in PENALTIES]
    for column in (0, 1, 3):
        losses = [OBJECTIVES["multi-label"].validate(*_column(one, column)).loss for one in alone]
        first = next(at for at in range(len(losses)) if all(x > losses[at] for x in losses[at + 1 : at + 1 + PATIENCE]))
        assert best.penalties[column] == pytest.approx(PENALTIES[first])


def _column(found: LabelCandidate, column: int) -> Rows:
    probs = head_probs(found.head, VAL[0], task="multi-label")
    return probs[:, [column]], VAL[1][:, [column]]


def test_a_candidate_says_what_its_head_scores_on_raw_features() -> None:
    for candidate in path((TRAIN[0].half(), TRAIN[1]), (VAL[0].half(), VAL[1])):
        for rows, expected in (
            (TRAIN, (candidate.train_loss, candidate.train_score)),
            (VAL, (candidate.val_loss, candidate.val_score)),
        ):
            probs = head_probs(candidate.head, rows[0].half(), task="multi-label")
            assert OBJECTIVES["multi-label"].loss_and_score(probs, rows[1]) == pytest.approx(expected, rel=2e-3)


def test_the_chosen_penalties_fit_the_same_head_again() -> None:
    best = choose(whole_path())
    (again,) = path(penalties=best.chosen)
    assert again.penalties == best.penalties
    probs = [head_probs(one.head, VAL[0], task="multi-label") for one in (best, again)]
    assert torch.allclose(probs[0], probs[1], atol=2e-3)


def test_the_same_features_give_the_same_heads_bit_for_bit() -> None:
    first, second = whole_path(), path()
    assert len(first) == len(second) > 2
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.head.weight, other.head.weight) and torch.equal(one.head.bias, other.head.bias)
        assert one.penalties == other.penalties and one.val_loss == other.val_loss


def test_a_class_without_a_choice_takes_the_middle_penalty_and_one_that_is_unknown_stays_open() -> None:
    best = choose(path(val=with_targets(VAL, 1, 0)))
    others = sorted(best.penalties[label] for label in (0, 2, 3))
    assert best.penalties[1] == others[1]
    nothing = choose(path(with_targets(TRAIN, 1, -1), with_targets(VAL, 1, -1)))
    assert torch.allclose(head_probs(nothing.head, VAL[0], task="multi-label")[:, 1], torch.tensor(0.5))
    (unjudged,) = path(val=(VAL[0], torch.zeros_like(VAL[1])))
    assert set(unjudged.penalties) == {label_logistic.DEFAULT_PENALTY}
    assert unjudged.val_score is None


@pytest.mark.parametrize("value", [0, 1], ids=["only no", "only yes"])
def test_a_class_of_one_value_gets_a_constant_probability(value: int) -> None:
    found = choose(path(with_targets(TRAIN, 0, value)))
    probs = head_probs(found.head, VAL[0], task="multi-label")
    assert probs.isfinite().all()
    assert float((found.unscaled_head()(VAL[0]).detach()[:, 0].sigmoid() - value).abs().max()) < 0.01


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_give_finite_heads(count: int) -> None:
    few = TRAIN[0][:count], TRAIN[1][:count]
    for candidate in path(few, few):
        assert candidate.head.weight.isfinite().all() and candidate.head.bias.isfinite().all()
        assert np.isfinite(candidate.val_loss)


def test_it_ranks_as_well_as_scikit_learns_best_penalty() -> None:
    test = rows_of(2000, 4, unknown=0)
    mean, std = standardization(TRAIN[0])
    found = mean_average_precision(
        head_probs(choose(whole_path()).head, test[0], task="multi-label").numpy(), test[1].numpy()
    )
    best = 0.0
    for l2 in PENALTIES[::2]:
        scores = []
        for column in range(K):
            known = TRAIN[1][:, column] >= 0
            reference = LogisticRegression(C=1 / (l2 * int(known.sum())), max_iter=5000)
            reference.fit(((TRAIN[0] - mean) / std)[known].numpy(), TRAIN[1][known, column].numpy())
            scores.append(reference.decision_function(((test[0] - mean) / std).numpy()))
        best = max(best, mean_average_precision(np.stack(scores, axis=1), test[1].numpy()))
    assert found > best - 0.01


def test_steps_decay_weights_by_the_geometric_mean_of_the_penalties() -> None:
    candidate = path(penalties=[0.1])[0]
    assert candidate.weight_decay == pytest.approx(0.1)
    assert dataclasses.replace(candidate, penalties=(0.1, 0.4)).weight_decay == pytest.approx(0.2)
