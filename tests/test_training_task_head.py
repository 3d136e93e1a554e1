"""A head on frozen features: what it is handed out as, what it reaches, and what it never touches."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from support.running import COMPUTE, TINY, IgnoringCallback, Trained
from torch import nn

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.heads.objectives import loss_and_top1
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.heads.standardization import fold_standardization
from resnet_cli.history import EpochRecord, selection_key
from resnet_cli.model.network import NUM_FEATURES, make_head
from resnet_cli.training.events import EpochDone, Event
from resnet_cli.training.loop import FitOptions, fit
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.state import TrainState
from resnet_cli.training.task_head import HeadTraining, fit_linear_head, fit_probe, unfold_standardization

pytest_plugins = ["support.small_runs"]

Rows = tuple[torch.Tensor, torch.Tensor]


def plan_with(**values: Any) -> Plan:
    values = {"data": "digits", "mode": "frozen", "solver": "sgd", "classes": "0,1,2", **TINY, **values}
    return make_plan(resolve(FinetuneConfig, values))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_with()


def clusters(count: int, seed: int) -> Rows:
    """Features around three centres, with scales from 1e-3 to 1e2 as a ReLU's means have them."""
    centres = np.random.default_rng(0).normal(size=(3, NUM_FEATURES))
    scales = 10 ** np.random.default_rng(1).uniform(-3, 2, NUM_FEATURES)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    noisy = (0.15 * centres[labels] + rng.normal(size=(count, NUM_FEATURES))) * scales + 3 * scales
    return torch.from_numpy(noisy).float(), torch.from_numpy(labels)


class BestHead(IgnoringCallback):
    """Keeps the head that is handed out after the best epoch."""

    def __init__(self, training: HeadTraining) -> None:
        self._training = training
        self.best: EpochRecord | None = None
        self.head: nn.Module | None = None

    def keep_if_best(self, record: EpochRecord) -> bool:
        if self.best is None or selection_key(record) > selection_key(self.best):
            self.best, self.head = record, self._training.raw_head()
        return self.best is record


def fit_head_by_steps(
    plan: Plan, head: nn.Module, train: Rows | None = None, val: Rows | None = None, *, is_fresh: bool = True
) -> tuple[list[EpochRecord], nn.Module, TrainState]:
    rows = train or clusters(300, seed=2), val or clusters(200, seed=3)
    training = HeadTraining(plan, head, *rows, is_fresh=is_fresh)
    callback = BestHead(training)
    options = FitOptions(
        epochs=plan.epochs,
        seed=plan.config.seed,
        schedule=plan.schedule,
        average_from=plan.epochs - plan.average + 1 if plan.average else None,
    )
    fit(training.train_state, training.task(), options, compute=COMPUTE, callback=callback, on_event=lambda event: None)
    assert callback.head is not None
    return training.train_state.counters.history, callback.head, training.train_state


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
    history, head, _ = fit_head_by_steps(plan, make_head(3, ()))
    best = max(history, key=selection_key)
    assert loss_and_top1(head_probs(head, features), labels) == pytest.approx((best.val_loss, best.val_top1))


def test_it_reaches_what_logistic_regression_reaches(plan: Plan) -> None:
    (features, labels), (val_features, val_labels) = clusters(300, seed=2), clusters(200, seed=3)
    mean, std = features.mean(dim=0), features.std(dim=0)
    reference = LogisticRegression(C=0.01, max_iter=1000).fit(((features - mean) / std).numpy(), labels.numpy())
    expected = reference.score(((val_features - mean) / std).numpy(), val_labels.numpy())
    history, _, _ = fit_head_by_steps(plan, make_head(3, ()))
    assert expected > 0.9
    assert max(record.val_top1 or 0 for record in history) > expected - 0.02


@pytest.mark.parametrize("hidden", [(), (16,)], ids=["linear", "mlp"])
def test_the_same_seed_gives_the_same_head_bit_for_bit(plan: Plan, hidden: tuple[int, ...]) -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        seeded = dataclasses.replace(plan, config=plan.config.model_copy(update={"seed": seed}))
        heads.append(fit_head_by_steps(seeded, make_head(3, hidden))[1].state_dict())
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert any(not torch.equal(heads[0][name], heads[2][name]) for name in heads[0])


def test_constant_features_do_not_divide_by_zero(plan: Plan) -> None:
    features = torch.full((20, NUM_FEATURES), 0.5)
    labels = torch.arange(20) % 3
    history, _, _ = fit_head_by_steps(plan, make_head(3, ()), (features, labels), (features, labels))
    assert all(np.isfinite(record.val_loss) for record in history)


def test_a_frozen_backbone_is_bit_identical_to_its_start(full_run: Trained, frozen_run: Trained) -> None:
    start, end = load_file(full_run.run / "model.safetensors"), load_file(frozen_run.run / "model.safetensors")
    backbone = [name for name in start if not name.startswith(("fc.", "memory.", "reliability."))]
    assert len(backbone) == 318
    assert all(torch.equal(start[name], end[name]) for name in backbone)
    assert {name for name in end if name.startswith("fc.")} == {"fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias"}


@pytest.mark.parametrize("hidden", [(), (32,)], ids=["linear", "mlp"])
def test_unfolding_is_the_inverse_of_folding(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = make_head(5, hidden).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.02)
    features = 3 + 2 * torch.randn(40, NUM_FEATURES)
    mean, std = features.mean(dim=0), features.std(dim=0)
    with torch.no_grad():
        expected = head(features)
        unfold_standardization(head, mean, std)
        assert torch.allclose(head((features - mean) / std), expected, atol=1e-4)


@pytest.mark.parametrize("hidden", [(), (16,)], ids=["linear", "mlp"])
def test_a_head_that_knows_something_begins_with_its_own_answers(hidden: tuple[int, ...]) -> None:
    plan, (features, labels) = plan_with(head_lr=1e-12, epochs=1), clusters(200, seed=3)
    _, known, _ = fit_head_by_steps(plan_with(), make_head(3, hidden))
    wanted = loss_and_top1(head_probs(known, features), labels)
    (record,), _, _ = fit_head_by_steps(plan, known, is_fresh=False)
    assert (record.val_loss, record.val_top1) == pytest.approx(wanted, rel=1e-3)


def test_an_averaged_head_is_what_is_handed_out() -> None:
    features, labels = clusters(200, seed=3)
    for values in ({"ema": 0.9}, {"average": 3}):
        plan = plan_with(**values)
        history, head, train_state = fit_head_by_steps(plan, make_head(3, ()))
        best = max(history, key=selection_key)
        assert train_state.average is not None and train_state.average.num_updates
        assert loss_and_top1(head_probs(head, features), labels) == pytest.approx((best.val_loss, best.val_top1))


@pytest.mark.parametrize("balance", ["weights", "sampler", "logit-adjust"])
def test_a_rare_class_is_found_more_often_when_classes_are_balanced(balance: str) -> None:
    features, labels = clusters(400, seed=2)
    kept = torch.cat([torch.where(labels == 0)[0][:4], torch.where(labels != 0)[0]])
    train, val = (features[kept] + 0.0, labels[kept]), clusters(600, seed=3)

    def recall(plan: Plan) -> float:
        # Of the last epoch: validation itself has even classes and would choose an epoch that suits them.
        _, _, train_state = fit_head_by_steps(plan, make_head(3, ()), train, val)
        training = HeadTraining(plan, train_state.network, train, val)
        answers = head_probs(training.raw_head(), val[0]).argmax(dim=1)
        return float((answers[val[1] == 0] == 0).float().mean())

    assert recall(plan_with(balance=balance)) > recall(plan_with()) + 0.05


def test_the_path_reports_each_penalty_and_hands_out_the_head_that_validation_chose() -> None:
    plan, (features, labels) = plan_with(solver="lbfgs"), clusters(200, seed=3)
    events: list[Event] = []
    head, best, history = fit_linear_head(plan, clusters(300, seed=2), (features, labels), events.append)
    assert [event.record for event in events if isinstance(event, EpochDone)] == history
    assert [record.epoch for record in history] == list(range(1, len(history) + 1))
    penalties = [record.l2 for record in history]
    assert all(isinstance(l2, float) for l2 in penalties)
    assert best.val_loss == min(record.val_loss for record in history)
    assert loss_and_top1(head_probs(head, features), labels) == pytest.approx((best.val_loss, best.val_top1), abs=1e-3)
    shown_as_best = [event.record for event in events if isinstance(event, EpochDone) and event.is_best]
    assert shown_as_best[-1] == best


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_the_probe_of_a_finetune_is_epoch_0_whatever_rates_the_finetune_has(solver: str) -> None:
    train, val = clusters(300, seed=2), clusters(200, seed=3)
    found = []
    for values in ({}, {"epochs": 3, "lr": 0.5, "head_lr": 0.5, "batch_size": 4, "average": 2, "schedule": "linear"}):
        plan = plan_with(mode="lp-ft", solver=solver, **values)
        found.append(fit_probe(plan, make_head(3, ()), train, val))
    (one, record), (other, _) = found
    assert (record.epoch, record.lr) == (0, 0.0)
    assert loss_and_top1(head_probs(one, val[0]), val[1]) == pytest.approx((record.val_loss, record.val_top1), abs=1e-3)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))
