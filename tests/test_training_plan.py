"""Every default has an origin and a reason; a plan written down makes the same plan again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import TINY, Trained

from resnet_cli.config import FinetuneConfig, resolve, to_yaml
from resnet_cli.errors import ConfigError, ModelError, NetworkError
from resnet_cli.preprocess import Preprocess
from resnet_cli.training.defaults import (
    choose_preprocess,
    default_augment,
    default_batch_size,
    default_image_size,
    default_mode,
)
from resnet_cli.training.plan import Plan, make_plan

pytest_plugins = ["small_runs"]

V1 = Preprocess(resize_size=256, crop_size=224)
V2 = Preprocess(resize_size=232, crop_size=224)


def plan_for(**values: Any) -> Plan:
    return make_plan(resolve(FinetuneConfig, {"data": "digits", **values}))


@pytest.mark.parametrize(
    ("weights", "device", "num_images", "size", "mode"),
    [
        ("none", "cpu", 10**6, 224, "full"),
        ("none", "cuda", 10, 224, "full"),
        ("auto", "cuda", 10**6, 224, "full"),
        ("auto", "mps", 10**6, 224, "full"),
        ("auto", "cpu", 100, 224, "full"),
        ("auto", "cpu", 10_000, 224, "frozen"),
        ("auto", "cpu", 10_000, 32, "full"),
        ("my.pth", "cpu", 10_000, 224, "frozen"),
    ],
)
def test_auto_mode_freezes_only_what_a_cpu_could_not_train_soon(
    weights: str, device: str, num_images: int, size: int, mode: str
) -> None:
    found, why = default_mode(weights, device, num_images=num_images, image_size=size)
    assert found == mode
    assert why


@pytest.mark.parametrize(
    ("made_for", "source_px", "device", "size"),
    [
        (V1, 500, "cpu", 224),
        (V1, 500, "cuda", 224),
        (V1, 100, "cpu", 224),
        (V1, 32, "cpu", 128),
        (V1, 32, "cuda", 224),
        (None, 8, "cpu", 32),
        (None, 33, "cpu", 64),
        (None, 4000, "cpu", 224),
        (Preprocess(resize_size=64, crop_size=64), 8, "cpu", 64),
    ],
)
def test_the_image_size_follows_the_weights_and_the_source(
    made_for: Preprocess | None, source_px: int, device: str, size: int
) -> None:
    found, why = default_image_size(made_for, source_px, device)
    assert found == size
    assert why


def test_preprocessing_keeps_the_weights_own_geometry() -> None:
    assert choose_preprocess(V2, 224, 500) == V2
    assert choose_preprocess(V1, 112, 500) == dataclasses.replace(V1, resize_size=128, crop_size=112)
    small = choose_preprocess(V1, 128, 32)
    assert (small.resize_size, small.crop_size, small.interpolation) == (128, 128, "bicubic")


def test_batch_size_and_augmentation_follow_the_data() -> None:
    assert default_batch_size("frozen", 10**6) == 64
    assert [default_batch_size("full", count) for count in (10, 50_000)] == [32, 128]
    assert [default_augment(px) for px in (8, 32, 500)] == ["light", "light", "standard"]


@pytest.mark.parametrize("mode", ["frozen", "full"])
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
    assert ("lr" in origins, "augment" in origins) == ((mode == "full"), (mode == "full"))
    reasons = {choice.name: choice.why for choice in plan.choices}
    assert all(reasons[name] for name in ("data", "weights", "image-size", "precision", "batch-size"))


@pytest.mark.parametrize(("field", "value"), [("lr", 0.1), ("augment", "light")])
def test_a_value_without_effect_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"--{field} has no effect"):
        plan_for(mode="frozen", weights="none", **{field: value})
    assert getattr(plan_for(mode="full", weights="none", **{field: value}), field) == value


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_a_resolved_config_makes_the_same_plan_again(mode: str, tmp_path: Path) -> None:
    values = {**TINY, "mode": mode, "classes": "3,1,7", "limit": 50, "seed": 3, "split_seed": 2, "head": "32,16"}
    plan = plan_for(**values)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(plan.resolved_config()))
    again = make_plan(resolve(FinetuneConfig, {}, file))
    assert again.resolved_config() == plan.resolved_config()
    for field in ("mode", "preprocess", "hidden", "batch_size", "optimizer", "lr", "head_lr", "augment", "weights"):
        assert getattr(again, field) == getattr(plan, field), field
    rows = [[(item.name, item.label, item.split) for item in p.dataset.items] for p in (plan, again)]
    assert rows[0] == rows[1]


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
    assert any("uneven" in warning and "'few'" in warning and "'many'" in warning for warning in plan.warnings)
    assert any("random weights" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("num_train", "batch_size", "steps"), [(33, 32, 2), (32, 32, 1), (5, 2, 2), (4, 1, 2), (2, 1, 1)]
)
def test_no_step_has_fewer_than_two_pictures_while_batchnorm_trains(
    num_train: int, batch_size: int, steps: int
) -> None:
    plan = plan_for(**TINY, mode="full", classes="0,1", limit=num_train, batch_size=batch_size)
    assert plan.train_batchnorm
    assert plan.steps_per_epoch == steps


def test_batchnorm_keeps_its_statistics_where_batches_are_small(full_run: Trained) -> None:
    values = {"data": str(full_run.photos), "weights": str(full_run.run), "mode": "full"}
    assert not plan_for(**values, batch_size=15).train_batchnorm
    assert plan_for(**values, batch_size=16).train_batchnorm
    assert plan_for(**values | {"weights": "none"}, batch_size=4).train_batchnorm
