"""A head on frozen features: what it is handed out as, what it reaches, and what it never touches."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from running import TINY, Trained
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.evaluation import head_probs
from resnet_cli.model import NUM_FEATURES, make_head
from resnet_cli.training.events import EpochRecord
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.probe import fit_head, fold_standardization

pytest_plugins = ["small_runs"]


def plan_with(**values: Any) -> Plan:
    return make_plan(
        resolve(FinetuneConfig, {"data": "digits", "mode": "frozen", "classes": "0,1,2", **TINY, **values})
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_with()


def clusters(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around three centres, with scales from 1e-3 to 1e2 as a ReLU's means have them."""
    centres = np.random.default_rng(0).normal(size=(3, NUM_FEATURES))
    scales = 10 ** np.random.default_rng(1).uniform(-3, 2, NUM_FEATURES)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    noisy = (0.15 * centres[labels] + rng.normal(size=(count, NUM_FEATURES))) * scales + 3 * scales
    return torch.from_numpy(noisy).float(), torch.from_numpy(labels)


def fit(plan: Plan, head: nn.Module) -> tuple[list[EpochRecord], nn.Module]:
    kept: list[nn.Module] = []
    history = fit_head(
        plan,
        head,
        clusters(300, seed=2),
        clusters(200, seed=3),
        on_best=lambda record, raw: kept.append(raw),
        on_event=lambda event: None,
    )
    return history, kept[-1]


@pytest.mark.parametrize("hidden", [(), (32,), (64, 16)], ids=str)
def test_folding_the_standardisation_keeps_the_logits(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = make_head(5, hidden).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.02)
    before = [parameter.clone() for parameter in head.parameters()]
    features = 3 + 2 * torch.randn(40, NUM_FEATURES)
    mean, std = features.mean(dim=0), features.std(dim=0)
    folded = fold_standardization(head, mean, std)
    with torch.no_grad():
        expected = head((features - mean) / std)
        assert torch.allclose(folded(features), expected, atol=1e-4)
    assert all(torch.equal(*pair) for pair in zip(before, head.parameters(), strict=True))


def test_the_head_handed_out_takes_raw_features_and_scores_what_the_record_says(plan: Plan) -> None:
    features, labels = clusters(200, seed=3)
    history, head = fit(plan, make_head(3, ()))
    best = max(history, key=lambda record: (record.val_top1, -record.val_loss))
    probs = head_probs(head, features)
    assert float((probs.argmax(dim=1) == labels).float().mean()) == pytest.approx(best.val_top1)


def test_it_reaches_what_logistic_regression_reaches(plan: Plan) -> None:
    (features, labels), (val_features, val_labels) = clusters(300, seed=2), clusters(200, seed=3)
    mean, std = features.mean(dim=0), features.std(dim=0)
    reference = LogisticRegression(C=0.01, max_iter=1000).fit(((features - mean) / std).numpy(), labels.numpy())
    expected = reference.score(((val_features - mean) / std).numpy(), val_labels.numpy())
    history, _ = fit(plan, make_head(3, ()))
    assert expected > 0.9
    assert max(record.val_top1 for record in history) > expected - 0.02


@pytest.mark.parametrize("hidden", [(), (16,)], ids=["linear", "mlp"])
def test_the_same_seed_gives_the_same_head_bit_for_bit(plan: Plan, hidden: tuple[int, ...]) -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        seeded = dataclasses.replace(plan, config=plan.config.model_copy(update={"seed": seed}))
        heads.append(fit(seeded, make_head(3, hidden))[1].state_dict())
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert any(not torch.equal(heads[0][name], heads[2][name]) for name in heads[0])


def test_constant_features_do_not_divide_by_zero(plan: Plan) -> None:
    features = torch.full((20, NUM_FEATURES), 0.5)
    labels = torch.arange(20) % 3
    history = fit_head(
        plan,
        make_head(3, ()),
        (features, labels),
        (features, labels),
        on_best=lambda record, head: None,
        on_event=lambda event: None,
    )
    assert all(np.isfinite(record.val_loss) for record in history)


def test_a_frozen_backbone_is_bit_identical_to_its_start(full_run: Trained, frozen_run: Trained) -> None:
    start, end = load_file(full_run.run / "model.safetensors"), load_file(frozen_run.run / "model.safetensors")
    backbone = [name for name in start if not name.startswith("fc.")]
    assert len(backbone) == 318
    assert all(torch.equal(start[name], end[name]) for name in backbone)
    assert {name for name in end if name.startswith("fc.")} == {"fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias"}
