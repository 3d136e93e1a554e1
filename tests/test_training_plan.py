"""Every default has an origin and a reason; a plan written down makes the same plan again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.running import TINY, Trained

from resnet_cli.config.base import resolve, to_yaml
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ModelError, NetworkError
from resnet_cli.training.estimate import STAGE_SHARES
from resnet_cli.training.optimizers import STAGES
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.recipe import Recipe

pytest_plugins = ["support.small_runs"]


MODES = ("frozen", "full", "lp-ft", "gradual")
#: Rows that every plan of the same training has.
SHOWN = {"data", "split", "mode", "head", "image-size", "epochs", "batch-size", "lr", "head-lr", "augment"}


def plan_for(**values: Any) -> Plan:
    return make_plan(resolve(FinetuneConfig, {"data": "digits", **values}))


@pytest.mark.parametrize("mode", MODES)
def test_every_choice_says_who_made_it(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 3\nhead: 64")
    flags = {"data": "digits", "mode": mode, "weights": "none", "seed": 7}
    plan = make_plan(resolve(FinetuneConfig, flags, file))
    origins = {choice.name: choice.origin for choice in plan.choices}
    values = {choice.name: choice.value for choice in plan.choices}
    assert {origins[name] for name in ("data", "mode", "weights", "seed")} == {"flag"}
    assert {origins[name] for name in ("epochs", "head")} == {"config"}
    assert {origins[name] for name in ("batch-size", "image-size", "head-lr", "device", "precision")} == {"auto"}
    assert (values["epochs"], values["head"], values["seed"]) == ("3", "64", "7")
    assert [name in origins for name in ("lr", "augment", "batchnorm", "optimizer")] == [mode != "frozen"] * 4
    assert ("solver" in origins) == (mode != "full")
    reasons = {choice.name: choice.why for choice in plan.choices}
    assert all(reasons[name] for name in ("data", "weights", "image-size", "precision", "batch-size"))


def test_a_probe_without_steps_shows_no_row_about_steps() -> None:
    names = {choice.name for choice in plan_for(**TINY, mode="frozen").choices}
    assert "solver" in names
    assert not names & {"epochs", "batch-size", "head-lr", "weight-decay", "schedule", "lr"}


@pytest.mark.parametrize(
    ("values", "row", "shown"),
    [
        ({"unfreeze": "layer4,layer3"}, "unfreeze", "layer3, layer4"),
        ({"lr": "auto"}, "lr", "auto"),
        ({"ema": 0.99}, "ema", "0.99"),
        ({"average": 2}, "average", "2"),
        ({"loss": "focal"}, "loss", "focal"),
        ({"label_smoothing": 0.1}, "label-smoothing", "0.1"),
        ({"balance": "weights"}, "balance", "weights"),
        ({"mixup": 0.2}, "mixup", "0.2"),
        ({"cutmix": 1.0}, "cutmix", "1.0"),
        ({"clip_grad": 1.0}, "clip-grad", "1.0"),
        ({"weight_decay": 0.001}, "weight-decay", "0.001"),
        ({"patience": 3}, "patience", "3"),
        ({"target": 0.9}, "target", "0.9"),
        ({"image_size": 64, "progressive": 32}, "progressive", "32"),
        ({"fit": "pad"}, "fit", "pad"),
        ({"batchnorm": "eval"}, "batchnorm", "eval"),
        ({"augment": "strong"}, "augment", "strong"),
        ({"optimizer": "sgd"}, "optimizer", "sgd"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_plan_shows_what_was_asked_for(values: dict[str, Any], row: str, shown: str) -> None:
    found = {choice.name: choice for choice in plan_for(**TINY | values, mode="lp-ft").choices}
    assert (found[row].value, found[row].origin) == (shown, "flag")


#: Another value than the default for everything that can be asked for and has an effect beside the others.
ASKED: dict[str, Any] = {
    "classes": "0,1,2,3",
    "on_bad_image": "skip",
    "max_pixels": 10**6,
    "limit": 100,
    "val_fraction": 0.2,
    "split_seed": 1,
    "weights": "none",
    "mode": "lp-ft",
    "unfreeze": "layer3,layer4",
    "head": "8",
    "solver": "sgd",
    "epochs": 4,
    "max_time": "5m",
    "patience": 2,
    "target": 0.99,
    "fail_under": 0.1,
    "batch_size": 30,
    "accumulate": 2,
    "optimizer": "sgd",
    "lr": 0.1,
    "head_lr": 0.2,
    "weight_decay": 0,
    "layer_decay": 0.7,
    "schedule": "linear",
    "warmup": 0,
    "clip_grad": 1.0,
    "batchnorm": "eval",
    "loss": "focal",
    "label_smoothing": 0,
    "balance": "weights",
    "image_size": 64,
    "progressive": 32,
    "fit": "pad",
    "augment": "strong",
    "policy": "randaugment",
    "erasing": 0.5,
    "mixup": 0.1,
    "cutmix": 0,
    "mix_off_epochs": 1,
    "ema": 0.9,
    "seed": 3,
    "seeds": 2,
    "deterministic": True,
    "checkpoint_every": "1m",
    "tensorboard": True,
    "log_to": "wandb,mlflow",
    "out": Path("there"),
    "device": "cpu",
    "precision": "fp32",
    "engine": "torch",
    "step_precision": "bf16",
    "threads": 1,
    "offline": True,
}
#: Those that do not go with the ones above, or not with these data.
NOT_ASKED = {
    *{"add", "average", "fraction", "label_regex", "image_column", "label_column", "split_column", "group_by"},
    *{"follow_links", "data", "devices", "bit_depth", "image_folder", "on_missing_label", "classes_at", "multi_label"},
}


def test_everything_that_was_asked_for_is_in_the_plan_with_who_asked(here: Path) -> None:
    assert ASKED.keys() == FinetuneConfig.model_fields.keys() - NOT_ASKED
    found = {choice.name: choice for choice in plan_for(**ASKED).choices}
    for field, value in ASKED.items():
        row = found[field.replace("_", "-")]
        assert row.origin == "flag", field
        is_number = not isinstance(value, bool) and isinstance(value, int | float)
        shown = [float(row.value)] if is_number else row.value.replace(", ", ",")
        assert shown == ([float(value)] if is_number else {"1m": "60.0", "5m": "300.0"}.get(str(value), str(value)))


ROUND_TRIPS: dict[str, dict[str, Any]] = {
    "frozen": {"mode": "frozen"},
    "frozen weighed": {"mode": "frozen", "balance": "weights", "label_smoothing": 0.1},
    "frozen by steps": {"mode": "frozen", "epochs": 3, "ema": 0.9, "schedule": "linear", "accumulate": 2},
    "frozen mlp": {"mode": "frozen", "head": "32,16"},
    "frozen by the clock": {"max_time": "1s", "image_size": 128, "weights": "OWN"},
    "full": {"mode": "full", "head": "32,16", "optimizer": "sgd", "layer_decay": 0.8, "augment": "strong"},
    "full mixed": {"mode": "full", "mixup": 0.2, "cutmix": 1.0, "mix_off_epochs": 2, "policy": "randaugment"},
    "lp-ft": {"mode": "lp-ft", "unfreeze": "layer3,layer4", "average": 2, "patience": 2, "target": 0.99},
    "lp-ft mlp": {"mode": "lp-ft", "head": "8", "erasing": 0.5, "loss": "focal", "clip_grad": 1.0},
    "lp-ft auto rate": {"mode": "lp-ft", "lr": "auto", "batch_size": "auto", "batchnorm": "eval"},
    "last stage": {"mode": "full", "unfreeze": "layer4"},
    "gradual": {"mode": "gradual", "image_size": 96, "progressive": 64, "fit": "pad", "schedule": "one-cycle"},
    "auto": {"max_time": "5m", "checkpoint_every": "1m", "fail_under": 0.1, "deterministic": True},
    "from a run": {"weights": "OWN", "mode": "lp-ft", "solver": "sgd"},
    "added to a run": {"weights": "PROBE", "add": True, "classes": "0,1"},
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_resolved_config_makes_the_same_plan_again(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    values = {**TINY, "classes": "3,1,7", "limit": 50, "seed": 3, "split_seed": 2, **ROUND_TRIPS[name]}
    if values["weights"] == "OWN":
        values["weights"] = str(request.getfixturevalue("full_run").run)
    elif values["weights"] == "PROBE":
        values["weights"] = str(request.getfixturevalue("frozen_run").run)
        del values["image_size"]
    plan = plan_for(**values)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(plan.resolved_config()))
    again = make_plan(resolve(FinetuneConfig, {}, file))
    assert again.resolved_config() == plan.resolved_config()
    for field in (*(field.name for field in dataclasses.fields(Recipe)), "preprocess", "compute"):
        assert getattr(again, field) == getattr(plan, field), field
    assert (again.weights.path, again.dataset.classes) == (plan.weights.path, plan.dataset.classes)
    rows = [[(item.name, item.label, item.split) for item in p.dataset.items] for p in (plan, again)]
    assert rows[0] == rows[1]
    assert [(choice.name, choice.value) for choice in again.choices if choice.name in SHOWN] == [
        (choice.name, choice.value) for choice in plan.choices if choice.name in SHOWN
    ]


def test_the_stages_are_all_of_a_forward_pass() -> None:
    assert tuple(STAGE_SHARES) == STAGES
    assert sum(STAGE_SHARES.values()) == pytest.approx(1)


def test_a_resolved_config_names_weights_and_data_for_good(
    full_run: Trained, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "runs").mkdir()
    (here / "runs" / "latest").symlink_to(full_run.run)
    (here / "photos").symlink_to(full_run.photos)
    plan = make_plan(resolve(FinetuneConfig, {"data": "photos", "weights": "runs/latest", "mode": "frozen"}))
    config = plan.resolved_config()
    (here / "runs" / "latest").unlink()
    monkeypatch.chdir("/")
    (here / "again.yaml").write_text(to_yaml(config))
    again = make_plan(resolve(FinetuneConfig, {}, here / "again.yaml"))
    assert again.preprocess == plan.preprocess
    assert [item.name for item in again.dataset.items] == [item.name for item in plan.dataset.items]


def test_auto_weights_are_never_silently_random(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(NetworkError, match="no ImageNet weights"):
        plan_for(data=str(make_folder({"a": 4, "b": 4})))


def test_a_truncated_cached_file_is_not_taken_for_weights(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet50-0676ba61.pth").write_bytes(b"half")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises((NetworkError, ModelError)):
        plan_for(data=str(make_folder({"a": 4, "b": 4})))


def test_uneven_classes_and_a_random_frozen_backbone_are_warned_of(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"many": 30, "few": 4})
    plan = plan_for(data=str(folder), weights="none", mode="frozen")
    assert any("imbalanced" in warning and "'few'" in warning and "'many'" in warning for warning in plan.warnings)
    assert any("random weights" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("num_train", "batch_size", "steps"), [(33, 32, 2), (32, 32, 1), (5, 2, 2), (4, 1, 2), (2, 1, 1)]
)
def test_no_step_has_fewer_than_two_images_while_batchnorm_trains(num_train: int, batch_size: int, steps: int) -> None:
    # At 32 px, BatchNorm refuses single images.
    values = TINY | {"image_size": 64 if batch_size == 1 else 32}
    plan = plan_for(**values, mode="full", classes="0,1", limit=num_train, batch_size=batch_size)
    assert plan.train_batchnorm
    assert plan.steps_per_epoch == steps


def test_batchnorm_keeps_its_statistics_where_batches_are_small(full_run: Trained) -> None:
    values = {"data": str(full_run.photos), "weights": str(full_run.run), "mode": "full"}
    assert not plan_for(**values, batch_size=15).train_batchnorm
    assert plan_for(**values, batch_size=16).train_batchnorm
    assert plan_for(**values | {"weights": "none"}, batch_size=4).train_batchnorm


def test_micro_batches_count_where_batchnorm_is_concerned_and_the_plan_says_so(full_run: Trained) -> None:
    values = {"data": str(full_run.photos), "weights": str(full_run.run), "mode": "full", "batch_size": 24}
    whole, parts = plan_for(**values), plan_for(**values, accumulate=2)
    assert (whole.train_batchnorm, parts.train_batchnorm) == (True, False)
    assert (parts.micro_batch, parts.batch_size) == (12, 24)
    (row,) = [choice for choice in parts.choices if choice.name == "batchnorm"]
    assert (row.value, row.origin) == ("eval", "auto")
    assert "statistics stay" in row.why
    assert plan_for(**values, accumulate=2, batchnorm="train").train_batchnorm
    assert not plan_for(**values, batchnorm="eval").train_batchnorm


def test_auto_is_lp_ft_where_training_everything_is_soon_done_and_full_from_random_weights(full_run: Trained) -> None:
    values = {"data": str(full_run.photos), "classes": None, "image_size": 32}
    assert plan_for(**values, weights=str(full_run.run)).mode == "lp-ft"
    assert plan_for(**values, weights="none").mode == "full"


def test_the_fit_follows_the_shapes_of_the_images_and_the_model_keeps_it(tmp_path: Path, full_run: Trained) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(6):
            pixels = np.random.default_rng((ord(name), index)).integers(0, 256, (20, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    plan = plan_for(data=str(tmp_path), **TINY)
    assert plan.preprocess.fit == "pad"
    (row,) = [choice for choice in plan.choices if choice.name == "fit"]
    assert "3.0 times as long as wide" in row.why
    assert plan_for(data=str(tmp_path), **TINY, fit="crop").preprocess.fit == "crop"
    # Whoever goes on from a model keeps its geometry.
    assert plan_for(data=str(tmp_path), **TINY | {"weights": str(full_run.run)}).preprocess.fit == "crop"
