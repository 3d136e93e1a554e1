"""The L-BFGS probe: scikit-learn's answers, the same every time, at any size, and a path that knows when to stop."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from resnet_cli.errors import DivergedError
from resnet_cli.heads import logistic
from resnet_cli.heads.logistic import PATIENCE, Candidate, Rows, choose, fit_path
from resnet_cli.heads.objectives import loss_and_top1
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.heads.standardization import standardization
from resnet_cli.model.output import NUM_FEATURES

WIDTH = 24


def clusters(count: int, seed: int, *, width: int = WIDTH, num_classes: int = 3) -> Rows:
    """Features around a centre for each class, with scales from 1e-2 to 1e1; every class occurs."""
    centres = np.random.default_rng(0).normal(size=(num_classes, width))
    scales = 10 ** np.random.default_rng(1).uniform(-2, 1, width)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % num_classes)
    noisy = (0.5 * centres[labels] + rng.normal(size=(count, width))) * scales + 3 * scales
    return torch.from_numpy(noisy).float(), torch.from_numpy(labels)


TRAIN, VAL = clusters(240, 2), clusters(90, 3)


def path(train: Rows = TRAIN, val: Rows = VAL, num_classes: int = 3, **options: Any) -> list[Candidate]:
    return list(fit_path(train, val, num_classes, device="cpu", **options))


def fitted_logits(candidate: Candidate, features: Tensor) -> Tensor:
    """As they were before the head was scaled to validation."""
    with torch.no_grad():
        logits: Tensor = candidate.head(features.float()) / candidate.scale
    return logits


@pytest.mark.parametrize("l2", [1.0, 0.1, 0.003])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_it_is_scikit_learns_logistic_regression(l2: float, weighted: bool) -> None:
    mean, std = standardization(TRAIN[0])
    weights = np.random.default_rng(0).uniform(0.2, 3, len(TRAIN[1])) if weighted else None
    total = len(TRAIN[1]) if weights is None else weights.sum()
    reference = LogisticRegression(C=1 / (l2 * total), tol=1e-8, max_iter=5000)
    reference.fit(((TRAIN[0] - mean) / std).numpy(), TRAIN[1].numpy(), sample_weight=weights)
    sample_weights = None if weights is None else torch.from_numpy(weights)
    (found,) = path(penalties=[l2], sample_weights=sample_weights)
    expected = reference.predict_proba(((VAL[0] - mean) / std).numpy())
    assert np.abs(torch.softmax(fitted_logits(found, VAL[0]), dim=1).numpy() - expected).max() < 1e-3


@pytest.mark.parametrize("rows", [logistic.ROWS_AT_ONCE, 50], ids=["whole", "in parts"])
def test_the_slope_of_the_whole_objective_is_zero(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "ROWS_AT_ONCE", rows)
    weights, offsets = torch.rand(240, dtype=torch.float64) + 0.1, torch.tensor([0.5, -1.0, 0.0])
    (found,) = path(penalties=[0.05], sample_weights=weights, label_smoothing=0.1, logit_offsets=offsets)
    mean, std = (part.double() for part in standardization(TRAIN[0]))
    inputs = (TRAIN[0].double() - mean) / std
    weight = (found.head.weight.detach().double() / found.scale * std).requires_grad_()
    bias = fitted_logits(found, mean.float()[None]).double()[0].requires_grad_()
    losses = F.cross_entropy(inputs @ weight.T + bias + offsets, TRAIN[1], label_smoothing=0.1, reduction="none")
    loss = losses @ (weights / weights.sum()) + 0.05 / 2 * weight.square().sum()
    slopes = torch.autograd.grad(loss, [weight, bias])
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-4


def test_logit_offsets_make_a_rare_class_likelier() -> None:
    kept = torch.cat([(TRAIN[1] != 2).nonzero()[:, 0], (TRAIN[1] == 2).nonzero()[:6, 0]])
    train = TRAIN[0][kept], TRAIN[1][kept]
    counts = torch.bincount(train[1])
    (plain,) = path(train, penalties=[0.1])
    (adjusted,) = path(train, penalties=[0.1], logit_offsets=(counts / counts.sum()).log())
    found = [int((fitted_logits(head, VAL[0]).argmax(dim=1) == 2).sum()) for head in (plain, adjusted)]
    assert found[1] > found[0]


def test_the_same_features_give_the_same_heads_bit_for_bit() -> None:
    first, second = path(), path()
    assert len(first) == len(second) > 2
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.head.weight, other.head.weight) and torch.equal(one.head.bias, other.head.bias)
        assert dataclasses.replace(one, head=other.head, seconds=0) == dataclasses.replace(other, seconds=0) or (
            (one.l2, one.scale, one.train_loss, one.val_loss)
            == (other.l2, other.scale, other.train_loss, other.val_loss)
        )


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    # Below that the loss is so flat that float32 cannot tell ends apart.
    for warm in path(penalties=[l2 for l2 in logistic.PENALTIES if l2 >= 0.01]):
        (cold,) = path(penalties=[warm.l2])
        warm_probs, cold_probs = (torch.softmax(fitted_logits(found, VAL[0]), dim=1) for found in (warm, cold))
        assert torch.allclose(warm_probs, cold_probs, atol=1e-3)


def test_a_candidate_says_what_its_head_scores_on_raw_features() -> None:
    for candidate in path((TRAIN[0].half(), TRAIN[1]), (VAL[0].half(), VAL[1])):
        for rows, expected in (
            (TRAIN, (candidate.train_loss, candidate.train_score)),
            (VAL, (candidate.val_loss, candidate.val_score)),
        ):
            assert loss_and_top1(head_probs(candidate.head, rows[0].half()), rows[1]) == pytest.approx(
                expected, rel=1e-3
            )


def test_the_path_stops_where_validation_has_got_worse() -> None:
    candidates = path(clusters(60, 2, width=200), clusters(90, 3, width=200))
    losses = [candidate.val_loss for candidate in candidates]
    lowest = losses.index(min(losses))
    assert 0 < lowest
    assert len(losses) == lowest + 1 + PATIENCE < len(logistic.PENALTIES)
    assert choose(candidates) is candidates[lowest]


def test_a_path_can_be_left_at_any_time() -> None:
    first = next(fit_path(TRAIN, VAL, 3, device="cpu"))
    assert first.l2 == logistic.PENALTIES[0]


def test_penalties_decrease() -> None:
    assert all(strong > weak > 0 for strong, weak in itertools.pairwise(logistic.PENALTIES))


def test_of_equal_losses_the_strongest_penalty_is_chosen() -> None:
    (made,) = path(penalties=[1.0])
    made_with = [
        dataclasses.replace(made, l2=l2, val_loss=loss) for l2, loss in ((4, 0.5), (2, 0.3), (1, 0.3), (0.5, 0.4))
    ]
    assert choose(made_with).l2 == 2


TINY = {
    "two images": ([0, 1], 2),
    "a class with one image": ([0, 0, 0, 0, 1, 2, 2, 2], 3),
    "a class without any": ([0, 0, 2, 2, 2], 4),
    "one class alone": ([1, 1, 1], 2),
    "one image": ([0], 2),
}


@pytest.mark.parametrize(("labels", "num_classes"), TINY.values(), ids=TINY)
@pytest.mark.parametrize("constant", [False, True], ids=["varied", "constant"])
def test_tiny_sets_have_finite_heads(labels: list[int], num_classes: int, constant: bool) -> None:
    torch.manual_seed(0)
    rows = torch.full((len(labels), NUM_FEATURES), 0.5) if constant else torch.rand(len(labels), NUM_FEATURES)
    chosen = choose(path((rows, torch.tensor(labels)), (rows[:2], torch.tensor(labels[:2])), num_classes))
    assert chosen.head.weight.shape == (num_classes, NUM_FEATURES)
    probs = head_probs(chosen.head, rows)
    assert torch.isfinite(probs).all() and np.isfinite([chosen.train_loss, chosen.val_loss]).all()
    if not constant:
        assert chosen.train_score == 1


def test_fewer_images_than_features_are_enough() -> None:
    train, val = clusters(60, 2, width=NUM_FEATURES), clusters(90, 3, width=NUM_FEATURES)
    assert (choose(path(train, val)).val_score or 0) > 0.95


def test_many_images_need_no_table_of_all_pairs() -> None:
    # Of 200,000 images it would take 160 GB.
    train = clusters(200_000, 2, width=4)
    (found,) = path(train, clusters(30, 3, width=4), penalties=[0.01])
    assert (found.train_score or 0) > 0.4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("split", ["train", "val"])
def test_features_that_are_not_finite_are_named_as_the_cause(value: float, split: str) -> None:
    rows = {"train": TRAIN, "val": VAL}
    features = rows[split][0].clone()
    features[3, 5] = value
    rows[split] = features, rows[split][1]
    with pytest.raises(DivergedError, match="features are not finite"):
        path(rows["train"], rows["val"])
