"""A finetune as a whole: its events, what an interrupt keeps, what a failure leaves."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from running import TINY, Trained

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.errors import DivergedError, Interrupted
from resnet_cli.evaluation import evaluate
from resnet_cli.training import finetune as finetune_module
from resnet_cli.training.events import EpochDone, Event, PlanMade, Saved, StepDone, WorkDone
from resnet_cli.training.finetune import FinetuneResult, finetune, run_plan
from resnet_cli.training.plan import make_plan
from resnet_cli.weights import load_model

pytest_plugins = ["small_runs"]
pytestmark = pytest.mark.usefixtures("no_plots")

DIGITS: dict[str, Any] = {"data": "digits", "classes": "0,1", "limit": 12, "val_fraction": 0.05, **TINY}


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


def test_it_tells_everything_in_order(here: Path) -> None:
    events: list[Event] = []
    result = finetune(on_event=events.append, mode="frozen", epochs=2, **DIGITS)
    kinds = [type(event) for event in events if not (isinstance(event, WorkDone) and event.task == "check")]
    assert kinds[0] is PlanMade and type(events[0]) is WorkDone
    assert kinds.index(WorkDone) < kinds.index(StepDone) < kinds.index(EpochDone) < kinds.index(Saved)
    work = [event for event in events if isinstance(event, WorkDone) and event.task == "features"]
    assert all(one.done <= two.done <= two.total for one, two in itertools.pairwise(work) if two.total)
    assert work[-1].done == work[-1].total == len(result.plan.dataset.items)
    assert (here / "runs" / "latest").resolve() == result.run.path.resolve()


def test_another_seed_or_head_of_a_frozen_run_computes_no_features(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_cli.features import FrozenBackbone

    # Random weights are drawn from the seed; a file is what the next run shares.
    first = finetune(mode="frozen", epochs=1, **DIGITS)
    values = {**DIGITS, "weights": str(first.run.model_path), "mode": "frozen", "epochs": 1}

    def never(self: object, pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a forward pass")

    monkeypatch.setattr(FrozenBackbone, "__call__", never)
    finetune(**values, seed=5, head="16")


def interrupt_after(epoch: int, events: list[Event]) -> Any:
    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochDone) and event.record.epoch == epoch:
            raise KeyboardInterrupt

    return hear


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_an_interrupt_keeps_the_best_model_so_far_and_says_so(here: Path, mode: str) -> None:
    events: list[Event] = []
    with pytest.raises(Interrupted) as caught:
        finetune(on_event=interrupt_after(2, events), mode=mode, epochs=9, out=here / "run", **DIGITS)
    epochs = [event for event in events if isinstance(event, EpochDone)]
    best = [event.record for event in epochs if event.is_best][-1]
    assert str(here / "run" / "model.safetensors") in caught.value.kept
    assert f"the best of {len(epochs)} epochs" in caught.value.kept
    assert len(Path("run/history.csv").read_text().splitlines()) == 1 + len(epochs)
    model = load_model(here / "run")
    plan = next(event.plan for event in events if isinstance(event, PlanMade))
    scores = evaluate(model, plan.dataset.split("val"), plan.compute)
    assert scores.loss == pytest.approx(best.val_loss, abs=1e-5)
    assert (here / "runs" / "latest").resolve() == (here / "run").resolve()


def test_an_interrupt_before_the_first_epoch_leaves_no_run(here: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="nothing to keep"):
        finetune(on_event=interrupt, mode="full", out=here / "run", **DIGITS)
    assert not (here / "run").exists()


def test_an_epoch_that_is_worse_does_not_replace_the_best(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune_module, "SAVE_EVERY_S", -1)
    saved: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Saved):
            saved.append(load_model(event.path).provenance["best"]["val_loss"])

    result = finetune(on_event=hear, mode="frozen", epochs=4, head_lr=1.0, **DIGITS)
    assert saved[-1] == result.best.val_loss
    key = [(record.val_top1, -record.val_loss) for record in result.history]
    assert result.best == result.history[key.index(max(key))]


@pytest.mark.parametrize("batch_size", [4, 12], ids=["seen in a step", "seen only in validation"])
def test_a_diverging_training_leaves_no_run(here: Path, batch_size: int) -> None:
    values = {**DIGITS, "mode": "full", "out": here / "run", "epochs": 1, "batch_size": batch_size}
    plan = make_plan(resolve(FinetuneConfig, values))
    with pytest.raises(DivergedError):
        run_plan(dataclasses.replace(plan, optimizer="sgd", lr=1e30, head_lr=1e30), on_event=lambda event: None)
    assert not (here / "run").exists()


def test_the_test_split_chooses_nothing(full_run: Trained, tmp_path: Path) -> None:
    # The same finetune with other test labels must keep the same weights.
    values = {**TINY, "data": str(full_run.photos), "mode": "frozen", "weights": str(full_run.run), "epochs": 5}
    plan = make_plan(resolve(FinetuneConfig, values))
    items = tuple(dataclasses.replace(item, label=0) if item.split == "test" else item for item in plan.dataset.items)
    other = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, items=items))
    results: list[FinetuneResult] = [run_plan(p, on_event=lambda event: None) for p in (plan, other)]
    states = [result.model.network.state_dict() for result in results]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert results[0].test is not None and results[1].test is not None
    assert results[0].test.top1 != results[1].test.top1


def test_the_best_is_on_disk_at_least_every_so_often(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune_module, "SAVE_EVERY_S", -1)
    events: list[Event] = []
    finetune(on_event=events.append, mode="frozen", epochs=3, **DIGITS)
    kinds = [type(event) for event in events]
    assert kinds.index(Saved) < kinds.index(EpochDone)
    newest = here / "runs" / "latest" / "model.safetensors"
    assert os.stat(newest).st_mtime <= time.time()
