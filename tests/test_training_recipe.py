"""Every flag of a training has an effect in the modes where it is taken, and is refused in all others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.running import TINY, Trained

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError
from resnet_cli.training.ineffective_flags import BACKBONE_FLAGS, STEP_FLAGS
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.recipe import Recipe

pytest_plugins = ["support.small_runs"]

#: A value for each flag that some mode refuses.
VALUES: dict[str, Any] = {
    "epochs": 3,
    "step_precision": "bf16",
    "patience": 2,
    "target": 0.99,
    "batch_size": 7,
    "accumulate": 2,
    "optimizer": "sgd",  # Random weights take adamw by themselves.
    "head_lr": 0.123,
    "weight_decay": 0.0456,
    "schedule": "linear",
    "warmup": 0.31,
    "clip_grad": 2.5,
    "ema": 0.91,
    "average": 2,
    "checkpoint_every": "60s",
    "lr": 0.0789,
    "layer_decay": 0.7,
    "unfreeze": "layer4",
    "progressive": 32,
    "augment": "strong",
    "policy": "randaugment",
    "erasing": 0.4,
    "mixup": 0.3,
    "cutmix": 0.6,
    "mix_off_epochs": 1,
}
#: What a flag needs beside it to have an effect.
BESIDE: dict[str, dict[str, Any]] = {
    "progressive": {"image_size": 64},
    "mix_off_epochs": {"mixup": 0.3},
}
#: Flags whose effect is on the training loop, not on the recipe; the tests of the loop and the checkpointer show it.
IN_THE_CONFIG = {"patience", "target", "checkpoint_every", "step_precision"}


def plan_with(**values: Any) -> Plan:
    values = {"data": "digits", "classes": "0,1", "limit": 40, **TINY, "batch_size": None, **values}
    return make_plan(resolve(FinetuneConfig, values))


def recipe(plan: Plan) -> dict[str, Any]:
    return {field.name: getattr(plan, field.name) for field in dataclasses.fields(Recipe)}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def refused(*names: str, **values: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        plan_with(**values)
    assert caught.value.exit_code == 2
    for name in names:
        assert name in caught.value.message
    return caught.value


def test_the_tables_are_about_flags_that_exist() -> None:
    assert {*STEP_FLAGS, *BACKBONE_FLAGS} == VALUES.keys()
    assert VALUES.keys() <= FinetuneConfig.model_fields.keys()


@pytest.mark.parametrize("name", BACKBONE_FLAGS)
def test_a_flag_about_the_backbone_is_refused_while_it_is_frozen(name: str) -> None:
    error = refused(f"{flag(name)} has no effect", mode="frozen", **{name: VALUES[name]})
    assert error.hint and "--mode lp-ft" in error.hint
    if name == "lr":
        assert "--head-lr" in error.hint


def test_the_reason_is_given_where_it_was_not_the_user_who_froze_the_backbone(full_run: Trained) -> None:
    values = {"weights": str(full_run.run), "max_time": "1s", "lr": 0.1}
    assert "(mode auto: no GPU" in refused("--lr", **values).message


@pytest.mark.parametrize("mode", ["full", "lp-ft", "gradual"])
@pytest.mark.parametrize("name", VALUES)
def test_each_flag_changes_the_recipe_of_a_network(name: str, mode: str) -> None:
    beside = BESIDE.get(name, {})
    without, found = plan_with(mode=mode, **beside), plan_with(mode=mode, **beside, **{name: VALUES[name]})
    if name in IN_THE_CONFIG:
        assert getattr(without.config, name) is None and getattr(found.config, name) is not None
    else:
        assert recipe(found) != recipe(without)


@pytest.mark.parametrize("name", STEP_FLAGS)
def test_a_flag_about_steps_makes_the_probe_take_steps(name: str) -> None:
    plan = plan_with(mode="frozen", **{name: VALUES[name]})
    assert plan.solver == "lbfgs-sgd" and plan.takes_steps and plan.starts_with_probe
    (row,) = [choice for choice in plan.choices if choice.name == "solver"]
    assert flag(name) in row.why
    assert plan_with(mode="frozen").solver == "lbfgs"
    # Steps alone are there for the asking, and where the head has none to start from.
    assert plan_with(mode="frozen", solver="sgd", **{name: VALUES[name]}).solver == "sgd"
    assert plan_with(mode="frozen", head="16", **{name: VALUES[name]}).solver == "sgd"


@pytest.mark.parametrize("name", STEP_FLAGS)
def test_a_flag_about_steps_is_refused_beside_a_solver_that_takes_none(name: str) -> None:
    error = refused("--solver lbfgs", flag(name), mode="frozen", solver="lbfgs", **{name: VALUES[name]})
    assert error.hint


@pytest.mark.parametrize("mode", ["lp-ft", "gradual"])
@pytest.mark.parametrize("name", STEP_FLAGS)
def test_after_a_probe_flags_about_steps_are_about_what_follows_it(name: str, mode: str) -> None:
    assert plan_with(mode=mode, solver="lbfgs", **{name: VALUES[name]}).solver == "lbfgs"


@pytest.mark.parametrize(
    "values", [{"head": "16"}, {"loss": "focal"}, {"loss": "bce"}, {"balance": "sampler"}], ids=str
)
@pytest.mark.parametrize("mode", ["frozen", "lp-ft"])
def test_what_only_steps_can_do_is_refused_beside_lbfgs(mode: str, values: dict[str, Any]) -> None:
    for solver in ("lbfgs", "lbfgs-sgd"):
        assert refused(f"--solver {solver}", mode=mode, solver=solver, **values).hint
    assert plan_with(mode=mode, **values).solver == "sgd"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"mode": "full", "solver": "lbfgs"}, ["--solver", "mode full"]),
        ({"mode": "full", "solver": "sgd"}, ["--solver", "mode full"]),
        ({"mode": "lp-ft", "solver": "lbfgs-sgd"}, ["--solver lbfgs-sgd", "mode lp-ft"]),
        ({"mode": "frozen", "batchnorm": "train"}, ["--batchnorm", "frozen"]),
        ({"mode": "frozen", "max_time": "1m"}, ["--max-time", "mode frozen"]),
        ({"mode": "lp-ft", "add": True}, ["--add", "--weights", "own"]),
        ({"mode": "full", "ema": 0.9, "average": 2}, ["--ema", "--average"]),
        ({"mode": "full", "fraction": 0.5}, ["--limit 40", "--fraction"]),
        ({"mode": "full", "average": 11}, ["--average 11", "10 epochs"]),
        ({"mode": "full", "mix_off_epochs": 1}, ["--mix-off-epochs", "--mixup", "--cutmix"]),
        ({"mode": "full", "mix_off_epochs": 1, "mixup": 0.0}, ["--mix-off-epochs"]),
        ({"mode": "full", "progressive": 32}, ["--progressive 32", "image size, 32"]),
        ({"mode": "full", "progressive": 96, "image_size": 64}, ["--progressive 96", "64"]),
        ({"mode": "full", "schedule": "one-cycle", "warmup": 0.1}, ["--warmup", "one-cycle"]),
        ({"mode": "frozen", "epochs": 4, "schedule": "one-cycle", "warmup": 0.1}, ["--warmup", "one-cycle"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_flags_that_cannot_go_together_are_refused(values: dict[str, Any], named: list[str]) -> None:
    if values.get("add"):
        named = ["--add"]
    assert refused(*named, **values).hint


@pytest.mark.parametrize("mode", ["full", "lp-ft", "gradual"])
def test_adding_to_a_model_needs_a_frozen_backbone(mode: str, frozen_run: Trained) -> None:
    values = {"weights": str(frozen_run.run), "add": True, "image_size": None}
    error = refused("--add needs a frozen backbone", mode=mode, **values)
    assert error.hint == "use --mode frozen"
    plan = plan_with(**values)
    assert (plan.mode, plan.balance) == ("frozen", "logit-adjust")


def test_adding_to_what_remembers_nothing_is_refused() -> None:
    error = refused("--add", "exemplars of its classes", weights="none", add=True, image_size=None)
    assert error.hint and "--weights runs/NAME" in error.hint


def test_a_model_whose_backbone_was_trained_can_be_added_to(full_run: Trained) -> None:
    plan = plan_with(weights=str(full_run.run), add=True, image_size=None)
    assert (plan.mode, plan.start is not None and plan.start.exemplars is not None) == ("frozen", True)


@pytest.mark.parametrize("values", [{"image_size": 64}, {"image_size": None, "fit": "pad"}], ids=str)
def test_adding_at_another_geometry_than_the_memorys_is_refused(values: dict[str, Any], frozen_run: Trained) -> None:
    error = refused("--add", "32 px, fit crop", weights=str(frozen_run.run), add=True, **values)
    assert error.hint == "use --image-size 32 --fit crop"


def test_the_stages_keep_the_order_of_the_network_whatever_the_flags_has() -> None:
    assert plan_with(mode="full", unfreeze="layer4,stem").stages == ("stem", "layer4")
    assert plan_with(mode="frozen").stages == ()
    with pytest.raises(ConfigError, match="--unfreeze"):
        plan_with(mode="full", unfreeze="layer5")
    with pytest.raises(ConfigError, match="--unfreeze"):
        plan_with(mode="full", unfreeze="")


@pytest.mark.parametrize(
    ("accumulate", "batch_size", "micro"), [(None, 24, 24), (1, 24, 24), (3, 24, 8), (5, 24, 5), (4096, 24, 1)]
)
def test_accumulation_divides_the_batch_and_rounds_up(accumulate: int | None, batch_size: int, micro: int) -> None:
    plan = plan_with(mode="full", batch_size=batch_size, accumulate=accumulate, batchnorm="eval")
    assert (plan.batch_size, plan.micro_batch) == (batch_size, micro)


def test_digits_are_never_mirrored_and_tiny_images_are_shifted_at_their_own_size() -> None:
    found = plan_with(mode="full").augment
    assert found is not None
    assert (found.strength, found.mirror, found.source_pad) == ("light", False, True)
