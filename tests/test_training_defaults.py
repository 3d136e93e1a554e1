"""The defaults are pure functions of the data and the device."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from resnet_cli.preprocess import Preprocess
from resnet_cli.training import defaults
from resnet_cli.training.defaults import (
    choose_fit,
    choose_preprocess,
    default_augment,
    default_batch_size,
    default_batchnorm,
    default_head_lr,
    default_image_size,
    default_lr,
    default_mode,
    default_optimizer,
    default_solver,
    default_weight_decay,
)

V1 = Preprocess(resize_size=256, crop_size=224)
V2 = Preprocess(resize_size=232, crop_size=224)


@pytest.mark.parametrize(
    ("weights", "device", "num_images", "size", "mode"),
    [
        ("none", "cpu", 10**6, 224, "full"),
        ("none", "cuda", 10, 224, "full"),
        ("auto", "cuda", 10**6, 224, "lp-ft"),
        ("auto", "mps", 10**6, 224, "lp-ft"),
        ("auto", "cpu", 100, 224, "lp-ft"),
        ("auto", "cpu", 10_000, 224, "frozen"),
        ("auto", "cpu", 10_000, 32, "lp-ft"),
        ("my.pth", "cpu", 10_000, 224, "frozen"),
    ],
)
def test_auto_mode_freezes_only_what_a_cpu_could_not_train_soon(
    weights: str, device: str, num_images: int, size: int, mode: str
) -> None:
    found, why = default_mode(weights, device, num_images=num_images, image_size=size, max_time_s=None)
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


@pytest.mark.parametrize(("allowed_s", "mode"), [(60.0, "frozen"), (119.0, "frozen"), (10_000.0, "lp-ft")])
def test_the_time_that_is_allowed_decides_what_a_cpu_trains(allowed_s: float, mode: str) -> None:
    # 10,000 images at 32 px: about 51 s; at 224 px 2,500 s.
    found, _ = default_mode("auto", "cpu", num_images=10_000, image_size=224, max_time_s=allowed_s)
    assert found == mode
    assert default_mode("auto", "cpu", num_images=10_000, image_size=32, max_time_s=60.0)[0] == "lp-ft"


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.1), (100, 0.1), (101, 10 / 101), (1000, 0.01)])
def test_the_momentum_of_batchnorm_is_ten_over_the_steps_and_a_tenth_at_the_most(steps: int, momentum: float) -> None:
    assert defaults.batchnorm_momentum(steps) == momentum


@pytest.mark.parametrize("mode", ["full", "lp-ft", "gradual"])
def test_small_batches_leave_the_statistics_of_trained_weights_alone(mode: Any) -> None:
    for num_train in (100, 10**6):
        assert default_batchnorm(mode, 15, num_train=num_train, random_start=False) == "eval"
        # Random weights have none that could be kept.
        assert default_batchnorm(mode, 1, num_train=num_train, random_start=True) == "train"
    assert default_batchnorm(mode, 16, num_train=10**6, random_start=False) == "train"


def test_a_head_from_a_probe_keeps_the_features_that_it_knows_where_there_are_few_images() -> None:
    few = defaults.MANY_IMAGES - 1
    found = [default_batchnorm(mode, 64, num_train=few, random_start=False) for mode in ("full", "lp-ft", "gradual")]
    assert found == ["train", "eval", "eval"]


@pytest.mark.parametrize(
    ("linear", "given", "loss", "balance", "solver", "why"),
    [
        (True, [], "ce", "none", "lbfgs", "best"),
        (True, [], "ce", "weights", "lbfgs", "best"),
        (True, [], "ce", "logit-adjust", "lbfgs", "best"),
        (False, [], "ce", "none", "sgd", "hidden layers"),
        (True, ["head_lr"], "ce", "none", "lbfgs-sgd", "--head-lr"),
        (True, ["head_lr"], "focal", "none", "sgd", "--loss focal"),
        (False, ["head_lr"], "ce", "none", "sgd", "hidden layers"),
        (True, [], "focal", "none", "sgd", "--loss focal"),
        (True, [], "bce", "none", "sgd", "--loss bce"),
        (True, [], "ce", "sampler", "sgd", "--balance sampler"),
    ],
)
def test_a_linear_head_is_solved_exactly_unless_something_needs_steps(
    linear: bool, given: list[str], loss: str, balance: str, solver: str, why: str
) -> None:
    found, reason = default_solver(linear, given, loss=loss, balance=balance)
    assert found == solver
    assert why in reason


@pytest.mark.parametrize(
    ("aspects", "fit"),
    [
        ([], "crop"),
        ([1.0], "crop"),
        ([4 / 3, 1.5, 16 / 9], "crop"),
        ([1.9, 2.5, 1.0], "pad"),
        ([1.0, 1.0, 9.0], "crop"),
    ],
)
def test_a_crop_is_for_images_that_it_loses_little_of(aspects: list[float], fit: str) -> None:
    found, why = choose_fit(aspects)
    assert found == fit
    assert bool(why) == (fit != "crop")


MODES: tuple[Any, ...] = ("frozen", "full", "lp-ft", "gradual")


@pytest.mark.parametrize(("mode", "random_start"), list(itertools.product(MODES, [False, True])))
def test_every_mode_has_rates_for_both_optimizers(mode: Any, random_start: bool) -> None:
    assert default_optimizer(mode, random_start=random_start) == (
        "adamw" if random_start and mode != "frozen" else "sgd"
    )
    for optimizer, hidden in itertools.product(("sgd", "adamw"), ((), (64,))):
        rates: list[float] = [
            default_lr(mode, optimizer, random_start=random_start),  # type: ignore[arg-type]
            default_head_lr(mode, optimizer, hidden, random_start=random_start),  # type: ignore[arg-type]
        ]
        assert all(0 < rate <= 0.1 for rate in rates)
        assert 0 < default_weight_decay(mode, optimizer) <= 0.1  # type: ignore[arg-type]


def test_a_fresh_head_is_faster_than_its_backbone_and_one_from_a_probe_is_not() -> None:
    lr = default_lr("full", "sgd", random_start=False)
    assert default_head_lr("full", "sgd", (), random_start=False) > lr
    for mode in ("lp-ft", "gradual"):
        assert default_head_lr(mode, "sgd", (), random_start=False) == default_lr(mode, "sgd", random_start=False)
