"""Losses against torch's, by their formulas, and as sums over the parts of a batch."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from resnet_cli.training.losses import Balance, LossName, make_loss

K = 4
COUNTS = (50, 5, 30, 15)
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(10, K, generator=GENERATOR) * 3
LABELS = torch.randint(K, (10,), generator=GENERATOR)
SOFT = torch.rand(10, K, generator=GENERATOR).softmax(dim=1)
COMBINATIONS = list(itertools.product(get_args(LossName), get_args(Balance), [0.0, 0.1], ["hard", "soft"]))


def loss_of(
    name: LossName,
    balance: Balance,
    label_smoothing: float,
    logits: Tensor,
    targets: Tensor,
    counts: tuple[int, ...] = COUNTS,
) -> Tensor:
    loss = make_loss(name, label_smoothing=label_smoothing, class_counts=counts, balance=balance, device="cpu")
    return loss(logits, targets)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
def test_cross_entropy_is_torchs_bit_by_bit(targets: Tensor, label_smoothing: float) -> None:
    ours, theirs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    found = loss_of("ce", "none", label_smoothing, ours, targets)
    expected = F.cross_entropy(theirs, targets, label_smoothing=label_smoothing)
    found.backward()  # type: ignore[no-untyped-call]
    expected.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(found, expected)
    assert ours.grad is not None and theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)
    if not label_smoothing:
        assert torch.equal(found, F.cross_entropy(LOGITS, targets))


@pytest.mark.parametrize(("name", "balance", "label_smoothing", "kind"), COMBINATIONS)
def test_a_batch_is_the_sum_of_its_parts(name: LossName, balance: Balance, label_smoothing: float, kind: str) -> None:
    targets = LABELS if kind == "hard" else SOFT
    whole = loss_of(name, balance, label_smoothing, LOGITS, targets)
    parts = zip(torch.split(LOGITS, 4), torch.split(targets, 4), strict=True)
    losses = [loss_of(name, balance, label_smoothing, *part) * len(part[0]) / len(LOGITS) for part in parts]
    assert len(losses) == 3
    assert torch.allclose(sum(losses, torch.tensor(0.0)), whole, rtol=1e-5)


@pytest.mark.parametrize(("name", "balance", "label_smoothing", "kind"), COMBINATIONS)
def test_an_empty_class_and_extreme_logits_give_finite_losses_and_gradients(
    name: LossName, balance: Balance, label_smoothing: float, kind: str
) -> None:
    logits = torch.tensor([[60.0, -60.0, 0.0, 0.0], [-200.0, 200.0, 0.0, 1.0], [0.0] * K], requires_grad=True)
    targets = torch.tensor([0, 0, 3])
    if kind == "soft":
        targets = F.one_hot(targets, K).float().lerp(torch.eye(K)[1], 0.3)
    found = loss_of(name, balance, label_smoothing, logits, targets, counts=(7, 0, 0, 3))
    found.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert found.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", get_args(LossName))
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_soft_targets_of_one_class_are_the_label(name: LossName, label_smoothing: float) -> None:
    for balance in get_args(Balance):
        hard = loss_of(name, balance, label_smoothing, LOGITS, LABELS)
        soft = loss_of(name, balance, label_smoothing, LOGITS, F.one_hot(LABELS, K).float())
        assert torch.allclose(hard, soft, rtol=1e-5)


def test_weights_are_scikit_learns_and_count_images() -> None:
    labels = np.repeat(np.arange(K), COUNTS)
    weights = torch.tensor(compute_class_weight("balanced", classes=np.arange(K), y=labels), dtype=torch.float32)
    expected = F.cross_entropy(LOGITS, LABELS, weight=weights, reduction="none").mean()
    assert torch.allclose(loss_of("ce", "weights", 0.0, LOGITS, LABELS), expected)
    assert torch.allclose(weights[labels].mean(), torch.tensor(1.0))


@pytest.mark.parametrize("name", get_args(LossName))
def test_how_much_an_image_counts_does_not_depend_on_smoothing(name: LossName) -> None:
    loss = make_loss(name, label_smoothing=0.3, class_counts=COUNTS, balance="weights", device="cpu")
    plain = make_loss(name, label_smoothing=0.3, class_counts=COUNTS, balance="none", device="cpu")
    for label, count in enumerate(COUNTS):
        one = LOGITS[:1], torch.tensor([label])
        assert torch.allclose(loss(*one), plain(*one) * sum(COUNTS) / (K * count))


def test_weights_over_the_training_images_have_a_mean_of_one_whatever_is_missing() -> None:
    loss = make_loss("ce", class_counts=(7, 0, 3), balance="weights", device="cpu")
    assert loss.class_weights is not None
    assert float((loss.class_weights * torch.tensor([7.0, 0.0, 3.0])).sum() / 10) == pytest.approx(1)


def test_equal_classes_need_no_balance() -> None:
    plain = loss_of("ce", "none", 0.0, LOGITS, LABELS)
    for balance in get_args(Balance):
        assert torch.allclose(loss_of("ce", balance, 0.0, LOGITS, LABELS, counts=(5,) * K), plain)


def test_logit_adjustment_is_the_cross_entropy_of_logits_and_log_priors() -> None:
    priors = torch.tensor(COUNTS) / sum(COUNTS)
    scores = priors * LOGITS.exp()
    expected = -(scores.gather(1, LABELS[:, None]).squeeze(1) / scores.sum(dim=1)).log().mean()
    assert torch.allclose(loss_of("ce", "logit-adjust", 0.0, LOGITS, LABELS), expected)


@pytest.mark.parametrize("name", get_args(LossName))
def test_the_sampler_leaves_the_loss_alone(name: LossName) -> None:
    pair = [loss_of(name, balance, 0.1, LOGITS, SOFT) for balance in ("none", "sampler")]
    assert torch.equal(*pair)


def test_focal_discounts_each_image_by_its_error() -> None:
    p = LOGITS.softmax(dim=1).gather(1, LABELS[:, None]).squeeze(1)
    assert torch.allclose(loss_of("focal", "none", 0.0, LOGITS, LABELS), (-((1 - p) ** 2) * p.log()).mean())


def test_focal_with_weights_weighs_the_discounted_images() -> None:
    weights = sum(COUNTS) / (K * torch.tensor(COUNTS))
    p = LOGITS.softmax(dim=1).gather(1, LABELS[:, None]).squeeze(1)
    expected = (-weights[LABELS] * (1 - p) ** 2 * p.log()).mean()
    assert torch.allclose(loss_of("focal", "weights", 0.0, LOGITS, LABELS), expected)


def test_bce_asks_each_class_against_the_rest_and_sums() -> None:
    p = LOGITS.double().sigmoid()
    terms = [[-math.log(p[i, c] if c == LABELS[i] else 1 - p[i, c]) for c in range(K)] for i in range(len(p))]
    found = loss_of("bce", "none", 0.0, LOGITS, LABELS)
    assert float(found) == pytest.approx(sum(map(sum, terms)) / len(p), rel=1e-5)


def test_bce_takes_several_labels_an_image() -> None:
    several = (SOFT > 0.25).float()
    expected = F.binary_cross_entropy_with_logits(LOGITS, several) * K
    assert torch.allclose(loss_of("bce", "none", 0.0, LOGITS, several), expected)


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    smooth = torch.full((len(LABELS), K), 0.2 / K).scatter_(1, LABELS[:, None], 0.8 + 0.2 / K)
    for name in get_args(LossName):
        found = loss_of(name, "none", 0.2, LOGITS, LABELS)
        assert torch.allclose(found, loss_of(name, "none", 0.0, LOGITS, smooth), rtol=1e-5)
