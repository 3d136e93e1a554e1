"""A finetune as a whole: its events, what an interrupt keeps, what a failure leaves."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.running import TINY, Trained, scored

from resnet_cli import finetune
from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Item
from resnet_cli.errors import DivergedError, Interrupted, VerificationError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.heads.objectives import Validation
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.history import selection_key
from resnet_cli.model.reliability import Reliability
from resnet_cli.model.weights import load_model
from resnet_cli.prediction import predict
from resnet_cli.predictor import TorchPredictor
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.events import WorkDone
from resnet_cli.training import checkpointer
from resnet_cli.training.carry_out import run_plan
from resnet_cli.training.events import EpochDone, Event, PlanMade, RateLowered, Saved, StepDone
from resnet_cli.training.optimizers import Rates
from resnet_cli.training.plan import make_plan
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.task_network import NetworkTraining

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow_unless_trained", "no_plots")

DIGITS: dict[str, Any] = {"data": "digits", "classes": "0,1", "limit": 12, "val_fraction": 0.05, **TINY}


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half a gigabyte each; tests/test_training_resume.py is about them.
    monkeypatch.setattr(checkpointer, "write_checkpoint", lambda *_, **__: None)


def test_it_tells_everything_in_order(here: Path) -> None:
    events: list[Event] = []
    result = finetune(on_event=events.append, mode="frozen", solver="sgd", epochs=2, **DIGITS)
    kinds = [type(event) for event in events if not (isinstance(event, WorkDone) and event.task == "check")]
    assert kinds[0] is PlanMade and type(events[0]) is WorkDone
    assert kinds.index(WorkDone) < kinds.index(StepDone) < kinds.index(EpochDone) < kinds.index(Saved)
    work = [event for event in events if isinstance(event, WorkDone) and event.task == "features"]
    assert all(one.done <= two.done <= two.total for one, two in itertools.pairwise(work) if two.total)
    assert work[-1].done == work[-1].total == len(result.plan.dataset.items)
    assert (here / "runs" / "latest").resolve() == result.run.path.resolve()


def test_another_seed_or_head_of_a_frozen_run_computes_no_features(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_cli.engines.features import FrozenBackbone

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


@pytest.mark.parametrize("values", [{"mode": "frozen", "solver": "sgd"}, {"mode": "full"}], ids=["frozen", "full"])
def test_an_interrupt_keeps_the_best_model_so_far_and_says_so(here: Path, values: dict[str, Any]) -> None:
    events: list[Event] = []
    with pytest.raises(Interrupted) as caught:
        finetune(on_event=interrupt_after(2, events), **values, epochs=9, out=here / "run", **DIGITS)
    epochs = [event for event in events if isinstance(event, EpochDone)]
    best = [event.record for event in epochs if event.is_best][-1]
    assert str(here / "run" / "model.safetensors") in caught.value.kept
    assert f"(epoch {best.epoch}: lowest calibrated loss" in caught.value.kept
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
    monkeypatch.setattr(checkpointer, "MODEL_EVERY_S", -1)
    saved: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Saved):
            saved.append(load_model(event.path).provenance["best"]["val_loss"])

    result = finetune(on_event=hear, mode="frozen", epochs=4, head_lr=1.0, **DIGITS)
    assert saved[-1] == result.best.val_loss
    assert result.best == max(result.history, key=selection_key)


@pytest.mark.parametrize("where", ["step", "validation"])
def test_a_diverging_training_leaves_no_run(here: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**DIGITS, "mode": "full", "out": here / "run", "epochs": 1, "batch_size": 4}
    plan, events = make_plan(resolve(FinetuneConfig, values)), list[Event]()
    if where == "step":
        plan = dataclasses.replace(plan, rates=Rates("sgd", 1e30, 1e30, 0.0))
    else:
        monkeypatch.setattr(NetworkTraining, "_validate", lambda self: scored(float("nan"), 0.5))
    with pytest.raises(DivergedError, match=where):
        run_plan(plan, on_event=events.append)
    assert not (here / "run").exists()
    # Once more at a tenth, and then it is over.
    assert [event.rate for event in events if isinstance(event, RateLowered)] == [0.1]


def test_the_test_split_chooses_nothing(full_run: Trained, tmp_path: Path) -> None:
    # The same finetune with other test labels must keep the same weights.
    values = {**TINY, "data": str(full_run.photos), "mode": "frozen", "weights": str(full_run.run), "epochs": 5}
    plan = make_plan(resolve(FinetuneConfig, values))
    items = tuple(
        dataclasses.replace(item, labels=(0,)) if item.split == "test" else item for item in plan.dataset.items
    )
    other = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, items=items))
    results: list[FinetuneResult] = [run_plan(p, on_event=lambda event: None) for p in (plan, other)]
    states = [result.model.network.state_dict() for result in results]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert results[0].test is not None and results[1].test is not None
    assert results[0].test.top1 != results[1].test.top1


def test_the_best_is_on_disk_at_least_every_so_often(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "MODEL_EVERY_S", -1)
    events: list[Event] = []
    finetune(on_event=events.append, mode="frozen", epochs=3, **DIGITS)
    kinds = [type(event) for event in events]
    # While the training goes on, and not only at its end.
    assert kinds.index(Saved) < len(kinds) - 1 - kinds[::-1].index(EpochDone)
    newest = here / "runs" / "latest" / "model.safetensors"
    assert os.stat(newest).st_mtime <= time.time()


@pytest.mark.parametrize("mode", ["lp-ft", pytest.param("gradual", marks=pytest.mark.slow)])
def test_a_finetune_never_ends_below_its_probe(full_run: Trained, mode: str) -> None:
    # A rate that destroys what the weights know.
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": mode, "epochs": 1}
    events: list[Event] = []
    result = finetune(
        on_event=events.append, **values, lr=5.0, head_lr=5.0, clip_grad=1.0, batch_size=8, batchnorm="eval"
    )
    probe, *rest = result.history
    assert (probe.epoch, [record.epoch for record in rest]) == (0, [1])
    assert selection_key(result.best) == max(map(selection_key, result.history))
    assert result.best == probe
    assert (result.val.top1, result.val.loss) == pytest.approx((probe.val_top1, probe.val_loss), abs=1e-4)
    # The kept model is the probe: the backbone that it began with, bit by bit.
    start, end = load_model(full_run.run).network.state_dict(), result.model.network.state_dict()
    assert all(torch.equal(start[name], end[name]) for name in start if not name.startswith("fc."))
    first = next(event for event in events if isinstance(event, EpochDone))
    assert (first.record, first.is_best) == (probe, True)


def test_a_finetune_starts_from_the_head_of_its_probe(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": "lp-ft", "epochs": 1}
    result = finetune(**values, lr=1e-12, head_lr=1e-12, batchnorm="eval", weight_decay=0.0)
    probe, after = result.history
    assert (after.val_loss, after.val_top1) == pytest.approx((probe.val_loss, probe.val_top1), rel=1e-3)


@pytest.mark.slow
def test_the_stages_that_are_not_named_come_through_a_run_bit_by_bit(full_run: Trained) -> None:
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": "full", "epochs": 2}
    result = finetune(**values, unfreeze="layer4", lr=0.01, batch_size=8, batchnorm="train", augment="none")
    start, end = load_model(full_run.run).network.state_dict(), load_model(result.run.path).network.state_dict()
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    assert {name.partition(".")[0] for name in changed} == {"layer4", "fc"}
    assert "layer4.0.bn1.running_mean" in changed


def test_a_divergence_in_the_middle_leaves_a_whole_history(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    validate, calls = NetworkTraining._validate, itertools.count(1)

    def poisoned(self: NetworkTraining) -> Validation:
        found = validate(self)
        return found._replace(loss=float("inf")) if next(calls) == 2 else found

    monkeypatch.setattr(NetworkTraining, "_validate", poisoned)
    events: list[Event] = []
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": "lp-ft", "epochs": 3}
    result = finetune(on_event=events.append, **values)
    assert [record.epoch for record in result.history] == [0, 1, 2, 3]
    assert [(event.epoch, event.rate) for event in events if isinstance(event, RateLowered)] == [(2, 0.1)]
    rows = (result.run.path / "history.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["0", "1", "2", "3"]


def test_a_probe_by_lbfgs_is_kept_with_its_penalty_and_remembers_its_classes(full_run: Trained) -> None:
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": "frozen"}
    result = finetune(**values)
    assert result.plan.solver == "lbfgs"
    assert result.best in result.history
    assert result.best.val_loss == min(record.val_loss for record in result.history)
    assert all(record.l2 for record in result.history)
    assert result.val.loss == pytest.approx(result.best.val_loss, abs=1e-4)
    remembered = load_model(result.run.path).exemplars
    assert remembered is not None
    assert len(remembered.labels) == len(result.plan.dataset.split("train")) + len(result.plan.dataset.split("val"))
    # What it remembers is what the backbone makes of its images.
    head = load_model(result.run.path).network.fc.eval()
    answers = head_probs(head, remembered.features.float()).argmax(dim=1)
    held_out = remembered.held_out
    right = float((answers[held_out] == remembered.labels[held_out]).float().mean())
    assert right == pytest.approx(result.best.val_top1)
    # One that was trained remembers too: what its backbone makes of the images now.
    trained = load_model(full_run.run)
    assert trained.exemplars is not None and isinstance(trained.reliability, Reliability)
    assert len(trained.reliability.confidence) == len(full_run.result.plan.dataset.split("val"))
    assert trained.reliability.is_right.mean() == pytest.approx(full_run.result.val.top1)


def test_the_time_limit_that_froze_the_backbone_does_not_cut_its_head_short(
    full_run: Trained,
) -> None:
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "image_size": 64}
    result = finetune(**values, max_time=1e-3, epochs=3, head="8")
    assert (result.plan.mode, len(result.history)) == ("frozen", 3)


def test_head_rows_of_classes_of_the_same_name_are_kept(full_run: Trained, make_other: Path) -> None:
    # Rates of nothing: what answers is what the head began with.
    values = {**TINY, "data": str(make_other), "weights": str(full_run.run), "mode": "full", "epochs": 1}
    result = finetune(**values, lr=1e-30, head_lr=1e-30, weight_decay=0, batchnorm="eval")
    old, new = load_model(full_run.run), result.model
    assert new.classes == ("blue", "red", "white")
    for name in ("blue", "red"):
        for part in ("fc.weight", "fc.bias"):
            ours, theirs = new.network.state_dict()[part], old.network.state_dict()[part]
            assert torch.equal(ours[new.classes.index(name)], theirs[old.classes.index(name)])
    assert float(new.network.state_dict()["fc.weight"][2].abs().max()) < 1e-20


@pytest.mark.parametrize(
    "solver", ["lbfgs", pytest.param("lbfgs-sgd", marks=pytest.mark.slow), pytest.param("sgd", marks=pytest.mark.slow)]
)
def test_added_classes_join_the_old_ones_whose_images_are_not_needed(
    frozen_run: Trained, make_other: Path, solver: str
) -> None:
    values = {**TINY, "data": str(make_other), "weights": str(frozen_run.run), "add": True, "solver": solver}
    result = finetune(**values)
    assert result.model.classes == ("blue", "green", "red", "white")
    assert "green" not in {result.plan.dataset.classes[item.label] for item in result.plan.dataset.items}
    kept = result.retention
    assert kept is not None
    before = load_model(frozen_run.run)
    assert before.exemplars is not None
    assert kept.num == int(before.exemplars.held_out.sum()) == 15
    assert kept.before == pytest.approx(frozen_run.result.best.val_top1)
    assert kept.after >= kept.before - 0.2
    told = result.to_dict()["old_classes"]
    assert told == {"num": 15, "before": kept.before, "after": kept.after}
    # The old classes' own images, which the training has not seen, are still answered.
    items = [item for item in frozen_run.result.plan.dataset.items if item.split == "test"]
    names = frozen_run.result.model.classes
    green = [item for item in items if names[item.label] == "green"]
    answers = [found.prediction.label for found in predict(TorchPredictor(result.model, result.plan.compute), green)]
    assert answers.count("green") >= 2
    # And what came in can be added to in its turn.
    exemplars = load_model(result.run.path).exemplars
    assert exemplars is not None and set(exemplars.labels.tolist()) == {0, 1, 2, 3}


@pytest.fixture
def make_other(tmp_path: Path) -> Path:
    """Two known colours and a new one."""
    root = tmp_path / "other"
    for label, (name, colour) in enumerate({"blue": (90, 90, 170), "red": (170, 90, 90), "white": (230,) * 3}.items()):
        (root / name).mkdir(parents=True)
        for index in range(10):
            rng = np.random.default_rng((label, index))
            pixels = np.clip(colour + rng.normal(0, 30, (40, 50, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.mark.parametrize(
    "fit", ["pad", pytest.param("crop", marks=pytest.mark.slow), pytest.param("squash", marks=pytest.mark.slow)]
)
def test_the_fit_is_stored_in_the_model_and_used_by_whoever_loads_it(
    here: Path, fit: str, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": "frozen"}
    result = finetune(**values, fit=fit)
    model = load_model(result.run.path)
    assert model.preprocess.fit == fit
    # Red, green and blue thirds, side by side.
    wide = Image.fromarray(np.repeat(255 * np.eye(3, dtype=np.uint8)[None], 30, axis=0).repeat(30, axis=1))
    wide.save("wide.png")
    seen: list[Preprocess] = []
    call = Preprocess.__call__

    def look(self: Preprocess, image: Image.Image) -> Any:
        seen.append(self)
        return call(self, image)

    monkeypatch.setattr(Preprocess, "__call__", look)
    (found,) = predict(TorchPredictor(model, result.plan.compute), [Item("wide.png", Path("wide.png"))])
    assert {preprocess.fit for preprocess in seen} == {fit}
    size = model.preprocess.crop_size
    pixels = call(model.preprocess, wide)
    seen_colours = {tuple(colour) for colour in pixels[size // 2, [1, size // 2, -2]].tolist()}
    assert len(seen_colours) == (1 if fit == "crop" else 3)
    # Padded, the image has a third of the height.
    rim = [list(model.preprocess.mean_color)] * size
    assert (pixels[0].tolist() == rim) == (pixels[size // 4].tolist() == rim) == (fit == "pad")
    assert 0 <= found.prediction.prob <= 1


@pytest.mark.parametrize(
    ("mode", "solver", "epoch"),
    [("frozen", "sgd", 1), ("frozen", "auto", 0), pytest.param("lp-ft", "auto", 0, marks=pytest.mark.slow)],
)
def test_a_target_stops_early(full_run: Trained, mode: str, solver: str, epoch: int) -> None:
    values = {**TINY, "data": str(full_run.photos), "weights": str(full_run.run), "mode": mode, "epochs": 9}
    values |= {"solver": solver}
    result = finetune(**values, target=0.01)
    assert [record.epoch for record in result.history] == [result.best.epoch] == [epoch]
    assert result.to_dict()["epochs"] == epoch


def test_a_run_that_is_below_what_was_asked_for_fails_after_everything_is_written(here: Path) -> None:
    result = finetune(mode="frozen", **DIGITS)
    result.check(None)
    result.check(result.final.top1)
    worse = dataclasses.replace(result, val=result.val, test=dataclasses.replace(result.final, top1=0.5))
    with pytest.raises(VerificationError, match=r"test top-1 50.0 % is below --fail-under 90%") as caught:
        worse.check(0.9)
    assert caught.value.exit_code == 10
