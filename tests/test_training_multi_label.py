"""Trainings on images with several labels: every mode learns, resumes bit by bit, and can be extended by classes."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.running import TINY
from torch import Tensor, nn

from resnet_cli import finetune
from resnet_cli.errors import ConfigError, Interrupted
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.weights import load_model
from resnet_cli.training.carry_out import run_plan
from resnet_cli.training.events import EpochDone, Event, StepDone
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.resume import find_run, plan_resumed

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("no_plots", "here", "narrow")

COLORS = {"blue": 2, "green": 1, "red": 0}
VALUES: dict[str, Any] = {**TINY, "batch_size": 8, "epochs": 2}
MODES: dict[str, dict[str, Any]] = {
    "frozen, from L-BFGS": {"mode": "frozen", "balance": "weights", "ema": 0.9},
    "frozen, an MLP, asymmetric": {"mode": "frozen", "head": "16", "head_lr": 0.03, "loss": "asl"},
    "full, mixed": {"mode": "full", "mixup": 0.4, "cutmix": 1.0, "mix_off_epochs": 1, "label_smoothing": 0.1},
    "gradual, focal, sampler": {
        "mode": "gradual",
        "unfreeze": "layer3,layer4",
        "loss": "focal",
        "solver": "sgd",
        "balance": "sampler",
    },
}


def write_images(folder: Path, names: dict[str, int], *, count: int, seed: int, start: int = 0) -> list[list[str]]:
    """Images whose channels are bright where they have the color's label; returns rows of path, labels and split."""
    rows, rng = [], np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for number in range(start, start + count):
        is_there = rng.random(len(names)) < 0.45
        pixels = rng.normal(90, 25, (32, 32, 3))
        for there, channel in zip(is_there, names.values(), strict=True):
            pixels[..., channel] += 70 * there
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        split = ("train", "train", "train", "val", "test")[number % 5]
        labels = ";".join(name for name, there in zip(names, is_there, strict=True) if there)
        rows.append([f"{number}.png", labels, split])
    return rows


def write_table(folder: Path, rows: list[list[str]]) -> Path:
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "labels", "split"], *rows])
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images with any of three labels, some with none."""
    folder = tmp_path_factory.mktemp("colors")
    return write_table(folder, write_images(folder, COLORS, count=40, seed=0))


def rows_of_head(head: nn.Module) -> Tensor:
    assert isinstance(head, nn.Linear)
    return head.weight


def timeless(values: Any) -> Any:
    """Without what a clock says."""
    if isinstance(values, dict):
        return {name: timeless(x) for name, x in values.items() if name not in {"seconds", "elapsed_s"}}
    return [timeless(x) for x in values] if isinstance(values, list) else values


def written(run: str) -> tuple[Any, Any]:
    """The history and the metrics of a run, without times."""
    history = list(csv.DictReader((Path(run) / "history.csv").read_text().splitlines()))
    metrics = json.loads((Path(run) / "metrics.json").read_text())
    return timeless(history), metrics["val"]


def stopper(num_steps: int, how: signal.Signals) -> Callable[[Event], None]:
    """Raises a signal after some steps."""
    left = [num_steps]

    def hear(event: Event) -> None:
        left[0] -= isinstance(event, StepDone)
        if not left[0]:
            left[0] = -1
            signal.raise_signal(how)

    return hear


def resume(on_event: Callable[[Event], None] = lambda event: None) -> FinetuneResult:
    folder = find_run(Path("run"))
    return run_plan(plan_resumed(folder, {}), on_event=on_event, folder=folder)


@pytest.mark.parametrize("name", MODES)
def test_every_mode_records_map_and_continues_bit_by_bit(name: str, colors: Path) -> None:
    values = {**VALUES, **MODES[name], "data": str(colors), "checkpoint_every": 1e-9}
    whole = finetune(out=Path("whole"), **values)
    with pytest.raises(Interrupted):
        finetune(out=Path("run"), on_event=stopper(2, signal.SIGTERM), **values)
    with pytest.raises(Interrupted):
        resume(stopper(2, signal.SIGTERM))
    resumed = resume()
    states = [load_model(Path(run)).network.state_dict() for run in ("whole", "run")]
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    assert written("whole") == written("run")
    steps = [record for record in resumed.history if record.l2 is None and record.epoch]
    assert len(steps) == 2 and all(record.train_map is None and record.train_top1 is None for record in steps)
    assert all(record.val_map is not None and record.val_top1 is None for record in whole.history)
    if "full" in name:
        # A mean over the known values, as in validation, and no sum over the classes.
        assert 0.4 < steps[0].train_loss < 1.2
    (first, *_), _ = written("whole")
    assert {"train_map", "val_map"} < first.keys() and "val_top1" not in first
    events = [json.loads(line) for line in (Path("run") / "events.jsonl").read_text().splitlines()]
    assert "val_map" in next(event for event in events if event["event"] == "EpochDone")["record"]
    if "full" in name:
        # The loss of the last step of an epoch is in the unit of the loss of the epoch.
        losses = [event["loss"] for event in events if event["event"] == "StepDone" and event["step"] == event["steps"]]
        assert losses[0] == pytest.approx(steps[0].train_loss)


def test_a_frozen_head_learns_the_colors_and_says_what_its_files_say(colors: Path) -> None:
    records = []

    def hear(event: Event) -> None:
        records.extend([event.record] if isinstance(event, EpochDone) else [])

    result = finetune(data=str(colors), out=Path("run"), on_event=hear, **TINY, mode="frozen")
    assert tuple(records) == result.history and result.plan.solver == "lbfgs"
    assert result.best.val_map is not None and result.best.val_map > 0.9
    metrics = json.loads((Path("run") / "metrics.json").read_text())
    assert metrics["val_map"] == metrics["val"]["map"] == pytest.approx(result.best.val_map)
    assert result.best.val_text == f"mAP {100 * result.best.val_map:.1f} %"
    again = finetune(data=str(colors), out=Path("again"), **TINY, mode="frozen")
    assert torch.equal(rows_of_head(result.model.network.fc), rows_of_head(again.model.network.fc))
    # The run's config alone gives the same plan.
    assert "multi_label: true" in (Path("run") / "config.yaml").read_text()
    assert {"task": "multi-label", "loss": "bce"}.items() <= {
        row.name: row.value for row in result.plan.choices
    }.items()


@pytest.mark.parametrize(
    ("flags", "reason", "way_out"),
    [
        ({"loss": "ce"}, "ce is not a loss for multi-label data", "--loss bce, asl or focal"),
        ({"balance": "logit-adjust"}, "logit-adjust has no effect on multi-label data", "--balance weights"),
        ({"solver": "lbfgs", "loss": "asl"}, "--loss asl needs steps", "remove one"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(
    flags: dict[str, Any], reason: str, way_out: str, colors: Path
) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        finetune(data=str(colors), **TINY, mode="frozen", **flags)
    assert caught.value.hint is not None and way_out in caught.value.hint


def test_the_asymmetric_loss_is_refused_for_one_label_per_image() -> None:
    with pytest.raises(ConfigError, match="asl is not a loss for single-label data") as caught:
        finetune(data="digits", limit=12, **TINY, mode="frozen", loss="asl")
    assert caught.value.hint is not None and "--loss ce, focal or bce" in caught.value.hint


def test_added_classes_leave_the_old_ones_as_they_were(colors: Path, tmp_path: Path) -> None:
    two = {name: COLORS[name] for name in ("blue", "green")}
    old_rows = write_images(tmp_path / "old", two, count=60, seed=1)
    new_rows = write_images(tmp_path / "new", {"green": 1, "red": 0}, count=60, seed=2)
    old = finetune(data=str(write_table(tmp_path / "old", old_rows)), out=Path("old"), **TINY, mode="frozen")
    new = str(write_table(tmp_path / "new", new_rows))
    joint = finetune(data=new, out=Path("joint"), weights="old", add=True, precision=TINY["precision"])
    assert joint.model.classes == ("blue", "green", "red")
    # The new images say nothing about blue; green is fitted again to the images of both trainings.
    weights = [rows_of_head(result.model.network.fc) for result in (joint, old)]
    assert torch.equal(weights[0][0], weights[1][0]) and not torch.equal(weights[0][1], weights[1][1])
    assert joint.model.thresholds[0] == old.model.thresholds[0]
    assert joint.model.scaling is not None and old.model.scaling is not None
    assert [of_class[0] for of_class in joint.model.scaling] == [of_class[0] for of_class in old.model.scaling]
    kept = joint.retention
    assert kept is not None and kept.num > 5 and kept.before > 0.8 and kept.after > kept.before - 0.05
    exemplars = joint.model.exemplars
    assert exemplars is not None and exemplars.labels.shape[1] == 3
    assert {value for row in exemplars.labels.tolist() for value in row} == {-1, 0, 1}
    held = exemplars.labels[:, 2] >= 0
    probs = head_probs(joint.model.network.fc, exemplars.features[held], task="multi-label")
    _, score = OBJECTIVES["multi-label"].loss_and_score(probs[:, [2]], exemplars.labels[held][:, [2]])
    assert score is not None and score > 0.9


def test_a_model_of_another_task_gives_its_backbone_but_not_its_head(colors: Path) -> None:
    finetune(data="digits", classes="0,1", limit=12, out=Path("one"), **TINY, mode="frozen")
    values = {**VALUES, "weights": "one", "mode": "frozen", "solver": "sgd"}
    found = finetune(data=str(colors), out=Path("run"), **values)
    assert found.plan.start is not None and found.plan.start.task == "single-label"
    with pytest.raises(ConfigError, match="the model is single-label"):
        finetune(data=str(colors), weights="one", add=True, precision=TINY["precision"], device="cpu")
    back = finetune(
        data="digits", classes="0,1", limit=12, **{**TINY, "weights": "run"}, mode="frozen", out=Path("back")
    )
    assert back.plan.start is not None and back.plan.start.task == "multi-label"
