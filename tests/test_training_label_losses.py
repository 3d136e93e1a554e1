"""The losses for several labels: torch's and the papers' formulas, unknown values without effect, sums over parts."""

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

from resnet_cli.training.label_losses import LabelLossName, make_label_loss
from resnet_cli.training.losses import Balance

K = 4
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(10, K, generator=GENERATOR) * 3
TARGETS = torch.randint(-1, 2, (10, K), generator=GENERATOR).to(torch.int8)
KNOWN = TARGETS >= 0
BALANCES: list[Balance] = ["none", "weights"]
COMBINATIONS = list(itertools.product(get_args(LabelLossName), BALANCES, [0.0, 0.1]))


def loss_of(
    name: LabelLossName,
    balance: Balance = "none",
    label_smoothing: float = 0.0,
    logits: Tensor = LOGITS,
    targets: Tensor = TARGETS,
) -> Tensor:
    loss = make_label_loss(name, label_smoothing=label_smoothing, targets=TARGETS, balance=balance, device="cpu")
    return loss(logits, targets)


def written_out(name: LabelLossName, label_smoothing: float = 0.0) -> float:
    """The formulas of the papers, value by value."""
    total = 0.0
    for logit, target in zip(LOGITS[KNOWN].tolist(), TARGETS[KNOWN].tolist(), strict=True):
        p, y = 1 / (1 + math.exp(-logit)), target * (1 - label_smoothing) + label_smoothing / 2
        if name == "bce":
            yes, no = math.log(p), math.log(1 - p)
        elif name == "focal":
            yes, no = (1 - p) ** 2 * math.log(p), p**2 * math.log(1 - p)
        else:
            shifted = max(p - 0.05, 0)
            yes, no = math.log(p), shifted**4 * math.log(1 - shifted)
        total -= y * yes + (1 - y) * no
    return total / len(LOGITS)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", get_args(LabelLossName))
def test_it_is_the_formula_of_its_paper_summed_over_the_known_classes(
    name: LabelLossName, label_smoothing: float
) -> None:
    assert float(loss_of(name, label_smoothing=label_smoothing)) == pytest.approx(
        written_out(name, label_smoothing), rel=1e-4
    )


def test_binary_cross_entropy_is_torchs() -> None:
    targets = (TARGETS == 1).float()
    expected = F.binary_cross_entropy_with_logits(LOGITS, targets, weight=KNOWN.float(), reduction="sum") / len(LOGITS)
    assert torch.allclose(loss_of("bce"), expected)


@pytest.mark.parametrize(("name", "balance", "label_smoothing"), COMBINATIONS)
def test_unknown_values_have_no_loss_and_no_gradient(
    name: LabelLossName, balance: Balance, label_smoothing: float
) -> None:
    changed = torch.where(KNOWN, LOGITS, 50.0).requires_grad_()
    found = loss_of(name, balance, label_smoothing, logits=changed)
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(found, loss_of(name, balance, label_smoothing))
    assert changed.grad is not None
    assert not changed.grad[~KNOWN].any() and changed.grad[KNOWN].any()


@pytest.mark.parametrize(("name", "balance", "label_smoothing"), COMBINATIONS)
def test_a_batch_is_the_sum_of_its_parts(name: LabelLossName, balance: Balance, label_smoothing: float) -> None:
    parts = zip(torch.split(LOGITS, 4), torch.split(TARGETS, 4), strict=True)
    losses = [loss_of(name, balance, label_smoothing, *part) * len(part[0]) / len(LOGITS) for part in parts]
    assert torch.allclose(sum(losses, torch.tensor(0.0)), loss_of(name, balance, label_smoothing), rtol=1e-5)


@pytest.mark.parametrize(("name", "balance", "label_smoothing"), COMBINATIONS)
def test_extreme_logits_give_finite_losses_and_gradients(
    name: LabelLossName, balance: Balance, label_smoothing: float
) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0, 60.0], [200.0, -200.0, 0.0, -60.0]], requires_grad=True)
    targets = torch.tensor([[0, 1, 1, 0], [1, 0, -1, 1]], dtype=torch.int8)
    found = loss_of(name, balance, label_smoothing, logits=logits, targets=targets)
    found.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert found.isfinite() and logits.grad.isfinite().all()


def test_weights_are_scikit_learns_balanced_ones_of_each_class() -> None:
    loss = make_label_loss("bce", targets=TARGETS, balance="weights", device="cpu")
    assert loss.value_weights is not None
    for column in range(K):
        known = TARGETS[KNOWN[:, column], column].numpy()
        expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=known)
        assert loss.value_weights[:, column].numpy() == pytest.approx(expected)


def test_a_class_without_a_yes_or_without_a_known_value_has_finite_weights() -> None:
    targets = torch.tensor([[0, -1, 1]] * 5, dtype=torch.int8)
    loss = make_label_loss("bce", targets=targets, balance="weights", device="cpu")
    assert loss.value_weights is not None and loss.value_weights.isfinite().all()


def test_an_easy_no_counts_nothing_and_a_hard_one_most_in_the_asymmetric_loss() -> None:
    no = torch.zeros(1, 1, dtype=torch.int8)
    easy, hard = (loss_of("asl", logits=torch.tensor([[logit]]), targets=no) for logit in (-4.0, 4.0))
    plain = loss_of("bce", logits=torch.tensor([[-4.0]]), targets=no)
    assert float(easy) == 0 < float(plain)
    assert float(hard) > 1
