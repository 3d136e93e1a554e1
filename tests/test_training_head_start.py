"""Steps on features start from the head of L-BFGS, and never end with a worse one."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from support.running import TINY, TINY_FLAGS, Trained, run_cli
from torch.nn import functional as F

from resnet_cli import finetune
from resnet_cli.engines.feature_rows import in_memory
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.heads.logistic import Rows
from resnet_cli.heads.standardization import standardization
from resnet_cli.training.distributed import SINGLE_PROCESS
from resnet_cli.training.head_start import fit_start
from resnet_cli.training.plan import Plan
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.split_features import split_features
from resnet_cli.training.task_head import HeadTraining, fit_linear_head

pytest_plugins = ["support.small_runs"]
pytestmark = pytest.mark.usefixtures("no_plots", "here")


def values_of(full_run: Trained, **values: Any) -> dict[str, Any]:
    return {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": "frozen"} | values


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"balance": "weights"},
        pytest.param({"balance": "logit-adjust", "label_smoothing": 0.1}, marks=pytest.mark.slow),
        pytest.param({"head_lr": 0.3}, marks=pytest.mark.slow),
        pytest.param({"ema": 0.9}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_result_is_never_worse_than_that_without_steps(full_run: Trained, values: dict[str, Any]) -> None:
    plain = finetune(**values_of(full_run, **{name: x for name, x in values.items() if name not in {"head_lr", "ema"}}))
    result = finetune(**values_of(full_run, epochs=4, **values))
    assert (plain.plan.solver, result.plan.solver) == ("lbfgs", "lbfgs-sgd")
    assert [record.epoch for record in result.history] == [0, 1, 2, 3, 4]
    start = result.history[0]
    assert start.l2 == plain.best.l2
    assert start.val_fitted_loss == pytest.approx(plain.best.val_fitted_loss, abs=1e-5)
    assert result.best.val_fitted_loss == min(record.val_fitted_loss for record in result.history)
    assert result.best.val_fitted_loss <= start.val_fitted_loss
    if result.best is start:
        assert_same_answers(plain, result)


def assert_same_answers(one: FinetuneResult, other: FinetuneResult) -> None:
    items = one.plan.dataset.split("test")
    answers = [evaluate(found.model, items, found.plan.compute).probs for found in (one, other)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)


def test_steps_that_gain_nothing_leave_the_head_of_lbfgs_and_everything_says_so(full_run: Trained, here: Path) -> None:
    plain = finetune(**values_of(full_run))
    flags = (full_run.photos, "--weights", full_run.run, "--mode", "frozen", *TINY_FLAGS, "--out", "run")
    told = run_cli("finetune", *flags, "--epochs", 2, "--head-lr", 1e-30, "--verbose")
    assert told.exit_code == 0, told.output
    shown, noted = " ".join(told.stdout.split()), " ".join(told.stderr.split())
    assert "--epochs asks for steps; they start from the L-BFGS head" in noted
    assert "epoch 0, the head of L-BFGS: validation top-1" in noted
    assert "kept epoch 0, the head before the first epoch: lowest calibrated loss" in shown
    with Path("run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], bool(row["l2"])) for row in rows] == [("0", True), ("1", False), ("2", False)]
    again = finetune(**values_of(full_run, epochs=2, head_lr=1e-30))
    assert again.best is again.history[0]
    assert again.to_dict()["best_epoch"] == 0
    assert_same_answers(plain, again)


def test_the_start_minimizes_what_the_steps_minimize(full_run: Trained) -> None:
    result = finetune(**values_of(full_run, epochs=1, label_smoothing=0.1))
    plan = result.plan
    train, val = rows(plan, result)
    head, penalty = fit_start(plan, train, val)
    training = HeadTraining(plan, head, train, val, is_fresh=False, penalty=penalty)
    decays = [group["weight_decay"] for group in training.train_state.optimizer.param_groups]
    assert decays == [penalty, 0.0]
    mean, std = standardization(train[0].float())
    logits = training.head((train[0].float() - mean) / std)
    F.cross_entropy(logits, train[1], label_smoothing=0.1).backward()  # type: ignore[no-untyped-call]
    weight, bias = training.head.parameters()
    assert weight.grad is not None and bias.grad is not None
    assert float((weight.grad + penalty * weight.detach()).abs().max()) < 1e-3
    assert float(bias.grad.abs().max()) < 1e-3


def test_the_start_is_the_head_of_lbfgs_but_for_its_scale(full_run: Trained) -> None:
    result = finetune(**values_of(full_run, epochs=1))
    train, val = rows(result.plan, result)
    head, penalty = fit_start(result.plan, train, val)
    reference, chosen, _ = fit_linear_head(result.plan, train, val, lambda event: None)
    assert penalty == chosen.l2 == result.history[0].l2
    for ours, theirs in zip(head.parameters(), reference.parameters(), strict=True):
        scale = theirs.detach().norm() / ours.detach().norm()
        assert torch.allclose(scale * ours, theirs, rtol=1e-3, atol=1e-5)


def rows(plan: Plan, result: FinetuneResult) -> tuple[Rows, Rows]:
    found = split_features(
        plan, result.model.network, ["train", "val"], distributed=SINGLE_PROCESS, on_progress=lambda *_: None
    )
    train, val = ((in_memory(features), targets) for features, targets in found.values())
    return train, val
